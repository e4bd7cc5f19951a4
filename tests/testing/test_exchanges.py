"""Which operation of which service a request is."""

import gzip

import pytest

from hushar.testing.exchanges import Request, error_answer, request_from

SCOPE = (
    "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/{}/aws4_request, SignedHeaders=host, Signature=ab"
)


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("PUT", "/bucket", "CreateBucket"),
        ("GET", "/bucket?list-type=2&prefix=a", "ListObjectsV2"),
        ("GET", "/bucket/?prefix=a", "ListObjects"),
        ("HEAD", "/bucket", "HeadBucket"),
        ("DELETE", "/bucket", "DeleteBucket"),
        ("POST", "/bucket?delete", "DeleteObjects"),
        ("PUT", "/bucket/key", "PutObject"),
        ("PUT", "/bucket/key?partNumber=1&uploadId=u", "UploadPart"),
        ("POST", "/bucket/key?uploads", "CreateMultipartUpload"),
        ("POST", "/bucket/key?uploadId=u", "CompleteMultipartUpload"),
        ("DELETE", "/bucket/key?uploadId=u", "AbortMultipartUpload"),
        ("DELETE", "/bucket/key", "DeleteObject"),
        ("GET", "/bucket/key?uploadId=u", "ListParts"),
        ("GET", "/bucket/key", "GetObject"),
        ("HEAD", "/bucket/key", "HeadObject"),
        ("PATCH", "/bucket/key", ""),
    ],
)
def test_operations_of_s3(method, target, operation):
    request = request_from(1, method, target, {"authorization": SCOPE.format("s3")})
    assert (request.service, request.operation, request.bucket) == ("s3", operation, "bucket")


def test_a_copy_and_a_key_with_everything_in_it():
    request = request_from(7, "PUT", "/b/year%3D2026/x%2Fy%20z.pb?x=1", {"x-amz-copy-source": "/a/b"})
    assert request == Request(
        7,
        "PUT",
        "/b/year%3D2026/x%2Fy%20z.pb?x=1",
        {"x-amz-copy-source": "/a/b"},
        0,
        "s3",
        "CopyObject",
        "b",
        "year=2026/x/y z.pb",
    )


@pytest.mark.parametrize(
    ("headers", "target", "form", "operation"),
    [
        ({}, "/", b"Version=2010&Action=PutMetricData", "PutMetricData"),
        ({"content-encoding": "gzip"}, "/", gzip.compress(b"Action=PutMetricData"), "PutMetricData"),
        ({"content-encoding": "gzip"}, "/", b"no gzip", ""),
        ({"x-amz-target": "GraniteServiceVersion20100801.PutMetricData"}, "/", b"", "PutMetricData"),
        ({}, "/service/GraniteServiceVersion20100801/operation/PutMetricData", b"", "PutMetricData"),
    ],
)
def test_operations_of_cloudwatch_in_every_protocol(headers, target, form, operation):
    signed = {"authorization": SCOPE.format("monitoring"), "content-length": "12", **headers}
    request = request_from(1, "POST", target, signed, form)
    assert (request.service, request.operation, request.key) == ("monitoring", operation, "")
    assert request.body_bytes == 12


def test_an_error_in_the_answer_to_a_head_has_no_body():
    request = request_from(1, "HEAD", "/bucket/key", {})
    whole = error_answer(request, 403, "AccessDenied", "no <way>").whole()
    assert whole.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert whole.endswith(b"Content-Length: 0\r\n\r\n")


def test_an_error_is_xml_whatever_it_says():
    request = request_from(1, "GET", "/bucket/key", {})
    assert b"<Message>no &lt;way&gt;</Message>" in error_answer(request, 403, "AccessDenied", "no <way>").body
    assert error_answer(request, 599, "Odd", "").head().startswith(b"HTTP/1.1 599 Unknown\r\n")
