"""Protobuf's wire format as far as splicing needs it: where fields lie, and how new ones are written.

What is walked here has been decoded before, so tags and lengths are taken as they come; only that nothing
outside of a message is read is looked after. A cut is a ValueError.
"""

from collections.abc import Iterator
from typing import Final

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)

# Tags are (number << 3) | wire type; these are length-delimited.
FIELD_1: Final = b"\x0a"
FIELD_2: Final = b"\x12"
FIELD_3: Final = b"\x1a"

MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF


def fields(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Each field of a message: number, wire type, where it starts, where its value starts and ends.

    A group's value ends after its end tag.
    """
    while at < end:
        start = at
        tag, at = _read_varint(message, at, end)
        wire_type = tag & 7
        if wire_type == LENGTH:
            length, at = _read_varint(message, at, end)
            value_end = at + length
        else:
            value_end = _skip(message, at, end, wire_type)
        if value_end > end:
            raise _cut_short()
        yield tag >> 3, wire_type, start, at, value_end
        at = value_end


def _skip(message: bytes, at: int, end: int, wire_type: int) -> int:
    """Where the value at `at` ends; a group is skipped with all that is nested in it."""
    depth = 0
    while True:
        if wire_type == VARINT:
            _, at = _read_varint(message, at, end)
        elif wire_type == FIXED64:
            at += 8
        elif wire_type == FIXED32:
            at += 4
        elif wire_type == LENGTH:
            length, at = _read_varint(message, at, end)
            at += length
        elif wire_type == START_GROUP:
            depth += 1
        elif wire_type == END_GROUP and depth:
            depth -= 1
        else:
            raise ValueError(f"wire type {wire_type} in a message that was decoded")
        if not depth:
            return at
        tag, at = _read_varint(message, at, end)
        wire_type = tag & 7


def _read_varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    value = shift = 0
    while at < end and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & MASK64, at
        shift += 7
    raise _cut_short()


def delimited(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field."""
    return tag + varint(len(content)) + content


def text(tag: bytes, value: bytes) -> bytes:
    """A string field; nothing where it is empty, as proto3 has it."""
    return tag + varint(len(value)) + value if value else b""


def varint(value: int) -> bytes:
    """`value` is not negative."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _cut_short() -> ValueError:
    return ValueError("a message that was decoded is cut short")
