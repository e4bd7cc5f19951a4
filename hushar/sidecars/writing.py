"""The first half of the log pipeline: from the channel into a worker's segments.

A worker takes everything that waits in the channel, appends it with one write beside the event loop (with a
pen, or in a thread), and closes its segment by size or age. Nothing here knows of the sink, so that a sink
that is down stops nothing.

A worker's first segment is closed after FIRST_SECONDS: from then on whoever reads the log knows that there
is such a worker. At its end stands a marker that says how many segments and batches there are in all.
"""

import errno
import logging
import math
import os
from collections.abc import Callable, Sequence
from functools import partial

import trio

from hushar.records import Piece, Records, each_record
from hushar.sidecars.bundles import BUNDLE_BYTES, Bundle, Stages
from hushar.sidecars.forcing import Forcing
from hushar.sidecars.gathering import GATHER_SECONDS, Gathering
from hushar.sidecars.hand import Hand, Spooled
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.pen import Pen, make_pen
from hushar.sidecars.segment import CLOSING_BYTES, Appended
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import SegmentWriter
from hushar.sidecars.threads import RunInThread
from hushar.sidecars.throttle import Throttle
from hushar.sidecars.upkeep import Janitor, SpoolKeeper
from hushar.timer import Timer, make_timer

logger = logging.getLogger(__name__)

WRITE_BYTES = BUNDLE_BYTES
"""With so many in hand no more is taken from the channel; they count as in it until they are written."""
RESTED_BYTES = 2 * BUNDLE_BYTES
"""The same after a rest, which a disk has that keeps up."""
SPARE = 16
"""A batch that fills a segment goes whole into it if it is no larger than such a part of one: what is cut
into records must be copied."""
IDLE_SECONDS = 5.0
"""When nothing has come for so long, memory that was needed for more is given back."""
FIRST_SECONDS = 2.0
"""How old a worker's first segment gets: it is what announces the worker in the store."""


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
        stages: Stages,
        run_in_thread: RunInThread,
        closed: Callable[[], None],
        pen: Callable[[], Pen | None] = make_pen,
        gather_seconds: float = GATHER_SECONDS,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        self._lane = lane
        self._writer = writer
        self._settings = settings
        self._ledger = ledger
        self._janitor = janitor
        self._keeper = keeper
        self._stages = stages
        self._run_in_thread = run_in_thread
        self._closed = closed
        self._gathering = Gathering(ledger, settings.queue_bytes, gather_seconds)
        self._first_seconds = min(first_seconds, settings.rotate_seconds)
        self._segment_bytes = settings.segment_bytes
        # What would never fit, whatever is dropped for it.
        self._largest_bytes = settings.spool_max_bytes - CLOSING_BYTES * settings.workers
        self._stranding = Throttle(trio.current_time)
        self._rotate_at = math.inf
        self._forcing = Forcing(writer, settings.fsync_seconds, run_in_thread)
        self._in_hand = Hand()
        self._make_pen = pen
        self._pen: Pen | None = None
        self._timer: Timer | None = None

    async def run(self, channel: trio.MemoryReceiveChannel[Bundle]) -> None:
        """Append until the channel ends, then close the segment. `channel` is this worker's clone.

        May be called again after it has raised: it goes on with what is in the channel then.
        """
        self._pen = self._make_pen()
        self._timer = make_timer()
        try:
            async with trio.open_nursery() as nursery:
                if self._settings.fsync == "interval":
                    await nursery.start(self._forcing.run)
                while (waiting := await self._receive(channel)) is not None:
                    await self._append(waiting)
                    if not waiting:
                        self._stages.rest()
                    # A large batch is not to stay here until there is another.
                    del waiting
                    if trio.current_time() >= self._rotate_at:
                        await self._rotate()
                await self._end()
                nursery.cancel_scope.cancel()
        except* Exception as group:
            self._crashed(group)
            raise
        finally:
            # In this order: whatever becomes of the one, there is no thread left over.
            if self._pen is not None:
                self._pen.close()
            self._writer.abandon()
            if self._timer is not None:
                self._timer.close()

    def _crashed(self, error: Exception) -> None:
        """Put the books right after a mistake that came in the middle of something.

        What is in the open segment waits for the next start. What was taken from the channel and is not in
        a segment is lost, for it may be what the mistake is about.
        """
        self._rotate_at = math.inf
        self._writer.abandon()
        self._forcing.given_up()
        self._left(error)
        records, size = self._in_hand.left
        if records:
            self._lose(records, size, DropReason.DISK_FULL, error)
        self._in_hand.tell(self._in_hand.untold)

    async def _receive(self, channel: trio.MemoryReceiveChannel[Bundle]) -> list[Bundle] | None:
        """What waits in the channel; empty if nothing came or a segment is to be closed, None at its end."""
        waiting: list[Bundle] = []
        ended = False
        try:
            first = await self._first_of(channel)
            if first is not None:
                waiting.append(first)
                most = WRITE_BYTES
                if not first.spooled and self._gathering.rests():
                    # Not for longer than the segment may stay open.
                    await self._gathering.rest(self._timer, self._rotate_at)
                    most = RESTED_BYTES
                size = first.size_bytes
                while size < most:
                    waiting.append(channel.receive_nowait())
                    size += waiting[-1].size_bytes
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            # With something in hand, the end is found again at the next turn.
            ended = not waiting
        finally:
            # Also when the fsync beside this fails while records gather: they are in nobody else's books.
            for bundle in waiting:
                bundle.close()
            self._in_hand.take(waiting)
        if waiting:
            self._gathering.taken(sum(bundle.size_bytes for bundle in waiting))
        return None if ended else waiting

    async def _first_of(self, channel: trio.MemoryReceiveChannel[Bundle]) -> Bundle | None:
        """What is next in the channel; None if nothing has come and something else is to be done."""
        try:
            # Under load there is always something, and a scope costs more than looking.
            return channel.receive_nowait()
        except trio.WouldBlock:
            idle_at = self._gathering.taken_at + IDLE_SECONDS if self._stages.has_spare else math.inf
            with trio.move_on_at(min(self._rotate_at, idle_at)):
                return await channel.receive()
        return None

    async def _append(self, waiting: Sequence[Bundle]) -> None:
        """Append all records, a segment's rest at a time; tell of each batch once all of it is in."""
        portion = _Portion()
        for bundle in waiting:
            first, draft = 0, bundle.draft
            while first < draft.batches:
                room = self._room(portion)
                if room <= 0:
                    # Not before there is another: what fills a segment is told with it.
                    portion = await self._finish(portion)
                    room = self._room(portion)
                stop = draft.run(first, room)
                all_of_them, last = draft.between(first, stop), draft.between(stop - 1, stop)
                if len(all_of_them.content) > room and len(last.content) > self._segment_bytes // SPARE:
                    if stop - 1 > first:
                        portion.add(draft.between(first, stop - 1))
                    portion = await self._cut(portion, last)
                else:
                    # The usual case, in which nothing is done for a single record.
                    portion.add(all_of_them)
                portion.waiting += bundle.waiting(first, stop)
                first = stop
            portion.ending.append(bundle)
            # Whoever keeps the bundle is not to keep the calls.
            bundle.spooled.clear()
        await self._finish(portion)
        self._in_hand.take(())

    async def _cut(self, portion: "_Portion", batch: Records) -> "_Portion":
        """Add a batch record by record; the portion that the last of them is in."""
        for record in each_record([batch.content], batch.number):
            # One that is too large must not take those before it with it.
            too_large = portion.size_bytes + len(record) > self._largest_bytes
            if portion.pieces and (too_large or self._room(portion) <= 0):
                portion = await self._finish(portion)
            portion.add(Records(record, 1))
        return portion

    def _room(self, portion: "_Portion") -> int:
        """Bytes until the segment is full."""
        return self._segment_bytes - self._writer.size_bytes - portion.size_bytes

    async def _finish(self, portion: "_Portion") -> "_Portion":
        """Write it; a new one."""
        if portion.pieces:
            await self._write(portion.pieces, portion.records, portion.size_bytes)
        self._in_hand.tell(portion.waiting)
        for bundle in portion.ending:
            if bundle.stage is not None:
                self._stages.give_back(bundle.stage)
        if self._ledger.queued_bytes < BUNDLE_BYTES:
            self._stages.trim()
        return _Portion()

    async def _write(self, records: Sequence[Piece], count: int, size: int) -> None:
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
        self._ledger.append(self._lane, appended.records, appended.size_bytes, now)
        self._in_hand.give(appended.records, appended.size_bytes)
        self._forcing.appended(now)
        if not was_open and self._writer.is_open:
            first = self._writer.is_first
            self._rotate_at = now + (self._first_seconds if first else self._settings.rotate_seconds)
        if appended.error is not None:
            lost = count - appended.records
            self._lose(lost, size - appended.size_bytes, DropReason.DISK_FULL, appended.error)
        if self._writer.torn:
            await self._strand(appended.error)
        elif self._writer.size_bytes >= self._segment_bytes or _is_damaged(appended.error):
            await self._rotate()

    async def _make_room(self, records: Sequence[Piece], count: int, size: int) -> Appended | None:
        """Append, dropping the oldest closed segments as far as that is needed and of use.

        None, and nothing appended, if there is no room all the same.
        """
        limit = self._settings.spool_max_bytes
        # Where the disk does not keep up, what the page cache can take need not be dropped.
        little = self._ledger.queued_bytes <= self._settings.queue_bytes // 2
        direct = little or self._gathering.catches_up()
        while True:
            if self._ledger.fits(size, limit):
                with self._ledger.reserved(size):
                    begun = trio.current_time()
                    appended = await self._put(records, count, direct=direct)
                    if direct:
                        self._gathering.written(size, trio.current_time() - begun)
                if appended is not None:
                    return appended
                if self._ledger.idle_bytes < self._writer.short_bytes:
                    # Others have filled the disk: all that is closed would go, and in vain.
                    return None
            elif not self._ledger.could_fit(size, limit):
                return None
            victim = self._ledger.take_oldest()
            if victim is None:
                return None
            await self._janitor.drop(victim, DropReason.SPOOL_FULL)

    async def _put(self, records: Sequence[Piece], count: int, *, direct: bool) -> Appended | None:
        """SegmentWriter.append, with the pen where that can do it."""
        job = self._writer.job(records, direct=direct) if self._pen is not None else None
        if self._pen is not None and job is not None:
            size, number = await self._pen.write(job)
            if not number:
                return self._writer.written(records, count, size)
            if size:
                error = OSError(number, os.strerror(number))
                return await self._run_in_thread(self._writer.written, records, count, size, error)
            # Nothing is written: `append` finds out why.
        return await self._run_in_thread(partial(self._writer.append, records, count, direct=direct))

    def _lose(self, records: int, size: int, reason: DropReason, error: Exception | None = None) -> None:
        self._ledger.lose(records, size, reason)
        self._in_hand.give(records, size)
        self._janitor.warn(records, reason, error)

    async def _end(self) -> None:
        """Close the segment, with the end marker before it: a last segment that is missing shows."""
        sync = self._settings.fsync != "never"
        try:
            marker = await self._run_in_thread(lambda: self._writer.end(sync=sync))
        except Exception as error:
            # Whatever it is: it must not keep the worker from ending.
            logger.warning("log: worker %d ends without its marker: %s", self._lane, error)
            marker = None
        if marker is not None:
            self._ledger.end(self._lane, marker, trio.current_time())
            self._closed()
        await self._rotate()
        await self._forcing.force_names()

    async def _rotate(self) -> None:
        self._rotate_at = math.inf
        if not self._writer.is_open:
            return
        sync, named = self._settings.fsync != "never", self._settings.fsync != "interval"
        async with self._forcing.lock:
            try:
                stored = await self._run_in_thread(lambda: self._writer.close(sync=sync, name=named))
            except FileNotFoundError as error:
                # Removed while it was open: there is nothing that the next start could recover.
                lost = self._ledger.lose_open(self._lane, DropReason.TORN)
                self._janitor.warn(lost, DropReason.TORN, error)
                return
            except OSError as error:
                self._left(error)
                return
            finally:
                self._forcing.closed(named=named)
            self._ledger.close(self._lane, stored)
        if stored is not None:
            self._closed()

    async def _strand(self, error: OSError | None) -> None:
        self._rotate_at = math.inf
        async with self._forcing.lock:
            self._writer.abandon()
            self._forcing.given_up()
            self._left(error)

    def _left(self, error: Exception | None) -> None:
        """The open segment can be neither written nor closed: the next start recovers it."""
        if self._ledger.strand(self._lane) and (segments := self._stranding.due()):
            logger.warning("log: %d segments are left for the next start to recover: %s", segments, error)


def _is_damaged(error: OSError | None) -> bool:
    """Whether another file may fare better than this one: anything but a lack of room."""
    return error is not None and error.errno not in (errno.ENOSPC, errno.EDQUOT)


class _Portion:
    """What is written at once."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.records = 0
        self.size_bytes = 0
        self.ending: list[Bundle] = []
        """Those whose last record is in it."""
        self.waiting: list[Spooled] = []
        """Those who are told once it is written."""

    def add(self, records: Records) -> None:
        """Add records."""
        self.pieces.append(records.content)
        self.records += records.number
        self.size_bytes += len(records.content)
