"""What a server sends: responses, statuses, and what is no gRPC; what a call's end gives back."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from purerpc import Status, StatusCode

from hushar.rpc import events as ev
from hushar.rpc import frames as fr
from hushar.rpc import messages as msg
from hushar.rpc.calls import RawCall
from hushar.rpc.compiled import EngineState, reply_at_once
from hushar.rpc.engine import Connection
from hushar.rpc.header_blocks import encode
from hushar.rpc.limits import CALM_FACTOR
from hushar.rpc.server_context import ServerContext, status_fields

log = logging.getLogger("hushar.rpc")

_CLOSED_IDS: Final = 256
"""Streams that have ended lately: HEADERS or DATA on them is another error than on one never used."""
_ANSWERS: Final = {415: b"not gRPC: content-type must be application/grpc\n", 405: b"gRPC is POST only\n"}
_END: Final = fr.END_HEADERS | fr.END_STREAM
_NO_TABLE: Final = b"\x20"
"""A dynamic table of size 0 (RFC 7541, section 6.3). Said once, it fits whatever the peer's
SETTINGS_HEADER_TABLE_SIZE becomes: a decoder whose limit shrinks demands to be told (section 4.2)."""


class AnsweringConnection(EngineState, Connection):
    """The sending half of a server's connection."""

    is_client = False

    def __init__(self, context: ServerContext, on_output: Callable[[], None], *, peer: str) -> None:
        self.context = context
        self.peer = peer
        self.peer_certificate: Any = None
        self._lingering: set[RawCall] = set()
        self._going_away = False
        self._refusing_after: int | None = None
        self._recently_closed: deque[int] = deque(maxlen=_CLOSED_IDS)
        self._fast_bytes = -1
        """The longest message (with prefix) that is answered the fast way; none until the first block."""
        super().__init__(context.limits, on_output)

    @property
    def lingering(self) -> int:
        """Handlers that still run though their stream is over; they keep their place (CVE-2025-8671)."""
        return len(self._lingering)

    @property
    def running_calls(self) -> int:
        """Calls that are not answered."""
        return sum(not call.over for call in self._streams.values())

    def running_routes(self) -> Iterator[Any]:
        """The method of each gRPC call that is not over; None where there is none of that name."""
        for call in self._streams.values():
            if not call.over and call.head.http_status is None:
                yield call.head.route

    @property
    def refusing(self) -> bool:
        """Whether nothing more is begun."""
        return self._refusing_after is not None

    # Responses

    def reply(self, call: RawCall, message: bytes) -> bool:
        """Answer a call OK with one message: leading headers, message, trailers. False if it is not sent.

        Where four times `connection_send_buffer_bytes` wait for the peer already, what would have to wait too
        is not kept: the call is RESOURCE_EXHAUSTED.
        """
        if reply_at_once(self, call, message):
            return True
        if self.overfull and self._has_to_be_refused(call, len(message) + msg.PREFIX_BYTES):
            self.end_call(call, Status(StatusCode.RESOURCE_EXHAUSTED, "too many answers wait for the client"))
            return False
        if not self.send_message(call, message):
            return False
        self.end_call(call, Status(StatusCode.OK))
        return True

    def _has_to_be_refused(self, call: RawCall, size: int) -> bool:
        limit = CALM_FACTOR * self.limits.connection_send_buffer_bytes
        return self._finished_bytes >= limit and size > min(call.send_window, self.send_window)

    def send_leading(self, call: RawCall) -> None:
        """Send the leading headers, once. Nothing happens if the call is over."""
        if call.leading_sent or call.over:
            return
        call.leading_sent = call.unusual = True
        encoding = call.head.encoding
        if call.compressed and encoding in call.head.accept:
            # The request's own encoding, if it was used and the client accepts it.
            call.answer_encoding = encoding
        if call.leading is None and call.answer_encoding is None:
            block = self.context.leading
        else:
            fields = list(self.context.common)
            if call.answer_encoding is not None:
                fields.append((b"grpc-encoding", call.answer_encoding))
            block = encode([*fields, *(call.leading or ())])
        self._out.append(self._block_frames(call.id, block, fr.END_HEADERS))
        self._active = True
        self._notify()

    def send_message(self, call: RawCall, message: bytes) -> bool:
        """Send a message of a response. False if it is not sent: the call is over, or now ended because
        the message is too large."""
        if call.over:
            return False
        limits = self.limits
        if len(message) > limits.max_send_bytes:
            text = f"the answer is larger than {limits.max_send_bytes} bytes"
            self.end_call(call, Status(StatusCode.RESOURCE_EXHAUSTED, text))
            return False
        self.send_leading(call)
        encoding = call.answer_encoding
        if encoding is not None and len(message) >= limits.compression_min_bytes:
            self.send_data(call, msg.frame_message(msg.deflate(message, encoding), 1))
        else:
            self.send_data(call, msg.frame_message(message))
        return True

    def end_call(self, call: RawCall, status: Status) -> None:
        """Send the status and end the call; trailers only, if nothing was sent before."""
        if call.over:
            return
        call.over = call.answered = True
        if call.leading_sent:
            block = encode(status_fields(status, call.trailing))
        elif call.leading:
            block = encode([*self.context.common, *call.leading, *status_fields(status, call.trailing)])
        else:
            block = self.context.refusal(status, call.trailing)
        self._active = True
        self._account(call, status.status_code)
        self.end_stream(call, self._block_frames(call.id, block, _END))

    def expire(self, call: RawCall) -> None:
        """The call's deadline is over."""
        if call.over:
            return
        self.end_call(call, Status(StatusCode.DEADLINE_EXCEEDED, "deadline exceeded"))
        call.answered = False
        if self._streams.get(call.id) is call:
            # What waits for a window, the client does not want any more.
            self._recently_reset.add(call.id)
            self._out.append(fr.rst_stream(call.id, fr.CANCEL))
            self._drop(call)

    def end_all(self, status: Status) -> None:
        """End every call that is not over with this status."""
        for call in list(self._streams.values()):
            self.end_call(call, status)

    def _answer_http(self, call: RawCall, status: int) -> None:
        """A complete answer to what is no gRPC."""
        call.over = call.answered = True
        self._account(call, StatusCode.UNKNOWN)
        body = _ANSWERS[status]
        fields = [(b":status", str(status).encode()), (b"content-type", b"text/plain")]
        fields.append((b"content-length", str(len(body)).encode()))
        if call.head.bodiless:
            self.end_stream(call, self._block_frames(call.id, encode(fields), _END))
            return
        self._out.append(self._block_frames(call.id, encode(fields), fr.END_HEADERS))
        self.send_data(call, body)
        self.end_stream(call, fr.frame(fr.DATA, fr.END_STREAM, call.id))

    def _block_frames(self, stream_id: int, block: bytes, flags: int) -> bytes:
        """HEADERS, and CONTINUATIONs where the block is larger than any peer's frames may be."""
        if self._fast_bytes < 0:
            block = _NO_TABLE + block
            self._fast_bytes = self._longest_fast()
        size = fr.MIN_MAX_FRAME
        if len(block) <= size:
            return fr.frame(fr.HEADERS, flags, stream_id, block)
        parts = [block[at : at + size] for at in range(0, len(block), size)]
        frames = [fr.frame(fr.HEADERS, flags & ~fr.END_HEADERS, stream_id, parts[0])]
        frames += [fr.frame(fr.CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
        frames.append(fr.frame(fr.CONTINUATION, fr.END_HEADERS, stream_id, parts[-1]))
        return b"".join(frames)

    def _set(self, setting: int, value: int) -> None:
        super()._set(setting, value)
        if self._fast_bytes >= 0:
            self._fast_bytes = self._longest_fast()

    def _longest_fast(self) -> int:
        """One DATA frame, no more than a message may have and little enough to be in one piece."""
        return min(self._peer_max_frame, self.limits.max_send_bytes + msg.PREFIX_BYTES)

    # Ends

    def _sent_end(self, stream: RawCall) -> None:
        """Our half is closed. A client that still sends is told that nobody listens."""
        stream.sending = False
        if stream.receiving:
            self._recently_reset.add(stream.id)
            self._out.append(fr.rst_stream(stream.id, fr.NO_ERROR))
        else:
            self._recently_closed.append(stream.id)
        self._drop(stream)

    def _drop(self, stream: RawCall) -> None:
        super()._drop(stream)
        if stream.handler is not None:
            self._lingering.add(stream)

    def handler_ended(self, call: RawCall) -> None:
        """The task of a call has ended: its place is free, if its stream is over."""
        self._lingering.discard(call)
        call.handler = None

    def _aborted(self, stream: RawCall, code: int) -> None:  # noqa: ARG002 - the same for every code
        if not stream.over:
            stream.over = True
            self._account(stream, StatusCode.CANCELLED)
        self._events.append(ev.CallAborted(stream))
        if stream.handler is not None:
            # Its handler may wait for room in the output.
            self._notify()

    def _account(self, call: RawCall, code: StatusCode) -> None:
        """A call is over: give back what it held, and tell the hooks, unless it was none."""
        context = self.context
        budget = context.budget
        budget.calls -= 1
        budget.bytes -= call.held
        call.held = 0
        if call.head.http_status is None:
            route: Any = call.head.route
            if code is StatusCode.OK:
                context.count_answered(route)
            else:
                context.count_failed(route, code, self._seconds_of(call))
        if context.after:
            self._tell_hooks(call, code)

    def _seconds_of(self, call: RawCall) -> float:
        """Since its header block came."""
        clock = self.context.clock
        return (self._now if clock is None else clock()) - call.started

    def _tell_hooks(self, call: RawCall, code: StatusCode) -> None:
        context = self.context
        if call.head.http_status is not None:
            return
        seconds = self._seconds_of(call)
        told, context.telling = context.telling, True
        for after in context.after:
            try:
                after(call.request, code, seconds)
            except (Exception, SystemExit):
                log.exception("a hook failed")
        context.telling = told

    def go_away(self) -> None:
        """Announce the end: calls begun until `refuse_new` are served."""
        if self.failed or self._going_away or self.refusing:
            return
        self._going_away = True
        self._out.append(fr.goaway(fr.MAX_STREAM_ID, fr.NO_ERROR))
        self._notify()

    def refuse_new(self) -> None:
        """Begin nothing more: the second GOAWAY, with the last stream that is served."""
        if self._refusing_after is None and not self.failed:
            self._refusing_after = self.last_stream_id
            self._out.append(fr.goaway(self.last_stream_id, fr.NO_ERROR))
            self._notify()

    def _last_peer_stream(self) -> int:
        """Never above what an earlier GOAWAY has said (RFC 9113, section 6.8)."""
        return self.last_stream_id if self._refusing_after is None else self._refusing_after
