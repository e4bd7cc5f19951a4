"""Rows as JSON text → InputRow messages, and back.

A row is

    {"row_id": "r", "features": {"age": {"float_value": 1.5}, "xs": {"float_array": {"values": [1, 2]}}}}

which is protobuf's JSON mapping of InputRow with the names of the proto file (the mapping's own
spelling, `rowId`, is read too). In place of `{"float_value": 1.5}` a bare number, string or list may
stand; its kind is taken from `kinds`, else from what it is (`hushar.client.values`). null is absent.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from hushar.client.kinds import KINDS, SCALAR_OF
from hushar.client.rows import NO_KINDS, Problems, add_feature, set_row_id
from hushar.client.values import assign
from hushar.proto.structs_pb2 import DataType, InputRow

_ROW_KEYS: Final = ("row_id", "features")
_SHOWN_CHARACTERS: Final = 60
_SPELLINGS: Final[Mapping[str, str]] = {"rowId": "row_id"} | {
    kind.partition("_")[0] + kind.partition("_")[2].capitalize(): kind for kind in KINDS
}
"""What protobuf's JSON mapping calls a field → its name in the proto file."""


def rows_from_json(text: str | bytes, *, source: str, kinds: Mapping[str, str] = NO_KINDS) -> list[InputRow]:
    """The rows of a JSON document: a list of rows, one row, or one row a line.

    `source` names the document in messages. Raises BadRows with every mistake: source, line or index,
    row, feature, kind.
    """
    problems = Problems(source)
    rows = []
    for place, document in _documents(text, problems):
        row = InputRow()
        _fill(row, document, place, kinds, problems)
        rows.append(row)
    problems.raise_if_any()
    return rows


def row_to_json(row: InputRow) -> dict[str, Any]:
    """The row as `rows_from_json` reads it, with every kind spelled out."""
    document: dict[str, Any] = MessageToDict(row, preserving_proto_field_name=True)
    return document


def _documents(text: str | bytes, problems: Problems) -> Iterator[tuple[str, Any]]:
    """The rows, parsed but not looked at, each with where it stands."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            problems.add("", f"not UTF-8 text: byte {error.start}")
            return
    if text.lstrip().startswith("["):
        try:
            documents = json.loads(text)
        except (ValueError, RecursionError) as error:
            problems.add("", _syntax(error))
            return
        yield from ((f"row {index}", document) for index, document in enumerate(documents))
        return
    try:
        yield "row 0", json.loads(text)
    except (ValueError, RecursionError):
        yield from _lines(text, problems)


def _lines(text: str, problems: Problems) -> Iterator[tuple[str, Any]]:
    # Not splitlines(): it also splits at characters that JSON strings may hold as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                problems.add(f"line {number}", _syntax(error))


def _syntax(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error}"
    return "not JSON that can be read: nested too deeply, or a number too long"


def _fill(row: InputRow, document: Any, place: str, kinds: Mapping[str, str], problems: Problems) -> None:
    if not isinstance(document, dict):
        problems.add(place, f'expected an object {{"row_id": …, "features": …}}, not {_json_type(document)}')
        return
    members = {_SPELLINGS.get(key, key): value for key, value in document.items()}
    if isinstance(members.get("row_id"), str):
        place = f"{place}: row {members['row_id']!r}"
    for key, value in members.items():
        if key == "row_id" and value is not None:
            with problems.noting(f"{place}: row_id"):
                set_row_id(row, value)
        elif key not in _ROW_KEYS:
            problems.add(f"{place}: {key}", _unknown(key, _ROW_KEYS))
    features = members.get("features")
    if not isinstance(features, dict | None):
        problems.add(f"{place}: features", f"expected an object, not {_json_type(features)}")
        return
    for feature, value in (features or {}).items():
        with problems.noting(f"{place}: feature {feature!r}"):
            if isinstance(value, dict):
                add_feature(row, feature, _explicit(value), None)
            else:
                add_feature(row, feature, value, kinds.get(feature))


def _explicit(value: Mapping[str, Any]) -> DataType:
    """The DataType of `{"float_value": 1.5}`; an empty one, which counts as absent, of `{}`."""
    members = {_SPELLINGS.get(key, key): inner for key, inner in value.items()}
    for key in members:
        if key not in KINDS:
            raise ValueError(_unknown(key, KINDS))
    if len(members) > 1:
        raise ValueError(f"a value has one kind, not {' and '.join(members)}")
    for kind, inner in members.items():
        message = _of_kind(kind, inner)
        if message is None:
            shape = 'an object {"values": […]}' if kind in SCALAR_OF else "a value"
            raise ValueError(f"{kind}: expected {shape} of that kind, not {_shown(inner)}")
        return message
    return DataType()


def _of_kind(kind: str, inner: Any) -> DataType | None:
    """What protobuf's JSON mapping makes of `{kind: inner}`; None where it makes nothing of it."""
    values = inner.get("values") if isinstance(inner, dict) else None
    if any(isinstance(element, bool) for element in (inner, *(values if isinstance(values, list) else ()))):
        return None  # protobuf's parser takes a boolean for a number
    message = DataType()
    if kind == "float_value" and isinstance(inner, int | float):
        # protobuf's parser refuses the largest float32 as protobuf's printer writes it, 3.4028235e+38.
        with suppress(ValueError):
            assign(message, inner, kind)
            return message
    elif kind == "float_array" and isinstance(values, list) and len(inner) == 1:
        with suppress(ValueError):
            assign(message, values, kind)
            return message
    with suppress(ParseError, ValueError, RecursionError):
        return ParseDict({kind: inner}, message)
    return None


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _unknown(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"unknown key {key!r}: {hint}"


def _json_type(value: Any) -> str:
    """What JSON calls a value that is no object."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
    return "a list"
