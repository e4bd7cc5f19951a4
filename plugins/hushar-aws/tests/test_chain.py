"""Every link of the standard chain, each against a fake of who gives the credentials; S3 tells which came."""

import http.server
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from hushar_aws.s3_log_sink import S3LogSink
from hushar_aws.s3_uris import locate
from hushar_aws.settings import AwsSettings

pytestmark = pytest.mark.slow

TOKEN = "token-of-the-fake"


def answer_of(key: str) -> dict[str, str]:
    """What a metadata service answers."""
    return {
        "Code": "Success",
        "AccessKeyId": key,
        "SecretAccessKey": "secret",
        "Token": TOKEN,
        "Expiration": (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "RoleArn": "arn:aws:iam::123456789012:role/served",
    }


@contextmanager
def metadata_service(answers: dict[tuple[str, str], str]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server with these answers, by method and path: its URL, and the headers of what it was asked."""
    asked: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append({name.lower(): value for name, value in self.headers.items()})
            body = answers.get((self.command, self.path))
            self.send_response(404 if body is None else 200)
            self.send_header("content-length", str(len(body or "")))
            self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
            self.end_headers()
            self.wfile.write((body or "").encode())

        do_GET = do_PUT = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def used(faulty_aws, aws_bucket, make_segment, monkeypatch) -> Callable[..., object]:
    """await used(settings): key and token that a delivery was signed with; the environment has none."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    async def deliver(settings: AwsSettings | None = None) -> tuple[str, str | None]:
        sink = S3LogSink(locate(f"s3://{aws_bucket}/log"), settings or AwsSettings())
        await sink.deliver(make_segment())
        await sink.aclose()
        (request,) = (each for each in faulty_aws.requests if each.operation == "PutObject")
        key = request.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        return key, request.headers.get("x-amz-security-token")

    return deliver


@pytest.fixture
def profiles(tmp_path, monkeypatch) -> Callable[[str], None]:
    """profiles(text): what ~/.aws/config holds. Depends on nothing: call it after `used`."""

    def write(text: str) -> None:
        (tmp_path / "config").write_text(text)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    return write


async def test_a_session_in_the_environment(used, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY-OF-ENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    assert await used() == ("KEY-OF-ENVIRONMENT", TOKEN)


async def test_a_profile(used, profiles):
    profiles("[profile served]\naws_access_key_id = KEY-OF-PROFILE\naws_secret_access_key = secret\n")
    assert await used(AwsSettings(profile="served")) == ("KEY-OF-PROFILE", None)


async def test_the_profile_of_the_environment(used, profiles, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "served")
    profiles("[profile served]\naws_access_key_id = KEY-OF-PROFILE\naws_secret_access_key = secret\n")
    assert await used() == ("KEY-OF-PROFILE", None)


async def test_a_role_to_assume(used, profiles):
    profiles(
        "[profile base]\naws_access_key_id = KEY-OF-BASE\naws_secret_access_key = secret\n"
        "[profile served]\nrole_arn = arn:aws:iam::123456789012:role/served\nsource_profile = base\n"
    )
    key, token = await used(AwsSettings(profile="served"))
    assert key.startswith("ASIA")
    assert token


@pytest.mark.parametrize("by", ["settings", "AWS_REGION", "AWS_DEFAULT_REGION"])
async def test_a_role_is_assumed_where_the_requests_go(used, profiles, monkeypatch, faulty_aws, by):
    """botocore itself knows the last of these only."""
    profiles(
        "[profile base]\naws_access_key_id = KEY-OF-BASE\naws_secret_access_key = secret\n"
        "[profile served]\nrole_arn = arn:aws:iam::123456789012:role/served\nsource_profile = base\n"
    )
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    if by != "settings":
        monkeypatch.setenv(by, "us-east-2")
    await used(AwsSettings(profile="served", region="us-east-2" if by == "settings" else None))
    scopes = {
        each.service: each.headers["authorization"].split("/")[2]
        for each in faulty_aws.requests
        if each.service in ("sts", "s3")
    }
    assert scopes == {"sts": "us-east-2", "s3": "us-east-2"}


async def test_a_web_identity(used, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("header.payload.signature")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/served")
    key, token = await used()
    assert key.startswith("ASIA")
    assert token


async def test_a_container(used, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    with metadata_service({("GET", "/creds"): json.dumps(answer_of("KEY-OF-CONTAINER"))}) as (url, asked):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/creds")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-container")
        assert await used() == ("KEY-OF-CONTAINER", TOKEN)
    assert [each["authorization"] for each in asked] == ["of-the-container"]
    assert "/creds" not in caplog.text


async def test_an_instance(used, monkeypatch):
    """IMDSv2: nothing is asked without its token."""
    path = "/latest/meta-data/iam/security-credentials/"
    answers = {
        ("PUT", "/latest/api/token"): "token-of-imds",
        ("GET", path): "served",
        ("GET", f"{path}served"): json.dumps(answer_of("KEY-OF-INSTANCE")),
    }
    with metadata_service(answers) as (url, asked):
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        assert await used() == ("KEY-OF-INSTANCE", TOKEN)
    assert [each.get("x-aws-ec2-metadata-token") for each in asked[1:]] == ["token-of-imds"] * 2
