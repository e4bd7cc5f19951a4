"""Warnings about what may happen a thousand times a second, said a few times a minute."""

import math
from collections.abc import Callable

WARNING_SECONDS = 10.0
"""The least time between two warnings of one kind."""


class Throttle:
    """Counts what happens, and says when a line about it is due.

    `clock` gives seconds and never goes back. One instance a kind of warning.
    """

    def __init__(self, clock: Callable[[], float], seconds: float = WARNING_SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds
        self._said_at = -math.inf
        self._unsaid = 0

    def due(self, count: int = 1) -> int:
        """Note that it happened `count` times more.

        Returns how often it has happened since the last line if a line is due now, else 0.
        """
        self._unsaid += count
        now = self._clock()
        if now - self._said_at < self._seconds:
            return 0
        self._said_at = now
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid
