import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.client.values import assign, checked, kind_of_dtype
from hushar.proto.structs_pb2 import DataType, FloatArray, StringArray


def assigned(value, kind=None):
    target = DataType()
    assert assign(target, value, kind)
    return target


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, DataType(float_value=1.5)),
        (-7, DataType(integer_value=-7)),
        ("", DataType(string_value="")),
        ([1, 2], DataType(integer_array={"values": [1, 2]})),
        ((1, 2.5), DataType(float_array={"values": [1, 2.5]})),
        (["a", ""], DataType(string_array={"values": ["a", ""]})),
        (float("inf"), DataType(float_value=float("inf"))),
        (2**31 - 1, DataType(integer_value=2**31 - 1)),
    ],
)
def test_a_bare_value_goes_by_its_python_type(value, message):
    assert assigned(value) == message


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (1, "float_value", DataType(float_value=1)),
        (1, "double_value", DataType(double_value=1)),
        (0.1, "double_value", DataType(double_value=0.1)),
        (1, "long_value", DataType(long_value=1)),
        ("x", "string_value", DataType(string_value="x")),
        ([1, 0.1], "double_value", DataType(double_array={"values": [1, 0.1]})),
        ([1], "long_array", DataType(long_array={"values": [1]})),
        ([], "string_value", DataType(string_array={})),
    ],
)
def test_a_kind_decides_for_bare_values_and_lists_of_them(value, kind, message):
    assert assigned(value, kind) == message
    assert assigned(value, kind).WhichOneof("data_type") == message.WhichOneof("data_type")


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("float16", "float_value"),
        ("float32", "float_value"),
        ("float64", "double_value"),
        ("int8", "integer_value"),
        ("uint16", "integer_value"),
        ("int32", "integer_value"),
        ("uint32", "long_value"),
        ("int64", "long_value"),
        ("U3", "string_value"),
    ],
)
def test_the_dtype_decides_for_numpy_values_whatever_the_kinds_say(dtype, kind):
    array = np.array(["1", "2"]).astype(dtype)
    assert kind_of_dtype(array.dtype) == kind
    element = array.tolist()[0]
    other = "string_value" if kind != "string_value" else "float_value"
    for value in (array[0], array[0:1].reshape(())):
        assert assigned(value, other) == DataType(**{kind: element})
    expected = DataType(**{kind.replace("_value", "_array"): {"values": array.tolist()}})
    for value in (array, list(array)):
        assert assigned(value, other) == expected


@pytest.mark.parametrize("dtype", ["bool", "uint64", "complex64", "datetime64[s]", "S3", "longdouble"])
def test_a_dtype_that_no_kind_holds_is_refused(dtype):
    with pytest.raises(ValueError, match="has no kind on the wire: convert it with astype"):
        assign(DataType(), np.zeros(2, dtype=dtype))


def test_an_empty_array_has_the_kind_of_its_dtype():
    assert assigned(np.zeros(0, np.float32)).WhichOneof("data_type") == "float_array"


def test_an_array_of_objects_goes_by_its_values():
    assert assigned(np.array(["a", "b"], dtype=object)) == DataType(
        string_array=StringArray(values=["a", "b"])
    )


def test_messages_are_taken_as_they_are():
    assert assigned(DataType(long_value=3)) == DataType(long_value=3)
    assert assigned(DataType(float_array=FloatArray()), "string_value").HasField("float_array")


@pytest.mark.parametrize("value", [None, DataType()])
def test_nothing_is_absent(value):
    target = DataType()
    assert not assign(target, value, "float_value")
    assert target == DataType()


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, None, "a boolean has no kind"),
        (True, "float_value", "needs a number, not True"),
        (b"x", None, "a bytes has no kind"),
        (object, None, "a type has no kind"),
        (2**31, None, "name the kind, such as long_value"),
        (2**31, "integer_value", "2147483648 does not fit integer_value"),
        (-(2**63) - 1, "long_value", "does not fit long_value"),
        (10**400, "double_value", "a number of 1329 bits does not fit double_value"),
        (1e39, "float_value", r"1e\+39 does not fit float_value"),
        (1.5, "integer_value", "needs a whole number, not 1.5"),
        ("1.5", "float_value", "needs a number, not '1.5'"),
        ("x" * 99, "float_value", r"needs a number, not 'x{39}…$"),
        (1, "string_value", "needs a string, not 1"),
        ("\ud800", None, "no valid Unicode"),
        (1.5, "float_array", "float_array needs a list of values, not 1.5"),
        ([], None, "the kind of an empty list is not known"),
        ([1, "a"], None, "not numbers and strings"),
        ([[1]], None, "a list has no kind"),
        ([1, None], "float_value", "needs a number, not None"),
        ([np.float32(1), np.int64(1)], None, "not of float_value and long_value"),
        (np.zeros((2, 2)), None, "one dimension, not 2"),
    ],
)
def test_a_value_that_cannot_be_sent_is_refused_with_what_is_wrong(value, kind, message):
    with pytest.raises(ValueError, match=message):
        assign(DataType(), value, kind)


@given(st.floats(allow_nan=False))
def test_float_kinds_take_every_float_that_they_can_hold(value):
    assert checked(value, "double_value") == value
    with np.errstate(over="ignore"):
        fits = np.isfinite(np.float32(value)) or not np.isfinite(value)
    if fits:
        assert assigned(value, "float_value").float_value == np.float32(value)
    else:
        with pytest.raises(ValueError, match="does not fit"):
            checked(value, "float_value")
