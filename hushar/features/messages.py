"""What a client is told about a bad value. Every implementation of vectorization uses these words.

A message travels back in a header, and into terminals and logs: what a client sent is cut and its
control characters are made visible.
"""

from typing import Any, Final

from hushar.features.interface import Element, Transformation
from hushar.texts import visible

_SHOWN: Final = 64
"""Characters of a client's string in a message."""


def located(text: str, *, feature: str, row_id: str, row: int) -> str:
    """`feature 'age' of row 'r7' (3): …`; without a row id `feature 'age' of row 3: …`.

    `row` is the row's index in its request, from 0.
    """
    place = f"{quoted(row_id)} ({row})" if row_id else str(row)
    return f"feature '{visible(feature)}' of row {place}: {text}"


def wrong_kind(kind: str, transformation: Transformation) -> str:
    """`kind` is the field of DataType that is set, such as `float_array`."""
    accepted = [element for element in Element if element in transformation.accepts]
    kinds = [element.scalar_kind for element in accepted] + [element.array_kind for element in accepted]
    return f"does not accept {kind}; accepts {', '.join(kinds)}"


def wrong_length(kind: str, length: int, expected: int) -> str:
    """`length` is 1 for a scalar."""
    return f"{kind} brings {length} value{'' if length == 1 else 's'}, expected {expected}"


def unreadable(kind: str, value: Any, position: int | None, wants: str) -> str:
    """`position` is that of the value in its array, None for a scalar."""
    which = kind if position is None else f"{kind}[{position}]"
    return f"{which} {quoted(value) if isinstance(value, str) else value} is not {wants}"


def quoted(text: str) -> str:
    """A client's string in single quotes, at most 64 characters of it, nothing unprintable in it."""
    return f"'{visible(text[:_SHOWN])}{'…' if len(text) > _SHOWN else ''}'"
