"""Where keys of a JSON text stand twice."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.config.json_keys import find_duplicates

KEYS = st.sampled_from(["a", "b", 'q"', "\\", "é", "x,y", "{", "[0]"])
SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(st.tuples(KEYS, inner), max_size=4).map(tuple),
    max_leaves=20,
)
"""Objects are tuples of (key, value), so that keys may repeat."""


def written(value):
    """JSON text of a value."""
    if isinstance(value, tuple):
        return "{" + ",\n".join(f"{json.dumps(key)} : {written(inner)}" for key, inner in value) + "}"
    if isinstance(value, list):
        return "[ " + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


def repeated_paths(value, path=""):
    """Paths of repeated keys, found without reading a text; each as often as it is repeated."""
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from repeated_paths(inner, f"{path}[{index}]")
    elif isinstance(value, tuple):
        seen = set()
        for key, inner in value:
            inner_path = f"{path}.{key}" if path else key
            if key in seen:
                yield inner_path
            seen.add(key)
            yield from repeated_paths(inner, inner_path)


@settings(deadline=None, max_examples=40)
@given(VALUES)
def test_finds_exactly_the_repeated_keys(value):
    found = [item.path for item in find_duplicates(written(value))]
    assert found == list(repeated_paths(value))


def test_positions_and_escapes():
    text = '{"a": "b\\": 1",\n  "b": [{}, {"ä": 1, "\\u00e4": 2}],\n"a": 0}'
    found = [
        (item.path, item.line, item.column, item.first_line, item.first_column)
        for item in find_duplicates(text)
    ]
    assert found == [("b[1].ä", 2, 22, 2, 14), ("a", 3, 1, 1, 2)]
