"""Columnar input gives what the same values give as rows: the matrix, the errors, and their words."""

import struct

import numpy as np
import pytest
from kernelkit import counting, plans, running, values
from kernelkit.oracle import UNDECODABLE, expected
from kernelkit.requests import Maker, unit_of
from kernelkit.schema import VALUE_FIELDS
from kernelkit.wire import I32, I64, VARINT, field, tag, varint

from hushar.errors import UndecodableRequest
from hushar.features.vectorize import InputColumn, Strings

DTYPES = {"double": np.float64, "float": np.float32, "integer": np.int32, "long": np.int64}


class Table:
    """The same values as columns and as a request."""

    def __init__(self, rng, setup, rows, flaw=0.0):
        self.rng = rng
        self.maker = Maker(rng, setup, flaw=flaw)
        self.rows = rows
        self.row_ids = [rng.choice(("", f"row {i}", "é")) for i in range(rows)] if rng.random() < 0.7 else []
        self.columns = {}
        self._entries = [b""] * rows
        names = [name for name in setup.order if rng.random() < 0.8]
        for name in [*names, "nobody asked"]:
            units = 1
            element = rng.choice(("double", "float", "integer", "long", "string"))
            if name in setup.order:
                parameters = setup.parameters(name)
                units = len(parameters["default_val"]) // unit_of(parameters)
                if rng.random() >= flaw:
                    element = rng.choice(self.maker._good_elements(parameters["type"]))
                if rng.random() < flaw:
                    units = rng.choice((1, units + 1, 0))
            self._add(name, element, units)

    def _add(self, name, element, units):
        rng, rows = self.rng, self.rows
        is_array = units != 1 or rng.random() < 0.5
        present = (
            None if rng.random() < 0.5 else np.array([rng.random() < 0.7 for _ in range(rows)], np.bool_)
        )
        cells = [self._cell(name, element) for _ in range(rows * units)]
        shape = (rows, units) if is_array else (rows,)
        if element == "string":
            lengths = np.cumsum([0, *map(len, cells)], dtype=np.int64)
            given = Strings(b"".join(cells), lengths, shape)
        elif element in ("double", "float"):
            given = np.frombuffer(b"".join(cells), DTYPES[element]).reshape(shape)
        else:
            given = np.array(cells, DTYPES[element]).reshape(shape)
        self.columns[name] = InputColumn(given, present)
        for row in range(rows):
            if present is None or present[row]:
                own = cells[row * units : (row + 1) * units]
                self._entries[row] += field(2, field(1, name) + field(2, self._value(element, is_array, own)))

    def _cell(self, name, element):
        """Numbers, or for floating-point ones and strings their bytes."""
        match element:
            case "double":
                return values.float64_bits(self.rng)
            case "float":
                return values.float32_bits(self.rng)
            case "integer":
                return values.int32(self.rng)
            case "long":
                return values.int64(self.rng)
            case _:
                return self.maker._string(name)

    @staticmethod
    def _value(element, is_array, cells):
        number = VALUE_FIELDS[f"{element}_{'array' if is_array else 'value'}"][0]
        if element == "string":
            return (
                field(number, b"".join(field(1, c) for c in cells)) if is_array else field(number, cells[0])
            )
        wire = [varint(cell) if isinstance(cell, int) else cell for cell in cells]
        if is_array:
            return field(number, field(1, b"".join(wire)))
        return tag(number, {"double": I64, "float": I32}.get(element, VARINT)) + wire[0]

    @property
    def message(self):
        ids = self.row_ids or [""] * self.rows
        return b"".join(
            field(2, (field(1, row_id) if row_id else b"") + entries)
            for row_id, entries in zip(ids, self._entries, strict=True)
        )


def outcome(vectorizer, table):
    result = vectorizer.vectorize_columns(table.columns, table.rows, table.row_ids)
    assert result.matrix.dtype == np.float32
    assert result.matrix.flags.c_contiguous
    assert result.matrix.shape == (sum(result.rows), vectorizer.plan.width)
    (made,) = running.cut(result)
    assert made.error is not None or list(result.rows) == [table.rows]
    return made


@pytest.mark.parametrize("flaw", [0.0, 0.03])
def test_they_are_the_same_as_rows(make, rng, flaw):
    seen = set()
    for _ in range(120):
        setup = plans.setup(rng)
        table = Table(rng, setup, rng.choice((0, 1, 2, 7, 40)), flaw)
        vectorizer = make(setup)
        as_columns = outcome(vectorizer, table)
        counted = counting.expected(setup.configuration, [table.message])
        assert vectorizer.feature_counts() == counted
        (as_rows,) = running.outcomes(vectorizer, [table.message])
        if as_rows.error is None and as_columns.error is not None:
            # A column of the wrong kind that no row has.
            pytest.fail(str(as_columns))
        assert as_columns.same(as_rows), f"{as_columns}\n{as_rows}"
        assert as_columns.agrees(expected(setup.configuration, table.message))
        seen.add(type(as_columns.error).__name__)
    assert seen == {"NoneType", "InvalidRequest"}


@pytest.fixture(scope="module")
def words():
    return plans.setup_of(
        {
            "n": {"type": "identity", "default_val": [-1, -2]},
            "w": {"type": "embedding", "embeddings": {"a": [1], "é": [2]}, "default_val": [9]},
        }
    )


@pytest.mark.parametrize("name", ["n", "w", "nobody asked"])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"a\xed\xa0\x80", b"\xa9"])
def test_strings_that_are_no_utf8_are_undecodable_in_each_column_and_row(make, words, name, bad):
    data = b"1" + bad
    column = InputColumn(
        Strings(data, np.array([0, 1, 1, len(data), len(data)]), (2, 2)), np.array([True, False])
    )
    scalar = InputColumn(Strings(bad, np.array([0, len(bad), len(bad)]), (2,)), np.array([False, True]))
    for given in (column, scalar):
        result = make(words).vectorize_columns({name: given}, 2)
        assert {i: (type(e), str(e)) for i, e in result.errors.items()} == {
            0: (UndecodableRequest, UNDECODABLE)
        }
        assert list(result.rows) == [0]


def test_a_character_cut_in_two_is_no_utf8(make, words):
    """The bytes of a column are UTF-8, but not its strings."""
    column = InputColumn(Strings("é".encode(), np.array([0, 1, 2]), (2,)))
    assert type(make(words).vectorize_columns({"w": column}, 2).errors[0]) is UndecodableRequest


def test_bytes_of_no_string_do_not_matter(make, words):
    column = InputColumn(Strings(b"\xffa\xff", np.array([1, 2, 2]), (2,)))
    assert make(words).vectorize_columns({"w": column}, 2).matrix[:, 2].tolist() == [1, 9]


@pytest.mark.parametrize(
    "column",
    [
        InputColumn(np.zeros(3, np.float32)),
        InputColumn(np.zeros((2, 1, 1), np.float32)),
        InputColumn(np.zeros((), np.float32)),
        InputColumn(np.zeros(2, np.float16)),
        InputColumn(np.zeros(2, ">f4")),
        InputColumn(np.zeros(2, object)),
        InputColumn(np.zeros(2, np.float32), np.zeros(3, np.bool_)),
        InputColumn(np.zeros(2, np.float32), np.zeros(2, np.uint8)),
        InputColumn(Strings(b"ab", np.array([0, 1]), (2,))),
        InputColumn(Strings(b"ab", np.array([0, 1, 3]), (2,))),
        InputColumn(Strings(b"ab", np.array([-1, 1, 2]), (2,))),
        InputColumn(Strings(b"ab", np.array([0, 2, 1]), (2,))),
        InputColumn(Strings(b"ab", np.array([0, 2**62, 2]), (2,))),
        InputColumn(Strings(b"ab", np.array([0, 1, 2], np.int32), (2,))),
        InputColumn(Strings(b"ab", np.array([0, 1, 2]), (3,))),
        InputColumn(Strings(b"ab", np.array([[0, 1, 2]]), (2,))),
    ],
)
@pytest.mark.parametrize("name", ["n", "w", "o"])
def test_columns_that_do_not_fit_are_the_callers_mistake(make, words, column, name):
    with pytest.raises(ValueError, match=r"column|presence|offsets"):
        make(words).vectorize_columns({name: column}, 2)


def test_arrays_need_not_lie_end_to_end(make, words):
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    offsets = np.array([0, 7, 1, 7, 2, 7])[::2]
    columns = {
        "n": InputColumn(wide[::2, ::3], np.array([True, True, False, False])[::2]),
        "w": InputColumn(Strings(b"ab", np.ascontiguousarray(offsets), (2,))),
    }
    made = make(words).vectorize_columns(columns, 2)
    assert made.matrix.tolist() == [[0, 3, 1], [-1, -2, 9]]
    columns["w"] = InputColumn(Strings(b"ab", offsets, (2,)))
    assert make(words).vectorize_columns(columns, 2).matrix.tolist() == made.matrix.tolist()
    frozen = np.frombuffer(struct.pack("<4f", 1, 2, 3, 4), np.float32).reshape(2, 2)
    fortran = np.asfortranarray(frozen)
    for given in (frozen, fortran):
        made = make(words).vectorize_columns({"n": InputColumn(given)}, 2)
        assert made.matrix[:, :2].tolist() == [[1, 2], [3, 4]]


def test_without_columns_or_rows(make, words):
    assert make(words).vectorize_columns({}, 2).matrix.tolist() == [[-1, -2, 9]] * 2
    assert make(words).vectorize_columns({}, 0).matrix.shape == (0, 3)
    none = InputColumn(Strings(b"", np.array([0]), (0,)))
    assert make(words).vectorize_columns({"w": none}, 0).errors == {}
