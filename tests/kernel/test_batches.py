"""Many messages in one matrix, messages in parts, `count` and `check`, which of several errors is told."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kernelkit import plans, requests, running, schema
from kernelkit.oracle import UNDECODABLE
from kernelkit.requests import Maker
from kernelkit.wire import I32, field, groups, tag

from hushar.errors import ErrorKind, InvalidRequest, UndecodableRequest
from hushar.features.vectorize import kernel_problem, make_vectorizer

FLOAT = tag(2, I32) + b"\0\0\x80\x3f"
BAD = field(5, "x")


def entry(name, value=FLOAT):
    return field(2, field(1, name) + field(2, value))


def row(*entries, row_id=""):
    return field(2, (field(1, row_id) if row_id else b"") + b"".join(entries))


@pytest.fixture(scope="module")
def batches():
    """A few configurations, each with messages of every sort."""
    rng = random.Random(17)
    return [
        (setup, [requests.any_request(rng, setup) for _ in range(60)])
        for setup in (plans.setup(rng, plugin=plugin) for plugin in (False, True) for _ in range(6))
    ]


def test_a_message_becomes_the_same_among_others_as_alone(make, batches):
    for setup, messages in batches:
        vectorizer = make(setup)
        joined = running.outcomes(vectorizer, messages)
        alone = [running.outcomes(vectorizer, [message])[0] for message in messages]
        reverse = running.outcomes(vectorizer, messages[::-1])[::-1]
        for message, one, two, three in zip(messages, joined, alone, reverse, strict=True):
            assert one.same(two), message.hex()
            assert one.same(three), message.hex()


def test_parts_of_any_sizes_are_the_whole(make, batches, rng):
    for setup, messages in batches:
        vectorizer = make(setup)
        for message, whole in zip(messages, running.outcomes(vectorizer, messages), strict=True):
            (count,) = vectorizer.count([message])
            for sizes in ([1] * count or [0], [count], running.part_sizes(rng, count)):
                assert running.in_parts(vectorizer, message, sizes).same(whole), (message.hex(), sizes)


def test_whole_messages_and_parts_of_readings_share_a_matrix(make, rng):
    setup = plans.setup(rng, plugin=False)
    vectorizer = make(setup)
    long = Maker(rng, setup).request(rows=50)
    short = [Maker(rng, setup).request(rows=1) for _ in range(10)]
    whole = running.outcomes(vectorizer, [long, *short])
    first, second = vectorizer.begin(long), vectorizer.begin(long)
    read = {id(first): [], id(second): []}
    for _ in range(5):
        parts = [first, short[0], second, *short[1:]]
        made = running.cut(running.checked(vectorizer, parts, [10, 1, 10, *[1] * 9]))
        for part, outcome in zip(parts, made, strict=True):
            if part in (first, second):
                read[id(part)].append(outcome.matrix)
            else:
                assert outcome.same(whole[1 + short.index(part)])
    for matrices in read.values():
        assert running.Outcome(np.concatenate(matrices), None).same(whole[0])


def test_a_reading_counts_its_rows_over_the_whole_call(make, simple):
    vectorizer = make(simple)
    message = row(entry("f")) * 3 + row(entry("f", BAD), row_id="r") + row(entry("f"))
    reading = vectorizer.begin(message)
    good = running.checked(vectorizer, [reading], [2])
    assert (good.matrix.tolist(), good.errors) == ([[1.0], [1.0]], {})
    bad = running.checked(vectorizer, [reading], [2]).errors[0]
    (whole,) = running.outcomes(vectorizer, [message])
    assert type(bad) is InvalidRequest
    assert str(bad) == str(whole.error)
    assert str(bad).startswith("feature 'f' of row 'r' (3): ")
    assert str(running.checked(vectorizer, [reading], [1]).errors[0]) == str(bad)


@pytest.mark.parametrize(
    "end",
    [
        b"\x12\x05",
        b"\x80",
        b"\x0b",
        b"\0\0",
        groups(100),
        field(1, b"\xff"),
        field(2, b"\x0f"),
        field(2, field(1, b"\xff")),
    ],
)
def test_undecodable_wins_over_a_bad_value_however_late_it_comes(make, simple, end):
    vectorizer = make(simple)
    message = row(entry("f")) + row(entry("f", BAD)) + row(entry("f")) * 20 + end
    (whole,) = running.outcomes(vectorizer, [message])
    assert type(whole.error) is UndecodableRequest
    reading = vectorizer.begin(message)
    made = running.checked(vectorizer, [reading], [1])
    if not made.errors:
        made = running.checked(vectorizer, [reading], [1])
    assert str(made.errors[0]) == UNDECODABLE


@pytest.mark.parametrize("end", [b"\x80", b"\0\0", groups(100), field(1, b"\xff"), b"\x0c"])
def test_what_stands_behind_the_last_row_is_read_with_it(make, simple, end):
    vectorizer = make(simple)
    message = row(entry("f")) * 3 + end
    assert type(running.in_parts(vectorizer, message, [1, 1, 1]).error) is UndecodableRequest
    assert type(running.in_parts(vectorizer, message, [3]).error) is UndecodableRequest
    assert type(running.in_parts(vectorizer, end, [0]).error) is UndecodableRequest


def test_count_is_the_number_of_rows_of_what_decodes_and_harmless_else(make, batches, rng):
    for setup, messages in batches:
        vectorizer = make(setup)
        damaged = [rng.randbytes(rng.randint(0, 30)) for _ in range(200)]
        for message, count in zip(messages + damaged, vectorizer.count(messages + damaged), strict=True):
            request = schema.decoded(message)
            assert type(count) is int
            assert count >= 0
            if request is not None:
                assert count == len(request.inputs)
    assert make(batches[0][0]).count([]) == []


def test_check_raises_for_what_does_not_decode_and_nothing_else(make, batches):
    for setup, messages in batches:
        vectorizer = make(setup)
        for message in messages:
            checked = running.check_outcome(vectorizer, message)
            assert (checked.error is None) == (schema.decoded(message) is not None), message.hex()
            assert checked.error is None or str(checked.error) == UNDECODABLE


def test_errors_have_their_kinds(make, simple):
    made = running.outcomes(make(simple), [b"\x80", row(entry("f", BAD))])
    assert [outcome.error.kind for outcome in made] == [ErrorKind.INTERNAL, ErrorKind.INVALID_ARGUMENT]


def test_the_first_rows_first_feature_is_told(agree, everything):
    """By the order of columns, not of the wire; each kind of error alike."""
    names = everything.order
    short, wrong, kind = field(7, b""), BAD, field(10, field(1, "x") * 3)
    messages = []
    for first, second in itertools.pairwise(names):
        for one in (short, wrong, kind):
            for two in (short, wrong, kind):
                entries = [entry(first, one), entry(second, two)]
                messages += [row(*entries), row(*reversed(entries))]
                messages.append(row(entry("o")) + row(entry(second, two)) + row(entry(first, one)))
    agree(everything, messages)


def test_of_a_value_the_kind_then_the_length_then_the_first_that_cannot_be_read(make, everything):
    vectorizer = make(everything)
    cases = [
        (entry("min_max_scaling32 3", field(10, field(1, "x"))), "does not accept string_array"),
        (entry("identity 3", field(10, field(1, "x"))), "string_array brings 1 value, expected 3"),
        (
            entry("identity 3", field(10, field(1, "1") + field(1, "y") + field(1, "z"))),
            "string_array[1] 'y' is not a number",
        ),
        (entry("identity 1", field(10, field(1, "y"))), "string_array[0] 'y' is not a number"),
        (entry("identity 1", field(5, "y")), "string_value 'y' is not a number"),
        (entry("plugin 1", b"\x18\x07"), "integer_value 7 is not a lucky value"),
        (entry("plugin 1", tag(2, I32) + b"\0\0\xe0\x40"), "float_value 7.0 is not a lucky value"),
        (entry("plugin 3", field(9, field(1, b"\1\x07\x07"))), "long_array[1] 7 is not a lucky value"),
    ]
    for (_, text), outcome in zip(
        cases, running.outcomes(vectorizer, [row(case[0]) for case in cases]), strict=True
    ):
        assert text in str(outcome.error), text


@pytest.mark.parametrize(
    "row_id", ["", "r", "x" * 64, "x" * 65, "é" * 64, "é" * 65, "a\nb", "\\", "'", "\0", "😀" * 70, "\u202e"]
)
@pytest.mark.parametrize("text", ["x", "x" * 64, "y" * 65, "é" * 70, "\x1b[31m", "\\n", "'", "\ud7ff"])
def test_what_a_client_sent_is_shown_alike_by_all(row_id, text, simple):
    if kernel_problem("cython") is not None:
        pytest.skip(
            "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"
        )
    message = row(entry("f", field(5, text)), row_id=row_id)
    made = [
        running.outcomes(make_vectorizer(simple.plan, name), [message])[0] for name in ("reference", "cython")
    ]
    assert made[0].same(made[1])
    assert str(made[0].error).isprintable()


def test_a_bad_row_fails_its_call_only(make, simple):
    messages = [row(entry("f")), row(entry("f")) + row(entry("f", BAD)), b"\x80", row() * 2, row(entry("f"))]
    result = running.checked(make(simple), messages, make(simple).count(messages))
    assert result.matrix.tolist() == [[1.0], [-1.5], [-1.5], [1.0]]
    assert list(result.rows) == [1, 0, 0, 2, 1]
    assert {index: type(error) for index, error in result.errors.items()} == {
        1: InvalidRequest,
        2: UndecodableRequest,
    }


def test_nothing_is_remembered_of_a_row(make, everything, rng):
    """The same message after others, shuffled, with names that begin alike, or in another order."""
    vectorizer = make(everything)
    message = Maker(rng, everything).request(rows=3)
    (before,) = running.outcomes(vectorizer, [message])
    for _ in range(30):
        running.outcomes(vectorizer, [Maker(rng, everything, odd=0.2, flaw=0.1).request() for _ in range(3)])
        (after,) = running.outcomes(vectorizer, [message])
        assert after.same(before)


def test_messages_that_decode_with_another_number_of_rows_are_the_callers_mistake(make, simple):
    vectorizer = make(simple)
    cases = [([row()], [2]), ([row()], [0]), ([row()], [-1]), ([b""], [1]), ([row(), row() * 2], [2, 1])]
    for messages, rows in cases:
        with pytest.raises(ValueError, match="row"):
            vectorizer.vectorize(messages, rows)


def test_threads_may_share_a_vectorizer(make, batches):
    setup, messages = batches[0]
    messages = messages * 4  # long enough that the GIL is released
    vectorizer = make(setup)
    wanted = running.outcomes(vectorizer, messages)
    with ThreadPoolExecutor(4) as pool:
        for made in pool.map(lambda _: running.outcomes(vectorizer, messages), range(24)):
            assert all(one.same(two) for one, two in zip(made, wanted, strict=True))


def test_bytes_are_not_changed(make, batches):
    for setup, messages in batches:
        copies = [bytes(bytearray(message)) for message in messages]
        running.outcomes(make(setup), messages)
        assert messages == copies
