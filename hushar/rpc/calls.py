"""A call at the server: what a handler sees of it, raw or not.

One object a call. The engine makes it of a header block, fills it, and sends what it answers with; a
raw method gets these very objects, an ordinary method is run by the driver with one.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from purerpc import Status, StatusCode

from hushar.rpc.compiled import CallState
from hushar.rpc.request_head import custom_metadata, first, text_of
from hushar.rpc.status import encode_metadata

if TYPE_CHECKING:
    from datetime import timedelta


class RawCall(CallState):
    """One call. Used in the event loop's thread only.

    `reply` or `fail` may be called now or later, once; nothing happens once the call is over.
    """

    __slots__ = ()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return self.over and not self.answered

    @property
    def request(self) -> "Request":
        """Metadata, deadline and peer of the call; what an ordinary handler gets as `request`."""
        if self._request is None:
            self._request = Request(self)
        return self._request

    def reply(self, message: bytes, /) -> bool:
        """Answer OK with this message. False where that is not the answer: the call is over, or the message
        is too long, or too many answers wait for the client; then the call is RESOURCE_EXHAUSTED."""
        return not self.over and self.connection.reply(self, message)

    def fail(self, code: StatusCode, text: str = "") -> None:
        """Answer with another status than OK; `text` is sent to the client."""
        if not self.over:
            self.connection.end_call(self, Status(code, text))


class Request:
    """What a call's header block says, under purerpc's names and some of our own."""

    __slots__ = ("_call", "_metadata")

    def __init__(self, call: RawCall) -> None:
        self._call = call
        self._metadata: tuple[tuple[str, str | bytes], ...] | None = None

    @property
    def stream_id(self) -> int:
        """The HTTP/2 stream's id."""
        return self._call.id

    @property
    def scheme(self) -> str:
        """`http` or `https`, as the client says."""
        return text_of(self._call.head.scheme)

    @property
    def service_name(self) -> str:
        """The path's first part, `pkg.Service`."""
        return text_of(self._call.head.path).strip("/").partition("/")[0]

    @property
    def method_name(self) -> str:
        """The path's second part."""
        return text_of(self._call.head.path).strip("/").partition("/")[2]

    @property
    def custom_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The client's own metadata in wire order; names that end in `-bin` have bytes."""
        if self._metadata is None:
            self._metadata = custom_metadata(self._call.head.fields)
        return self._metadata

    @property
    def timeout(self) -> "timedelta | None":
        """The client's `grpc-timeout`; `deadline` is what is left to act on."""
        from datetime import timedelta  # noqa: PLC0415 - rarely asked for

        seconds = self._call.head.timeout
        return None if seconds is None else timedelta(seconds=min(seconds, timedelta.max.total_seconds() - 1))

    @property
    def deadline(self) -> float:
        """When the call is over, on trio's clock; `math.inf` without a deadline."""
        return self._call.deadline

    @property
    def authority(self) -> str | None:
        """`:authority`, or Host."""
        value = self._call.head.authority
        return None if value is None else text_of(value)

    @property
    def content_type(self) -> str | None:
        """The request's content type."""
        return self._text(b"content-type")

    @property
    def user_agent(self) -> str | None:
        """The client's library."""
        return self._text(b"user-agent")

    @property
    def message_type(self) -> str | None:
        """`grpc-message-type`, where a client sends it."""
        return self._text(b"grpc-message-type")

    @property
    def message_encoding(self) -> str | None:
        """`grpc-encoding`."""
        return self._text(b"grpc-encoding")

    @property
    def message_accept_encoding(self) -> str | None:
        """`grpc-accept-encoding`."""
        return self._text(b"grpc-accept-encoding")

    @property
    def peer(self) -> str:
        """`ipv4:127.0.0.1:40001`, `ipv6:[::1]:1` or `unix:`."""
        return self._call.connection.peer

    @property
    def peer_certificate(self) -> Any:
        """The client's certificate as `SSLSocket.getpeercert()` has it, or None."""
        return self._call.connection.peer_certificate

    def set_leading_metadata(self, pairs: Iterable[tuple[str, str | bytes]]) -> None:
        """Send metadata before the first message. RuntimeError once that has been sent."""
        if self._call.leading_sent or self._call.over:
            raise RuntimeError("the leading metadata has been sent")
        self._call.leading = encode_metadata(pairs)
        self._call.unusual = True

    def set_trailing_metadata(self, pairs: Iterable[tuple[str, str | bytes]]) -> None:
        """Send metadata with the status, also with that of an error."""
        self._call.trailing = encode_metadata(pairs)
        self._call.unusual = True

    def _text(self, name: bytes) -> str | None:
        value = first(self._call.head.fields, name)
        return None if value is None else text_of(value)
