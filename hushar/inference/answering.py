"""What leaves inference: answers and refusals to the calls, records to the log, measurements."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from hushar.drafts import Draft
from hushar.errors import ErrorKind, RequestError
from hushar.inference.queue import Batch, Large
from hushar.inference.scoring import Scored
from hushar.records import (
    NOTHING,
    BatchMetrics,
    Call,
    Drafting,
    LogBatch,
    LogOutlet,
    MetricsOutlet,
    each_record,
    own_bytes,
)

_MICROS = 1e6

CANCELLED = "CANCELLED"
"""In the metrics: a call that nobody waited for any more, whether cancelled or past its deadline."""
_REFUSED = ErrorKind.RESOURCE_EXHAUSTED.name

Refuse = Callable[[Sequence[Call], RequestError], None]
"""Answers calls with an error; what that is on the wire is the service's business."""
ReplyAll = Callable[[Sequence[Call], Sequence[bytes]], Sequence[int]]
"""Answers each call OK with its response; the positions of those that are not answered so: they are over, or
the transport has refused the answer (RESOURCE_EXHAUSTED)."""

Origins = Sequence[tuple[float, int]]
"""When calls came, by time.perf_counter, and how many together; in their order."""

Pieces = Sequence[bytes | Draft]
"""Log records, one or more in each: either bytes, or a draft alone."""

_Sent = tuple[float, Origins, Mapping[str, int]]
"""When calls were answered, by time.perf_counter; their origins; and what became of the others."""
_NONE_SENT: _Sent = (0.0, (), NOTHING)


@dataclass(frozen=True, slots=True)
class Answering:
    """The ways out of inference."""

    refuse: Refuse
    reply_all: ReplyAll
    metrics: MetricsOutlet
    log_outlet: LogOutlet | None = None
    """None where nothing is logged."""
    drafting: Drafting | None = None
    """Where the log wants its records put together, where it does not want bytes of their own."""
    when_spooled: bool = False
    """Whether a response leaves only once its record is in the spool."""
    clock: Callable[[], float] = trio.current_time
    """That of the calls' deadlines."""

    def is_gone(self, call: Call) -> bool:
        """Whether nobody waits for the answer any more. The transport ends a call past its deadline."""
        return call.over or (call.deadline < math.inf and call.deadline <= self.clock())

    def answer(
        self, batch: Batch, scored: Scored, taken: float, flush: Callable[[], None] | None = None
    ) -> None:
        """Answer the whole calls of a batch, log those answered OK, and measure the batch.

        `taken`: when the batch was begun, by time.perf_counter. `flush`: sends the answers, before the batch
        is measured, which may take as long as all else when the machine has been idle.
        """
        calls, responses, records = batch.calls, scored.responses, scored.records
        failed: Mapping[str, int] = NOTHING
        origins: Origins = batch.origins
        answered = origins
        over: list[bool] = []
        if batch.earliest < math.inf and batch.earliest <= self.clock():
            over = [self.is_gone(call) for call in calls]
        else:
            # Nearly always none is; a comprehension for that costs more than looking.
            for call in calls:
                if call.over:
                    over = [each.over for each in calls]
                    break
        if scored.errors or True in over:
            lost = self._refuse_lost(calls, scored, over)
            failed = Counter(lost.values())
            answered = _without(origins, lost)
            # The positions of those without an error are the positions of the responses.
            good = [index for index in range(len(calls)) if index not in scored.errors]
            kept = [place for place, index in enumerate(good) if index not in lost]
            calls = [calls[good[place]] for place in kept]
            responses = [responses[place] for place in kept]
            if records:
                each = each_record(own_bytes(records), len(good))
                records = [each[place] for place in kept]
        sent = _NONE_SENT
        if calls:
            sent = self._send(calls, responses, records, answered)
        if flush is not None:
            # Only now: what comes in meanwhile is scored at once, and its records go into the same draft.
            flush()
        answered_at, answered, unsent = sent
        if unsent:
            failed = Counter(failed) + Counter(unsent)
        if batch.large is not None and batch.large.taken == batch.slice_rows:
            origins = [*origins, (batch.large.arrived, 1)]
        self.metrics(
            BatchMetrics(
                scored.rows,
                scored.timings,
                _micros_until(taken, origins),
                _micros_until(answered_at, answered),
                failed,
            )
        )

    def _refuse_lost(self, calls: Sequence[Call], scored: Scored, over: Sequence[bool]) -> dict[int, str]:
        """Refuse the calls with an error; what became of each that is not answered OK, by its position."""
        lost = dict.fromkeys([index for index, is_over in enumerate(over) if is_over], CANCELLED)
        for index, error in scored.errors.items():
            if index < len(calls) and index not in lost:
                lost[index] = error.kind.name
                self.refuse([calls[index]], error)
        return lost

    def answer_large(self, large: Large, responses: list[bytes], records: Pieces) -> None:
        """Answer a large call, all of whose slices are done."""
        if self.is_gone(large.call):
            self.count({CANCELLED: 1})
            return
        self._measure(self._send([large.call], responses, records, [(large.arrived, 1)]))

    def fail(self, call: Call, error: RequestError) -> None:
        """Refuse one call that is in no batch any more."""
        if self.is_gone(call):
            self.count({CANCELLED: 1})
        else:
            self.refuse([call], error)
            self.count({error.kind.name: 1})

    def count(self, failed: Mapping[str, int]) -> None:
        """Measure calls that are in no batch: how many, by what became of them."""
        self._measure((0.0, (), failed))

    def _measure(self, sent: _Sent) -> None:
        """Measure calls whose batch is measured without them, where there are any."""
        answered_at, origins, failed = sent
        answered_us = _micros_until(answered_at, origins)
        if answered_us or failed:
            self.metrics(BatchMetrics(0, None, answered_us=answered_us, failed=failed))

    def _send(
        self, calls: Sequence[Call], responses: Sequence[bytes], records: Pieces, origins: Origins
    ) -> _Sent:
        """Reply, and hand the records to the log: one a call, in any number of pieces.

        Where the answers wait for the spool, nothing is said of them: they are measured when they leave.
        """
        if self.log_outlet is None or not records:
            return self._reply(calls, responses, origins)[0]
        if self.when_spooled:
            when_there = partial(self._reply_spooled, calls, responses, origins)
            if self.log_outlet(LogBatch(tuple(records), when_there, len(calls))):
                return _NONE_SENT
            # Not taken: the loss is counted there, and logging never fails a call.
            return self._reply(calls, responses, origins)[0]
        sent, lost = self._reply(calls, responses, origins)
        if lost:
            each = each_record(own_bytes(records), len(calls))
            records = [record for at, record in enumerate(each) if at not in lost]
        if records:
            piece, count = records[0], len(calls) - len(lost)
            if isinstance(piece, bytes) or not piece.take(count):
                self.log_outlet(LogBatch(tuple(records), None, count))
        return sent

    def _reply_spooled(self, calls: Sequence[Call], responses: Sequence[bytes], origins: Origins) -> None:
        """Answer calls whose records are in the spool; there stays also that of one that is not answered."""
        over = {at for at, call in enumerate(calls) if call.over}
        self._measure(self._reply(calls, responses, origins, over)[0])

    def _reply(
        self, calls: Sequence[Call], responses: Sequence[bytes], origins: Origins, over: Collection[int] = ()
    ) -> tuple[_Sent, Collection[int]]:
        """Answer; what to measure, and the positions of those that are not answered. `over` are so before."""
        lost: Collection[int] = self.reply_all(calls, responses)
        failed = NOTHING
        if lost:
            lost = frozenset(lost)
            failed = Counter(CANCELLED if at in over else _REFUSED for at in lost)
            origins = _without(origins, lost)
        return (time.perf_counter(), origins, failed), lost


def _without(origins: Origins, lost: Collection[int]) -> list[tuple[float, int]]:
    """The origins of calls without some of them, by their positions."""
    at = itertools.count()
    return [(arrived, sum(next(at) not in lost for _ in range(calls))) for arrived, calls in origins]


def _micros_until(now: float, origins: Origins) -> list[tuple[float, int]]:
    return [((now - arrived) * _MICROS, calls) for arrived, calls in origins if calls]
