"""A log file, record by record, from chunks of bytes; no I/O.

A log file is one `InferenceLogs` message: field 1 (a batch) repeated, then perhaps field 16. It can be
cut anywhere, by a crash or because it is still being written, and everything before the cut counts. So
the file is never parsed as a whole: the reader walks its top level only, by the rules of protobuf's
wire format (tags and lengths of up to 5 bytes; field number 0, wire types 6 and 7 and unmatched groups
are no message), and hands out the bytes of each batch and SegmentInfo. In memory are one record and one
chunk.
"""

from collections.abc import Iterator
from typing import Final

BATCH_FIELD: Final = 1
INFO_FIELD: Final = 16
_VARINT, _FIXED64, _LENGTH, _GROUP, _END_GROUP, _FIXED32 = range(6)
_GIVEN: Final = {field << 3 | _LENGTH: field for field in (BATCH_FIELD, INFO_FIELD)}
"""Tag → field, of those whose content is given."""
_INFO_TAG: Final = b"\x82\x01"
"""Of a SegmentInfo, on the wire."""
_MAX_VARINT: Final = 10
_MAX_TAG: Final = 5
_MAX_LENGTH: Final = 2**31 - 1
"""protobuf's own limit for a message."""
_MAX_DEPTH: Final = 100
"""protobuf's own limit for groups in groups."""


class _Incomplete(Exception):
    """The buffer ends inside a field."""


class _Malformed(Exception):
    """No message goes on like this."""


class LogReader:
    """Takes the chunks of one file in order, and gives the bytes of its batches and SegmentInfos.

    After the last chunk call `finish()`. `torn` is None, or why the file cannot be read on from
    `offset`; chunks that come after a tear are ignored.
    """

    def __init__(self, size_bytes: int | None = None) -> None:
        self.size_bytes = size_bytes
        """Of the whole file, where known: a length that leads beyond it is a tear at once, instead of
        being waited for with everything that follows in memory."""
        self.torn: str | None = None
        self.offset = 0
        """Where in the file the record starts that was given last, then the one that is read next;
        everything before it is whole."""
        self._buffer = bytearray()
        self._base = 0  # where in the file the buffer starts

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """The records that are whole with this chunk: field and content. Of BATCH_FIELD that is a
        serialized InferenceLogBatch, of INFO_FIELD a SegmentInfo; other fields are skipped.

        Iterate to the end before the next chunk; whoever stops earlier is done with the file.
        """
        if self.torn is not None:
            return
        self._buffer += chunk
        position = 0
        try:
            while position < len(self._buffer):
                field, content, end = self._field(position)
                if field:
                    yield field, content
                position = end
                self.offset = self._base + position
        except _Incomplete:
            pass
        except _Malformed as error:
            self.torn = str(error)
        del self._buffer[:position]
        self._base += position

    def finish(self) -> None:
        """There are no more chunks: what is left over is a torn record."""
        if self.torn is None and self._buffer:
            self.torn = "the last record is not whole"

    @property
    def between_batches(self) -> bool:
        """Whether what is left over is nothing, or the start of a SegmentInfo."""
        return not self._buffer or _INFO_TAG.startswith(self._buffer[: len(_INFO_TAG)])

    def _field(self, start: int) -> tuple[int, bytes, int]:
        """The field at `start`: its number and content if it is one that is given, else 0; and its end."""
        tag, position = self._varint(start, _MAX_TAG)
        field = _GIVEN.get(tag, 0)
        if not field:
            return 0, b"", self._skip(tag, position)
        length, begin = self._length(position)
        self._require(begin + length)
        return field, bytes(memoryview(self._buffer)[begin : begin + length]), begin + length

    def _skip(self, tag: int, position: int) -> int:
        """The end of the value whose tag ends at `position`; a group ends with its end tag."""
        groups: list[int] = []
        while True:
            number, wire_type = tag >> 3, tag & 7
            if number == 0:
                raise _Malformed("no record starts here")
            if wire_type == _VARINT:
                _, position = self._varint(position, _MAX_VARINT)
            elif wire_type == _FIXED64:
                position += 8
            elif wire_type == _FIXED32:
                position += 4
            elif wire_type == _LENGTH:
                length, position = self._length(position)
                position += length
            elif wire_type == _GROUP and len(groups) < _MAX_DEPTH:
                groups.append(number)
            elif wire_type == _END_GROUP and groups and groups[-1] == number:
                groups.pop()
            else:
                raise _Malformed("no record starts here")
            self._require(position)
            if not groups:
                return position
            tag, position = self._varint(position, _MAX_TAG)

    def _length(self, position: int) -> tuple[int, int]:
        length, position = self._varint(position, _MAX_TAG)
        if length > _MAX_LENGTH:
            raise _Malformed("no record has this length")
        return length, position

    def _require(self, end: int) -> None:
        """Raises unless the buffer holds everything before `end`."""
        if end > len(self._buffer):
            if self.size_bytes is not None and self._base + end > self.size_bytes:
                raise _Malformed("the last record is not whole")
            raise _Incomplete

    def _varint(self, position: int, most: int) -> tuple[int, int]:
        """The varint at `position`, of at most `most` bytes, and its end."""
        value = 0
        for index, byte in enumerate(self._buffer[position : position + most]):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if most == _MAX_TAG and value >= 2**32:
                    break
                return value, position + index + 1
        else:
            if len(self._buffer) < position + most:
                raise _Incomplete
        raise _Malformed("no record starts here")
