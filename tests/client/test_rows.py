import numpy as np
import pytest

from hushar.client.errors import BadRows
from hushar.client.rows import MAX_PROBLEMS, rows_from_python
from hushar.proto.structs_pb2 import DataType, InputRow


class Series:
    """As much of a pandas Series as is needed: numpy can make an array of it."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype=dtype)

    def __len__(self):
        return len(self._values)


def row(row_id="", **features):
    return InputRow(row_id=row_id, features=features)


AGE = DataType(float_value=1.5)
CITY = DataType(string_value="Pune")


def test_a_sequence_holds_rows():
    rows = rows_from_python([{"age": 1.5, "city": "Pune"}, {}, {"age": None, "city": "Pune"}])
    assert rows == [row(age=AGE, city=CITY), row(), row(city=CITY)]


def test_a_mapping_holds_columns():
    rows = rows_from_python({"age": np.array([1.5, 2.5], np.float32), "city": ["Pune", None]})
    assert rows == [row(age=AGE, city=CITY), row(age=DataType(float_value=2.5))]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (np.array([1, 2]), [DataType(long_value=1), DataType(long_value=2)]),
        (np.array(["a", "bc"]), [DataType(string_value="a"), DataType(string_value="bc")]),
        (np.array(["a", None], dtype=object), [DataType(string_value="a"), None]),
        (Series([1.0, 2.0]), [DataType(double_value=1), DataType(double_value=2)]),
        (
            np.array([[1, 2], [3, 4]], np.int32),
            [DataType(integer_array={"values": [1, 2]}), DataType(integer_array={"values": [3, 4]})],
        ),
        (
            [[1.5], [2, 3]],
            [DataType(float_array={"values": [1.5]}), DataType(integer_array={"values": [2, 3]})],
        ),
        ([1, np.float64(2)], [DataType(integer_value=1), DataType(double_value=2)]),
    ],
)
def test_a_column_may_be_an_array_or_a_sequence(column, values):
    rows = rows_from_python({"x": column})
    assert rows == [row(**({} if value is None else {"x": value})) for value in values]


def test_kinds_apply_to_bare_values_in_both_shapes():
    kinds = {"age": "double_value"}
    expected = [row(age=DataType(double_value=2))]
    assert rows_from_python([{"age": 2}], kinds=kinds) == expected
    assert rows_from_python({"age": [2]}, kinds=kinds) == expected
    assert rows_from_python({"age": np.array([2.0], np.float32)}, kinds=kinds) == [
        row(age=DataType(float_value=2))
    ]


@pytest.mark.parametrize("rows", [[{}, {}], {"x": np.zeros(2, np.float32)}])
def test_rows_get_their_ids(rows):
    assert [message.row_id for message in rows_from_python(rows, row_ids=["a", "b"])] == ["a", "b"]
    assert [message.row_id for message in rows_from_python(rows)] == ["", ""]


@pytest.mark.parametrize("rows", [[], {}, {"x": []}, {"x": np.zeros(0)}])
def test_no_rows_are_no_rows(rows):
    assert rows_from_python(rows) == []


@pytest.mark.parametrize(
    ("rows", "row_ids", "message"),
    [
        ([{}, {"age": True}], None, "row 1: feature 'age': a boolean"),
        ([{1: 2}], None, "row 0: feature 1: the name of a feature is a string"),
        ([{"\ud800": 2}], None, "no valid Unicode"),
        (["age"], None, "row 0: expected a mapping of features, not str"),
        ([{}], ["a", "b"], "row_ids: 2 ids for 1 rows"),
        ([{}], [1], "row_ids: row 0: expected a string, not int"),
        ([{}], ["\ud800"], "row_ids: row 0: .* no valid Unicode"),
        ({"a": [1], "b": [1, 2]}, None, "columns differ in length: 'a': 1, 'b': 2"),
        ({"a": 1.5}, None, "feature 'a': expected a column of values, not float"),
        ({"a": "text"}, None, "feature 'a': expected a column of values, not str"),
        ({"a": np.float32(1)}, None, "feature 'a': expected a column"),
        ({"a": np.array([True])}, None, "feature 'a': a numpy bool has no kind"),
        ({"a": [1, b""]}, None, "row 1: feature 'a': a bytes has no kind"),
        ({1: np.zeros(1)}, None, "feature 1: the name of a feature is a string"),
    ],
)
def test_a_mistake_names_its_row_and_feature(rows, row_ids, message):
    with pytest.raises(BadRows, match=message):
        rows_from_python(rows, row_ids=row_ids)


def test_every_mistake_is_told():
    with pytest.raises(BadRows) as caught:
        rows_from_python([{"a": True, "b": 1}, {"c": b""}])
    assert [problem.key for problem in caught.value.problems] == ["row 0: feature 'a'", "row 1: feature 'c'"]


def test_of_very_many_mistakes_the_rest_is_counted():
    with pytest.raises(BadRows, match=r"\n3 more problems$") as caught:
        rows_from_python([{"a": True}] * (MAX_PROBLEMS + 3))
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
