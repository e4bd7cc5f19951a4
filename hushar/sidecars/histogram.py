"""All values of one metric in one interval, in bounded memory.

Up to EXACT_VALUES values are kept as they are, each with how often it was added. Beyond, they are counted
in buckets whose bounds grow by GROWTH, and each value becomes the mean of its bucket: at most 1 % away,
whatever the number of values. The sum of all, the smallest and the largest value stay exact. Where the values
are spread over a factor of 10¹² (a nanosecond to a quarter of an hour) there are some 2,800 buckets, and that
is all the memory that an interval can take.
"""

import math
from collections.abc import Iterable
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hushar.sinks.interface import Distribution

EXACT_VALUES: Final = 4096
GROWTH: Final = 1.01
"""The mean of a bucket is in it, and so no further than that from any of its values."""
LEAST: Final = 1e-6
GREATEST: Final = 1e15
"""Values outside are counted as these: in microseconds, 30 years. Bounds the number of buckets."""

_LOG_GROWTH: Final = math.log(GROWTH)


class Histogram:
    """See the module. Zero is a value of its own; negative and non-finite ones are left out."""

    def __init__(self) -> None:
        self._exact: list[float] = []
        self._times: list[int] = []
        """How often each of these."""
        self._zeros = 0
        self._buckets: dict[int, tuple[int, float]] = {}
        """log(value) / log(GROWTH), rounded down → how many values, and their sum."""
        self._least = math.inf
        self._greatest = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """One value more, or the same several times."""
        self.extend((value,), (times,))

    def extend(self, values: Iterable[float], times: Iterable[int] | None = None) -> None:
        """Some values more, each as often as `times` says, which is at least once. Lists in between: one
        call of numpy for thousands."""
        self._exact += values
        self._times += repeat(1, len(self._exact) - len(self._times)) if times is None else times
        if len(self._exact) > EXACT_VALUES:
            self._fold()

    def _fold(self) -> None:
        """From the lists into the buckets."""
        values, times = self._finite()
        self._exact.clear()
        self._times.clear()
        positive = values > 0
        self._zeros += int(times[~positive].sum())
        values, times = values[positive], times[positive]
        if not len(values):
            return
        self._least = min(self._least, float(values.min()))
        self._greatest = max(self._greatest, float(values.max()))
        indexes = np.floor(np.log(np.clip(values, LEAST, GREATEST)) / _LOG_GROWTH).astype(np.int64)
        found, places = np.unique(indexes, return_inverse=True)
        counts = np.zeros(len(found), np.int64)
        sums = np.zeros(len(found))
        np.add.at(counts, places, times)
        np.add.at(sums, places, values * times)
        for index, count, total in zip(found.tolist(), counts.tolist(), sums.tolist(), strict=True):
            known = self._buckets.get(index, (0, 0.0))
            self._buckets[index] = known[0] + count, known[1] + total

    def distribution(self, name: str, unit: str) -> Distribution | None:
        """The values so far; None if there are none."""
        if not self._buckets and not self._zeros:
            values, times = self._finite()
            if not len(values):
                return None
            order = np.argsort(values, kind="stable")
            counts = times[order]
            return Distribution(name, unit, values[order], None if (counts == 1).all() else counts)
        self._fold()
        values, counts = self._folded()
        return Distribution(name, unit, values, counts)

    def _finite(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """What is in the lists, without what is no duration; and how often each."""
        values = np.array(self._exact, np.float64)
        kept = np.isfinite(values) & (values >= 0)
        return values[kept], np.array(self._times, np.int64)[kept]

    def _folded(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Ascending values, and how often each: zero, the least, the buckets' means, the greatest."""
        pairs = [(0.0, self._zeros)] if self._zeros else []
        buckets = dict(sorted(self._buckets.items()))
        if buckets:
            first, last = next(iter(buckets)), next(reversed(buckets))
            # The two extremes are taken out of their buckets, to stand for themselves.
            pairs.append((self._least, 1))
            buckets[first] = buckets[first][0] - 1, buckets[first][1] - self._least
            has_greatest = buckets[last][0] > 0
            if has_greatest:
                buckets[last] = buckets[last][0] - 1, buckets[last][1] - self._greatest
            pairs.extend((self._mean(count, total), count) for count, total in buckets.values() if count)
            if has_greatest:
                pairs.append((self._greatest, 1))
        values, counts = zip(*pairs, strict=True)
        return np.array(values, np.float64), np.array(counts, np.int64)

    def _mean(self, count: int, total: float) -> float:
        """Of a bucket, kept between the least and the greatest value so that rounding keeps their order."""
        return min(max(total / count, self._least), self._greatest)
