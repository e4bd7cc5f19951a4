"""The settings of the environment: `HUSHAR_KEY`, `HUSHAR_SECTION__KEY`, `HUSHAR_PLUGINS__NAME__KEY`.

Kubernetes sets variables of its own for every Service of a namespace, for one named "hushar" among
others HUSHAR_PORT=tcp://…; so a variable that nobody knows is an error only where its name has the two
underscores of a section.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from hushar.config.hints import KEYS, PLUGINS, is_plugin_key, suggestions
from hushar.config.layers import Layer, Origin, Setting, Text, joined, text_setting
from hushar.config.wording import shown_key
from hushar.errors import Problem
from hushar.nearest import nearest, proposal

FILE = "environment"
"""Stands in problems where a file's name would."""
PREFIX = "HUSHAR_"
SHORT_PORT = "HUSHAR_PORT"
"""Another name of HUSHAR_PORT_NUMBER."""

_KUBERNETES = re.compile(
    r"HUSHAR_(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)
_BY_NAME: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {PREFIX + "__".join(path).upper(): path for path in KEYS} | {SHORT_PORT: ("port_number",)}
)


def environment_layer(environ: Mapping[str, str], directory: str) -> Layer:
    """What the variables say. `directory` is the absolute working directory, for relative paths."""
    ours = {name: environ[name] for name in sorted(environ) if name.startswith(PREFIX)}
    from_kubernetes = [name for name, value in ours.items() if _is_kubernetes(name, value)]
    parts = [_variable(name, value, directory) for name, value in ours.items() if name not in from_kubernetes]
    long_port = f"{PREFIX}PORT_NUMBER"
    both = SHORT_PORT in ours and SHORT_PORT not in from_kubernetes and long_port in ours
    if both and ours[SHORT_PORT] != ours[long_port]:
        message = f"differs from {long_port}, which means the same"
        parts.append(Layer(problems=(Problem(FILE, SHORT_PORT, message),)))
    if from_kubernetes:
        names = ", ".join(from_kubernetes)
        parts.append(Layer(warnings=(f"{FILE}: ignored, because Kubernetes sets them itself: {names}",)))
    return joined(parts)


def _is_kubernetes(name: str, value: str) -> bool:
    if name in _BY_NAME:
        return name == SHORT_PORT and bool(_ADDRESS.match(value))
    return "__" not in name and bool(_KUBERNETES.fullmatch(name))


def _variable(name: str, value: str, directory: str) -> Layer:
    origin = Origin(FILE, shown_key(name), directory)
    path = _BY_NAME.get(name)
    if path is not None:
        return text_setting(path, value, origin, is_text=KEYS[path].is_text)
    path = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__", 2))
    if is_plugin_key(path) and name == name.upper():
        return Layer((Setting(path, Text.at(value, origin), origin),))
    if "__" not in name:
        known = {each.removeprefix(PREFIX) for each in _BY_NAME}  # the prefix alone would be a likeness
        close = nearest(name.removeprefix(PREFIX), sorted(known))
        hint = proposal([PREFIX + close] if close is not None else [])
        return Layer(warnings=(f"{FILE}: {origin.key}: unknown variable, ignored{hint}",))
    return Layer(problems=(origin.problem(f"unknown key{_hint(path)}"),))


def _hint(path: tuple[str, ...]) -> str:
    """As for an unknown key in a file, in the names of variables."""
    if path[:-1] in KEYS:
        return f", {_name_of(path[:-1])} is set as a whole"
    names = [_name_of(dotted.split(".")) for dotted in suggestions(path)]
    if path[0] == PLUGINS and len(path) == 2 and not names:
        return f", a plugin's is {PREFIX}PLUGINS__NAME__KEY"
    return proposal(names)


def _name_of(path: Sequence[str]) -> str:
    return PREFIX + "__".join(path).upper()
