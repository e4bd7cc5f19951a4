"""How many rows a message has, by its top level alone.

Nothing inside of a row is looked at, so that a call can be admitted or refused before its rows are
read. The readable twin of the kernel's `count`.
"""

from collections.abc import Sequence
from typing import Final

_VARINT, _FIXED64, _LENGTH, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_INPUTS: Final = 2 << 3 | _LENGTH

_TAG_BYTES: Final = 5
"""Of a tag, and of a length; more than these, or more than 32 bits, do not decode."""
_VARINT_BYTES: Final = 10


class _Malformed(Exception):
    """Here the message stops being one."""


def count_rows(messages: Sequence[bytes]) -> list[int]:
    """For each message its number of rows; for one that does not decode some number, at least 0."""
    return [_count(message) for message in messages]


def _count(message: bytes) -> int:
    rows, at, depth = 0, 0, 0
    try:
        while at < len(message):
            tag, at = _varint(message, at, _TAG_BYTES)
            rows += tag == _INPUTS and not depth
            wire_type = tag & 7
            if wire_type == _START_GROUP:
                depth += 1
            elif wire_type == _END_GROUP:
                depth -= 1
                if depth < 0:
                    break
            else:
                at = _after(message, at, wire_type)
                if at > len(message):
                    rows -= tag == _INPUTS and not depth
    except _Malformed:
        pass
    return rows


def _after(message: bytes, at: int, wire_type: int) -> int:
    """Where the value at `at` ends; it may be beyond the message."""
    match wire_type:
        case 0:
            return _varint(message, at, _VARINT_BYTES)[1]
        case 1:
            return at + 8
        case 2:
            length, at = _varint(message, at, _TAG_BYTES)
            return at + length
        case 5:
            return at + 4
    raise _Malformed


def _varint(message: bytes, at: int, longest: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    value = 0
    for index, byte in enumerate(message[at : at + longest]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise _Malformed
