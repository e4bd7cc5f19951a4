"""Credentials: botocore's chain, in a thread, looked for again when they run out or are refused."""

import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from hushar.testing.faults import EXPIRED_TOKEN, Refuse
from hushar_aws import credentials as credentials_module
from hushar_aws.client import AwsClient
from hushar_aws.credentials import AGAIN_SECONDS, Credentials
from hushar_aws.errors import AwsError
from hushar_aws.settings import AwsSettings

SECRET = "planted/secret/that/nobody/must/see/00000"

PROVIDER = """
import json, pathlib, sys, time
here = pathlib.Path(__file__).parent
with (here / "runs").open("a") as runs:
    runs.write("x")
deadline = time.monotonic() + 20
while (here / "wait").exists() and time.monotonic() < deadline:
    time.sleep(0.01)
text = (here / "answer").read_text()
print(text)
sys.exit(0 if text.startswith("{") else 1)
"""


class Provider:
    """A `credential_process`, which tells how often it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "provider.py").write_text(PROVIDER)
        self.answers("KEY-1", seconds=3600)

    def answers(self, key: str, *, seconds: float | None) -> None:
        answer = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": SECRET, "SessionToken": SECRET + "t"}
        if seconds is not None:
            answer["Expiration"] = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        (self.directory / "answer").write_text(json.dumps(answer))

    def fails(self) -> None:
        (self.directory / "answer").write_text(f"error: {SECRET}")

    @property
    def runs(self) -> int:
        return len((self.directory / "runs").read_text())


@pytest.fixture
def provider(faulty_aws, tmp_path, monkeypatch) -> Provider:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    command = f'"{sys.executable}" "{tmp_path / "provider.py"}"'
    (tmp_path / "config").write_text(f"[profile served]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return Provider(tmp_path)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_the_environment_comes_first(aws_server):
    found = await Credentials(None).get()
    assert found.access_key == "AKIAFAKEFAKEFAKEFAKE"


async def test_none_is_an_error(aws_server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AwsError, match="no credentials") as raised:
        await Credentials(None).get()
    assert raised.value.kind == "credentials"


async def test_half_of_them_is_an_error_that_says_so(aws_server, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AwsError, match="AWS_SECRET_ACCESS_KEY"):
        await Credentials(None).get()


async def test_a_file_that_is_missing_is_named(aws_server, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/served")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(AwsError, match=r"/token: No such file or directory$") as raised:
        await Credentials(None).get()
    assert raised.value.kind == "credentials"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "AKIAPLANTEDPLANTED\n", "access key"),
        ("AWS_SECRET_ACCESS_KEY", "planted-planted\n", "secret key"),
        ("AWS_SESSION_TOKEN", "planted-planted\n", "session token"),
        ("AWS_SESSION_TOKEN", "planted-plänted", "session token"),
    ],
)
async def test_what_no_header_can_hold(aws_bucket, monkeypatch, faulty_aws, caplog, name, value, said):
    """A secret in a file ends in a line break, often; an error of HTTP would quote it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(name, value)
    client = AwsClient(AwsSettings(), "s3", bucket=aws_bucket)
    with pytest.raises(AwsError, match=f"the {said} holds a character") as raised:
        await client.request("GET", "/x")
    await client.aclose()
    assert raised.value.kind == "credentials"
    assert "planted" not in f"{raised.value!r}{caplog.text}".lower()
    assert faulty_aws.requests == []


@pytest.mark.slow
class TestChain:
    async def test_the_loop_goes_on_while_it_is_asked(self, provider):
        """The provider waits for what the loop does meanwhile."""
        (provider.directory / "wait").touch()
        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Credentials("served").get)
                while not (provider.directory / "runs").exists():  # noqa: ASYNC110 - another process
                    await trio.sleep(0.01)
                (provider.directory / "wait").unlink()
        assert provider.runs == 1

    async def test_a_caller_that_gives_up_need_not_wait(self, provider):
        (provider.directory / "wait").touch()
        credentials = Credentials("served")
        with trio.move_on_after(0.05) as scope:
            await credentials.get()
        assert scope.cancelled_caught
        (provider.directory / "wait").unlink()
        assert (await credentials.get()).access_key == "KEY-1"

    async def test_a_chain_that_hangs_is_an_error(self, provider, monkeypatch):
        monkeypatch.setattr(credentials_module, "LOAD_SECONDS", 0.2)
        (provider.directory / "wait").touch()
        with pytest.raises(AwsError, match="did not answer within") as raised:
            await Credentials("served").get()
        assert raised.value.kind == "credentials"
        (provider.directory / "wait").unlink()

    async def test_those_that_last_are_kept(self, provider):
        credentials = Credentials("served")
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(credentials.get)
        assert provider.runs == 1

    async def test_they_are_renewed_before_they_expire(self, provider):
        clock = Clock()
        provider.answers("KEY-1", seconds=14 * 60)
        credentials = Credentials("served", clock)
        assert (await credentials.get()).access_key == "KEY-1"
        before = provider.runs
        provider.answers("KEY-2", seconds=3600)
        clock.now += AGAIN_SECONDS
        assert (await credentials.get()).access_key == "KEY-2"
        assert (await credentials.get()).access_key == "KEY-2"
        assert provider.runs == before + 1

    @pytest.mark.parametrize("left", [14 * 60, 60])
    async def test_what_is_still_valid_is_used_when_that_fails(self, provider, left, caplog):
        """Now and then, not with every request."""
        clock = Clock()
        provider.answers("KEY-1", seconds=left)
        credentials = Credentials("served", clock)
        await credentials.get()
        before = provider.runs
        provider.fails()
        clock.now += AGAIN_SECONDS
        for _ in range(3):
            assert (await credentials.get()).access_key == "KEY-1"
        assert provider.runs == before + 1
        clock.now += AGAIN_SECONDS
        provider.answers("KEY-2", seconds=3600)
        assert (await credentials.get()).access_key == "KEY-2"

    async def test_expired_ones_are_not(self, provider):
        provider.answers("KEY-1", seconds=60)
        credentials = Credentials("served")
        await credentials.get()
        provider.fails()
        credentials._source._expiry_time -= timedelta(seconds=61)
        with pytest.raises(AwsError, match="CredentialRetrievalError custom-process") as raised:
            await credentials.get()
        assert raised.value.kind == "credentials"
        assert SECRET not in str(raised.value)

    async def test_nothing_of_them_is_shown(self, provider, caplog):
        caplog.set_level(logging.DEBUG)
        client = AwsClient(AwsSettings(profile="served"), "s3", bucket="bucket")
        with pytest.raises(AwsError):
            await client.request("GET", "/x")
        await client.aclose()
        provider.fails()
        with pytest.raises(AwsError) as raised:
            await Credentials("served").get()
        shown = f"{caplog.text}{raised.value}{raised.value!r}{client!r}{client._credentials!r}"
        assert SECRET not in shown

    async def test_refused_ones_are_looked_for_once_more(self, provider, faulty_aws, s3_objects):
        def is_first(request):
            return "KEY-1" in request.headers["authorization"]

        faulty_aws.inject(EXPIRED_TOKEN, when=is_first)
        client = AwsClient(AwsSettings(profile="served"), "s3", bucket=s3_objects)
        await client.open()
        first = await client._credentials.get()
        assert first.access_key == "KEY-1"
        provider.answers("KEY-2", seconds=3600)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(client.request, "GET", "/x")
        assert provider.runs == 2
        await client.aclose()

    async def test_once_only(self, provider, faulty_aws):
        faulty_aws.inject(Refuse(400, "ExpiredTokenException"))
        client = AwsClient(AwsSettings(profile="served"), "s3", bucket="bucket")
        with pytest.raises(AwsError, match="ExpiredTokenException"):
            await client.request("GET", "/x")
        assert faulty_aws.count() == 2
        await client.aclose()


@pytest.fixture
def s3_objects(aws_server, aws_bucket) -> str:
    """The bucket, with an object "x" in it."""
    aws_server._request("PUT", f"/{aws_bucket}/x", b"data")
    return aws_bucket
