"""The server's half of HTTP/2 and of gRPC over it: from header blocks and DATA to calls, and back.

The fast way, which nearly every call takes: a header block that was seen before is a dictionary look-up
(the memo keeps checked heads of blocks whose decoding changed nothing in the table, and is dropped when
the table changes); one DATA frame with END_STREAM holds the whole message; the answer's three frames are
packed around two constant blocks. Everything unusual leaves it early for a slower, general method.

Calls of methods with one request are told to the driver when the request is complete: the call itself
is in the list of events. Calls of methods with a stream of requests begin with StreamBegun.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from purerpc import RpcFailedError, Status, StatusCode

from hushar.rpc import events as ev
from hushar.rpc import frames as fr
from hushar.rpc import messages as msg
from hushar.rpc.answers import AnsweringConnection
from hushar.rpc.calls import RawCall
from hushar.rpc.faults import ConnectionFault
from hushar.rpc.header_blocks import Field, list_size
from hushar.rpc.limits import Bucket
from hushar.rpc.request_head import (
    Malformed,
    Refusal,
    RequestHead,
    check_trailers,
    parse_head,
    text_of,
    vary_head,
)
from hushar.rpc.server_context import ServerContext

_MEMO_BLOCKS: Final = 128
"""Header blocks a connection's memo keeps; a client has one for each method and set of metadata."""
_MEMO_BYTES: Final = 4096
"""A longer block is not kept."""

log = logging.getLogger("hushar.rpc")


class ServerConnection(AnsweringConnection):
    """A connection that a client has opened."""

    def __init__(self, context: ServerContext, on_output: Callable[[], None], *, peer: str = "") -> None:
        """`peer`: the client's address, as gRPC writes it."""
        self.timed: list[RawCall] = []
        """Calls with a deadline that have begun; the driver takes them."""
        self._memo: dict[bytes, RequestHead] = {}
        self._memo_changes = 0
        self._heads: dict[tuple[Field, ...], RequestHead] = {}
        """By the fields that a block referred to; see `_varied`."""
        self._resets = Bucket(context.limits.reset_burst, context.limits.reset_rate)
        self._preface = len(fr.PREFACE)
        super().__init__(context, on_output, peer=peer)

    # Receiving

    def _frames(self, data: bytes) -> int:
        if self._preface:
            expected = fr.PREFACE
            got = data[: len(expected)]
            if not expected.startswith(got):
                raise ConnectionFault(fr.PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(got) < len(expected):
                self._need = len(expected)
                return 0
            self._preface = 0
            rest = super()._frames(data[len(expected) :])
            return rest + len(expected)
        return super()._frames(data)

    @property
    def greeted(self) -> bool:
        """Whether the preface and the client's SETTINGS have come."""
        return self._settings_seen

    def _head(self, block: bytes) -> RequestHead | None:
        """The head of a new stream's block; None if it is malformed."""
        decoder = self._decoder
        if decoder.changes != self._memo_changes:
            self._memo.clear()
        fields = self._decode(block)
        head = self._varied(fields) if decoder.literals else None
        if head is None:
            head = self._parsed(fields, len(block))
        if decoder.changes != self._memo_changes:
            self._memo.clear()
            self._memo_changes = decoder.changes
        elif head is not None and len(block) <= _MEMO_BYTES:
            if len(self._memo) >= _MEMO_BLOCKS:
                self._memo.clear()
            self._memo[block] = head
        return head

    def _parsed(self, fields: list[Field], block_bytes: int) -> RequestHead | None:
        """A head from all of its fields."""
        size = self._size_of(fields)
        try:
            head = parse_head(fields)
        except Malformed:
            return None
        if head.http_status is not None and block_bytes > fr.MIN_MAX_FRAME:
            # A gRPC call of this size gets a status; what is no gRPC, no more than the smallest frame.
            raise ConnectionFault(fr.FRAME_SIZE_ERROR, "header block too large")
        limits = self.limits
        if size > limits.max_header_bytes or len(fields) > limits.max_header_fields:
            head.refusal = Refusal(StatusCode.RESOURCE_EXHAUSTED, "metadata too large")
        self._find_route(head)
        return head

    def _varied(self, fields: list[Field]) -> RequestHead | None:
        """A head that differs from one that is known by literals only: a time-out, a trace's id.

        Clients that send something new with every call put it into the dynamic table, so that no block
        ever comes twice; but what they refer to by index is the same each time. None where it takes the
        general way.
        """
        decoder = self._decoder
        key = tuple(decoder.indexed)
        known = self._heads.get(key)
        if known is None:
            if len(self._heads) >= _MEMO_BLOCKS:
                self._heads.clear()
            known = self._parsed(decoder.indexed, 0)
            if known is None or known.refusal is not None or known.http_status is not None:
                return None
            self._heads[key] = known
        limits = self.limits
        small = len(fields) <= limits.max_header_fields
        if not small or known.size + list_size(decoder.literals) > limits.max_header_bytes:
            return None
        return vary_head(known, fields, decoder.literals, decoder.before_literals)

    def _find_route(self, head: RequestHead) -> None:
        head.route = self.context.routes.get(head.path)
        if head.route is None and head.http_status is None and head.refusal is None:
            service = text_of(head.path[:256])
            head.refusal = Refusal(StatusCode.UNIMPLEMENTED, f"{service} is not implemented")

    def _block_complete(self, stream_id: int, block: bytes, end_stream: int) -> None:
        if stream_id <= self.last_stream_id:
            self._later_block(stream_id, block, end_stream)
            return
        if not stream_id & 1:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "an even stream id from a client")
        head = self._memo.get(block) if self._decoder.changes == self._memo_changes else None
        if head is None:
            head = self._head(block)
        self.last_stream_id = stream_id
        self._streams_seen += 1
        self._active = True
        if self._refusing_after is not None and stream_id > self._refusing_after:
            return
        if len(self._streams) + self.lingering >= self.limits.connection_concurrency:
            self._reset(stream_id, fr.REFUSED_STREAM)
            return
        if head is None:
            self._reset(stream_id, fr.PROTOCOL_ERROR)
            return
        call = RawCall(self, stream_id, head)
        self._streams[stream_id] = call
        budget = self.context.budget
        budget.calls += 1
        if head.refusal is not None or head.http_status is not None or budget.calls > budget.max_calls:
            self._refuse(call, end_stream)
            return
        if head.timeout is not None and not self._set_deadline(call):
            return
        if (self.context.before or self.context.after) and not self._ask(call):
            return
        if end_stream:
            self._half_closed(call)
        elif not head.route.collects:  # type: ignore[attr-defined]
            call.reader = msg.MessageReader(self.limits.max_receive_bytes)
            self._events.append(ev.StreamBegun(call))

    def _refuse(self, call: RawCall, end_stream: int) -> None:
        """Answer a call that is not begun."""
        call.receiving = not end_stream
        head = call.head
        if head.http_status is not None:
            if end_stream:
                self._answer_http(call, head.http_status)
        elif head.refusal is not None:
            self.end_call(call, Status(head.refusal.code, head.refusal.text))
        else:
            self.end_call(call, Status(StatusCode.RESOURCE_EXHAUSTED, "too many calls in flight"))

    def _set_deadline(self, call: RawCall) -> bool:
        """Note the call's deadline; False if it is over already."""
        seconds = call.head.timeout
        if not seconds:
            self.end_call(call, Status(StatusCode.DEADLINE_EXCEEDED, "deadline exceeded"))
            return False
        call.deadline = self._now + seconds
        self.timed.append(call)
        return True

    def _ask(self, call: RawCall) -> bool:
        """Ask the hooks whether the call may begin."""
        call.started = self._now
        for before in self.context.before:
            try:
                before(call.request)
            except RpcFailedError as refused:
                self.end_call(call, refused.status)
            except Exception:
                log.exception("a hook failed")
                self.end_call(call, Status(StatusCode.INTERNAL, "internal error"))
            if call.over:
                return False
        return True

    def _later_block(self, stream_id: int, block: bytes, end_stream: int) -> None:
        """Trailers, or HEADERS that come too late."""
        fields = self._decode(block)
        self._size_of(fields)
        call = self._streams.get(stream_id)
        if call is None:
            if stream_id in self._recently_reset:
                return
            if stream_id in self._recently_closed:
                raise ConnectionFault(fr.STREAM_CLOSED, "HEADERS on a closed stream")
            raise ConnectionFault(fr.PROTOCOL_ERROR, "a stream id that is not above the last")
        if not call.receiving:
            self._reset(stream_id, fr.STREAM_CLOSED)
            return
        try:
            check_trailers(fields)
        except Malformed:
            self._reset(stream_id, fr.PROTOCOL_ERROR)
            return
        if not end_stream:
            self._reset(stream_id, fr.PROTOCOL_ERROR)
            return
        self._half_closed(call)

    def _data(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        size = stop - start
        self._take_window(size)
        call = self._streams.get(stream_id)
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
            and size > msg.PREFIX_BYTES
            and call.reader is None
            and head.content_length is None
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
        call.body_bytes += size
        if budget.bytes > budget.max_bytes:
            self.end_call(call, Status(StatusCode.RESOURCE_EXHAUSTED, "too many bytes of requests in flight"))
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
        if call.head.http_status is None:
            self._feed(call, data[start:stop], size)
        else:
            self._swallow(call, stop - start, size)
        if flags & fr.END_STREAM and self._streams.get(call.id) is call:
            self._half_closed(call)

    def _swallow(self, call: RawCall, size: int, wire_bytes: int) -> None:
        """The body of what is no gRPC: it is answered at its end, or where it has become too long."""
        call.body_bytes += size
        self.context.budget.bytes += size
        self.acknowledge(call, wire_bytes)
        if call.body_bytes > self.limits.max_receive_bytes and call.head.http_status is not None:
            self._answer_http(call, call.head.http_status)

    def _stray_data(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        """DATA on a stream that takes none."""
        if not stream_id:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "DATA on stream 0")
        if flags & fr.PADDED:
            self._unpadded(flags & ~fr.PRIORITIZED, data, start, stop)
        self._no_idle(stream_id, "DATA")
        if stream_id in self._streams:
            self._reset(stream_id, fr.STREAM_CLOSED)
        elif stream_id not in self._recently_reset and (
            self._refusing_after is None or stream_id <= self._refusing_after
        ):
            raise ConnectionFault(fr.STREAM_CLOSED, "DATA on a closed stream")

    def _feed(self, call: RawCall, data: bytes, wire_bytes: int) -> None:
        """Cut messages out of DATA; a fault of the message's ends the call."""
        call.body_bytes += len(data)
        self.context.budget.bytes += len(data)
        if call.reader is None:
            call.reader = msg.MessageReader(self.limits.max_receive_bytes)
        try:
            messages = [self._inflated(call, flag, body) for flag, body in call.reader.feed(data)]
        except msg.MessageTooLarge:
            text = f"a message larger than {self.limits.max_receive_bytes} bytes"
            self.end_call(call, Status(StatusCode.RESOURCE_EXHAUSTED, text))
            return
        except msg.CorruptMessage:
            self.end_call(call, Status(StatusCode.INTERNAL, "a message that cannot be read"))
            return
        except _UnknownEncoding:
            text = f"grpc-encoding {text_of(call.head.encoding or b'')!r} is not supported"
            self.end_call(call, Status(StatusCode.UNIMPLEMENTED, text))
            return
        if self.context.budget.bytes > self.context.budget.max_bytes:
            text = "too many bytes of requests in flight"
            self.end_call(call, Status(StatusCode.RESOURCE_EXHAUSTED, text))
            return
        self._take_messages(call, messages, wire_bytes)

    def _take_messages(self, call: RawCall, messages: Sequence[bytes], wire_bytes: int) -> None:
        call.messages += len(messages)
        if call.head.route.collects:  # type: ignore[attr-defined]
            if call.messages > 1:
                self.end_call(call, Status(StatusCode.UNIMPLEMENTED, "more than one request message"))
            elif messages:
                call.message = messages[0]
            return
        if not messages:
            # The rest of a message that has begun must fit the window whatever was taken before.
            self.acknowledge(call, wire_bytes)
            return
        for index, message in enumerate(messages):
            self._events.append(ev.MessageReceived(call, message, 0 if index else wire_bytes))

    def _inflated(self, call: RawCall, flag: int, body: bytes) -> bytes:
        if not flag:
            return body
        encoding = call.head.encoding
        if encoding is None:
            raise msg.CorruptMessage("compressed without an encoding")
        if encoding not in self.context.offered:
            raise _UnknownEncoding
        call.compressed = True
        return msg.inflate(body, encoding, self.limits.max_receive_bytes)

    def _half_closed(self, call: RawCall) -> None:
        """END_STREAM: the request is whole, or it never will be."""
        call.receiving = False
        expected = call.head.content_length
        if expected is not None and expected != call.body_bytes:
            self._reset(call.id, fr.PROTOCOL_ERROR)
            return
        if call.head.http_status is not None:
            self._answer_http(call, call.head.http_status)
            return
        self._request_ended(call)

    def _request_ended(self, call: RawCall) -> None:
        if call.reader is not None and call.reader.held:
            self.end_call(call, Status(StatusCode.INTERNAL, "the request ends inside a message"))
        elif not call.head.route.collects:  # type: ignore[attr-defined]
            if call.reader is None:
                self._events.append(ev.StreamBegun(call))
            self._events.append(ev.HalfClosed(call))
        elif call.messages != 1:
            self.end_call(call, Status(StatusCode.UNIMPLEMENTED, "no request message"))
        else:
            self._events.append(call)

    def _reset_received(self, stream_id: int, code: int) -> None:
        if not self._resets.take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many resets")
        call = self._streams.get(stream_id)
        if call is not None:
            self._drop(call)
            self._aborted(call, code)


class _UnknownEncoding(ValueError):
    """A compressed message in an encoding that is not ours."""
