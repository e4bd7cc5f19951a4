"""SigV4: the examples of AWS's documentation, and what goes over the wire, checked as AWS checks it."""

import hashlib
import hmac
from datetime import datetime
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.credentials import ReadOnlyCredentials

from hushar.testing.aws import SECRET_KEY
from hushar_aws.client import AwsClient, target
from hushar_aws.s3_log_sink import S3LogSink
from hushar_aws.s3_storage import S3Storage
from hushar_aws.s3_uris import locate
from hushar_aws.settings import AwsSettings
from hushar_aws.signing import payload_hash_of, sign

EXAMPLE = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)
HOST = "https://examplebucket.s3.amazonaws.com"


def sha256_hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def expected_signature(request, payload_hash: str | None = None) -> str:
    """By the text of "Signature calculations for the Authorization header", from what arrived."""
    parts = urlsplit(request.target)
    scheme, _, rest = request.headers["authorization"].partition(" ")
    assert scheme == "AWS4-HMAC-SHA256"
    fields = dict(field.strip().split("=", 1) for field in rest.split(","))
    _, date, region, service, end = fields["Credential"].split("/")
    names = fields["SignedHeaders"].split(";")
    query = "&".join(sorted(parts.query.split("&"))) if parts.query else ""
    canonical = "\n".join(
        [
            request.method,
            parts.path,
            query,
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in names),
            "",
            ";".join(names),
            payload_hash or request.headers["x-amz-content-sha256"],
        ]
    )
    scope = f"{date}/{region}/{service}/{end}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{request.headers['x-amz-date']}\n{scope}\n{hashed}"
    key = b"AWS4" + SECRET_KEY.encode()
    for each in (date, region, service, end):
        key = sha256_hmac(key, each)
    return sha256_hmac(key, to_sign).hex()


def assert_signed(requests) -> None:
    assert requests
    for request in requests:
        assert request.headers["authorization"].endswith(f"Signature={expected_signature(request)}")


@pytest.mark.parametrize(
    ("url", "headers", "signature"),
    [
        (
            "/test.txt",
            {"range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        ("/?lifecycle=", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_examples_of_the_documentation(monkeypatch, url, headers, signature):
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: datetime(2013, 5, 24))
    signed = sign(
        "GET",
        HOST + url,
        headers,
        payload_hash_of(b""),
        credentials=EXAMPLE,
        service="s3",
        region="us-east-1",
    )
    assert signed["Authorization"].endswith(f"Signature={signature}")


def test_a_session_has_its_token_signed():
    session = ReadOnlyCredentials("AKIA", "secret", "token")
    signed = sign(
        "GET", HOST, {}, payload_hash_of(b""), credentials=session, service="kinesis", region="eu-west-1"
    )
    assert signed["X-Amz-Security-Token"] == "token"
    assert "x-amz-security-token" in signed["Authorization"]


def test_the_target_is_encoded_once_and_sorted():
    assert target("/a b/../ü%41~", {}) == "/a%20b/../%C3%BC%2541~"
    assert target("/", {"uploads": "", "a/b": "c d"}) == "/?a%2Fb=c%20d&uploads="


@pytest.mark.parametrize("key", ["x", "a b/ü/हुशार", "a/../b", "a//b", "100%41+?#&=;,:@!$'()*~[]{}|^`\"<>\\"])
async def test_every_request_of_s3_is_signed_as_it_is_sent(faulty_aws, aws_bucket, make_segment, key):
    settings = AwsSettings(s3_multipart_bytes=5 * 1024 * 1024, s3_storage_class="STANDARD_IA")
    sink = S3LogSink(locate(f"s3://{aws_bucket}/{key}"), settings)
    small, large = make_segment(), make_segment(5 * 1024 * 1024 + 1)
    await sink.deliver(small)
    await sink.deliver(large)
    await sink.aclose()
    storage = S3Storage(settings)
    assert (await storage.read(f"s3://{aws_bucket}/{key}/{small.key}")).data == small.path.read_bytes()
    assert len([entry async for entry in storage.entries(f"s3://{aws_bucket}/{key}")]) == 2
    await storage.aclose()
    assert {request.operation for request in faulty_aws.requests} >= {
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "GetObject",
        "ListObjectsV2",
    }
    assert_signed(faulty_aws.requests)


async def test_other_services_are_too(faulty_aws, canned):
    faulty_aws.inject(canned(200, b"{}"))
    client = AwsClient(AwsSettings(), "kinesis")
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "Kinesis_20131202.ListStreams"}
    await client.request("POST", "/", headers=headers, body=b"{}")
    await client.aclose()
    (request,) = faulty_aws.requests
    assert request.service == "kinesis"
    assert "=content-type;host;x-amz-date;x-amz-target," in request.headers["authorization"]
    signature = expected_signature(request, payload_hash_of(b"{}"))
    assert request.headers["authorization"].endswith(signature)
