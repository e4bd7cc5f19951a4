"""Where a matrix runs: in the event loop, or in a worker thread.

A hop to a thread and back costs 100 to 150 µs, and both sides then want the interpreter, so a short matrix
is cheaper in the loop; a long one in the loop would keep every other call, and every signal, waiting.
"""

from typing import Final

from hushar.inference.pace import Pace

TO_THREAD_SECONDS: Final = 2e-3
"""Matrices that are expected to take longer go to a thread: more than ten times what the hop costs."""
TO_LOOP_SECONDS: Final = 1e-3
"""They come back below half of that, so that the two do not alternate."""


class Placement:
    """Decides for each matrix by how long it is expected to take, with hysteresis for each size."""

    def __init__(self, offload: str, pace: Pace) -> None:
        """`offload`: "auto", "always" (a thread), "never"."""
        self._auto = offload == "auto"
        self._always = offload == "always"
        self._pace = pace
        self._in_thread: set[int] = set()
        """Sizes, `rows.bit_length()`, that went to a thread the last time."""

    def in_thread(self, rows: int) -> bool:
        """Whether a matrix of so many rows is to run in a thread; also where nothing is known yet."""
        if not self._auto:
            return self._always
        size = rows.bit_length()
        was_there = size in self._in_thread
        expected = self._pace.expected(rows)
        if expected is None or expected > (TO_LOOP_SECONDS if was_there else TO_THREAD_SECONDS):
            self._in_thread.add(size)
            return True
        if was_there:
            self._in_thread.discard(size)
        return False
