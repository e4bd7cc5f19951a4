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
from functools import partial
from typing import Any, Final

from purerpc import RpcFailedError, Status, StatusCode

from hushar.rpc import events as ev
from hushar.rpc import frames as fr
from hushar.rpc.bodies import ReceivingConnection
from hushar.rpc.calls import RawCall
from hushar.rpc.compiled import RequestHead, Variations, read_at_once, take_calls
from hushar.rpc.faults import ConnectionFault
from hushar.rpc.header_blocks import Field, list_size
from hushar.rpc.limits import Bucket
from hushar.rpc.request_head import Malformed, Refusal, check_trailers, parse_head, text_of
from hushar.rpc.server_context import ServerContext

_MEMO_BYTES: Final = 65536
"""Header blocks with their header lists that a memo of a connection's keeps; a client has one block for
each method and set of metadata."""
_LAST_PART: Final = 0.1
_LAST_SECONDS: Final = 0.01
_SHORTEST_TIMEOUT: Final = 0.002
"""A client's own timer comes before ours by no more than this part of the time-out, or these seconds; and no
time-outs shorter than this (see `_ran_out`)."""
_HEAD_BYTES: Final = 256
"""What a head counts beside its fields."""
_TOO_LARGE: Final = Status(StatusCode.RESOURCE_EXHAUSTED, "metadata too large")

log = logging.getLogger("hushar.rpc")


class ServerConnection(ReceivingConnection):
    """A connection that a client has opened."""

    def __init__(self, context: ServerContext, on_output: Callable[[], None], *, peer: str = "") -> None:
        """`peer`: the client's address, as gRPC writes it."""
        self.timed: list[RawCall] = []
        """Calls with a deadline that have begun; the driver takes them."""
        self._memo: dict[bytes, RequestHead] = {}
        self._memo_changes = 0
        self._memo_bytes = 0
        self._heads: dict[tuple[Field, ...], RequestHead | None] = {}
        """By the fields that blocks have in common; see `Variations`."""
        self._heads_bytes = 0
        self._resets = Bucket(context.limits.reset_burst, context.limits.reset_rate)
        self._late_resets = 0
        """RST_STREAMs that came for streams that were over."""
        self._preface = len(fr.PREFACE)
        super().__init__(context, on_output, peer=peer)
        self._fast_way = None if take_calls is None else partial(take_calls, RawCall)
        limits = context.limits
        self._variations = Variations(
            self._decoder,
            self._known,
            max_fields=limits.max_header_fields,
            max_bytes=limits.max_header_bytes,
        )

    def receive_data(self, data: bytes, now: float) -> list[Any]:
        """See Connection; the compiled way where it is open."""
        if read_at_once is not None and (events := read_at_once(RawCall, self, data, now)) is not None:
            return events
        return super().receive_data(data, now)

    def release(self) -> None:
        """See Connection."""
        super().release()
        self._memo = {}
        self._heads = {}
        del self._variations

    def _frames(self, data: bytes, at: int) -> int:
        if self._preface:
            expected = fr.PREFACE
            got = data[: len(expected)]
            if not expected.startswith(got):
                raise ConnectionFault(fr.PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(got) < len(expected):
                self._need = len(got) + 1
                return 0
            self._preface = 0
            at = len(expected)
        return super()._frames(data, at)

    @property
    def greeted(self) -> bool:
        """Whether the preface and the client's SETTINGS have come."""
        return self._settings_seen

    def _head(self, block: bytes) -> RequestHead | None:
        """The head of a new stream's block; None if it is malformed."""
        fields = self._decode(block)
        head = self._variations.head(fields)
        if head is None:
            head = self._parsed(fields, len(block))
        changes = self._decoder.changes
        if changes != self._memo_changes:
            self._memo_changes = changes
            if self._memo_bytes:
                self._memo.clear()
                self._memo_bytes = 0
        elif head is not None:
            held = len(block) + head.size
            if self._memo_bytes + held > _MEMO_BYTES:
                self._memo.clear()
                self._memo_bytes = 0
            if held <= _MEMO_BYTES:
                self._memo[block] = head
                self._memo_bytes += held
        return head

    def _parsed(self, fields: Sequence[Field], block_bytes: int) -> RequestHead | None:
        """A head from all of its fields."""
        size = self._size_of(fields)
        try:
            head = parse_head(fields, RequestHead)
        except Malformed:
            return None
        if head.http_status is not None and block_bytes > fr.MIN_MAX_FRAME:
            # A gRPC call of this size gets a status; what is no gRPC, no more than the smallest frame.
            raise ConnectionFault(fr.FRAME_SIZE_ERROR, "header block too large")
        limits = self.limits
        if size > limits.max_header_bytes or len(fields) > limits.max_header_fields:
            head.refusal = Refusal(_TOO_LARGE.status_code, _TOO_LARGE.status_message)
        self._find_route(head)
        return head

    def _known(self, key: tuple[Field, ...]) -> RequestHead | None:
        """The head of what blocks have in common, kept for the next; None where it is none by itself."""
        if key in self._heads:
            return self._heads[key]
        known = self._parsed(list(key), 0)
        held = list_size(key) + _HEAD_BYTES
        if self._heads_bytes + held > _MEMO_BYTES:
            self._heads.clear()
            self._heads_bytes = 0
        if held <= _MEMO_BYTES:
            self._heads[key] = known
            self._heads_bytes += held
        return known

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
        if self._refusing_after is not None:
            return
        places = self.limits.connection_concurrency - len(self._lingering)
        if len(self._streams) >= places or self.peer_went_away:
            self._refuse_stream(stream_id)
            return
        if head is None:
            self._reset(stream_id, fr.PROTOCOL_ERROR)
            return
        call = RawCall(self, stream_id, head)
        self._streams[stream_id] = call
        budget = self.context.budget
        budget.calls += 1
        if end_stream:
            call.receiving = False
        if head.refusal is not None or head.http_status is not None or budget.calls > budget.max_calls:
            self._refuse(call)
            return
        if head.timeout is not None and not self._set_deadline(call):
            return
        if self.context.before and not self._ask(call):
            return
        if end_stream:
            self._half_closed(call)
        elif not head.route.collects:  # type: ignore[attr-defined]
            self._body(call)
            self._events.append(ev.StreamBegun(call))

    def _refuse_stream(self, stream_id: int) -> None:
        """There is no place for a stream: the client may try again, nothing has run.

        A client that knows our limit and exceeds it makes us send resets, which is a glitch; one that
        cannot know (no acknowledgement yet, handlers that linger, its own GOAWAY) is only counted.
        """
        is_foreseen = self.settings_acknowledged and len(self._streams) >= self.limits.connection_concurrency
        if not (self._glitches if is_foreseen else self._resets).take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many streams")
        self._send_reset(stream_id, fr.REFUSED_STREAM)

    def _malformed_block(self, stream_id: int, block: bytes) -> None:
        self._decode(block)
        if stream_id > self.last_stream_id:
            if not stream_id & 1:
                raise ConnectionFault(fr.PROTOCOL_ERROR, "an even stream id from a client")
            self.last_stream_id = stream_id
            self._streams_seen += 1
        if not self._is_ignored(stream_id):
            self._reset(stream_id, fr.PROTOCOL_ERROR)

    def _refuse(self, call: RawCall) -> None:
        """Answer a call that is not begun."""
        head = call.head
        if head.http_status is not None:
            if not call.receiving:
                self._half_closed(call)
        elif head.refusal is not None:
            self.end_call(call, Status(head.refusal.code, head.refusal.text))
        else:
            self.context.budget.refused_calls += 1
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
        for before in self.context.before:
            try:
                before(call.request)
            except RpcFailedError as refused:
                self.end_call(call, refused.status)
            except (Exception, SystemExit):
                log.exception("a hook failed")
                self.end_call(call, Status(StatusCode.INTERNAL, "internal error"))
            if call.over:
                return False
        return True

    def _later_block(self, stream_id: int, block: bytes, end_stream: int) -> None:
        """Trailers, or HEADERS that come too late."""
        fields = self._decode(block)
        size = self._size_of(fields)
        self._active = True
        call = self._streams.get(stream_id)
        if call is None:
            if self._is_ignored(stream_id):
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
        limits = self.limits
        too_large = size > limits.max_header_bytes or len(fields) > limits.max_header_fields
        if too_large and not call.over and call.head.http_status is None:
            call.receiving = False
            self._give_up(call, _TOO_LARGE)
            return
        self._half_closed(call)

    def _reset_received(self, stream_id: int, code: int) -> None:
        call = self._streams.get(stream_id)
        if call is None:
            # Answered, refused, past its deadline, or reset by us: nothing is cut short. Once a stream.
            self._late_resets += 1
        is_free = self._late_resets <= self._streams_seen if call is None else self._ran_out(call)
        if not is_free and not self._resets.take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many resets")
        if call is None:
            return
        self._drop(call)
        self._recently_closed.append(stream_id)
        self._aborted(call, code)

    def _ran_out(self, call: RawCall) -> bool:
        """Whether a call that is being reset was about to meet its deadline.

        A client measures it from before the call came here, and resets the stream when it is over: no rapid
        reset, since it has waited for as long as a call that we end ourselves.
        """
        timeout = call.head.timeout
        if timeout is None or timeout < _SHORTEST_TIMEOUT:
            return False
        left = call.deadline - self._now
        return left <= timeout / 2 and left <= max(_LAST_PART * timeout, _LAST_SECONDS)
