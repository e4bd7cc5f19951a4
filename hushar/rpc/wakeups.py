"""Calls that are to be looked at when a time has come: to be sent again, or to be given up."""

import heapq
import math
from itertools import count
from typing import Final, Protocol

import trio

_SPARE: Final = 1024
"""Entries of calls that are over stay in the heap until they are this many more than the others."""


class Wakeable(Protocol):
    """What can be woken."""

    over: bool
    """Nothing is to be done any more."""

    def wake(self, now: float) -> None:
        """The time has come. Must not raise."""


class Wakeups:
    """A heap of times, and the task that waits for the earliest."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Wakeable]] = []
        self._order = count()
        self._sweep_at = _SPARE
        self._earlier = trio.Event()

    def add(self, when: float, call: Wakeable) -> None:
        """Wake `call` at `when`, on trio's clock."""
        heap = self._heap
        if not heap or when < heap[0][0]:
            self._earlier.set()
        heapq.heappush(heap, (when, next(self._order), call))
        if len(heap) > self._sweep_at:
            self._heap = [entry for entry in heap if not entry[2].over]
            heapq.heapify(self._heap)
            self._sweep_at = 2 * len(self._heap) + _SPARE

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wake calls at their times until cancelled."""
        task_status.started()
        while True:
            self._earlier = trio.Event()
            with trio.move_on_at(self._next()):
                await self._earlier.wait()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                call = heapq.heappop(self._heap)[2]
                if not call.over:
                    call.wake(now)

    def _next(self) -> float:
        heap = self._heap
        while heap and heap[0][2].over:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf
