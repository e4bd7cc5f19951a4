"""Where a batch runs: in the event loop, or in a worker thread.

A hop to a thread and back costs about 100 µs, so a short batch is cheaper in the loop; a long one in
the loop would keep every other call waiting. Which it is, is measured.
"""

from typing import Final

TO_THREAD_SECONDS: Final = 1e-3
"""Batches that take longer on average go to a thread: ten times what the hop costs."""
TO_LOOP_SECONDS: Final = 5e-4
"""They come back below half of that, so that the two measures do not alternate."""
WEIGHT: Final = 0.1
"""Share of the newest batch in the moving average."""


class Placement:
    """Decides by a moving average of measured run times, with hysteresis."""

    def __init__(self, offload: str) -> None:
        """`offload`: "auto", "always" (a thread), "never"."""
        self._auto = offload == "auto"
        self.in_thread = offload == "always"
        self._average_seconds: float | None = None

    def measured(self, seconds: float) -> None:
        """Take note of how long a batch ran (without its hop)."""
        if not self._auto:
            return
        average = self._average_seconds
        average = seconds if average is None else average + WEIGHT * (seconds - average)
        self._average_seconds = average
        if average > TO_THREAD_SECONDS:
            self.in_thread = True
        elif average < TO_LOOP_SECONDS:
            self.in_thread = False
