"""The client's half: calls out, responses in. Sans-IO like the server's, on the same base.

A call is over when its trailers have come, when either side has reset it, or when the connection is gone;
`on_end` is called with it then, exactly once. Nothing else of a call is an event: whoever wants each step
(the leading headers, a message) also gives `on_change`. Both may be called while the engine reads: they
take note, and leave it to the driver's own turn to act.

What a server may provoke is bounded by what it is asked for: its windows, its messages, its header lists.
Its pings and window updates are not counted against it as a client's are, since we chose to talk to it.
"""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from purerpc import Status, StatusCode

from hushar.rpc import frames as fr
from hushar.rpc import messages as msg
from hushar.rpc.engine import Connection
from hushar.rpc.faults import ConnectionFault
from hushar.rpc.header_blocks import Field
from hushar.rpc.limits import Limits, PingGuard
from hushar.rpc.request_head import Malformed
from hushar.rpc.response_head import ResponseHead, parse_response
from hushar.rpc.status import code_of_reset
from hushar.rpc.streams import Stream

_MEMO_BLOCKS: Final = 64
_INFLATABLE: Final = frozenset(name.encode() for name in msg.ENCODINGS)
_LAST_ID: Final = fr.MAX_STREAM_ID
_DATA_HEAD: Final = struct.Struct(">IBIBI")
"""The header of a DATA frame and the prefix of a message."""
_NO_TABLE: Final = b"\x20"
"""A dynamic table of no bytes, before the first field: a server that shrinks ours waits for that."""
_CANCELLED: Final = Status(StatusCode.CANCELLED, "cancelled")

OnEnd = Callable[["ClientCall"], object]
OnChange = Callable[[], object]


class ClientCall(Stream):
    """One call at the client."""

    __slots__ = (
        "encoding",
        "leading",
        "lost",
        "messages",
        "on_change",
        "on_end",
        "over",
        "owner",
        "single",
        "status",
        "trailing",
        "unprocessed",
    )

    def __init__(
        self, stream_id: int, windows: tuple[int, int], on_end: OnEnd, on_change: OnChange | None, owner: Any
    ) -> None:
        """`windows`: of the stream, for sending and receiving."""
        Stream.__init__(self, stream_id, *windows)
        self.on_end = on_end
        self.on_change = on_change
        self.owner = owner
        """Whose call it is: the driver's to know."""
        self.single = False
        """Its answer is one message."""
        self.messages: deque[tuple[bytes, int]] = deque()
        """Messages that have come and were not taken, each with its bytes of DATA."""
        self.leading: Sequence[Field] | None = None
        self.trailing: Sequence[Field] = ()
        self.status: Status | None = None
        """Set when the call is over."""
        self.over = False
        self.encoding: bytes | None = None
        self.unprocessed = False
        """The server has done nothing for this call: it may be sent again whatever it is."""
        self.lost = False
        """The status is not the server's: the connection broke."""


class ClientConnection(Connection):
    """A connection that we have opened."""

    is_client = True

    def __init__(self, limits: Limits, on_output: Callable[[], None]) -> None:
        self.max_streams = fr.MAX_STREAM_ID
        """What the server allows; its setting may come late or change."""
        self.sent_through = 0
        """The last call of which a byte may have left; the driver keeps it up to date."""
        self.end_reason = ""
        """Why the connection takes no more calls, as a sentence; empty while it does."""
        self._max_message = limits.max_receive_bytes
        self._memo: dict[bytes, ResponseHead] = {}
        self._memo_changes = 0
        super().__init__(limits, on_output)
        # A server pings to measure the line, to drain, to see whether we live: no limit but the queue's.
        self._pings = PingGuard(0, 0.0)

    def _begin(self) -> None:
        self._out.append(fr.PREFACE)
        super()._begin()

    @property
    def greeted(self) -> bool:
        """Whether the server has sent its SETTINGS: it speaks HTTP/2."""
        return self._settings_seen

    @property
    def can_begin(self) -> bool:
        """Whether a call can be begun now."""
        return len(self._streams) < self.max_streams and self.usable

    @property
    def usable(self) -> bool:
        """Whether calls can be begun on this connection, now or when others have ended."""
        return not self.failed and not self.peer_went_away and self.last_stream_id < _LAST_ID

    # Calling

    def begin(
        self, block: bytes, on_end: OnEnd, on_change: OnChange | None = None, owner: Any = None
    ) -> ClientCall:
        """Begin a call; only where `can_begin`."""
        call = self._new(on_end, on_change, owner)
        self._send_block(call.id, block if call.id != 1 else _NO_TABLE + block)
        self._notify()
        return call

    def begin_unary(self, block: bytes, message: bytes, on_end: OnEnd, owner: Any = None) -> ClientCall:
        """Begin a call with its only message, whose answer is one message."""
        call = self._new(on_end, None, owner)
        call.single = True
        if call.id == 1:
            block = _NO_TABLE + block
        length, block_size = len(message), len(block)
        size = length + msg.PREFIX_BYTES
        fits = size <= self.send_window and size <= call.send_window and size <= self._peer_max_frame
        if fits and block_size <= fr.MIN_MAX_FRAME:
            # HEADERS and DATA in one piece.
            self.send_window -= size
            head = fr.HEADER.pack(block_size << 8 | fr.HEADERS, fr.END_HEADERS, call.id)
            data = _DATA_HEAD.pack(size << 8 | fr.DATA, fr.END_STREAM, call.id, 0, length)
            self._out.append(b"%b%b%b%b" % (head, block, data, message))
            call.sending = False
        else:
            self._send_block(call.id, block)
            self.send_data(call, msg.frame_message(message))
            self.end(call)
        if not self.dirty:
            self._notify()
        return call

    def send_message(self, call: ClientCall, message: bytes) -> None:
        """Send a message of a call that sends several. Nothing happens where the call is over."""
        if not call.over and call.sending and call.trailers is None:
            self.send_data(call, msg.frame_message(message))

    def end(self, call: ClientCall) -> None:
        """Send nothing more on this call."""
        if not call.over and call.sending and call.trailers is None:
            self.end_stream(call, fr.frame(fr.DATA, fr.END_STREAM, call.id))

    def cancel(self, call: ClientCall) -> None:
        """Nobody waits for the answer any more."""
        if not call.over:
            self._give_up(call, _CANCELLED)

    def take(self, call: ClientCall) -> bytes:
        """The oldest message that has come; its room is given back to the server."""
        message, wire_bytes = call.messages.popleft()
        self.acknowledge(call, wire_bytes)
        return message

    def _new(self, on_end: OnEnd, on_change: OnChange | None, owner: Any) -> ClientCall:
        stream_id = self.last_stream_id + 2 if self.last_stream_id else 1
        self.last_stream_id = stream_id
        call = ClientCall(stream_id, (self._peer_window, self._stream_window), on_end, on_change, owner)
        self._streams[stream_id] = call
        return call

    def _send_block(self, stream_id: int, block: bytes) -> None:
        # Frames of the smallest size are right whatever the server's setting becomes meanwhile.
        size = fr.MIN_MAX_FRAME
        if len(block) <= size:
            self._out.append(fr.frame(fr.HEADERS, fr.END_HEADERS, stream_id, block))
            return
        parts = [block[at : at + size] for at in range(0, len(block), size)]
        self._out.append(fr.frame(fr.HEADERS, 0, stream_id, parts[0]))
        self._out.extend(fr.frame(fr.CONTINUATION, 0, stream_id, part) for part in parts[1:-1])
        self._out.append(fr.frame(fr.CONTINUATION, fr.END_HEADERS, stream_id, parts[-1]))

    # Ending

    def _over(self, call: ClientCall, status: Status) -> None:
        call.status = status
        call.over = True
        call.on_end(call)

    def _give_up(self, call: ClientCall, status: Status, code: int = fr.CANCEL) -> None:
        """End a call from our side, with a status of our own."""
        self._drop(call)
        # Not `_control`: this is no answer to anything, and a thousand may be given up at once.
        self._out.append(fr.rst_stream(call.id, code))
        self._notify()
        self._over(call, status)

    def _reset_received(self, stream_id: int, code: int) -> None:
        call = self._streams.get(stream_id)
        if call is not None:
            self._drop(call)
            call.unprocessed = code == fr.REFUSED_STREAM
            self._over(call, Status(code_of_reset(code), f"the server reset the call (code {code})"))

    def _aborted(self, stream: ClientCall, code: int) -> None:  # noqa: ARG002 - it tells nothing more
        """A stream error, or the connection is over."""
        if not self.failed:
            self._over(stream, Status(StatusCode.INTERNAL, "the server does not keep to the protocol"))
            return
        stream.lost = True
        stream.unprocessed = stream.id > self.sent_through
        self._over(stream, Status(StatusCode.UNAVAILABLE, self.end_reason or "the connection was lost"))

    def _goaway(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        said = data[start + 8 : stop][:64].decode("ascii", "replace")
        self.end_reason = "the server takes no more calls on this connection" + (f" ({said})" if said else "")
        super()._goaway(flags, stream_id, data, start, stop)

    def _went_away(self, last_stream_id: int, code: int) -> None:
        for call in [each for each in self._streams.values() if each.id > last_stream_id]:
            self._drop(call)
            call.unprocessed = True
            call.lost = True
            self._over(call, Status(StatusCode.UNAVAILABLE, self.end_reason))
        super()._went_away(last_stream_id, code)

    def fail(self, code: int, reason: str) -> None:
        """See Connection."""
        if not self.failed:
            self.end_reason = f"the server does not keep to the protocol: {reason}"
        super().fail(code, reason)

    def lost_because(self, reason: str) -> None:
        """The socket is gone, and every call with it; `reason` is a sentence."""
        if not self.failed:
            self.end_reason = reason
        self.lost()

    # Receiving

    def _set(self, setting: int, value: int) -> None:
        if setting == fr.MAX_CONCURRENT_STREAMS:
            self.max_streams = value
        super()._set(setting, value)

    def _courtesy(self) -> None:
        """Nothing is counted."""

    def _no_idle(self, stream_id: int, what: str) -> None:
        if not stream_id & 1:
            raise ConnectionFault(fr.PROTOCOL_ERROR, f"{what} on a stream of the server's own")
        super()._no_idle(stream_id, what)

    def _head(self, block: bytes) -> ResponseHead | None:
        """What a header block says; None if it is malformed."""
        decoder = self._decoder
        if decoder.changes == self._memo_changes:
            known = self._memo.get(block)
            if known is not None:
                return known
        fields = self._decode(block)
        oversize = self._size_of(fields) > self.limits.max_header_bytes
        try:
            head = parse_response(fields)
        except Malformed:
            return None
        head.oversize = oversize
        if decoder.changes != self._memo_changes or len(self._memo) >= _MEMO_BLOCKS:
            self._memo.clear()
            self._memo_changes = decoder.changes
        elif not oversize:
            self._memo[block] = head
        return head

    def _block_complete(self, stream_id: int, block: bytes, end_stream: int) -> None:
        head = self._head(block)
        call = self._streams.get(stream_id)
        if call is None:
            self._no_idle(stream_id, "HEADERS")
        elif head is None or (call.leading is None) is (head.http_status is None):
            # The first block has a :status, the last, if it is another, has none.
            self._reset(stream_id, fr.PROTOCOL_ERROR)
        elif head.oversize:
            self._give_up(call, Status(StatusCode.RESOURCE_EXHAUSTED, "the answer's metadata are too large"))
        elif end_stream:
            self._ended(call, head)
        elif call.leading is None:
            self._leading(call, head)
        else:
            self._reset(stream_id, fr.PROTOCOL_ERROR)

    def _leading(self, call: ClientCall, head: ResponseHead) -> None:
        if head.is_grpc:
            call.encoding = head.encoding
            call.leading = head.fields
            if call.on_change is not None:
                call.on_change()
        elif not head.http_status or head.http_status >= 200:
            self._give_up(call, head.status or head.http_failure())

    def _ended(self, call: ClientCall, head: ResponseHead) -> None:
        """Trailers, or trailers only."""
        self._finished(call, head.fields, head.status or head.http_failure())

    def _finished(self, call: ClientCall, trailing: Sequence[Field], status: Status) -> None:
        call.receiving = False
        call.trailing = trailing
        if call.reader is not None and call.reader.held and status.status_code is StatusCode.OK:
            status = Status(StatusCode.INTERNAL, "the answer was cut short")
        if call.sending:
            # The server wants no more of the request.
            self._out.append(fr.rst_stream(call.id, fr.NO_ERROR))
            self._notify()
        self._drop(call)
        self._over(call, status)

    def _data(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        size = stop - start
        self._take_window(size)
        call = self._streams.get(stream_id)
        if flags & fr.PADDED:
            start, stop = self._unpadded(flags & ~fr.PRIORITIZED, data, start, stop)
        if call is None:
            self._no_idle(stream_id, "DATA")
            return
        call.receive_window -= size
        if call.receive_window < 0:
            self._reset(stream_id, fr.FLOW_CONTROL_ERROR)
            return
        if call.leading is None:
            self._reset(stream_id, fr.PROTOCOL_ERROR)
            return
        begin = start + msg.PREFIX_BYTES
        length = stop - begin
        simple = call.reader is None and 0 <= length <= self._max_message
        if simple and msg.PREFIX.unpack_from(data, start) == (0, length):
            # Nearly every answer: one message, whole, and not compressed.
            self._got(call, data[begin:stop], size)
        else:
            self._read(call, data[start:stop], size)
        if flags & fr.END_STREAM and not call.over:
            self._finished(call, (), Status(StatusCode.UNKNOWN, "the answer ended without its status"))

    def _read(self, call: ClientCall, data: bytes, wire_bytes: int) -> None:
        if call.reader is None:
            call.reader = msg.MessageReader(self.limits.max_receive_bytes)
        try:
            messages = [self._inflated(call, flag, body) for flag, body in call.reader.feed(data)]
        except msg.MessageTooLarge:
            text = f"the answer has a message of more than {self.limits.max_receive_bytes} bytes"
            self._give_up(call, Status(StatusCode.RESOURCE_EXHAUSTED, text))
            return
        except msg.CorruptMessage as error:
            text = f"the answer has a message that cannot be read: {error}"
            self._give_up(call, Status(StatusCode.INTERNAL, text))
            return
        if not messages:
            self.acknowledge(call, wire_bytes)
            return
        for index, message in enumerate(messages):
            if not call.over:
                self._got(call, message, 0 if index else wire_bytes)

    def _got(self, call: ClientCall, message: bytes, wire_bytes: int) -> None:
        call.messages.append((message, wire_bytes))
        if call.single and len(call.messages) > 1:
            self._give_up(call, Status(StatusCode.UNIMPLEMENTED, "the answer has more than one message"))
        elif call.on_change is not None:
            call.on_change()

    def _inflated(self, call: ClientCall, flag: int, body: bytes) -> bytes:
        if not flag:
            return body
        if call.encoding not in _INFLATABLE:
            raise msg.CorruptMessage("compressed in an encoding that was not offered")
        return msg.inflate(body, call.encoding, self.limits.max_receive_bytes)

    def _sent_end(self, stream: ClientCall) -> None:
        stream.sending = False

    def _last_peer_stream(self) -> int:
        return 0
