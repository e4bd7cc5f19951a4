from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.client.errors import BadRows
from hushar.client.textrows import rows_from_texts
from hushar.proto.structs_pb2 import DataType


def features(text, **kinds):
    [row] = rows_from_texts([text], kinds=kinds)
    return dict(row.features)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=1.5", DataType(float_value=1.5)),
        ("x=41", DataType(integer_value=41)),
        ("x=-1e-3", DataType(float_value=-1e-3)),
        ("x=.5", DataType(float_value=0.5)),
        ("x=Pune", DataType(string_value="Pune")),
        ("x=", DataType(string_value="")),
        ("x=1_000", DataType(string_value="1_000")),
        ("x=nan", DataType(string_value="nan")),
        ("x=a=b", DataType(string_value="a=b")),
        ("x=it's", DataType(string_value="it's")),
        ('x="01234"', DataType(string_value="01234")),
        (r'x="a \"b\"\n"', DataType(string_value='a "b"\n')),
        ("x='New Delhi'", DataType(string_value="New Delhi")),
        ("x=[1,2.5]", DataType(float_array={"values": [1, 2.5]})),
        ('x=["a b", "c]"]', DataType(string_array={"values": ["a b", "c]"]})),
    ],
)
def test_a_value_goes_by_what_it_looks_like(text, value):
    assert features(text) == {"x": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x:float=1", DataType(float_value=1)),
        ("x:float_value=1", DataType(float_value=1)),
        ("x:double=0.1", DataType(double_value=0.1)),
        ("x:long=9007199254740993", DataType(long_value=9007199254740993)),
        ("x:int=+7", DataType(integer_value=7)),
        ("x:string=7", DataType(string_value="7")),
        ("x:float=-inf", DataType(float_value=float("-inf"))),
        ("x:double=[1,2]", DataType(double_array={"values": [1, 2]})),
        ("x:double_array=[]", DataType(double_array={})),
        ('"x":long=1', DataType(long_value=1)),
    ],
)
def test_a_kind_can_be_named(text, value):
    assert features(text, x="embedding") == {"x": value}


def test_the_configuration_decides_where_no_kind_is_named():
    given_kinds = {"age": "double_value", "year": "string_value", "xs": "long_value"}
    assert features("age=41 year=2007 xs=[1] other=1", **given_kinds) == {
        "age": DataType(double_value=41),
        "year": DataType(string_value="2007"),
        "xs": DataType(long_array={"values": [1]}),
        "other": DataType(integer_value=1),
    }


@pytest.mark.parametrize("text", ["a:b=1", '"a:b"=1', "'a:b'=1"])
def test_a_name_may_hold_a_colon(text):
    assert list(features(text)) == ["a:b"]


def test_a_name_in_quotes_may_hold_anything():
    assert set(features("\"a = b\"=1 'c d'=2 ü=3")) == {"a = b", "c d", "ü"}


def test_each_text_is_a_row_numbered_from_one():
    rows = rows_from_texts(["a=1", "", " b=2\tc=3 "])
    assert [row.row_id for row in rows] == ["1", "2", "3"]
    assert [sorted(row.features) for row in rows] == [["a"], [], ["b", "c"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=1 b", "^--row: row 1: expected feature=value, not 'b'"),
        ("=1", "expected the name of a feature, not '=1'"),
        ("a=1 [b]=2", r"expected the name of a feature, not '\[b\]=2'"),
        ("a=[1,", r"not a JSON list: '\[1,'"),
        ("a=[1]x", "expected a space after the value of 'a'"),
        ("a='x", 'quotes are not closed: "\'x"'),
        ('a="x', "quotes are not closed"),
        ('"a":bool=1', "'bool' is no kind: known are double_value"),
        ("a=1 a=2", "feature 'a': given twice"),
        ("a:float=x", "feature 'a': float_value needs a number, not 'x'"),
        ('a:float="1"', "feature 'a': float_value needs a number, not '1'"),
        ("a:int=1.5", "integer_value needs a whole number"),
        ("a:float=[x]", "not a JSON list"),
        ("a=99999999999", "name the kind, such as long_value"),
        ("a:double=" + "9" * 5000, "a number too long"),
        ("a=[true]", "a boolean has no kind"),
    ],
)
def test_a_mistake_names_row_and_feature(text, message):
    with pytest.raises(BadRows, match=message):
        rows_from_texts([text], source="--row")


def test_every_mistake_is_told():
    with pytest.raises(BadRows) as caught:
        rows_from_texts(["a:int=x b:int=y", "ok=1", "c"], source="--row")
    assert [problem.key for problem in caught.value.problems] == [
        "row 1: feature 'a'",
        "row 1: feature 'b'",
        "row 3",
    ]


@pytest.mark.slow
@given(st.text())
def test_any_text_is_a_row_or_a_mistake(text):
    with suppress(BadRows):
        assert len(rows_from_texts([text])) == 1
