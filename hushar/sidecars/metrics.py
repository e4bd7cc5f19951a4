"""The metrics sidecar: measurements in, one summary an interval out, best effort.

    outlet ─► channel ─► workers ─► one aggregate ─► every interval ─► an emitter for each sink
              bounded               bounded                            one batch waiting at most

Nothing here waits for a sink: each has an emitter task of its own, and a batch that finds the one before
it still waiting is lost, and counted. Whoever holds the MetricsSidecar closes it; `run` then emits the
interval that was under way and returns.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import trio

from hushar.errors import ConfigurationError, SinkError, SinkRefused
from hushar.records import BatchMetrics
from hushar.sidecars.aggregate import Aggregate, Deltas, added
from hushar.sidecars.durations import Durations
from hushar.sidecars.outlet import MetricsChannelOutlet, ValueBudget, values_in
from hushar.sidecars.settings import MetricsSettings
from hushar.sidecars.throttle import Throttle
from hushar.sinks.interface import Counter, MetricBatch, MetricSink

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""How long the last interval may take to be emitted at the end, and a sink to be closed."""
SHORTEST_LINGER_SECONDS: Final = 0.02
LONGEST_LINGER_SECONDS: Final = 0.25
"""How long a worker leaves the channel alone once it is empty, by how many batches come: a wake-up for every
batch would cost more than its measurement, and a call that comes meanwhile waits for it."""
GATHERED_BATCHES: Final = 64
"""What it is to find then: more, and it lingers half as long the next time; less than half, and twice as
long."""
VALUES_A_SECOND: Final = 400_000
"""That may come while it lingers; so many do when a server that was idle is loaded to its limit."""
BATCHES_AT_ONCE = 256
"""The most that are taken without letting the event loop go: some milliseconds."""

BUSY: Final = "busy"
"""Why a batch was lost: the one before it still waits."""
REASONS: Final = (BUSY, "error", "refused", "unexpected")
"""Beside that: a time-out or an outage; everything is refused until someone acts; what no sink may raise."""

Totals = Callable[[], Iterable[Counter]]
"""A source of running totals, such as `LogSidecar.counters`; asked once an interval, in the event loop."""

Gauges = Callable[[], Iterable[Counter]]
"""A source of values as they are at this moment; asked at the end of each interval, in the event loop."""


@dataclass(frozen=True, slots=True)
class MetricsStatistics:
    """The metrics pipeline at one moment."""

    queued_values: int
    """In the channel, of `queue_values`."""
    dropped_values: int
    """Since the start: they found the channel full."""
    emitted_batches: Mapping[str, int]
    """By sink, since the start."""
    sink_errors: Mapping[str, Mapping[str, int]]
    """Batches that were lost, by sink and reason, since the start."""
    sinks_up: Mapping[str, bool]
    """By sink: whether the last attempt succeeded, or none was made."""


class _Emitter:
    """One sink, and the batch that waits for it."""

    def __init__(self, name: str, sink: MetricSink, clock: Callable[[], float]) -> None:
        self.name = name
        self.emitted = 0
        self.errors = dict.fromkeys(REASONS, 0)
        """Batches that were lost, by reason."""
        self.up = True
        """Whether the last attempt succeeded."""
        self._sink = sink
        self._is_open = False
        self._throttle = Throttle(clock)
        self._send, self._receive = trio.open_memory_channel[MetricBatch](1)
        self._missed: tuple[Counter, ...] = ()
        """What was counted in intervals that found the sink busy: goes with the next one."""

    async def open(self) -> None:
        """Open the sink. Raises ConfigurationError; any other failure is an outage, met later."""
        try:
            await self._sink.open()
            self._is_open = True
        except ConfigurationError:
            raise
        except Exception as error:
            self._failed(error, _reason(error))

    def put(self, batch: MetricBatch) -> None:
        """Hand the batch over, without waiting. Of one that finds another waiting the counters are kept."""
        if self._missed:
            batch = replace(batch, counters=added((*self._missed, *batch.counters)))
        try:
            self._send.send_nowait(batch)
            self._missed = ()
        except trio.WouldBlock:
            self._missed = batch.counters
            self._failed(SinkError("still busy with the interval before"), BUSY)

    def finish(self) -> None:
        """No more batches will come."""
        self._send.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Emit until `finish`."""
        task_status.started()
        async for batch in self._receive:
            try:
                if not self._is_open:
                    await self._sink.open()
                    self._is_open = True
                await self._sink.emit(batch)
                self.emitted += 1
                self.up = True
            except Exception as error:
                self._failed(error, _reason(error))

    def _failed(self, error: Exception, reason: str) -> None:
        self.errors[reason] += 1
        self.up = False
        if failures := self._throttle.due():
            logger.warning(
                "metrics: sink %s failed (%d times): %s",
                self.name,
                failures,
                error or type(error).__name__,
                exc_info=None if isinstance(error, SinkError) else error,
            )

    async def aclose(self) -> None:
        """Close the sink, in bounded time, also while being cancelled."""
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            try:
                await self._sink.aclose()
            except Exception as error:
                logger.warning("metrics: sink %s: closing: %s", self.name, error, exc_info=error)


def _reason(error: Exception) -> str:
    if isinstance(error, (SinkRefused, ConfigurationError)):
        return "refused"
    return "error" if isinstance(error, SinkError) else "unexpected"


class MetricsSidecar:
    """The metrics of one server. Does nothing before `run`; only one `run` an instance."""

    def __init__(
        self,
        settings: MetricsSettings,
        sinks: Mapping[str, MetricSink],
        *,
        model_id: str,
        model_version: str = "",
        totals: Sequence[Totals] = (),
        gauges: Sequence[Gauges] = (),
        kernel: str = "",
        durations: Durations | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`sinks`: by the names of `metrics.sinks`. `totals`: what else is counted in the server;
        emitted is what was added. `gauges`: what is emitted as it is. `kernel`: which one computes here,
        in every batch as the label of a gauge. `durations`: where what is measured is counted for good,
        beside the intervals.
        """
        self._settings = settings
        self._dimensions = {"ModelId": model_id, **settings.dimensions}
        self._model_version = model_version
        self._totals = tuple(totals)
        self._gauges = tuple(gauges)
        self._constant = (Counter("Kernel", 1, {"kernel": kernel}),) if kernel else ()
        self._wall_clock = wall_clock
        self._emitters = [_Emitter(name, sink, trio.current_time) for name, sink in sinks.items()]
        self._durations = durations
        self._aggregate = Aggregate(durations)
        self._deltas = Deltas()
        self._started_at = 0.0
        self._budget = ValueBudget(settings.queue_values)
        self._longest_linger = min(LONGEST_LINGER_SECONDS, settings.queue_values / VALUES_A_SECOND)
        # Bounded by the outlet, in values.
        self._send, self._receive = trio.open_memory_channel[BatchMetrics](math.inf)
        self._rest = self._receive.clone()
        """For `catch_up`, between two turns of the workers."""
        self._closing = trio.Event()
        self.outlet = MetricsChannelOutlet(self._send, self._budget, trio.current_time)

    def close(self) -> None:
        """Nothing more is measured: `run` emits what it has and ends."""
        self._send.close()
        self._closing.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Aggregate and emit until `close`. Raises ConfigurationError, before `started`, of a sink."""
        opened: list[_Emitter] = []
        try:
            for emitter in self._emitters:
                await emitter.open()
                opened.append(emitter)
            await self._run_tasks(task_status)
        finally:
            self._rest.close()
            for emitter in opened:
                await emitter.aclose()

    async def _run_tasks(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as emitting:
            for emitter in self._emitters:
                await emitting.start(emitter.run)
            async with trio.open_nursery() as ticking:
                await ticking.start(self._tick)
                async with trio.open_nursery() as aggregating, self._receive:
                    for _ in range(self._settings.workers):
                        await aggregating.start(self._work, self._receive.clone())
                    task_status.started()
                ticking.cancel_scope.cancel()
            # What is left of the interval; a sink that hangs must not keep the server from stopping.
            emitting.cancel_scope.deadline = trio.current_time() + CLOSE_SECONDS
            self._emit()
            for emitter in self._emitters:
                emitter.finish()

    async def _work(
        self,
        channel: trio.MemoryReceiveChannel[BatchMetrics],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Move measurements from the channel into the aggregate."""
        linger, found = SHORTEST_LINGER_SECONDS, 0
        async with channel:
            task_status.started()
            async for metrics in channel:
                self._add(metrics)
                found += 1
                # Everything that waits, at the cost of one task switch.
                with suppress(trio.WouldBlock, trio.EndOfChannel):
                    for _ in range(BATCHES_AT_ONCE):
                        self._add(channel.receive_nowait())
                        found += 1
                    continue
                linger = self._next_linger(linger, found)
                found = 0
                with trio.move_on_after(linger):
                    await self._closing.wait()

    def _next_linger(self, linger: float, found: int) -> float:
        """After one of so many seconds, and so many batches."""
        if found > GATHERED_BATCHES:
            linger /= 2
        elif found < GATHERED_BATCHES // 2:
            linger *= 2
        return max(SHORTEST_LINGER_SECONDS, min(linger, self._longest_linger))

    def catch_up(self) -> None:
        """Take into account what is still in the channel; for whoever reads what was measured, or the
        durations."""
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                self._add(self._rest.receive_nowait())
        self._aggregate.fold()

    def _add(self, metrics: BatchMetrics) -> None:
        self._aggregate.add(metrics)
        self._budget.give_back(values_in(metrics))

    async def _tick(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Emit at the end of each interval. The time between two is the monotonic clock's."""
        self._started_at = self._wall_clock()
        next_at = trio.current_time()
        task_status.started()
        while True:
            # From the plan, not from now: a late tick must not make all later ones late.
            next_at = max(next_at + self._settings.interval_seconds, trio.current_time())
            await trio.sleep_until(next_at)
            self._emit()

    def _emit(self) -> None:
        """Close the interval and hand it to the sinks, if anything happened or is under way in it."""
        self.catch_up()
        aggregate, self._aggregate = self._aggregate, Aggregate(self._durations)
        started_at, self._started_at = self._started_at, self._wall_clock()
        totals = [counter for source in self._totals for counter in source()]
        gauges = [gauge for source in self._gauges for gauge in source()]
        distributions = aggregate.distributions()
        counters = aggregate.counters() + self._deltas.since_last([*totals, *self.counters()])
        # Calls that hang end nowhere and count nowhere: without the gauges they would not be seen.
        if not (distributions or counters or any(gauge.value for gauge in gauges)):
            return
        batch = MetricBatch(
            namespace=self._settings.namespace,
            dimensions=self._dimensions,
            start_unix_seconds=started_at,
            end_unix_seconds=self._started_at,
            distributions=distributions,
            counters=counters,
            gauges=(*gauges, *self._constant),
            model_version=self._model_version,
        )
        for emitter in self._emitters:
            emitter.put(batch)

    def counters(self) -> tuple[Counter, ...]:
        """The sidecar's own running totals."""
        dropped = Counter("MetricValuesDropped", self._budget.dropped, {})
        errors = [
            Counter("SinkErrors", sum(emitter.errors.values()), {"sink": emitter.name})
            for emitter in self._emitters
        ]
        return (dropped, *errors)

    def statistics(self) -> MetricsStatistics:
        """The pipeline at this moment."""
        return MetricsStatistics(
            queued_values=self._budget.queued,
            dropped_values=self._budget.dropped,
            emitted_batches={emitter.name: emitter.emitted for emitter in self._emitters},
            sink_errors={emitter.name: dict(emitter.errors) for emitter in self._emitters},
            sinks_up={emitter.name: emitter.up for emitter in self._emitters},
        )
