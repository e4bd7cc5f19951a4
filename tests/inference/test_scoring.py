"""One batch: every call gets its own answer or its own error, whatever its neighbours do."""

import dataclasses
import itertools
import threading

import numpy as np
import pytest

from hushar.errors import InvalidRequest, ModelFailed, UndecodableRequest
from hushar.inference import scoring
from hushar.inference.scoring import Answer, Scorer
from hushar.models.runtime import Runtime, TensorSpec
from hushar.models.served import ServedModel
from hushar.proto import structs_pb2 as pb
from hushar.records import Timings

RECEIVED = 1_754_000_000_123_456


@dataclasses.dataclass(frozen=True)
class Vectorized:
    matrix: np.ndarray
    rows: tuple
    errors: dict


class OneColumn:
    """A vectorizer of its own: one column, the feature `x`. "bad" rows are refused, "ugly" ones fail it."""

    name, plan = "fake", None

    def open(self, message):
        if message == b"\xff":
            raise UndecodableRequest
        return pb.InferenceRequest.FromString(message)

    def rows(self, request):
        return len(request.inputs)

    def vectorize(self, requests):
        errors, rows, matrix = {}, [], []
        for index, request in enumerate(requests):
            ids = [row.row_id for row in request.inputs]
            if "ugly" in ids:
                raise ZeroDivisionError("secret of the vectorizer")
            if "bad" in ids:
                errors[index] = InvalidRequest("feature 'x' of row 'bad' (0): no")
                rows.append(0)
                continue
            rows.append(len(request.inputs))
            matrix += [[row.features["x"].float_value] for row in request.inputs]
        return Vectorized(np.array(matrix, np.float32).reshape(-1, 1), tuple(rows), errors)


class Doubling(Runtime):
    """Scores are x and 2 x; -1 makes it raise, 13 forget a row, 99 answer with integers."""

    name, version, width, details = "doubling", "1", 1, {}
    inputs = outputs = (TensorSpec("x", "float32", (None, 1)),)
    output = outputs[0]

    def __init__(self):
        self.runs = []

    def to_tensor(self, matrix):
        assert matrix.dtype == np.float32
        return ("tensor", matrix)

    def run(self, tensor):
        kind, matrix = tensor
        assert kind == "tensor"
        self.runs.append(len(matrix))
        if (matrix < 0).any():
            raise RuntimeError("secret of the runtime")
        scores = np.hstack([matrix, matrix * 2])
        if (matrix == 13).any():
            return scores[:-1]
        return scores.astype(np.int64) if (matrix == 99).any() else scores


class Stage:
    def __init__(self, *, max_rows=100, logged=True):
        self.runtime = Doubling()
        model = ServedModel(self.runtime, "model", "v1")
        self.scorer = Scorer(OneColumn(), model, max_rows=max_rows, logged=logged)

    def open(self, *values, request_id="q", row_ids=None):
        ids = row_ids or [str(index) for index in range(len(values))]
        rows = [
            pb.InputRow(row_id=row_id, features={"x": pb.DataType(float_value=value)})
            for row_id, value in zip(ids, values, strict=True)
        ]
        request = pb.InferenceRequest(request_id=request_id, inputs=rows)
        return self.scorer.open(request.SerializeToString(), RECEIVED)


@pytest.fixture
def stage():
    return Stage()


def scores_of(answer):
    assert answer.error is None
    return [list(row.scores) for row in pb.InferenceResponse.FromString(answer.response).outputs]


def record_of(answer):
    (batch,) = pb.InferenceLogs.FromString(answer.log_record).inferenceLogBatches
    return batch


class TestOpen:
    def test_a_message_is_decoded_and_its_rows_counted(self, stage):
        opened = stage.open(1.0, 2.0)
        assert opened.rows == 2
        assert opened.received_unix_micros == RECEIVED
        assert pb.InferenceRequest.FromString(opened.message) == opened.request

    def test_a_message_that_is_none_is_told(self, stage):
        with pytest.raises(UndecodableRequest):
            stage.scorer.open(b"\xff", RECEIVED)


class TestAnswers:
    def test_all_calls_are_one_run_and_each_gets_its_own_rows(self, stage):
        scored = stage.scorer.score([stage.open(1.0), stage.open(2.0, 3.0), stage.open(4.0)])
        assert stage.runtime.runs == [4]
        assert [scores_of(answer) for answer in scored.answers] == [
            [[1.0, 2.0]],
            [[2.0, 4.0], [3.0, 6.0]],
            [[4.0, 8.0]],
        ]
        assert scored.rows == 4

    def test_ids_are_echoed(self, stage):
        (answer,) = stage.scorer.score([stage.open(1.0, 2.0, request_id="R", row_ids=["b", "a"])]).answers
        response = pb.InferenceResponse.FromString(answer.response)
        assert response.request_id == "R"
        assert [row.row_id for row in response.outputs] == ["b", "a"]

    def test_a_call_with_more_rows_than_a_matrix_is_run_in_slices(self):
        stage = Stage(max_rows=4)
        (answer,) = stage.scorer.score([stage.open(*range(10))]).answers
        assert stage.runtime.runs == [4, 4, 2]
        assert scores_of(answer) == [[float(x), 2.0 * x] for x in range(10)]

    def test_a_matrix_of_just_the_limit_is_one_run(self):
        stage = Stage(max_rows=4)
        stage.scorer.score([stage.open(*range(4))])
        assert stage.runtime.runs == [4]

    def test_no_rows_are_an_empty_answer_without_a_run(self, stage):
        scored = stage.scorer.score([stage.open(request_id="E")])
        assert pb.InferenceResponse.FromString(scored.answers[0].response).request_id == "E"
        assert scores_of(scored.answers[0]) == []
        assert (scored.rows, scored.timings, stage.runtime.runs) == (0, None, [])

    def test_a_call_without_rows_among_others(self, stage):
        scored = stage.scorer.score([stage.open(1.0), stage.open(), stage.open(2.0)])
        assert [scores_of(answer) for answer in scored.answers] == [[[1.0, 2.0]], [], [[2.0, 4.0]]]

    def test_threads_may_score_at_once(self, stage):
        answers = {}

        def score(value):
            answers[value] = stage.scorer.score([stage.open(value)]).answers[0]

        threads = [threading.Thread(target=score, args=(float(value),)) for value in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {value: scores_of(answer)[0][0] for value, answer in answers.items()} == {
            float(value): float(value) for value in range(8)
        }


class TestBadRows:
    def test_one_fails_its_call_and_no_other(self, stage):
        bad = stage.open(2.0, 3.0, row_ids=["ok", "bad"])
        scored = stage.scorer.score([stage.open(1.0), bad, stage.open(4.0)])
        first, refused, last = scored.answers
        assert scores_of(first) == [[1.0, 2.0]]
        assert scores_of(last) == [[4.0, 8.0]]
        assert isinstance(refused.error, InvalidRequest)
        assert (refused.response, refused.log_record) == (b"", b"")
        assert (scored.rows, stage.runtime.runs) == (2, [2])

    def test_if_all_are_bad_the_model_does_not_run(self, stage):
        scored = stage.scorer.score([stage.open(1.0, row_ids=["bad"])] * 2)
        assert all(isinstance(answer.error, InvalidRequest) for answer in scored.answers)
        assert (scored.rows, scored.timings, stage.runtime.runs) == (0, None, [])


class TestFailures:
    @pytest.mark.parametrize("poison", [-1.0, 13.0, 99.0], ids=["raises", "forgets a row", "no floats"])
    def test_a_model_that_fails_for_one_call_fails_only_that(self, stage, poison, caplog):
        scored = stage.scorer.score([stage.open(1.0), stage.open(poison), stage.open(3.0, 4.0)])
        first, failed, last = scored.answers
        assert scores_of(first) == [[1.0, 2.0]]
        assert scores_of(last) == [[3.0, 6.0], [4.0, 8.0]]
        assert isinstance(failed.error, ModelFailed)
        assert stage.runtime.runs == [4, 1, 1, 2]
        assert scored.rows == 3
        assert [record.getMessage() for record in caplog.records] == [
            "scoring with the model model failed on a batch"
        ]

    def test_the_client_learns_nothing_and_the_log_everything(self, stage, caplog):
        (answer,) = stage.scorer.score([stage.open(-1.0)]).answers
        assert answer == Answer(error=answer.error)
        assert "secret" not in str(answer.error)
        assert "secret of the runtime" in caplog.text
        assert "Traceback" in caplog.text

    def test_a_vectorizer_that_fails_is_as_a_model_that_does(self, stage, caplog):
        scored = stage.scorer.score([stage.open(1.0), stage.open(2.0, row_ids=["ugly"])])
        assert scores_of(scored.answers[0]) == [[1.0, 2.0]]
        assert isinstance(scored.answers[1].error, ModelFailed)
        assert "secret of the vectorizer" in caplog.text

    def test_a_slice_that_fails_fails_its_whole_call(self, caplog):
        stage = Stage(max_rows=2)
        scored = stage.scorer.score([stage.open(1.0, 2.0, 3.0, -1.0)])
        assert isinstance(scored.answers[0].error, ModelFailed)
        assert (scored.rows, scored.timings) == (0, None)
        assert stage.runtime.runs == [2, 2]

    def test_if_all_fail_nothing_is_measured(self, stage, caplog):
        scored = stage.scorer.score([stage.open(-1.0), stage.open(-2.0)])
        assert all(isinstance(answer.error, ModelFailed) for answer in scored.answers)
        assert (scored.rows, scored.timings) == (0, None)


class TestTimings:
    def test_each_stage_is_measured_but_the_decoding_which_is_over(self, stage):
        timings = stage.scorer.score([stage.open(1.0)]).timings
        assert timings.decode_us == 0
        for stage_us in (
            timings.vectorization_us,
            timings.to_tensor_us,
            timings.inference_us,
            timings.encode_us,
        ):
            assert stage_us > 0

    def test_of_calls_that_had_to_run_alone_there_is_the_sum(self, stage, caplog, monkeypatch):
        ticks = itertools.count()
        monkeypatch.setattr(scoring.time, "perf_counter", lambda: float(next(ticks)))
        alone = stage.scorer.score([stage.open(1.0)]).timings
        together = stage.scorer.score([stage.open(1.0), stage.open(-1.0), stage.open(2.0)]).timings
        assert alone == Timings(0, 1e6, 1e6, 1e6, 1e6)
        assert together == Timings(0, 2e6, 2e6, 2e6, 2e6)


class TestLogRecords:
    def test_what_was_answered_is_a_record(self, stage):
        (answer,) = stage.scorer.score([stage.open(1.5, request_id="R", row_ids=["r"])]).answers
        batch = record_of(answer)
        assert (batch.request_id, batch.model_id, batch.model_version) == ("R", "model", "v1")
        assert batch.received_unix_micros == RECEIVED
        (row,) = batch.inference_log_rows
        assert (row.row_id, row.features["x"].float_value, list(row.scores)) == ("r", 1.5, [1.5, 3.0])

    def test_each_call_has_its_own(self, stage):
        scored = stage.scorer.score([stage.open(1.0, request_id="a"), stage.open(2.0, request_id="b")])
        assert [record_of(answer).request_id for answer in scored.answers] == ["a", "b"]

    def test_a_call_without_rows_has_one_as_well(self, stage):
        (answer,) = stage.scorer.score([stage.open(request_id="E")]).answers
        assert record_of(answer).request_id == "E"

    def test_where_nothing_is_logged_none_is_made(self):
        stage = Stage(logged=False)
        (answer,) = stage.scorer.score([stage.open(1.0)]).answers
        assert answer.log_record == b""
        assert scores_of(answer) == [[1.0, 2.0]]
