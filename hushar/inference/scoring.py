"""One batch: requests to matrix, matrix to scores, scores to responses and log records.

`Scorer.score` is a plain function without side effects on anything but its result, so that a batch
can run in the event loop or in a worker thread, vectorized, run and spliced in one hop.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hushar.errors import ModelFailed, RequestError
from hushar.features.vectorize import Vectorizer
from hushar.inference import splice
from hushar.models.scores import as_scores
from hushar.models.served import ServedModel
from hushar.records import Timings

log = logging.getLogger("hushar.inference")

_MICROS = 1e6


@dataclass(frozen=True, slots=True)
class Opened:
    """A call's message, decoded and counted."""

    message: bytes
    request: Any
    """What the vectorizer made of the message."""
    rows: int
    received_unix_micros: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of one call: a response and its log record, or an error."""

    response: bytes = b""
    log_record: bytes = b""
    """Empty where nothing is logged."""
    error: RequestError | None = None


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What becomes of a batch: one answer for each call, and what the stages cost."""

    answers: tuple[Answer, ...]
    rows: int
    timings: Timings | None
    """None where no row reached the model. `decode_us` is 0 here: decoding is done when opening."""


class Scorer:
    """Scores batches with one vectorizer and one model. Safe to use from several threads at once."""

    def __init__(self, vectorizer: Vectorizer, model: ServedModel, *, max_rows: int, logged: bool) -> None:
        self._vectorizer = vectorizer
        self._model = model
        self._max_rows = max_rows
        self._logged = logged
        self._model_id = model.model_id.encode()
        self._model_version = model.version.encode()

    def open(self, message: bytes, received_unix_micros: int) -> Opened:
        """Decode a message. Raises UndecodableRequest."""
        request = self._vectorizer.open(message)
        return Opened(message, request, self._vectorizer.rows(request), received_unix_micros)

    def score(self, batch: Sequence[Opened]) -> ScoredBatch:
        """Score all calls of the batch; each gets its own answer or its own error."""
        started = time.perf_counter()
        try:
            # A plugin's transformation may raise as a model may.
            vectorized = self._vectorizer.vectorize([opened.request for opened in batch])
            vectorization_us = (time.perf_counter() - started) * _MICROS
            scores, to_tensor_us, inference_us = self._run(vectorized.matrix)
        except Exception as error:
            return self._after_failure(batch, error)
        if not len(scores):
            return ScoredBatch(self._cut(batch, vectorized.rows, vectorized.errors, scores), 0, None)
        started = time.perf_counter()
        answers = self._cut(batch, vectorized.rows, vectorized.errors, scores)
        encode_us = (time.perf_counter() - started) * _MICROS
        timings = Timings(0.0, vectorization_us, to_tensor_us, inference_us, encode_us)
        return ScoredBatch(answers, len(scores), timings)

    def _run(self, matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, float]:
        """The scores of all rows, at most `max_rows` of them in one run of the model; microseconds."""
        if not len(matrix):
            return np.empty((0, 0), np.float32), 0.0, 0.0
        runtime = self._model.runtime
        parts: list[NDArray[np.float32]] = []
        to_tensor = inference = 0.0
        for start in range(0, len(matrix), self._max_rows):
            part = matrix[start : start + self._max_rows]
            begun = time.perf_counter()
            tensor = runtime.to_tensor(part)
            ready = time.perf_counter()
            scores = runtime.run(tensor)
            done = time.perf_counter()
            parts.append(as_scores(scores, len(part)))
            to_tensor += ready - begun
            inference += done - ready
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined, to_tensor * _MICROS, inference * _MICROS

    def _after_failure(self, batch: Sequence[Opened], error: Exception) -> ScoredBatch:
        """A model that fails on a joined batch may fail for one call's rows: run each call alone."""
        if len(batch) == 1:
            log.error("scoring with the model %s failed on a batch", self._model.model_id, exc_info=error)
            return ScoredBatch((Answer(error=ModelFailed()),), 0, None)
        alone = [self.score([opened]) for opened in batch]
        timings = [scored.timings for scored in alone if scored.timings is not None]
        return ScoredBatch(
            tuple(scored.answers[0] for scored in alone),
            sum(scored.rows for scored in alone),
            _sum_of(timings) if timings else None,
        )

    def _cut(
        self,
        batch: Sequence[Opened],
        rows: Sequence[int],
        errors: Any,
        scores: NDArray[np.float32],
    ) -> tuple[Answer, ...]:
        """Cut the scores back into one answer for each call."""
        answers: list[Answer] = []
        start = 0
        for index, opened in enumerate(batch):
            error = errors.get(index)
            if error is not None:
                answers.append(Answer(error=error))
                continue
            stop = start + rows[index]
            answers.append(self._answer(opened, scores[start:stop]))
            start = stop
        return tuple(answers)

    def _answer(self, opened: Opened, scores: NDArray[np.float32]) -> Answer:
        parts = splice.split_request(opened.message)
        record = b""
        if self._logged:
            record = splice.log_record(
                parts,
                scores,
                model_id=self._model_id,
                model_version=self._model_version,
                received_unix_micros=opened.received_unix_micros,
            )
        return Answer(splice.response(parts, scores), record)


def _sum_of(timings: Sequence[Timings]) -> Timings:
    return Timings(
        sum(each.decode_us for each in timings),
        sum(each.vectorization_us for each in timings),
        sum(each.to_tensor_us for each in timings),
        sum(each.inference_us for each in timings),
        sum(each.encode_us for each in timings),
    )
