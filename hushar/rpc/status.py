"""Statuses, time-outs and metadata in the form that gRPC gives them on the wire.

Source: grpc/doc/PROTOCOL-HTTP2.md. The types of statuses are purerpc's.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterable
from typing import Final

from purerpc import StatusCode

MESSAGE_BYTES: Final = 1024
"""A status message is cut to this many bytes of UTF-8 before it is percent-encoded."""

_SECONDS: Final = {b"n": 1e-9, b"u": 1e-6, b"m": 1e-3, b"S": 1.0, b"M": 60.0, b"H": 3600.0}
"""Of each unit of a time-out, finest first."""
_TIMEOUT_DIGITS: Final = 8
_LARGEST_TIMEOUT: Final = 99_999_999

_PRINTABLE: Final = frozenset(range(0x20, 0x7F))
_PLAIN: Final = _PRINTABLE - {ord("%")}
_BLANKS: Final = b" \t"
_NAME: Final = re.compile(r"[0-9a-z_.\-]+")
_RESERVED: Final = frozenset(
    (
        *("connection", "content-length", "content-type", "host", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
"""Names, beside `grpc-…`, that mean something to HTTP or to gRPC: as metadata they break the call."""


class BadTimeout(ValueError):
    """A grpc-timeout that is not up to eight digits and a unit."""


class BadMetadata(ValueError):
    """A binary value that is no base64, or a name or value that cannot be sent."""


def parse_timeout(value: bytes) -> float:
    """The seconds of a `grpc-timeout`. Raises BadTimeout."""
    count, unit = value[:-1], value[-1:]
    if unit not in _SECONDS or not count.isdigit() or len(count) > _TIMEOUT_DIGITS:
        raise BadTimeout(value)
    return int(count) * _SECONDS[unit]


def format_timeout(seconds: float) -> bytes:
    """A `grpc-timeout`, in the finest unit that its eight digits can hold; never 0 for more than 0."""
    for unit, length in _SECONDS.items():
        count = max(seconds, 0.0) / length
        if count <= _LARGEST_TIMEOUT:
            return b"%d%b" % (math.ceil(count), unit)
    return b"%dH" % _LARGEST_TIMEOUT


def encode_message(text: str) -> bytes:
    """A `grpc-message`: UTF-8, percent-encoded outside printable ASCII, cut to MESSAGE_BYTES.

    Blanks at the ends are encoded too: a field's value must not begin or end with one (RFC 9113, 8.2.1).
    """
    data = text.encode("utf-8", "replace")
    if len(data) > MESSAGE_BYTES:
        data = data[:MESSAGE_BYTES].decode("utf-8", "ignore").encode()
    if _PLAIN.issuperset(data) and data.strip(b" ") == data:
        return data
    start, end = len(data) - len(data.lstrip(b" ")), len(data.rstrip(b" "))
    return b"".join(
        bytes((byte,)) if byte in _PLAIN and start <= at < end else b"%%%02X" % byte
        for at, byte in enumerate(data)
    )


def decode_message(value: bytes) -> str:
    """The text of a `grpc-message`; what is not properly encoded stays as it is."""
    if b"%" not in value:
        return value.decode("utf-8", "replace")
    decoded = re.sub(rb"%([0-9a-fA-F]{2})", lambda found: bytes((int(found[1], 16),)), value)
    return decoded.decode("utf-8", "replace")


def decode_binary(value: bytes) -> list[bytes]:
    """The values of a `-bin` field: base64, padded or not, several joined by commas. BadMetadata."""
    decoded = []
    for part in value.split(b","):
        text = part.strip(_BLANKS)
        if len(text) % 4:
            # Not padded. One that is padded wrongly has its "=" in the wrong place then, and is refused.
            text += b"=" * (-len(text) % 4)
        try:
            decoded.append(base64.b64decode(text, validate=True))
        except binascii.Error as error:
            raise BadMetadata("not base64") from error
    return decoded


def encode_metadata(pairs: Iterable[tuple[str, str | bytes]]) -> list[tuple[bytes, bytes]]:
    """Metadata as header fields: `-bin` values as unpadded base64, others as ASCII. BadMetadata."""
    fields = []
    for name, value in pairs:
        name = name.lower()  # noqa: PLW2901 - names are lower case on the wire
        if not _NAME.fullmatch(name) or name.startswith("grpc-") or name in _RESERVED:
            raise BadMetadata(f"{name!r} is no name for metadata")
        if not isinstance(value, str | bytes | bytearray | memoryview):
            raise BadMetadata(f"the value of {name!r} is neither text nor bytes")
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
        if name.endswith("-bin"):
            data = base64.b64encode(data).rstrip(b"=")
        elif not _PRINTABLE.issuperset(data):
            raise BadMetadata(f"the value of {name!r} has characters that ASCII metadata cannot hold")
        fields.append((name.encode(), data.strip(b" ")))
    return fields


def code_of_http_status(status: int) -> StatusCode:
    """What a client makes of an HTTP status that came without a grpc-status (http-grpc-status-mapping.md)."""
    return {
        400: StatusCode.INTERNAL,
        401: StatusCode.UNAUTHENTICATED,
        403: StatusCode.PERMISSION_DENIED,
        404: StatusCode.UNIMPLEMENTED,
        429: StatusCode.UNAVAILABLE,
        431: StatusCode.INTERNAL,
        502: StatusCode.UNAVAILABLE,
        503: StatusCode.UNAVAILABLE,
        504: StatusCode.UNAVAILABLE,
    }.get(status, StatusCode.UNKNOWN)


def code_of_reset(code: int) -> StatusCode:
    """What a client makes of a RST_STREAM (PROTOCOL-HTTP2.md, "Errors")."""
    return {
        0x7: StatusCode.UNAVAILABLE,
        0x8: StatusCode.CANCELLED,
        0xB: StatusCode.RESOURCE_EXHAUSTED,
        0xC: StatusCode.PERMISSION_DENIED,
    }.get(code, StatusCode.INTERNAL)
