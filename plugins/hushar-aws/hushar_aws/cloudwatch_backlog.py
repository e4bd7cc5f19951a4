"""The intervals that CloudWatch has not taken yet, in bounded memory."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from hushar.plugins import MetricBatch
from hushar_aws.cloudwatch_data import merged

INTERVALS: Final = 10
"""The most that wait. One is at most some 600 KB: eight metrics of 4,096 values."""
OLDEST_SECONDS: Final = 14 * 24 * 3600 - 3600
"""CloudWatch takes what is up to two weeks old; an hour for clocks that differ."""
NEWEST_SECONDS: Final = 2 * 3600 - 300
"""And what is up to two hours ahead."""


@dataclass(slots=True)
class Waiting:
    """One interval, and how many of its calls have been made."""

    batch: MetricBatch
    sent: int = 0


class Backlog:
    """First in, first out. When it is full the oldest goes, and what it counted goes to the next one."""

    def __init__(self, intervals: int = INTERVALS) -> None:
        self.lost = 0
        """Intervals whose distributions and gauges were given up, since the start."""
        self._intervals = intervals
        self._waiting: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, batch: MetricBatch) -> None:
        """One interval more."""
        self._waiting.append(Waiting(batch))
        if len(self._waiting) > self._intervals:
            self._give_up()

    def _give_up(self) -> None:
        """The oldest: its counters are merged into the next, so that no call is missing in any sum.

        They stand in an interval's first call: once that is made, CloudWatch has them.
        """
        self.lost += 1
        oldest = self._waiting.popleft()
        if not self._waiting or oldest.sent:
            return
        following = self._waiting[0]
        if oldest.batch.dimensions == following.batch.dimensions:
            following.batch = merged(oldest.batch, following.batch)

    def first(self, now: float) -> Waiting | None:
        """The interval to be sent next, None if there is none; what CloudWatch would refuse is given up.

        `now`: seconds since the epoch.
        """
        while self._waiting:
            batch = self._waiting[0].batch
            if (
                batch.start_unix_seconds > now - OLDEST_SECONDS
                and batch.end_unix_seconds < now + NEWEST_SECONDS
            ):
                return self._waiting[0]
            self._give_up()
        return None

    def done(self) -> None:
        """The first one is sent."""
        self._waiting.popleft()
