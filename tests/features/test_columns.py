"""Columnar input gives what rows of the same values give: matrix, errors and texts."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hushar.errors import InvalidRequest, UndecodableRequest
from hushar.features.columns import InputColumn, Strings
from hushar.features.interface import ANY, Element, Transformation, Transformed
from hushar.features.plan import compile_plan
from hushar.features.transformations import BUILTIN

FEATURES = {
    "age": {"type": "standardization32", "mean": 40, "std_dev": 10, "default_val": [0.5]},
    "when": {"type": "min_max_scaling64", "min": -3, "max": 7, "default_val": [0.5, 0.25]},
    "pair": {"type": "identity", "default_val": [-1, -2]},
    "one": {"type": "identity", "default_val": [-3]},
    "color": {
        "type": "one_hot_encoding",
        "categories": ["red", "blue"],
        "default_val": [0.5, 0.25, 0.1, 0.2],
    },
    "word": {"type": "embedding", "embeddings": {"a": [1, 2], "é": [3, 4]}, "default_val": [7, 8]},
    "odd": {"type": "odd", "default_val": [10, 11, 20, 21]},
}


class Odd(Transformation):
    """A plugin's: two numbers a value; 1 is unknown, 2 cannot be read."""

    accepts = ANY
    unit = 2

    def transform(self, column):
        numbers = [len(value) if isinstance(value, str) else float(value) for value in column.values]
        with np.errstate(over="ignore"):
            numbers = np.array(numbers, np.float32)
        values = np.stack([numbers, -numbers], axis=1)
        return Transformed(values, unknown=numbers == 1, unparsable=numbers == 2)


REGISTRY = {**BUILTIN, "odd": Odd}


@pytest.fixture(scope="session")
def vectorizer(implementation, make):
    return implementation(compile_plan(make.document(**FEATURES), REGISTRY))


def strings(*texts, shape=None):
    encoded = [text if isinstance(text, bytes) else text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return Strings(b"".join(encoded), offsets, shape or (len(texts),))


def column(element, values, present=None):
    """A column of a list of values, or of a list of lists."""
    present = None if present is None else np.array(present, np.bool_)
    if element is Element.STRING:
        shape = np.array(values, object).shape
        flat = [text for value in values for text in (value if isinstance(value, list) else [value])]
        return InputColumn(strings(*flat, shape=shape), present)
    return InputColumn(np.array(values, element.dtype), present)


def bits(matrix):
    return np.where(np.isnan(matrix), np.float32("nan"), matrix).tobytes()


VALUES = {
    Element.DOUBLE: st.floats() | st.sampled_from([0.0, -0.0, 1.0, 2.0]),
    Element.FLOAT: st.floats(width=32),
    Element.INTEGER: st.integers(-(2**31), 2**31 - 1) | st.integers(0, 5),
    Element.LONG: st.integers(-(2**63), 2**63 - 1),
    Element.STRING: st.sampled_from(["red", "blue", "a", "é", "", "1", "-0", "1e400", "16777217.0001", "0x"]),
}


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 4))
    columns = {}
    for name in draw(st.lists(st.sampled_from([*FEATURES, "other"]), unique=True)):
        element, units = draw(st.sampled_from(Element)), draw(st.integers(0, 3))
        if name in FEATURES and draw(st.integers(0, 9)):
            kinds = REGISTRY[FEATURES[name]["type"]].accepts
            element = draw(st.sampled_from([each for each in Element if each in kinds]))
            units = {"age": 0, "one": 0, "word": 0}.get(name, 2)
        value = VALUES[element]
        if name in ("one", "pair") and element is Element.STRING and draw(st.integers(0, 9)):
            value = st.sampled_from(["1", "-0", "1e400", "16777217.0001", "1e-42"])
        if units:
            value = st.lists(value, min_size=units, max_size=units)
        values = draw(st.lists(value, min_size=rows, max_size=rows))
        present = draw(st.none() | st.lists(st.booleans(), min_size=rows, max_size=rows))
        columns[name] = (element, values, present)
    return rows, columns


def as_request(make, rows, columns, row_ids):
    def value(name, row):
        element, values, _ = columns[name]
        kind = element.array_kind if isinstance(values[row], list) else element.scalar_kind
        return kind, values[row]

    def is_there(name, row):
        return columns[name][2] is None or columns[name][2][row]

    found = [{name: value(name, row) for name in columns if is_there(name, row)} for row in range(rows)]
    return make.request(*zip(row_ids, found, strict=True))


@pytest.mark.slow
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(table=tables(), named=st.booleans())
def test_columns_are_rows_laid_on_their_side(vectorizer, make, table, named):
    rows, columns = table
    row_ids = [f"row {row}" if named else "" for row in range(rows)]
    wanted = make.vectorized(vectorizer, as_request(make, rows, columns, row_ids))

    given_columns = {name: column(*each) for name, each in columns.items()}
    made = vectorizer.vectorize_columns(given_columns, rows, row_ids if named else ())

    assert {index: str(error) for index, error in made.errors.items()} == {
        index: str(error) for index, error in wanted.errors.items()
    }
    assert list(made.rows) == list(wanted.rows)
    assert made.matrix.flags.c_contiguous
    assert made.matrix.shape == wanted.matrix.shape
    assert bits(made.matrix) == bits(wanted.matrix)


def test_arrays_need_not_be_contiguous(vectorizer):
    ages = np.arange(20, dtype=np.int32)[::2]
    pairs = np.arange(20, dtype=np.float64).reshape(2, 10).T
    offsets = np.repeat(np.arange(11, dtype=np.int64), 2)[::2]
    columns = {
        "age": InputColumn(ages, np.repeat([True, False], 10)[::2]),
        "pair": InputColumn(pairs),
        "one": InputColumn(Strings(b"0123456789", offsets, (10,))),
    }

    matrix = vectorizer.vectorize_columns(columns, 10).matrix

    assert matrix[:, 0].tolist() == np.float32([*((ages[:5] - 40) / 10), *[0.5] * 5]).tolist()
    assert matrix[:, 3:5].tolist() == pairs.tolist()
    assert matrix[:, 5].tolist() == list(range(10))


def test_strings_are_looked_up_between_their_offsets(vectorizer):
    data = Strings(b"..redblue!!", np.array([2, 5, 9, 9, 9], np.int64), (2, 2))

    matrix = vectorizer.vectorize_columns({"color": InputColumn(data)}, 2).matrix

    assert matrix[:, 6:10].tolist() == np.float32([[1, 0, 0, 1], [0.5, 0.25, 0.1, 0.2]]).tolist()


def test_no_rows_and_no_columns(vectorizer):
    nothing = vectorizer.vectorize_columns({"age": InputColumn(np.empty(0, np.float32))}, 0)
    defaults = vectorizer.vectorize_columns({}, 2)

    assert (nothing.matrix.shape, list(nothing.rows), nothing.errors) == ((0, 16), [0], {})
    assert defaults.matrix.tolist() == [vectorizer.plan.row_default.tolist()] * 2


@pytest.mark.parametrize("name", ["color", "one", "other"])
@pytest.mark.parametrize("present", [None, [True, False]])
def test_utf8_is_checked_in_every_string(vectorizer, name, present):
    texts = strings("1", b"\xff")
    bad = column(Element.STRING, ["?", "?"])
    present = None if present is None else np.array(present)

    result = vectorizer.vectorize_columns({"age": bad, name: InputColumn(texts, present)}, 2)

    assert isinstance(result.errors[0], UndecodableRequest)
    assert result.matrix.shape == (0, 16)


def test_a_string_is_checked_alone(vectorizer):
    """Two halves of a character are no strings, though what they are cut from is UTF-8."""
    halves = Strings("é".encode(), np.array([0, 1, 2], np.int64), (2,))

    assert isinstance(
        vectorizer.vectorize_columns({"word": InputColumn(halves)}, 2).errors[0], UndecodableRequest
    )


def test_the_first_rows_first_feature_is_told(vectorizer):
    columns = {
        "one": column(Element.STRING, ["1", "x", "y"]),
        "pair": column(Element.STRING, [["1", "2"], ["1", "2"], ["z", "z"]]),
        "age": column(Element.DOUBLE, [1.0, 2.0, 3.0], [False, False, True]),
    }

    error = vectorizer.vectorize_columns(columns, 3, ["r0", "r1", "r2"]).errors[0]

    assert isinstance(error, InvalidRequest)
    assert str(error) == "feature 'one' of row 'r1' (1): string_value 'x' is not a number"


BROKEN = {
    "too few rows": InputColumn(np.zeros(2, np.float32)),
    "a table of tables": InputColumn(np.zeros((3, 1, 1), np.float32)),
    "a single number": InputColumn(np.float32(1).reshape(())),
    "an unknown type": InputColumn(np.zeros(3, np.int16)),
    "foreign byte order": InputColumn(np.zeros(3, ">f4")),
    "too few presences": InputColumn(np.zeros(3, np.float32), np.ones(2, np.bool_)),
    "presence in numbers": InputColumn(np.zeros(3, np.float32), np.ones(3, np.int64)),
    "too few offsets": InputColumn(Strings(b"abc", np.arange(3, dtype=np.int64), (3,))),
    "narrow offsets": InputColumn(Strings(b"abc", np.arange(4, dtype=np.int32), (3,))),
    "offsets beyond": InputColumn(Strings(b"abc", np.arange(1, 5, dtype=np.int64), (3,))),
    "offsets before": InputColumn(Strings(b"abc", np.arange(-1, 3, dtype=np.int64), (3,))),
    "offsets that go back": InputColumn(Strings(b"abc", np.array([0, 2, 1, 3], np.int64), (3,))),
}


@pytest.mark.parametrize("name", ["one", "other"])
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_does_not_fit_together_is_the_programs_mistake(vectorizer, name, broken):
    with pytest.raises(ValueError, match=r"column of|presence|offsets"):
        vectorizer.vectorize_columns({name: broken}, 3)
