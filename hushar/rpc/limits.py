"""Every limit of the transport, and the counters that hold a peer to it.

Names and defaults are those of the sections `server` and `http2` of the configuration; RELIABILITY.md 2.4
of the project compares them with other servers'. A peer that goes beyond what is a matter of courtesy
(resets, pings, empty frames) gets GOAWAY ENHANCE_YOUR_CALM.
"""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

SETTINGS_SECONDS: Final = 10.0
"""The time in which `max_settings_frames` and `max_empty_frames` are counted."""
CRUMBS: Final = 1000
"""DATA frames of a few bytes that complete no message: so many at once, then a tenth of that a second."""
CALM_FACTOR: Final = 4
"""A header list this many times above `max_header_bytes` costs the connection, not only the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an engine allows its peer. Sizes in bytes, times in seconds."""

    connection_concurrency: int = 200
    """Calls in flight a connection: SETTINGS_MAX_CONCURRENT_STREAMS."""
    max_receive_bytes: int = 4 * MIB
    max_send_bytes: int = 64 * MIB
    max_header_bytes: int = 16 * KIB
    max_header_fields: int = 100
    compression: tuple[str, ...] = ("gzip", "deflate")
    compression_min_bytes: int = 1024
    stream_window_bytes: int | None = None
    """None: max_receive_bytes + 64 KiB, so that a message always fits."""
    connection_window_bytes: int = 16 * MIB
    max_frame_bytes: int = MIB
    stream_send_buffer_bytes: int = MIB
    connection_send_buffer_bytes: int = 8 * MIB
    max_continuation_frames: int = 8
    max_settings_entries: int = 32
    max_settings_frames: int = 20
    max_queued_control_frames: int = 1000
    max_empty_frames: int = 100
    ping_strikes: int = 2
    ping_min_seconds: float = 300.0
    reset_burst: int = 1000
    reset_rate: float = 33.0
    glitch_burst: int = 100
    glitch_rate: float = 10.0

    @property
    def stream_window(self) -> int:
        """The receive window of a stream."""
        if self.stream_window_bytes is not None:
            return self.stream_window_bytes
        return min(self.max_receive_bytes + 64 * KIB, 2**31 - 1)


class Bucket:
    """A token bucket: `burst` at once, `rate` a second after that."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float, count: int = 1) -> bool:
        """Take so many; False if there are not. `now` in seconds, on a clock that never goes back."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < count:
            return False
        self._tokens -= count
        return True


class Rate:
    """At most `limit` in `seconds`, counted in spans of which each begins with the first event after another.

    So twice as many may come around the border of two spans; what a span allows is small.
    """

    __slots__ = ("_begun", "_count", "_limit", "_seconds")

    def __init__(self, limit: int, seconds: float = SETTINGS_SECONDS) -> None:
        self._limit = limit
        self._seconds = seconds
        self._begun: float | None = None
        self._count = 0

    def take(self, now: float) -> bool:
        """Count one; False if it is one too many. `now` in seconds, on a clock that never goes back."""
        if self._begun is None or now - self._begun >= self._seconds:
            self._begun = now
            self._count = 0
        self._count += 1
        return self._count <= self._limit


class PingGuard:
    """Pings no more often than `ping_min_seconds`, unless calls go on (gRFC A8, as grpc-core counts)."""

    __slots__ = ("_last", "_minimum", "_strikes", "_tolerated")

    def __init__(self, tolerated: int, minimum: float) -> None:
        self._tolerated = tolerated
        self._minimum = minimum
        self._strikes = 0
        self._last: float | None = None

    def activity(self) -> None:
        """DATA or HEADERS went either way: a client may measure the line with a ping."""
        self._strikes = 0
        self._last = None

    def take(self, now: float) -> bool:
        """A ping came; False if it is one too many. `now` in seconds, on a clock that never goes back."""
        if self._last is not None and now - self._last < self._minimum:
            self._strikes += 1
        self._last = now
        return self._strikes <= self._tolerated
