"""The words of configuration errors: how values, keys and pydantic's findings are told.

One table turns pydantic's error types into hushar's sentences, so that a mistake reads the same in the
service file, in the environment, on the command line and in a plugin's settings.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import ErrorDetails

MAX_SHOWN = 60
"""Characters of a value that a message shows."""
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


def shown(value: Any) -> str:
    """A value for a message: as JSON where it is JSON, on one line, printable, cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python prints no integer of more than some thousand digits
        return "a number with thousands of digits"
    return _printable(text, MAX_SHOWN)


def shown_key(key: str) -> str:
    """A key for a message: as it was written, but on one line and printable."""
    return _printable(key, MAX_SHOWN_KEY)


def message_of(error: ErrorDetails, key: str) -> str:
    """What to tell the user about one finding of pydantic; `key` is the setting's name with its unit."""
    make = _SENTENCES.get(error["type"])
    if make is None:
        return _lower_first(error["msg"])
    return make(error, key)


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


def _printable(text: str, limit: int) -> str:
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


def _expected(what: str) -> Callable[[ErrorDetails, str], str]:
    def sentence(error: ErrorDetails, _: str) -> str:
        return f"expected {what}, got {shown(error['input'])}"

    return sentence


def _number(what: str) -> Callable[[ErrorDetails, str], str]:
    def sentence(error: ErrorDetails, key: str) -> str:
        value = error["input"]
        return f"expected {what}, got {shown(value)}{suffix_hint(value, key)}"

    return sentence


def _string(error: ErrorDetails, _: str) -> str:
    value = error["input"]
    quoted = isinstance(value, int | float) and not isinstance(value, bool)
    hint = f': write "{shown(value)}"' if quoted else ""
    return f"expected a string, got {shown(value)}{hint}"


def _list(error: ErrorDetails, _: str) -> str:
    value = error["input"]
    hint = f": write {shown([value])}" if isinstance(value, str) and value[:1] not in ("", "[") else ""
    return f"expected a list, got {shown(value)}{hint}"


def _literal(error: ErrorDetails, _: str) -> str:
    expected = error["ctx"]["expected"].replace("'", '"')
    return f"expected {expected}, got {shown(error['input'])}"


def _bound(words: str, name: str) -> Callable[[ErrorDetails, str], str]:
    def sentence(error: ErrorDetails, _: str) -> str:
        limit = error["ctx"][name]
        limit = int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        return f"must be {words} {limit}, got {shown(error['input'])}"

    return sentence


def _constant(message: str) -> Callable[[ErrorDetails, str], str]:
    def sentence(_: ErrorDetails, __: str) -> str:
        return message

    return sentence


def _own(error: ErrorDetails, _: str) -> str:
    """A ValueError of a validator: its own words."""
    return str(error["ctx"]["error"])


def _verbatim(error: ErrorDetails, _: str) -> str:
    return error["msg"]


def _same(names: Iterable[str], make: Callable[[ErrorDetails, str], str]) -> dict[str, Any]:
    return dict.fromkeys(names, make)


_SENTENCES: Final[Mapping[str, Callable[[ErrorDetails, str], str]]] = MappingProxyType(
    {
        **_same(("int_type", "int_parsing", "int_from_float"), _number("an integer")),
        **_same(("float_type", "float_parsing"), _number("a number")),
        **_same(("bool_type", "bool_parsing"), _expected("true or false")),
        **_same(("list_type", "tuple_type"), _list),
        **_same(
            ("dict_type", "mapping_type", "model_type", "model_attributes_type"),
            _expected("an object of keys"),
        ),
        "string_type": _string,
        "string_unicode": _constant("expected text that can be encoded as UTF-8"),
        "string_too_short": _constant("must not be empty"),
        "too_short": _constant("must not be empty"),
        "finite_number": _expected("a finite number"),
        "literal_error": _literal,
        "missing": _constant("required key is missing"),
        "extra_forbidden": _constant("unknown key"),
        "greater_than": _bound("greater than", "gt"),
        "greater_than_equal": _bound("at least", "ge"),
        "less_than": _bound("less than", "lt"),
        "less_than_equal": _bound("at most", "le"),
        "value_error": _own,
        CONFLICT: _verbatim,
    }
)
