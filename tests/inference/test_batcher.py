"""Calls that wait at the same moment are joined; each gets its own answer, or its own error."""

import dataclasses

import numpy as np
import pytest
import trio
import trio.testing

from hushar.errors import InvalidRequest, UndecodableRequest
from hushar.inference.batcher import Batcher, BatcherLimits
from hushar.inference.placement import Placement
from hushar.inference.scoring import Scorer
from hushar.models.runtime import Runtime, TensorSpec
from hushar.models.served import ServedModel
from hushar.proto import structs_pb2 as pb


@dataclasses.dataclass(frozen=True)
class Vectorized:
    matrix: np.ndarray
    rows: tuple
    errors: dict


class OneColumn:
    """A vectorizer of its own: one column, the feature `x`; "bad" rows are refused."""

    name = "fake"
    plan = None

    def open(self, message):
        if message == b"\xff":
            raise UndecodableRequest
        return pb.InferenceRequest.FromString(message)

    def rows(self, request):
        return len(request.inputs)

    def vectorize(self, requests):
        errors, rows, matrix = {}, [], []
        for index, request in enumerate(requests):
            if any(row.row_id == "bad" for row in request.inputs):
                errors[index] = InvalidRequest("feature 'x' of row 'bad' (0): no")
                rows.append(0)
                continue
            rows.append(len(request.inputs))
            matrix += [[row.features["x"].float_value] for row in request.inputs]
        return Vectorized(np.array(matrix, np.float32).reshape(-1, 1), tuple(rows), errors)


class Doubling(Runtime):
    """Scores are twice the input; refuses a batch with a negative value in it."""

    name, version, width, details = "doubling", "1", 1, {}
    inputs = outputs = (TensorSpec("x", "float32", (None, 1)),)
    output = outputs[0]

    def __init__(self):
        self.batches = []
        self.meanwhile = lambda: None

    def to_tensor(self, matrix):
        return matrix

    def run(self, tensor):
        self.batches.append(len(tensor))
        self.meanwhile()
        if (tensor < 0).any():
            raise RuntimeError("secret of the runtime")
        if (tensor == 13).any():
            return tensor[:-1]
        return tensor * 2


class FakeCall:
    def __init__(self, *values, request_id="q", row_ids=None, message=None):
        ids = row_ids or [str(index) for index in range(len(values))]
        inputs = [
            pb.InputRow(row_id=row_id, features={"x": pb.DataType(float_value=value)})
            for row_id, value in zip(ids, values, strict=True)
        ]
        request = pb.InferenceRequest(request_id=request_id, inputs=inputs)
        self.message = request.SerializeToString() if message is None else message
        self.cancelled = False
        self.response = None
        self.error = None

    def reply(self, message):
        self.response = pb.InferenceResponse.FromString(message)

    @property
    def scores(self):
        return [list(row.scores) for row in self.response.outputs]


class Stage:
    """A batcher on a fake model, with everything that leaves it kept."""

    def __init__(self, *, max_rows=100, max_call_rows=1000, offload="never", log=None, spooled=False):
        self.runtime = Doubling()
        self.metrics = []
        self.logged = []
        model = ServedModel(self.runtime, "model", "version")
        scorer = Scorer(OneColumn(), model, max_rows=max_rows, logged=log is not None)
        self.batcher = Batcher(
            scorer,
            BatcherLimits(max_rows, max_call_rows),
            Placement(offload),
            refuse=self.refuse,
            metrics=self.metrics.append,
            log_outlet=None if log is None else lambda batch: self.logged.append(batch) or log,
            answer_when_spooled=spooled,
        )

    @staticmethod
    def refuse(call, error):
        call.error = error

    async def score(self, *calls):
        """Submit all at the same moment and let the batcher come to rest."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.batcher.run)
            self.batcher.submit(calls)
            while any(call.response is None and call.error is None and not call.cancelled for call in calls):
                await trio.testing.wait_all_tasks_blocked()
                if self.logged and self.logged[-1].spooled:
                    break
            nursery.cancel_scope.cancel()


async def test_calls_of_one_moment_are_one_batch():
    stage = Stage()
    calls = [FakeCall(1.0), FakeCall(2.0, 3.0), FakeCall(4.0)]
    await stage.score(*calls)
    assert stage.runtime.batches == [4]
    assert [call.scores for call in calls] == [[[2.0]], [[4.0], [6.0]], [[8.0]]]


async def test_a_lone_call_does_not_wait_for_another():
    stage = Stage()
    call = FakeCall(1.0)
    await stage.score(call)
    assert call.scores == [[2.0]]


async def test_ids_are_echoed():
    stage = Stage()
    call = FakeCall(1.0, 2.0, request_id="the request", row_ids=["b", "a"])
    await stage.score(call)
    assert call.response.request_id == "the request"
    assert [row.row_id for row in call.response.outputs] == ["b", "a"]


async def test_a_batch_ends_before_max_rows_oldest_calls_first():
    stage = Stage(max_rows=4)
    await stage.score(FakeCall(1.0, 1.0, 1.0), FakeCall(1.0), FakeCall(1.0, 1.0), FakeCall(1.0))
    assert stage.runtime.batches == [4, 3]


async def test_a_call_larger_than_a_matrix_is_run_in_slices():
    stage = Stage(max_rows=4)
    call = FakeCall(*range(10))
    await stage.score(call)
    assert stage.runtime.batches == [4, 4, 2]
    assert call.scores == [[2.0 * value] for value in range(10)]


async def test_a_call_without_rows_gets_an_empty_answer_and_no_run():
    stage = Stage(log=True)
    call = FakeCall(request_id="empty")
    await stage.score(call)
    assert (call.response.request_id, call.scores) == ("empty", [])
    assert stage.runtime.batches == []
    assert len(stage.logged) == 1


async def test_a_bad_row_fails_its_call_and_no_other():
    stage = Stage(log=True)
    good, bad, late = FakeCall(1.0), FakeCall(2.0, 3.0, row_ids=["ok", "bad"]), FakeCall(4.0)
    await stage.score(good, bad, late)
    assert (good.scores, late.scores) == ([[2.0]], [[8.0]])
    assert isinstance(bad.error, InvalidRequest)
    assert [len(batch.records) for batch in stage.logged] == [2]


async def test_an_undecodable_message_fails_alone():
    stage = Stage()
    good, bad = FakeCall(1.0), FakeCall(message=b"\xff")
    await stage.score(bad, good)
    assert isinstance(bad.error, UndecodableRequest)
    assert good.scores == [[2.0]]


async def test_too_many_rows_are_refused_and_the_next_call_is_served():
    stage = Stage(max_call_rows=3)
    many, few = FakeCall(*range(4)), FakeCall(*range(3))
    await stage.score(many, few)
    assert "4 rows, at most 3" in str(many.error)
    assert len(few.scores) == 3


@pytest.mark.parametrize("poison", [-1.0, 13.0], ids=["the model raises", "too few rows come out"])
async def test_a_model_that_fails_on_one_calls_rows_fails_only_that_call(poison, caplog):
    stage = Stage(log=True)
    before, bad, after = FakeCall(1.0), FakeCall(poison), FakeCall(3.0)
    await stage.score(before, bad, after)
    assert (before.scores, after.scores) == ([[2.0]], [[6.0]])
    assert bad.error.kind.name == "INTERNAL"
    assert "secret" not in str(bad.error)
    assert "failed on a batch" in caplog.text
    assert sum(len(batch.records) for batch in stage.logged) == 2


async def test_nothing_is_computed_or_logged_for_a_call_that_was_cancelled_in_the_queue():
    stage = Stage(log=True)
    gone, here = FakeCall(1.0), FakeCall(2.0)
    gone.cancelled = True
    await stage.score(gone, here)
    assert stage.runtime.batches == [1]
    assert gone.response is None
    assert [len(batch.records) for batch in stage.logged] == [1]
    assert [metrics.failed for metrics in stage.metrics] == [("CANCELLED",), ()]


async def test_a_call_that_is_cancelled_while_its_batch_runs_is_neither_answered_nor_logged():
    stage = Stage(log=True)
    gone, here = FakeCall(1.0), FakeCall(2.0)
    stage.runtime.meanwhile = lambda: setattr(gone, "cancelled", True)
    await stage.score(gone, here)
    assert gone.response is None
    assert here.scores == [[4.0]]
    assert [len(batch.records) for batch in stage.logged] == [1]
    assert stage.metrics[0].failed == ("CANCELLED",)
    assert len(stage.metrics[0].answered_us) == 1


@pytest.mark.parametrize("offload", ["always", "never"])
async def test_results_are_the_same_in_the_loop_and_in_a_thread(offload):
    stage = Stage(offload=offload)
    calls = [FakeCall(float(value)) for value in range(5)]
    async with trio.open_nursery() as nursery:
        await nursery.start(stage.batcher.run)
        stage.batcher.submit(calls)
        with trio.fail_after(5):
            while any(call.response is None for call in calls):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert [call.scores for call in calls] == [[[2.0 * value]] for value in range(5)]


async def test_log_records_are_made_of_what_was_answered():
    stage = Stage(log=True)
    await stage.score(FakeCall(1.5, request_id="q", row_ids=["r"]))
    (batch,) = pb.InferenceLogs.FromString(b"".join(stage.logged[0].records)).inferenceLogBatches
    assert (batch.request_id, batch.model_id, batch.model_version) == ("q", "model", "version")
    assert batch.received_unix_micros > 0
    (row,) = batch.inference_log_rows
    assert (row.row_id, row.features["x"].float_value, list(row.scores)) == ("r", 1.5, [3.0])


async def test_with_acknowledge_spooled_the_response_waits_for_the_spool():
    stage = Stage(log=True, spooled=True)
    call = FakeCall(1.0)
    await stage.score(call)
    assert call.response is None
    stage.logged[0].spooled()
    assert call.scores == [[2.0]]


async def test_a_log_that_takes_nothing_does_not_fail_a_call():
    stage = Stage(log=False, spooled=True)
    call = FakeCall(1.0)
    await stage.score(call)
    assert call.scores == [[2.0]]


async def test_each_batch_is_measured_once():
    stage = Stage()
    await stage.score(FakeCall(1.0), FakeCall(2.0, 3.0), FakeCall(4.0, row_ids=["bad"]))
    (metrics,) = stage.metrics
    assert metrics.rows == 3
    assert metrics.failed == ("INVALID_ARGUMENT",)
    assert len(metrics.answered_us) == 2
    assert len(metrics.queue_us) == 3
    assert metrics.timings.vectorization_us > 0
    assert metrics.timings.inference_us > 0
    statistics = stage.batcher.statistics()
    assert (statistics.batches, statistics.rows, statistics.waiting_calls) == (1, 3, 0)
