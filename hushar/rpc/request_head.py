"""What a request's header block says, checked once and then shared by every call that repeats it.

The order of the checks is that of a call: malformed HTTP/2 (RFC 9113, section 8) resets the stream; what
is no gRPC gets an HTTP status; what gRPC cannot serve gets a status of its own. A RequestHead is
immutable and knows nothing of its connection, so a memo may keep it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from purerpc import StatusCode

from hushar.rpc.header_blocks import Field, list_size
from hushar.rpc.status import BadMetadata, BadTimeout, decode_binary, parse_timeout

_NAME: Final = re.compile(rb"[^\x00-\x20A-Z\x7f-\xff:]+")
_VALUE: Final = re.compile(rb"(?![ \t])[^\x00\r\n]*(?<![ \t])", re.DOTALL)
_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
_CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_SINGLE: Final = frozenset((b"content-type", b"grpc-timeout", b"grpc-encoding", b"content-length", b"host"))
_PARSED: Final = _PSEUDO | _CONNECTION_SPECIFIC | _SINGLE | {b"te"}
"""Names that mean something to the transport."""
_TIMEOUT: Final = re.compile(rb"[0-9]{1,8}[HMSmun]")
_OWN: Final = frozenset(
    (b"content-type", b"content-length", b"te", b"user-agent", b"host", b"accept-encoding")
)
"""Names that are the transport's and not the client's metadata, beside `grpc-…`."""


class Malformed(ValueError):
    """The request is no HTTP/2 request: RST_STREAM PROTOCOL_ERROR."""


class Refusal(NamedTuple):
    """Why a well-formed call is not begun: a gRPC status at once, trailers only."""

    code: StatusCode
    text: str


class RequestHead:
    """One request's header block."""

    __slots__ = (
        "accept",
        "authority",
        "content_length",
        "encoding",
        "fields",
        "http_status",
        "path",
        "pseudo",
        "refusal",
        "route",
        "scheme",
        "size",
        "timeout",
    )

    def __init__(self) -> None:
        self.scheme = b""
        self.path = b""
        self.authority: bytes | None = None
        self.fields: Sequence[Field] = ()
        """All regular fields, in wire order."""
        self.content_length: int | None = None
        self.timeout: float | None = None
        """Seconds."""
        self.encoding: bytes | None = None
        """`grpc-encoding`; None for identity."""
        self.accept: frozenset[bytes] = frozenset()
        self.http_status: int | None = None
        """Of the answer to what is no gRPC request."""
        self.refusal: Refusal | None = None
        self.pseudo = 0
        """How many pseudo-headers there are."""
        self.size = 0
        """Of all fields, as RFC 9113 counts it."""
        self.route: object = None
        """What the path leads to; set by whoever knows the routes, once a head."""


def parse_head(fields: Sequence[Field]) -> RequestHead:
    """The head of a request. Raises Malformed."""
    head = RequestHead()
    pseudo, regular = _split(fields)
    values = _singles(regular)
    head.fields = regular
    head.pseudo = len(pseudo)
    head.size = list_size(fields)
    head.scheme = pseudo.get(b":scheme", b"")
    head.path = pseudo.get(b":path", b"")
    if b":method" not in pseudo or not head.scheme or not head.path:
        raise Malformed("a pseudo-header is missing")
    host = values.get(b"host")
    head.authority = pseudo.get(b":authority", host)
    if host is not None and host != head.authority:
        raise Malformed(":authority and Host differ")
    head.content_length = _content_length(values.get(b"content-length"))
    if not is_grpc(values.get(b"content-type", b"")):
        head.http_status = 415
    elif pseudo[b":method"] != b"POST":
        head.http_status = 405
    else:
        _read_grpc(head, values)
    return head


def vary_head(
    known: RequestHead, fields: Sequence[Field], literals: Sequence[Field], before_literals: int
) -> RequestHead | None:
    """The head of `fields`, which are those of `known` and some literals among them.

    None where a literal is more than a time-out or a client's own text: then all has to be parsed.
    """
    if before_literals < known.pseudo:
        return None
    timeout = known.timeout
    for name, value in literals:
        if name == b"grpc-timeout":
            if timeout is not None or not _TIMEOUT.fullmatch(value):
                return None
            timeout = parse_timeout(value)
        elif (
            name in _PARSED
            or name[-4:] == b"-bin"
            or name[:5] == b"grpc-"
            or not _NAME.fullmatch(name)
            or not _VALUE.fullmatch(value)
        ):
            return None
    head = RequestHead()
    head.scheme, head.path, head.authority = known.scheme, known.path, known.authority
    head.encoding, head.accept = known.encoding, known.accept
    head.content_length, head.route = known.content_length, known.route
    head.fields = fields[known.pseudo :]
    head.timeout = timeout
    return head


def is_grpc(content_type: bytes) -> bool:
    """`application/grpc`, alone or followed by `+…` or `;…` (PROTOCOL-HTTP2.md)."""
    name = content_type[:16].lower()
    return name == b"application/grpc" and content_type[16:17] in (b"", b"+", b";")


def check_trailers(fields: Sequence[Field]) -> None:
    """A request's trailers: regular fields only. Raises Malformed."""
    pseudo, _ = _split(fields)
    if pseudo:
        raise Malformed("a pseudo-header in the trailers")


def _split(fields: Sequence[Field]) -> tuple[dict[bytes, bytes], Sequence[Field]]:
    """Pseudo-headers by name, and the regular fields. Raises Malformed."""
    pseudo: dict[bytes, bytes] = {}
    count = 0
    for field in fields:
        name, value = field
        if name[:1] != b":":
            break
        if name not in _PSEUDO or name in pseudo or not _VALUE.fullmatch(value):
            raise Malformed("a pseudo-header that is unknown, doubled or has a bad value")
        pseudo[name] = value
        count += 1
    regular = fields[count:]
    for name, value in regular:
        # A name that begins with a colon fails here too: pseudo-headers come first.
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Malformed("a field with a bad name or value")
        if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
            raise Malformed("a field of HTTP/1.1's connections")
    return pseudo, regular


def _singles(fields: Sequence[Field]) -> Mapping[bytes, bytes]:
    """The fields that may stand once, by name. Raises Malformed where one stands twice."""
    values: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in _SINGLE:
            if name in values:
                raise Malformed("a field that may stand once stands twice")
            values[name] = value
    return values


def _content_length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > 19:
        raise Malformed("content-length is no number")
    return int(value)


def _read_grpc(head: RequestHead, values: Mapping[bytes, bytes]) -> None:
    """The fields of gRPC's own; what is wrong with them is a refusal."""
    encoding = values.get(b"grpc-encoding")
    head.encoding = None if encoding == b"identity" else encoding
    accepted: set[bytes] = set()
    for name, value in head.fields:
        if name == b"grpc-accept-encoding":
            accepted.update(part.strip() for part in value.split(b","))
        elif name[-4:] == b"-bin":
            try:
                decode_binary(value)
            except BadMetadata:
                head.refusal = Refusal(StatusCode.INTERNAL, "metadata that ends in -bin is not base64")
    head.accept = frozenset(accepted)
    timeout = values.get(b"grpc-timeout")
    if timeout is not None:
        try:
            head.timeout = parse_timeout(timeout)
        except BadTimeout:
            head.refusal = Refusal(StatusCode.INTERNAL, "grpc-timeout is not up to eight digits and a unit")


def custom_metadata(fields: Sequence[Field]) -> tuple[tuple[str, str | bytes], ...]:
    """The client's own metadata, in wire order: `-bin` values as bytes, each on its own."""
    pairs: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        if name in _OWN or name[:5] == b"grpc-":
            continue
        if name[-4:] == b"-bin":
            pairs.extend((name.decode("ascii"), part) for part in decode_binary(value))
        else:
            pairs.append((name.decode("ascii"), text_of(value)))
    return tuple(pairs)


def text_of(value: bytes) -> str:
    """A value as text; bytes that are no UTF-8 never fail a call."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def first(fields: Sequence[Field], name: bytes) -> bytes | None:
    """The first value of a field."""
    return next((value for found, value in fields if found == name), None)
