"""The deadlines of calls, in one heap. Sans-IO: the driver asks what has expired by now.

Calls come in batches, those that one pass over the sockets has left unanswered. A batch stands in the heap
by the earliest of its deadlines and is taken apart when that has come; most batches have ended before, and
have cost one entry.
"""

import heapq
from collections.abc import Sequence
from typing import Final

from hushar.rpc.calls import RawCall

_SPARE: Final = 1024
"""Calls that are over stay in the heap until they are so many more than the others. They are small: a call
that is over has let go of its message."""

_Entry = tuple[float, int, Sequence[RawCall]]
"""Of a batch: its earliest deadline, the number of its first call in the order of arrival."""


class Deadlines:
    """Calls by deadline. Most end before it; they are swept out when they are the majority."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._arrived = 0
        self._watched = 0
        """Calls in the heap."""
        self._sweep_at = _SPARE

    def add(self, calls: Sequence[RawCall]) -> float:
        """Watch the deadlines of calls, at least one, and return the earliest; the sequence is kept."""
        earliest = min([call.deadline for call in calls])
        self._push(earliest, self._arrived, calls)
        self._arrived += len(calls)
        if self._watched > self._sweep_at:
            heap, self._heap, self._watched = self._heap, [], 0
            for entry in heap:
                self._take_apart(entry)
            self._sweep_at = 2 * self._watched + _SPARE
        return earliest

    @property
    def next(self) -> float | None:
        """The earliest deadline; None if none is watched."""
        heap = self._heap
        while heap:
            earliest, _, calls = heap[0]
            if any(not call.over and call.deadline == earliest for call in calls):
                return earliest
            self._take_apart(self._pop())
        return None

    def expired(self, now: float) -> list[RawCall]:
        """The calls whose deadline is over; they are not watched any more."""
        expired = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            entry = self._pop()
            calls = entry[2]
            if len(calls) > 1:
                self._take_apart(entry)
            elif not calls[0].over:
                expired.append(calls[0])
        return expired

    def _push(self, deadline: float, number: int, calls: Sequence[RawCall]) -> None:
        heapq.heappush(self._heap, (deadline, number, calls))
        self._watched += len(calls)

    def _pop(self) -> _Entry:
        entry = heapq.heappop(self._heap)
        self._watched -= len(entry[2])
        return entry

    def _take_apart(self, entry: _Entry) -> None:
        """Watch each call of a batch that goes on by itself."""
        _, number, calls = entry
        for place, call in enumerate(calls):
            if not call.over:
                self._push(call.deadline, number + place, (call,))
