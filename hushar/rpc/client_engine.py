"""The client's half: calls out, responses in. Sans-IO like the server's, on the same base.

A call is over when its trailers have come, when either side has reset it, or when the connection is gone;
`ClientCall.changed` is called at each step that somebody may wait for, and nothing else is an event.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from purerpc import Status, StatusCode

from hushar.rpc import frames as fr
from hushar.rpc import messages as msg
from hushar.rpc.engine import Connection
from hushar.rpc.header_blocks import Field, encode
from hushar.rpc.limits import Limits
from hushar.rpc.request_head import first, is_grpc
from hushar.rpc.status import code_of_http_status, code_of_reset, decode_message
from hushar.rpc.streams import Stream

_MEMO_BLOCKS: Final = 64
_ACCEPT: Final = b"identity,deflate,gzip"
_INFLATABLE: Final = frozenset(name.encode() for name in msg.ENCODINGS)
_END_BOTH: Final = fr.END_HEADERS | fr.END_STREAM

Changed = Callable[[], None]


def request_block(
    scheme: str, authority: str, path: str, fields: Sequence[Field] = (), user_agent: str = ""
) -> bytes:
    """The header block of a call without its time-out. The same for the same arguments: worth keeping."""
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


class ClientCall(Stream):
    """One call at the client."""

    __slots__ = (
        "changed",
        "encoding",
        "leading",
        "message",
        "messages",
        "over",
        "status",
        "trailing",
        "unprocessed",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int, changed: Changed) -> None:
        Stream.__init__(self, stream_id, send_window, receive_window)
        self.changed = changed
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


class ClientConnection(Connection):
    """A connection that we have opened."""

    is_client = True

    def __init__(self, limits: Limits, on_output: Callable[[], None]) -> None:
        self.max_streams = 2**31 - 1
        """What the server allows; its setting may come late or change."""
        self.last_allowed = fr.MAX_STREAM_ID
        """After a GOAWAY: the last stream that the server serves."""
        self._memo: dict[bytes, list[Field]] = {}
        self._memo_changes = 0
        super().__init__(limits, on_output)

    def _begin(self) -> None:
        self._out.append(fr.PREFACE)
        super()._begin()

    @property
    def can_begin(self) -> bool:
        """Whether a call can be begun now."""
        return self.usable and len(self._streams) < self.max_streams

    @property
    def usable(self) -> bool:
        """Whether calls can be begun on this connection, now or when others have ended."""
        return not self.failed and not self.peer_went_away and self.last_stream_id < fr.MAX_STREAM_ID - 2

    # Calling

    def begin(self, block: bytes, changed: Changed) -> ClientCall:
        """Begin a call. `changed` is called when something has come, or it is over."""
        stream_id = self.last_stream_id + 2 if self.last_stream_id else 1
        self.last_stream_id = stream_id
        self._streams_seen += 1
        call = ClientCall(stream_id, self._peer_window, self._stream_window, changed)
        self._streams[stream_id] = call
        self._send_block(stream_id, block)
        self._notify()
        return call

    def begin_unary(self, block: bytes, message: bytes, changed: Changed) -> ClientCall:
        """Begin a call with its only message."""
        call = self.begin(block, changed)
        size = len(message) + msg.PREFIX_BYTES
        if size <= self.send_window and size <= call.send_window and size <= self._peer_max_frame:
            self.send_window -= size
            self._data_sent += 1
            head = fr.HEADER.pack(size << 8 | fr.DATA, fr.END_STREAM, call.id)
            self._out.append(head + msg.PREFIX.pack(0, len(message)) + message)
            call.sending = False
        else:
            self.send_data(call, msg.frame_message(message))
            self.end(call)
        return call

    def send_message(self, call: ClientCall, message: bytes) -> None:
        """Send a message of a call that sends several."""
        if not call.over:
            self.send_data(call, msg.frame_message(message))

    def end(self, call: ClientCall) -> None:
        """Send nothing more on this call."""
        if not call.over and call.sending and call.trailers is None:
            self.end_stream(call, fr.frame(fr.DATA, fr.END_STREAM, call.id))

    def cancel(self, call: ClientCall) -> None:
        """Nobody waits for the answer any more."""
        if self._streams.get(call.id) is call:
            self._reset(call.id, fr.CANCEL)

    def take(self, call: ClientCall) -> bytes:
        """The oldest message that has come; its room is given back to the server."""
        message, wire_bytes = call.messages.popleft()
        self.acknowledge(call, wire_bytes)
        return message

    def _send_block(self, stream_id: int, block: bytes) -> None:
        size = self._peer_max_frame
        if len(block) <= size:
            self._out.append(fr.frame(fr.HEADERS, fr.END_HEADERS, stream_id, block))
            return
        parts = [block[at : at + size] for at in range(0, len(block), size)]
        self._out.append(fr.frame(fr.HEADERS, 0, stream_id, parts[0]))
        self._out.extend(fr.frame(fr.CONTINUATION, 0, stream_id, part) for part in parts[1:-1])
        self._out.append(fr.frame(fr.CONTINUATION, fr.END_HEADERS, stream_id, parts[-1]))

    # Receiving

    def _set(self, setting: int, value: int) -> None:
        if setting == fr.MAX_CONCURRENT_STREAMS:
            self.max_streams = value
        super()._set(setting, value)

    def _courtesy(self) -> None:
        """A server's WINDOW_UPDATEs are not counted against it: we chose to talk to it."""

    def _fields(self, block: bytes) -> list[Field]:
        decoder = self._decoder
        if decoder.changes == self._memo_changes:
            known = self._memo.get(block)
            if known is not None:
                return known
        fields = self._decode(block)
        self._size_of(fields)
        if decoder.changes != self._memo_changes or len(self._memo) >= _MEMO_BLOCKS:
            self._memo.clear()
            self._memo_changes = decoder.changes
        else:
            self._memo[block] = fields
        return fields

    def _block_complete(self, stream_id: int, block: bytes, end_stream: int) -> None:
        fields = self._fields(block)
        call = self._streams.get(stream_id)
        if call is None:
            self._no_idle(stream_id, "HEADERS")
            return
        if end_stream:
            self._ended(call, fields)
        elif call.leading is None:
            self._leading(call, fields)
        else:
            self._reset(stream_id, fr.PROTOCOL_ERROR)

    def _leading(self, call: ClientCall, fields: list[Field]) -> None:
        status = first(fields, b":status") or b""
        if status[:1] == b"1":
            return
        if status != b"200" or not is_grpc(first(fields, b"content-type") or b""):
            self._no_grpc(call, status)
            return
        encoding = first(fields, b"grpc-encoding")
        call.encoding = None if encoding == b"identity" else encoding
        call.leading = fields
        call.changed()

    def _no_grpc(self, call: ClientCall, status: bytes) -> None:
        """An answer that is no gRPC: what a proxy says."""
        number = int(status) if status.isdigit() else 0
        self._streams.pop(call.id)
        self._recently_reset.add(call.id)
        self._out.append(fr.rst_stream(call.id, fr.CANCEL))
        self._notify()
        self._over(call, Status(code_of_http_status(number), f"HTTP status {number}, not gRPC"))

    def _ended(self, call: ClientCall, fields: list[Field]) -> None:
        """Trailers, or trailers only."""
        code = first(fields, b"grpc-status")
        call.receiving = False
        call.trailing = fields
        if code is None or not code.isdigit():
            http = first(fields, b":status")
            number = int(http) if http and http.isdigit() else 0
            status = Status(code_of_http_status(number), "the answer has no grpc-status")
        else:
            status = Status(int(code), decode_message(first(fields, b"grpc-message") or b""))
        if call.sending:
            # The server wants no more of the request.
            self._recently_reset.add(call.id)
            self._out.append(fr.rst_stream(call.id, fr.CANCEL))
            self._notify()
        self._drop(call)
        self._over(call, status)

    def _over(self, call: ClientCall, status: Status) -> None:
        call.status = status
        call.over = True
        call.changed()

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
        self._read(call, data[start:stop], size)
        if flags & fr.END_STREAM and not call.over:
            self._ended(call, [])

    def _read(self, call: ClientCall, data: bytes, wire_bytes: int) -> None:
        if call.reader is None:
            call.reader = msg.MessageReader(self.limits.max_receive_bytes)
        try:
            messages = [self._inflated(call, flag, body) for flag, body in call.reader.feed(data)]
        except msg.MessageTooLarge:
            text = f"a message larger than {self.limits.max_receive_bytes} bytes"
            self._give_up(call, Status(StatusCode.RESOURCE_EXHAUSTED, text))
            return
        except msg.CorruptMessage:
            self._give_up(call, Status(StatusCode.INTERNAL, "a message that cannot be read"))
            return
        if not messages:
            self.acknowledge(call, wire_bytes)
            return
        for index, message in enumerate(messages):
            call.messages.append((message, 0 if index else wire_bytes))
        call.changed()

    def _inflated(self, call: ClientCall, flag: int, body: bytes) -> bytes:
        if not flag:
            return body
        if call.encoding not in _INFLATABLE:
            raise msg.CorruptMessage("compressed in an encoding that we did not offer")
        return msg.inflate(body, call.encoding, self.limits.max_receive_bytes)

    def _give_up(self, call: ClientCall, status: Status) -> None:
        """End a call from our side, with a status of our own."""
        self._drop(call)
        self._recently_reset.add(call.id)
        self._out.append(fr.rst_stream(call.id, fr.CANCEL))
        self._notify()
        self._over(call, status)

    def _reset_received(self, stream_id: int, code: int) -> None:
        call = self._streams.get(stream_id)
        if call is not None:
            self._drop(call)
            call.unprocessed = code == fr.REFUSED_STREAM
            self._over(call, Status(code_of_reset(code), f"the server has reset the call (code {code})"))

    def _aborted(self, stream: ClientCall, code: int) -> None:
        if not stream.over:
            if code == fr.CANCEL and not self.failed:
                status = Status(StatusCode.CANCELLED, "cancelled")
            elif self.failed:
                status = Status(StatusCode.UNAVAILABLE, "the connection is lost")
            else:
                status = Status(StatusCode.INTERNAL, "the server has broken the protocol")
            self._over(stream, status)

    def _went_away(self, last_stream_id: int, code: int) -> None:
        self.last_allowed = last_stream_id
        for call in [each for each in self._streams.values() if each.id > last_stream_id]:
            self._drop(call)
            call.unprocessed = True
            self._over(call, Status(StatusCode.UNAVAILABLE, "the server is going away"))
        super()._went_away(last_stream_id, code)

    def _sent_end(self, stream: ClientCall) -> None:
        stream.sending = False

    def _last_peer_stream(self) -> int:
        return 0
