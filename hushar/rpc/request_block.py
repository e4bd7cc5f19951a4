"""The header block that begins a call."""

from collections.abc import Sequence
from typing import Final

from hushar.rpc.header_blocks import Field, encode
from hushar.rpc.status import BadMetadata

_ACCEPT: Final = b"identity,deflate,gzip"
_TIMEOUT: Final = b"\0\x0cgrpc-timeout"
"""`grpc-timeout` as a literal field that is not indexed, up to its value."""
_PREVIOUS: Final = b"\0\x1agrpc-previous-rpc-attempts"
_OWN: Final = frozenset(
    b"content-type content-length te user-agent host connection proxy-connection keep-alive "
    b"transfer-encoding upgrade".split()
)
"""Names that the transport itself sends, or that HTTP/2 has no room for."""


def request_block(
    scheme: str, authority: str, path: str, fields: Sequence[Field] = (), user_agent: str = ""
) -> bytes:
    """The header block of a call without its time-out. The same for the same arguments: worth keeping.

    Raises BadMetadata for a field that is the transport's own.
    """
    for name, _ in fields:
        if name in _OWN:
            raise BadMetadata(f"{name.decode()!r} is no name for metadata")
    return encode(
        [
            (b":method", b"POST"),
            (b":scheme", scheme.encode()),
            (b":path", path.encode()),
            (b":authority", authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"grpc-accept-encoding", _ACCEPT),
            *([(b"user-agent", user_agent.encode())] if user_agent else []),
            *fields,
        ]
    )


def previous_field(attempts: int) -> bytes:
    """What a call adds to its header block that a server has refused `attempts` times before, if it has
    (gRFC A6: attempts of which none is known to have begun are not counted)."""
    digits = b"%d" % attempts
    return b"%b%c%b" % (_PREVIOUS, len(digits), digits) if attempts else b""


def timeout_field(value: bytes) -> bytes:
    """What a `grpc-timeout` of up to nine bytes adds to a header block."""
    return b"%b%c%b" % (_TIMEOUT, len(value), value)
