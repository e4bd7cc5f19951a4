"""Every fault of a store, one after the other, under load that never stops: it costs disk, not requests.

One server for all of them. It says everything that it can say, and none of it is a secret.
"""

from dataclasses import dataclass

import pytest
from promisekit.calling import Load, eventually
from promisekit.serving import Service, make_service
from promisekit.stores import missing, twice

from hushar.testing.aws import ACCESS_KEY, SECRET_KEY
from hushar.testing.faults import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    NO_SUCH_BUCKET,
    SLOW_DOWN,
    THROTTLING,
    Hang,
    LoseAnswer,
    Refuse,
    Reset,
    Slow,
    Truncate,
    clock_skew,
)

SESSION = "PlantedSessionToken0123456789"
SECRETS = {
    "of the session": SESSION,
    "of the client": "PlantedBearerToken0123456789",
    "of a row": "PlantedFeatureValue0123456789",
    "key": SECRET_KEY,
    "name of the key": ACCESS_KEY,
}

FAULTS = {
    "500": INTERNAL_ERROR,
    "503 SlowDown": SLOW_DOWN,
    "400 RequestTimeout": Refuse(400, "RequestTimeout"),
    "throttling": THROTTLING,
    "no answer": Hang(),
    "nobody reads": Hang(reading=False),
    "reset before the body": Reset("before"),
    "reset within the body": Reset("middle"),
    "reset after the body": Reset("after"),
    "lost answer": LoseAnswer(),
    "cut answer": Truncate(),
    "slow": Slow(100_000),
    "403 AccessDenied": ACCESS_DENIED,
    "403 that quotes": Refuse(403, "SignatureDoesNotMatch", f"{ACCESS_KEY} {SECRET_KEY} {SESSION}"),
    "404 NoSuchBucket": NO_SUCH_BUCKET,
    "expired credentials": EXPIRED_TOKEN,
    "clock skew": clock_skew(3600),
    "clock skew backwards": clock_skew(-3600),
}


@dataclass
class Scene:
    service: Service
    load: Load
    aws: object

    def wait_for_delivery(self):
        """Wait until everything that has been answered by now is in the store."""
        answered = list(self.load.answered)
        eventually(lambda: not missing(answered, self.aws.store.ids()), "the delivery of what was spooled")


@pytest.fixture(scope="module")
def scene(shared_aws, shared_servers, forker, model):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("AWS_SESSION_TOKEN", SECRETS["of the session"])
        log = {"acknowledge": "spooled", "max_attempts": 1}
        auth = {"token_file": "token"}
        service = make_service(
            shared_servers, forker, model, shared_aws.uri, log=log, auth=auth, log_level="debug"
        )
        service.workspace.write("token", SECRETS["of the client"].encode())
        service.start()
        ballast = SECRETS["of a row"] * 8
        with Load(
            lambda: service.address, token=SECRETS["of the client"], ballast=ballast, pause=0.01
        ) as load:
            yield Scene(service, load, shared_aws)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_the_store_costs_disk_and_nothing_else(fault, scene):
    rule = scene.aws.proxy.inject(fault, operation="PutObject")
    # More than one delivery, of at most three requests: max_attempts would be over if this counted.
    enough = 2 if isinstance(fault, Slow) else 4
    eventually(lambda: rule.hits >= enough, "deliveries that meet the fault")
    scene.load.wait_for_answers(100)
    rule.stop()
    scene.wait_for_delivery()
    assert scene.load.failed == []
    assert scene.service.segments("dead-letter") == []


def test_a_port_that_is_closed_costs_disk_and_nothing_else(scene):
    scene.aws.proxy.refuse_connections()
    said = len(scene.service.lines)
    scene.load.wait_for_answers(300)
    scene.aws.proxy.accept_connections()
    scene.wait_for_delivery()
    assert scene.load.failed == []
    assert scene.service.segments("dead-letter") == []
    assert len(scene.service.lines) - said < 50  # an outage is no flood of messages


def test_at_the_end_everything_is_there_once_and_nothing_secret_was_said(scene):
    scene.load.stop()
    assert scene.service.terminate() == 0
    ids = scene.aws.store.ids()
    assert missing(scene.load.answered, ids) == []
    assert twice(ids) == {}
    assert ids.keys() == scene.load.answered.keys()
    assert scene.service.segments() == []
    said = "\n".join(scene.service.lines)
    assert {name for name, secret in SECRETS.items() if secret in said} == set()
    assert "delivery failed" in said
