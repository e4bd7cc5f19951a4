"""One batch: messages to matrix, matrix to scores, scores to responses and log records.

`Scorer.score` is a plain function without side effects on anything but its result, so that a batch
can run in the event loop or in a worker thread: vectorized, run and spliced in one hop.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from hushar.drafts import Draft
from hushar.errors import AnswerTooLarge, ModelFailed, RequestError
from hushar.features.results import Layout, Reading, Vectorized
from hushar.features.vectorize import Vectorizer
from hushar.inference.privacy import Privacy
from hushar.inference.splice import Logged, Slices, Splice, Spliced, choose
from hushar.models.scores import as_scores
from hushar.models.served import ServedModel
from hushar.records import Call, Timings, each_record, own_bytes

log = logging.getLogger("hushar.inference")

COMPLAINT_SECONDS = 10.0
"""The least time between two lines of the log about a model that fails."""
_MICROS = 1e6
_NONE: NDArray[np.float32] = np.empty((0, 0), np.float32)


@dataclass(slots=True, eq=False)
class Work:
    """What is to be scored: whole messages, and then perhaps the next rows of a larger one."""

    messages: Sequence[bytes]
    rows: Sequence[int]
    """Of each message."""
    received: Sequence[int]
    """When each message arrived, in microseconds since the epoch."""
    reading: Reading | None = None
    slice_rows: int = 0
    slices: Slices | None = None
    """Where the answer of what is read by `reading` is put together."""
    calls: Sequence[Call] = ()
    """Of each message, and of the slice: one that is over need not be tried again after a failure. None where
    all are to be."""
    counted: bool = False
    """Whether what its features lack has been counted before, or is not to be: nobody has sent these rows."""
    draft: Draft | None = None
    """Where the log records may be put; None where scoring has failed before."""
    now: Callable[[], float] = lambda: -math.inf
    """The time on the clock of the calls' deadlines; asked in the thread that scores."""


@dataclass(slots=True, eq=False)
class Scored:
    """What becomes of a batch."""

    responses: list[bytes] = field(default_factory=list)
    """Of the whole messages without an error, in their order."""
    records: list[bytes | Draft] = field(default_factory=list)
    """Log records of the same, in pieces of one or more; empty where nothing is logged."""
    errors: dict[int, RequestError] = field(default_factory=dict)
    """By position; that of a slice comes after those of the whole messages."""
    reading: Reading | None = None
    """The slice's, as it is now: after a failure it is another object."""
    rows: int = 0
    """Of the matrix whose run has ended."""
    timings: Timings | None = None
    """None where no row reached the model."""


class Scorer:
    """Scores batches with one vectorizer and one model. Safe to use from several threads at once."""

    def __init__(
        self,
        vectorizer: Vectorizer,
        model: ServedModel,
        *,
        logged: bool,
        max_answer_bytes: float = math.inf,
        privacy: Privacy | None = None,
        splice: Splice | None = None,
    ) -> None:
        """`max_answer_bytes`: a call with a larger answer fails. `privacy`: what of the rows is logged, where
        that is not all. `splice`: the one that goes with the vectorizer, unless it is given."""
        self.count = vectorizer.count
        self.check = vectorizer.check
        self.begin = vectorizer.begin
        self.feature_counts = vectorizer.feature_counts
        self._vectorizer = vectorizer
        self._model = model
        self._logged = logged
        self._max_answer_bytes = max_answer_bytes
        self._privacy = privacy if logged else None
        self._splice = splice or choose(vectorizer.name)
        self._model_id = model.model_id.encode()
        self._model_version = model.version.encode()
        self._complaints = _Complaints()

    def score(self, work: Work) -> Scored:
        """Score everything; each message, and the slice, gets its answer or its own error."""
        reading = work.reading
        parts: Sequence[bytes | Reading] = work.messages
        rows = work.rows
        before = None
        if reading is not None:
            if parts:
                # Should a neighbour fail, the slice is read again, and from here.
                before = copy.copy(reading)
            parts, rows = [*parts, reading], [*rows, work.slice_rows]
        started = time.perf_counter()
        try:
            vectorized = self._vectorizer.vectorize(parts, rows, not work.counted)
            # What is tried again after this is not counted again.
            work.counted = True
            ready = time.perf_counter()
            scores, to_tensor_us, inference_us = self._run(vectorized.matrix)
            begun = time.perf_counter()
            scored = self._cut(work, vectorized, scores)
        except Exception as error:
            return self._in_halves(work, before, error)
        if len(scores):
            scored.timings = Timings(
                vectorized.decode_us,
                (ready - started) * _MICROS - vectorized.decode_us,
                to_tensor_us,
                inference_us,
                (time.perf_counter() - begun) * _MICROS,
            )
        return scored

    def _run(self, matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, float]:
        """The scores of all rows; microseconds of the way to the tensor, and of the model."""
        rows = len(matrix)
        if not rows:
            return _NONE, 0.0, 0.0
        runtime = self._model.runtime
        begun = time.perf_counter()
        tensor = runtime.to_tensor(matrix)
        ready = time.perf_counter()
        scores = as_scores(runtime.run(tensor), rows)
        done = time.perf_counter()
        return scores, (ready - begun) * _MICROS, (done - ready) * _MICROS

    def _cut(self, work: Work, vectorized: Vectorized, scores: NDArray[np.float32]) -> Scored:
        """Cut the scores back into answers."""
        messages, rows, received = work.messages, work.rows, work.received
        errors, layout = vectorized.errors, vectorized.layout
        scored = Scored(reading=work.reading, rows=len(scores))
        if errors:
            scored.errors = dict(errors)
            good = [index for index in range(len(messages)) if index not in errors]
            messages = [messages[index] for index in good]
            rows = [rows[index] for index in good]
            received = [received[index] for index in good]
        whole = len(scores) if work.slices is None else len(scores) - vectorized.rows[-1]
        if messages:
            if self._privacy is not None:
                # What is left of a message lies elsewhere.
                layout = None
                messages = [self._privacy.in_request(message) for message in messages]
            log = Logged(self._model_id, self._model_version, received) if self._logged else None
            scored.responses, scored.records = self._splice.whole(
                messages, rows, scores[:whole], log, work.draft, layout
            )
            if max(map(len, scored.responses)) > self._max_answer_bytes:
                self._leave_out_the_too_large(scored, len(work.messages))
        if work.slices is not None and len(work.messages) not in scored.errors:
            # The last step: what fails before it is tried again.
            self._add(work.slices, scores[whole:], vectorized.layout, scored, len(work.messages))
        return scored

    def _leave_out_the_too_large(self, scored: Scored, calls: int) -> None:
        """What the transport would refuse to send must be in no log."""
        limit = self._max_answer_bytes
        fitting = [len(response) <= limit for response in scored.responses]
        good = [index for index in range(calls) if index not in scored.errors]
        for index, fits in zip(good, fitting, strict=True):
            if not fits:
                scored.errors[index] = AnswerTooLarge(int(limit))
        if scored.records:
            scored.records = list(compress(each_record(own_bytes(scored.records), len(good)), fitting))
        scored.responses = list(compress(scored.responses, fitting))

    def _add(
        self,
        slices: Slices,
        scores: NDArray[np.float32],
        layout: Layout | None,
        scored: Scored,
        index: int,
    ) -> None:
        try:
            slices.add(scores, layout)
        except AnswerTooLarge as error:
            scored.errors[index] = error
        except ValueError as error:
            # A model whose scores a row are not always as many.
            self._complaints.say(self._model.model_id, error)
            scored.errors[index] = ModelFailed()

    def slices(self, message: bytes) -> Slices:
        """For the answer of a message that is scored in slices."""
        return Slices(
            message, self._splice, logged=self._logged, most=self._max_answer_bytes, privacy=self._privacy
        )

    def finish(self, slices: Slices, received: int) -> Spliced:
        """The answer of a message all of whose slices are done, and its log record where there is a log.

        Raises:
            AnswerTooLarge: the answer is.
        """
        log = Logged(self._model_id, self._model_version, [received]) if self._logged else None
        return slices.finish(log)

    def _in_halves(self, work: Work, before: Reading | None, error: Exception) -> Scored:
        """A model that fails on a joined batch may fail for one call's rows: run each half of the calls, and
        of one that fails each half again. A slice is a half of its own.

        `before`: the slice's reading as it was, if there are calls beside it.
        """
        count = len(work.messages)
        if count + (work.reading is not None) == 1:
            self._complaints.say(self._model.model_id, error)
            return Scored(errors={0: ModelFailed()})
        middle = count // 2 if before is None else count
        halves = [
            Work(
                work.messages[part],
                work.rows[part],
                work.received[part],
                calls=work.calls[part],
                counted=work.counted,
                now=work.now,
            )
            for part in (slice(middle), slice(middle, None))
        ]
        if before is not None:
            last = halves[1]
            last.reading, last.slice_rows, last.slices = before, work.slice_rows, work.slices
        everything = Scored(reading=before)
        timings = []
        for start, half in zip((0, middle), halves, strict=True):
            scored = self._score_awaited(half)
            everything.errors |= {start + index: each for index, each in scored.errors.items()}
            everything.responses += scored.responses
            everything.records += scored.records
            everything.rows += scored.rows
            if scored.timings is not None:
                timings.append(scored.timings)
        if timings:
            everything.timings = Timings._make(map(sum, zip(*timings, strict=True)))
        return everything

    def _score_awaited(self, work: Work) -> Scored:
        """Score what somebody still waits for; the rest fails, and nobody will hear of it."""
        now = work.now()
        awaited = [not (call.over or call.deadline <= now) for call in work.calls]
        if all(awaited):
            return self.score(work)
        # A slice is alone: then nothing is left.
        left = [index for index, still in enumerate(awaited) if still]
        rest = Work(
            list(compress(work.messages, awaited)),
            list(compress(work.rows, awaited)),
            list(compress(work.received, awaited)),
            calls=list(compress(work.calls, awaited)),
            counted=work.counted,
            now=work.now,
        )
        scored = self.score(rest) if left else Scored()
        errors = {left[index]: error for index, error in scored.errors.items()}
        gone = {index: ModelFailed() for index, still in enumerate(awaited) if not still}
        scored.errors = errors | gone
        return scored


class _Complaints:
    """A model that fails may fail for every call: its lines in the log are few."""

    def __init__(self) -> None:
        self._unsaid = 0
        self._said_at = -math.inf

    def say(self, model_id: str, error: Exception) -> None:
        """One failure more; a line if it is due."""
        self._unsaid += 1
        now = time.monotonic()
        if now - self._said_at < COMPLAINT_SECONDS:
            return
        times = "" if self._unsaid == 1 else f" ({self._unsaid} times)"
        self._said_at, self._unsaid = now, 0
        log.error("scoring with the model %s failed on a batch%s", model_id, times, exc_info=error)
