"""From DATA to messages: the receiving half of a call at the server, once its header block is accepted.

What a call holds counts against the server's budget: of a method with one request, its bytes until the
call is over; of one with a stream of requests, each message until its handler has taken it. A call whose
body cannot be served is ended with a status at once; if its handler runs already, CallAborted says so.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from purerpc import Status, StatusCode

from hushar.rpc import events as ev
from hushar.rpc import frames as fr
from hushar.rpc import messages as msg
from hushar.rpc.answers import AnsweringConnection
from hushar.rpc.calls import RawCall
from hushar.rpc.compiled import Gathered
from hushar.rpc.faults import ConnectionFault
from hushar.rpc.request_head import text_of
from hushar.rpc.server_context import ServerContext

_CRUMB_BYTES: Final = 64
"""DATA frames that are shorter, and neither end a stream nor complete a message, are crumbs."""
_FREE_CRUMBS: Final = 1
"""Of each message: some clients send its prefix by itself."""
_BYTES_FOR_CRUMB: Final = 256
"""So many bytes of a message allow for one more: a window's rest may be short."""
_BOMB_RATIO: Final = 32
_BOMB_BYTES: Final = 4096
"""A message that cannot be inflated is one fault, and one more for each time that it may have grown to
so many times its size; one of fewer bytes counts as of so many."""


class RequestBody(msg.MessageReader):
    """What the general way keeps of a request's body."""

    __slots__ = ("crumbs", "messages", "owed", "size", "untaken")

    def __init__(self, limit: int) -> None:
        super().__init__(limit, Gathered)
        self.size = 0
        """Bytes of DATA that have come, without padding."""
        self.crumbs = 0
        """Frames of a few bytes of the unfinished message."""
        self.messages = 0
        """Messages that are complete."""
        self.untaken: deque[int] = deque()
        """Of messages that were handed over one by one and not taken yet: what each counts in `held`."""
        self.owed = 0
        """Bytes that were taken and that the peer has not been allowed again."""


class ReceivingConnection(AnsweringConnection):
    """The receiving half of a server's connection, but for header blocks."""

    def __init__(self, context: ServerContext, on_output: Callable[[], None], *, peer: str) -> None:
        self._credit_stream_at = max(1, context.limits.stream_window // 2)
        """So many bytes taken are worth a WINDOW_UPDATE."""
        super().__init__(context, on_output, peer=peer)

    def _data(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        size = stop - start
        self._take_window(size)
        call: RawCall | None = self._streams.get(stream_id)
        if call is None or not call.receiving:
            self._stray_data(flags, stream_id, data, start, stop)
            return
        if size > call.receive_window:
            self._reset(stream_id, fr.FLOW_CONTROL_ERROR)
            return
        self._active = True
        head = call.head
        if (
            flags == fr.END_STREAM
            and size >= msg.PREFIX_BYTES
            and call.reader is None
            and not call.over
            and (head.content_length is None or head.content_length == size)
            and head.http_status is None
        ):
            flag, length = msg.PREFIX.unpack_from(data, start)
            if length == size - msg.PREFIX_BYTES and not flag and length <= self.limits.max_receive_bytes:
                call.receiving = False
                call.message = data[start + msg.PREFIX_BYTES : stop]
                self._complete(call, length)
                return
        self._some_data(call, flags, data, start, stop)

    def _complete(self, call: RawCall, size: int) -> None:
        """The only request of a call is there."""
        budget = self.context.budget
        budget.bytes += size
        call.held = size
        if budget.bytes > budget.max_bytes:
            self._give_up(call, _OVER_BUDGET)
        else:
            self._events.append(call)

    def _some_data(self, call: RawCall, flags: int, data: bytes, start: int, stop: int) -> None:
        """DATA the general way: padded, a part of a message, several messages, a content-length."""
        size = stop - start
        if flags & fr.PADDED:
            start, stop = self._unpadded(flags & ~fr.PRIORITIZED, data, start, stop)
        if start == stop and not flags & fr.END_STREAM:
            self._empty_frame()
        call.receive_window -= size
        if call.over:
            # Answered already, and the answer waits for a window: what still comes is not for anybody.
            if 0 < stop - start < msg.PREFIX_BYTES:
                self._crumb()
            call.receiving = not flags & fr.END_STREAM
            return
        body = self._body(call)
        body.size += stop - start
        had = body.messages
        head = call.head
        if head.content_length is not None and body.size > head.content_length:
            self._reset(call.id, fr.PROTOCOL_ERROR)
            return
        if head.http_status is None:
            self._feed(call, body, data[start:stop], size)
        elif body.size > self.limits.max_receive_bytes:
            self._answer_http(call, head.http_status)
        else:
            # What is no gRPC is answered at its end, or where it has become too long.
            self._credit_stream(call, body, size)
        if not flags & fr.END_STREAM:
            if 0 < stop - start < _CRUMB_BYTES and body.messages == had:
                self._crumb_of(body)
        elif self._streams.get(call.id) is call:
            self._half_closed(call)

    def _crumb_of(self, body: RequestBody) -> None:
        """A crumb of a message has come: it is counted unless the message has enough bytes for it."""
        body.crumbs += 1
        if body.crumbs > _FREE_CRUMBS and body.crumbs * _BYTES_FOR_CRUMB > body.held:
            self._crumb()

    def _body(self, call: RawCall) -> RequestBody:
        if call.reader is None:
            call.reader = RequestBody(self.limits.max_receive_bytes)
        assert isinstance(call.reader, RequestBody)
        return call.reader

    def _stray_data(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        """DATA on a stream that takes none."""
        if not stream_id:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "DATA on stream 0")
        if flags & fr.PADDED:
            start, stop = self._unpadded(flags & ~fr.PRIORITIZED, data, start, stop)
        self._no_idle(stream_id, "DATA")
        if not flags & fr.END_STREAM and stop - start < msg.PREFIX_BYTES:
            self._crumb() if start < stop else self._empty_frame()
        if stream_id in self._streams:
            self._reset(stream_id, fr.STREAM_CLOSED)
        elif not self._is_ignored(stream_id):
            raise ConnectionFault(fr.STREAM_CLOSED, "DATA on a closed stream")

    def _is_ignored(self, stream_id: int) -> bool:
        """Whether the peer may not know yet that we do not listen on a stream."""
        refusing = self._refusing_after
        return stream_id in self._recently_reset or (refusing is not None and stream_id > refusing)

    def _hold_part(self, size: int) -> None:
        """See Connection. It counts against the server's budget. What is too much ends the call that it is
        of, and its rest is not kept; where it is no call's, it ends the connection."""
        budget = self.context.budget
        budget.bytes += size - self._held
        self._held = size
        if budget.bytes <= budget.max_bytes or not size:
            return
        skip = self._need - self._have
        data = b"".join(self._chunks)[: fr.HEADER_BYTES]
        self._drop_part()
        head, flags, stream_id = fr.HEADER.unpack_from(data)
        call: RawCall | None = self._streams.get(stream_id)
        if head & 0xFF != fr.DATA or call is None or not call.receiving or call.over:
            self.fail(fr.ENHANCE_YOUR_CALM, "too many bytes in flight")
            return
        try:
            self._take_window(head >> 8)
        except ConnectionFault as fault:
            self.fail(fault.code, str(fault))
            return
        self._skip = skip
        call.receiving = not flags & fr.END_STREAM
        if call.head.http_status is not None:
            self._answer_http(call, call.head.http_status)
        else:
            self._give_up(call, _OVER_BUDGET)

    # Messages

    def _feed(self, call: RawCall, body: RequestBody, data: bytes, wire_bytes: int) -> None:
        """Cut messages out of DATA; a fault of the message's ends the call."""
        had = body.held
        try:
            messages = body.feed(data)
            self._hold(call, body.held - had)
            last = len(messages) - 1
            for index, (flag, message) in enumerate(messages):
                self._take_message(call, body, flag, message, wire_bytes if index == last else 0)
            if body.faulty:
                body.feed(b"")
        except msg.MessageTooLarge:
            text = f"a message larger than {self.limits.max_receive_bytes} bytes"
            self._give_up(call, Status(StatusCode.RESOURCE_EXHAUSTED, text))
        except msg.CorruptMessage:
            self._give_up(call, Status(StatusCode.INTERNAL, "a message that cannot be read"))
        except _Refused as refused:
            self._give_up(call, refused.status)
        else:
            if not messages:
                # The rest of a message that has begun must fit the window whatever was taken before.
                self._credit_stream(call, body, wire_bytes)

    def _take_message(
        self, call: RawCall, body: RequestBody, flag: int, message: bytes, wire_bytes: int
    ) -> None:
        """A message is complete. Raises _Refused, and what `inflate` raises."""
        collects: bool = call.head.route.collects  # type: ignore[attr-defined]
        if collects and body.messages:
            raise _Refused(Status(StatusCode.UNIMPLEMENTED, "more than one request message"))
        body.messages += 1
        body.crumbs = 0
        if flag:
            message = self._inflated(call, message)
        size = len(message) + msg.MESSAGE_OVERHEAD
        self._hold(call, size)
        if collects:
            call.message = message
            return
        body.untaken.append(size)
        self._events.append(ev.MessageReceived(call, message, wire_bytes))

    def _inflated(self, call: RawCall, message: bytes) -> bytes:
        encoding = call.head.encoding
        if encoding is None:
            raise msg.CorruptMessage("compressed without an encoding")
        if encoding not in self.context.offered:
            text = f"grpc-encoding {text_of(encoding)!r} is not supported"
            raise _Refused(Status(StatusCode.UNIMPLEMENTED, text))
        call.compressed = call.unusual = True
        limit = self.limits.max_receive_bytes
        try:
            return msg.inflate(message, encoding, limit)
        except (msg.MessageTooLarge, msg.CorruptMessage):
            # It may have cost us far more than the peer: a fault for each _BOMB_RATIO times its size.
            size = len(message)
            most = min(limit, msg.MOST_INFLATED * size)
            if not self._glitches.take(self._now, 1 + most // (_BOMB_RATIO * max(size, _BOMB_BYTES))):
                raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many compressed bombs") from None
            raise

    def _hold(self, call: RawCall, size: int) -> None:
        """Count bytes that are held, or not any more. Raises _Refused where it is too much."""
        budget = self.context.budget
        budget.bytes += size
        call.held += size
        if budget.bytes > budget.max_bytes and size > 0:
            raise _Refused(_OVER_BUDGET)

    def _give_up(self, call: RawCall, status: Status) -> None:
        """End a call from our side, and whatever works on it."""
        if status is _OVER_BUDGET and not call.over:
            self.context.budget.refused_bytes += 1
        self.end_call(call, status)
        if not call.head.route.collects:  # type: ignore[attr-defined]
            self._events.append(ev.CallAborted(call))

    def acknowledge(self, stream: RawCall, size: int) -> None:
        """A message was taken, which came with `size` bytes of DATA: once for each, in their order."""
        body = self._body(stream)
        if body.untaken and not stream.over:
            taken = body.untaken.popleft()
            stream.held -= taken
            self.context.budget.bytes -= taken
        self._credit_stream(stream, body, size)

    def _account(self, call: RawCall, code: StatusCode) -> None:
        super()._account(call, code)
        if call.handler is None:
            self._let_go(call)

    def handler_ended(self, call: RawCall) -> None:
        """The task of a call has ended: its place is free, if its stream is over."""
        super().handler_ended(call)
        if call.over:
            self._let_go(call)

    def _let_go(self, call: RawCall) -> None:
        """What has come of a call that is over: its deadline may be watched for hours."""
        call.message = b""
        call.reader = None
        call._request = None

    def _credit_stream(self, call: RawCall, body: RequestBody, size: int) -> None:
        """Allow the peer as many bytes again, once they are worth a frame."""
        body.owed += size
        if body.owed >= self._credit_stream_at and call.receiving and not call.over:
            call.receive_window += body.owed
            self._out.append(fr.window_update(call.id, body.owed))
            body.owed = 0
            self._notify()

    # The end of a request

    def _half_closed(self, call: RawCall) -> None:
        """END_STREAM: the request is whole, or it never will be."""
        call.receiving = False
        if call.over:
            return
        body = call.reader
        assert body is None or isinstance(body, RequestBody)
        head = call.head
        if head.content_length is not None and head.content_length != (body.size if body else 0):
            self._reset(call.id, fr.PROTOCOL_ERROR)
        elif head.http_status is not None:
            self._answer_http(call, head.http_status)
        else:
            self._request_ended(call, body)

    def _request_ended(self, call: RawCall, body: RequestBody | None) -> None:
        route: Any = call.head.route
        if body is not None and body.held:
            self._give_up(call, Status(StatusCode.INTERNAL, "the request ends inside a message"))
        elif not route.collects:
            if body is None:
                self._events.append(ev.StreamBegun(call))
            self._events.append(ev.HalfClosed(call))
        elif body is None or body.messages != 1:
            self.end_call(call, Status(StatusCode.UNIMPLEMENTED, "no request message"))
        else:
            self._events.append(call)


class _Refused(Exception):
    """A message that is not served, and the status that says why."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


_OVER_BUDGET: Final = Status(StatusCode.RESOURCE_EXHAUSTED, "too many bytes of requests in flight")
