"""The settings of the command line: `--set section.key=value`, and the options with names of their own."""

from collections.abc import Iterable, Mapping
from typing import Any

from hushar.config.hints import KEYS, PLUGINS, SECTIONS, is_plugin_key, unknown_hint
from hushar.config.layers import Layer, Origin, Setting, Text, joined, text_setting
from hushar.config.service import OPTIONS
from hushar.config.wording import shown_key
from hushar.errors import Problem
from hushar.texts import shown

FILE = "command line"
"""Stands in problems where a file's name would."""


def command_line_layer(options: Mapping[str, Any], overrides: Iterable[str], directory: str) -> Layer:
    """What the command line says; `--set` is stronger than an option, a later `--set` than an earlier.

    `options` maps dotted keys to values; None and an empty tuple (an option that may be repeated) mean
    "not given". `directory` is the absolute working directory, for relative paths. Raises KeyError
    for an option of a key that does not exist, which is a mistake of the program.
    """
    given = {dotted: value for dotted, value in options.items() if value is not None and value != ()}
    return joined(
        [
            *(_option(dotted, value, directory) for dotted, value in given.items()),
            *(_override(text, directory) for text in overrides),
        ]
    )


def _option(dotted: str, value: Any, directory: str) -> Layer:
    key = KEYS[tuple(dotted.split("."))]
    origin = Origin(FILE, OPTIONS.get(dotted, f"--{dotted}"), directory)
    if isinstance(value, str):
        return text_setting(key.path, value, origin, is_text=key.is_text)
    return Layer((Setting(key.path, value, origin),))


def _override(text: str, directory: str) -> Layer:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        message = f"expected section.key=value, got {shown(text)}"
        return Layer(problems=(Problem(FILE, "--set", message),))
    path = tuple(name.split(".", 2))
    origin = Origin(FILE, f"--set {shown_key(name)}", directory)
    if path in KEYS:
        return text_setting(path, value, origin, is_text=KEYS[path].is_text)
    if is_plugin_key(path):
        return Layer((Setting(path, Text.at(value, origin), origin),))
    return Layer(problems=(origin.problem(_unknown(path)),))


def _unknown(path: tuple[str, ...]) -> str:
    if len(path) == 1 and path[0] in SECTIONS:
        return f"is a section, its keys are set as {path[0]}.key=value"
    hint = unknown_hint(path)
    if path[0] == PLUGINS and len(path) == 2 and not hint:
        hint = ", a plugin's is plugins.NAME.key"
    return f"unknown key{hint}"
