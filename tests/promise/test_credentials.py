"""Credentials that end while the server runs, from a profile whose program gives new ones each time."""

import json
import sys

from promisekit.calling import Load, eventually
from promisekit.stores import missing, twice

from hushar.testing.faults import EXPIRED_TOKEN

PROGRAM = """
import json, pathlib, sys
count = pathlib.Path(sys.argv[1])
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
print(json.dumps({
    "Version": 1,
    "AccessKeyId": f"AKIAPLANTED{number:09}",
    "SecretAccessKey": "PlantedSecret/0123456789",
    "SessionToken": "PlantedToken/0123456789",
    "Expiration": "2099-01-01T00:00:00Z",
}))
"""


def test_credentials_that_have_expired_are_fetched_again_at_once(serve, aws, tmp_path, monkeypatch):
    program, count, profile = tmp_path / "credentials.py", tmp_path / "count", tmp_path / "profile"
    program.write_text(PROGRAM)
    command = " ".join(json.dumps(str(part)) for part in (sys.executable, program, count))
    profile.write_text(f"[profile rotating]\ncredential_process = {command}\nregion = us-east-1\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    plugins = {"aws": {"profile": "rotating"}}
    # So long that only other credentials can make up for it.
    log = {"acknowledge": "spooled", "refused_retry_seconds": 600}
    service = serve(aws.uri, log=log, plugins=plugins, log_level="debug")
    first = f"AKIAPLANTED{1:09}"
    rule = aws.proxy.inject(EXPIRED_TOKEN, when=lambda request: first in request.headers["authorization"])
    with Load(lambda: service.address) as load:
        eventually(lambda: rule.hits, "a delivery with the first credentials")
        load.wait_for_answers(300)
        answered = list(load.answered)
        eventually(lambda: not missing(answered, aws.store.ids()), "deliveries with the second ones")
        load.stop()
    assert service.terminate() == 0
    assert load.failed == []
    assert aws.store.ids().keys() == load.answered.keys()
    assert twice(aws.store.ids()) == {}
    assert int(count.read_text()) == 2
    said = "\n".join(service.lines)
    assert "PlantedSecret" not in said
    assert "PlantedToken" not in said
    assert first not in said
