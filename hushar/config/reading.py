"""From a document's bytes to a mapping: JSON or TOML, by the suffix of its name.

What is wrong with the document itself is found here: bytes that are not UTF-8, syntax (with line and
column), keys that stand twice. What its keys mean is the callers' business.
"""

import codecs
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hushar.config.json_keys import Duplicate, find_duplicates, position
from hushar.config.wording import shown_key
from hushar.errors import Problem
from hushar.texts import lower_first, shown

SCHEMA_KEY = "$schema"
"""A JSON document may name its schema for editors; the key is no part of the configuration."""

_TOML_DUPLICATES = re.compile(r"Cannot (?:overwrite a value|declare .* twice)")
_TOML_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Content(Protocol):
    """A document that has been read. `hushar.storage.interface.Blob` is one."""

    @property
    def uri(self) -> str:
        """Where it was read from, as the user named it."""
        ...

    @property
    def data(self) -> bytes:
        """All of it."""
        ...


@dataclass(frozen=True, slots=True)
class Document:
    """What could be read, and what was wrong."""

    values: Mapping[str, Any] | None
    """The top-level keys; None if nothing could be read."""
    problems: tuple[Problem, ...]


class MalformedError(ValueError):
    """A text cannot be parsed; `str()` says where and why."""


def read_document(content: Content) -> Document:
    """The document's keys and values, with every problem of the document as such. Raises nothing."""
    try:
        value, duplicates = _parse(content)
    except MalformedError as error:
        return Document(None, (Problem(content.uri, "", str(error)),))
    problems = [Problem(content.uri, shown_key(item.path), _repeated(item)) for item in duplicates]
    if not isinstance(value, dict):
        problems.append(Problem(content.uri, "", f"expected an object of keys, got {shown(value)}"))
        return Document(None, tuple(problems))
    if isinstance(value.get(SCHEMA_KEY), str):
        del value[SCHEMA_KEY]
    escapes = b"\\ud" in content.data.lower()  # few documents have any; the search below is slow
    for path in _surrogates(value) if escapes else ():
        message = "half of a surrogate pair is no text"
        problems.append(Problem(content.uri, shown_key(path), message))
    return Document(value, tuple(problems))


def parse_json(text: str) -> tuple[Any, tuple[Duplicate, ...]]:
    """The value of a JSON text, and its repeated keys (the last of them is in the value).

    `NaN`, `Infinity` and `-Infinity` are numbers, as Python's json has them. Raises MalformedError.
    """
    repeated = False

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        made = dict(pairs)
        repeated = repeated or len(made) != len(pairs)
        return made

    try:
        value = json.loads(text, object_pairs_hook=object_of)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise MalformedError(f"not valid JSON: {at}: {lower_first(error.msg)}") from error
    except RecursionError as error:
        raise MalformedError("not valid JSON: nested too deeply") from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise MalformedError("not valid JSON: an integer has too many digits") from error
    return value, tuple(find_duplicates(text)) if repeated else ()


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises MalformedError, also for a key that stands twice."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MalformedError(_toml_message(str(error), text)) from error
    except RecursionError as error:
        raise MalformedError("not valid TOML: nested too deeply") from error
    except ValueError as error:  # as in JSON, or a date that does not exist
        raise MalformedError("not valid TOML: a number or a date cannot be read") from error


def _parse(content: Content) -> tuple[Any, tuple[Duplicate, ...]]:
    name = content.uri.lower()
    if name.endswith(".json"):
        text = _decode(content.data)
        if not text.strip():
            raise MalformedError("the file is empty")
        return parse_json(text)
    if name.endswith(".toml"):
        return parse_toml(_decode(content.data)), ()
    raise MalformedError("expected a file name that ends in .json or .toml")


def _decode(data: bytes) -> str:
    """UTF-8 with or without a byte order mark."""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = position(before, len(before))
        byte = data[error.start]
        raise MalformedError(f"not UTF-8: line {line}, column {column}: byte 0x{byte:02x}") from error


def _toml_message(message: str, text: str) -> str:
    found = _TOML_POSITION.search(message)
    what = message[: found.start()] if found else message
    line, column = position(text, len(text))
    if found and found.group(1):
        line, column = int(found.group(1)), int(found.group(2))
    if _TOML_DUPLICATES.match(what):
        rows = text.splitlines()
        key = rows[line - 1].partition("=")[0].strip() if line <= len(rows) else ""
        what = f"duplicate key {key}".rstrip()
    return f"not valid TOML: line {line}, column {column}: {lower_first(what)}"


def _repeated(item: Duplicate) -> str:
    first = f"first at line {item.first_line}, column {item.first_column}"
    return f"duplicate key at line {item.line}, column {item.column} ({first})"


def _surrogates(value: Any) -> Iterator[str]:
    """Paths of keys and texts that cannot be encoded; JSON's escapes can make such."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, str):
            if not _encodable(item):
                yield path
        elif isinstance(item, dict):
            for key, inner in item.items():
                inner_path = f"{path}.{key}" if path else key
                if not _encodable(key):
                    yield inner_path
                waiting.append((inner_path, inner))
        elif isinstance(item, list):
            waiting.extend((f"{path}[{index}]", inner) for index, inner in enumerate(item))


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
