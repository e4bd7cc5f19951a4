"""One batch: every call gets its own answer or its own error, whatever its neighbours do."""

import dataclasses
import itertools
import threading

import pytest

from hushar.errors import AnswerTooLarge, ErrorKind, InvalidRequest, ModelFailed, UndecodableRequest
from hushar.features.plan import compile_plan
from hushar.features.transformations import BUILTIN
from hushar.features.vectorize import kernel_problem, make_vectorizer
from hushar.inference import scoring
from hushar.inference.scoring import Scorer, Work
from hushar.models.served import ServedModel
from hushar.proto import structs_pb2 as pb
from hushar.records import Timings, VectorizationDocument, each_record

RECEIVED = 1_754_000_000_123_456


@pytest.fixture
def stage(make_stage):
    return make_stage(logged=True)


@pytest.fixture
def work(stage):
    """work(messages…): all that is to be scored; `part`: (reading, slices, rows) of a larger call."""

    def make(*messages, part=None):
        rows = stage.scorer.count(messages)
        made = Work(list(messages), rows, [RECEIVED] * len(rows))
        if part is not None:
            made.reading, made.slices, made.slice_rows = part
        return made

    return make


@pytest.fixture
def begun(stage, message):
    """begun(1.0, 2.0): the reading and the slices of a call with these rows."""

    def begin(*values, **how):
        made = message(*values, **how)
        return stage.scorer.begin(made), stage.scorer.slices(made)

    return begin


def scores_of(response):
    return [list(row.scores) for row in pb.InferenceResponse.FromString(response).outputs]


def record_of(record):
    (batch,) = pb.InferenceLogs.FromString(record).inferenceLogBatches
    return batch


class TestAnswers:
    def test_all_calls_are_one_run_and_each_gets_its_own_rows(self, stage, work, message):
        scored = stage.scorer.score(work(message(1.0), message(2.0, 3.0), message(4.0)))
        assert stage.sizes == [4]
        assert [scores_of(response) for response in scored.responses] == [
            [[1.0, 2.0]],
            [[2.0, 4.0], [3.0, 6.0]],
            [[4.0, 8.0]],
        ]
        assert (scored.rows, scored.errors) == (4, {})

    def test_ids_are_echoed(self, stage, work, message):
        scored = stage.scorer.score(work(message(1.0, 2.0, request_id="R", row_ids=["b", "a"])))
        response = pb.InferenceResponse.FromString(scored.responses[0])
        assert response.request_id == "R"
        assert [row.row_id for row in response.outputs] == ["b", "a"]

    def test_no_rows_are_an_empty_answer_without_a_run(self, stage, work, message):
        scored = stage.scorer.score(work(message(request_id="E")))
        assert pb.InferenceResponse.FromString(scored.responses[0]).request_id == "E"
        assert scores_of(scored.responses[0]) == []
        assert (scored.rows, scored.timings, stage.sizes) == (0, None, [])

    def test_a_call_without_rows_among_others(self, stage, work, message):
        scored = stage.scorer.score(work(message(1.0), message(), message(2.0)))
        assert [scores_of(response) for response in scored.responses] == [[[1.0, 2.0]], [], [[2.0, 4.0]]]

    def test_threads_may_score_at_once(self, stage, work, message):
        answers = {}

        def score(value):
            answers[value] = stage.scorer.score(work(message(value))).responses[0]

        threads = [threading.Thread(target=score, args=(float(value),)) for value in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {value: scores_of(answer)[0][0] for value, answer in answers.items()} == {
            float(value): float(value) for value in range(8)
        }


class TestSlices:
    @staticmethod
    def scores(stage, slices):
        (response,), _ = stage.scorer.finish(slices, RECEIVED)
        return scores_of(response)

    def test_a_slice_shares_its_matrix_with_whole_calls(self, stage, work, message, begun):
        reading, slices = begun(5.0, 6.0)
        scored = stage.scorer.score(work(message(1.0), part=(reading, slices, 2)))
        assert stage.runtime.runs == [[1.0, 5.0, 6.0]]
        assert [scores_of(response) for response in scored.responses] == [[[1.0, 2.0]]]
        assert self.scores(stage, slices) == [[5.0, 10.0], [6.0, 12.0]]
        assert scored.reading is reading

    def test_the_next_slice_goes_on_where_the_last_has_ended(self, stage, work, begun):
        reading, slices = begun(5.0, 6.0, 7.0)
        stage.scorer.score(work(part=(reading, slices, 2)))
        stage.scorer.score(work(part=(reading, slices, 1)))
        assert self.scores(stage, slices) == [[5.0, 10.0], [6.0, 12.0], [7.0, 14.0]]

    def test_an_error_in_a_slice_comes_after_those_of_the_whole_calls(self, stage, work, message, begun):
        reading, slices = begun(5.0, 6.0, row_ids=["a", "bad"])
        bad = message(2.0, row_ids=["bad"])
        scored = stage.scorer.score(work(message(1.0), bad, part=(reading, slices, 2)))
        assert sorted(scored.errors) == [1, 2]
        assert [scores_of(response) for response in scored.responses] == [[[1.0, 2.0]]]

    def test_a_neighbour_that_fails_the_vectorizer_does_not_take_rows_from_it(
        self, stage, work, message, begun, caplog
    ):
        reading, slices = begun(5.0, 6.0, 7.0, 8.0)
        stage.scorer.score(work(part=(reading, slices, 1)))
        ugly = message(1.0, row_ids=["ugly"])
        scored = stage.scorer.score(work(ugly, message(2.0), part=(reading, slices, 2)))
        assert list(scored.errors) == [0]
        stage.scorer.score(work(part=(scored.reading, slices, 1)))
        assert self.scores(stage, slices) == [[5.0, 10.0], [6.0, 12.0], [7.0, 14.0], [8.0, 16.0]]

    def test_a_slice_that_fails_the_model_fails_no_whole_call(self, stage, work, message, begun, caplog):
        reading, slices = begun(-1.0, 6.0)
        scored = stage.scorer.score(work(message(1.0), part=(reading, slices, 2)))
        assert {index: type(error) for index, error in scored.errors.items()} == {1: ModelFailed}
        assert [scores_of(response) for response in scored.responses] == [[[1.0, 2.0]]]

    def test_so_does_one_with_other_widths_than_before(self, stage, work, message, begun, caplog):
        reading, slices = begun(5.0, 6.0)
        stage.scorer.score(work(part=(reading, slices, 1)))
        run = stage.runtime.run
        stage.runtime.run = lambda tensor: run(tensor)[:, :1]
        scored = stage.scorer.score(work(message(1.0), part=(reading, slices, 1)))
        assert {index: type(error) for index, error in scored.errors.items()} == {1: ModelFailed}
        assert [scores_of(response) for response in scored.responses] == [[[1.0]]]
        assert "1 scores a row after 2" in caplog.text

    def test_the_answer_of_all_slices_is_that_of_the_whole_call(self, stage, work, message, begun):
        reading, slices = begun(5.0, 6.0, 7.0)
        for rows in (2, 1):
            stage.scorer.score(work(part=(reading, slices, rows)))
        expected = stage.scorer.score(work(message(5.0, 6.0, 7.0)))
        assert stage.scorer.finish(slices, RECEIVED) == (expected.responses, expected.records)


class TestBadRows:
    def test_one_fails_its_call_and_no_other(self, stage, work, message):
        bad = message(2.0, 3.0, row_ids=["ok", "bad"])
        scored = stage.scorer.score(work(message(1.0), bad, message(4.0)))
        assert [scores_of(response) for response in scored.responses] == [[[1.0, 2.0]], [[4.0, 8.0]]]
        assert len(each_record(scored.records, 2)) == 2
        assert isinstance(scored.errors[1], InvalidRequest)
        assert (scored.rows, stage.sizes) == (2, [2])

    def test_an_undecodable_message_fails_alone(self, stage, work, message):
        scored = stage.scorer.score(Work([b"\x12\xff", message(1.0)], [0, 1], [RECEIVED] * 2))
        assert isinstance(scored.errors[0], UndecodableRequest)
        assert scores_of(scored.responses[0]) == [[1.0, 2.0]]

    def test_if_all_are_bad_the_model_does_not_run(self, stage, work, message):
        scored = stage.scorer.score(work(*[message(1.0, row_ids=["bad"])] * 2))
        assert [type(error) for error in scored.errors.values()] == [InvalidRequest] * 2
        assert (scored.rows, scored.timings, stage.sizes) == (0, None, [])


class TestCountedFeatures:
    """What is counted of them is the vectorizer's business; here it is that no row is counted twice."""

    def test_every_row_once(self, stage, work, message, begun):
        stage.scorer.score(work(message(1.0), message(2.0, 3.0)))
        stage.scorer.score(work(part=(*begun(4.0, 5.0), 2)))
        assert stage.vectorizer.counted == [3, 2]
        assert stage.scorer.feature_counts() == {"x": (5, 0, 0)}

    def test_not_again_where_the_model_fails(self, stage, work, message, caplog):
        stage.scorer.score(work(message(1.0), message(-1.0), message(3.0)))
        stage.scorer.score(work(message(-1.0)))
        assert stage.vectorizer.counted == [3, 1]

    def test_nor_a_slice_or_what_others_no_longer_wait_for(self, stage, work, message, begun, call, caplog):
        made = work(message(-1.0), message(2.0), part=(*begun(3.0, 4.0), 2))
        made.calls = [call(-1.0), call(2.0), call(3.0, 4.0)]
        made.calls[1].over = True
        stage.scorer.score(made)
        assert stage.vectorizer.counted == [4]

    def test_where_the_vectorizer_itself_fails_the_halves_are(self, stage, work, message, caplog):
        stage.scorer.score(work(message(1.0), message(2.0, row_ids=["ugly"]), message(3.0)))
        assert sorted(stage.vectorizer.counted) == [1, 1]

    def test_what_nobody_sent_never(self, stage):
        stage.batcher.rehearse()
        assert stage.runtime.runs
        assert stage.vectorizer.counted == []


class TestFailures:
    @pytest.mark.parametrize("poison", [-1.0, 13.0, 99.0], ids=["raises", "forgets a row", "no floats"])
    def test_a_model_that_fails_for_one_call_fails_only_that(self, stage, work, message, poison, caplog):
        scored = stage.scorer.score(work(message(1.0), message(poison), message(3.0, 4.0)))
        assert [scores_of(response) for response in scored.responses] == [
            [[1.0, 2.0]],
            [[3.0, 6.0], [4.0, 8.0]],
        ]
        assert isinstance(scored.errors[1], ModelFailed)
        assert stage.sizes == [4, 1, 3, 1, 2]
        assert (scored.rows, len(each_record(scored.records, 2))) == (3, 2)
        assert [record.getMessage() for record in caplog.records] == [
            "scoring with the model model failed on a batch"
        ]

    def test_of_many_calls_only_the_halves_with_the_bad_one_run_again(self, stage, work, message, caplog):
        values = [100.0 + value for value in range(64)]
        values[41] = -1.0
        scored = stage.scorer.score(work(*map(message, values)))
        assert {index: type(error) for index, error in scored.errors.items()} == {41: ModelFailed}
        assert [scores_of(response)[0][0] for response in scored.responses] == values[:41] + values[42:]
        assert len(each_record(scored.records, 63)) == 63
        assert (scored.rows, len(stage.sizes)) == (63, 13)

    @pytest.mark.parametrize("past", ["cancelled", "its deadline"])
    def test_between_the_runs_those_that_nobody_waits_for_are_left_out(
        self, stage, work, message, call, caplog, past
    ):
        now = [0.0]
        calls = [call(-1.0), call(2.0), call(3.0, deadline=5.0), call(4.0)]
        made = work(*[each.message for each in calls])
        made.calls, made.now = calls, lambda: now[0]

        def meanwhile():
            if past == "cancelled":
                calls[2].over = True
            else:
                now[0] = 5.0

        stage.runtime.meanwhile = meanwhile
        scored = stage.scorer.score(made)
        assert stage.runtime.runs == [[-1.0, 2.0, 3.0, 4.0], [-1.0, 2.0], [-1.0], [2.0], [4.0]]
        assert sorted(scored.errors) == [0, 2]
        assert [scores_of(response) for response in scored.responses] == [[[2.0, 4.0]], [[4.0, 8.0]]]

    def test_so_is_a_slice(self, stage, work, message, call, begun, caplog):
        bad, large = call(-1.0), call(5.0, 6.0)
        made = work(bad.message, part=(*begun(5.0, 6.0), 2))
        made.calls = [bad, large]
        stage.runtime.meanwhile = lambda: setattr(large, "over", True)
        scored = stage.scorer.score(made)
        assert stage.sizes == [3, 1]
        assert sorted(scored.errors) == [0, 1]

    @pytest.mark.parametrize("kind", ["fake", "reference", "cython"])
    def test_neighbours_that_fail_do_not_make_a_large_call_be_read_from_its_start(
        self, stage, work, message, caplog, kind
    ):
        if kind != "fake":
            if kernel_problem(kind):
                pytest.skip("needs tool: a C compiler and Python's headers when hushar is installed")
            document = VectorizationDocument("x", {"x": {"type": "identity", "default_val": [0.0]}}, ("x",))
            vectorizer = make_vectorizer(compile_plan(document, BUILTIN), kind)
            stage.scorer = Scorer(vectorizer, ServedModel(stage.runtime, "model", "v1"), logged=True)
        large = message(*range(10))
        reading, slices = stage.scorer.begin(large), stage.scorer.slices(large)
        again = []
        stage.scorer.begin = again.append
        for _ in range(5):
            scored = stage.scorer.score(work(message(-1.0), message(7.0), part=(reading, slices, 2)))
            reading = scored.reading
            assert list(scored.errors) == [0]
        assert again == []
        assert sorted(stage.runtime.runs[:5]) == [
            [-1.0],
            [-1.0, 7.0],
            [-1.0, 7.0, 0.0, 1.0],
            [0.0, 1.0],
            [7.0],
        ]
        (response,), _ = stage.scorer.finish(slices, RECEIVED)
        assert [scores[0] for scores in scores_of(response)] == [float(value) for value in range(10)]

    def test_the_client_learns_nothing_and_the_log_everything(self, stage, work, message, caplog):
        scored = stage.scorer.score(work(message(-1.0)))
        assert (scored.responses, scored.records) == ([], [])
        assert "secret" not in str(scored.errors[0])
        assert "secret of the runtime" in caplog.text
        assert "Traceback" in caplog.text

    def test_a_vectorizer_that_fails_is_as_a_model_that_does(self, stage, work, message, caplog):
        scored = stage.scorer.score(work(message(1.0), message(2.0, row_ids=["ugly"])))
        assert scores_of(scored.responses[0]) == [[1.0, 2.0]]
        assert isinstance(scored.errors[1], ModelFailed)
        assert "secret of the vectorizer" in caplog.text

    def test_an_answer_that_cannot_be_made_fails_only_its_call(self, stage, work, message, begun, caplog):
        odd, (reading, slices) = message(7.0), begun(5.0)
        splice = stage.scorer._splice

        def picky(messages, *rest):
            if odd in messages:
                raise ValueError("odd")
            return splice.whole(messages, *rest)

        stage.scorer._splice = dataclasses.replace(splice, whole=picky)
        scored = stage.scorer.score(work(message(1.0), odd, message(2.0), part=(reading, slices, 1)))
        assert {index: type(error) for index, error in scored.errors.items()} == {1: ModelFailed}
        assert [scores_of(response) for response in scored.responses] == [[[1.0, 2.0]], [[2.0, 4.0]]]
        (response,), _ = stage.scorer.finish(slices, RECEIVED)
        assert scores_of(response) == [[5.0, 10.0]]

    def test_if_all_fail_nothing_is_measured(self, stage, work, message, caplog):
        scored = stage.scorer.score(work(message(-1.0), message(-2.0)))
        assert [type(error) for error in scored.errors.values()] == [ModelFailed] * 2
        assert (scored.rows, scored.timings) == (0, None)

    def test_a_model_that_fails_for_every_call_does_not_fill_the_log(
        self, stage, work, message, caplog, monkeypatch
    ):
        now = [100.0]
        monkeypatch.setattr(scoring.time, "monotonic", lambda: now[0])
        for _ in range(3):
            stage.scorer.score(work(message(-1.0)))
        now[0] += scoring.COMPLAINT_SECONDS
        stage.scorer.score(work(message(-1.0)))
        assert [record.getMessage() for record in caplog.records] == [
            "scoring with the model model failed on a batch",
            "scoring with the model model failed on a batch (3 times)",
        ]


class TestLimit:
    """An answer that the transport would not send is an error, and in no log."""

    @pytest.fixture
    def limited(self, stage, message):
        """limited(bytes below the answer of a row): a scorer that allows no more."""

        def make(less):
            (response,) = stage.scorer.score(Work([message(1.0)], [1], [RECEIVED])).responses
            return Scorer(
                stage.vectorizer,
                ServedModel(stage.runtime, "model", "v1"),
                logged=True,
                max_answer_bytes=len(response) - less,
            )

        return make

    def test_a_whole_call_alone(self, limited, work, message):
        scored = limited(1).score(work(message(1.0)))
        assert (scored.responses, scored.records) == ([], [])
        assert scored.errors[0].kind is ErrorKind.RESOURCE_EXHAUSTED
        assert scored.rows == 1

    def test_one_that_just_fits_is_answered(self, limited, work, message):
        scored = limited(0).score(work(message(1.0)))
        assert (len(scored.responses), scored.errors) == (1, {})

    def test_among_others_it_fails_alone(self, limited, work, message):
        bad, big = message(0.0, row_ids=["bad"]), message(2.0, 3.0)
        scored = limited(0).score(work(message(1.0), bad, big, message(4.0)))
        assert [type(scored.errors[index]) for index in sorted(scored.errors)] == [
            InvalidRequest,
            AnswerTooLarge,
        ]
        assert sorted(scored.errors) == [1, 2]
        assert [scores_of(each) for each in scored.responses] == [[[1.0, 2.0]], [[4.0, 8.0]]]
        assert [row.scores[0] for each in scored.records for row in record_of(each).inference_log_rows] == [
            1.0,
            4.0,
        ]

    def test_a_slice_as_soon_as_the_answer_would_be_too_large(self, limited, work, message):
        scorer, large = limited(0), message(1.0, 2.0, 3.0)
        reading, slices = scorer.begin(large), scorer.slices(large)
        assert scorer.score(work(part=(reading, slices, 1))).errors == {}
        scored = scorer.score(work(message(9.0), part=(reading, slices, 1)))
        assert {index: type(error) for index, error in scored.errors.items()} == {1: AnswerTooLarge}
        assert len(scored.responses) == 1

    def test_what_stands_behind_the_last_row_counts_too(self, limited, work, message):
        scorer = limited(0)
        large = message(1.0, request_id="") + b"\x0a\x02" + b"qq"
        reading, slices = scorer.begin(large), scorer.slices(large)
        assert scorer.score(work(part=(reading, slices, 1))).errors == {}
        with pytest.raises(AnswerTooLarge):
            scorer.finish(slices, RECEIVED)

    def test_of_two_request_ids_the_last_counts(self, limited, work, message):
        scorer = limited(0)
        large = message(1.0, request_id="q" * 100) + b"\x0a\x01q"
        reading, slices = scorer.begin(large), scorer.slices(large)
        assert scorer.score(work(part=(reading, slices, 1))).errors == {}
        (response,), _ = scorer.finish(slices, RECEIVED)
        assert pb.InferenceResponse.FromString(response).request_id == "q"

    def test_what_is_held_of_one_is_known(self, stage, work, message):
        large = message(1.0, 2.0)
        reading, slices = stage.scorer.begin(large), stage.scorer.slices(large)
        stage.scorer.score(work(part=(reading, slices, 2)))
        (response,), (record,) = stage.scorer.finish(slices, RECEIVED)
        outputs = len(response) - len(b"\x0a\x01q")
        rows = sum(2 + row.ByteSize() for row in record_of(record).inference_log_rows)
        assert slices.size == outputs + rows


class TestTimings:
    def test_each_stage_is_measured(self, stage, work, message):
        timings = stage.scorer.score(work(message(1.0))).timings
        assert timings.decode_us == 0
        assert min(timings[1:]) > 0

    def test_what_the_vectorizer_needs_for_decoding_is_no_part_of_vectorization(
        self, stage, work, message, monkeypatch
    ):
        ticks = itertools.count()
        monkeypatch.setattr(scoring.time, "perf_counter", lambda: float(next(ticks)))
        vectorize = stage.vectorizer.vectorize

        def decoding(parts, rows, counted):
            made = vectorize(parts, rows)
            return type(made)(made.matrix, made.rows, made.errors, 4e5)

        stage.vectorizer.vectorize = decoding
        assert stage.scorer.score(work(message(1.0))).timings == Timings(4e5, 6e5, 1e6, 1e6, 1e6)

    def test_of_calls_that_had_to_run_alone_there_is_the_sum(self, stage, work, message, caplog, monkeypatch):
        ticks = itertools.count()
        monkeypatch.setattr(scoring.time, "perf_counter", lambda: float(next(ticks)))
        together = stage.scorer.score(work(message(1.0), message(-1.0), message(2.0))).timings
        assert together == Timings(0, 2e6, 2e6, 2e6, 2e6)


class TestLogRecords:
    def test_what_was_answered_is_a_record(self, stage, work, message):
        scored = stage.scorer.score(work(message(1.5, request_id="R", row_ids=["r"])))
        batch = record_of(scored.records[0])
        assert (batch.request_id, batch.model_id, batch.model_version) == ("R", "model", "v1")
        assert batch.received_unix_micros == RECEIVED
        (row,) = batch.inference_log_rows
        assert (row.row_id, row.features["x"].float_value, list(row.scores)) == ("r", 1.5, [1.5, 3.0])

    def test_each_call_has_its_own(self, stage, work, message):
        scored = stage.scorer.score(work(message(1.0, request_id="a"), message(2.0, request_id="b")))
        assert [record_of(record).request_id for record in each_record(scored.records, 2)] == ["a", "b"]

    def test_a_call_without_rows_has_one_as_well(self, stage, work, message):
        scored = stage.scorer.score(work(message(request_id="E")))
        assert record_of(scored.records[0]).request_id == "E"

    def test_where_nothing_is_logged_none_is_made(self, make_stage, work, message):
        scored = make_stage(logged=False).scorer.score(work(message(1.0)))
        assert scored.records == []
        assert scores_of(scored.responses[0]) == [[1.0, 2.0]]
