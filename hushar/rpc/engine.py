"""One HTTP/2 connection without its socket: bytes in, events out, bytes out (RFC 9113).

Theory of operation. `receive_data` cuts frames and hands each to the method for its type; what a driver
has to know comes back as events (events.py), what the peer has to know is appended to the output, which
`data_to_send` takes. Nothing here waits, opens or asks for the time: the driver passes `now` in. Two
subclasses play the roles: `ServerConnection` (server_engine.py), `ClientConnection` (client_engine.py).

Two kinds of errors, by how much they cost. A *stream* error is answered with RST_STREAM at once. A
*connection* error is a ConnectionFault, raised from wherever it is found and caught in `receive_data`
alone: GOAWAY is the last frame, ConnectionFailed the last event, and all later input is ignored.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from hushar.rpc import events as ev
from hushar.rpc import frames as fr
from hushar.rpc.compiled import HeaderDecoder
from hushar.rpc.control import ControlFrames
from hushar.rpc.faults import ConnectionFault
from hushar.rpc.header_blocks import CompressionError, Field, list_size
from hushar.rpc.limits import CALM_FACTOR, Limits

_CHUNKS: Final = 128
"""Pieces of one frame that are kept apart; so many small ones are worth joining."""
_SELF_DEPENDENT: Final = 0x100
"""Beside a HEADERS frame's flags: its stream depends on itself."""


def _nothing() -> None:
    """Output of a connection that is lost is nobody's."""


FastWay = Callable[["Connection", bytes, int], int]
"""Of a connection, and bytes that it is to work through from a place on; returns the place it has come to."""


class Connection(ControlFrames):
    """What both roles have in common."""

    def __init__(self, limits: Limits, on_output: Callable[[], None]) -> None:
        """`on_output` is called when output appears while `dirty` is False; the driver resets `dirty`
        when it takes the output."""
        super().__init__(limits, on_output)
        self.failed = False
        """A connection error happened, or the connection is lost: nothing is read any more."""
        self._chunks: list[bytes] = []
        self._have = 0
        self._held = 0
        """Of these: what `_hold_part` has counted."""
        self._need = fr.HEADER_BYTES
        self._block: list[Any] | None = None
        """[stream id, flags, parts, bytes] of a header block that is not complete."""
        self._skip = 0
        """Bytes of a frame that was too large, still to come and to be ignored."""
        self._decoder = HeaderDecoder()
        self._max_frame = limits.max_frame_bytes
        self._max_block = CALM_FACTOR * limits.max_header_bytes
        self._fast_way: FastWay | None = None
        """Tried wherever a frame begins: works through usual frames, and says where it has stopped."""
        self._handlers: tuple[Callable[[int, int, bytes, int, int], None], ...] = (
            self._data,
            self._headers,
            self._priority,
            self._rst_stream,
            self._settings,
            self._push_promise,
            self._ping,
            self._goaway,
            self._window_update,
            self._continuation,
        )
        self._begin()

    # The driver's side

    def receive_data(self, data: bytes, now: float) -> list[Any]:
        """Take bytes from the peer; `now` is the driver's clock, in seconds. Returns what happened."""
        self._now = now
        events = self._events = []
        if self.failed:
            return events
        if self._skip:
            data = self._skipped(data)
        elif self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                if len(self._chunks) >= _CHUNKS:
                    self._chunks = [b"".join(self._chunks)]
                if self._have > fr.MIN_MAX_FRAME:
                    self._hold_part(self._have)
                return events
            data = b"".join(self._chunks)
            self._chunks = []
            if self._held:
                self._hold_part(0)
        return self._work(data, 0)

    def _work(self, data: bytes, at: int) -> list[Any]:
        """Work through bytes from `at` on, where a frame begins; returns all that has happened."""
        try:
            at = self._frames(data, at)
        except ConnectionFault as fault:
            self.fail(fault.code, str(fault))
            return self._events
        if at < len(data):
            self._chunks = [data[at:] if at else data]
            self._have = len(data) - at
            if self._have > fr.MIN_MAX_FRAME:
                self._hold_part(self._have)
        return self._events

    def data_to_send(self) -> bytes:
        """Take the output."""
        out = self._out
        if not out:
            return b""
        data = b"".join(out) if len(out) > 1 else out[0]
        out.clear()
        self._front = 0
        self._taken_bytes += len(data)
        if self._fresh_control_frames:
            self._control_ends.append((self._taken_bytes, self._fresh_control_frames))
            self._fresh_control_frames = 0
        return data

    def fail(self, code: int, reason: str) -> None:
        """End the connection: GOAWAY is the last frame, and every call on it is over."""
        if self.failed:
            return
        self.failed = True
        self._drop_part()
        self._abort_all()
        self._out.append(fr.goaway(self._last_peer_stream(), code, reason.encode()[:64]))
        self._events.append(ev.ConnectionFailed(code, reason))
        self._notify()

    def lost(self) -> list[Any]:
        """The socket is gone. Returns the calls that this ends, as events."""
        self._events = []
        self.failed = True
        self._drop_part()
        self._abort_all()
        self._out.clear()
        return self._events

    def release(self) -> None:
        """Once it is lost: let go of what refers to it in turn, so that its memory is free with its last call
        and not only when the garbage collector comes by."""
        self._events = []
        self._handlers = ()
        self._on_output = _nothing

    def send_ping(self, data: bytes) -> None:
        """Send a PING with eight bytes of data."""
        if not self.failed:
            self._pings_sent += 1
            self._out.append(fr.ping(data))
            self._notify()

    @property
    def open_streams(self) -> int:
        """Streams that are not over."""
        return len(self._streams)

    # Frames

    def _begin(self) -> None:
        """Send what a role sends first."""
        limits = self.limits
        entries = [
            (fr.INITIAL_WINDOW_SIZE, self._announced_window),
            (fr.MAX_FRAME_SIZE, limits.max_frame_bytes),
            (fr.MAX_HEADER_LIST_SIZE, limits.max_header_bytes),
        ]
        if self.is_client:
            entries.append((fr.ENABLE_PUSH, 0))
        else:
            entries.append((fr.MAX_CONCURRENT_STREAMS, limits.connection_concurrency))
        self._out.append(fr.settings(entries))
        more = limits.connection_window_bytes - fr.DEFAULT_WINDOW
        if more > 0:
            self._out.append(fr.window_update(0, more))
        self._front = len(self._out)

    def _frames(self, data: bytes, at: int) -> int:
        """Work through the frames in `data` from `at` on; returns where the first incomplete one begins."""
        end = len(data)
        unpack = fr.HEADER.unpack_from
        handlers = self._handlers
        fast_way = self._fast_way
        while end - at >= fr.HEADER_BYTES:
            if fast_way is not None:
                at = fast_way(self, data, at)
                if self.failed:
                    return end
                if end - at < fr.HEADER_BYTES:
                    break
            head, flags, stream_id = unpack(data, at)
            length = head >> 8
            start = at + fr.HEADER_BYTES
            stop = start + length
            if length > self._max_frame:
                self._too_large(head & 0xFF, stream_id & fr.MAX_STREAM_ID, length)
                self._skip = max(0, stop - end)
                at = min(stop, end)
                continue
            if stop > end:
                self._need = fr.HEADER_BYTES + length
                return at
            kind = head & 0xFF
            if self._block is not None and kind != fr.CONTINUATION:
                raise ConnectionFault(fr.PROTOCOL_ERROR, "a frame inside a header block")
            if not self._settings_seen and (kind != fr.SETTINGS or flags & fr.ACK):
                raise ConnectionFault(fr.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            if kind <= fr.CONTINUATION:
                handlers[kind](flags, stream_id & fr.MAX_STREAM_ID, data, start, stop)
                if self.failed:
                    return end
            else:
                self._courtesy()
            at = stop
        self._need = fr.HEADER_BYTES
        return at

    def _too_large(self, kind: int, stream_id: int, length: int) -> None:
        """A frame above our MAX_FRAME_SIZE. Where only its stream is concerned, the connection lives."""
        small = kind in (fr.DATA, fr.PRIORITY) and 0 < stream_id <= self._last_stream()
        if not small or self._block is not None or not self._settings_seen:
            raise ConnectionFault(fr.FRAME_SIZE_ERROR, "frame too large")
        if kind == fr.DATA:
            self._take_window(length)
        self._reset(stream_id, fr.FRAME_SIZE_ERROR)

    def _hold_part(self, size: int) -> None:
        """Of a frame that is not complete, `size` bytes are held; 0 once it is. Longer than the least of
        peers' frames may be: those of every connection are small change, and too usual to be counted."""
        self._held = size

    def _drop_part(self) -> None:
        """What has come of a frame is forgotten."""
        self._chunks = []
        if self._held:
            self._hold_part(0)

    def _skipped(self, data: bytes) -> bytes:
        """What comes after the rest of a frame that is ignored."""
        skip = min(self._skip, len(data))
        self._skip -= skip
        return data[skip:]

    def _unpadded(self, flags: int, data: bytes, start: int, stop: int) -> tuple[int, int]:
        """Where the content of a DATA or HEADERS frame is without padding and priority."""
        padding = 0
        if flags & fr.PADDED:
            if start == stop:
                raise ConnectionFault(fr.FRAME_SIZE_ERROR, "no room for the padding's length")
            padding = data[start]
            start += 1
        if flags & fr.PRIORITIZED:
            start += 5
            if start > stop:
                raise ConnectionFault(fr.FRAME_SIZE_ERROR, "no room for the priority")
        if start + padding > stop:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "more padding than payload")
        return start, stop - padding

    def _headers(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        if not stream_id:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (fr.PADDED | fr.PRIORITIZED):
            begin = start
            start, stop = self._unpadded(flags, data, start, stop)
            if flags & fr.PRIORITIZED:
                at = begin + (1 if flags & fr.PADDED else 0)
                if fr.word(data, at) & fr.MAX_STREAM_ID == stream_id:
                    flags |= _SELF_DEPENDENT
        if stop - start > self._max_block:
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "header block too long")
        if flags & (fr.END_HEADERS | _SELF_DEPENDENT) == fr.END_HEADERS:
            self._block_complete(stream_id, data[start:stop], flags & fr.END_STREAM)
        elif flags & fr.END_HEADERS:
            self._malformed_block(stream_id, data[start:stop])
        else:
            self._block = [stream_id, flags, [data[start:stop]], stop - start]

    def _continuation(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        block = self._block
        if block is None or block[0] != stream_id:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block[2].append(data[start:stop])
        block[3] += stop - start
        if len(block[2]) > self.limits.max_continuation_frames + 1 or block[3] > self._max_block:
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "header block too long")
        if flags & fr.END_HEADERS:
            self._block = None
            content = b"".join(block[2])
            if block[1] & _SELF_DEPENDENT:
                self._malformed_block(stream_id, content)
            else:
                self._block_complete(stream_id, content, block[1] & fr.END_STREAM)

    def _decode(self, block: bytes) -> list[Field]:
        """Decode a header block. Whatever becomes of its stream, the table has to follow."""
        try:
            return self._decoder.decode(block)
        except CompressionError as error:
            raise ConnectionFault(fr.COMPRESSION_ERROR, "header block cannot be decoded") from error

    def _size_of(self, fields: Sequence[Field]) -> int:
        """The size of a header list; one far too large costs the connection."""
        size = list_size(fields)
        if size > self._max_block:
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "header list too large")
        return size

    # What the roles do differently

    def _block_complete(self, stream_id: int, block: bytes, end_stream: int) -> None:
        """A whole header block has come."""
        raise NotImplementedError

    def _malformed_block(self, stream_id: int, block: bytes) -> None:
        """A whole header block has come that is a stream error whatever is in it."""
        self._decode(block)
        self._no_idle(stream_id, "HEADERS")
        self._reset(stream_id, fr.PROTOCOL_ERROR)

    def _data(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        """A DATA frame has come."""
        raise NotImplementedError

    def _last_peer_stream(self) -> int:
        """The last stream that GOAWAY speaks of: the highest that the peer has opened."""
        raise NotImplementedError

    def _abort_all(self) -> None:
        for stream in list(self._streams.values()):
            self._drop(stream)
            self._aborted(stream, fr.CANCEL)
