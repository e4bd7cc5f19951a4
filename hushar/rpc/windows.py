"""Flow control in both directions (RFC 9113, section 5.2), and the output that it holds back.

Theory of operation. We credit the connection's window as soon as bytes have come: what an unfinished message
may hold is bounded by its stream's window, and all of it together by the server's budget, so a peer can
never be stuck between the two windows. (Only a peer that leaves too many finished answers unread is not
credited until it reads.) A stream's window is credited when a message is taken.

In the other direction DATA waits in its stream's queue for both windows. A stream whose own window is
closed is in no list and costs nothing until it opens; the others, which wait for the connection's window,
take turns.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

from hushar.rpc import frames as fr
from hushar.rpc.faults import ConnectionFault

_TURN_BYTES: Final = 64 * 1024
"""The longest DATA frame that a stream sends while others wait, whatever the peer would take."""
_DATA_UNIT: Final = 14
"""DATA counts as a frame for each 2¹⁴ bytes: what most senders would have made of it (`_courtesy`)."""


class FlowControl:
    """The windows of a connection and of its streams, and what waits for them."""

    def __init__(
        self, receive_window: int, on_output: Callable[[], None], *, stream_window: int, send_buffer: int
    ) -> None:
        """`receive_window`: bytes of DATA that the peer may send on all streams together;
        `stream_window`: on each; `send_buffer`: bytes of finished answers that may wait for the peer."""
        self.dirty = False
        """Output has appeared that the driver has not been told to take, or has not taken."""
        self.send_window = fr.DEFAULT_WINDOW
        self.waiting_bytes = 0
        """DATA that waits for the peer's windows."""
        self._on_output = on_output
        self._streams: dict[int, Any] = {}
        self._out: list[bytes] = []
        self._ready: OrderedDict[int, Any] = OrderedDict()
        """Streams whose DATA waits for the connection's window alone, in the order of their turns."""
        self._peer_window = fr.DEFAULT_WINDOW
        self._peer_max_frame = fr.MIN_MAX_FRAME
        # A peer has the default windows until it has read of ours, and a window cannot be shrunk.
        self._receive_window = max(receive_window, fr.DEFAULT_WINDOW)
        self._credit = 0
        self._credit_at = self._receive_window // 2
        self._announced_window = stream_window
        self._stream_window = max(stream_window, fr.DEFAULT_WINDOW)
        """What a new stream may receive."""
        self._send_buffer = send_buffer
        self._finished_bytes = 0
        """Of `waiting_bytes`: those of streams whose end waits behind them."""
        self.overfull = False
        """The finished answers that wait for the peer have come to `send_buffer`, and the driver has not said
        since that this is over: it resets this."""
        self.longest_waiting = 0
        """Of those that wait since that became so: the most bytes of one."""
        self._data_sent = 0
        """DATA frames, long ones counted as several."""
        self._active = True
        """HEADERS or DATA went either way since the last ping."""

    # Receiving

    def _take_window(self, size: int) -> None:
        """Account for `size` bytes of DATA (padding included) on the connection."""
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(fr.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        self._credit += size
        if self._credit >= self._credit_at:
            self._credit_connection()

    def _credit_connection(self) -> None:
        """Let the peer send more, unless it leaves too much of what it asked for unread."""
        if self._credit >= self._credit_at and self._finished_bytes < self._send_buffer:
            self._out.append(fr.window_update(0, self._credit))
            self._receive_window += self._credit
            self._credit = 0
            self._notify()

    def acknowledge(self, stream: Any, size: int) -> None:
        """A message of `size` bytes of DATA was taken: the peer may send as much again on the stream."""
        is_open: bool = self._streams.get(stream.id) is stream
        if size and stream.receiving and is_open:
            stream.receive_window += size
            self._out.append(fr.window_update(stream.id, size))
            self._notify()

    def _settings_taken(self) -> None:
        """The peer has acknowledged our settings: its streams have the windows that we announced."""
        change = self._announced_window - self._stream_window
        if change:
            self._stream_window = self._announced_window
            for stream in self._streams.values():
                stream.receive_window += change

    # Sending

    def _notify(self) -> None:
        if not self.dirty:
            self.dirty = True
            self._on_output()

    def send_data(self, stream: Any, data: bytes) -> None:
        """Queue DATA, and send what the windows allow."""
        size = len(data)
        if stream.queue is None:
            if size <= stream.send_window and size <= self.send_window and size <= self._peer_max_frame:
                self._send_frame(stream, data, size)
                self._notify()
                return
            stream.queue = deque()
        stream.queue.append(data)
        stream.queued += size
        self.waiting_bytes += size
        self._wake(stream)
        self._pump()
        self._notify()

    def end_stream(self, stream: Any, frame: bytes) -> None:
        """Send what ends our half, behind all DATA that waits."""
        if stream.queue is not None:
            stream.trailers = frame
            self._finish_later(stream.queued)
        else:
            self._out.append(frame)
            self._sent_end(stream)
        self._notify()

    def _finish_later(self, size: int) -> None:
        """The last `size` bytes of an answer wait for the peer, and its end behind them."""
        self._finished_bytes += size
        if self._finished_bytes >= self._send_buffer:
            self.longest_waiting = max(size, self.longest_waiting if self.overfull else 0)
            self.overfull = True

    @property
    def send_buffer(self) -> int:
        """So many bytes of finished answers may wait for the peer."""
        return self._send_buffer

    @property
    def send_room(self) -> int:
        """So many bytes more of finished answers may wait for the peer."""
        return self._send_buffer - self._finished_bytes

    @property
    def data_sent(self) -> int:
        """Grows with every DATA frame that is sent."""
        return self._data_sent

    def _open_window(self, stream: Any, increment: int) -> None:
        """The peer takes more on a stream, or less."""
        stream.send_window += increment
        if stream.send_window > 0:
            self._wake(stream)
        else:
            self._ready.pop(stream.id, None)

    def _wake(self, stream: Any) -> None:
        """Give the stream a turn if it has something to send and may."""
        if stream.queue and stream.send_window > 0:
            self._ready.setdefault(stream.id, stream)

    def _pump(self) -> None:
        """Send waiting DATA as far as the windows go, a frame of each stream in turn."""
        ready = self._ready
        while ready and self.send_window > 0:
            _, stream = ready.popitem(last=False)
            self._send_some(stream)
            if stream.queue:
                self._wake(stream)
                continue
            stream.queue = None
            if stream.trailers is not None:
                self._out.append(stream.trailers)
                self._sent_end(stream)
        if self._credit >= self._credit_at:
            self._credit_connection()

    def _send_some(self, stream: Any) -> None:
        """Send one DATA frame from the stream's queue."""
        size = min(self.send_window, stream.send_window, self._peer_max_frame, _TURN_BYTES)
        data = stream.queue.popleft()
        if len(data) > size:
            stream.queue.appendleft(memoryview(data)[size:])
            data = data[:size]
        size = len(data)
        stream.queued -= size
        self.waiting_bytes -= size
        if stream.trailers is not None:
            self._finished_bytes -= size
        self._send_frame(stream, bytes(data), size)
        self._notify()

    def _send_frame(self, stream: Any, data: bytes, size: int) -> None:
        stream.send_window -= size
        self.send_window -= size
        self._data_sent += 1 + (size >> _DATA_UNIT)
        self._active = True
        self._out.append(fr.frame(fr.DATA, 0, stream.id, data))

    def _discard(self, stream: Any) -> None:
        """Throw away what a stream still wanted to send."""
        self._ready.pop(stream.id, None)
        self.waiting_bytes -= stream.queued
        if stream.trailers is not None:
            self._finished_bytes -= stream.queued
        stream.queue = None
        stream.queued = 0
        if self._credit >= self._credit_at:
            self._credit_connection()

    def _sent_end(self, stream: Any) -> None:
        """Our half is closed."""
        raise NotImplementedError
