"""Responses and log records are byte for byte what protobuf makes of the same content."""

import numpy as np
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hushar.inference import splice
from hushar.proto import structs_pb2 as pb

RECEIVED = 1_700_000_000_000_000

texts = st.text(max_size=200)
values = st.one_of(
    st.builds(lambda v: pb.DataType(float_value=v), st.floats(width=32)),
    st.builds(lambda v: pb.DataType(double_value=v), st.floats()),
    st.builds(lambda v: pb.DataType(long_value=v), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda v: pb.DataType(string_value=v), texts),
    st.builds(lambda v: pb.DataType(string_array=pb.StringArray(values=v)), st.lists(texts, max_size=3)),
    st.builds(
        lambda v: pb.DataType(float_array=pb.FloatArray(values=v)), st.lists(st.floats(width=32), max_size=40)
    ),
)
rows = st.builds(
    lambda row_id, features: pb.InputRow(row_id=row_id, features=features),
    texts,
    st.dictionaries(texts, values, max_size=4),
)
EITHER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

requests = st.builds(
    lambda request_id, inputs: pb.InferenceRequest(request_id=request_id, inputs=inputs),
    texts,
    st.lists(rows, max_size=4),
)


def scores_for(request, columns, seed=7):
    random = np.random.default_rng(seed)
    return random.standard_normal((len(request.inputs), columns)).astype(np.float32)


@pytest.fixture(params=["readable", "compiled"], scope="module")
def implementation(request):
    """Either implementation."""
    if request.param == "readable":
        return splice.READABLE
    if splice._splice is None:
        pytest.skip(
            "needs tool: a C compiler when hushar is installed (pip install --force-reinstall hushar)"
        )
    return splice.choose("cython")


@pytest.fixture(scope="module")
def spliced(implementation):
    """`spliced` of either implementation."""
    return implementation.whole


def logged(count, received=RECEIVED):
    return splice.Logged(b"m", b"v", [received] * count)


@pytest.fixture
def response(spliced):
    """response(message, scores): of one call."""

    def make(message, scores):
        ((made,), records) = spliced([message], [len(scores)], scores, None)
        assert records == []
        return made

    return make


@pytest.fixture
def log_record(spliced):
    """log_record(message, scores): of one call."""

    def make(message, scores, received=RECEIVED):
        _, (record,) = spliced([message], [len(scores)], scores, logged(1, received))
        return record

    return make


def serialized(features):
    return {name: value.SerializeToString() for name, value in features.items()}


def field(number, wire_type, payload):
    return _VarintBytes(number << 3 | wire_type) + payload


def text_field(number, payload):
    return field(number, 2, _VarintBytes(len(payload)) + payload)


@EITHER
@given(request=requests, columns=st.integers(0, 40))
def test_a_response_is_what_protobuf_serializes(response, request, columns):
    scores = scores_for(request, columns)
    expected = pb.InferenceResponse(
        request_id=request.request_id,
        outputs=[
            pb.OutputRow(row_id=row.row_id, scores=row_scores)
            for row, row_scores in zip(request.inputs, scores, strict=True)
        ],
    )
    assert response(request.SerializeToString(), scores) == expected.SerializeToString()


@EITHER
@given(request=requests, columns=st.integers(0, 40))
def test_a_log_record_holds_the_rows_and_the_scores(log_record, request, columns):
    scores = scores_for(request, columns)
    logs = pb.InferenceLogs.FromString(log_record(request.SerializeToString(), scores))
    (batch,) = logs.inferenceLogBatches
    assert (batch.request_id, batch.model_id, batch.model_version) == (request.request_id, "m", "v")
    assert batch.received_unix_micros == 1_700_000_000_000_000
    assert len(batch.inference_log_rows) == len(request.inputs)
    for logged, row, row_scores in zip(batch.inference_log_rows, request.inputs, scores, strict=True):
        assert logged.row_id == row.row_id
        assert np.array_equal(np.array(logged.scores, np.float32), row_scores)
        assert serialized(logged.features) == serialized(row.features)


@EITHER
@given(first=requests, second=requests)
def test_records_laid_end_to_end_are_one_log_file(spliced, first, second):
    scores = np.concatenate([scores_for(first, 2), scores_for(second, 2)])
    messages = [each.SerializeToString() for each in (first, second)]
    _, records = spliced(messages, [len(first.inputs), len(second.inputs)], scores, logged(2))
    logs = pb.InferenceLogs.FromString(b"".join(records))
    assert [batch.request_id for batch in logs.inferenceLogBatches] == [first.request_id, second.request_id]


def test_a_row_is_copied_byte_for_byte_unknown_fields_included(log_record):
    row = (
        text_field(2, text_field(1, b"b") + text_field(2, field(2, 5, b"\0\0\x80\x3f")))
        + field(9, 0, b"\x96\x01")
        + field(10, 1, b"12345678")
        + field(11, 3, b"")
        + field(1, 0, b"\x05")
        + field(11, 4, b"")
        + text_field(1, b"row")
        + field(12, 5, b"1234")
    )
    record = log_record(text_field(2, row), np.ones((1, 1), np.float32))
    assert row + text_field(3, b"\0\0\x80\x3f") in record


@pytest.mark.parametrize(
    "trap",
    [
        text_field(3, b"\0\0\x80\x3f"),
        field(3, 5, b"\0\0\x80\x3f"),
        field(3, 0, b"\x07"),
        field(3, 3, b"") + text_field(3, b"inner") + field(3, 4, b""),
    ],
    ids=["packed", "fixed32", "varint", "group"],
)
def test_a_field_3_of_an_input_row_does_not_become_scores(log_record, trap):
    before, after = text_field(1, b"row"), field(9, 0, b"\x01")
    record = log_record(text_field(2, before + trap + after + trap), np.full((1, 1), 2, np.float32))
    (batch,) = pb.InferenceLogs.FromString(record).inferenceLogBatches
    assert list(batch.inference_log_rows[0].scores) == [2.0]
    assert before + after + text_field(3, b"\0\0\0\x40") in record


def test_the_last_id_wins_as_in_protobuf(response):
    message = text_field(1, b"first") + text_field(2, text_field(1, b"a") + text_field(1, b"b"))
    message += text_field(1, b"last")
    answer = pb.InferenceResponse.FromString(response(message, np.ones((1, 1), np.float32)))
    assert (answer.request_id, [row.row_id for row in answer.outputs]) == ("last", ["b"])


def test_a_known_number_with_another_wire_type_is_an_unknown_field(response, log_record):
    message = field(1, 0, b"\x05") + field(2, 5, b"1234") + text_field(2, field(1, 1, b"12345678"))
    scores = np.ones((1, 1), np.float32)
    answer = pb.InferenceResponse.FromString(response(message, scores))
    assert (answer.request_id, [row.row_id for row in answer.outputs]) == ("", [""])
    assert field(1, 1, b"12345678") + text_field(3, scores.tobytes()) in log_record(message, scores)


def test_tags_and_lengths_of_more_bytes_than_they_need_are_understood(response, log_record):
    row = b"\x8a\x80\x00" + b"\x81\x00" + b"r" + b"\x9a\x00" + b"\x81\x80\x00" + b"!"
    message = b"\x92\x00" + _VarintBytes(len(row)) + row
    scores = np.ones((1, 1), np.float32)
    (output,) = pb.InferenceResponse.FromString(response(message, scores)).outputs
    assert output.row_id == "r"
    (batch,) = pb.InferenceLogs.FromString(log_record(message, scores)).inferenceLogBatches
    assert [list(row.scores) for row in batch.inference_log_rows] == [[1.0]]


def test_the_bits_of_a_nan_are_kept(response):
    strange = np.array([[0x7FC12345]], np.uint32).view(np.float32)
    assert response(text_field(2, text_field(1, b"r")), strange).endswith(b"\x45\x23\xc1\x7f")


def test_unknown_fields_of_the_request_are_not_answered(response):
    message = text_field(7, b"secret") + text_field(2, text_field(1, b"r") + text_field(8, b"secret"))
    assert b"secret" not in response(message, np.ones((1, 1), np.float32))


@pytest.mark.parametrize("received", [0, 1, 2**63 - 1, -1])
def test_any_time_of_arrival_is_an_int64(log_record, received):
    record = log_record(b"", np.empty((0, 3), np.float32), received)
    (batch,) = pb.InferenceLogs.FromString(record).inferenceLogBatches
    assert batch.received_unix_micros == received
    assert record == pb.InferenceLogs(inferenceLogBatches=[batch]).SerializeToString()


def test_each_call_of_a_batch_gets_its_own_rows(spliced):
    requests = [
        pb.InferenceRequest(request_id=str(size), inputs=[pb.InputRow(row_id=str(i)) for i in range(size)])
        for size in (2, 0, 3, 1)
    ]
    scores = np.arange(12, dtype=np.float32).reshape(6, 2)
    log = splice.Logged(b"m", b"v", [1, 2, 3, 4])
    messages = [each.SerializeToString() for each in requests]
    responses, records = spliced(messages, [2, 0, 3, 1], scores, log)
    answers = [pb.InferenceResponse.FromString(each) for each in responses]
    assert [answer.request_id for answer in answers] == ["2", "0", "3", "1"]
    assert [row.scores[0] for answer in answers for row in answer.outputs] == [0, 2, 4, 6, 8, 10]
    batches = pb.InferenceLogs.FromString(b"".join(records)).inferenceLogBatches
    assert [(batch.request_id, batch.received_unix_micros) for batch in batches] == [
        ("2", 1), ("0", 2), ("3", 3), ("1", 4),
    ]  # fmt: skip
    assert [list(row.scores) for batch in batches for row in batch.inference_log_rows] == scores.tolist()


def test_no_calls_are_no_answers(spliced):
    assert spliced([], [], np.empty((0, 0), np.float32), logged(0)) == ([], [])


ONE = np.ones((1, 1), np.float32)


class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        ("messages", "rows", "scores"),
        [
            ([b"\x12\x00"], [2], np.ones((2, 1), np.float32)),
            ([b"\x12\x00"], [0], np.ones((0, 1), np.float32)),
            ([b"\x12\x00"], [1], np.ones((2, 1), np.float32)),
            ([b"\x12\x00"] * 2, [1, 1], ONE),
            ([b"\x12\x00"], [1, 0], ONE),
            ([b"\x12\x00"] * 2, [2, -1], ONE),
            ([b"\x12\x00"], [1], np.ones((1, 1), np.float64)),
            ([b"\x12\x00"], [1], np.ones(1, np.float32)),
            ([b"\x12\x00"] * 2, [1, 1], np.ones((4, 2), np.float32)[::2]),
        ],
    )
    def test_is_refused(self, spliced, messages, rows, scores):
        with pytest.raises(ValueError, match=r"."):
            spliced(messages, rows, scores, None)

    def test_other_numbers_of_times_than_of_messages(self, spliced):
        with pytest.raises(ValueError, match="times of arrival"):
            spliced([b"\x12\x00"], [1], ONE, logged(2))

    @pytest.mark.parametrize("trap", [b"", text_field(3, b"\0\0\x80\x3f")])
    def test_a_message_cut_short_anywhere(self, spliced, trap):
        row = text_field(1, b"row") + trap + field(9, 1, b"12345678") + field(10, 5, b"1234")
        row += field(11, 3, b"") + field(12, 0, b"\xff\x01") + field(11, 4, b"")
        message = text_field(1, b"request") + text_field(2, row)
        spliced([message], [1], ONE, logged(1))
        for end in range(len(text_field(1, b"request")) + 1, len(message)):
            with pytest.raises(ValueError, match="cut short"):
                spliced([message[:end]], [1], ONE, logged(1))

    @given(message=st.binary(max_size=60), rows=st.integers(0, 3))
    @EITHER
    def test_any_bytes_are_spliced_or_refused(self, spliced, message, rows):
        scores = np.zeros((rows, 1), np.float32)
        try:
            expected = splice.spliced([message], [rows], scores, logged(1))
        except ValueError:
            expected = None
        try:
            found = spliced([message], [rows], scores, logged(1))
        except ValueError:
            found = None
        assert found == expected


class TestSlices:
    """Part after part it becomes what it would have been at once."""

    @staticmethod
    def made(implementation, message, scores, sizes, *, log=True):
        slices = splice.Slices(message, implementation, logged=log)
        at = 0
        for size in sizes:
            slices.add(scores[at : at + size])
            at += size
        return slices.finish(logged(1) if log else None)

    @EITHER
    @given(request=requests, columns=st.integers(0, 3), data=st.data(), log=st.booleans())
    def test_any_parts_are_the_whole(self, implementation, request, columns, data, log):
        rows = len(request.inputs)
        sizes = []
        while sum(sizes) < rows:
            sizes.append(data.draw(st.integers(1, rows - sum(sizes))))
        message, scores = request.SerializeToString(), scores_for(request, columns)
        expected = implementation.whole([message], [rows], scores, logged(1) if log else None)
        assert self.made(implementation, message, scores, sizes, log=log) == expected

    @pytest.mark.parametrize("trap", [b"", text_field(3, b"1234")])
    def test_ids_and_unknown_fields_anywhere(self, implementation, trap):
        row = text_field(1, b"r") + trap + text_field(2, b"")
        other = field(9, 0, b"\x07")
        message = other + text_field(2, row) + text_field(1, b"first") + other + text_field(2, row)
        message += text_field(2, b"") + text_field(1, b"last") + other
        scores = np.arange(3, dtype=np.float32).reshape(3, 1)
        expected = implementation.whole([message], [3], scores, logged(1))
        for sizes in ([3], [1, 2], [2, 1], [1, 1, 1]):
            assert self.made(implementation, message, scores, sizes) == expected

    def test_an_id_may_become_empty_again(self, implementation):
        message = text_field(1, b"first") + text_field(2, b"") + text_field(1, b"")
        ((response,), _) = self.made(implementation, message, ONE, [1])
        assert response == implementation.whole([message], [1], ONE, None)[0][0]

    @pytest.mark.parametrize(
        ("message", "sizes"),
        [
            (text_field(2, b"") * 2, [1]),
            (text_field(2, b""), [2]),
            (text_field(2, b"") + b"\x0a\x05a", [1]),
            (text_field(2, b"\x0a"), [1]),
        ],
    )
    def test_what_does_not_fit_is_refused(self, implementation, message, sizes):
        with pytest.raises(ValueError, match=r"."):
            self.made(implementation, message, np.ones((sum(sizes), 1), np.float32), sizes)

    @pytest.mark.parametrize(
        ("rows", "scores"),
        [(1, np.ones((2, 1), np.float32)), (1, np.ones((1, 1))), (-1, ONE), (1, np.ones(1, np.float32))],
    )
    def test_nor_do_scores_that_are_none(self, implementation, rows, scores):
        with pytest.raises(ValueError, match=r"."):
            implementation.part(text_field(2, b""), 0, rows, scores, True)

    def test_scores_of_another_width_than_before_are_refused(self, implementation):
        slices = splice.Slices(text_field(2, b"") * 2, implementation, logged=False)
        slices.add(np.ones((1, 2), np.float32))
        with pytest.raises(ValueError, match="3 scores a row after 2"):
            slices.add(np.ones((1, 3), np.float32))


class TestChoice:
    def test_the_reference_takes_the_readable_one(self):
        assert splice.choose("reference") is splice.READABLE

    def test_others_take_the_compiled_one_where_it_was_built(self, monkeypatch):
        if splice._splice is not None:
            assert splice.choose("cython").whole is splice._splice.spliced
        monkeypatch.setattr(splice, "_splice", None)
        assert splice.choose("cython") is splice.READABLE
