"""What pydantic's findings mean, without words: these are the callers'."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic_core import ErrorDetails

Kind = Literal["integer", "number", "string", "boolean", "list", "object"]

_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "int_type": "integer",
        "int_parsing": "integer",
        "int_from_float": "integer",
        "float_type": "number",
        "float_parsing": "number",
        "string_type": "string",
        "bool_type": "boolean",
        "bool_parsing": "boolean",
        "list_type": "list",
        "tuple_type": "list",
        "dict_type": "object",
        "mapping_type": "object",
        "model_type": "object",
        "model_attributes_type": "object",
    }
)
_LIMITS: Final[Mapping[str, str]] = MappingProxyType(
    {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
)


def kind_expected(error: ErrorDetails) -> Kind | None:
    """What the value should have been, if the finding says nothing but that it is something else."""
    return _KINDS.get(error["type"])


def limit_of(error: ErrorDetails) -> Any:
    """The limit that a number is beyond, without a needless `.0`; None if the finding is another."""
    name = _LIMITS.get(error["type"])
    if name is None:
        return None
    limit = error["ctx"][name]
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def is_empty(error: ErrorDetails) -> bool:
    """Whether a text, list or object is too short because nothing is in it."""
    return error["type"] in ("too_short", "string_too_short") and not error["input"]
