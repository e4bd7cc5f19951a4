"""Parameters of one feature, validated: pydantic's errors in hushar's words, with hints.

`validate` gives either an instance of a transformation's `Parameters` or every problem in them.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hushar.errors import Problem
from hushar.features.interface import TransformationParameters
from hushar.nearest import did_you_mean
from hushar.refusals import Kind, is_empty, kind_expected, limit_of
from hushar.texts import shown, visible

_EXPECTED: Final[Mapping[Kind, str]] = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "list": "a list",
    "object": "an object",
}
_BOUNDS: Final[Mapping[str, str]] = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
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
    context, value = details.get("ctx", {}), details["input"]
    kind, limit = kind_expected(details), limit_of(details)
    if kind is not None:
        return f"expected {_EXPECTED[kind]}, got {shown(value)}"
    if limit is not None:
        return f"must be {_BOUNDS[details['type']]} {limit}, got {shown(value)}"
    if is_empty(details):
        return "must not be empty"
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
        case "literal_error" | "enum":
            return f"expected {context['expected']}, got {shown(value)}"
        case _:
            return f"{details['msg']}, got {shown(value)}"
