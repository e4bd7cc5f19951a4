"""The side exits of the request path: a bounded channel each, never waited for.

`LogOutlet` and `MetricsOutlet` in hushar.records say what callers may rely on: one call a batch, no
blocking, no exception. What does not fit is dropped and counted.
"""

import logging
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import trio

from hushar.drafts import Draft
from hushar.records import BatchMetrics, LogBatch, each_record, own_bytes
from hushar.sidecars.appending import BLOCK_BYTES
from hushar.sidecars.bundles import BUNDLE_BYTES, LARGE_BYTES, Bundle, Stages
from hushar.sidecars.ledger import Ledger
from hushar.sidecars.throttle import Throttle

logger = logging.getLogger(__name__)

MOST_HEADROOM: Final = BUNDLE_BYTES // 2
"""Of a bundle's memory: for the batch that reaches its end and the one that is put together before that is
seen. Larger batches may have to be copied."""


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
        stages: Stages,
        queue_bytes: int,
        segment_bytes: int,
        sample_rate: float = 1.0,
        random: Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stages`: whoever receives gives them back. `queue_bytes`: the records in the channel and on
        their way to the disk never have more bytes. `segment_bytes`: what a segment is closed with.
        `random` decides about each call when `sample_rate` < 1.
        """
        self._channel = channel
        self._ledger = ledger
        self._stages = stages
        self._queue_bytes = queue_bytes
        self._segment_bytes = segment_bytes
        self._sample_rate = sample_rate
        self._random = random
        self._throttle = Throttle(clock)
        self._begins = 0
        self.draft: Draft | None = None
        """Where the records of the next batch are best put together; None where some may not be logged."""
        self._lent: Bundle | None = None
        self._bundle: Bundle
        self._open()

    def __call__(self, batch: LogBatch) -> bool:
        """See the class. What `draft` has taken already is not to be brought here."""
        pieces, spooled, count = batch.records, batch.spooled, batch.size
        own: Sequence[bytes]
        if in_place := len(pieces) == 1 and pieces[0] is self._bundle.draft and self._may_stay():
            bundle, own = self._bundle, ()
            size = bundle.draft.size
        else:
            own, count = self._sampled(own_bytes(pieces), count)
            size = sum(map(len, own))
            if not count:
                return False
        room = self._queue_bytes - self._ledger.queued_bytes - size
        if room < 0:
            return self._drop(count, "its channel is full")
        if not in_place:
            bundle = self._bundle_for(own, size)
        if not bundle.sent and not self._send(bundle):
            return self._drop(count, "its sidecar has ended")
        if spooled is not None:
            bundle.spooled.append((bundle.draft.batches, spooled))
        bundle.draft.book(count, size)
        self._stages.headroom = max(self._stages.headroom, min(2 * size, MOST_HEADROOM))
        if bundle.is_open:
            # So much it may take by itself.
            bundle.draft.limit = min(len(bundle.draft.memory), bundle.draft.at + room)
        else:
            self._open()
        return True

    def lend(self, size_bytes: int) -> Draft | None:
        """See `hushar.records.Drafting`."""
        if self.draft is None or self._lent is not None:
            return None
        if len(self.draft.memory) - self.draft.at < size_bytes <= BUNDLE_BYTES - BLOCK_BYTES:
            # Here would be no room for it, and what is scored in threads is large.
            self._let_go()
            self._open()
        if self.draft is None or self._bundle.stage is None:
            return None
        self._lent = self._bundle
        self._stages.lend(self._bundle.stage)
        return self.draft

    def settle(self) -> None:
        """See `hushar.records.Drafting`."""
        lent, self._lent = self._lent, None
        if lent is not None and lent.stage is not None:
            self._stages.settle(lent.stage)

    def end(self) -> None:
        """Nobody receives any more: what comes from now on is dropped, also what would be added to a bundle
        that nobody has taken."""
        self._bundle.close()

    def _may_stay(self) -> bool:
        """Whether what has been written behind the bundle may be added to it, or to one that begins there: a
        batch that is scored while the bundle is taken would have to be copied."""
        if self._bundle.is_open:
            return True
        offset, room = self._place()
        if (self._bundle.draft.at - offset) % BLOCK_BYTES:
            return False
        behind = self._stages.go_on(self._bundle, room)
        if behind is not None:
            self._begin(behind)
        return behind is not None

    def _sampled(self, pieces: Sequence[bytes], count: int) -> tuple[Sequence[bytes], int]:
        """What is logged of so many records, and how many that are."""
        if self._sample_rate >= 1.0:
            return pieces, count
        each = each_record(pieces, count)
        kept = [record for record in each if self._random.random() < self._sample_rate]
        return kept, len(kept)

    def _bundle_for(self, pieces: Sequence[bytes], size: int) -> Bundle:
        """The bundle in which they are now, though not booked."""
        if size < LARGE_BYTES:
            if self._bundle.is_open and self._bundle is not self._lent and self._bundle.put(pieces, size):
                return self._bundle
            self._let_go()
            self._open()
            if self._bundle.put(pieces, size):
                return self._bundle
        self._let_go()
        self._bundle = Bundle.carrying(pieces)
        self._ledger.watch(self._bundle.draft)
        return self._bundle

    def _open(self) -> None:
        """A new bundle, to be sent with its first batch."""
        try:
            bundle = self._stages.begin(*self._place())
        except OSError:
            # No memory is to be had, and a call must not fail for it: each batch stays where it is.
            bundle = Bundle.carrying(())
        self._begin(bundle)

    def _place(self) -> tuple[int, int]:
        """Where in its segment the next bundle is expected to begin, and its room: it ends with that."""
        entered = self._ledger.entered_bytes
        # Where the last segment begins, as far as is known by now: what was foretold counts only where it may
        # still come true. Once wrong it would stay so.
        begins = self._ledger.segment_begins
        if self._begins - begins >= self._segment_bytes:
            begins = self._begins
        if entered - begins >= self._segment_bytes:
            self._begins = begins = entered
        return entered - begins, self._segment_bytes - (entered - begins)

    def _begin(self, bundle: Bundle) -> None:
        """From now on it is the one that is added to."""
        self._stages.headroom -= self._stages.headroom // 8
        self._bundle = bundle
        self._ledger.watch(bundle.draft)
        self.draft = bundle.draft if self._sample_rate >= 1.0 and bundle.stage is not None else None

    def _let_go(self) -> None:
        """Add nothing more to the bundle: what comes now is sent after it."""
        bundle = self._bundle
        bundle.draft.limit = 0
        if not bundle.sent and bundle.stage is not None:
            self._stages.give_back(bundle.stage)

    def _send(self, bundle: Bundle) -> bool:
        """Whether somebody will receive it."""
        try:
            self._channel.send_nowait(bundle)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            # The channel has no limit of its own; this is a sidecar that has ended.
            return False
        bundle.sent = True
        return True

    def _drop(self, count: int, why: str) -> bool:
        self._ledger.refuse(count)
        if dropped := self._throttle.due(count):
            logger.warning("log: %s: %d new records dropped", why, dropped)
        return False


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
