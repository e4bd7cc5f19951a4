"""The calls that wait, and which of them go into the next matrix.

Theory of operation. Calls that came together stay together: what waits is one Arrival for each `submit`,
with lists of its calls, not an object for each call. `take` fills a matrix with the oldest of them.

A call with more rows than a matrix is cut into slices. While one is under way the calls that come go into
the very next matrix, and the large call keeps at least about half of each, so that neither waits for the
end of the other; where nothing else waits it has all of the matrix. Where a whole call is larger than the
other half, it has its matrix nearly for itself, and the large call at least half of the next. Of several
large calls the oldest goes first, unless it is in another thread's matrix.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import Self

from hushar.features.vectorize import Reading
from hushar.inference.splice import Slices
from hushar.records import Call


@dataclass(slots=True, eq=False)
class Arrival:
    """Calls that came in one `submit`, none of them large; those from `at` on still wait."""

    calls: list[Call]
    messages: list[bytes]
    rows: list[int]
    arrived: float
    """By time.perf_counter."""
    received: int
    """In microseconds since the epoch."""
    earliest: float = -math.inf
    """No deadline of the calls comes before it, by their clock."""
    weight: int = field(init=False)
    """Rows of those that wait; a call without rows counts as one, or any number would fit a matrix."""
    size: int = field(init=False)
    """Bytes of their messages."""
    at: int = 0

    def __post_init__(self) -> None:
        self.weight, self.size = weight_of(self.rows), sum(map(len, self.messages))

    def fitting(self, room: int) -> int:
        """The index after the last call that, with those before it, fits so many rows."""
        if self.weight <= room:
            return len(self.calls)
        stop = self.at
        for rows in islice(self.rows, self.at, None):
            room -= rows or 1
            if room < 0:
                break
            stop += 1
        return stop


@dataclass(slots=True, eq=False)
class Large:
    """A call that is read in slices."""

    call: Call
    message: bytes
    rows: int
    reading: Reading
    slices: Slices
    arrived: float
    received: int
    taken: int = 0
    """Rows that have been in a matrix, also of one under way."""
    under_way: bool = False
    held: int = 0
    """Bytes for which it counts in the queue."""

    @property
    def left(self) -> int:
        """Rows that wait."""
        return self.rows - self.taken


@dataclass(slots=True, eq=False)
class Batch:
    """What goes into one matrix: whole calls, and then perhaps a slice of a large one."""

    calls: list[Call] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    """When each of the whole calls arrived, in microseconds since the epoch."""
    origins: list[tuple[float, int]] = field(default_factory=list)
    """When calls came, by time.perf_counter, and how many together; in their order."""
    large: Large | None = None
    slice_rows: int = 0
    gone: int = 0
    """Calls that nobody waited for any more; nothing of them is in the batch."""

    total_rows: int = 0
    """Of the matrix."""
    total_calls: int = 0
    """That have rows in it, or are there for their empty answer."""
    earliest: float = math.inf
    """No deadline of the calls comes before it, by their clock."""
    begun: float = -math.inf
    """When it was begun by the same clock, where one has a deadline."""

    def summed_up(self) -> Self:
        """The same batch, to which nothing more comes."""
        self.total_rows = sum(self.rows) + self.slice_rows
        self.total_calls = len(self.calls) + (self.large is not None)
        return self

    def join(self, arrival: Arrival, stop: int, now: float) -> int:
        """Take the arrival's calls before `stop`, but for those nobody waits for; what those weigh."""
        calls, messages, rows = arrival.calls, arrival.messages, arrival.rows
        if arrival.at or stop < len(calls):
            part = slice(arrival.at, stop)
            calls, messages, rows = calls[part], messages[part], rows[part]
        gone_weight, earliest = 0, arrival.earliest
        if _some_are_over(calls, arrival.earliest, now):
            live = [not (call.over or call.deadline <= now) for call in calls]
            self.gone += live.count(False)
            gone_weight = weight_of(rows)
            calls, messages = list(compress(calls, live)), list(compress(messages, live))
            rows = list(compress(rows, live))
            gone_weight -= weight_of(rows)
            earliest = min([call.deadline for call in calls], default=math.inf)
        if calls:
            self.earliest = min(self.earliest, earliest)
            self.calls += calls
            self.messages += messages
            self.rows += rows
            self.received += [arrival.received] * len(calls)
            self.origins.append((arrival.arrived, len(calls)))
        return gone_weight


def _some_are_over(calls: list[Call], earliest: float, now: float) -> bool:
    """Whether some may be; nearly always none is, and a comprehension for that costs more than looking."""
    if earliest <= now:
        return True
    for call in calls:  # noqa: SIM110
        if call.over:
            return True
    return False


def weight_of(rows: list[int]) -> int:
    """See Arrival.weight."""
    return sum(rows) + rows.count(0)


class CallQueue:
    """Bounded by whoever puts calls into it."""

    def __init__(self, max_rows: int) -> None:
        """`max_rows` a matrix; a call with more is a large one."""
        self.max_rows = max_rows
        self.rows = 0
        """That wait, those of large calls among them; a call without rows counts as one."""
        self.large_rows = 0
        """Of these, those of large calls."""
        self.bytes = 0
        """Messages of calls of which some rows wait; of large calls all that they hold, to their end."""
        self.calls = 0
        """With rows that wait; and large ones whose answers wait to be made."""
        self._arrivals: deque[Arrival] = deque()
        self._large: list[Large] = []
        self._owed = False
        """Whether the last matrix had less of a large call than is due to it."""

    @property
    def ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self._arrivals) or any(not large.under_way for large in self._large)

    def admit(self, rows: int, size: int, calls: int = 1) -> None:
        """Count calls that are put next. `rows`: a call without rows counts as one."""
        self.rows += rows
        self.bytes += size
        self.calls += calls

    def put(self, arrival: Arrival) -> None:
        """Add calls that have been counted, none of which is large."""
        self._arrivals.append(arrival)

    def put_large(self, large: Large) -> None:
        """Add a large call that has been counted."""
        self._large.append(large)
        self.large_rows += large.rows
        large.held = len(large.message)

    def take(self, now: float) -> Batch:
        """The next matrix; it may be empty. `now` by the clock of the calls' deadlines."""
        batch = Batch()
        large = self._next_large(batch, now)
        if large is None:
            self._fill(batch, self.max_rows, whole=True, now=now)
            return batch.summed_up()
        due = min(max(self.max_rows // 2, 1), large.left)
        filled = self._fill(batch, self.max_rows - due, whole=not self._owed, now=now)
        size = min(large.left, max(self.max_rows - filled, 0))
        self._owed = size < due
        if size:
            batch.large, batch.slice_rows = large, size
            batch.earliest = min(batch.earliest, large.call.deadline)
            large.under_way = True
            large.taken += size
            self.rows -= size
            self.large_rows -= size
            if not large.left:
                self._forget(large)
        return batch.summed_up()

    def _next_large(self, batch: Batch, now: float) -> Large | None:
        """The oldest large call that may go on; those that nobody waits for are left out on the way."""
        for large in [each for each in self._large if not each.under_way]:
            if not (large.call.over or large.call.deadline <= now):
                return large
            batch.gone += 1
            self.drop(large)
        return None

    def _fill(self, batch: Batch, room: int, *, whole: bool, now: float) -> int:
        """Take the oldest calls that fit; with `whole` the first of all fits in any case. The rows taken."""
        filled = 0
        while self._arrivals:
            arrival = self._arrivals[0]
            stop = arrival.fitting(room - filled)
            if stop == arrival.at:
                if not whole or batch.calls:
                    break
                stop += 1
            before, weight, size = arrival.at, arrival.weight, arrival.size
            if stop < len(arrival.calls):
                weight = weight_of(arrival.rows[before:stop])
                size = sum(map(len, arrival.messages[before:stop]))
            filled += weight - batch.join(arrival, stop, now)
            self.rows -= weight
            self.bytes -= size
            self.calls -= stop - before
            arrival.at = stop
            arrival.weight -= weight
            arrival.size -= size
            if stop == len(arrival.calls):
                self._arrivals.popleft()
        return filled

    def hold(self, large: Large, size: int) -> None:
        """Count bytes that a large call holds beside its message."""
        large.held += size
        self.bytes += size

    def release(self, large: Large) -> None:
        """A large call has ended: what it has held is let go."""
        self.bytes -= large.held
        large.held = 0

    def drop(self, large: Large) -> None:
        """End a large call, whose matrix, if there is one under way, has come back."""
        self.release(large)
        if large.left:
            self.rows -= large.left
            self.large_rows -= large.left
            large.taken = large.rows
            self._forget(large)

    def _forget(self, large: Large) -> None:
        self._large.remove(large)
        self.calls -= 1
