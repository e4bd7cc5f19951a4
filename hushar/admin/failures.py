"""How long the calls took that were not answered OK, by status, counted like the others (durations.py)."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from hushar.sidecars.durations import Buckets, FixedBuckets

FOLDED_AT_ONCE: Final = 256


class FailedCalls:
    """Since the start. `note` is told of each in the event loop; what it costs then is an append."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: seconds, ascending."""
        self._bounds = tuple(bounds)
        self._waiting: dict[str, list[float]] = {}
        self._buckets: dict[str, FixedBuckets] = {}
        self.count = 0
        """All of them."""

    def note(self, status: str, seconds: float, calls: int = 1) -> None:
        """So many more; `status` by its name."""
        self.count += calls
        waiting = self._waiting.setdefault(status, [])
        waiting += [seconds * 1e6] * calls
        if len(waiting) >= FOLDED_AT_ONCE:
            self._fold(status)

    def read(self) -> Mapping[str, Buckets]:
        """Those statuses that there were."""
        for status in self._waiting:
            self._fold(status)
        return {status: buckets.read() for status, buckets in self._buckets.items()}

    def _fold(self, status: str) -> None:
        values = self._waiting[status]
        if not values:
            return
        buckets = self._buckets.setdefault(status, FixedBuckets(self._bounds))
        buckets.add(np.array(values, np.float64))
        values.clear()
