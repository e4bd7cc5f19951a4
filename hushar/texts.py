"""Texts that people read: on one line, nothing unprintable in them, cut where they are long.

What comes from a file, a plugin or a client may hold line breaks, terminal escapes, or half of a
surrogate pair that no stream can encode; here they become Python escapes.
"""

import json
from typing import Any, Final

MAX_SHOWN: Final = 60
"""Characters of a value that a message shows."""
_MAX_SHOWN_ERROR: Final = 300
"""Characters of an exception."""


def printable(text: str) -> str:
    r"""What cannot be printed as Python escapes: `\n`, `\x1b`, `\u202e`. Backslashes stay as they are."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def visible(text: str) -> str:
    r"""As `printable`, and each backslash twice, so that no two texts look the same."""
    return printable(text.replace("\\", "\\\\"))


def cut(text: str, limit: int) -> str:
    """At most `limit` characters; the last of a longer text is an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown(value: Any) -> str:
    """A value for a message: as JSON where it is JSON, on one line, printable, cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python prints no integer of more than some thousand digits
        return "a number with thousands of digits"
    return printable(cut(text, MAX_SHOWN))


def shown_error(error: BaseException) -> str:
    """An exception that nobody expected, for a message: `KeyError('x')`."""
    return printable(cut(repr(error), _MAX_SHOWN_ERROR))


def lower_first(message: str) -> str:
    """A library's sentence as the part of a longer one."""
    return message[:1].lower() + message[1:]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
