"""Every implementation behind the one door gives what CONTRACT.md says, bit for bit.

The yardstick here is written from the contract alone: a value at a time, exact fractions, no numpy.
"""

import copy
import importlib.util
import math
import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hushar.errors import InvalidRequest, UndecodableRequest
from hushar.features import vectorize
from hushar.features.plan import compile_plan
from hushar.features.transformations import BUILTIN
from hushar.features.vectorize import kernel_name, kernel_problem, make_vectorizer

# ---- the yardstick ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: digits of the significand, exponent of the smallest unit."""

    digits: int
    smallest: int
    largest: int
    """Exponent of the largest unit."""

    def round(self, exact, negative):
        """The nearest number to `exact`, ties to even; `negative` is the sign of a zero."""
        size = abs(exact)
        if size == 0:
            return -0.0 if negative else 0.0
        exponent = size.numerator.bit_length() - size.denominator.bit_length()
        exponent -= size < Fraction(2) ** exponent
        place = max(exponent - self.digits + 1, self.smallest)
        rounded = round(size / Fraction(2) ** place) * Fraction(2) ** place
        too_large = rounded >= Fraction(2) ** (self.digits + self.largest)
        return math.copysign(math.inf if too_large else float(rounded), -1 if negative else 1)

    def convert(self, number):
        if isinstance(number, int):
            return self.round(Fraction(number), negative=number < 0)
        if not math.isfinite(number):
            return number
        return self.round(Fraction(number), math.copysign(1, number) < 0)

    def subtract(self, a, b):
        if not (math.isfinite(a) and math.isfinite(b)) or a == b:
            return a - b
        return self.round(Fraction(a) - Fraction(b), a < b)

    def divide(self, a, b):
        if not (math.isfinite(a) and math.isfinite(b)):
            return a / b
        return self.round(Fraction(a) / Fraction(b), (math.copysign(1, a) < 0) != (b < 0))


SINGLE, DOUBLE = Format(24, -149, 104), Format(53, -1074, 971)
NARROW = {"float_value", "float_array", "integer_value", "integer_array"}
WIDE = {"double_value", "double_array", "long_value", "long_array"}
WORDS = {"string_value", "string_array"}
KINDS = sorted(NARROW | WIDE | WORDS)
ACCEPTED = {
    "identity": NARROW | WIDE | WORDS,
    "min_max_scaling32": NARROW,
    "min_max_scaling64": WIDE,
    "standardization32": NARROW,
    "standardization64": WIDE,
    "one_hot_encoding": WORDS,
    "embedding": WORDS,
}


def digits_only(text):
    return text != "" and all(character in "0123456789" for character in text)


def parse(text):
    """The nearest float32 of a decimal number, or None."""
    negative = text.startswith("-")
    mantissa, e, exponent = text.removeprefix("-" if negative else "+").replace("E", "e").partition("e")
    whole, point, fraction = mantissa.partition(".")
    signless = exponent[1:] if exponent[:1] in ("+", "-") else exponent
    if e and not digits_only(signless):
        return None
    if not digits_only(whole + fraction) or (point and not (whole or fraction)):
        return None
    power = (-1 if exponent.startswith("-") else 1) * int(signless or "0") - len(fraction)
    return SINGLE.round(int(whole + fraction) * Fraction(10) ** power, negative)


def unit_of(feature):
    match feature["type"]:
        case "one_hot_encoding":
            return len(feature["categories"])
        case "embedding":
            return len(next(iter(feature["embeddings"].values())))
        case _:
            return 1


def apply(feature, value, position):
    """The unit of one value; None if it cannot be read."""
    unit = unit_of(feature)
    default = [SINGLE.convert(float(number)) for number in feature["default_val"]]
    kind = feature["type"]
    if kind == "identity":
        number = parse(value) if isinstance(value, str) else SINGLE.convert(value)
        return None if number is None else [number]
    if kind == "one_hot_encoding" and value in feature["categories"]:
        return [1.0 if category == value else 0.0 for category in feature["categories"]]
    if kind == "embedding" and value in feature["embeddings"]:
        return [SINGLE.convert(float(number)) for number in feature["embeddings"][value]]
    if kind in ("one_hot_encoding", "embedding"):
        return default[position * unit : (position + 1) * unit]
    form = SINGLE if kind.endswith("32") else DOUBLE
    if kind.startswith("min_max"):
        low, high = form.convert(float(feature["min"])), form.convert(float(feature["max"]))
        offset, scale = low, form.subtract(high, low)
    else:
        offset, scale = form.convert(float(feature["mean"])), form.convert(float(feature["std_dev"]))
    return [SINGLE.convert(form.divide(form.subtract(form.convert(value), offset), scale))]


class Refused(Exception):
    """Arguments: feature, kind."""


def columns_of(name, feature, given_value):
    """The columns of a feature in one row; `given_value` is (kind, value), or None if it is absent."""
    if given_value is None or given_value[0] is None:
        return [SINGLE.convert(float(number)) for number in feature["default_val"]]
    kind, value = given_value
    values = value if kind.endswith("_array") else [value]
    if kind not in ACCEPTED[feature["type"]] or len(values) * unit_of(feature) != len(feature["default_val"]):
        raise Refused(name, kind)
    columns = []
    for position, number in enumerate(values):
        unit = apply(feature, number, position)
        if unit is None:
            raise Refused(name, kind)
        columns += unit
    return columns


def expected_of(features, rows):
    """The rows of a request's matrix; raises Refused with the place of its first error."""
    matrix = []
    for index, (row_id, row) in enumerate(rows):
        columns = []
        for name, feature in features.items():
            try:
                columns += columns_of(name, feature, row.get(name))
            except Refused as refused:
                place = f"'{row_id}' ({index})" if row_id else str(index)
                raise Refused(f"feature '{name}' of row {place}: ", refused.args[1]) from None
        matrix.append(columns)
    return matrix


def bits(number):
    return "NaN" if math.isnan(number) else struct.pack("<f", number).hex()


# ---- what is tried ----------------------------------------------------------------------------

WORD_LIST = ["red", "green", "blue", "", "Red", "é"]
singles = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 2.0**-149, -math.inf, math.nan])
singles = singles.map(lambda number: struct.unpack("<f", struct.pack("<f", np.float32(number)))[0])
moderate = st.floats(-1e6, 1e6) | st.integers(-100, 100)
any_single = st.floats(-3e38, 3e38) | moderate
doubles = st.floats() | moderate.map(float)
near_ties = st.integers(0, 2**62).map(lambda k: k | 1 << 36) | st.integers(-(2**63), 2**63 - 1)
integers = st.integers(-(2**31), 2**31 - 1) | st.integers(-1000, 1000)
decimals = st.from_regex(r"\A[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2})?\Z")
words = st.sampled_from([*WORD_LIST, "black", "white"])
VALUES = {
    "double": doubles, "float": singles, "integer": integers, "long": near_ties, "string": words | decimals
}  # fmt: skip


@st.composite
def parameters(draw):
    """One feature's configuration."""
    kind = draw(st.sampled_from(sorted(BUILTIN)))
    feature, unit = {"type": kind}, 1
    if kind.startswith("min_max"):
        number = any_single if kind.endswith("32") else st.floats(-1e300, 1e300) | moderate
        low, high = sorted([draw(number), draw(number)])
        assume(SINGLE.convert(float(low)) < SINGLE.convert(float(high)))
        feature |= {"min": low, "max": high}
    elif kind.startswith("standardization"):
        feature |= {"mean": draw(moderate), "std_dev": draw(st.floats(1e-40, 1e6) | st.integers(1, 9))}
    elif kind == "one_hot_encoding":
        feature["categories"] = draw(st.lists(st.sampled_from(WORD_LIST), min_size=1, unique=True))
        unit = len(feature["categories"])
    elif kind == "embedding":
        unit = draw(st.integers(1, 3))
        vector = st.lists(any_single, min_size=unit, max_size=unit)
        feature["embeddings"] = draw(st.dictionaries(st.sampled_from(WORD_LIST), vector, min_size=1))
    width = unit * draw(st.integers(1, 3))
    feature["default_val"] = draw(st.lists(any_single, min_size=width, max_size=width))
    return feature


def units_of(feature):
    return len(feature["default_val"]) // unit_of(feature)


@st.composite
def values_for(draw, feature, *, flawless):
    """A (kind, value) for a feature; one that fits it if `flawless`, else one that may not."""
    units = units_of(feature)
    kinds = sorted(ACCEPTED[feature["type"]])
    if flawless:
        kinds = [kind for kind in kinds if units == 1 or kind.endswith("_array")]
    elif draw(st.integers(0, 9)) == 0:
        kinds = KINDS
    kind = draw(st.sampled_from(kinds))
    element = kind.partition("_")[0]
    values = VALUES[element]
    if feature["type"] == "identity" and element == "string" and (flawless or draw(st.integers(0, 4))):
        values = decimals
    if kind.endswith("_value"):
        return kind, draw(values)
    length = units if flawless or draw(st.integers(0, 9)) else draw(st.integers(0, 4))
    return kind, draw(st.lists(values, min_size=length, max_size=length))


@st.composite
def cases(draw, *, flawless):
    """A configuration, and the rows of several requests."""
    names = draw(st.lists(st.sampled_from(["a", "b", "", "ज", "x'y"]), min_size=1, max_size=4, unique=True))
    features = {name: draw(parameters()) for name in names}

    def row():
        given_values = {
            name: draw(values_for(feature, flawless=flawless) | st.sampled_from([None, (None, None)]))
            for name, feature in features.items()
        }
        found = {name: value for name, value in given_values.items() if value is not None}
        if draw(st.booleans()):
            found["nobody asked for"] = ("string_value", "x")
        return draw(st.sampled_from(["", "r", "row 7"])), found

    requests = [[row() for _ in range(draw(st.integers(0, 3)))] for _ in range(draw(st.integers(1, 3)))]
    return features, requests


many_examples = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


# ---- the tests --------------------------------------------------------------------------------


def run(implementation, make, features, requests):
    vectorizer = implementation(compile_plan(make.document(**features), BUILTIN))
    return make.vectorized(vectorizer, *(make.request(*rows) for rows in requests))


@pytest.mark.slow
@many_examples
@given(case=cases(flawless=True))
def test_every_result_is_that_of_the_contract_bit_for_bit(implementation, make, case):
    features, requests = case
    result = run(implementation, make, features, requests)

    assert result.errors == {}
    assert list(result.rows) == [len(rows) for rows in requests]
    assert result.matrix.dtype == np.float32
    assert result.matrix.flags.c_contiguous
    expected = [row for rows in requests for row in expected_of(features, rows)]
    assert [[bits(x) for x in row] for row in result.matrix.tolist()] == [
        [bits(x) for x in row] for row in expected
    ]


@pytest.mark.slow
@many_examples
@given(case=cases(flawless=False))
def test_every_error_is_that_of_the_contract_and_disturbs_nobody(implementation, make, case):
    features, requests = case
    result = run(implementation, make, features, requests)

    expected, failed = [], set()
    for index, rows in enumerate(requests):
        try:
            matrix = expected_of(features, rows)
        except Refused as refused:
            place, kind = refused.args
            failed.add(index)
            assert isinstance(result.errors[index], InvalidRequest)
            assert str(result.errors[index]).startswith(place)
            assert kind in str(result.errors[index]).removeprefix(place)
            assert result.rows[index] == 0
        else:
            expected += matrix
            assert result.rows[index] == len(rows)
    assert set(result.errors) == failed
    assert result.matrix.flags.c_contiguous
    assert [[bits(x) for x in row] for row in result.matrix.tolist()] == [
        [bits(x) for x in row] for row in expected
    ]


EXAMPLE = {
    "age": {"type": "standardization32", "mean": 40, "std_dev": 10, "default_val": [0]},
    "pair": {"type": "identity", "default_val": [-1, -2]},
    "color": {
        "type": "one_hot_encoding",
        "categories": ["red", "blue"],
        "default_val": [0.5, 0.25, 0.1, 0.2],
    },
    "word": {"type": "embedding", "embeddings": {"a": [1, 2, 3]}, "default_val": [7, 8, 9]},
}


class TestExamples:
    def matrix(self, implementation, make, *rows):
        result = run(implementation, make, EXAMPLE, [[("", row) for row in rows]])
        assert result.errors == {}
        return result.matrix.tolist()

    def test_an_absent_feature_gives_its_default(self, implementation, make):
        default = np.float32([0, -1, -2, 0.5, 0.25, 0.1, 0.2, 7, 8, 9]).tolist()

        assert self.matrix(implementation, make, {}) == [default]
        assert self.matrix(implementation, make, {"age": (None, None), "other": ("float_value", 1)}) == [
            default
        ]

    def test_present_features_fill_their_columns(self, implementation, make):
        row = {
            "age": ("integer_value", 55),
            "pair": ("string_array", ["1e1", "-.5"]),
            "color": ("string_array", ["blue", "red"]),
            "word": ("string_value", "a"),
        }

        assert self.matrix(implementation, make, row) == [[1.5, 10, -0.5, 0, 1, 1, 0, 1, 2, 3]]

    def test_an_unknown_string_takes_the_unit_of_the_default_at_its_position(self, implementation, make):
        rows = [{"color": ("string_array", pair)} for pair in (["x", "red"], ["red", "x"], ["x", "y"])]

        assert [row[3:7] for row in self.matrix(implementation, make, *rows)] == np.float32(
            [[0.5, 0.25, 1, 0], [1, 0, 0.1, 0.2], [0.5, 0.25, 0.1, 0.2]]
        ).tolist()

    def test_the_kinds_of_a_feature_may_differ_from_row_to_row(self, implementation, make):
        kinds = [("integer_value", 50), ("float_value", 60), ("float_array", [70]), ("integer_array", [80])]

        assert [row[0] for row in self.matrix(implementation, make, *({"age": kind} for kind in kinds))] == [
            1,
            2,
            3,
            4,
        ]

    def test_requests_without_rows(self, implementation, make):
        result = run(implementation, make, EXAMPLE, [[], []])

        assert (result.matrix.shape, list(result.rows), result.errors) == ((0, 10), [0, 0], {})

    def test_no_requests(self, implementation, make):
        assert run(implementation, make, EXAMPLE, []).matrix.shape == (0, 10)


class TestDoor:
    def test_it_has_its_plan(self, implementation, make):
        plan = make.plan(**EXAMPLE)

        assert implementation(plan).plan is plan

    def test_the_setting_decides_which_it_is(self, make):
        plan = make.plan(**EXAMPLE)
        best = kernel_name()

        assert make_vectorizer(plan).name == make_vectorizer(plan, "auto").name == best
        assert make_vectorizer(plan, "reference").name == kernel_name("reference") == "reference"
        assert best in ("cython", "reference")

    def test_the_compiled_one_is_there_where_it_was_built(self, make):
        """Compiled parts that are quietly not used would go unnoticed."""
        if importlib.util.find_spec("hushar.features._kernel") is None:
            pytest.skip("needs tool: a C compiler and Python's headers when hushar is installed")

        assert make_vectorizer(make.plan(**EXAMPLE), "cython").name == kernel_name() == "cython"
        assert kernel_problem("cython") is None

    def test_where_it_was_not_built_the_reference_serves(self, make, monkeypatch):
        monkeypatch.setattr(vectorize, "KernelVectorizer", None)

        assert make_vectorizer(make.plan(**EXAMPLE)).name == kernel_name() == "reference"
        assert "a C compiler and Python's headers" in kernel_problem("cython")
        assert kernel_problem("auto") is kernel_problem("reference") is None
        with pytest.raises(ValueError, match="was not built"):
            make_vectorizer(make.plan(**EXAMPLE), "cython")

    @pytest.mark.parametrize("message", [b"\xff", b"\x12", b"\x12\x01"])
    def test_what_is_no_request_is_undecodable(self, implementation, make, message):
        vectorizer = implementation(make.plan(**EXAMPLE))
        good = make.request({"age": ("float_value", 50)}).SerializeToString()

        with pytest.raises(UndecodableRequest):
            vectorizer.check(message)
        counts = vectorizer.count([good, message, good])
        result = vectorizer.vectorize([good, message, good], counts)
        assert isinstance(result.errors.pop(1), UndecodableRequest)
        assert not result.errors
        assert list(result.rows) == [1, 0, 1]
        assert result.matrix[:, 0].tolist() == [1, 1]

    def test_what_is_a_request_is_not(self, implementation, make):
        vectorizer = implementation(make.plan(**EXAMPLE))

        vectorizer.check(b"")
        vectorizer.check(make.request({"age": ("string_value", "x")}).SerializeToString())

    @pytest.mark.parametrize("claimed", [0, 1, 3])
    def test_another_number_of_rows_than_there_are_is_the_callers_mistake(
        self, implementation, make, claimed
    ):
        vectorizer = implementation(make.plan(**EXAMPLE))
        message = make.request({"age": ("float_value", 50)}, {}).SerializeToString()

        with pytest.raises(ValueError, match="rows"):
            vectorizer.vectorize([message], [claimed])
        assert vectorizer.vectorize([message], [2]).matrix[:, 0].tolist() == [1, 0]

    def test_nothing_is_remembered_between_calls(self, implementation, make):
        vectorizer = implementation(make.plan(**EXAMPLE))
        full, empty = make.request({"age": ("float_value", 50)}), make.request({})

        first = make.vectorized(vectorizer, full).matrix
        second = make.vectorized(vectorizer, empty).matrix

        assert first[0, 0] == 1
        assert second[0, 0] == 0
        assert make.vectorized(vectorizer, full).matrix.tolist() == first.tolist()


class TestReadings:
    """Messages that are read in several parts."""

    def ages(self, make, *ages):
        return make.request(*({"age": age} for age in ages)).SerializeToString()

    def test_the_parts_are_the_whole(self, implementation, make):
        vectorizer = implementation(make.plan(**EXAMPLE))
        reading = vectorizer.begin(self.ages(make, *(("integer_value", 40 + 10 * i) for i in range(6))))
        one = self.ages(make, ("integer_value", 0))

        parts = [vectorizer.vectorize([one, reading, one], [1, rows, 1]) for rows in (1, 3, 0, 2)]

        assert [part.matrix[:, 0].tolist() for part in parts] == [
            [-4, 0, -4], [-4, 1, 2, 3, -4], [-4, -4], [-4, 4, 5, -4]
        ]  # fmt: skip
        assert reading.row == 6

    def test_rows_in_errors_are_those_of_the_call(self, implementation, make):
        vectorizer = implementation(make.plan(**EXAMPLE))
        reading = vectorizer.begin(self.ages(make, *[("integer_value", 40)] * 3, ("string_value", "x")))

        assert not vectorizer.vectorize([reading], [2]).errors
        result = vectorizer.vectorize([reading], [2])
        assert str(result.errors[0]).startswith("feature 'age' of row 3: does not accept string_value")
        assert list(result.rows) == [0]
        assert vectorizer.vectorize([reading], [1]).errors[0] is reading.error is result.errors[0]

    def test_undecodable_before_bad(self, implementation, make):
        vectorizer = implementation(make.plan(**EXAMPLE))
        bad = self.ages(make, ("string_value", "x"), ("integer_value", 40))
        reading = vectorizer.begin(bad + b"\x0a\x01\xff")

        assert isinstance(vectorizer.vectorize([reading], [1]).errors[0], UndecodableRequest)

    def test_a_copy_goes_on_where_it_was_made(self, implementation, make):
        """What inference does before a plugin's transformation that may raise."""
        vectorizer = implementation(make.plan(**EXAMPLE))
        reading = vectorizer.begin(self.ages(make, *(("integer_value", 40 + 10 * i) for i in range(4))))
        vectorizer.vectorize([reading], [1])
        kept = copy.copy(reading)
        vectorizer.vectorize([reading], [2])

        assert vectorizer.vectorize([kept, reading], [1, 1]).matrix[:, 0].tolist() == [1, 3]
        assert vectorizer.vectorize([kept], [2]).matrix[:, 0].tolist() == [2, 3]

    def test_more_rows_than_are_left_are_the_callers_mistake(self, implementation, make):
        vectorizer = implementation(make.plan(**EXAMPLE))

        with pytest.raises(ValueError, match="rows"):
            vectorizer.vectorize([vectorizer.begin(self.ages(make, ("integer_value", 40)))], [2])
