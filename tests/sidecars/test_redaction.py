"""Texts of others keep their sense and lose their secrets."""

import pytest

from hushar.sidecars.redaction import redacted


@pytest.mark.parametrize(
    "text",
    [
        "GET https://b.s3.amazonaws.com/k?X-Amz-Signature=SECRET&x=1 failed",
        "GET https://b/k?X-Amz-Credential=SECRET%2F20260101&X-Amz-Security-Token=SECRET",
        "headers: {'authorization': 'AWS4-HMAC-SHA256 Credential=SECRET/x, Signature=SECRET'}",
        "headers: [(b'Authorization', b'Bearer SECRET')]",
        "Authorization: Bearer SECRET",
        "Authorization: Basic SECRET==",
        "https://user:SECRET@proxy:3128 refused",
        "cannot connect to https://SECRET@host/",
        '{"SecretAccessKey": "SECRET", "SessionToken": "SECRET"}',
        "aws_secret_access_key=SECRET",
        "password: SECRET",
        "api_key='SECRET'",
    ],
)
def test_values_that_look_like_secrets_are_taken_out(text):
    assert "SECRET" in text
    assert "SECRET" not in redacted(text)
    assert "[…]" in redacted(text)


def test_key_ids_are_taken_out():
    assert redacted("no such key ASIAQWERTYUIOPASDFGH here") == "no such key […] here"


@pytest.mark.parametrize(
    "text",
    [
        "503 SlowDown: please reduce your request rate",
        "s3://bucket/prefix/year=2026: AccessDenied (403)",
        "[Errno 28] No space left on device: '/spool/a.w1.s1.t0.x.open'",
        "ExpiredToken: the provided token has expired",
        "connect to https://s3.eu-central-1.amazonaws.com:443 timed out",
    ],
)
def test_everything_else_stays(text):
    assert redacted(text) == text
