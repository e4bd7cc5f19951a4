"""Responses and log records against protobuf: what it serializes, and what it reads back."""

import random

import numpy as np
import pytest
from kernelkit import mutation, plans, requests, schema, splicing
from kernelkit.requests import Maker
from kernelkit.wire import I32, SGROUP, VARINT, field, groups, overlong, tag

from hushar.inference import splice
from hushar.records import each_record

SCORES = np.float32([[2.5]])
PACKED = field(3, SCORES.tobytes())


def logged(messages, received=7):
    return splice.Logged(b"m", b"v", [received] * len(messages))


@pytest.fixture(scope="module")
def decodable():
    """Requests of every sort that decode, and configurations they are for."""
    rng = random.Random(23)
    found = []
    for _ in range(25):
        setup = plans.setup(rng)
        made = [requests.any_request(rng, setup) for _ in range(12)]
        made += [mutation.mutated(rng, rng.choice(made), rng.choice(made)) for _ in range(12)]
        found.append([message for message in made if schema.decoded(message) is not None])
    return found


def test_responses_and_records_are_protobufs(decodable, rng):
    for messages in decodable:
        for _ in range(3):
            assert splicing.problem(rng, messages) is None


def test_the_record_of_a_canonical_request_is_protobufs_byte_for_byte(spliced, decodable, rng):
    for messages in decodable:
        canonical = [splicing.canonical(message) for message in messages]
        rows = [len(schema.decoded(message).inputs) for message in canonical]
        for columns in (0, 1, 3, 300):
            scores = splicing.scores_for(rng, sum(rows), columns)
            log = splicing.logged(rng, canonical)
            _, pieces = spliced(canonical, rows, scores, log)
            records = each_record(pieces, len(canonical))
            ends = np.cumsum([0, *rows])
            for index, message in enumerate(canonical):
                own = scores[ends[index] : ends[index + 1]]
                assert records[index] == splicing.record(message, own, log, index), message.hex()


def test_records_laid_end_to_end_are_one_file(spliced, decodable, rng):
    for messages in decodable:
        rows = [len(schema.decoded(message).inputs) for message in messages]
        _, records = spliced(messages, rows, splicing.scores_for(rng, sum(rows), 2), logged(messages))
        logs = schema.Logs.FromString(b"".join(records))
        assert [len(batch.inference_log_rows) for batch in logs.inferenceLogBatches] == rows


TRAPS = {
    "scores": field(3, b"\0\0\x80\x3f"),
    "no scores": field(3, b"\0\0\x80"),
    "one score": tag(3, I32) + b"\0\0\x80\x3f",
    "a number": tag(3, VARINT) + b"\7",
    "a group": groups(1, 3),
    "a group of itself": groups(4, 3),
    "a group that holds much": tag(3, SGROUP) + field(3, "x") + groups(2, 7) + field(1, b"\xff") + b"\x1c",
    "a long tag": overlong(3 << 3 | 2, 5) + overlong(1, 5) + b"x",
    "nothing": field(3, b""),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_field_3_of_a_row_is_left_out_wherever_it_stands(spliced, trap):
    feature = field(2, field(1, "f") + field(2, b"\x15\0\0\0\0"))
    before, after = field(1, "r") + feature, tag(9, VARINT) + b"\1" + feature
    for row in (
        TRAPS[trap] + before + after,
        before + TRAPS[trap] + after + TRAPS[trap],
        before + after + TRAPS[trap] * 3,
    ):
        messages = [field(2, row)]
        responses, (record,) = spliced(messages, [1], SCORES, logged(messages))
        (batch,) = schema.Logs.FromString(record).inferenceLogBatches
        assert list(batch.inference_log_rows[0].scores) == [2.5]
        assert field(3, before + after + PACKED) in record
        assert responses == [field(2, field(1, "r") + field(2, SCORES.tobytes()))]


def test_a_field_3_inside_of_something_else_stays(spliced):
    row = (
        field(2, field(1, "f") + field(2, field(3, "x")))
        + field(9, field(3, "x"))
        + tag(8, SGROUP)
        + field(3, "x")
        + b"\x44"
    )
    assert schema.decoded(field(2, row)) is not None
    _, (record,) = spliced([field(2, row)], [1], SCORES, logged([b""]))
    assert field(3, row + PACKED) in record


def test_a_field_3_of_a_request_changes_nothing(spliced):
    messages = [field(3, "model") + field(2, field(1, "r")) + field(3, "x")]
    (response,), (record,) = spliced(messages, [1], SCORES, logged(messages))
    assert response == field(2, field(1, "r") + field(2, SCORES.tobytes()))
    assert b"model" not in record


def test_the_last_id_is_echoed_as_it_came(spliced):
    row = field(1, "a") + field(1, "") + tag(1, VARINT) + b"\5"
    messages = [field(1, "first") + field(2, row) + field(1, "é" * 100) + tag(1, I32) + bytes(4)]
    (response,), _ = spliced(messages, [1], SCORES, None)
    assert response == field(1, "é" * 100) + field(2, field(2, SCORES.tobytes()))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 129, 16_381, 16_384, 70_000, 2**21])
def test_lengths_of_all_sizes(spliced, size):
    messages = [splicing.canonical(field(1, "q" * size) + field(2, field(1, "r" * size)) * 2)]
    scores = np.zeros((2, size // 4), np.float32)
    (response,), (record,) = spliced(messages, [2], scores, logged(messages))
    request = schema.decoded(messages[0])
    assert response == splicing.response(request, scores)
    assert record == splicing.record(messages[0], scores, logged(messages), 0)


@pytest.mark.parametrize("received", [0, 1, 127, 2**35, 2**63 - 1, -1])
def test_times_of_arrival(spliced, received):
    _, (record,) = spliced([b""], [0], np.empty((0, 3), np.float32), logged([b""], received))
    assert schema.Logs.FromString(record).inferenceLogBatches[0].received_unix_micros == received


def test_calls_without_rows_and_no_calls(spliced):
    none = np.empty((0, 2), np.float32)
    assert spliced([], [], none, None) == ([], [])
    assert spliced([b"", field(1, "q")], [0, 0], none, None) == ([b"", field(1, "q")], [])


@pytest.mark.parametrize("payload", [0x7F800001, 0xFFFFFFFF, 0x7FC12345, 0x80000000, 0x00000001])
def test_the_bits_of_a_score_are_kept(spliced, payload):
    scores = np.array([[payload]], np.uint32).view(np.float32)
    (response,), (record,) = spliced([field(2, b"")], [1], scores, logged([b""]))
    assert response.endswith(payload.to_bytes(4, "little"))
    assert field(3, field(3, payload.to_bytes(4, "little"))) in record


@pytest.mark.parametrize(
    ("rows", "shape"),
    [([2], (2, 1)), ([0], (0, 1)), ([1, 0], (1, 1)), ([1], (2, 1)), ([], (1, 1)), ([-1, 2], (1, 1))],
)
def test_what_does_not_fit_together_is_refused(spliced, rows, shape):
    with pytest.raises(ValueError, match="rows"):
        spliced([field(2, b"")], rows, np.zeros(shape, np.float32), None)


@pytest.mark.parametrize(
    "scores",
    [
        np.zeros((1, 1)),
        np.zeros(1, np.float32),
        np.zeros((2, 4), np.float32)[:1, ::2],
        np.zeros((1, 1), ">f4"),
        np.zeros((1, 1), np.int32),
    ],
    ids=["float64", "rank 1", "strided", "big endian", "int32"],
)
def test_scores_of_another_sort_are_refused(spliced, scores):
    with pytest.raises((ValueError, TypeError, BufferError)):
        spliced([field(2, b"")], [1], scores, None)


def test_the_twins_are_equal_on_any_bytes(rng):
    """Only what has been decoded comes here; what has not must do no harm all the same."""
    both = splicing.twins()
    if len(both) == 1:
        pytest.skip(
            "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"
        )
    setup = plans.setup(rng)
    for _ in range(150):
        message = Maker(rng, setup, odd=0.1, broken=0.02).request()
        for damaged in (message, mutation.mutated(rng, message), rng.randbytes(rng.randint(0, 20))):
            for rows in (0, 1, 2):
                scores = splicing.scores_for(rng, rows, 2)
                made = [
                    splicing.of_anything(each.whole, [damaged], [rows], scores, logged([b""]))
                    for each in both.values()
                ]
                assert made[0] == made[1], damaged.hex()


def test_slices_on_any_bytes(rng):
    both = splicing.twins()
    if len(both) == 1:
        pytest.skip(
            "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"
        )
    setup = plans.setup(rng)
    for _ in range(150):
        message = Maker(rng, setup, odd=0.1, broken=0.02).request()
        for damaged in (message, mutation.mutated(rng, message), rng.randbytes(rng.randint(0, 20))):
            for rows in (0, 1, 2):
                scores = splicing.scores_for(rng, rows, 2)
                at = rng.choice((0, 0, rng.randint(0, len(damaged) + 2)))
                made = [
                    splicing.of_anything(each.part, damaged, at, rows, scores, True) for each in both.values()
                ]
                assert made[0] == made[1], (damaged.hex(), at)


BETWEEN = {"q": field(1, "the id"), "u": tag(9, VARINT) + b"\1" + groups(2)}


@pytest.mark.parametrize("sizes", [[3], [1, 1, 1], [2, 1], [1, 2]])
def test_an_id_or_unknown_fields_between_slices(sliced, spliced, sizes, rng):
    rows = [field(1, f"row {i}") + PACKED + field(9, "kept") for i in range(3)]
    for order in ("qrrr", "rqrr", "rrrq", "qrqrqrq", "urururu", "rrruq", "rrrqu"):
        left = iter(rows)
        message = b"".join(field(2, next(left)) if each == "r" else BETWEEN[each] for each in order)
        scores = splicing.scores_for(rng, 3, 2)
        (response,), records = spliced([message], [3], scores, logged([b""]))
        assert sliced(message, scores, logged([b""]), sizes) == (response, records), order
        assert sliced(message, scores, None, sizes) == (response, []), order


def test_slices_of_other_numbers_of_rows_are_refused(sliced):
    message = field(2, b"") * 3
    for sizes in ([1, 1], [], [4], [3, 1], [2, 2]):
        with pytest.raises(ValueError, match="row"):
            sliced(message, np.zeros((4, 1), np.float32), None, sizes)
