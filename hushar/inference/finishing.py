"""The answers of large calls, put together when their last slice is done.

That may take longer than a matrix, since a log record is as long as its request; where it does, it is done
in a thread, and the next matrices need not wait for it.
"""

import logging
import time
from collections import deque
from functools import partial

import trio

from hushar.errors import ModelFailed, RequestError
from hushar.inference.answering import Answering
from hushar.inference.pace import Pace
from hushar.inference.placement import Placement
from hushar.inference.queue import CallQueue, Large
from hushar.inference.scoring import Scorer
from hushar.inference.splice import Spliced
from hushar.inference.threads import Threads

log = logging.getLogger("hushar.inference")

Made = Spliced | RequestError
"""Responses and log records of one call, or why there are none."""


class Finishing:
    """Where the calls go of which all slices are done."""

    def __init__(
        self,
        scorer: Scorer,
        answering: Answering,
        queue: CallQueue,
        threads: Threads,
        *,
        offload: str,
        max_call_rows: int,
    ) -> None:
        """`queue`: where what the calls hold is counted until they are answered."""
        self.pace = Pace(max_call_rows)
        """Of putting together."""
        self._scorer = scorer
        self._answering = answering
        self._queue = queue
        self._threads = threads
        self._placement = Placement(offload, self.pace)
        self._done: deque[Large] = deque()
        self._idle = trio.lowlevel.ParkingLot()

    def put(self, large: Large) -> None:
        """Answer the call, now or later."""
        self._queue.hold(large, large.slices.size)
        if self._done or self._placement.in_thread(large.rows):
            # All but the first wait.
            self._queue.calls += bool(self._done)
            self._done.append(large)
            self._idle.unpark()
        else:
            self._answer(large, self._finish(large))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer in a thread what takes long, until cancelled."""
        task_status.started()
        while True:
            if not self._done:
                await self._idle.park()
            await self._answer_next()

    async def _answer_next(self) -> None:
        large = self._done[0]
        if self._answering.is_gone(large.call):
            made: Made = ModelFailed()
        else:
            made = await self._threads.run(partial(self._finish, large))
        self._done.popleft()
        self._queue.calls -= bool(self._done)
        self._answer(large, made)

    def _finish(self, large: Large) -> Made:
        started = time.perf_counter()
        try:
            made = self._scorer.finish(large.slices, large.received)
        except RequestError as error:
            return error
        except Exception:
            log.exception("the answer of a call of %d rows could not be made", large.rows)
            return ModelFailed()
        self.pace.measured(large.rows, time.perf_counter() - started)
        return made

    def _answer(self, large: Large, made: Made) -> None:
        self._queue.release(large)
        if isinstance(made, RequestError):
            self._answering.fail(large.call, made)
        else:
            self._answering.answer_large(large, *made)
