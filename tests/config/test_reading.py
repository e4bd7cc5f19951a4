"""From bytes to keys and values; the messages are in test_mistakes.py."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.config.reading import MalformedError, parse_json, parse_toml, read_document
from hushar.storage.interface import Blob


@pytest.mark.parametrize("uri", ["s.json", "S.JSON", "s3://bucket/s.json"])
def test_json_by_suffix(blob, uri):
    document = read_document(blob({"a": 1}, uri))
    assert (document.values, document.problems) == ({"a": 1}, ())


def test_toml_by_suffix(blob):
    assert read_document(blob("a.b = 1\r\n", "s.Toml")).values == {"a": {"b": 1}}


def test_empty_toml_has_no_keys(blob):
    assert read_document(blob("", "s.toml")).values == {}


@pytest.mark.parametrize(("uri", "text"), [("s.json", '\ufeff{"a": 1}'), ("s.toml", "\ufeffa = 1")])
def test_byte_order_mark_is_no_content(blob, uri, text):
    assert read_document(blob(text, uri)).values == {"a": 1}


def test_schema_of_an_editor_is_left_out(blob):
    assert read_document(blob({"$schema": "./schema.json", "a": 1})).values == {"a": 1}


def test_last_of_repeated_keys_is_in_the_value():
    value, duplicates = parse_json('{"a": 1, "a": 2}')
    assert value == {"a": 2}
    assert [item.path for item in duplicates] == ["a"]


def test_pair_of_surrogates_is_a_character(blob):
    document = read_document(blob(r'{"a": "\ud83d\ude00"}'))
    assert (document.values, document.problems) == ({"a": "😀"}, ())


@settings(deadline=None, max_examples=40)
@given(st.binary(), st.sampled_from(["x.json", "x.toml", "x"]))
def test_any_bytes_are_values_or_problems(data, uri):
    document = read_document(Blob(uri, data))
    assert document.values is not None or document.problems


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_json_is_read_as_it_was_written(values):
    assert parse_json(json.dumps(values, ensure_ascii=False)) == (values, ())


def test_toml_of_a_depth_that_no_stack_holds():
    with pytest.raises(MalformedError, match="nested too deeply"):
        parse_toml("a = " + "[" * 100_000)
