"""Header blocks of responses; what comes of them in a call is test_client_engine.py's."""

import pytest

from hushar.rpc.request_head import Malformed
from hushar.rpc.response_head import parse_response

GRPC = (b":status", b"200"), (b"content-type", b"application/grpc+proto")


def test_leading_headers():
    head = parse_response([*GRPC, (b"grpc-encoding", b"gzip"), (b"x", b"")])
    assert (head.http_status, head.is_grpc, head.encoding, head.status) == (200, True, b"gzip", None)
    assert head.fields == [*GRPC[1:], (b"grpc-encoding", b"gzip"), (b"x", b"")]


def test_identity_is_no_encoding():
    assert parse_response([*GRPC, (b"grpc-encoding", b"identity")]).encoding is None


def test_trailers():
    head = parse_response([(b"grpc-status", b"5"), (b"grpc-message", b"a%20b ")])
    assert (head.http_status, head.is_grpc) == (None, False)
    assert (head.status.int_value, head.status.status_message) == (5, "a b ")


def test_no_fields_are_trailers_without_a_status():
    head = parse_response([])
    assert head.status is None
    assert head.http_failure().status_code.name == "UNKNOWN"


@pytest.mark.parametrize(
    "fields",
    [
        [(b":status", b"")],
        [(b":status", b"1000")],
        [(b"x", b""), (b":status", b"200")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b"A", b"")],
        [(b"x", b"\0")],
        [(b"transfer-encoding", b"chunked")],
    ],
)
def test_malformed_blocks(fields):
    with pytest.raises(Malformed):
        parse_response(fields)
