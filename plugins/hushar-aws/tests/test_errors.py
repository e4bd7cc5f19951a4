"""What an answer says, and what is done about it."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.plugins import SegmentRefused, SinkError, SinkRefused
from hushar_aws.errors import AwsError, error_of, kind_of, parse_xml, sink_error

S3 = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchKey</Code><Message>The
key \xe2\x80\xa8is not there</Message><Token-0>secret</Token-0></Error>"""
QUERY = b"""<ErrorResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><Error>
<Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"""
JSON = b'{"__type": "com.amazonaws.kinesis#ResourceNotFoundException", "message": "No stream"}'


@pytest.mark.parametrize(
    ("status", "headers", "body", "text", "kind"),
    [
        (404, {}, S3, "NoSuchKey (404): The key is not there", "refused"),
        (400, {}, QUERY, "Throttling (400): Rate exceeded", "throttled"),
        (400, {}, JSON, "ResourceNotFoundException (400): No stream", "refused"),
        (400, {}, b'{"__type": "ValidationError", "Message": "x"}', "ValidationError (400): x", "invalid"),
        (400, {"x-amzn-errortype": "SlowDown:http://x/"}, b"{}", "SlowDown (400)", "throttled"),
        (400, {"x-amzn-query-error": "ValidationError;Sender"}, b"\xa1", "ValidationError (400)", "invalid"),
        (503, {}, b"<html>down</html>", "HTTP503 (503)", "transient"),
        (502, {}, b"", "HTTP502 (502)", "transient"),
        (403, {}, b"", "AccessDenied (403)", "refused"),
        (418, {}, b"{", "HTTP418 (418)", "refused"),
        (400, {}, b"[1]", "HTTP400 (400)", "refused"),
        (400, {}, b'{"__type": 5, "message": ["x"]}', "5 (400): ['x']", "refused"),
        (429, {}, b"", "HTTP429 (429)", "throttled"),
        (200, {}, b"", "HTTP200 (200)", "transient"),
    ],
)  # fmt: skip
def test_every_format(status, headers, body, text, kind):
    error = error_of(status, headers, body)
    assert str(error) == text
    assert error.kind == kind
    assert error.status == status


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "RequestTimeout", "transient"),
        (500, "InternalError", "transient"),
        (503, "SlowDown", "throttled"),
        (400, "ProvisionedThroughputExceededException", "throttled"),
        (400, "ExpiredToken", "credentials"),
        (403, "InvalidAccessKeyId", "credentials"),
        (403, "RequestTimeTooSkewed", "skewed"),
        (403, "AccessDenied", "refused"),
        (404, "NoSuchBucket", "refused"),
        (400, "InvalidArgument", "invalid"),
        (400, "EntityTooLarge", "invalid"),
        (400, "InvalidStorageClass", "refused"),
        (400, "KMS.DisabledException", "refused"),
        (400, "BadDigest", "transient"),
    ],
)
def test_kinds(status, code, kind):
    assert kind_of(status, code) == kind


def test_a_signature_that_expired_is_a_wrong_clock():
    assert kind_of(403, "SignatureDoesNotMatch", "Signature expired: 2026… is now earlier") == "skewed"
    assert kind_of(403, "SignatureDoesNotMatch", "The request signature we calculated") == "refused"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("transient", SinkError),
        ("throttled", SinkError),
        ("refused", SinkRefused),
        ("credentials", SinkRefused),
        ("skewed", SinkRefused),
        ("invalid", SegmentRefused),
    ],
)
def test_what_a_sink_raises(kind, expected):
    assert type(sink_error(AwsError("Code", 400, "text", kind))) is expected


@pytest.mark.parametrize(
    ("date", "text"),
    [
        ("Sat, 28 Nov 2026 12:00:00 GMT", "this machine's clock is 90 s ahead"),
        ("Sat, 28 Nov 2026 12:03:00 GMT", "this machine's clock is 90 s behind"),
        ("Sat, 28 Nov 2026 12:00:00", "90 s ahead"),
        ("nonsense", "no Date"),
        ("", "no Date"),
        ("Sat, 28 Nov 99999 12:00:00 GMT", "no Date"),
    ],
)
def test_the_clock(date, text):
    body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>Skewed.</Message></Error>"
    now = datetime(2026, 11, 28, 12, 1, 30, tzinfo=UTC)
    assert text in str(error_of(403, {"date": date}, body, now=now))


def test_a_region_may_be_in_the_body():
    body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>"
    assert "in eu-west-3, the requests go to eu-west-1" in str(error_of(400, {}, body, region="eu-west-1"))


def test_a_redirect_without_a_region():
    assert "another region than eu-west-1?" in str(error_of(307, {}, b"", region="eu-west-1"))


def test_text_of_others_is_one_short_line():
    error = error_of(
        400, {}, b"<Error><Code>A B\n&lt;x&gt;</Code><Message>" + b"\x85y\n" * 1000 + b"</Message></Error>"
    )
    assert "\n" not in str(error)
    assert len(str(error)) < 450


@pytest.mark.parametrize("text", ["", "1.5", "-1", "9" * 30, "x", "٣"])
def test_only_a_plain_number_is_a_delay(text):
    assert error_of(503, {"x-amz-retry-after": text}, b"").retry_after_seconds is None
    assert error_of(503, {"x-amz-retry-after": "1500"}, b"").retry_after_seconds == 1.5


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<a",
        b"<!DOCTYPE a><a/>",
        b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "b">]><l>&a;</l>',
        b"\xff",
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE l [<!ENTITY a "b">]><l>&a;</l>'.encode("utf-16"),
    ],
)
def test_what_is_no_xml_of_aws(text):
    assert parse_xml(text) is None


def test_s3_sends_blanks_before_the_declaration():
    root = parse_xml(b' \n  <?xml version="1.0" encoding="UTF-8"?>\n <a xmlns="urn:x"><b>\xc3\xbc</b></a>')
    assert root is not None
    assert (root.tag, root.findtext("b")) == ("a", "ü")


NAMES = st.sampled_from(
    ["date", "x-amzn-errortype", "x-amzn-query-error", "x-amz-bucket-region", "x-amz-retry-after"]
)
BODIES = st.one_of(
    st.binary(),
    st.text().map(lambda text: f"<Error><Code>{text}</Code><Message>x{text}</Message></Error>".encode()),
    st.text().map(lambda text: json.dumps({"__type": text, "message": text}).encode()),
    st.sampled_from([b'{"a":' * 20_000, b"<a>" * 20_000, b"<Error>" + b"<Code>" * 9_000]),
)


@given(st.integers(200, 599), st.dictionaries(NAMES, st.text()), BODIES)
def test_whatever_comes_is_one_line(status, headers, body):
    error = error_of(status, headers, body)
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 1000
    assert type(sink_error(error)) in (SinkError, SinkRefused, SegmentRefused)
