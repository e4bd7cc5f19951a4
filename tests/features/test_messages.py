import pytest

from hushar.features.messages import located, quoted, unreadable, wrong_kind, wrong_length
from hushar.features.transformations import BUILTIN


def transformation(name, **parameters):
    kind = BUILTIN[name]
    return kind(kind.Parameters(default_val=[0.0], **parameters))


def test_a_place_has_feature_row_id_and_index():
    assert located("bad", feature="age", row_id="r7", row=3) == "feature 'age' of row 'r7' (3): bad"


def test_without_a_row_id_the_index_is_left():
    assert located("bad", feature="age", row_id="", row=3) == "feature 'age' of row 3: bad"


def test_a_refused_kind_is_told_with_the_accepted_ones():
    scaling = transformation("min_max_scaling64", min=0, max=1)

    assert wrong_kind("float_array", scaling) == (
        "does not accept float_array; accepts double_value, long_value, double_array, long_array"
    )
    assert wrong_kind("float_value", transformation("one_hot_encoding", categories=["a"])) == (
        "does not accept float_value; accepts string_value, string_array"
    )


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0, "long_array brings 0 values, expected 2"),
        (1, "long_array brings 1 value, expected 2"),
        (3, "long_array brings 3 values, expected 2"),
    ],
)
def test_a_wrong_length_is_told_with_the_expected_one(length, text):
    assert wrong_length("long_array", length, 2) == text


def test_an_unreadable_value_is_shown():
    assert unreadable("string_value", "abc", None, "a number") == "string_value 'abc' is not a number"
    assert unreadable("string_array", "abc", 2, "a number") == "string_array[2] 'abc' is not a number"
    assert unreadable("long_value", -3, None, "a year") == "long_value -3 is not a year"


def test_long_strings_are_cut():
    assert quoted("x" * 64) == f"'{'x' * 64}'"
    assert quoted("x" * 65) == f"'{'x' * 64}…'"
    assert len(quoted("\x00" * 1_000_000)) < 300


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"'a\nb'"),
        ("\x1b[31m", r"'\x1b[31m'"),
        ("\u202e", r"'\u202e'"),
        ("a\\nb", r"'a\\nb'"),
        ("\x00", r"'\x00'"),
        ("it's", "'it's'"),
        ("हुशार é", "'हुशार é'"),
    ],
)
def test_control_characters_are_made_visible(text, shown):
    assert quoted(text) == shown


def test_feature_and_row_id_are_made_visible_too():
    text = located("bad", feature="a\tb", row_id="r\r\n" + "x" * 100, row=0)

    assert text == rf"feature 'a\tb' of row 'r\r\n{'x' * 61}…' (0): bad"
