"""How values are told, and how a value with a unit is to be written."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.config.wording import MAX_SHOWN, shown, suffix_hint


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


@pytest.mark.parametrize(
    ("value", "key", "hint"),
    [
        ("1KiB", "rotate_bytes", ": values have no unit suffix, write 1024"),
        ("1k", "rotate_bytes", ": values have no unit suffix, write 1024"),
        ("2 GB", "queue_bytes", ": values have no unit suffix, write 2000000000"),
        ("5min", "rotate_seconds", ": values have no unit suffix, write 300"),
        ("1.5h", "rotate_seconds", ": values have no unit suffix, write 5400"),
        ("100us", "fsync_seconds", ": values have no unit suffix, write 0.0001"),
        ("3 parsecs", "rotate_seconds", ": values have no unit suffix"),
        ("5", "workers", ": write it without quotes"),
        ("5k", "workers", ""),
        ("many", "rotate_bytes", ""),
        (None, "rotate_bytes", ""),
    ],
)
def test_suffix_hint(value, key, hint):
    assert suffix_hint(value, key) == hint
