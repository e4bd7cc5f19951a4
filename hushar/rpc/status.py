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

_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_LARGEST_TIMEOUT: Final = 99_999_999
"""At most eight digits."""

_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {0x25}
_NAME: Final = re.compile(r"[0-9a-z_.\-]+")


class BadTimeout(ValueError):
    """A grpc-timeout that is not up to eight digits and a unit."""


class BadMetadata(ValueError):
    """A binary value that is no base64, or a name or value that cannot be sent."""


def parse_timeout(value: bytes) -> float:
    """The seconds of a `grpc-timeout`. Raises BadTimeout."""
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        raise BadTimeout(value)
    return int(found[1]) * _UNITS[found[2].decode()]


def format_timeout(seconds: float) -> bytes:
    """A `grpc-timeout`, in the finest unit that its eight digits can hold; never 0 for more than 0."""
    for unit in "numSMH":
        count = math.ceil(max(seconds, 0.0) / _UNITS[unit])
        if count <= _LARGEST_TIMEOUT:
            return f"{count}{unit}".encode()
    return f"{_LARGEST_TIMEOUT}H".encode()


def encode_message(text: str) -> bytes:
    """A `grpc-message`: UTF-8, percent-encoded outside printable ASCII, cut to MESSAGE_BYTES."""
    data = text.encode("utf-8", "replace")
    if len(data) > MESSAGE_BYTES:
        data = data[:MESSAGE_BYTES].decode("utf-8", "ignore").encode()
    if _PLAIN.issuperset(data):
        return data
    return b"".join(bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in data)


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
        text = part.strip().rstrip(b"=")
        try:
            decoded.append(base64.b64decode(text + b"=" * (-len(text) % 4), validate=True))
        except (binascii.Error, ValueError) as error:
            raise BadMetadata("not base64") from error
    return decoded


def encode_metadata(pairs: Iterable[tuple[str, str | bytes]]) -> list[tuple[bytes, bytes]]:
    """Metadata as header fields: `-bin` values as unpadded base64, others as ASCII. BadMetadata."""
    fields = []
    for name, value in pairs:
        name = name.lower()  # noqa: PLW2901 - names are lower case on the wire
        if not _NAME.fullmatch(name) or name.startswith("grpc-"):
            raise BadMetadata(f"{name!r} is no name for metadata")
        if name.endswith("-bin"):
            data = value.encode() if isinstance(value, str) else bytes(value)
            fields.append((name.encode(), base64.b64encode(data).rstrip(b"=")))
            continue
        text = value if isinstance(value, bytes) else value.encode("ascii", "strict")
        if not all(0x20 <= byte < 0x7F for byte in text):
            raise BadMetadata(f"the value of {name!r} has characters that ASCII metadata cannot hold")
        fields.append((name.encode(), text.strip(b" ")))
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
