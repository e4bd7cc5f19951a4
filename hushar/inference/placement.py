"""Where a batch runs: in the event loop, or in a worker thread.

A hop to a thread and back costs about 100 µs, so a short batch is cheaper in the loop; a long one in
the loop would keep every other call, and every signal, waiting. How long a batch will take is estimated
from its rows and from what rows have cost lately; before anything is known, a batch goes to a thread.
"""

from typing import Final

TO_THREAD_SECONDS: Final = 1e-3
"""Batches that are expected to take longer go to a thread: ten times what the hop costs."""
TO_LOOP_SECONDS: Final = 5e-4
"""They come back below half of that, so that the two do not alternate."""
WEIGHT: Final = 0.1
"""Share of the newest batch in the moving average."""


class Placement:
    """Decides for each batch by moving averages, one for each size (a power of two), with hysteresis."""

    def __init__(self, offload: str) -> None:
        """`offload`: "auto", "always" (a thread), "never"."""
        self._auto = offload == "auto"
        self._in_thread = offload != "never"
        self._seconds: dict[int, float] = {}
        """Average seconds of a batch, by `rows.bit_length()`: a batch costs something whatever its rows,
        and something for each of them, so that neither a batch nor a row has one price."""

    def in_thread(self, rows: int) -> bool:
        """Whether a batch of so many rows is to run in a thread."""
        if self._auto:
            expected = self._expected(rows)
            bound = TO_LOOP_SECONDS if self._in_thread else TO_THREAD_SECONDS
            self._in_thread = expected is None or expected > bound
        return self._in_thread

    def _expected(self, rows: int) -> float | None:
        """Seconds, rather too many than too few; None before anything is known."""
        size = rows.bit_length()
        known = [other for other in self._seconds if other <= size]
        if known:
            nearest = max(known)
            return self._seconds[nearest] * float(1 << (size - nearest))
        return self._seconds[min(self._seconds)] if self._seconds else None

    def measured(self, rows: int, seconds: float) -> None:
        """Take note of how long a batch ran (without its hop)."""
        if not rows:
            return
        size = rows.bit_length()
        known = self._seconds.get(size, seconds)
        self._seconds[size] = known + WEIGHT * (seconds - known)
