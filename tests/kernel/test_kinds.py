"""All kinds for all transformations, written in every way that protobuf has for them."""

import random

import pytest
from kernelkit import plans, requests, running
from kernelkit.requests import Maker
from kernelkit.schema import VALUE_FIELDS
from kernelkit.wire import I32, I64, LEN, VARINT, field, tag

ELEMENTS = {"double": I64, "float": I32, "integer": VARINT, "long": VARINT, "string": LEN}


def message_of(name, *value_parts):
    """A request with one row and one feature, its DataType in as many pieces as given."""
    entry = field(1, name) + b"".join(field(2, part) for part in value_parts)
    return field(2, field(1, "row") + field(2, entry))


def arrays(element, contents, number):
    """DataTypes with an array of these values: packed, unpacked, in runs, in two arrays."""

    def one(content):
        return field(1, content) if element == "string" else tag(1, ELEMENTS[element]) + content

    unpacked = [one(content) for content in contents]
    yield (field(number, b"".join(unpacked)),)
    for at in range(len(contents) + 1):
        yield (field(number, b"".join(unpacked[:at])), field(number, b"".join(unpacked[at:])))
        yield (field(number, b"".join(unpacked[:at])) + field(number, b"".join(unpacked[at:])),)
        if element != "string":
            first, rest = b"".join(contents[:at]), b"".join(contents[at:])
            yield (field(number, field(1, first) + field(1, rest)),)
            yield (field(number, field(1, first) + b"".join(unpacked[at:])),)
            yield (field(number, b"".join(unpacked[:at]) + field(1, rest)),)


def writings(maker, kind, count):
    """DataTypes of one kind with `count` values, in all ways."""
    element, _, shape = kind.partition("_")
    number = VALUE_FIELDS[kind][0]
    contents = [maker._element(element) for _ in range(count)]
    if shape == "array":
        yield from arrays(element, contents, number)
    elif element == "string":
        yield (field(number, contents[0]),)
    else:
        yield (tag(number, ELEMENTS[element]) + contents[0],)


@pytest.mark.parametrize("kind", requests.KINDS)
def test_each_transformation_takes_or_refuses_each_kind_however_it_is_written(agree, everything, kind):
    maker = Maker(random.Random(kind), everything, flaw=0.3)
    messages = [
        message_of(name, *parts)
        for name in everything.order
        for count in ((0, 1, 2, 3, 4) if kind.endswith("array") else (1, 1))
        for parts in writings(maker, kind, count)
    ]
    made = agree(everything, messages)
    assert any(outcome.error is None for outcome in made)
    assert any(outcome.error is not None for outcome in made)


@pytest.mark.parametrize("first", requests.KINDS)
def test_of_the_kinds_of_one_value_the_last_is_there(agree, everything, first):
    maker = Maker(random.Random(first), everything)
    messages = []
    for second in requests.KINDS:
        for name in ("identity 1", "identity 3", "plugin 1", "embedding 1", "min_max_scaling64 3"):
            one = next(writings(maker, first, 1))[0]
            two = next(writings(maker, second, 1))[0]
            messages += [
                message_of(name, one, two),
                message_of(name, one + two),
                message_of(name, one, two, one),
            ]
    agree(everything, messages)


def test_an_array_is_joined_only_as_long_as_nothing_else_is_said(agree, everything):
    """Floats, then a double, then floats again: the first floats are gone."""
    floats = field(7, field(1, b"\0\0\x80\x3f"))
    double = tag(1, I64) + b"\0\0\0\0\0\0\xf0\x3f"
    (outcome,) = agree(everything, [message_of("identity 1", floats, double, floats)])
    assert outcome.matrix[0, 0] == 1
    agree(everything, [message_of("identity 3", floats, floats + floats, double, floats, floats, floats)])


def test_long_arrays_in_many_runs(agree, rng):
    setup = plans.setup_of({"f": {"type": "identity", "default_val": [0] * 1000}})
    maker = Maker(rng, setup, odd=0.01)
    messages = []
    for element in ("double", "float", "integer", "long", "string"):
        for odd in (0.0, 0.01, 0.2):
            maker.odd = odd
            contents = [maker._element(element, "f") for _ in range(1000)]
            messages.append(message_of("f", b"".join(maker.value_of(element, True, contents))))
    made = agree(setup, messages)
    assert sum(outcome.error is None for outcome in made) > 5


def test_many_rows_share_a_matrix(agree, rng):
    setup = plans.setup(rng, plugin=False)
    messages = [Maker(rng, setup).request(rows=rows) for rows in (0, 1, 300, 2, 0, 60)]
    made = agree(setup, messages)
    assert [len(outcome.matrix) for outcome in made] == [0, 1, 300, 2, 0, 60]


def test_rows_without_features_are_rows(agree, everything):
    made = agree(everything, [b"", b"\x12\x00", b"\x12\x00\x12\x00", field(1, "only an id")])
    assert [len(outcome.matrix) for outcome in made] == [0, 1, 2, 0]
    default = everything.plan.row_default
    assert all((row == default).all() for outcome in made for row in outcome.matrix)


def test_no_messages(make, everything):
    result = running.checked(make(everything), [], [])
    assert result.matrix.shape == (0, everything.plan.width)
