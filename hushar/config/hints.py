"""The keys of the service configuration, and what an unknown one may have meant."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel

from hushar.config.keys import Key, keys_of, sections_of
from hushar.config.service import OPTIONS, ServiceConfiguration
from hushar.nearest import VERY_LIKELY, nearest, normalized, proposal

KEYS: Final[Mapping[tuple[str, ...], Key]] = MappingProxyType(dict(keys_of(ServiceConfiguration)))
"""Every key of the service configuration but those of plugins."""
SECTIONS: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(dict(sections_of(ServiceConfiguration)))
PLUGINS: Final = "plugins"
"""The section with free sub-sections."""


def is_plugin_key(path: tuple[str, ...]) -> bool:
    """Whether a path leads into a plugin's own settings: `plugins.NAME.key`."""
    return len(path) == 3 and path[0] == PLUGINS and path[:2] not in KEYS and all(path)


def suggestions(path: Sequence[str]) -> list[str]:
    """Dotted names that an unknown key may have meant, the best ones; empty if nothing is like it.

    In this order: the same name in its own section but for case or hyphens; at the top level, that of a
    command-line option; the same name in another section; a name like it in its own section; one very much
    like it anywhere.
    """
    *section, name = path
    own = [key for key in KEYS.values() if list(key.path[:-1]) == section]
    by_name = {key.path[-1]: key.dotted for key in own}
    wanted = normalized(name)
    if wanted in by_name:
        return [by_name[wanted]]
    elsewhere = [key.dotted for key in KEYS.values() if key.path[-1] == wanted]
    if not section and wanted in _option_names():
        return [_option_names()[wanted]]
    if elsewhere:
        return elsewhere
    if not section:
        by_name |= {section_name: section_name for section_name in SECTIONS} | _other_names()
        if wanted in by_name:
            return [by_name[wanted]]
    close = nearest(name, by_name)
    if close is not None:
        return [by_name[close]]
    last_names = {key.path[-1]: key.dotted for key in KEYS.values()}
    close = nearest(name, last_names, VERY_LIKELY)
    return [last_names[close]] if close is not None else []


def unknown_hint(path: Sequence[str]) -> str:
    """What to add to "unknown key": what it may have meant, or how such a thing is written."""
    for length in range(1, len(path)):
        if tuple(path[:length]) in KEYS:
            return f", '{'.'.join(path[:length])}' is set as a whole"
    if len(path) == 1 and tuple(path[0].split(".")) in KEYS and "." in path[0]:
        section, _, name = path[0].partition(".")
        return f", the keys of a section stand inside it: '{name}' in '{section}'"
    return proposal(suggestions(path))


def _other_names() -> dict[str, str]:
    """Names that somebody may try at the top level: an option's, or a section joined to its key."""
    joined = {"_".join(path): key.dotted for path, key in KEYS.items() if len(path) > 1}
    return _option_names() | joined


def _option_names() -> dict[str, str]:
    return {normalized(option.lstrip("-")): key for key, option in OPTIONS.items()}
