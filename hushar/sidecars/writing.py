"""The first half of the log pipeline: from the channel into a worker's segments.

A worker takes everything that waits in the channel, appends it with one write in a thread, and closes
its segment by size or age. Nothing here knows of the sink, so that a sink that is down stops nothing.
"""

import errno
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import trio

from hushar.errors import ConfigurationError
from hushar.records import LogBatch
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.outlet import Bundle
from hushar.sidecars.segment import CLOSING_BYTES, Appended, StoredSegment
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import SegmentWriter, SpoolLock, discard
from hushar.sidecars.threads import RunInThread
from hushar.sidecars.throttle import Throttle

logger = logging.getLogger(__name__)

WRITE_BYTES = 8 * 1024 * 1024
"""The most that is taken from the channel at once: it counts as in the channel until it is written."""
GATHER_SECONDS = 0.025
"""How long records gather for one write where no response waits for it: a write costs a hop to a thread."""
GATHERED_BYTES = 2 * 1024 * 1024
"""With so many in the channel a write is worth its hop."""


class Janitor:
    """Deletes closed segments that have to go. Shared by the workers."""

    def __init__(self, ledger: Ledger, run_in_thread: RunInThread, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._run_in_thread = run_in_thread
        self._throttle = {reason: Throttle(clock) for reason in DropReason}

    async def drop(self, stored: StoredSegment, reason: DropReason) -> None:
        """Delete a segment that the caller has taken from the ledger, and count its records."""
        try:
            # Shielded: a file that is gone, or is about to go, must be counted as such.
            with trio.CancelScope(shield=True):
                await self._run_in_thread(discard, stored)
        except OSError as error:
            logger.warning("log: %s: cannot be deleted: %s", stored.segment.path, error)
        self._ledger.drop(stored, reason)
        self.warn(stored.segment.batches, reason)

    def warn(self, records: int, reason: DropReason, error: OSError | None = None) -> None:
        """Say now and then that records are being lost, and why."""
        if lost := self._throttle[reason].due(records):
            detail = f" ({error})" if error is not None else ""
            logger.warning("log: %d records dropped: %s%s", lost, reason.value, detail)


class SpoolKeeper:
    """Makes the spool's directory anew when it is removed under way. Shared by the workers."""

    def __init__(self, lock: SpoolLock, run_in_thread: RunInThread) -> None:
        self._lock = lock
        self._run_in_thread = run_in_thread
        self._restoring = trio.Lock()
        self._throttle = Throttle(trio.current_time)

    async def restore(self) -> bool:
        """Whether the directory is there (again), and this process's."""
        async with self._restoring:
            try:
                await self._run_in_thread(self._lock.regain)
            except ConfigurationError as error:
                if self._throttle.due():
                    logger.warning("log: the spool was removed: %s", error)
                return False
        return True


class LogWorker:
    """One worker's writing half. `closed` is called, in the event loop, for each closed segment."""

    def __init__(
        self,
        lane: int,
        writer: SegmentWriter,
        settings: LogSettings,
        *,
        ledger: Ledger,
        janitor: Janitor,
        keeper: SpoolKeeper,
        run_in_thread: RunInThread,
        wall_clock: Callable[[], float],
        closed: Callable[[], None],
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._lane = lane
        self._writer = writer
        self._settings = settings
        self._ledger = ledger
        self._janitor = janitor
        self._keeper = keeper
        self._run_in_thread = run_in_thread
        self._wall_clock = wall_clock
        self._closed = closed
        self._gather_seconds = gather_seconds
        # Closed before the spool is full: what is open cannot be dropped, so there must be room for as
        # many open segments as there are workers, and one closed.
        self._segment_bytes = min(settings.rotate_bytes, settings.spool_max_bytes // (settings.workers + 1))
        # What would never fit, whatever is dropped for it.
        self._largest_bytes = settings.spool_max_bytes - CLOSING_BYTES * settings.workers
        self._stranding = Throttle(trio.current_time)
        self._rotate_at = math.inf
        self._gather_until = -math.inf
        self._syncing = trio.Lock()
        """Held while a segment is forced to the disk or closed: its file must stay open meanwhile."""

    async def run(
        self,
        channel: trio.MemoryReceiveChannel[Bundle],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Append until the channel ends, then close the segment. `channel` is this worker's clone."""
        try:
            async with channel, trio.open_nursery() as nursery:
                if self._settings.fsync == "interval":
                    await nursery.start(self._sync_regularly)
                task_status.started()
                while (waiting := await self._receive(channel)) is not None:
                    await self._append(waiting)
                    if trio.current_time() >= self._rotate_at:
                        await self._rotate()
                await self._rotate()
                nursery.cancel_scope.cancel()
        finally:
            self._writer.abandon()

    async def _receive(self, channel: trio.MemoryReceiveChannel[Bundle]) -> list[Bundle] | None:
        """What waits in the channel; empty when it is time to rotate, None at the channel's end."""
        waiting: list[Bundle] = []
        size = 0
        ended = False
        with trio.move_on_at(self._rotate_at):
            try:
                waiting.append(await channel.receive())
                if waiting[0].batches[0][0].spooled is None and self._ledger.queued_bytes < GATHERED_BYTES:
                    # After a pause there is nothing to gather: the first one is written at once.
                    await trio.sleep_until(self._gather_until)
                size = waiting[0].size_bytes
                while size < WRITE_BYTES:
                    waiting.append(channel.receive_nowait())
                    size += waiting[-1].size_bytes
            except trio.WouldBlock:
                pass
            except trio.EndOfChannel:
                # With something in hand, the end is found again at the next turn.
                ended = not waiting
        for bundle in waiting:
            bundle.taken = True
        self._gather_until = trio.current_time() + self._gather_seconds
        return None if ended else waiting

    async def _append(self, waiting: Sequence[Bundle]) -> None:
        """Append all records, a segment's rest at a time; tell each batch once its last one is in."""
        records: list[bytes] = []
        whole: list[LogBatch] = []
        size = count = 0
        for batch, batch_bytes in chain.from_iterable(bundle.batches for bundle in waiting):
            if size + batch_bytes < self._segment_bytes - self._writer.size_bytes:
                # The usual case, in which nothing is done for a single record.
                records += batch.records
                size += batch_bytes
                count += batch.size
                whole.append(batch)
                continue
            for record in batch.each():
                # Before the record: the batch whose last record fills a segment is told with it. And
                # one that is too large must not take those before it with it.
                if records and (
                    size >= self._segment_bytes - self._writer.size_bytes
                    or size + len(record) > self._largest_bytes
                ):
                    await self._write(records, count, size)
                    _tell(whole)
                    records, whole, count, size = [], [], 0, 0
                records.append(record)
                size += len(record)
                count += 1
            whole.append(batch)
        if records:
            await self._write(records, count, size)
        _tell(whole)

    async def _write(self, records: Sequence[bytes], count: int, size: int) -> None:
        """One write: the records go from the channel into the segment, or are counted as lost.

        `records`: pieces with `count` records in them.
        """
        now = trio.current_time()
        was_open = self._writer.is_open
        appended = await self._make_room(records, count, size)
        if appended is not None and isinstance(appended.error, FileNotFoundError):
            # The spool has been removed. What was open went with it, what is at hand need not.
            await self._rotate()
            was_open = False
            if await self._keeper.restore():
                appended = await self._make_room(records, count, size)
        if appended is None:
            self._lose(count, size, DropReason.SPOOL_FULL)
            if size <= self._largest_bytes:
                # What is open cannot be dropped, but delivered it can be: that makes room.
                await self._rotate()
            return
        self._ledger.append(self._lane, appended.records, appended.size_bytes, self._wall_clock())
        if not was_open and self._writer.is_open:
            self._rotate_at = now + self._settings.rotate_seconds
        if appended.error is not None:
            lost = count - appended.records
            self._lose(lost, size - appended.size_bytes, DropReason.DISK_FULL, appended.error)
        if self._writer.torn:
            await self._strand(appended.error)
        elif self._writer.size_bytes >= self._segment_bytes or _is_damaged(appended.error):
            await self._rotate()

    async def _make_room(self, records: Sequence[bytes], count: int, size: int) -> Appended | None:
        """Append, dropping the oldest closed segments as far as that is needed and of use.

        None, and nothing appended, if there is no room all the same.
        """
        limit = self._settings.spool_max_bytes
        # A disk that cannot keep up: what the page cache can take need not be dropped.
        direct = self._ledger.queued_bytes <= self._settings.queue_bytes // 2
        while True:
            if self._ledger.fits(size, limit):
                with self._ledger.reserved(size):
                    append = partial(self._writer.append, records, count, direct=direct)
                    appended = await self._run_in_thread(append)
                if appended is not None:
                    return appended
            elif not self._ledger.could_fit(size, limit):
                return None
            victim = self._ledger.take_oldest()
            if victim is None:
                return None
            await self._janitor.drop(victim, DropReason.SPOOL_FULL)

    def _lose(self, records: int, size: int, reason: DropReason, error: OSError | None = None) -> None:
        self._ledger.lose(records, size, reason)
        self._janitor.warn(records, reason, error)

    async def _rotate(self) -> None:
        self._rotate_at = math.inf
        if not self._writer.is_open:
            return
        sync = self._settings.fsync != "never"
        async with self._syncing:
            try:
                stored = await self._run_in_thread(lambda: self._writer.close(sync=sync))
            except FileNotFoundError as error:
                # Removed while it was open: there is nothing that the next start could recover.
                lost = self._ledger.lose_open(self._lane, DropReason.TORN)
                self._janitor.warn(lost, DropReason.TORN, error)
                return
            except OSError as error:
                self._left(error)
                return
            self._ledger.close(self._lane, stored)
        if stored is not None:
            self._closed()

    async def _strand(self, error: OSError | None) -> None:
        self._rotate_at = math.inf
        async with self._syncing:
            self._writer.abandon()
            self._left(error)

    def _left(self, error: OSError | None) -> None:
        """The open segment can be neither written nor closed: the next start recovers it."""
        self._ledger.strand(self._lane)
        if segments := self._stranding.due():
            logger.warning("log: %d segments are left for the next start to recover: %s", segments, error)

    async def _sync_regularly(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Force to the disk what was appended, beside the appending: an fsync may take its time."""
        throttle = Throttle(trio.current_time)
        task_status.started()
        while True:
            await trio.sleep(self._settings.fsync_seconds)
            async with self._syncing:
                if not self._writer.unsynced:
                    continue
                try:
                    await self._run_in_thread(self._writer.sync)
                except OSError as error:
                    if throttle.due():
                        logger.warning("log: fsync of a segment: %s", error)


def _is_damaged(error: OSError | None) -> bool:
    """Whether another file may fare better than this one: anything but a lack of room."""
    return error is not None and error.errno not in (errno.ENOSPC, errno.EDQUOT)


def _tell(batches: Sequence[LogBatch]) -> None:
    for batch in batches:
        if batch.spooled is None:
            continue
        try:
            batch.spooled()
        except Exception:
            # Somebody else's code in this task: it must not take the log down with it.
            logger.exception("log: a batch could not be told that it is in the spool")
