"""What a process finds of the one before it: closed segments, and open ones that it cuts and closes.

An open segment is what a crash leaves. Its last record may be torn, and after a power cut anything
may stand in its last blocks, and in a closed one's; there is no checksum, damage shows as a record that
does not decode. The file is cut before the first such record, because one of them would make the whole
file unreadable. A compressed file has a checksum; of one that is damaged, what can be read of it is kept.

The worker whose segment was open writes no more: it gets the end marker that it could not leave.
Blocking; run before anything is written.
"""

import contextlib
import logging
import mmap
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError, Message

from hushar.decompression import Damaged
from hushar.proto import structs_pb2
from hushar.sidecars.segment import (
    FileOperations,
    SegmentIdentity,
    SegmentName,
    StoredSegment,
    parse_name,
    stored_segment,
)
from hushar.sidecars.spool import DEAD_LETTER, MARKED_SEGMENTS, PARTIAL_SUFFIX, write_end, write_file
from hushar.sinks.compression import read_file

logger = logging.getLogger(__name__)

Buffer = bytes | mmap.mmap

_RECORD: Final = 0x0A
"""Tag of InferenceLogs.inferenceLogBatches: field 1, length-delimited."""
_INFO: Final = b"\x82\x01"
"""Tag of InferenceLogs.segment_info: field 16, length-delimited."""
_MESSAGES: Final[tuple[type[Message], ...]] = (structs_pb2.SegmentInfo, structs_pb2.InferenceLogBatch)
"""What stands in a frame that is no record, and in one that is."""
_LENGTH_BYTES: Final = 5
"""The longest varint that can be a length (protobuf: a message has less than 2 GiB)."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What is in the file of a segment."""

    whole_bytes: int
    """Up to the end of the last whole record (or SegmentInfo)."""
    records: int
    """Whole ones."""
    has_info: bool
    """Whether a SegmentInfo stands at the end: only the closing name was missing."""
    torn_records: int
    """How many records begin behind `whole_bytes`."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the spool holds at start."""

    segments: tuple[StoredSegment, ...]
    """Oldest first."""
    torn_records: int
    """Records that were cut off: their bytes were never complete."""
    dead_letters: int = 0
    """Segments in `dead-letter`: they are not among the others."""
    unreadable: int = 0
    """Files that could not be recovered, and are left where they are."""


def scan(data: Buffer) -> Scan:
    """Find the last whole record of a segment's bytes."""
    records = position = 0
    has_info = False
    while (frame := _frame(data, position)) is not None:
        is_record, start, end = frame
        if not _decodes(_MESSAGES[is_record], data[start:end]):
            break
        records += is_record
        has_info = not is_record
        position = end
    return Scan(position, records, has_info, _torn_records(data, position))


def _frame(data: Buffer, position: int) -> tuple[bool, int, int] | None:
    """Whether a record begins at `position`, and where its content begins and ends; None if neither
    a record nor a SegmentInfo stands there whole.
    """
    if data[position : position + 1] == bytes([_RECORD]):
        is_record, start = True, position + 1
    elif data[position : position + len(_INFO)] == _INFO:
        is_record, start = False, position + len(_INFO)
    else:
        return None
    length = 0
    for shift, byte in enumerate(data[start : start + _LENGTH_BYTES]):
        length |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            start += shift + 1
            end = start + length
            return (is_record, start, end) if end <= len(data) else None
    return None


def _decodes(message: type[Message], content: bytes) -> bool:
    try:
        message.FromString(content)
    except DecodeError:
        return False
    return True


def _torn_records(data: Buffer, position: int) -> int:
    """How many records begin at or behind `position`, as far as their frames can be followed."""
    if position == len(data):
        return 0
    torn = 0
    for start in _frame_starts(data, position):
        torn += data[start : start + 1] == bytes([_RECORD])
    # A SegmentInfo cut short is no record; bytes that are no frame at all once were (at least) one.
    begins_info = data[position : position + 1] == _INFO[:1]
    return torn or (0 if begins_info else 1)


def _frame_starts(data: Buffer, position: int) -> Iterator[int]:
    while position < len(data):
        yield position
        frame = _frame(data, position)
        if frame is None:
            return
        position = frame[2]


def recover(directory: Path) -> Recovered:
    """Read the spool: what is whole and closed is listed, the rest is cut and closed, or empty and goes.

    Raises OSError if the directory cannot be read. A file that cannot be recovered is left where it
    is, with a warning in the log, and is not counted.
    """
    segments: list[StoredSegment] = []
    torn_records = unreadable = 0
    opened: set[tuple[str, int]] = set()
    for path, name in _named(directory):
        try:
            stored, torn = _recover(path, name)
        except FileNotFoundError:
            # The plain file of a compressed one.
            continue
        except OSError as error:
            logger.warning("log: %s: cannot be recovered, it is left there: %s", path, error)
            unreadable += 1
            continue
        torn_records += torn
        if name.batches is None:
            opened.add((name.identity.instance, name.identity.worker))
        if stored is not None:
            segments.append(replace(stored, keeps_name=name.batches is not None))
    segments += _ends(directory, segments, opened)
    segments.sort(key=lambda stored: (stored.identity.opened_unix_micros, stored.identity.number))
    return Recovered(tuple(segments), torn_records, len(dead_letters(directory)), unreadable)


def _named(directory: Path) -> list[tuple[Path, SegmentName]]:
    """The files of the spool that are segments, compressed ones first: they have taken the place of those
    that they were made of. What was being written when a crash came is deleted."""
    found = []
    for path in sorted(directory.iterdir()):
        if not path.is_file():
            continue
        if (name := parse_name(path.name)) is not None:
            found.append((path, name))
        elif parse_name(path.name.removesuffix(PARTIAL_SUFFIX)) is not None:
            with contextlib.suppress(OSError):
                path.unlink()
    return sorted(found, key=lambda each: each[1].compression == "none")


def dead_letters(directory: Path) -> list[StoredSegment]:
    """What lies in the spool's `dead-letter`, oldest first; nothing if that cannot be read."""
    found = []
    with contextlib.suppress(OSError):
        for path in (directory / DEAD_LETTER).iterdir():
            name = parse_name(path.name)
            if name is not None and name.batches is not None:
                size = path.stat().st_size
                found.append(stored_segment(path, name.identity, name.batches, size, name.compression))
    return sorted(found, key=lambda stored: (stored.identity.opened_unix_micros, stored.identity.number))


def _ends(
    directory: Path, segments: Sequence[StoredSegment], opened: set[tuple[str, int]]
) -> Iterator[StoredSegment]:
    """The end markers of workers that were interrupted, which are those in `opened`."""
    for instance, worker in sorted(opened):
        own = [
            stored
            for stored in segments
            if (stored.identity.instance, stored.identity.worker) == (instance, worker)
        ]
        last = max(own, key=lambda stored: stored.identity.number, default=None)
        if last is None or not last.segment.batches:
            continue
        identity = last.identity.end(last.segment.batches, str(uuid.uuid4()))
        if identity.number <= MARKED_SEGMENTS:
            continue
        try:
            yield write_end(directory, identity, FileOperations(), sync=True)
        except (OSError, ValueError) as error:
            # ValueError: a number that no SegmentInfo can hold, in a name that somebody has made up.
            logger.warning("log: %s, worker %d, gets no end marker: %s", instance, worker, error)


def _recover(path: Path, name: SegmentName) -> tuple[StoredSegment | None, int]:
    """The segment as it can be delivered, if there is one, and how many records it has lost.

    A name says with certainty how many records are in the file, but after a power cut (`fsync = "never"`)
    its bytes may never have reached the disk.
    """
    identity, batches, compression = name
    plain = path.with_name(identity.closed_name(batches or 0))
    if compression != "none" and batches is not None:
        if _is_whole(path, name):
            plain.unlink(missing_ok=True)
            return stored_segment(path, identity, batches, path.stat().st_size, compression), 0
        if plain.exists():
            # Still there, and its turn comes.
            path.unlink()
            return None, 0
        _decompress(path, plain, name)
        path.unlink()
        path = plain
    found = _scan_file(path)
    size = path.stat().st_size
    if batches is not None and found.records == batches and found.whole_bytes == size and size:
        return stored_segment(path, identity, batches, size), 0
    lost = found.torn_records if batches is None else max(0, batches - found.records)
    if lost:
        logger.warning("log: %s: torn at byte %d, %d records lost", path, found.whole_bytes, lost)
    if not found.records:
        path.unlink()
        return None, lost
    return _repair(path, identity, found), lost


def _is_whole(path: Path, name: SegmentName) -> bool:
    try:
        for _ in read_file(path, name.compression):
            pass
    except Damaged:
        return False
    return True


def _decompress(path: Path, plain: Path, name: SegmentName) -> None:
    """As far as that goes."""

    def pieces() -> Iterator[bytes]:
        with contextlib.suppress(Damaged):
            yield from read_file(path, name.compression)

    write_file(plain, pieces(), FileOperations(), sync=True)


def _repair(path: Path, identity: SegmentIdentity, found: Scan) -> StoredSegment:
    """Do for a segment of a process that is no more what that would have done."""
    size = found.whole_bytes
    with contextlib.ExitStack() as stack:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        stack.callback(os.close, descriptor)
        os.ftruncate(descriptor, size)
        if not found.has_info:
            size += _append_info(descriptor, path, identity, found)
        os.fsync(descriptor)
    closed = path.with_name(identity.closed_name(found.records))
    path.rename(closed)
    return stored_segment(closed, identity, found.records, size)


def _scan_file(path: Path) -> Scan:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return Scan(0, 0, has_info=False, torn_records=0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return scan(data)


def _append_info(descriptor: int, path: Path, identity: SegmentIdentity, found: Scan) -> int:
    """The bytes that it took; 0 if the disk has no room for it, which must not keep the rest."""
    info = identity.info(found.records)
    try:
        written = os.write(descriptor, info)
    except OSError as error:
        logger.warning("log: %s: closed without its SegmentInfo: %s", path, error)
        written = 0
    if written < len(info):
        os.ftruncate(descriptor, found.whole_bytes)
        return 0
    return written
