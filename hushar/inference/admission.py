"""Which calls are let into the queue: bounded in rows, bytes and expected time (SETTINGS.md, `batching`).

A call that is let in is meant to be answered in time. One that is not gets its refusal at once, with the
time after which another attempt is worth it, so that under overload the work that is done is work that
somebody still waits for. A call that finds the queue empty is always let in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hushar.errors import Overloaded
from hushar.inference.pace import Pace
from hushar.inference.queue import CallQueue

DEADLINE_MARGIN: Final = 1.5
"""An expected wait may be as wrong as that and the call is answered before its deadline all the same. Where
calls come faster than they are answered, all of them are let in with hardly more left than they need."""

OVERLOAD_SECONDS: Final = 1.0
"""For so long after a refusal more calls are taken to come than can be answered."""
REST_SHARE: Final = 0.05
"""Of the time that calls wait in the queue."""
LEAST_REST_SECONDS: Final = 5e-4
"""A shorter rest costs more than it saves."""
MOST_REST_SECONDS: Final = 5e-3
"""Calls that come so much later come together, and are accepted or refused for a fraction of what each would
cost alone."""

ROWS: Final = "queue_rows"
BYTES: Final = "queue_bytes"
SECONDS: Final = "queue_seconds"
_MOST_RETRY_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    """How much goes into a matrix, into a call, and into the queue."""

    max_rows: int = 1024
    """Rows a matrix: calls are joined up to this many, and cut if they have more."""
    max_call_rows: int = 65536
    """Rows a call: more are INVALID_ARGUMENT."""
    max_queue_rows: int = 65536
    """Rows that wait; above: RESOURCE_EXHAUSTED, as for the following."""
    max_queue_bytes: int = 256 * 2**20
    """Bytes of the calls that wait."""
    max_queue_seconds: float = 1.0
    """Expected wait of a call."""


class Admission:
    """The door of one queue."""

    def __init__(self, limits: BatcherLimits, queue: CallQueue, pace: Pace) -> None:
        self._limits = limits
        self._queue = queue
        self._pace = pace
        self.under_way_rows = 0
        """Rows of the matrices that are under way."""
        self._refused_at = -math.inf

    def refusals(self, now: float) -> Callable[[int, int, float], Overloaded | None]:
        """`refusal` for calls that came together, by rows, bytes and deadline.

        Under overload nearly all are refused, and who asks for no less than one that was refused before is
        refused for the same reason: that must not cost more than being answered.
        """
        last: Overloaded | None = None
        least_rows = least_size = 0
        latest = -math.inf

        def refusal(rows: int, size: int, deadline: float) -> Overloaded | None:
            nonlocal last, least_rows, least_size, latest
            if last is not None and rows >= least_rows and size >= least_size and deadline <= latest:
                return last
            found = self.refusal(rows, size, deadline - now)
            if found is not None:
                self._refused_at = now
                last, least_rows, least_size, latest = found, rows, size, deadline
            return found

        return refusal

    def refusal(self, rows: int, size: int, left_seconds: float) -> Overloaded | None:
        """Why a call with so many rows, bytes and seconds until its deadline is not let in; or None."""
        queue, limits = self._queue, self._limits
        if not queue.calls:
            return None
        excess = queue.rows + rows - limits.max_queue_rows
        if excess > 0:
            return Overloaded(ROWS, _milliseconds(self._pace.wait(min(excess, queue.rows))))
        excess = queue.bytes + size - limits.max_queue_bytes
        if excess > 0:
            # As if each row that waits had as many bytes as the next.
            share = min(excess / queue.bytes, 1.0) if queue.bytes else 0.0
            return Overloaded(BYTES, _milliseconds(self._pace.wait(queue.rows) * share))
        wait = self._pace.wait(self._ahead(rows))
        if wait > limits.max_queue_seconds:
            return Overloaded(SECONDS, _milliseconds(wait - limits.max_queue_seconds))
        if left_seconds < math.inf:
            needed = DEADLINE_MARGIN * (wait + self._pace.wait(self.under_way_rows + rows))
            if needed > left_seconds:
                return Overloaded(SECONDS, _milliseconds(needed - left_seconds), hasty=True)
        return None

    def fits(self, rows: int, size: int, left_seconds: float) -> bool:
        """Whether calls with so many rows and bytes together, of which none is large and the first
        deadline so many seconds away, can all be let in without asking about each."""
        queue, limits = self._queue, self._limits
        if queue.rows + rows > limits.max_queue_rows or queue.bytes + size > limits.max_queue_bytes:
            return False
        wait = self._pace.wait(self._ahead(0) + rows)
        if wait > limits.max_queue_seconds:
            return False
        needed = DEADLINE_MARGIN * (wait + self._pace.wait(self.under_way_rows))
        return needed <= left_seconds

    def rest(self, now: float) -> float:
        """For how many seconds whoever brings calls may as well leave them alone; 0 where little waits, or
        none was refused lately.

        To them it is next to nothing, beside the wait that is before them. Large calls do not count: they let
        others pass.
        """
        if now - self._refused_at > OVERLOAD_SECONDS:
            return 0.0
        queue = self._queue
        seconds = REST_SHARE * self._pace.wait(queue.rows - queue.large_rows)
        return 0.0 if seconds < LEAST_REST_SECONDS else min(seconds, MOST_REST_SECONDS)

    def _ahead(self, rows: int) -> int:
        """The rows that go before a call's first: of large calls, which share every matrix with those that
        are not, no more than of the others, and what may be in the next matrix."""
        queue = self._queue
        if rows > queue.max_rows:
            return queue.rows
        others = queue.rows - queue.large_rows
        return others + min(queue.large_rows, others + queue.max_rows)


def _milliseconds(seconds: float) -> int:
    """For `grpc-retry-pushback-ms`."""
    return min(max(math.ceil(seconds * 1000), 1), _MOST_RETRY_MS)
