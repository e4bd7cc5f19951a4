"""What a response's header block says: leading headers, trailers, or both at once (trailers only).

A ResponseHead is made once and then shared by all calls whose answer has the same block; nothing changes it.
"""

import re
from collections.abc import Sequence
from typing import Final

from purerpc import Status, StatusCode

from hushar.rpc.header_blocks import Field
from hushar.rpc.request_head import Malformed, first, is_grpc
from hushar.rpc.status import code_of_http_status, decode_message

_NAME: Final = re.compile(rb"[^\x00-\x20A-Z\x7f-\xff:]+")
"""RFC 9113, section 8.2.1."""
_VALUE: Final = re.compile(rb"[^\x00\r\n]*")
"""The same section, but for blanks at the ends: a grpc-message may end with one, as gRPC encodes it."""
_CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_HTTP_DIGITS: Final = 3
_CODE_DIGITS: Final = 3
"""No status code of gRPC's has more."""


class ResponseHead:
    """One header block of a response."""

    __slots__ = ("encoding", "fields", "http_status", "is_grpc", "oversize", "status")

    def __init__(self, http_status: int | None, fields: Sequence[Field]) -> None:
        self.http_status = http_status
        """`:status`; None in trailers."""
        self.fields = fields
        """All regular fields, in wire order."""
        self.is_grpc = http_status == 200 and is_grpc(first(fields, b"content-type") or b"")
        """Whether these are the leading headers of a gRPC answer."""
        encoding = first(fields, b"grpc-encoding")
        self.encoding = None if encoding == b"identity" else encoding
        self.status = _status(fields)
        """What `grpc-status` and `grpc-message` say; None without the first."""
        self.oversize = False
        """The list is longer than the client takes."""

    def http_failure(self) -> Status:
        """The status of an answer without grpc-status: what a proxy says (http-grpc-status-mapping.md)."""
        number = self.http_status
        if number is None or number == 200:
            return Status(StatusCode.UNKNOWN, "the answer has no grpc-status")
        return Status(code_of_http_status(number), f"HTTP status {number}, and no gRPC")


def parse_response(fields: Sequence[Field]) -> ResponseHead:
    """The head that a header block makes. Raises Malformed (RFC 9113, section 8.1.1)."""
    http_status = None
    if fields and fields[0][0] == b":status":
        value = fields[0][1]
        if len(value) != _HTTP_DIGITS or not value.isdigit():
            raise Malformed("no :status of three digits")
        http_status = int(value)
        fields = fields[1:]
    for name, value in fields:
        # Any other pseudo-header, or one behind a regular field, fails by its colon.
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Malformed("a field with a bad name or value")
        if name in _CONNECTION_SPECIFIC:
            raise Malformed("a field of HTTP/1.1's connections")
    return ResponseHead(http_status, fields)


def _status(fields: Sequence[Field]) -> Status | None:
    code = first(fields, b"grpc-status")
    if code is None:
        return None
    if not code.isdigit() or len(code) > _CODE_DIGITS:
        return Status(StatusCode.UNKNOWN, "the answer's grpc-status is no number")
    return Status(int(code), decode_message(first(fields, b"grpc-message") or b""))
