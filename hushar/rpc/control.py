"""Control frames, stream errors, and the limits that keep a peer from abusing them (RFC 9113, section 6).

A method for each type of frame: `(flags, stream_id, data, start, stop)`, the payload being
`data[start:stop]`. What a peer may provoke (answers to PING and SETTINGS, RST_STREAMs, bookkeeping for
PRIORITY and WINDOW_UPDATE) is counted, and beyond its limit the connection ends with ENHANCE_YOUR_CALM.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from hushar.rpc import events as ev
from hushar.rpc import frames as fr
from hushar.rpc.faults import ConnectionFault
from hushar.rpc.limits import CRUMBS, SETTINGS_SECONDS, Bucket, Limits, PingGuard, Rate
from hushar.rpc.streams import RecentlyReset
from hushar.rpc.windows import FlowControl


class ControlFrames(FlowControl):
    """Everything but HEADERS and DATA."""

    is_client: ClassVar[bool]

    def __init__(self, limits: Limits, on_output: Callable[[], None]) -> None:
        """See Connection."""
        self.limits = limits
        super().__init__(
            limits.connection_window_bytes,
            on_output,
            stream_window=limits.stream_window,
            send_buffer=limits.connection_send_buffer_bytes,
        )
        self.peer_went_away = False
        self.last_stream_id = 0
        """The highest id that the peer (at a server) or we (at a client) have opened."""
        self.settings_acknowledged = False
        self.unsent = 0
        """Bytes that the driver has taken and its socket has not; the driver keeps this up to date."""
        self._events: list[Any] = []
        self._now = 0.0
        self._settings_seen = False
        self._recently_reset = RecentlyReset(limits.connection_concurrency)
        self._front = 0
        """How many pieces of the output come before all else: our own first frames."""
        self._taken_bytes = 0
        """Of output, ever."""
        self._control_frames = 0
        """PING and SETTINGS answers and RST_STREAMs that may still be unsent."""
        self._fresh_control_frames = 0
        """Those among them that the driver has not taken."""
        self._control_ends: deque[tuple[int, int]] = deque()
        """Of the others: where in all output they end, and how many there are."""
        self._pings_sent = 0
        """Pings of ours that are not answered."""
        self._pings = PingGuard(limits.ping_strikes, limits.ping_min_seconds)
        self._settings_rate = Rate(limits.max_settings_frames)
        self._empty_rate = Rate(limits.max_empty_frames)
        self._crumbs = Bucket(CRUMBS, CRUMBS / SETTINGS_SECONDS)
        self._glitches = Bucket(limits.glitch_burst, limits.glitch_rate)
        self._courtesies = 0
        """PRIORITY, WINDOW_UPDATE and the like, ever; see `_courtesy`."""
        self._streams_seen = 0

    # Frames

    def _priority(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:  # noqa: ARG002
        if not stream_id:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._courtesy()
        if stop - start != 5:
            self._faulty(stream_id, fr.FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
        elif fr.word(data, start) & fr.MAX_STREAM_ID == stream_id:
            self._faulty(stream_id, fr.PROTOCOL_ERROR, "a stream that depends on itself")

    def _faulty(self, stream_id: int, code: int, reason: str) -> None:
        """A stream error in a frame that an idle stream may have; that has no RST_STREAM (section 6.4)."""
        if stream_id > self._last_stream():
            raise ConnectionFault(code, reason)
        self._reset(stream_id, code)

    def _rst_stream(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:  # noqa: ARG002
        if stop - start != 4:
            raise ConnectionFault(fr.FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
        self._no_idle(stream_id, "RST_STREAM")
        self._reset_received(stream_id, fr.word(data, start))

    def _settings(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        if stream_id:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & fr.ACK:
            if start != stop:
                raise ConnectionFault(fr.FRAME_SIZE_ERROR, "SETTINGS acknowledgement with a payload")
            self._settings_acknowledgement()
            return
        if (stop - start) % 6:
            raise ConnectionFault(fr.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        if (stop - start) // 6 > self.limits.max_settings_entries or not self._settings_rate.take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many settings")
        self._settings_seen = True
        for setting, value in fr.settings_entries(data[start:stop]):
            self._set(setting, value)
        self._control(fr.SETTINGS_ACK)
        self._pump()

    def _settings_acknowledgement(self) -> None:
        if self.settings_acknowledged:
            self._courtesy()
            return
        self.settings_acknowledged = True
        self._settings_taken()
        self._events.append(ev.SettingsAcknowledged())

    def _set(self, setting: int, value: int) -> None:
        """Apply one setting of the peer's; unknown ones are ignored."""
        if setting == fr.INITIAL_WINDOW_SIZE:
            if value > fr.MAX_WINDOW:
                raise ConnectionFault(fr.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
            change = value - self._peer_window
            self._peer_window = value
            for stream in self._streams.values():
                self._open_window(stream, change)
                if stream.send_window > fr.MAX_WINDOW:
                    raise ConnectionFault(fr.FLOW_CONTROL_ERROR, "a window too large")
        elif setting == fr.MAX_FRAME_SIZE:
            if not fr.MIN_MAX_FRAME <= value <= fr.MAX_MAX_FRAME:
                raise ConnectionFault(fr.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
            self._peer_max_frame = value
        elif setting == fr.ENABLE_PUSH and (value > 1 or (value and self.is_client)):
            raise ConnectionFault(fr.PROTOCOL_ERROR, "ENABLE_PUSH out of range")

    def _push_promise(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:  # noqa: ARG002
        raise ConnectionFault(fr.PROTOCOL_ERROR, "PUSH_PROMISE is not accepted")

    def _ping(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        if stream_id:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "PING on a stream")
        if stop - start != 8:
            raise ConnectionFault(fr.FRAME_SIZE_ERROR, "PING of a wrong length")
        if flags & fr.ACK:
            if self._pings_sent:
                self._pings_sent -= 1
                self._events.append(ev.PingAcknowledged(data[start:stop]))
            else:
                self._courtesy()
            return
        if self._active:
            self._active = False
            self._pings.activity()
        if not self._pings.take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too_many_pings")
        self._control(fr.ping(data[start:stop], ack=True), first=True)

    def _goaway(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:  # noqa: ARG002
        if stream_id:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "GOAWAY on a stream")
        if stop - start < 8:
            raise ConnectionFault(fr.FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
        if self.peer_went_away:
            self._courtesy()
        self.peer_went_away = True
        last = fr.word(data, start) & fr.MAX_STREAM_ID
        self._went_away(last, fr.word(data, start + 4))

    def _went_away(self, last_stream_id: int, code: int) -> None:
        """The peer begins nothing more; what is under way goes on."""
        self._events.append(ev.GoAwayReceived(last_stream_id, code))

    def _window_update(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:  # noqa: ARG002
        if stop - start != 4:
            raise ConnectionFault(fr.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
        increment = fr.word(data, start) & fr.MAX_WINDOW
        self._courtesy()
        if stream_id:
            self._no_idle(stream_id, "WINDOW_UPDATE")
            self._stream_window_update(stream_id, increment)
            return
        if not increment:
            raise ConnectionFault(fr.PROTOCOL_ERROR, "an increment of 0")
        self.send_window += increment
        if self.send_window > fr.MAX_WINDOW:
            raise ConnectionFault(fr.FLOW_CONTROL_ERROR, "a window too large")
        self._pump()

    def _stream_window_update(self, stream_id: int, increment: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if not increment:
            self._reset(stream_id, fr.PROTOCOL_ERROR)
        elif stream.send_window + increment > fr.MAX_WINDOW:
            self._reset(stream_id, fr.FLOW_CONTROL_ERROR)
        else:
            self._open_window(stream, increment)
            self._pump()

    # Limits

    def _courtesy(self) -> None:
        """Count a frame that asks for nothing: PRIORITY, WINDOW_UPDATE, an answer to what was not asked,
        an unknown type. Beyond what streams and our DATA explain (Envoy's measure) it is a glitch."""
        self._courtesies += 1
        allowed = 5 + 2 * (self._streams_seen + 10 * self._data_sent)
        if self._courtesies > allowed and not self._glitches.take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many PRIORITY or WINDOW_UPDATE frames")

    def _control(self, frame: bytes, *, first: bool = False) -> None:
        """Send an answer that the peer provoked; with `first` before all else that was not yet taken."""
        self._control_frames += 1
        self._fresh_control_frames += 1
        limit = self.limits.max_queued_control_frames
        if self._control_frames > limit and self._unsent_control_frames() > limit:
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many control frames unread")
        if first:
            self._out.insert(self._front, frame)
            self._front += 1
        else:
            self._out.append(frame)
        self._notify()

    def _unsent_control_frames(self) -> int:
        """Control frames that the peer has surely not got: not taken, or in what the driver still holds."""
        sent = self._taken_bytes - self.unsent
        ends = self._control_ends
        while ends and ends[0][0] <= sent:
            self._control_frames -= ends.popleft()[1]
        return self._control_frames

    def _empty_frame(self) -> None:
        """Count a DATA frame that brings nothing and ends nothing."""
        if not self._empty_rate.take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many empty frames")

    def _crumb(self) -> None:
        """Count a DATA frame that brings hardly anything: it costs us as much as one of 16 KiB."""
        if not self._crumbs.take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many DATA frames of a few bytes")

    # Stream errors

    def _reset(self, stream_id: int, code: int) -> None:
        """A stream error: RST_STREAM, and the record is dropped. The peer's fault, unless CANCEL."""
        if code not in (fr.NO_ERROR, fr.CANCEL) and not self.is_client and not self._glitches.take(self._now):
            raise ConnectionFault(fr.ENHANCE_YOUR_CALM, "too many stream errors")
        self._send_reset(stream_id, code)

    def _send_reset(self, stream_id: int, code: int) -> None:
        """RST_STREAM, and the record is dropped."""
        stream = self._streams.get(stream_id)
        self._recently_reset.add(stream_id)
        self._control(fr.rst_stream(stream_id, code))
        if stream is not None:
            self._drop(stream)
            self._aborted(stream, code)

    def _drop(self, stream: Any) -> None:
        """The stream is closed."""
        del self._streams[stream.id]
        if stream.queue is not None:
            self._discard(stream)

    def _no_idle(self, stream_id: int, what: str) -> None:
        """A frame that an idle stream cannot have, or stream 0."""
        if not stream_id or stream_id > self._last_stream():
            raise ConnectionFault(fr.PROTOCOL_ERROR, f"{what} on an idle stream")

    def _reset_received(self, stream_id: int, code: int) -> None:
        """RST_STREAM has come, on a stream that is not idle."""
        raise NotImplementedError

    def _aborted(self, stream: Any, code: int) -> None:
        """The record is dropped, by an error or at the end of the connection: tell the driver."""
        raise NotImplementedError

    def _last_stream(self) -> int:
        """The highest id that is not idle."""
        return self.last_stream_id
