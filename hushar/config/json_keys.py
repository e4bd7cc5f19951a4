"""Finds keys that stand twice in a JSON object, and where.

The standard library's parser keeps the last of them without a word, and its hooks know no positions.
A text that `json.loads` has taken is read again here, by tokens; only strings and punctuation matter.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]')


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that its object already has."""

    path: str
    """Where it stands: `feature_transformations.age.min`, `rows[3].a`."""
    line: int
    column: int
    """Both from 1, columns in characters."""
    first_line: int
    first_column: int


@dataclass(slots=True)
class _Container:
    """An object or array that is being read."""

    path: str
    is_object: bool
    seen: dict[str, int] = field(default_factory=dict)
    """Key → offset of its first appearance."""
    key: str = ""
    index: int = 0
    expects_key: bool = True

    def child_path(self) -> str:
        if self.is_object:
            return f"{self.path}.{self.key}" if self.path else self.key
        return f"{self.path}[{self.index}]"


def find_duplicates(text: str) -> Iterator[Duplicate]:
    """Every repeated key of a valid JSON text, in order of appearance."""
    stack: list[_Container] = []
    for match in _TOKEN.finditer(text):
        piece = match.group()
        if piece in ("{", "["):
            path = stack[-1].child_path() if stack else ""
            stack.append(_Container(path, is_object=piece == "{"))
        elif piece in ("}", "]"):
            stack.pop()
        elif piece == ",":
            stack[-1].index += 1
            stack[-1].expects_key = True
        elif piece == ":":
            stack[-1].expects_key = False
        elif stack and stack[-1].is_object and stack[-1].expects_key:
            container = stack[-1]
            container.key = json.loads(piece)
            first = container.seen.setdefault(container.key, match.start())
            if first != match.start():
                yield Duplicate(
                    container.child_path(), *position(text, match.start()), *position(text, first)
                )


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of an offset in `text`."""
    line = text.count("\n", 0, offset) + 1
    return line, offset - text.rfind("\n", 0, offset)
