"""Rows as words → InputRow messages: `age=1.5 city=Pune`, for command lines.

    row    = pair *( spaces pair )
    pair   = name [ ":" kind ] "=" value
    kind   = "float_value" | … | "float" | "double" | "int" | "long" | "string"
    value  = JSON list | JSON string | 'text' | text without spaces

A name may be in quotes. A value in quotes is a string, a value in brackets a list; what any other text
is depends on its kind: the one named, else the one of `kinds`, else a number where it reads as one.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hushar.client.kinds import KINDS, kind_named
from hushar.client.rows import NO_KINDS, Problems, add_feature, set_row_id
from hushar.proto.structs_pb2 import InputRow

_NAME: Final = re.compile(r"""[^\s="'\[\]]+""")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER: Final = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE
)
_WORD: Final = re.compile(r"\S*")
_MAX_DIGITS: Final = 400
"""No kind holds a longer whole number, and Python refuses to read very long ones."""


def rows_from_texts(
    texts: Sequence[str], *, source: str = "", kinds: Mapping[str, str] = NO_KINDS
) -> list[InputRow]:
    """One row for each text; its id is its number, from "1". Raises BadRows with every mistake."""
    problems = Problems(source)
    rows = []
    for number, text in enumerate(texts, start=1):
        row = InputRow()
        set_row_id(row, str(number))
        with problems.noting(f"row {number}"):
            for name, kind, value in _pairs(text):
                with problems.noting(f"row {number}: feature {name!r}"):
                    if name in row.features:
                        raise ValueError("given twice")
                    add_feature(row, name, *_typed(value, kind or kinds.get(name)))
        rows.append(row)
    problems.raise_if_any()
    return rows


class _Bare(str):
    """Text that was not in quotes: it may be a number."""

    __slots__ = ()


def _pairs(text: str) -> list[tuple[str, str | None, Any]]:
    """Name, kind if one is named, and value of each pair: a list, a str (quoted) or a _Bare."""
    pairs = []
    position = _skip_spaces(text, 0)
    while position < len(text):
        name, position = _name(text, position)
        kind = None
        before, colon, after = name.rpartition(":")
        if colon and before and kind_named(after):
            name, kind = before, kind_named(after)
        elif text[position : position + 1] == ":":  # after a name in quotes
            named, position = _match(_NAME, text, position + 1, "a kind")
            kind = kind_named(named)
            if kind is None:
                raise ValueError(f"{named!r} is no kind: known are {', '.join(KINDS)}")
        if text[position : position + 1] != "=":
            raise ValueError(f"expected feature=value, not {text[position - len(name) :][:40]!r}")
        value, position = _value(text, position + 1)
        if position < len(text) and not text[position].isspace():
            raise ValueError(f"expected a space after the value of {name!r}")
        pairs.append((name, kind, value))
        position = _skip_spaces(text, position)
    return pairs


def _name(text: str, position: int) -> tuple[str, int]:
    if text[position] in "\"'":
        return _quoted(text, position)
    return _match(_NAME, text, position, "the name of a feature")


def _value(text: str, position: int) -> tuple[Any, int]:
    start = text[position : position + 1]
    if start == "[":
        try:
            return json.JSONDecoder().raw_decode(text, position)
        except (ValueError, RecursionError):
            raise ValueError(f"not a JSON list: {text[position:][:40]!r}") from None
    if start and start in "\"'":
        return _quoted(text, position)
    word = _WORD.match(text, position)
    assert word is not None, "the pattern matches the empty text"
    return _Bare(word.group()), word.end()


def _quoted(text: str, position: int) -> tuple[str, int]:
    """A JSON string in double quotes, or text in single quotes as it is."""
    if text[position] == "'":
        end = text.find("'", position + 1)
        if end >= 0:
            return text[position + 1 : end], end + 1
    else:
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text, position)
        except ValueError:
            pass
        else:
            return value, end
    raise ValueError(f"quotes are not closed: {text[position:][:40]!r}")


def _match(pattern: re.Pattern[str], text: str, position: int, what: str) -> tuple[str, int]:
    match = pattern.match(text, position)
    if match is None:
        raise ValueError(f"expected {what}, not {text[position:][:40]!r}")
    return match.group(), match.end()


def _skip_spaces(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _typed(value: Any, kind: str | None) -> tuple[Any, str | None]:
    """The value with its Python type, and the kind to send it with."""
    if not isinstance(value, _Bare) or kind == "string_value":
        return value, kind
    text = str(value)
    if kind is None and text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return text, kind  # more likely a name than a number; `age:float=nan` is the number
    if len(text) > _MAX_DIGITS and _NUMBER.fullmatch(text):
        raise ValueError("a number too long")
    if _INTEGER.fullmatch(text):
        return int(text), kind
    return (float(text) if _NUMBER.fullmatch(text) else text), kind
