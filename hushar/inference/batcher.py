"""Joins the calls that wait at the same moment into one batch.

There is no timer: a call never waits for another to arrive. While one batch runs, the calls that
come in queue up, and together they are the next batch.

Theory of operation. `submit` is called by the transport's reader with all calls that one pass over its
sockets has completed. Where nothing waits or is under way, and they will not take long, they are scored
right there: their answers leave with the same flush, and no task is woken. What else there is waits in the
queue, and `run` takes a matrix at a time from it, in the loop or in a thread (placement.py); between them
the loop comes round, for reading and for timers. What can be refused is refused by `submit`.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from hushar.drafts import Draft, NoDrafts
from hushar.errors import InvalidRequest, ModelFailed, Overloaded, RequestError
from hushar.inference.admission import BYTES, ROWS, SECONDS, Admission, BatcherLimits
from hushar.inference.answering import CANCELLED, Answering
from hushar.inference.finishing import Finishing
from hushar.inference.pace import Pace
from hushar.inference.placement import Placement
from hushar.inference.queue import Arrival, Batch, CallQueue, Large
from hushar.inference.scoring import Scored, Scorer, Work
from hushar.inference.threads import Threads
from hushar.records import Call

log = logging.getLogger("hushar.inference")

TURN_SECONDS = 2e-4
"""How long matrices may follow one another before the loop comes round: that costs as much as a short one."""
REHEARSAL_SECONDS = 0.02
"""How long `rehearse` goes on to larger matrices."""
LARGEST_SECONDS = 0.25
"""What a matrix of `max_rows` may be expected to take for `rehearse` to try it too: on a busy machine the
expectation is several times too high."""
RECORD_BYTES = 64
"""About what the record of a call has more than the call, and a logged row more than a row."""
_EMPTY_ROW = b"\x12\x00"
"""An input row without features, in a request."""


@dataclass(frozen=True, slots=True)
class BatcherStatistics:
    """What the batcher holds and has done."""

    waiting_calls: int
    waiting_rows: int
    running_calls: int
    batches: int
    rows: int
    shed: Mapping[str, int]
    """Calls that were refused for want of room, by reason: queue_rows, queue_bytes, queue_seconds."""


class Batcher:
    """The queue in front of the model, and the tasks that empty it."""

    def __init__(
        self,
        scorer: Scorer,
        limits: BatcherLimits,
        answering: Answering,
        *,
        offload: str = "auto",
        concurrency: int = 1,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """`concurrency`: batches under way at once, each in a thread of its own. `clock`: that of the calls'
        deadlines."""
        self._scorer = scorer
        self._limits = limits
        self._answering = answering
        self._drafting = answering.drafting or NoDrafts()
        self._concurrency = concurrency
        self._clock = clock
        self._pace = Pace(limits.max_rows, concurrency)
        self._placement = Placement(offload, self._pace)
        self._queue = CallQueue(limits.max_rows)
        self._admission = Admission(limits, self._queue, self._pace)
        self._at_once = min(limits.max_rows, limits.max_call_rows)
        self._idle_tasks = trio.lowlevel.ParkingLot()
        self._threads = Threads(concurrency + 1)
        self._finishing = Finishing(
            scorer,
            answering,
            self._queue,
            self._threads,
            offload=offload,
            max_call_rows=limits.max_call_rows,
        )
        self._running = 0
        self._running_calls = 0
        self._batches = 0
        self._rows = 0
        self._shed = dict.fromkeys((ROWS, BYTES, SECONDS), 0)
        self.on_waiting: Callable[[float], None] | None = None
        """Told, in `submit`, that too much waits, and for how many seconds to bring no more is as well."""
        self.on_answered: Callable[[], None] | None = None
        """Told that the calls of a batch have been dealt with, and that their answers may leave. New calls
        may be submitted meanwhile."""

    @property
    def thread_at_work(self) -> bool:
        """Whether a thread is at work on a batch; after `run` has been cancelled: still."""
        return self._threads.at_work > 0

    def statistics(self) -> BatcherStatistics:
        """A snapshot."""
        queue = self._queue
        return BatcherStatistics(
            queue.calls, queue.rows, self._running_calls, self._batches, self._rows, dict(self._shed)
        )

    def rehearse(self) -> None:
        """Score a few matrices of rows without features, to know beforehand about how long they take.

        Blocks for about REHEARSAL_SECONDS, or as long as one row takes; and for a matrix of `max_rows`, if
        that takes no more than LARGEST_SECONDS. The model's memory for it is then there: allocated after
        that for many smaller ones, it would come on top of theirs.
        """
        rows, begun = 1, time.perf_counter()
        spent = 0.0
        while rows <= self._limits.max_rows and spent < REHEARSAL_SECONDS / 2:
            work = Work([_EMPTY_ROW * rows], [rows], [0], counted=True)
            seconds = math.inf
            for _ in range(2):
                # The first of a size also pays for memory.
                started = time.perf_counter()
                scored = self._scorer.score(work)
                ended = time.perf_counter()
                seconds, spent = min(seconds, ended - started), ended - begun
                if scored.timings is None or spent > REHEARSAL_SECONDS:
                    break
            if scored.timings is None:
                break
            self._pace.rehearsed(rows, seconds)
            # Less than that, but for the log's record, which is as long as its request.
            self._finishing.pace.rehearsed(rows, scored.timings.encode_us / 1e6)
            rows *= 2
        self._rehearse_largest(rows // 2)

    def _rehearse_largest(self, rows: int) -> None:
        """The same for `max_rows`, by way of as few sizes as can be, each larger than the `rows` before."""
        largest = self._limits.max_rows
        while 0 < rows < largest and (seconds := self._pace.expected(rows)):
            reach = min(int(rows * LARGEST_SECONDS / seconds), largest)
            if reach < min(4 * rows, largest):
                # A row takes so long that it is no matter of what a matrix costs whatever its rows.
                break
            work = Work([_EMPTY_ROW * reach], [reach], [0], counted=True)
            started = time.perf_counter()
            if self._scorer.score(work).timings is None:
                break
            self._pace.rehearsed(reach, time.perf_counter() - started)
            # A number of rows that onnxruntime has seen before is run in memory of its own.
            self._scorer.score(work)
            rows = reach

    # Calls come in

    def submit(self, calls: Sequence[Call]) -> None:
        """Take calls: each is answered or refused, now or later, in the event loop."""
        arrived, received = time.perf_counter(), time.time_ns() // 1000
        messages: list[bytes] = []
        earliest = math.inf
        # One plain loop: for a call alone it takes a quarter of what comprehensions would, and without `min`.
        for call in calls:
            messages.append(call.message)
            if call.deadline < earliest:  # noqa: PLR1730
                earliest = call.deadline
        rows = self._scorer.count(messages)
        total, count = sum(rows), len(calls)
        if (
            total > self._at_once
            or count > self._at_once
            or self._running >= self._concurrency
            or self._queue.calls
            or self._placement.in_thread(total)
        ):
            self._take_in(Arrival(list(calls), messages, rows, arrived, received, earliest))
            return
        if earliest < math.inf and earliest <= (now := self._clock()):
            # The transport's timer will end those whose deadline is over.
            batch = Batch()
            batch.join(Arrival(list(calls), messages, rows, arrived, received, earliest), count, now)
            batch.summed_up()
            if batch.gone:
                self._answering.count({CANCELLED: batch.gone})
            if not batch.calls:
                return
        else:
            batch = Batch(
                list(calls),
                messages,
                rows,
                [received] * count,
                [(arrived, count)],
                total_rows=total,
                total_calls=count,
                earliest=earliest,
            )
        self._begin(batch)
        self._end(batch, *self._score(batch, self._drafting.draft), arrived)

    def _take_in(self, arrival: Arrival) -> None:
        """Let calls into the queue, or refuse them."""
        now, queue = self._clock(), self._queue
        fits = self._admission.fits(arrival.weight, arrival.size, arrival.earliest - now)
        if fits and max(arrival.rows, default=0) <= self._at_once:
            queue.admit(arrival.weight, arrival.size, len(arrival.calls))
            queue.put(arrival)
        else:
            self._take_each_in(arrival, now)
        if self.on_waiting is not None and (seconds := self._admission.rest(now)):
            self.on_waiting(seconds)
        if queue.ready:
            self._idle_tasks.unpark()

    def _take_each_in(self, arrival: Arrival, now: float) -> None:
        accepted: list[Call] = []
        messages: list[bytes] = []
        counts: list[int] = []
        # Under overload nearly all are refused for one reason: that is said once for all of them.
        refused: dict[RequestError, list[Call]] = {}
        refusal = self._admission.refusals(now)
        for call, message, rows in zip(arrival.calls, arrival.messages, arrival.rows, strict=True):
            error = self._problem(message, rows)
            if error is None:
                error = refusal(rows or 1, len(message), call.deadline)
            if error is not None:
                refused.setdefault(error, []).append(call)
                continue
            self._queue.admit(rows or 1, len(message))
            if rows > self._limits.max_rows:
                self._queue.put_large(self._large(call, message, rows, arrival))
            else:
                accepted.append(call)
                messages.append(message)
                counts.append(rows)
        if accepted:
            origin = arrival.arrived, arrival.received, arrival.earliest
            self._queue.put(Arrival(accepted, messages, counts, *origin))
        failed: Counter[str] = Counter()
        for error, calls in refused.items():
            if isinstance(error, Overloaded):
                self._shed[error.reason] += len(calls)
            self._answering.refuse(calls, error)
            failed[error.kind.name] += len(calls)
        if failed:
            self._answering.count(failed)

    def _large(self, call: Call, message: bytes, rows: int, arrival: Arrival) -> Large:
        reading, slices = self._scorer.begin(message), self._scorer.slices(message)
        return Large(call, message, rows, reading, slices, arrival.arrived, arrival.received)

    def _problem(self, message: bytes, rows: int) -> RequestError | None:
        """What is wrong with a call whatever else is going on: too many rows, but undecodable comes first."""
        limit = self._limits.max_call_rows
        if rows <= limit:
            return None
        try:
            self._scorer.check(message)
        except RequestError as error:
            return error
        return InvalidRequest(f"inputs: {rows} rows, at most {limit} are served in a call")

    # Batches

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Score what waits until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._finishing.run)
            for _ in range(self._concurrency):
                await nursery.start(self._work)
            task_status.started()

    async def _work(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        last_turn = 0.0
        while True:
            if not self._queue.ready:
                await self._idle_tasks.park()
                last_turn = time.perf_counter()
                continue
            taken = time.perf_counter()
            batch = self._queue.take(self._clock())
            if self._queue.ready:
                # There is enough for another task, if one is idle.
                self._idle_tasks.unpark()
            if batch.gone:
                self._answering.count({CANCELLED: batch.gone})
            seconds = await self._serve(batch, taken) if batch.total_calls else 0.0
            # Its messages are not to stay here until there is another.
            del batch
            now = time.perf_counter()
            if now - last_turn >= TURN_SECONDS or not self._queue.ready:
                # The loop of a busy server must come round, for reading and for timers.
                await trio.lowlevel.checkpoint()
                last_turn = time.perf_counter()
            if self._queue.ready:
                self._pace.turned(seconds, time.perf_counter() - taken)

    async def _serve(self, batch: Batch, taken: float) -> float:
        """Score a batch and answer its calls; the seconds that scoring took."""
        self._begin(batch)
        if self._placement.in_thread(batch.total_rows):
            draft = self._lend(batch)
            scored, seconds = await self._threads.run(partial(self._score, batch, draft))
            # Not where the server ends meanwhile: then the thread still writes.
            if draft is not None:
                self._drafting.settle()
        else:
            scored, seconds = self._score(batch, self._drafting.draft)
        self._end(batch, scored, seconds, taken)
        return seconds

    def _begin(self, batch: Batch) -> None:
        self._running += 1
        self._running_calls += batch.total_calls
        self._admission.under_way_rows += batch.total_rows
        if batch.earliest < math.inf:
            batch.begun = self._clock()

    def _lend(self, batch: Batch) -> Draft | None:
        """A draft for a thread. Where several are at work at once, their records are bytes."""
        if self._concurrency > 1:
            return None
        size = sum(map(len, batch.messages)) + RECORD_BYTES * (batch.total_calls + batch.total_rows)
        return self._drafting.lend(size)

    def _score(self, batch: Batch, draft: Draft | None) -> tuple[Scored, float]:
        """Seconds are without a hop to a thread."""
        started = time.perf_counter()
        work = Work(
            batch.messages,
            batch.rows,
            batch.received,
            calls=batch.calls,
            draft=draft,
            # In a thread the loop's clock cannot be asked.
            now=lambda: batch.begun + time.perf_counter() - started,
        )
        if batch.large is not None:
            work.reading, work.slices = batch.large.reading, batch.large.slices
            work.slice_rows = batch.slice_rows
            work.calls = [*batch.calls, batch.large.call]
        try:
            scored = self._scorer.score(work)
        except Exception:
            # Nothing that a request holds may get here; if it does, its callers must not wait for ever.
            log.exception("scoring a batch failed")
            scored = Scored(errors={index: ModelFailed() for index in range(batch.total_calls)})
        return scored, time.perf_counter() - started

    def _end(self, batch: Batch, scored: Scored, seconds: float, taken: float) -> None:
        """Book a batch, and answer what is done with it."""
        self._running -= 1
        self._running_calls -= batch.total_calls
        self._admission.under_way_rows -= batch.total_rows
        self._batches += scored.rows > 0
        self._rows += scored.rows
        self._answering.answer(batch, scored, taken, self.on_answered)
        self._pace.measured(scored.rows, seconds)
        if batch.large is not None:
            self._go_on(batch.large, scored, scored.errors.get(len(batch.calls)))

    # Large calls

    def _go_on(self, large: Large, scored: Scored, error: RequestError | None) -> None:
        """After a slice: the next one will be taken from the queue, unless this was the last."""
        large.under_way = False
        if scored.reading is not None:
            large.reading = scored.reading
        if error is not None or self._answering.is_gone(large.call):
            self._queue.drop(large)
            self._answering.fail(large.call, error or ModelFailed())
        elif not large.left:
            self._finishing.put(large)
