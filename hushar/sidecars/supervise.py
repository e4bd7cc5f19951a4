"""Tasks that are started again when they fail: one bad moment must not end the log, let alone the server.

What a sink raises, and what a disk does, is dealt with where it happens; what arrives here is a mistake in
hushar's own code, a thread that cannot be started, a lack of memory.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from hushar.sidecars.throttle import Throttle

logger = logging.getLogger(__name__)

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
"""Between two starts of one task: from the first, doubled each time, to the longest."""
GOOD_SECONDS = 60.0
"""A task that has run so long is a new one: its next failure is its first."""


class Supervisor:
    """Runs tasks again and again until each has returned. Counts their failures."""

    def __init__(self) -> None:
        self._throttle = Throttle(trio.current_time)
        self.crashes = 0

    async def keep(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run `run` until it returns; after an exception of its, again, a little later each time."""
        task_status.started()
        seconds = FIRST_SECONDS
        while True:
            begun = trio.current_time()
            try:
                await run()
            except* Exception as group:
                # A cancellation among them goes on its way.
                self._failed(name, group)
            else:
                return
            if trio.current_time() - begun > GOOD_SECONDS:
                seconds = FIRST_SECONDS
            await trio.sleep(seconds)
            seconds = min(2 * seconds, LONGEST_SECONDS)

    def _failed(self, name: str, error: BaseException) -> None:
        self.crashes += 1
        if crashes := self._throttle.due():
            logger.error("log: %s failed, it is started again (%d times)", name, crashes, exc_info=error)
