"""The side exits of the request path: a bounded channel each, never waited for.

`LogOutlet` and `MetricsOutlet` in hushar.records say what callers may rely on: one call a batch, no
blocking, no exception. What does not fit is dropped and counted.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import trio

from hushar.records import BatchMetrics, LogBatch
from hushar.sidecars.ledger import Ledger
from hushar.sidecars.throttle import Throttle

logger = logging.getLogger(__name__)


BUNDLE_BYTES = 1024 * 1024
"""A bundle that has so many bytes gets no more batches."""


@dataclass(slots=True, eq=False)
class Bundle:
    """What the log channel carries: batches that came one after the other.

    A batch is added to the bundle that was sent last for as long as nobody has taken it: sending costs more
    than adding.
    """

    batches: list[tuple[LogBatch, int]]
    """Each with the bytes of all its records."""
    size_bytes: int
    taken: bool = False
    """The receiver works on it: nothing is added any more."""


class LogChannelOutlet:
    """A `hushar.records.LogOutlet` into the log sidecar's channel.

    Returns False if nothing of the batch will be in the log, and `spooled` will not be called: it
    was dropped, or none of its records was sampled.
    """

    def __init__(
        self,
        channel: trio.MemorySendChannel[Bundle],
        ledger: Ledger,
        *,
        queue_bytes: int,
        sample_rate: float = 1.0,
        random: Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queue_bytes`: the records in the channel and on their way to the disk never have more
        bytes. `random` decides about each call when `sample_rate` < 1.
        """
        self._channel = channel
        self._ledger = ledger
        self._queue_bytes = queue_bytes
        self._sample_rate = sample_rate
        self._random = random
        self._throttle = Throttle(clock)
        self._bundle: Bundle | None = None

    def __call__(self, batch: LogBatch) -> bool:
        """See the class."""
        if self._sample_rate < 1.0:
            batch = self._sampled(batch)
        count = batch.size
        if not count:
            return False
        size = sum(map(len, batch.records))
        if self._ledger.queued_bytes + size > self._queue_bytes:
            self._drop(count, "its channel is full")
            return False
        bundle = self._bundle
        if bundle is not None and not bundle.taken and bundle.size_bytes < BUNDLE_BYTES:
            bundle.batches.append((batch, size))
            bundle.size_bytes += size
        elif not self._send(Bundle([(batch, size)], size)):
            self._drop(count, "its sidecar has ended")
            return False
        self._ledger.enqueue(count, size)
        return True

    def _send(self, bundle: Bundle) -> bool:
        """Whether somebody will receive it."""
        try:
            self._channel.send_nowait(bundle)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            # The channel has no limit of its own; this is a sidecar that has ended.
            return False
        self._bundle = bundle
        return True

    def _sampled(self, batch: LogBatch) -> LogBatch:
        kept = tuple(record for record in batch.each() if self._random.random() < self._sample_rate)
        return LogBatch(kept, batch.spooled)

    def _drop(self, count: int, why: str) -> None:
        self._ledger.refuse(count)
        if dropped := self._throttle.due(count):
            logger.warning("log: %s: %d new records dropped", why, dropped)


def values_in(metrics: BatchMetrics) -> int:
    """How many values a record of the metrics channel counts for in `metrics.queue_values`: what it holds,
    not how many calls have them in common."""
    timings = 6 if metrics.timings is not None else 1
    return timings + len(metrics.queue_us) + len(metrics.answered_us) + len(metrics.failed)


class ValueBudget:
    """The values in the metrics channel, and those that found no room in it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.queued = 0
        self.dropped = 0

    def take(self, values: int) -> bool:
        """Whether there is room; then it is taken."""
        if self.queued + values > self.limit:
            self.dropped += values
            return False
        self.queued += values
        return True

    def give_back(self, values: int) -> None:
        """The values have left the channel."""
        self.queued -= values


class MetricsChannelOutlet:
    """A `hushar.records.MetricsOutlet` into the metrics sidecar's channel."""

    def __init__(
        self,
        channel: trio.MemorySendChannel[BatchMetrics],
        budget: ValueBudget,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._budget = budget
        self._throttle = Throttle(clock)

    def __call__(self, metrics: BatchMetrics) -> None:
        """See the class."""
        values = values_in(metrics)
        if not self._budget.take(values):
            self._warn("its channel is full", values)
            return
        try:
            self._channel.send_nowait(metrics)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self._budget.give_back(values)
            self._budget.dropped += values
            self._warn("its sidecar has ended", values)

    def _warn(self, why: str, values: int) -> None:
        if dropped := self._throttle.due(values):
            logger.warning("metrics: %s: %d values dropped", why, dropped)
