"""The deadlines of calls, in one heap. Sans-IO: the driver asks what has expired by now."""

import heapq
from itertools import count
from typing import Final

from hushar.rpc.calls import RawCall

_SPARE: Final = 1024
"""Calls that are over stay in the heap until they are this many more than the others."""


class Deadlines:
    """Calls by deadline. Most end before it; they are swept out when they are the majority."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, RawCall]] = []
        self._order = count()
        self._sweep_at = _SPARE

    def add(self, call: RawCall) -> None:
        """Watch the call's deadline."""
        heapq.heappush(self._heap, (call.deadline, next(self._order), call))
        if len(self._heap) > self._sweep_at:
            self._heap = [entry for entry in self._heap if not entry[2].over]
            heapq.heapify(self._heap)
            self._sweep_at = 2 * len(self._heap) + _SPARE

    @property
    def next(self) -> float | None:
        """The earliest deadline; None if none is watched."""
        heap = self._heap
        while heap and heap[0][2].over:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def expired(self, now: float) -> list[RawCall]:
        """The calls whose deadline is over; they are not watched any more."""
        calls = []
        while self._heap and self._heap[0][0] <= now:
            call = heapq.heappop(self._heap)[2]
            if not call.over:
                calls.append(call)
        return calls
