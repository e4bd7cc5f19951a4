"""Flow control in both directions (RFC 9113, section 5.2), and the output that it holds back.

Theory of operation. We credit the connection's window as soon as bytes have come: what an unfinished message
may hold is bounded by its stream's window, and all of it together by the server's budget, so a peer can
never be stuck between the two windows. A stream's window is credited when a message is taken. In the
other direction DATA waits in its stream's queue for both windows; streams take turns.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from hushar.rpc import frames as fr
from hushar.rpc.faults import ConnectionFault
from hushar.rpc.streams import Stream


class FlowControl:
    """The windows of a connection and of its streams, and what waits for them."""

    def __init__(
        self, receive_window: int, on_output: Callable[[], None], *, receive_window_of_stream: int
    ) -> None:
        """`receive_window`: bytes of DATA that the peer may send on all streams together."""
        self.dirty = False
        """Output has appeared that the driver has not been told to take, or has not taken."""
        self.send_window = fr.DEFAULT_WINDOW
        self._on_output = on_output
        self._streams: dict[int, Any] = {}
        self._out: list[bytes] = []
        self._waiting: dict[int, Stream] = {}
        """Streams whose DATA waits for a window, in the order of their turns."""
        self._peer_window = fr.DEFAULT_WINDOW
        self._peer_max_frame = fr.MIN_MAX_FRAME
        self._receive_window = receive_window
        self._credit = 0
        self._credit_at = receive_window // 2
        self._stream_window = receive_window_of_stream
        self._data_sent = 0
        self._active = True
        """HEADERS or DATA went either way since the last ping."""

    @property
    def waiting_bytes(self) -> int:
        """DATA that waits for the peer's windows."""
        return sum(stream.queued for stream in self._waiting.values())

    def _take_window(self, size: int) -> None:
        """Account for `size` bytes of DATA (padding included) on the connection."""
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(fr.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        self._credit += size
        if self._credit >= self._credit_at:
            self._out.append(fr.window_update(0, self._credit))
            self._receive_window += self._credit
            self._credit = 0

    def acknowledge(self, stream: Any, size: int) -> None:
        """A message of `size` bytes of DATA was taken: the peer may send as much again on the stream."""
        is_open: bool = self._streams.get(stream.id) is stream
        if size and stream.receiving and is_open:
            stream.receive_window += size
            self._out.append(fr.window_update(stream.id, size))
            self._notify()

    def _notify(self) -> None:
        if not self.dirty:
            self.dirty = True
            self._on_output()

    def send_data(self, stream: Any, data: bytes) -> None:
        """Queue DATA, and send what the windows allow."""
        if stream.queue is None:
            size = len(data)
            if size <= stream.send_window and size <= self.send_window and size <= self._peer_max_frame:
                stream.send_window -= size
                self.send_window -= size
                self._data_sent += 1
                self._active = True
                self._out.append(fr.frame(fr.DATA, 0, stream.id, data))
                self._notify()
                return
            stream.queue = deque()
            self._waiting[stream.id] = stream
        stream.queue.append(data)
        stream.queued += len(data)
        self._pump()
        self._notify()

    def end_stream(self, stream: Any, frame: bytes) -> None:
        """Send what ends our half, behind all DATA that waits."""
        if stream.queue is not None:
            stream.trailers = frame
        else:
            self._out.append(frame)
            self._sent_end(stream)
        self._notify()

    def _pump(self) -> None:
        """Send waiting DATA as far as the windows go, a frame of each stream in turn."""
        waiting = self._waiting
        blocked = 0
        while waiting and self.send_window > 0 and blocked < len(waiting):
            stream_id, stream = next(iter(waiting.items()))
            del waiting[stream_id]
            size = min(self.send_window, stream.send_window, self._peer_max_frame)
            if size <= 0:
                waiting[stream_id] = stream
                blocked += 1
                continue
            blocked = 0
            self._send_some(stream, size)
            if stream.queue:
                waiting[stream_id] = stream
                continue
            stream.queue = None
            if stream.trailers is not None:
                self._out.append(stream.trailers)
                self._sent_end(stream)

    def _send_some(self, stream: Any, size: int) -> None:
        """Send one DATA frame of at most `size` bytes from the stream's queue."""
        data = stream.queue.popleft()
        if len(data) > size:
            stream.queue.appendleft(memoryview(data)[size:])
            data = data[:size]
        size = len(data)
        stream.queued -= size
        stream.send_window -= size
        self.send_window -= size
        self._data_sent += 1
        self._active = True
        self._out.append(fr.frame(fr.DATA, 0, stream.id, bytes(data)))
        self._notify()

    def _sent_end(self, stream: Any) -> None:
        """Our half is closed."""
        raise NotImplementedError
