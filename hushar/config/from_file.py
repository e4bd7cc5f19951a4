"""The settings of a service configuration file."""

from collections.abc import Iterator, Mapping
from typing import Any

from hushar.config.hints import KEYS, PLUGINS, SECTIONS, suggestions, unknown_hint
from hushar.config.layers import Layer, Origin, Setting
from hushar.config.reading import Content, read_document
from hushar.config.uris import base_of
from hushar.config.wording import shown_key
from hushar.errors import Problem
from hushar.texts import shown


def file_layer(content: Content, directory: str) -> Layer:
    """What the file says. `directory` is the absolute working directory, for a relative `content.uri`."""
    document = read_document(content)
    problems = list(document.problems)
    try:
        base = base_of(content.uri, directory)
    except ValueError as error:
        return Layer(problems=(*problems, Problem(content.uri, "", str(error))), unreadable=True)
    settings: list[Setting] = []
    for found in _settings(document.values or {}, content.uri, base):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            settings.append(found)
    return Layer(tuple(settings), tuple(problems), unreadable=document.values is None)


def _settings(values: Mapping[str, Any], file: str, base: str) -> Iterator[Setting | Problem]:
    for name, value in values.items():
        if name not in SECTIONS:
            yield _setting((name,), value, file, base)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if name == PLUGINS and (name, key) not in KEYS:
                    yield from _plugin_settings((name, key), inner, file, base)
                else:
                    yield _setting((name, key), inner, file, base)
        elif value is not None:
            yield Problem(file, name, f"expected a section of keys, got {shown(value)}")


def _setting(path: tuple[str, ...], value: Any, file: str, base: str) -> Setting | Problem:
    if path in KEYS:
        return Setting(path, value, Origin(file, ".".join(path), base))
    return _unknown(path, file)


def _plugin_settings(path: tuple[str, ...], value: Any, file: str, base: str) -> Iterator[Setting | Problem]:
    """The sub-section of a plugin; a plain value in its place is more likely a misspelt key."""
    name = ".".join(path)
    if value is None:
        return
    if not isinstance(value, dict):
        if suggestions(path):
            yield _unknown(path, file)
        else:
            message = f"expected a section with the settings of a plugin, got {shown(value)}"
            yield Problem(file, shown_key(name), message)
        return
    yield Setting(path, {}, Origin(file, name, base))
    for key, inner in value.items():
        yield Setting((*path, key), inner, Origin(file, f"{name}.{key}", base))


def _unknown(path: tuple[str, ...], file: str) -> Problem:
    return Problem(file, shown_key(".".join(path)), f"unknown key{unknown_hint(path)}")
