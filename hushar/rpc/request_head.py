"""What a request's header block says, checked once and then shared by every call that repeats it.

The order of the checks is that of a call: malformed HTTP/2 (RFC 9113, section 8) resets the stream; what
is no gRPC gets an HTTP status; what gRPC cannot serve gets a status of its own. A RequestHead is not
changed once its route is set, and knows nothing of its connection, so a memo may keep it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from purerpc import StatusCode

from hushar.rpc.header_blocks import Field, list_size
from hushar.rpc.status import BadMetadata, BadTimeout, decode_binary, parse_timeout

_NAME: Final = re.compile(rb"[^\x00-\x20A-Z\x7f-\xff:]+")
"""RFC 9113, section 8.2.1: what a name may hold, beside the colon that begins a pseudo-header's."""
_VALUE: Final = re.compile(rb"(?![ \t])[^\x00\r\n]*(?<![ \t])")
"""The same section: no NUL, CR or LF, and no blank at either end."""
_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
_CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_SINGLE: Final = frozenset((b"content-type", b"grpc-timeout", b"grpc-encoding", b"content-length", b"host"))
"""Regular fields that may stand once."""
PARSED: Final = _PSEUDO | _CONNECTION_SPECIFIC | _SINGLE | {b"te"}
"""Names that mean something to the transport."""
_OWN: Final = frozenset(
    (b"content-type", b"content-length", b"te", b"user-agent", b"host", b"accept-encoding")
)
"""Names that are the transport's and not the client's metadata, beside `grpc-…`."""
_PREVIOUS: Final = b"grpc-previous-rpc-attempts"
"""Of gRPC's own names the one that is meant for the method (gRFC A6): it is handed on as metadata."""
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}
_LENGTH_DIGITS: Final = 19
"""No content-length has more."""


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
        "bodiless",
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
        self.bodiless = False
        """That answer must have no content: the method is HEAD (RFC 9110, section 9.3.2)."""
        self.refusal: Refusal | None = None
        self.pseudo = 0
        """How many pseudo-headers there are."""
        self.size = 0
        """Of all fields, as RFC 9113 counts it."""
        self.route: object = None
        """What the path leads to; set by whoever knows the routes, once a head."""


def parse_head(fields: Sequence[Field], make: Callable[[], RequestHead] = RequestHead) -> RequestHead:
    """The head of a request. Raises Malformed. `make`: the readable class, or its compiled twin."""
    head = make()
    pseudo, regular = _split(fields)
    head.fields = regular
    head.pseudo = len(pseudo)
    head.size = list_size(fields)
    head.scheme = pseudo.get(b":scheme", b"")
    head.path = pseudo.get(b":path", b"")
    method = pseudo.get(b":method", b"")
    if not method or not head.scheme or not head.path:
        raise Malformed("a pseudo-header is missing or empty")
    if method == b"CONNECT":
        raise Malformed("CONNECT has no path, and nothing to connect to here")
    head.bodiless = method == b"HEAD"
    values, doubled = _singles(regular)
    if b"host" in doubled or b"content-length" in doubled:
        raise Malformed("a field that may stand once stands twice")
    head.authority = _authority(pseudo.get(b":authority"), values.get(b"host"), head.scheme)
    head.content_length = _content_length(values.get(b"content-length"))
    if b"content-type" in doubled or not is_grpc(values.get(b"content-type", b"")):
        head.http_status = 415
    elif method != b"POST":
        head.http_status = 405
    elif doubled:
        name = "grpc-timeout" if b"grpc-timeout" in doubled else "grpc-encoding"
        head.refusal = Refusal(StatusCode.INTERNAL, f"{name} stands twice")
    else:
        _read_grpc(head, values)
    return head


def is_text(name: bytes) -> bool:
    """Whether a field of this name is text of the client's own, which means nothing to the transport."""
    return (
        name not in PARSED
        and name[-4:] != b"-bin"
        and name[:5] != b"grpc-"
        and _NAME.fullmatch(name) is not None
    )


def is_value(value: bytes) -> bool:
    """Whether a field may have this value."""
    return _VALUE.fullmatch(value) is not None


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
        if name in _CONNECTION_SPECIFIC or (name == b"te" and value.lower() != b"trailers"):
            raise Malformed("a field of HTTP/1.1's connections")
    return pseudo, regular


def _singles(fields: Sequence[Field]) -> tuple[dict[bytes, bytes], set[bytes]]:
    """The fields that may stand once, by name, and the names of those that stand twice."""
    values: dict[bytes, bytes] = {}
    doubled = set()
    for name, value in fields:
        if name in _SINGLE:
            if name in values:
                doubled.add(name)
            values[name] = value
    return values, doubled


def _authority(authority: bytes | None, host: bytes | None, scheme: bytes) -> bytes | None:
    """`:authority`, or Host. Raises Malformed where they name different servers, or a user at one.

    RFC 9113, section 8.3.1: they are compared as normalized, without the scheme's own port.
    """
    if authority is not None and host is not None and authority != host:
        port = _DEFAULT_PORTS.get(scheme.lower(), b":")
        same = authority.lower().removesuffix(port) == host.lower().removesuffix(port)
        if not same:
            raise Malformed(":authority and Host differ")
    chosen = host if authority is None else authority
    if chosen is not None and b"@" in chosen:
        raise Malformed("a user's name in the authority")
    return chosen


def _content_length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise Malformed("content-length is no number")
    return int(value)


def _read_grpc(head: RequestHead, values: dict[bytes, bytes]) -> None:
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
        if name in _OWN or (name[:5] == b"grpc-" and name != _PREVIOUS):
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
