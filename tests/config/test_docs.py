"""docs/configuration.md against the models: every key, its default and its option; the examples."""

import json
import re
import textwrap
from pathlib import Path

import pytest
from pydantic_core import to_jsonable_python

from hushar.config.hints import KEYS
from hushar.config.service import OPTIONS

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows(page):
    """Key → cells of its row, of the tables under "Keys"."""
    tables = page.partition("\n## Keys\n")[2]
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in tables.splitlines() if line[:3] == "| `"
    ]
    return {row[0].strip("`"): row for row in cells}


def example(page, language):
    """The first code block of a language."""
    found = re.search(rf"^( *)```{language}\n(.*?)^\1```", page, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(found.group(2))


def test_every_key_stands_in_the_page_and_no_other(rows):
    assert set(rows) == {key.dotted for key in KEYS.values()}


def test_defaults(rows):
    for key in KEYS.values():
        written = rows[key.dotted][2]
        if key.field.is_required():
            assert written == "required", key.dotted
            continue
        default = to_jsonable_python(key.field.get_default(call_default_factory=True))
        if default is None:
            assert written == "none", key.dotted
        else:
            assert json.loads(re.match(r"`(.*?)`", written).group(1)) == default, key.dotted


def test_options(rows):
    written = {dotted: row[3].strip("`") for dotted, row in rows.items() if row[3]}
    assert written == dict(OPTIONS)


def test_types_and_meanings_are_given(rows):
    assert [dotted for dotted, row in rows.items() if len(row) != 5 or not row[1] or not row[4]] == []


def test_examples_say_the_same(page, load):
    loaded = [
        load(example(page, language), f"service.{language}").configuration for language in ("json", "toml")
    ]
    assert loaded[0] == loaded[1]
    assert loaded[0].log.uri == "/var/log/hushar"


def test_error_messages_are_the_real_ones(page, mistakes):
    values = {"log": {"rotate_byte": 1, "queue_bytes": "64MiB"}}
    lines = mistakes(values, overrides=["log.uri.x=1"], environ={"HUSHAR_PORT": "70000"})
    assert sorted(lines) == sorted(example(page, "text").splitlines())
