"""The second half of the log pipeline: from the spool to the sink, and out of the spool.

Each worker has a deliverer of its own, which compresses that worker's closed segments, brings them to the
sink in their order, and tries again for as long as it takes.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import trio

from hushar.sidecars.compressing import Compressing
from hushar.sidecars.delivery import Attempt, GuardedSink, Outcome
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.retry import jittered_delays
from hushar.sidecars.segment import FileOperations, StoredSegment
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import discard, set_aside
from hushar.sidecars.threads import RunInThread
from hushar.sidecars.throttle import Throttle
from hushar.sidecars.until import until
from hushar.sidecars.upkeep import Janitor

logger = logging.getLogger(__name__)


class Deliverer:
    """One worker's delivering half."""

    def __init__(
        self,
        lane: int,
        sink: GuardedSink,
        settings: LogSettings,
        *,
        ledger: Ledger,
        janitor: Janitor,
        run_in_thread: RunInThread,
        random: Random,
        files: FileOperations,
    ) -> None:
        self._lane = lane
        self._sink = sink
        self._settings = settings
        self._ledger = ledger
        self._janitor = janitor
        self._run_in_thread = run_in_thread
        self._random = random
        self._files = files
        self._news = trio.Event()
        self._finishing = trio.Event()
        self._delays = self._new_delays()
        self._refused: str | None = None
        self._refusals = 0
        """Of that segment."""
        self._compressing = Compressing(settings, files, run_in_thread)
        self._uncompressed = Throttle(trio.current_time)

    def wake(self) -> None:
        """There is a closed segment."""
        self._news.set()

    def finish(self) -> None:
        """No more segments will be closed: deliver what there is and return."""
        self._finishing.set()
        self._news.set()

    async def run(self) -> None:
        """Deliver in order until `finish`, and then until nothing is left."""
        while True:
            if not self._ledger.has_next(self._lane):
                if self._finishing.is_set():
                    return
                await self._news.wait()
                self._news = trio.Event()
                continue
            async with self._sink.circuit.admitted():
                stored = self._ledger.take_next(self._lane)
                wait = None if stored is None else await self._deliver_taken(stored)
            if wait is not None and await self._pause(wait):
                self._delays = self._new_delays()

    def _new_delays(self) -> Iterator[float]:
        return jittered_delays(
            self._random, self._settings.retry_min_seconds, self._settings.retry_max_seconds
        )

    async def _deliver_taken(self, stored: StoredSegment) -> float | None:
        """One attempt at a segment that was taken from the ledger: it is given back, or done with.

        Returns how long to wait before the next; None if it is the next segment's turn.
        """
        done = False
        try:
            stored = await self._compressed(stored)
            if stored.identity.stem != self._refused:
                self._refused, self._refusals = stored.identity.stem, 0
            attempt = await self._sink.deliver(stored)
            self._refusals += attempt.outcome is Outcome.SEGMENT_REFUSED
            done = await self._is_done(stored, attempt)
        finally:
            if not done:
                self._ledger.give_back(stored)
        if done:
            self._delays = self._new_delays()
            return None
        if self._sink.circuit.is_open:
            return self._sink.circuit.seconds_left
        return (
            self._settings.refused_retry_seconds if attempt.outcome is Outcome.REFUSED else next(self._delays)
        )

    async def _compressed(self, stored: StoredSegment) -> StoredSegment:
        """The segment as it is delivered; as it is where it cannot be compressed."""
        if not self._compressing.is_due(stored):
            return stored
        try:
            return await self._compress(stored)
        except OSError as error:
            # A full disk must not keep it from the sink: delivering is what makes room.
            if failures := self._uncompressed.due():
                logger.warning("log: %d segments are delivered uncompressed: %s", failures, error)
            # Another attempt must not give it another name.
            stored = replace(stored, keeps_name=True)
            self._ledger.replace(stored)
            return stored

    async def _compress(self, stored: StoredSegment) -> StoredSegment:
        made = await self._compressing(stored)
        self._ledger.replace(made)
        return made

    async def _is_done(self, stored: StoredSegment, attempt: Attempt) -> bool:
        """Whether the segment is out of the spool, and out of the books, after this attempt."""
        if attempt.outcome is Outcome.DELIVERED:
            await self._forget(stored)
            return True
        if (rest := attempt.rest) is not None:
            return await self._set_aside(stored, rest)
        if self._refusals >= self._settings.max_attempts and await self._set_aside(stored):
            return True
        return await self._is_gone(stored)

    async def _forget(self, stored: StoredSegment) -> None:
        try:
            # Shielded: the sink has it, so it must not be found here by the next start.
            with trio.CancelScope(shield=True):
                await self._run_in_thread(discard, stored)
        except OSError as error:
            # Delivering it again after the next start overwrites the same object.
            logger.warning("log: %s: cannot be deleted: %s", stored.segment.path, error)
        self._ledger.deliver(stored)

    async def _is_gone(self, stored: StoredSegment) -> bool:
        """Whether somebody has deleted the file: no attempt would ever succeed."""
        if await self._run_in_thread(stored.segment.path.exists):
            return False
        await self._janitor.drop(stored, DropReason.TORN)
        return True

    async def _set_aside(self, stored: StoredSegment, rest: tuple[bytes, int] | None = None) -> bool:
        """Move the segment, or write the rest of it, to `dead-letter`; False if that is not possible."""
        try:
            with trio.CancelScope(shield=True):
                path = await self._run_in_thread(set_aside, stored, rest, self._files)
        except OSError as error:
            logger.warning("log: %s: cannot be set aside: %s", stored.segment.path, error)
            return False
        self._ledger.dead_letter(stored, None if rest is None else rest[1])
        logger.error("log: %s refuses a segment for good, set aside as %s", self._sink.description, path)
        return True

    async def _pause(self, seconds: float) -> bool:
        """Wait before the next attempt; True if it was cut short because the server is stopping.

        The stop is worth one attempt at once: its time is limited, and the sink may have come back.
        """
        if self._finishing.is_set():
            await trio.sleep(seconds)
            return False
        ends = trio.current_time() + seconds
        async with until(self._finishing):
            await self._work_ahead(ends)
            await trio.sleep_until(ends)
        return self._finishing.is_set()

    async def _work_ahead(self, ends: float) -> None:
        """Compress what waits: the spool holds the more, and the sink gets it the sooner.

        Begun before `ends`, a segment is compressed to its end: given up, it would be begun anew in the
        next pause, and one that takes longer than a pause never be done.
        """
        if self._settings.compression == "none":
            return
        while trio.current_time() < ends and (stored := self._ledger.take_plain(self._lane)) is not None:
            try:
                stored = await self._compress(stored)
            except OSError:
                # Its turn will come, and then it is said.
                return
            finally:
                self._ledger.give_back(stored)
