"""The log sidecar: append → rotate → deliver → delete.

    outlet ─► channel ─► LogWorker ─► spool ─► Deliverer ─► sink
              bounded    writing.py    on disk   deliverer.py

Each of `log.workers` workers has a writing half and a delivering half. They meet in the spool only:
writing never waits for the sink. Where every record is, is in the books (ledger.py). A half that fails is
started again (supervise.py): the server has no part in it. Whoever holds
the LogSidecar closes it once nothing more is logged; `run` then appends what is in the channel,
delivers for at most `log.drain_seconds`, and returns. What is not delivered by then stays in the
spool for the next start.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from random import Random

import trio

from hushar.errors import ConfigurationError, Problem
from hushar.sidecars.bundles import Bundle, Stages
from hushar.sidecars.circuit import Circuit
from hushar.sidecars.deliverer import Deliverer
from hushar.sidecars.delivery import GuardedSink
from hushar.sidecars.gathering import GATHER_SECONDS
from hushar.sidecars.ledger import DropReason, Ledger, LogStatistics
from hushar.sidecars.outlet import LogChannelOutlet
from hushar.sidecars.pen import make_pen, no_pen
from hushar.sidecars.recovery import Recovered, recover
from hushar.sidecars.segment import FileOperations, instance_name
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import SegmentWriter, SpoolLock
from hushar.sidecars.supervise import Supervisor
from hushar.sidecars.threads import RunInThread, own_threads
from hushar.sidecars.upkeep import Janitor, SpoolKeeper
from hushar.sidecars.writing import FIRST_SECONDS, LogWorker
from hushar.sinks.interface import Counter, LogSink

logger = logging.getLogger(__name__)

EXPIRY_SECONDS = 1.0
"""How often it is looked whether a segment has become too old."""


class LogSidecar:
    """The log of one server. Does nothing before `run`; only one `run` an instance.

    `outlet` is what inference is given, `close` ends the log, `statistics` may be asked at any time.
    """

    def __init__(
        self,
        settings: LogSettings,
        sink: LogSink,
        spool_dir: Path,
        *,
        instance: str,
        random: Random | None = None,
        wall_clock: Callable[[], float] = time.time,
        run_in_thread: RunInThread | None = None,
        files: FileOperations | None = None,
        gather_seconds: float = GATHER_SECONDS,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        """`instance` names this start of this server in SegmentInfo: no two starts may share one.

        `random` samples and jitters; `wall_clock` (seconds since the epoch), `run_in_thread`, `files`,
        `gather_seconds` and `first_seconds` are there for tests.
        """
        self._settings = settings
        self._drain_seconds = settings.drain_seconds
        self._spool_dir = spool_dir
        self._instance = instance_name(instance)
        self._random = random or Random()  # noqa: S311 - nothing secret hangs on it
        self._wall_clock = wall_clock
        # Each worker may write, force to the disk, and delete, all at once.
        self._run_in_thread = run_in_thread or own_threads(3 * settings.workers + 1)
        self._pen = make_pen if files is None and run_in_thread is None else no_pen
        self._files = files or FileOperations()
        self._gather_seconds = gather_seconds
        self._first_seconds = first_seconds
        self._ledger = Ledger(settings.workers)
        self._sink = GuardedSink(sink, settings, Circuit(self._random), trio.current_time)
        self._supervisor = Supervisor()
        self._janitor = Janitor(self._ledger, self._run_in_thread, trio.current_time)
        # Bounded by the outlet, in bytes.
        self._send, self._receive = trio.open_memory_channel[Bundle](math.inf)
        self._stages = Stages(settings.queue_bytes)
        self.outlet = LogChannelOutlet(
            self._send,
            self._ledger,
            stages=self._stages,
            queue_bytes=settings.queue_bytes,
            segment_bytes=settings.segment_bytes,
            sample_rate=settings.sample_rate,
            random=self._random,
            clock=trio.current_time,
        )

    def close(self, *, drain: bool = True) -> None:
        """Nothing more is logged: `run` ends once everything is delivered, or the time is over. Without
        `drain` that time is over as soon as everything is in the spool."""
        self._drain_seconds = self._settings.drain_seconds if drain else 0.0
        self._send.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Log until `close`.

        Raises ConfigurationError, before `started`, if the sink cannot be opened (an outage is no
        such case), or the spool cannot be read or written to or is another process's.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self.outlet.end)
            await self._sink.open()
            stack.push_async_callback(self._sink.aclose)
            lock = await self._run_in_thread(SpoolLock.acquire, self._spool_dir)
            stack.callback(lock.release)
            self._find(await self._recover())
            await self._run_workers(lock, task_status)
        self._report()

    async def _recover(self) -> Recovered:
        try:
            return await self._run_in_thread(recover, self._spool_dir)
        except OSError as error:
            message = f"{self._spool_dir} cannot be read: {error.strerror}"
            raise ConfigurationError([Problem("", "log.spool_dir", message)]) from error

    def _find(self, recovered: Recovered) -> None:
        now, wall = trio.current_time(), self._wall_clock()
        for stored in recovered.segments:
            age = max(0.0, wall - stored.identity.opened_unix_micros / 1e6)
            self._ledger.find(stored, now - age)
        self._ledger.dead_letter_segments = recovered.dead_letters
        if recovered.torn_records:
            self._ledger.find_torn(recovered.torn_records)
        if recovered.segments:
            logger.info(
                "log: %d records in %d segments found in %s",
                sum(stored.segment.batches for stored in recovered.segments),
                len(recovered.segments),
                self._spool_dir,
            )

    async def _run_workers(self, lock: SpoolLock, task_status: trio.TaskStatus[None]) -> None:
        lanes = range(1, self._settings.workers + 1)
        deliverers = [self._deliverer(lane) for lane in lanes]
        keeper = SpoolKeeper(lock, self._run_in_thread)
        keep = self._supervisor.keep
        async with trio.open_nursery() as delivering:
            for deliverer in deliverers:
                await delivering.start(keep, "delivering", deliverer.run)
            async with trio.open_nursery() as housekeeping:
                if self._settings.spool_max_age_seconds is not None:
                    expire = partial(self._expire, self._settings.spool_max_age_seconds)
                    await housekeeping.start(keep, "dropping what is too old", expire)
                async with trio.open_nursery() as writing, self._receive:
                    for lane, deliverer in zip(lanes, deliverers, strict=True):
                        worker = self._worker(lane, deliverer, keeper)
                        await writing.start(self._write, worker, self._receive.clone())
                    task_status.started()
                housekeeping.cancel_scope.cancel()
            # The channel has ended, and everything that was in it is in closed segments.
            delivering.cancel_scope.deadline = trio.current_time() + self._drain_seconds
            # The end is worth an attempt at once.
            self._sink.circuit.worked()
            for deliverer in deliverers:
                deliverer.finish()

    async def _write(
        self,
        worker: LogWorker,
        channel: trio.MemoryReceiveChannel[Bundle],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        # Open for as long as the worker may be started again: a channel without receivers is an end.
        async with channel:
            await self._supervisor.keep("writing", partial(worker.run, channel), task_status=task_status)

    def _deliverer(self, lane: int) -> Deliverer:
        return Deliverer(
            lane,
            self._sink,
            self._settings,
            ledger=self._ledger,
            janitor=self._janitor,
            run_in_thread=self._run_in_thread,
            random=self._random,
            files=self._files,
        )

    def _worker(self, lane: int, deliverer: Deliverer, keeper: SpoolKeeper) -> LogWorker:
        writer = SegmentWriter(
            self._spool_dir,
            self._instance,
            lane,
            min_free_bytes=self._settings.spool_min_free_bytes,
            files=self._files,
            wall_clock=self._wall_clock,
        )
        return LogWorker(
            lane,
            writer,
            self._settings,
            ledger=self._ledger,
            janitor=self._janitor,
            keeper=keeper,
            stages=self._stages,
            run_in_thread=self._run_in_thread,
            closed=deliverer.wake,
            pen=self._pen,
            gather_seconds=self._gather_seconds,
            first_seconds=self._first_seconds,
        )

    async def _expire(self, max_age_seconds: float) -> None:
        """Drop what is older than `spool_max_age_seconds`, also while the sink is down."""
        while True:
            await trio.sleep(EXPIRY_SECONDS)
            before = trio.current_time() - max_age_seconds
            while (stored := self._ledger.take_oldest(before)) is not None:
                await self._janitor.drop(stored, DropReason.TOO_OLD)

    def statistics(self) -> LogStatistics:
        """The pipeline at this moment; call it in the event loop."""
        ledger = self._ledger
        return LogStatistics(
            accepted_records=ledger.accepted,
            delivered_records=ledger.delivered,
            spooled_records=ledger.spooled_records,
            dropped_records=dict(ledger.dropped),
            dead_lettered_records=ledger.dead_lettered,
            queued_bytes=ledger.queued_bytes,
            spool_bytes=ledger.spool_bytes,
            oldest_seconds=ledger.oldest_seconds(trio.current_time()),
            sink=self._sink.description,
            sink_up=self._sink.up,
            sink_errors=dict(self._sink.errors),
            dead_letter_segments=ledger.dead_letter_segments,
            crashes=self._supervisor.crashes,
        )

    def counters(self) -> tuple[Counter, ...]:
        """The statistics that the metrics sidecar emits: running totals since the start."""
        now = self.statistics()
        return (
            Counter("LogRecordsAccepted", now.accepted_records, {}),
            Counter("LogRecordsDelivered", now.delivered_records, {}),
            Counter("LogRecordsDeadLettered", now.dead_lettered_records, {}),
            *(
                Counter("LogRecordsDropped", count, {"reason": reason.value})
                for reason, count in now.dropped_records.items()
            ),
            Counter("SinkErrors", sum(now.sink_errors.values()), {"sink": now.sink}),
        )

    def _report(self) -> None:
        """The conservation of records, said once at the end."""
        now = self.statistics()
        logger.info(
            "log: %d records accepted = %d delivered + %d spooled + %d dropped + %d dead-lettered",
            now.accepted_records,
            now.delivered_records,
            now.spooled_records,
            sum(now.dropped_records.values()),
            now.dead_lettered_records,
        )
        if now.spooled_records:
            logger.warning(
                "log: %d records are not delivered yet: they stay in %s for the next start",
                now.spooled_records,
                self._spool_dir,
            )
