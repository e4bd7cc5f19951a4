"""The worker threads of inference, and whether one is at work."""

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


class Threads:
    """A few threads, each at work on one batch."""

    def __init__(self, most: int) -> None:
        self._limiter = trio.CapacityLimiter(most)
        self.at_work = 0
        """How many threads are; those that were left alone when the server ended are counted for ever."""

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function that raises nothing in a thread.

        Who waits for it is cancelled only when the server ends: then nobody waits for what it still does.
        """
        self.at_work += 1
        result = await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=self._limiter)
        self.at_work -= 1
        return result
