"""Where the kernel has found rows and ids is where the splice finds them."""

import contextlib

import numpy as np
import pytest
from kernelkit import layouts, mutation, plans, requests, running, splicing
from kernelkit.wire import field

from hushar.features.vectorize import kernel_problem, make_vectorizer
from hushar.inference import splice
from hushar.inference.privacy import Privacy
from hushar.inference.scoring import Scorer, Work
from hushar.inference.splice import Logged
from hushar.models.served import ServedModel
from hushar.proto.structs_pb2 import DataType, InferenceRequest, InputRow
from hushar.records import own_bytes

pytestmark = pytest.mark.skipif(
    kernel_problem("cython") is not None or len(splicing.twins()) == 1,
    reason="needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts",
)

ROW = field(1, "row") + field(9, "kept")
WITH_FIELD_3 = field(3, b"1234") + ROW


@pytest.fixture
def vectorizer(simple):
    return make_vectorizer(simple.plan, "cython")


def layout_of(vectorizer, *messages):
    return vectorizer.vectorize(messages, vectorizer.count(messages)).layout


def test_splices_of_all_sorts_of_requests(rng):
    for _ in range(20):
        setup = plans.setup(rng)
        vectorizer = make_vectorizer(setup.plan, "cython")
        made = [requests.any_request(rng, setup) for _ in range(15)]
        made += [mutation.mutated(rng, rng.choice(made), rng.choice(made)) for _ in range(15)]
        outcomes = running.outcomes(vectorizer, made)
        good = [message for message, each in zip(made, outcomes, strict=True) if not each.error]
        assert layouts.problem(rng, vectorizer, good) is None


def test_the_last_id_counts_and_none_is_known_with_an_error_or_a_field_3(vectorizer):
    message = field(1, "a") + field(2, field(1, "x") + ROW) + field(1, "id") + field(2, b"")
    places, heads = (np.frombuffer(each, np.int64) for each in layout_of(vectorizer, b"", message))
    ((at, size, id_at, id_size, kept), empty) = places.reshape(-1, layouts.INTEGERS_OF_A_ROW)
    assert message[at : at + size] == field(1, "x") + ROW
    assert message[id_at : id_at + id_size] == b"row"
    assert kept == size
    assert empty.tolist() == [len(message), 0, 0, 0, 0]
    none, ours = heads.reshape(-1, layouts.INTEGERS_OF_A_HEAD)
    assert none[2:].tolist() == [0, 0]
    id_at, id_size, has_id, end = ours
    assert (message[id_at : id_at + id_size], has_id & 0xFFFFFFFF, end) == (b"id", 1, len(message))
    assert layout_of(vectorizer, message, field(2, WITH_FIELD_3)) is None
    assert layout_of(vectorizer, message, b"\x0a") is None
    assert layout_of(vectorizer, message) is not None


@pytest.mark.parametrize("order", ["tirr", "rtir", "rirt", "rrit", "tiri", "irit", "rrir"])
def test_some_slices_have_rows_with_a_field_3(vectorizer, order):
    """Of these nothing is known: the splice looks for itself from there on, and misses no id."""
    between = {"i": field(1, f"id of {order}"), "r": field(2, ROW), "t": field(2, WITH_FIELD_3)}
    message = b"".join(map(between.__getitem__, order))
    rows = vectorizer.count([message])[0]
    scores, log = np.arange(rows, dtype=np.float32).reshape(rows, 1), Logged(b"m", b"v", [1])
    compiled = splice.choose("cython")
    for sizes in ([rows], [1] * rows, [1, rows - 1]):
        made, known = layouts.joined(vectorizer, compiled, [], message, sizes, scores, log)
        expected, _ = layouts.joined(vectorizer, splice.READABLE, [], message, sizes, scores, log)
        assert made == expected
        assert known == len(sizes) - ("t" in order)


MESSAGE = field(1, "id") + field(2, ROW) + field(2, field(1, "second"))
FIRST, SECOND, END = MESSAGE.index(ROW), MESSAGE.index(field(1, "second")), len(MESSAGE)


@pytest.mark.parametrize("way", ["whole", "part"])
@pytest.mark.parametrize(
    ("row", "number", "value"),
    [
        # Of a row: where it is, how long, where its id is, how long, what is kept.
        *[(0, 0, value) for value in (-1, END + 1, -(2**63), 2**63 - 1)],
        *[(0, 1, value) for value in (-1, END, 2**63 - 1)],
        *[(0, 2, value) for value in (1, FIRST - 1, SECOND + 1, -(2**63))],
        *[(0, 3, value) for value in (-1, len(ROW), 2**63 - 1)],
        *[(0, 4, value) for value in (-1, 0, len(ROW) - 1, END)],
        (1, 0, FIRST),  # before the end of the first
        (1, 1, END - SECOND + 1),
        (1, 2, FIRST + 2),
        # Of the head: where the id is, how long, and where reading has ended.
        *[("head", 0, value) for value in (-1, END + 1, -(2**63))],
        *[("head", 1, value) for value in (-1, END, 2**63 - 1)],
        *[("head", 3, value) for value in (-1, END + 1)],
    ],
)
def test_a_layout_of_another_message_is_refused(vectorizer, way, row, number, value):
    places, heads = (np.frombuffer(each, np.int64).copy() for each in layout_of(vectorizer, MESSAGE))
    if row == "head":
        heads[number] = value
    else:
        places[layouts.INTEGERS_OF_A_ROW * row + number] = value
    with pytest.raises(ValueError, match="message"):
        spliced_by(way, MESSAGE, 2, (places.tobytes(), heads.tobytes()))


def spliced_by(way, message, rows, layout):
    compiled, scores = splice.choose("cython"), np.ones((rows, 1), np.float32)
    if way == "whole":
        return compiled.whole([message], [rows], scores, Logged(b"m", b"v", [1]), None, layout)
    return compiled.part(message, 0, rows, scores, True, layout)


@pytest.mark.parametrize("way", ["whole", "part"])
def test_so_is_what_is_none(vectorizer, way):
    places, heads = layout_of(vectorizer, MESSAGE)
    for layout in ((places[:-1], heads), (places, heads[:-1]), (b"", b"")):
        with pytest.raises(ValueError, match="a layout of fewer than 1 messages with 2 rows"):
            spliced_by(way, MESSAGE, 2, layout)
    for layout in ((), (places,), (None, None), (places, heads, b"")):
        with pytest.raises((TypeError, ValueError)):
            spliced_by(way, MESSAGE, 2, layout)


@pytest.mark.parametrize("layout", [None, (b"", b"")])
def test_nor_are_there_rows_beyond_all_memory(layout):
    """Scores without columns may be any number of rows."""
    rows = 2**60
    scores = np.lib.stride_tricks.as_strided(np.ones((1, 0), np.float32), (rows, 0))
    with pytest.raises((MemoryError, ValueError)):
        splice.choose("cython").whole([b""], [rows], scores, None, None, layout)


def test_nothing_outside_is_read_whatever_a_layout_says(rng):
    """The sanitizers look at this one (noxfile.py)."""
    compiled = splice.choose("cython")
    for _ in range(10):
        setup = plans.setup(rng)
        vectorizer = make_vectorizer(setup.plan, "cython")
        for message in (requests.any_request(rng, setup) for _ in range(60)):
            (rows,) = vectorizer.count([message])
            found = vectorizer.vectorize([message], [rows])
            if found.layout is None:
                continue
            scores, log = splicing.scores_for(rng, rows, 1), Logged(b"m", b"v", [1])
            wrong = layouts.damaged(rng, found.layout)
            with contextlib.suppress(ValueError):
                compiled.whole([message], [rows], scores, log, None, wrong)
            with contextlib.suppress(ValueError):
                compiled.part(message, 0, rows, scores, True, wrong)


class Sums:
    """A model: of each row its sum."""

    @staticmethod
    def to_tensor(matrix):
        return matrix

    @staticmethod
    def run(tensor):
        return tensor.sum(axis=1, keepdims=True)


def scored(kernel, setup, messages, privacy):
    vectorizer = make_vectorizer(setup.plan, kernel)
    scorer = Scorer(vectorizer, ServedModel(Sums(), "m", "v"), logged=True, privacy=privacy)
    made = scorer.score(Work(messages, scorer.count(messages), [1] * len(messages)))
    return made.responses, own_bytes(made.records), {at: str(error) for at, error in made.errors.items()}


@pytest.mark.parametrize(
    "privacy", [None, Privacy(["a*"], ["b*"], b"k" * 16)], ids=["all is logged", "not all"]
)
@pytest.mark.parametrize("among", [[], [b"\x0a"], [4.0], [7.0]], ids=["", "undecodable", "odd", "refused"])
def test_batches_of_which_only_some_of_the_bytes_are_left(among, privacy):
    """A call that fails, be it for a plugin, or what is not logged: the layout is of something else then."""
    plugin = {"type": "plugin", "bias": 0.5, "default_val": [0.0, 0.0]}
    number = {"type": "identity", "default_val": [0.0]}
    setup = plans.setup_of({"a": plugin, "b": number})

    def call(value):
        row = InputRow(row_id=f"row {value}", features={"a": DataType(double_value=value)})
        row.features["b"].float_value = 2 * value
        return InferenceRequest(request_id=f"call {value}", inputs=[row, row]).SerializeToString()

    messages = [call(1.0), *(each if isinstance(each, bytes) else call(each) for each in among), call(-33.25)]
    responses, records, errors = scored("cython", setup, messages, privacy)
    assert (responses, records, errors) == scored("reference", setup, messages, privacy)
    assert list(errors) == [1] * (among not in ([], [4.0]))
    assert len(responses) == len(messages) - len(errors)


def test_the_scorer_passes_them_on(vectorizer):
    scorer = Scorer(vectorizer, ServedModel(Sums(), "m", "v"), logged=True)
    right, told = scorer._splice, []

    def whole(*arguments):
        told.append(arguments[-1])
        return right.whole(*arguments)

    def part(*arguments):
        told.append(arguments[-1])
        return right.part(*arguments)

    scorer._splice = splice.Splice(whole, part)
    large = field(2, ROW) * 2
    work = Work([MESSAGE], [2], [1])
    work.reading, work.slices, work.slice_rows = scorer.begin(large), scorer.slices(large), 2
    assert not scorer.score(work).errors
    assert told == [told[0]] * 2
    assert [len(each) % 8 for each in told[0]] == [0, 0]
