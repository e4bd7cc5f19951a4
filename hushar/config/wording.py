"""The words of configuration errors: how values, keys and pydantic's findings are told.

One table turns pydantic's error types into hushar's sentences, so that a mistake reads the same in the
service file, in the environment, on the command line and in a plugin's settings.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import ErrorDetails

from hushar.refusals import Kind, is_empty, kind_expected, limit_of
from hushar.texts import cut, lower_first, printable, shown

MAX_SHOWN_KEY = 300
"""Characters of a key: a feature must still be recognized by its name."""

CONFLICT = "conflict"
"""Error type of two settings that exclude each other; `ctx["other"]` names the second."""

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_SUFFIXED = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")

_BYTES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "b": 1, "byte": 1, "bytes": 1,
        "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
        "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40,
        "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
        "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
    }
)  # fmt: skip
_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
        "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
        "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
    }
)  # fmt: skip


def shown_key(key: str) -> str:
    """A key for a message: as it was written, but on one line and printable."""
    return printable(cut(key, MAX_SHOWN_KEY))


def message_of(error: ErrorDetails, key: str) -> str:
    """What to tell the user about one finding of pydantic; `key` is the setting's name with its unit."""
    kind = kind_expected(error)
    if kind is not None:
        value = error["input"]
        return f"expected {_EXPECTED[kind]}, got {shown(value)}{_hint(kind, value, key)}"
    limit = limit_of(error)
    if limit is not None:
        return f"must be {_BOUNDS[error['type']]} {limit}, got {shown(error['input'])}"
    if is_empty(error):
        return "must not be empty"
    make = _SENTENCES.get(error["type"])
    return lower_first(error["msg"]) if make is None else make(error)


def suffix_hint(value: Any, key: str) -> str:
    """How to write a value that has a unit, or is a number in quotes; empty for all else."""
    if not isinstance(value, str):
        return ""
    if _NUMBER.fullmatch(value):
        return ": write it without quotes"
    match = _SUFFIXED.fullmatch(value)
    units = _units(key)
    if match is None or units is None:
        return ""
    factor = units.get(match.group(2).lower())
    if factor is None:
        return ": values have no unit suffix"
    amount = round(float(match.group(1)) * factor, 6)
    number = int(amount) if amount.is_integer() else amount
    return f": values have no unit suffix, write {number}"


def _units(key: str) -> Mapping[str, float] | None:
    if key.endswith("_bytes"):
        return _BYTES
    if key.endswith("_seconds"):
        return _SECONDS
    return None


def _hint(kind: Kind, value: Any, key: str) -> str:
    """How to write the value so that it has the kind that was expected; empty for what has no such form."""
    match kind:
        case "integer" | "number":
            return suffix_hint(value, key)
        case "string" if isinstance(value, int | float) and not isinstance(value, bool):
            return f': write "{shown(value)}"'
        case "list" if isinstance(value, str) and value[:1] not in ("", "["):
            return f": write {shown([value])}"
        case _:
            return ""


def _finite(error: ErrorDetails) -> str:
    return f"expected a finite number, got {shown(error['input'])}"


def _literal(error: ErrorDetails) -> str:
    expected = error["ctx"]["expected"].replace("'", '"')
    return f"expected {expected}, got {shown(error['input'])}"


def _constant(message: str) -> Callable[[ErrorDetails], str]:
    def sentence(_: ErrorDetails) -> str:
        return message

    return sentence


def _own(error: ErrorDetails) -> str:
    """A ValueError of a validator: its own words."""
    return str(error["ctx"]["error"])


def _verbatim(error: ErrorDetails) -> str:
    return error["msg"]


_EXPECTED: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "integer": "an integer",
        "number": "a number",
        "string": "a string",
        "boolean": "true or false",
        "list": "a list",
        "object": "an object of keys",
    }
)
_BOUNDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "greater_than": "greater than",
        "greater_than_equal": "at least",
        "less_than": "less than",
        "less_than_equal": "at most",
    }
)
_SENTENCES: Final[Mapping[str, Callable[[ErrorDetails], str]]] = MappingProxyType(
    {
        "string_unicode": _constant("expected text that can be encoded as UTF-8"),
        "finite_number": _finite,
        "literal_error": _literal,
        "missing": _constant("required key is missing"),
        "extra_forbidden": _constant("unknown key"),
        "value_error": _own,
        CONFLICT: _verbatim,
    }
)
