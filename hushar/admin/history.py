"""What happened in the last minutes, for the status page: looked at now and then, kept in bounded memory."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import trio

from hushar.admin.reading import Glance

STEP_SECONDS: Final = 2.0
STEPS: Final = 150
"""Five minutes."""
RECENT_STEPS: Final = 5
"""What "now" is: the last ten seconds."""
_SHARES: Final = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    glance: Glance


class History:
    """The last looks, one every STEP_SECONDS."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._looks: deque[_Look] = deque(maxlen=STEPS + 1)

    def add(self, glance: Glance) -> None:
        """As it is now."""
        self._looks.append(_Look(self._clock(), glance))

    def series(self) -> Mapping[str, Sequence[float | None]]:
        """Step by step, oldest first. `age_seconds`: since the end of the step; rates are a second; a step
        without calls has no latency."""
        now = self._clock()
        columns: dict[str, list[float | None]] = {
            name: []
            for name in ("age_seconds", "answered", "failed", "p50", "p99", "queue_rows", "in_flight")
        }
        for before, after in pairwise(self._looks):
            figures = _between(before, after)
            columns["age_seconds"].append(round(now - after.at, 3))
            columns["answered"].append(figures["answered_per_second"])
            columns["failed"].append(figures["failed_per_second"])
            for name in _SHARES:
                columns[name].append(figures[f"{name}_seconds"])
            columns["queue_rows"].append(after.glance.queue.rows)
            columns["in_flight"].append(after.glance.queue.in_flight)
        return columns

    def recent(self) -> Mapping[str, Any]:
        """Rates, latencies and means of the stages in the last seconds; empty before the second look."""
        if len(self._looks) < 2:
            return {}
        last = self._looks[-1]
        first = self._looks[max(0, len(self._looks) - 1 - RECENT_STEPS)]
        figures: dict[str, Any] = dict(_between(first, last))
        stages = {}
        for stage, buckets in last.glance.stages.items():
            added = buckets.since(first.glance.stages[stage])
            stages[stage] = added.seconds / added.count if added.count else None
        return {"seconds": round(last.at - first.at, 3), **figures, "stage_mean_seconds": stages}


def _between(before: _Look, after: _Look) -> Mapping[str, float | None]:
    seconds = max(after.at - before.at, 1e-9)
    old, new = before.glance, after.glance
    added = new.answered.since(old.answered)
    return {
        "answered_per_second": round(added.count / seconds, 3),
        "failed_per_second": round((new.failed - old.failed) / seconds, 3),
        "rows_per_second": round((new.rows - old.rows) / seconds, 3),
        **{f"{name}_seconds": added.percentile(share) for name, share in _SHARES.items()},
    }
