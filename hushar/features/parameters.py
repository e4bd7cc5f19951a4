"""Parameters of one feature, validated: pydantic's errors in hushar's words, with hints.

`validate` gives either an instance of a transformation's `Parameters` or every problem in them.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hushar.errors import Problem
from hushar.features.interface import TransformationParameters, shown
from hushar.features.messages import visible
from hushar.nearest import did_you_mean

_EXPECTED: Final[Mapping[str, str]] = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a string",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
"""pydantic's types of error that say nothing but which type a value should have."""

_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}

_LIKE_IT: Final = 5
"""Problems of one key that are told one by one: a list of a thousand strings is one mistake."""


def validate(
    model: type[TransformationParameters], given: Mapping[str, Any], *, file: str, key: str
) -> tuple[TransformationParameters | None, list[Problem]]:
    """The parameters of a feature, or None and what is wrong with them.

    `given` is what stands beside `type`; `key` is the path of the feature in the file.
    """
    try:
        return model.model_validate(dict(given)), []
    except ValidationError as error:
        return None, _problems(model, error, file=file, key=key)


def _problems(
    model: type[TransformationParameters], error: ValidationError, *, file: str, key: str
) -> list[Problem]:
    by_parameter: dict[str, list[Problem]] = {}
    for details in error.errors(include_url=False):
        path = visible(_path(details["loc"]))
        parameter = str(details["loc"][0]) if details["loc"] else ""
        problem = Problem(file, f"{key}.{path}" if path else key, _message(model, details))
        by_parameter.setdefault(parameter, []).append(problem)
    problems = []
    for parameter, found in by_parameter.items():
        problems += found[:_LIKE_IT]
        if len(found) > _LIKE_IT:
            more = f"and {len(found) - _LIKE_IT} more problems in it"
            problems.append(Problem(file, f"{key}.{parameter}", more))
    return problems


def _path(location: tuple[int | str, ...]) -> str:
    """`embeddings.red[2]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _message(model: type[TransformationParameters], details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "missing":
            return "required key is missing"
        case "extra_forbidden" if len(details["loc"]) == 1:
            known = ["type", *(field.alias or name for name, field in model.model_fields.items())]
            hint = did_you_mean(str(details["loc"][0]), known)
            return f"unknown key{hint}; known keys: {', '.join(known)}"
        case "extra_forbidden":
            return "unknown key"
        case "value_error":
            return str(context["error"])
        case "too_short" if context["actual_length"] == 0:
            return "must not be empty"
        case kind if kind in _EXPECTED:
            return f"expected {_EXPECTED[kind]}, got {shown(details['input'])}"
        case kind if kind in _BOUNDS:
            words, limit = _BOUNDS[kind]
            return f"must be {words} {context[limit]:g}, got {shown(details['input'])}"
        case "literal_error" | "enum":
            return f"expected {context['expected']}, got {shown(details['input'])}"
        case _:
            return f"{details['msg']}, got {shown(details['input'])}"
