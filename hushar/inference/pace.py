"""How long a matrix takes, by what matrices of its size have taken lately.

A matrix costs something whatever its rows, and something for each of them, so that neither a matrix nor a
row has one price: there is a moving average for each size (a power of two). What has not been measured yet
is taken from a rehearsal before the first call, which knows the model but not what rows will be like, and
is brought into proportion with what has been measured.
"""

from typing import Final

WEIGHT: Final = 0.1
"""Share of the newest matrix in a moving average."""
MOST_AT_ONCE: Final = 4.0
"""A matrix counts for no more than so many times what was expected: one that the machine has interrupted
must not send the next ones to a thread, or callers away. What has really changed is known a few later."""
BACK_TO_BACK_WEIGHT: Final = 0.05
SLOWEST: Final = 20.0
"""How many times the run of a matrix its whole turn may be taken for: what is beyond was another's fault."""

_Average = tuple[float, float]
"""Rows and seconds of a matrix of one size."""


class Pace:
    """Seconds of a matrix: what was measured in, what is expected out."""

    def __init__(self, max_rows: int, concurrency: int = 1) -> None:
        """`max_rows` a matrix, of which `concurrency` are under way at once."""
        self._max_rows = max_rows
        self._concurrency = concurrency
        self._measured: dict[int, _Average] = {}
        """By `rows.bit_length()`."""
        self._rehearsed: dict[int, _Average] = {}
        self._turn = 1.0
        """The time from one matrix to the next, as a multiple of its run: between the two the loop reads
        and writes."""

    def rehearsed(self, rows: int, seconds: float) -> None:
        """Take note of a matrix that was no call's."""
        self._rehearsed[rows.bit_length()] = (rows, seconds)

    def measured(self, rows: int, seconds: float) -> None:
        """Take note of how long a matrix took, without its hop to a thread."""
        if not rows:
            return
        size = rows.bit_length()
        known = self._measured.get(size)
        if known is None:
            expected = self.expected(rows)
            most = seconds if expected is None else MOST_AT_ONCE * expected
            self._measured[size] = (rows, min(seconds, most))
        else:
            mean_rows, mean_seconds = known
            seconds = min(seconds, MOST_AT_ONCE * mean_seconds)
            self._measured[size] = (
                mean_rows + WEIGHT * (rows - mean_rows),
                mean_seconds + WEIGHT * (seconds - mean_seconds),
            )

    def turned(self, run_seconds: float, turn_seconds: float) -> None:
        """Take note of a matrix that others waited behind: its run, and the time until the next began."""
        if run_seconds > 0:
            ratio = min(max(turn_seconds / run_seconds, 1.0), SLOWEST)
            self._turn += BACK_TO_BACK_WEIGHT * (ratio - self._turn)

    def expected(self, rows: int) -> float | None:
        """Seconds of a matrix, rather too many than too few; None before anything is known."""
        size = rows.bit_length()
        known = self._measured.get(size)
        if known is not None:
            return known[1]
        smaller = [other for other in self._measured if other < size]
        if smaller:
            return self._scaled(rows, size, max(smaller))
        if self._measured:
            return self._measured[min(self._measured)][1]
        return _from_smaller(self._rehearsed, rows, size)

    def _scaled(self, rows: int, size: int, nearest: int) -> float:
        """From the nearest smaller size that was measured."""
        known_rows, known_seconds = self._measured[nearest]
        in_proportion = known_seconds * max(1.0, rows / known_rows)
        rehearsed = _from_smaller(self._rehearsed, rows, size)
        before = _from_smaller(self._rehearsed, int(known_rows), nearest)
        if not rehearsed or not before:
            return in_proportion
        return min(in_proportion, known_seconds * max(1.0, rehearsed / before))

    def wait(self, rows: int) -> float:
        """Seconds until so many rows have been through the model, matrix after matrix; 0 if nothing is
        known."""
        if rows <= 0:
            return 0.0
        matrix = min(rows, self._max_rows)
        seconds = self.expected(matrix) or 0.0
        return seconds * self._turn * rows / (matrix * self._concurrency)


def _from_smaller(known: dict[int, _Average], rows: int, size: int) -> float | None:
    """By the nearest size that is not larger, in proportion; else by the smallest; None without any."""
    if not known:
        return None
    nearest = max((other for other in known if other <= size), default=min(known))
    known_rows, seconds = known[nearest]
    return seconds if nearest == size else seconds * max(1.0, rows / known_rows)
