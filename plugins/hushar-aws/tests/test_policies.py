"""The policies of docs/aws.md against moto with its IAM switched on: enough, and no more than that.

moto checks every signature then, by its own code.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from hushar.plugins import SinkRefused, StorageError
from hushar_aws.s3_log_sink import S3LogSink
from hushar_aws.s3_storage import S3Storage
from hushar_aws.s3_uris import locate
from hushar_aws.settings import AwsSettings

PAGE = Path(__file__).parents[3] / "docs" / "aws.md"
PART = 5 * 1024 * 1024
SERVER, READER = (
    json.loads(text)
    for text in re.findall(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
)


@pytest.fixture
def allowed(aws_server, monkeypatch) -> Iterator[object]:
    """allowed(policy): from now on the environment's keys are those of a user who may do this only."""
    for bucket in ("my-models", "my-logs"):
        aws_server.create_bucket(bucket)
    s3 = boto3.client("s3")
    for key in ("penguins/model.onnx", "other/model.onnx"):
        s3.put_object(Bucket="my-models", Key=key, Body=b"model")
    s3.put_object(Bucket="my-logs", Key="penguins/a b/ü+", Body=b"log")
    iam = boto3.client("iam")

    def allow(policy: object) -> None:
        iam.create_user(UserName="someone")
        iam.put_user_policy(UserName="someone", PolicyName="policy", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName="someone")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        aws_server._request("POST", "/moto-api/reset-auth", b"0", {"content-type": "text/plain"})

    yield allow
    aws_server._request("POST", "/moto-api/reset-auth", b"inf", {"content-type": "text/plain"})


@pytest.fixture
async def storage():
    one = S3Storage(AwsSettings())
    yield one
    await one.aclose()


async def deliver(uri: str, segment) -> None:
    sink = S3LogSink(locate(uri), AwsSettings(s3_multipart_bytes=PART))
    try:
        await sink.deliver(segment)
    finally:
        await sink.aclose()


async def test_of_a_server(allowed, storage, make_segment):
    allowed(SERVER)
    assert (await storage.read("s3://my-models/penguins/model.onnx")).data == b"model"
    with pytest.raises(StorageError, match="AccessDenied"):
        await storage.read("s3://my-models/other/model.onnx")
    for size in (1000, PART + 1):
        await deliver("s3://my-logs/penguins", make_segment(size))
        with pytest.raises(SinkRefused, match="AccessDenied"):
            await deliver("s3://my-logs/other", make_segment(size))
    with pytest.raises(StorageError, match="AccessDenied"):
        await storage.read("s3://my-logs/penguins/a b/ü+")


async def test_of_a_reader(allowed, storage, make_segment):
    allowed(READER)
    (entry,) = [entry async for entry in storage.entries("s3://my-logs/penguins")]
    assert (await storage.read(entry.uri)).data == b"log"
    with pytest.raises(StorageError, match="AccessDenied"):
        await storage.read("s3://my-models/penguins/model.onnx")
    with pytest.raises(SinkRefused, match="AccessDenied"):
        await deliver("s3://my-logs/penguins", make_segment(1000))


@pytest.mark.parametrize("key", ["a//b/", "/", "..", "a/./b", "%2F+ %", "ü" * 450, "~*'()!"])
async def test_a_signature_is_right_whatever_the_key_is(allowed, storage, make_segment, key):
    allowed({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
    segment = make_segment(1000)
    await deliver(f"s3://my-logs/{key}", segment)
    uri = f"s3://my-logs/{key.rstrip('/')}/{segment.key}".replace("my-logs//year", "my-logs/year")
    assert (await storage.read(uri)).data == segment.path.read_bytes()


async def test_a_wrong_key_is_noticed(allowed, storage, monkeypatch):
    """Else the tests above could not fail."""
    allowed(SERVER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another" * 5)
    with pytest.raises(StorageError, match="SignatureDoesNotMatch"):
        await storage.read("s3://my-models/penguins/model.onnx")
