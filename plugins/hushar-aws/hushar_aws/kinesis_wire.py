"""Reads the fields of an InferenceLogs message, and of a batch in it, without decoding what is in them.

Only what a log file can hold is understood: fields of length-delimited type (batches and SegmentInfos;
in a batch also varints). A field is handled as its bytes, tag and length included: any sequence of them
is a message again (CONTRACT.md 1).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

BATCH: Final = 1
"""InferenceLogs.inferenceLogBatches."""
REQUEST_ID: Final = 1
MODEL_ID: Final = 2
ROWS: Final = 3
"""InferenceLogBatch.inference_log_rows."""

_HEAD_BYTES: Final = 20
"""More than a tag and a varint can take."""
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_TORN: Final = "it ends in the middle of a record"


class Field(NamedTuple):
    """One field of a message."""

    number: int
    data: bytes
    """With its tag, and its length if it has one."""
    start: int
    """Where in `data` the content begins."""

    @property
    def content(self) -> bytes:
        """Without tag and length."""
        return self.data[self.start :]


def fields_of_blocks(blocks: Iterator[bytes]) -> Iterator[Field]:
    """The fields of a message that comes in blocks, of a file. Raises ValueError if it is not one."""
    buffer = b""
    position = 0
    while True:
        if len(buffer) - position < _HEAD_BYTES:
            buffer, position = _longer(buffer[position:], blocks, _HEAD_BYTES), 0
            if not buffer:
                return
        number, start, end = _bounds(buffer, position)
        if end > len(buffer):
            buffer = _longer(buffer[position:], blocks, end - position)
            start, end, position = start - position, end - position, 0
            if end > len(buffer):
                raise ValueError(_TORN)
        yield Field(number, buffer[position:end], start - position)
        position = end


def _longer(buffer: bytes, blocks: Iterator[bytes], size: int) -> bytes:
    """The buffer with blocks appended until it has so many bytes, or there are no more blocks."""
    pieces = [buffer]
    missing = size - len(buffer)
    while missing > 0 and (block := next(blocks, None)) is not None:
        pieces.append(block)
        missing -= len(block)
    return b"".join(pieces)


def fields_of(message: bytes) -> Iterator[Field]:
    """The fields of a message in memory. Raises ValueError if it is not one."""
    position = 0
    while position < len(message):
        number, start, end = _bounds(message, position)
        if end > len(message):
            raise ValueError(_TORN)
        yield Field(number, message[position:end], start - position)
        position = end


def length_delimited(number: int, content: bytes) -> bytes:
    """The field `number` (below 16) with this content, as its bytes."""
    length = len(content)
    head = bytearray([number << 3 | _LENGTH])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + content


def _bounds(data: bytes, position: int) -> tuple[int, int, int]:
    """Number of the field at `position`, where its content begins, and where it ends."""
    tag, start = _varint(data, position)
    kind = tag & 7
    if kind == _LENGTH:
        length, start = _varint(data, start)
        return tag >> 3, start, start + length
    if kind == _VARINT:
        return tag >> 3, start, _varint(data, start)[1]
    if kind in (_FIXED32, _FIXED64):
        return tag >> 3, start, start + (4 if kind == _FIXED32 else 8)
    raise ValueError("it is not an InferenceLogs message")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins at `position`, and where it ends."""
    value = shift = 0
    for byte in data[position : position + 10]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position + shift // 7
    raise ValueError(_TORN)
