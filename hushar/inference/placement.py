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
    """Decides for each batch by a moving average of the seconds a row, with hysteresis."""

    def __init__(self, offload: str) -> None:
        """`offload`: "auto", "always" (a thread), "never"."""
        self._auto = offload == "auto"
        self._in_thread = offload != "never"
        self._row_seconds: float | None = None

    def in_thread(self, rows: int) -> bool:
        """Whether a batch of so many rows is to run in a thread."""
        if self._auto and self._row_seconds is not None:
            expected = rows * self._row_seconds
            self._in_thread = expected > (TO_LOOP_SECONDS if self._in_thread else TO_THREAD_SECONDS)
        return self._in_thread

    def measured(self, rows: int, seconds: float) -> None:
        """Take note of how long a batch ran (without its hop)."""
        if rows:
            newest = seconds / rows
            known = newest if self._row_seconds is None else self._row_seconds
            self._row_seconds = known + WEIGHT * (newest - known)
