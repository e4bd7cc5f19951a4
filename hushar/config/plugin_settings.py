"""The settings of a plugin, checked against the plugin's own model.

`plugins.NAME` is kept as it was given until the plugin is loaded. Its values from the environment and
the command line are still text then (`Text`), because only the model knows whether they are JSON.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hushar.config.findings import last_name, suffix
from hushar.config.keys import text_only
from hushar.config.layers import Text, value_of_text
from hushar.config.wording import message_of, shown_key
from hushar.errors import Problem
from hushar.nearest import nearest, proposal

ModelT = TypeVar("ModelT", bound=BaseModel)


def validate_plugin_settings(
    name: str, raw: Mapping[str, Any], model: type[ModelT], file: str
) -> ModelT | list[Problem]:
    """An instance of `model` made of `plugins.NAME`, or every problem with it.

    Args:
        name: The plugin's name, as its section is called.
        raw: `configuration.plugins.settings[name]`, or an empty mapping if there is none.
        model: What the plugin's `hushar_settings` returned.
        file: The configuration file, for problems; values from elsewhere know their origin.
    """
    names = {alias: field.annotation for field_name, field in model.model_fields.items()
             for alias in (field_name, field.alias) if alias}  # fmt: skip
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in raw.items():
        if not isinstance(value, Text):
            values[key] = value
            continue
        values[key], duplicates = value_of_text(str(value), is_text=text_only(names.get(key, str)))
        problems += [value.origin.problem(f"duplicate key {item.path!r} in its JSON") for item in duplicates]
    try:
        made = model.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        for finding in error.errors(include_url=False):
            message = message_of(finding, last_name(finding["loc"]))
            if finding["type"] == "extra_forbidden" and len(finding["loc"]) == 1:
                message += _hint(name, str(finding["loc"][0]), names)
            problems.append(_problem(name, finding["loc"], raw, file, message))
        return problems
    return problems or made


def _hint(name: str, key: str, known: Mapping[str, Any]) -> str:
    close = nearest(key, known)
    return proposal([f"plugins.{name}.{close}"]) if close is not None else ""


def _problem(
    name: str, path: tuple[int | str, ...], raw: Mapping[str, Any], file: str, message: str
) -> Problem:
    value = raw.get(str(path[0])) if path else None
    if isinstance(value, Text):
        return value.origin.problem(message, suffix(path[1:]))
    return Problem(file, shown_key(f"plugins.{name}{suffix(path)}"), message)
