"""One segment on disk: its name, and its life from the first record to the closed file.

A segment is a file that holds one `InferenceLogs` message at every record boundary (CONTRACT.md 1):
appending is writing, cutting is truncating. While it is open its name ends in `.open`:

    INSTANCE.wWORKER.sNUMBER.tTOTAL.UUID_MICROS.open
    INSTANCE.wWORKER.sNUMBER.tTOTAL.UUID_MICROS.nBATCHES.pb[.gz|.zst]

TOTAL is how many batches the worker had written to earlier segments, so that a segment found after a
crash can still be given its SegmentInfo; uuid and time make the key, fixed when it is opened, so that
a repeated delivery overwrites its own object. Everything here blocks and belongs into a thread; one
segment is touched by one thread at a time, but `sync` may run beside `append`.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from hushar.proto import structs_pb2
from hushar.records import Piece, each_record
from hushar.sidecars.appending import AppendedFile, Stage, Step
from hushar.sinks.compression import SUFFIXES
from hushar.sinks.disk import sync_directory
from hushar.sinks.interface import Compression, Segment

logger = logging.getLogger(__name__)

OPEN_SUFFIX: Final = ".open"
INSTANCE_LENGTH: Final = 64
"""File names have at most 255 bytes; this leaves room for the other parts at their longest."""
CLOSING_BYTES: Final = 256
"""More than a SegmentInfo can take with an instance of that length."""

_NAME: Final = re.compile(
    r"(?P<instance>[A-Za-z0-9_-]{1,64})\.w(?P<worker>\d{1,10})\.s(?P<number>\d{1,20})\.t(?P<total>\d{1,20})"
    r"\.(?P<unique>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})_(?P<micros>\d{1,20})"
    r"(?:\.n(?P<batches>\d{1,20})\.pb(?P<suffix>\.gz|\.zst)?|\.open)",
    re.ASCII,
)
_COMPRESSIONS: Final = {suffix: compression for compression, suffix in SUFFIXES.items()}

# What a name may say: what SegmentInfo can hold, with room left to add up, and a date can say.
_MAX_WORKER: Final = 2**32 - 1
_MAX_NUMBER: Final = 2**64 - 1
_MAX_BATCHES: Final = 2**63 - 1
_MAX_MICROS: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000 + 999_999


def free_bytes(directory: Path) -> int:
    """What is left for this user on the file system of `directory`."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


@dataclass(frozen=True, slots=True)
class FileOperations:
    """The calls that can fail for a disk's reasons; tests put failing ones in their place."""

    write: Callable[[int, memoryview], int] = os.write
    truncate: Callable[[int, int], None] = os.ftruncate
    sync: Callable[[int], None] = os.fsync
    free_bytes: Callable[[Path], int] = free_bytes


def instance_name(text: str) -> str:
    """`text` as it may stand in file names and SegmentInfo: ASCII letters, digits, `-` and `_`."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:INSTANCE_LENGTH] or "hushar"


@dataclass(frozen=True, slots=True)
class SegmentIdentity:
    """Who wrote a segment, which one it is, and when it was opened: what its name says."""

    instance: str
    """One start of one server, as `instance_name` gives it."""
    worker: int
    """Counted from 1."""
    number: int
    """Of this worker since its start, counted from 1."""
    total_before: int
    """Batches that the worker had written before this segment."""
    unique: str
    """A uuid4."""
    opened_unix_micros: int

    @property
    def stem(self) -> str:
        """The part of the file's name that stays the same."""
        return (
            f"{self.instance}.w{self.worker}.s{self.number}.t{self.total_before}"
            f".{self.unique}_{self.opened_unix_micros}"
        )

    @property
    def open_name(self) -> str:
        """The file's name until it is closed."""
        return self.stem + OPEN_SUFFIX

    def closed_name(self, batches: int, compression: Compression = "none") -> str:
        """The file's name once it is closed with this many batches."""
        return f"{self.stem}.n{batches}.pb{SUFFIXES[compression]}"

    def end(self, batches: int, unique: str) -> "SegmentIdentity":
        """The end marker of the worker whose last segment this is, with so many batches (see `info`).

        It lies beside that segment: who reads the one partition reads the other.
        """
        return SegmentIdentity(
            instance=self.instance,
            worker=self.worker,
            number=self.number + (batches > 0),
            total_before=self.total_before + batches,
            unique=unique,
            opened_unix_micros=max(0, self.opened_unix_micros - 1),
        )

    @property
    def key(self) -> str:
        """Where it is delivered to, relative to the sink's root (CONTRACT.md 4), if it is not compressed."""
        opened = datetime.fromtimestamp(self.opened_unix_micros // 1_000_000, UTC)
        return (
            f"year={opened:%Y}/month={opened:%m}/day={opened:%d}/hour={opened:%H}/mi={opened:%M}"
            f"/{self.unique}_{self.opened_unix_micros}.pb"
        )

    def info(self, batches: int) -> bytes:
        """The serialized SegmentInfo, with field 16's tag and length: it can be appended as it is.

        A whole message too: with 0 batches it is the end marker of a worker that writes no more.
        """
        info = structs_pb2.SegmentInfo(
            instance=self.instance,
            worker=self.worker,
            segment=self.number,
            batches=batches,
            total_batches=self.total_before + batches,
        )
        return structs_pb2.InferenceLogs(segment_info=[info]).SerializeToString()


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A closed segment in the spool."""

    identity: SegmentIdentity
    segment: Segment
    """What a sink is given."""
    keeps_name: bool = field(default=False, compare=False)
    """Found closed at the start, or tried uncompressed: it may be at its destination already, only the answer
    was lost. Compressed, and so under another name, it would be there twice."""


def stored_segment(
    path: Path,
    identity: SegmentIdentity,
    batches: int,
    size_bytes: int,
    compression: Compression = "none",
) -> StoredSegment:
    """The closed segment in the file `path`."""
    return StoredSegment(
        identity,
        Segment(
            path=path,
            key=identity.key + SUFFIXES[compression],
            size_bytes=size_bytes,
            batches=batches,
            opened_unix_micros=identity.opened_unix_micros,
            compression=compression,
        ),
    )


class SegmentName(NamedTuple):
    """What the name of a segment's file says."""

    identity: SegmentIdentity
    batches: int | None
    """None while it is open."""
    compression: Compression


def parse_name(name: str) -> SegmentName | None:
    """What a file's name says; None for one that is no segment's, or has a number that none can have."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    identity = SegmentIdentity(
        instance=match["instance"],
        worker=int(match["worker"]),
        number=int(match["number"]),
        total_before=int(match["total"]),
        unique=match["unique"],
        opened_unix_micros=int(match["micros"]),
    )
    batches = None if match["batches"] is None else int(match["batches"])
    possible = (
        identity.worker <= _MAX_WORKER
        and identity.number <= _MAX_NUMBER
        and identity.total_before <= _MAX_BATCHES
        and identity.opened_unix_micros <= _MAX_MICROS
        and (batches or 0) <= _MAX_BATCHES
    )
    return SegmentName(identity, batches, _COMPRESSIONS[match["suffix"] or ""]) if possible else None


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the records of one append."""

    records: int
    """The first so many are in the file, whole."""
    size_bytes: int
    error: OSError | None = None
    """Why the others are not."""


class OpenSegment:
    """A segment that is being written. Made by `create`."""

    def __init__(
        self, directory: Path, identity: SegmentIdentity, file: AppendedFile, files: FileOperations
    ) -> None:
        self.identity = identity
        self.batches = 0
        self.size_bytes = 0
        """Whole records only."""
        self.torn = False
        """Bytes of a part of a record are at the end and could not be cut off."""
        self._directory = directory
        self._file = file
        self.descriptor = file.descriptor
        self._files = files
        self.unsynced = False
        """Something was appended since the last `sync`."""
        self._named = False

    @classmethod
    def create(
        cls, directory: Path, identity: SegmentIdentity, files: FileOperations, stage: Stage
    ) -> "OpenSegment":
        """A new, empty file. Raises OSError."""
        file = AppendedFile(directory / identity.open_name, stage, files.write)
        return cls(directory, identity, file, files)

    @property
    def path(self) -> Path:
        """The file while it is open."""
        return self._directory / self.identity.open_name

    @property
    def is_removed(self) -> bool:
        """Whether somebody has deleted the file: what is written to it now is nowhere."""
        return os.fstat(self.descriptor).st_nlink == 0

    def append(self, records: Sequence[Piece], count: int = 0, *, direct: bool = True) -> Appended:
        """Write all records, `direct`: past the page cache where that pays. Never raises OSError.

        `count`: how many there are, 0 where each piece is one.
        If the disk refuses in the middle, the records that are in the file as a whole stay, the rest
        is cut off.
        """
        return self._appended(records, count or len(records), self._write(records, direct=direct))

    def steps(self, records: Sequence[Piece], *, direct: bool) -> list[Step] | None:
        """What a Pen would have to write for `append`; None where more than that is to be done."""
        return self._file.steps(records, self.size_bytes, direct=direct)

    def written(
        self, records: Sequence[Piece], count: int, written: int, error: OSError | None = None
    ) -> Appended:
        """As `append` of what a Pen has written so many bytes of, and with that error then.

        Blocks only where there is an error.
        """
        if error is not None and self._file.take_back(error):
            error = self._write(_after(records, written), direct=False, behind=written)
        return self._appended(records, count, error)

    def _appended(self, records: Sequence[Piece], count: int, error: OSError | None) -> Appended:
        if error is None:
            size = sum(map(len, records))
            self.size_bytes += size
            self.batches += count
            self.unsynced = True
            return Appended(count, size)
        whole, size = self._whole(each_record(records, count))
        self.size_bytes += size
        self.batches += whole
        self.unsynced = self.unsynced or whole > 0
        self._cut()
        return Appended(whole, size, error)

    def _write(self, pieces: Sequence[Piece], *, direct: bool, behind: int = 0) -> OSError | None:
        """`behind`: bytes that stand behind the whole records already."""
        try:
            self._file.append(pieces, self.size_bytes + behind, direct=direct)
        except OSError as error:
            return error
        return None

    def _whole(self, records: Sequence[Piece]) -> tuple[int, int]:
        """How many of the records have arrived whole after a failed write, and their bytes."""
        arrived = os.fstat(self.descriptor).st_size - self.size_bytes
        count = size = 0
        for record in records:
            if size + len(record) > arrived:
                break
            count += 1
            size += len(record)
        return count, size

    def _cut(self) -> None:
        try:
            self._files.truncate(self.descriptor, self.size_bytes)
        except OSError:
            self.torn = True

    def sync(self) -> None:
        """Force what was appended to the disk, if there is any. Raises OSError."""
        if not self.unsynced:
            return
        # Before the call: what is appended meanwhile is for the next one.
        self.unsynced = False
        try:
            self._files.sync(self.descriptor)
            if not self._named:
                sync_directory(self._directory)
                self._named = True
        except OSError:
            self.unsynced = True
            raise

    def close(self, *, sync: bool, name: bool = True) -> StoredSegment | None:
        """Append the SegmentInfo, force to the disk if asked, and give the file its closed name, which
        is forced as well if asked; else somebody forces the directory later.

        None if there was nothing in it, and then the file is gone. Raises OSError if the file cannot
        be closed properly; its records are whole all the same, and the next start recovers them:
        except for FileNotFoundError, for then somebody has deleted it.
        """
        try:
            if not self.batches:
                self.path.unlink(missing_ok=True)
                return None
            self._append_info()
            if sync:
                # Not its name, which is another one soon.
                _try_to_sync(self.path, partial(self._files.sync, self.descriptor))
        finally:
            self._file.close()
        closed = self._directory / self.identity.closed_name(self.batches)
        self.path.rename(closed)
        if sync and name:
            _try_to_sync(self._directory, partial(sync_directory, self._directory))
        return stored_segment(closed, self.identity, self.batches, self.size_bytes)

    def _append_info(self) -> None:
        info = self.identity.info(self.batches)
        error = self._write([info], direct=False)
        if error is None:
            self.size_bytes += len(info)
            self.unsynced = True
            return
        # A full disk must not keep a segment from the sink: delivering is what makes room.
        logger.warning("log: %s: closed without its SegmentInfo: %s", self.path, error)
        self._cut()
        if self.torn:
            raise error

    def abandon(self) -> None:
        """Let go of the file as it is; the next start recovers it."""
        with contextlib.suppress(OSError):  # nobody has a use for another error of it
            self._file.close()


def _try_to_sync(path: Path, sync: Callable[[], None]) -> None:
    try:
        sync()
    except OSError as error:
        logger.warning("log: %s: fsync: %s", path, error)


def _after(pieces: Sequence[Piece], size: int) -> list[Piece]:
    """What is left of the pieces behind the first bytes."""
    left: list[Piece] = []
    for piece in pieces:
        left.append(piece[size:])
        size = max(0, size - len(piece))
    return left
