import json

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from hushar.client.errors import BadRows
from hushar.client.jsonrows import row_to_json, rows_from_json
from hushar.client.kinds import ARRAY_OF
from hushar.proto.structs_pb2 import DataType, InputRow

ELEMENTS = {
    "double_value": st.floats(allow_nan=False),
    "float_value": st.floats(width=32, allow_nan=False),
    "integer_value": st.integers(-(2**31), 2**31 - 1),
    "long_value": st.integers(-(2**63), 2**63 - 1),
    "string_value": st.text(),
}


@st.composite
def values(draw):
    kind = draw(st.sampled_from(sorted(ELEMENTS)))
    if draw(st.booleans()):
        return DataType(**{kind: draw(ELEMENTS[kind])})
    return DataType(**{ARRAY_OF[kind]: {"values": draw(st.lists(ELEMENTS[kind], max_size=4))}})


rows = st.builds(
    InputRow, row_id=st.text(), features=st.dictionaries(st.text(max_size=6), values(), max_size=4)
)


@pytest.mark.slow
@given(st.lists(rows, max_size=4), st.booleans())
def test_protobufs_json_is_read_back_to_the_same_rows_in_every_form(messages, proto_names):
    documents = [MessageToDict(message, preserving_proto_field_name=proto_names) for message in messages]
    whole = json.dumps(documents)
    lines = "\r\n".join(json.dumps(document, ensure_ascii=False) for document in documents)
    assert rows_from_json(whole, source="") == messages
    assert rows_from_json(lines.encode("utf-8"), source="") == messages


@pytest.mark.slow
@given(rows)
def test_a_row_is_written_as_it_is_read(message):
    assert rows_from_json(json.dumps(row_to_json(message)), source="") == [message]


def test_the_format_of_the_documentation_is_read():
    features = '{"age": {"float_value": 1.5}, "xs": {"float_array": {"values": [1, 2]}}}'
    text = f'{{"row_id": "r", "features": {features}}}'
    age, xs = DataType(float_value=1.5), DataType(float_array={"values": [1, 2]})
    assert rows_from_json(text, source="") == [InputRow(row_id="r", features={"age": age, "xs": xs})]


def test_one_row_may_stand_on_several_lines():
    assert rows_from_json(json.dumps({"row_id": "r"}, indent=2), source="") == [InputRow(row_id="r")]


def test_bare_values_take_their_kind_from_the_configuration_else_from_what_they_are():
    text = '{"features": {"age": 41, "debt": 2, "city": "Pune", "xs": [1, 2], "gone": null}}'
    [row] = rows_from_json(text, source="", kinds={"age": "double_value", "xs": "float_value"})
    assert dict(row.features) == {
        "age": DataType(double_value=41),
        "debt": DataType(integer_value=2),
        "city": DataType(string_value="Pune"),
        "xs": DataType(float_array={"values": [1, 2]}),
    }


def test_a_kind_that_is_spelled_out_goes_before_the_configuration():
    text = '{"features": {"age": {"long_value": 1}}}'
    [row] = rows_from_json(text, source="", kinds={"age": "float_value"})
    assert row.features["age"] == DataType(long_value=1)


@pytest.mark.parametrize("value", ["null", "{}", '{"float_value": null}'])
def test_a_value_that_is_none_is_absent(value):
    assert rows_from_json(f'{{"features": {{"age": {value}}}}}', source="") == [InputRow()]


@pytest.mark.parametrize("text", ["", " \n\n", "[]", b"\xef\xbb\xbf[]"])
def test_there_may_be_no_rows(text):
    assert rows_from_json(text, source="") == []


def test_empty_members_are_allowed():
    assert rows_from_json('[{}, {"row_id": null, "features": null}]', source="") == [InputRow(), InputRow()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "^f: not JSON: "),
        ('{"row_id": "a"}\n{"row_id"', "^f: line 2: not JSON: "),
        ("[" * 100_000, "^f: not JSON that can be read"),
        ('{"a": ' * 100_000, "^f: line 1: not JSON that can be read"),
        (b'{"row_id": "\xff"}', "^f: not UTF-8 text: byte 12"),
        ("[3]", "^f: row 0: expected an object .* not a number"),
        ('"x"\n[]', "^f: line 1: expected an object .* not a string\nf: line 2: expected .* not a list"),
        ("true", "not a boolean"),
        ("null", "not null"),
        (
            '[{"row_id": "r", "feature": {}}]',
            "^f: row 0: row 'r': feature: unknown key 'feature': did you mean 'features'",
        ),
        ('[{"zzz": 1}]', "unknown key 'zzz': known are row_id, features"),
        ('[{"row_id": 1}]', "^f: row 0: row_id: expected a string, not int"),
        ('[{"features": [1]}]', "^f: row 0: features: expected an object, not a list"),
        (
            '[{"features": {"age": {"flot_value": 1}}}]',
            "feature 'age': unknown key 'flot_value': did you mean 'float_value'",
        ),
        (
            '[{"features": {"age": {"float_value": 1, "long_value": 1}}}]',
            "one kind, not float_value and long_value",
        ),
        (
            '[{"features": {"age": {"float_value": "x"}}}]',
            'float_value: expected a value of that kind, not "x"',
        ),
        (
            '[{"features": {"age": {"float_value": true}}}]',
            "float_value: expected a value of that kind, not true",
        ),
        ('[{"features": {"age": {"float_value": 1e40}}}]', "float_value: expected a value of that kind"),
        (
            '[{"features": {"age": {"float_array": [1]}}}]',
            r'expected an object {"values": \[…\]} of that kind, not \[1\]',
        ),
        (
            '[{"features": {"age": {"string_value": "\\ud800"}}}]',
            "string_value: expected a value of that kind",
        ),
        ('[{"features": {"age": true}}]', "^f: row 0: feature 'age': a boolean has no kind"),
        ('[{"features": {"age": []}}]', "the kind of an empty list is not known"),
        ('[{"features": {"\\ud800": 1}}]', "no valid Unicode"),
    ],
)
def test_a_mistake_names_file_place_feature_and_key(text, message):
    with pytest.raises(BadRows, match=message):
        rows_from_json(text, source="f")


def test_every_mistake_is_told():
    text = '{"row_id": "a", "features": {"x": true}}\nnot\n{"features": {"y": {"z": 1}, "ok": 1}}'
    with pytest.raises(BadRows) as caught:
        rows_from_json(text, source="f")
    assert [problem.key for problem in caught.value.problems] == [
        "line 1: row 'a': feature 'x'",
        "line 2",
        "line 3: feature 'y'",
    ]
