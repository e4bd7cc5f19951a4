"""How long things took since the start, counted in buckets with fixed bounds: for whoever asks at any time.

The interval's own figures (aggregate.py) begin anew each time; these only grow. Nothing of it is done for one
value: numpy counts some hundred at once. Values come in microseconds and leave in seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hushar.records import BatchMetrics

_MICROS: Final = 1e6

TIMED_STAGES: Final[Mapping[str, str]] = {
    "decode": "decode_us",
    "vectorize": "vectorization_us",
    "run": "inference_us",
    "encode": "encode_us",
}
"""Stage → field of Timings."""
QUEUE: Final = "queue"
"""The stage before: how long a matrix' oldest call has waited for it."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """What was counted, at one moment."""

    bounds: tuple[float, ...]
    """Seconds, ascending. A value is in the first bucket whose bound it does not exceed."""
    counts: tuple[int, ...]
    """Values a bucket, and last those above all bounds."""
    seconds: float
    """The sum of all values."""

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def percentile(self, share: float) -> float | None:
        """About the value that `share` (0–1) of all do not exceed; None where there is none.

        Within a bucket values are taken to be spread evenly; above the last bound it is that bound.
        """
        wanted = share * self.count
        if not wanted:
            return None
        below, lower = 0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= wanted:
                return lower + (bound - lower) * (wanted - below) / count
            below, lower = below + count, bound
        return lower

    def since(self, before: "Buckets") -> "Buckets":
        """What was added since an earlier moment."""
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Buckets(self.bounds, counts, self.seconds - before.seconds)


class FixedBuckets:
    """One series."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: seconds, ascending."""
        self._seconds = tuple(float(bound) for bound in bounds)
        self._bounds = np.array(bounds, np.float64) * _MICROS
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0

    def add(self, values: NDArray[np.float64], times: Sequence[int] | None = None) -> None:
        """Microseconds, each as often as `times` says. What is no duration counts as 0: one such value
        must not spoil the sum for good."""
        values = np.where(np.isfinite(values) & (values >= 0), values, 0.0)
        weights = np.ones(len(values)) if times is None else np.array(times, np.float64)
        places = np.searchsorted(self._bounds, values)
        self._counts += np.bincount(places, weights, len(self._counts)).astype(np.int64)
        self._sum += float(values @ weights)

    def read(self) -> Buckets:
        """Now."""
        return Buckets(self._seconds, tuple(self._counts.tolist()), self._sum / _MICROS)


class Durations:
    """Of the calls that were answered OK, and of the stages of the matrices that went through the model."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: seconds, ascending."""
        self._answered = FixedBuckets(bounds)
        self._stages = {
            stage: FixedBuckets(bounds) for stage in ("decode", QUEUE, "vectorize", "run", "encode")
        }

    def add(self, timed: Sequence[BatchMetrics], answered: Iterable[tuple[float, int]]) -> None:
        """Some matrices, all with timings, and the times of calls."""
        if pairs := list(answered):
            values, calls = zip(*pairs, strict=True)
            self._answered.add(np.array(values, np.float64), calls)
        if not timed:
            return
        for stage, field in TIMED_STAGES.items():
            self._stages[stage].add(np.array([getattr(each.timings, field) for each in timed], np.float64))
        # A slice of a large call waits for nothing but the one before it.
        waited = [max(each.queue_us)[0] if each.queue_us else 0.0 for each in timed]
        self._stages[QUEUE].add(np.array(waited, np.float64))

    def answered(self) -> Buckets:
        """Calls answered OK: from arrival to the answer."""
        return self._answered.read()

    def stages(self) -> Mapping[str, Buckets]:
        """One value a matrix in each: decode, queue, vectorize, run, encode."""
        return {stage: buckets.read() for stage, buckets in self._stages.items()}
