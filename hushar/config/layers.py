"""The layers of a service configuration: settings with their origin, and which of them holds.

A layer (file, environment, command line) is a list of settings, each under its full path. A later
setting of the same path replaces an earlier one as a whole, lists and objects too; None takes it back
to the default.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hushar.config.json_keys import Duplicate
from hushar.config.reading import MalformedError, parse_json
from hushar.errors import Problem


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting was written."""

    file: str
    """The file's URI as the user named it, "environment" or "command line"."""
    key: str
    """Its name there: `log.uri`, `HUSHAR_LOG__URI`, `--log-uri`."""
    base: str
    """What a relative path in it is relative to; see `hushar.config.uris.base_of`."""

    def problem(self, message: str, suffix: str = "") -> Problem:
        """A problem at this place, or inside its value (`suffix` such as `[3]`)."""
        return Problem(self.file, self.key + suffix, message)


class Text(str):
    """Text from the environment or the command line for a plugin's key, whose type is not yet known."""

    origin: Origin

    @classmethod
    def at(cls, text: str, origin: Origin) -> "Text":
        """The text with the place where it was written."""
        made = cls(text)
        made.origin = origin
        return made


@dataclass(frozen=True, slots=True)
class Setting:
    """One value under one key, and its origin."""

    path: tuple[str, ...]
    value: Any
    origin: Origin


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says."""

    settings: tuple[Setting, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    unreadable: bool = False
    """Nothing could be read, so that nothing is known of what is missing."""


def merged(layers: Iterable[Layer]) -> dict[tuple[str, ...], Setting]:
    """The settings that hold, by path; the layers from the weakest to the strongest."""
    return {setting.path: setting for layer in layers for setting in layer.settings}


def as_tree(settings: Iterable[Setting]) -> dict[str, Any]:
    """Nested objects, as a document has them, without the settings that are None."""
    tree: dict[str, Any] = {}
    for setting in settings:
        if setting.value is None:
            continue
        node = tree
        for part in setting.path[:-1]:
            node = node.setdefault(part, {})
        is_object = isinstance(setting.value, dict)
        node[setting.path[-1]] = dict(setting.value) if is_object else setting.value
    return tree


def value_of_text(text: str, *, is_text: bool) -> tuple[Any, tuple[Duplicate, ...]]:
    """A value that was given as text, and the keys that stand twice in it.

    JSON where it parses as JSON and the key takes other things than text, else the text itself.
    """
    if is_text:
        return text, ()
    try:
        return parse_json(text)
    except MalformedError:
        return text, ()


def text_setting(path: tuple[str, ...], text: str, origin: Origin, *, is_text: bool) -> Layer:
    """The setting that a text makes, or the problem with it."""
    value, duplicates = value_of_text(text, is_text=is_text)
    problems = tuple(origin.problem(f"duplicate key {item.path!r} in its JSON") for item in duplicates)
    return Layer((Setting(path, value, origin),), problems)


def joined(layers: Iterable[Layer]) -> Layer:
    """Several parts of one layer as one."""
    parts = tuple(layers)
    return Layer(
        tuple(setting for part in parts for setting in part.settings),
        tuple(problem for part in parts for problem in part.problems),
        tuple(warning for part in parts for warning in part.warnings),
    )
