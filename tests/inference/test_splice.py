"""Responses and log records are byte for byte what protobuf makes of the same content."""

import numpy as np
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given
from hypothesis import strategies as st

from hushar.inference import splice
from hushar.proto import structs_pb2 as pb

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
requests = st.builds(
    lambda request_id, inputs: pb.InferenceRequest(request_id=request_id, inputs=inputs),
    texts,
    st.lists(rows, max_size=4),
)


def scores_for(request, columns, seed=7):
    random = np.random.default_rng(seed)
    return random.standard_normal((len(request.inputs), columns)).astype(np.float32)


def log_record(message, scores, **changes):
    arguments = {"model_id": b"m", "model_version": b"v", "received_unix_micros": 1_700_000_000_000_000}
    return splice.log_record(splice.split_request(message), scores, **(arguments | changes))


def serialized(features):
    return {name: value.SerializeToString() for name, value in features.items()}


def field(number, wire_type, payload):
    return _VarintBytes(number << 3 | wire_type) + payload


def text_field(number, payload):
    return field(number, 2, _VarintBytes(len(payload)) + payload)


@given(requests, st.integers(0, 40))
def test_a_response_is_what_protobuf_serializes(request, columns):
    scores = scores_for(request, columns)
    expected = pb.InferenceResponse(
        request_id=request.request_id,
        outputs=[
            pb.OutputRow(row_id=row.row_id, scores=row_scores)
            for row, row_scores in zip(request.inputs, scores, strict=True)
        ],
    )
    parts = splice.split_request(request.SerializeToString())
    assert splice.response(parts, scores) == expected.SerializeToString()


@given(requests, st.integers(0, 40))
def test_a_log_record_holds_the_rows_and_the_scores(request, columns):
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


@given(requests, requests)
def test_records_laid_end_to_end_are_one_log_file(first, second):
    records = [log_record(each.SerializeToString(), scores_for(each, 2)) for each in (first, second)]
    logs = pb.InferenceLogs.FromString(b"".join(records))
    assert [batch.request_id for batch in logs.inferenceLogBatches] == [first.request_id, second.request_id]


def test_a_row_is_copied_byte_for_byte_unknown_fields_included():
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
def test_a_field_3_of_an_input_row_does_not_become_scores(trap):
    before, after = text_field(1, b"row"), field(9, 0, b"\x01")
    record = log_record(text_field(2, before + trap + after + trap), np.full((1, 1), 2, np.float32))
    (batch,) = pb.InferenceLogs.FromString(record).inferenceLogBatches
    assert list(batch.inference_log_rows[0].scores) == [2.0]
    assert before + after + text_field(3, b"\0\0\0\x40") in record


def test_the_last_id_wins_as_in_protobuf():
    message = text_field(1, b"first") + text_field(2, text_field(1, b"a") + text_field(1, b"b"))
    message += text_field(1, b"last")
    parts = splice.split_request(message)
    assert (parts.request_id, parts.row_ids) == (b"last", (b"b",))


def test_a_known_number_with_another_wire_type_is_an_unknown_field():
    message = field(1, 0, b"\x05") + field(2, 5, b"1234") + text_field(2, field(1, 1, b"12345678"))
    parts = splice.split_request(message)
    assert (parts.request_id, parts.row_ids) == (b"", (b"",))
    assert parts.log_rows == (field(1, 1, b"12345678"),)


def test_the_bits_of_a_nan_are_kept():
    strange = np.array([[0x7FC12345]], np.uint32).view(np.float32)
    parts = splice.split_request(text_field(2, text_field(1, b"r")))
    assert splice.response(parts, strange).endswith(b"\x45\x23\xc1\x7f")


def test_unknown_fields_of_the_request_are_not_answered():
    message = text_field(7, b"secret") + text_field(2, text_field(1, b"r") + text_field(8, b"secret"))
    answer = splice.response(splice.split_request(message), np.ones((1, 1), np.float32))
    assert b"secret" not in answer
