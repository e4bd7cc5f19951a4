"""From the file of a segment to Kinesis records, each one an InferenceLogs message: blocking, no network.

The same file always gives the same records in the same order, so that a delivery that broke off can go
on behind what is delivered already.
"""

import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from hushar.plugins import Segment, read_segment
from hushar_aws.kinesis_wire import (
    BATCH,
    MODEL_ID,
    REQUEST_ID,
    ROWS,
    Field,
    fields_of,
    fields_of_blocks,
    length_delimited,
)

RECORD_BYTES: Final = 1024 * 1024
"""Data and partition key of one record."""
RECORDS_A_CALL: Final = 500
BYTES_A_CALL: Final = 5 * 1024 * 1024
"""Data and partition keys of one call. AWS takes 10 MiB by now; others, moto among them, do not."""
KEY_CHARACTERS: Final = 256
FIELDS_AT_ONCE: Final = 64
"""Some 0.1 ms of work."""

_FRAME_BYTES: Final = 4
"""Tag and length of a batch that fits a record."""

PartitionKey = Literal["request_id", "random", "model_id"]


class BrokenSegment(Exception):
    """A file that cannot be read as a segment."""


@dataclass(frozen=True, slots=True)
class KinesisRecord:
    """One record to be put."""

    ordinal: int
    """Its place among those of its segment, from 0."""
    data: bytes
    partition_key: str

    @property
    def size_bytes(self) -> int:
        """What counts against the limits."""
        return len(self.data) + len(self.partition_key.encode())


@dataclass(slots=True)
class Rest:
    """What no record can hold: batches of their own, with the rows that are too large."""

    batches: list[bytes] = field(default_factory=list)
    """With tag and length: joined, an InferenceLogs message."""


def groups(segment: Segment, key: PartitionKey, rest: Rest) -> Generator[list[KinesisRecord]]:
    """The records of the segment, by calls. What is too large is added to `rest`.

    Raises OSError, and BrokenSegment for a file that is no segment.
    """
    group: list[KinesisRecord] = []
    size = 0
    for record in records(segment, key, rest):
        if len(group) == RECORDS_A_CALL or (group and size + record.size_bytes > BYTES_A_CALL):
            yield group
            group, size = [], 0
        group.append(record)
        size += record.size_bytes
    if group:
        yield group


def records(segment: Segment, key: PartitionKey, rest: Rest) -> Iterator[KinesisRecord]:
    """As `groups`, one by one."""
    try:
        yield from _Packer(key, rest).pack(fields_of_blocks(read_segment(segment)))
    except ValueError as error:
        raise BrokenSegment(str(error)) from error


class _Packer:
    """Fills records: as many fields as fit, in their order."""

    def __init__(self, key: PartitionKey, rest: Rest) -> None:
        self._key_of = _KEYS[key]
        self._rest = rest
        self._count = 0
        self._key = ""
        self._pieces: list[bytes] = []
        self._room = 0

    def pack(self, fields: Iterable[Field]) -> Iterator[KinesisRecord]:
        """All records. Raises ValueError."""
        for i, each in enumerate(fields):
            if i % FIELDS_AT_ONCE == 0:
                # Gives the interpreter's lock away: calls are served meanwhile.
                time.sleep(0)
            if each.number != BATCH:
                # A SegmentInfo: it goes where the batch before it went.
                yield from self._add(each.data, self._key or _random_key(b""))
                continue
            key = "" if len(each.data) <= self._room else self._key_of(each.content)
            if len(each.data) + len(key.encode()) <= RECORD_BYTES:
                yield from self._add(each.data, key)
                continue
            for piece in self._cut(each.content, RECORD_BYTES - len(key.encode())):
                yield from self._add(piece, key)
        yield from self._flush()

    def _add(self, data: bytes, key: str) -> Iterator[KinesisRecord]:
        """One field more; `key` is that of a record which begins with it."""
        if len(data) > self._room:
            yield from self._flush()
            self._key = key
            self._room = RECORD_BYTES - len(key.encode())
        self._pieces.append(data)
        self._room -= len(data)

    def _flush(self) -> Iterator[KinesisRecord]:
        self._room = 0
        if self._pieces:
            yield KinesisRecord(self._count, b"".join(self._pieces), self._key)
            self._count += 1
            self._pieces = []

    def _cut(self, batch: bytes, limit: int) -> Iterator[bytes]:
        """A batch as several of at most `limit` bytes, each with everything but other rows."""
        fields = list(fields_of(batch))
        head = b"".join(each.data for each in fields if each.number != ROWS)
        rows = [each.data for each in fields if each.number == ROWS]
        room = limit - _FRAME_BYTES - len(head)
        fitting = [row for row in rows if len(row) <= room]
        too_large = [row for row in rows if len(row) > room]
        if too_large or not rows:
            self._rest.batches.append(length_delimited(BATCH, head + b"".join(too_large)))
        part: list[bytes] = []
        size = 0
        for row in fitting:
            if size + len(row) > room:
                yield length_delimited(BATCH, head + b"".join(part))
                part, size = [], 0
            part.append(row)
            size += len(row)
        if part:
            yield length_delimited(BATCH, head + b"".join(part))


def _string(batch: bytes, number: int) -> str:
    """The string in the field `number` of a batch, cut to what a partition key can have; "" if none."""
    found = next((each.content for each in fields_of(batch) if each.number == number), b"")
    return found.decode("utf-8", "replace")[:KEY_CHARACTERS]


def _random_key(_batch: bytes) -> str:
    return uuid.uuid4().hex


_KEYS: Final[dict[PartitionKey, Callable[[bytes], str]]] = {
    # A key cannot be empty.
    "request_id": lambda batch: _string(batch, REQUEST_ID) or _random_key(batch),
    "model_id": lambda batch: _string(batch, MODEL_ID) or _random_key(batch),
    "random": _random_key,
}
