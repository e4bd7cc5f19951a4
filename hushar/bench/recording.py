"""What is measured, in memory that does not grow with the number of calls.

Latencies go into a histogram of the HDR kind: between each power of two and the next there are SUB_BUCKETS
buckets of equal width, so a bucket is at most 1/256 of its values wide, and its middle, which stands for
them, at most 0.2 % away. From a nanosecond to more than an hour that makes 10,752 counters (84 KiB). The
least and the greatest value and the mean stay exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SUB_BUCKETS: Final = 256
RELATIVE_ERROR: Final = 1 / (2 * SUB_BUCKETS)
"""Of a percentile, at most: half of a bucket's width."""
_LEAST_EXPONENT: Final = -29
"""2⁻³⁰ s, just below a nanosecond: what is less is counted there."""
_EXPONENTS: Final = 42
"""Up to 2¹² s."""
_FOLD: Final = 8192
"""Values that are kept as they came before they are counted: numpy is quick with many, not with one."""
PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}

Floats = NDArray[np.float64]


class Histogram:
    """Counts of values in seconds. Negative ones count as 0."""

    def __init__(self) -> None:
        self.count = 0
        self._counts = np.zeros(_EXPONENTS * SUB_BUCKETS, np.int64)
        self._sum = 0.0
        self._least = math.inf
        self._greatest = -math.inf

    def add(self, values: Floats, counts: NDArray[np.int64] | None = None) -> None:
        """Count values, shape `(n,)`; each as often as `counts`, shape `(n,)`, says, or once."""
        if counts is not None:
            values, counts = values[counts > 0], counts[counts > 0]
        if not len(values):
            return
        values = np.maximum(values, 0.0)
        self.count += len(values) if counts is None else int(counts.sum())
        self._sum += float(values.sum() if counts is None else values @ counts)
        self._least = min(self._least, float(values.min()))
        self._greatest = max(self._greatest, float(values.max()))
        mantissa, exponent = np.frexp(values)
        bucket = ((mantissa - 0.5) * (2 * SUB_BUCKETS)).astype(np.int64)
        index = (exponent.astype(np.int64) - _LEAST_EXPONENT) * SUB_BUCKETS + bucket
        # Zero has no exponent.
        index[values < 2.0 ** (_LEAST_EXPONENT - 1)] = 0
        # Weights are added up as float64, which is exact for these.
        counted = np.bincount(np.clip(index, 0, len(self._counts) - 1), counts, len(self._counts))
        self._counts += counted.astype(np.int64)

    @property
    def least(self) -> float | None:
        """The smallest value, exactly."""
        return self._least if self.count else None

    @property
    def greatest(self) -> float | None:
        """The largest value, exactly."""
        return self._greatest if self.count else None

    @property
    def mean(self) -> float | None:
        """The arithmetic mean, exactly."""
        return self._sum / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """The smallest value that `share` (0–1) of all values do not exceed, within RELATIVE_ERROR."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count - 1e-9))
        if rank >= self.count:
            return self._greatest
        index = int(np.searchsorted(np.cumsum(self._counts), rank))
        return float(min(max(_middles()[index], self._least), self._greatest))

    def curve(self) -> tuple[Floats, Floats]:
        """Values (ascending), and the share of all that does not exceed each."""
        used = np.flatnonzero(self._counts)
        values = np.clip(_middles()[used], self._least, self._greatest)
        return values, np.cumsum(self._counts[used]) / max(1, self.count)

    def bars(self, most: int) -> tuple[Floats, NDArray[np.int64]]:
        """At most `most` bars of equal ratio from the least to the greatest value: edges, and counts."""
        if not self.count:
            return np.empty(0), np.empty(0, np.int64)
        low = max(self._least, 1e-9)
        high = max(self._greatest, low * 1.01)
        edges = np.geomspace(low, high, most + 1)
        used = np.flatnonzero(self._counts)
        values = np.clip(_middles()[used], low, high)
        counts, _ = np.histogram(values, edges, weights=self._counts[used])
        return edges, counts.astype(np.int64)


def _middles() -> Floats:
    """The middle of each bucket, seconds."""
    exponents = np.arange(_EXPONENTS) + _LEAST_EXPONENT
    fractions = 0.5 + (np.arange(SUB_BUCKETS) + 0.5) / (2 * SUB_BUCKETS)
    return np.ldexp(np.tile(fractions, _EXPONENTS), np.repeat(exponents, SUB_BUCKETS))


@dataclass(frozen=True, slots=True)
class Window:
    """The time that is measured, on the run's clock, in seconds: begin ≤ t < end."""

    begin: float
    end: float


class Recorder:
    """What becomes of the calls of one run. Only those meant for the window count.

    A call is meant for the moment of its tag: in an open loop the time at which the schedule has it, in a
    closed one the time at which its place became free.
    """

    def __init__(self, window: Window, slot_seconds: float) -> None:
        """`slot_seconds`: of the series over time."""
        self.window = window
        self.slot_seconds = slot_seconds
        self.latency = Histogram()
        self.late = Histogram()
        """How long after their time calls were begun for which a stream was free."""
        self.cut_short = 0
        """Calls in `latency` that nobody waited for to the end: theirs is longer."""
        self.statuses: dict[str, int] = {}
        self.messages: dict[str, str] = {}
        """Status → the first message that came with it."""
        slots = max(1, math.ceil((window.end - window.begin) / slot_seconds - 1e-9))
        self.ok_slots = np.zeros(slots, np.int64)
        """By slots of time: calls that ended with OK in the window, whenever they were meant."""
        self.failed_slots = np.zeros(slots, np.int64)
        self._tags: list[float] = []
        self._ends: list[float] = []
        self._sizes: list[int] = []
        self._late: list[float] = []

    def ok(self, now: float, tags: Sequence[float]) -> None:
        """Calls that ended with OK at `now`."""
        self._tags += tags
        self._ends.append(now)
        self._sizes.append(len(tags))
        if len(self._tags) > _FOLD:
            self.settle()

    def failed(self, now: float, tag: float, code: str, message: str = "") -> None:
        """A call that ended otherwise, at `now`."""
        if self.window.begin <= now < self.window.end:
            self.failed_slots[self._slot(now)] += 1
        if not self._meant(tag):
            return
        self.statuses[code] = self.statuses.get(code, 0) + 1
        if message:
            self.messages.setdefault(code, message)

    def waited(self, now: float, tags: Sequence[float]) -> None:
        """Calls that nobody waits for any more: the latency is at least as long as they were waited for."""
        waits = np.array([now - tag for tag in tags if self._meant(tag)], np.float64)
        self.cut_short += len(waits)
        self.latency.add(waits)

    def never_begun(self, now: float, moments: Floats, counts: NDArray[np.int64]) -> int:
        """The same of calls that were not begun: moments, ascending, and how many were meant for each, shape
        `(n,)` both. How many of them were meant for the window."""
        meant = (moments >= self.window.begin) & (moments < self.window.end)
        count = int(counts[meant].sum())
        self.cut_short += count
        self.latency.add(now - moments[meant], counts[meant])
        return count

    def begun(self, now: float, tags: Sequence[float]) -> None:
        """Calls whose time had come, at the moment at which the generator found that."""
        self._late += [now - tag for tag in tags if self._meant(tag)]
        if len(self._late) > _FOLD:
            self.settle()

    def close(self, at: float) -> None:
        """The window ends earlier than was planned. Slots behind it are left out."""
        self.settle()
        self.window = Window(self.window.begin, max(self.window.begin, min(at, self.window.end)))
        slots = max(1, math.ceil((self.window.end - self.window.begin) / self.slot_seconds - 1e-9))
        self.ok_slots, self.failed_slots = self.ok_slots[:slots], self.failed_slots[:slots]

    def settle(self) -> None:
        """Count what has been kept back. Call it before anything is looked at."""
        self.late.add(np.array(self._late, np.float64))
        self._late = []
        tags = np.array(self._tags, np.float64)
        ends = np.repeat(np.array(self._ends, np.float64), self._sizes)
        self._tags, self._ends, self._sizes = [], [], []
        meant = (tags >= self.window.begin) & (tags < self.window.end)
        self.latency.add((ends - tags)[meant])
        if meant.any():
            self.statuses["OK"] = self.statuses.get("OK", 0) + int(meant.sum())
        ended = ends[(ends >= self.window.begin) & (ends < self.window.end)]
        slots = np.minimum((ended - self.window.begin) / self.slot_seconds, len(self.ok_slots) - 1)
        self.ok_slots += np.bincount(slots.astype(np.int64), minlength=len(self.ok_slots))

    def _meant(self, tag: float) -> bool:
        return self.window.begin <= tag < self.window.end

    def _slot(self, now: float) -> int:
        return min(int((now - self.window.begin) / self.slot_seconds), len(self.failed_slots) - 1)
