"""Whatever a text holds, what people read of it is one line that can be printed."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.texts import MAX_SHOWN, cut, printable, shown, shown_error, visible

ANY_TEXT = st.text(st.characters(exclude_categories=[]))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("ä\n", '"ä\\n"'),
        ({"a": [1]}, '{"a": [1]}'),
        (datetime.date(2024, 1, 2), '"2024-01-02"'),
        ("\u202e", '"\\u202e"'),
    ],
)
def test_shown(value, text):
    assert shown(value) == text


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=[])))
def test_anything_is_shown_on_one_line_that_can_be_printed(text):
    assert shown(text).isprintable()
    assert shown(text).encode()


def test_number_that_python_does_not_print():
    assert shown(10**5000) == "a number with thousands of digits"


def test_long_values_are_cut():
    assert len(shown("x" * 1000)) == MAX_SHOWN
    assert shown("x" * 1000).endswith("x…")


def test_other_alphabets_are_shown_as_they_are():
    assert shown({"größe": "हुशार"}) == '{"größe": "हुशार"}'


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a\x1b[2J", r"a\x1b[2J"), ("a\nb", r"a\nb"), ("\ud800", r"\ud800"), ("हुशार é", "हुशार é")],
)
def test_what_cannot_be_printed_is_escaped(text, escaped):
    assert printable(text) == visible(text) == escaped


def test_only_visible_escapes_backslashes():
    assert printable(r"a\b") == r"a\b"
    assert visible(r"a\b") == r"a\\b"


@settings(deadline=None)
@given(ANY_TEXT, ANY_TEXT)
def test_no_two_texts_look_the_same(one, other):
    assert (visible(one) == visible(other)) == (one == other)


@pytest.mark.parametrize(("text", "short"), [("", ""), ("abc", "abc"), ("abcd", "ab…")])
def test_a_long_text_is_cut(text, short):
    assert cut(text, 3) == short


def test_an_error_is_shown_on_one_short_line():
    assert shown_error(KeyError("x\n")) == r"KeyError('x\n')"
    assert len(shown_error(ValueError("x" * 1000))) == 300
