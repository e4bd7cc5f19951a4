"""Joins the calls that wait at the same moment into one batch.

There is no timer: a call never waits for another to arrive. While one batch runs, the calls that
come in queue up, and together they are the next batch.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import trio

from hushar.errors import InvalidRequest, ModelFailed, RequestError
from hushar.inference.placement import Placement
from hushar.inference.scoring import Answer, Opened, ScoredBatch, Scorer
from hushar.records import BatchMetrics, Call, LogBatch, LogOutlet, MetricsOutlet

log = logging.getLogger("hushar.inference")

_MICROS = 1e6

CANCELLED = "CANCELLED"
"""In the metrics: a call that nobody waited for any more, whether cancelled or past its deadline."""

Refuse = Callable[[Call, RequestError], None]
"""Answers a call with an error; what that is on the wire is the service's business."""


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    """How much goes into a matrix, and into a call."""

    max_rows: int
    """Rows a matrix: calls are joined up to this many."""
    max_call_rows: int
    """Rows a call: more are INVALID_ARGUMENT."""


@dataclass(frozen=True, slots=True)
class BatcherStatistics:
    """What the batcher holds and has done."""

    waiting_calls: int
    running_calls: int
    batches: int
    rows: int


@dataclass(slots=True)
class _Waiting:
    """A call in the queue; `opened` once its message has been decoded."""

    call: Call
    received_unix_micros: int
    arrived: float
    opened: Opened | None = None


class Batcher:
    """The queue in front of the model, and the task that empties it."""

    def __init__(
        self,
        scorer: Scorer,
        limits: BatcherLimits,
        placement: Placement,
        *,
        refuse: Refuse,
        metrics: MetricsOutlet,
        log_outlet: LogOutlet | None = None,
        answer_when_spooled: bool = False,
    ) -> None:
        """`log_outlet` is None where nothing is logged; with `answer_when_spooled` a response leaves
        only once its record is in the spool."""
        self._scorer = scorer
        self._limits = limits
        self._placement = placement
        self._refuse = refuse
        self._metrics = metrics
        self._log_outlet = log_outlet
        self._answer_when_spooled = answer_when_spooled
        self._queue: deque[_Waiting] = deque()
        self._arrival = trio.Event()
        self._running_calls = 0
        self.thread_at_work = False
        """Whether a thread is at work on a batch; after `run` has been cancelled: still."""
        self._batches = 0
        self._rows = 0

    def submit(self, calls: Sequence[Call]) -> None:
        """Take calls into the queue; each is answered later, in the event loop."""
        received = time.time_ns() // 1000
        arrived = time.perf_counter()
        self._queue.extend(_Waiting(call, received, arrived) for call in calls)
        self._arrival.set()

    def statistics(self) -> BatcherStatistics:
        """A snapshot."""
        return BatcherStatistics(len(self._queue), self._running_calls, self._batches, self._rows)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Score batches until cancelled."""
        task_status.started()
        while True:
            if not self._queue:
                self._arrival = trio.Event()
                await self._arrival.wait()
            started = time.perf_counter()
            batch = self._take()
            if batch:
                await self._serve(batch, started)
            # The loop of a busy server must come round: reading, and timers, between any two batches.
            await trio.lowlevel.checkpoint()

    def _take(self) -> list[_Waiting]:
        """The oldest calls that fit one matrix; a call larger than that goes alone."""
        batch: list[_Waiting] = []
        rows = 0
        while self._queue:
            waiting = self._queue[0]
            if waiting.call.cancelled:
                # Cancelled or past its deadline: nothing is computed for it.
                self._metrics(BatchMetrics(0, None, failed=(CANCELLED,)))
                self._queue.popleft()
                continue
            if not self._open(waiting):
                self._queue.popleft()
                continue
            assert waiting.opened is not None
            rows += waiting.opened.rows
            if batch and rows > self._limits.max_rows:
                break
            batch.append(self._queue.popleft())
        return batch

    def _open(self, waiting: _Waiting) -> bool:
        """Decode the call's message once; False if it was refused."""
        if waiting.opened is not None:
            return True
        try:
            waiting.opened = self._scorer.open(waiting.call.message, waiting.received_unix_micros)
            if waiting.opened.rows > self._limits.max_call_rows:
                limit = self._limits.max_call_rows
                raise InvalidRequest(
                    f"inputs: {waiting.opened.rows} rows, at most {limit} are served in a call"
                )
        except RequestError as error:
            self._refuse(waiting.call, error)
            self._metrics(BatchMetrics(0, None, failed=(error.kind.name,)))
            return False
        return True

    async def _serve(self, batch: list[_Waiting], taken: float) -> None:
        """Score a batch and answer its calls."""
        opened = [waiting.opened for waiting in batch if waiting.opened is not None]
        begun = time.perf_counter()
        self._running_calls = len(batch)
        try:
            if self._placement.in_thread(sum(each.rows for each in opened)):
                # Cancelled only when the server ends: then nobody waits for what the thread still does.
                self.thread_at_work = True
                scored, seconds = await trio.to_thread.run_sync(
                    _timed, self._scorer, opened, abandon_on_cancel=True
                )
            else:
                scored, seconds = _timed(self._scorer, opened)
        except Exception:
            # Nothing that a request holds may get here; if it does, its callers must not wait for ever.
            log.exception("scoring a batch failed")
            scored, seconds = ScoredBatch(tuple(Answer(error=ModelFailed()) for _ in batch), 0, None), 0.0
        finally:
            self._running_calls = 0
        self.thread_at_work = False
        self._placement.measured(scored.rows, seconds)
        self._batches += scored.rows > 0
        self._rows += scored.rows
        answered, failed = self._answer(batch, scored)
        now = time.perf_counter()
        decode_us = (begun - taken) * _MICROS
        self._metrics(
            BatchMetrics(
                scored.rows,
                replace(scored.timings, decode_us=decode_us) if scored.timings else None,
                queue_us=tuple((taken - waiting.arrived) * _MICROS for waiting in batch),
                answered_us=tuple((now - waiting.arrived) * _MICROS for waiting in answered),
                failed=tuple(failed),
            )
        )

    def _answer(self, batch: list[_Waiting], scored: ScoredBatch) -> tuple[list[_Waiting], list[str]]:
        """Reply to each call, or refuse it, and hand the records of those answered to the log.

        Returns the calls that were answered, and the outcome of each that was not.
        """
        answered: list[_Waiting] = []
        failed: list[str] = []
        replies: list[tuple[Call, bytes]] = []
        records: list[bytes] = []
        for waiting, answer in zip(batch, scored.answers, strict=True):
            if waiting.call.cancelled:
                failed.append(CANCELLED)
            elif answer.error is not None:
                failed.append(answer.error.kind.name)
                self._refuse(waiting.call, answer.error)
            else:
                answered.append(waiting)
                replies.append((waiting.call, answer.response))
                if answer.log_record:
                    records.append(answer.log_record)

        def reply() -> None:
            for call, response in replies:
                call.reply(response)

        if self._log_outlet is None or not records:
            reply()
        elif not self._answer_when_spooled:
            reply()
            self._log_outlet(LogBatch(tuple(records)))
        elif not self._log_outlet(LogBatch(tuple(records), reply)):
            # Not taken: the loss is counted there, and logging never fails a call.
            reply()
        return answered, failed


def _timed(scorer: Scorer, opened: Sequence[Opened]) -> tuple[ScoredBatch, float]:
    started = time.perf_counter()
    scored = scorer.score(opened)
    return scored, time.perf_counter() - started
