"""A circuit: a sink that is down is asked now and then, by one worker, and not by all again and again.

    closed ──(FAILURES in a row)──► open ──(a success)──► closed

While it is open, one attempt at a time is let through, each so many seconds after the last one's failure.
Workers wait in a queue for it, so that one whose segments never work does not keep the others from trying.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import trio

from hushar.sidecars.until import until

FAILURES = 5
"""So many attempts in a row that failed, of all workers together, open it."""


class Circuit:
    """See the module. One instance a sink; its users report what came of what it let through."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures = 0
        self._probe_at = 0.0
        self._closing = trio.Event()
        # Fair: first come, first served.
        self._queue = trio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether attempts are rare."""
        return self._failures >= FAILURES

    @property
    def seconds_left(self) -> float:
        """Until the next attempt may be made."""
        return max(0.0, self._probe_at - trio.current_time()) if self.is_open else 0.0

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Wait until an attempt may be made, and make it in the block."""
        async with AsyncExitStack() as queued:
            if self.is_open:
                # Once it is closed, those behind a probe that takes its time need not wait any more.
                async with until(self._closing):
                    await queued.enter_async_context(self._queue)
                    await self._probe_time()
            if not self.is_open:
                # No need to go one by one.
                await queued.aclose()
            yield

    async def _probe_time(self) -> None:
        """Until the next probe is due, or none is needed any more."""
        while self.is_open and (seconds := self.seconds_left):
            with trio.move_on_after(seconds):
                await self._closing.wait()

    def failed(self, probe_seconds: float) -> None:
        """An attempt failed in a way that says that the next one will. `probe_seconds`: to the next probe."""
        was_open = self.is_open
        self._failures += 1
        # Servers that lost one sink at one moment do not probe it at one moment.
        seconds = probe_seconds if was_open else self._random.uniform(probe_seconds / 2, probe_seconds)
        self._probe_at = trio.current_time() + seconds

    def worked(self) -> None:
        """The sink is there, or it is worth a try for another reason: everybody may."""
        self._failures = 0
        self._closing.set()
        self._closing = trio.Event()
