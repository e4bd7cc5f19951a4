"""The spool: one directory, held by one process, in which each worker writes its own segments.

    SPOOL/lock                held (flock) while a process uses the directory; its pid is in it
    SPOOL/….open, ….pb        segments under way and closed ones (hushar.sidecars.segment)
    SPOOL/….pb.gz, ….pb.zst   closed ones that are compressed already
    SPOOL/….partial           what is being written beside a segment, and is nothing until it is renamed
    SPOOL/dead-letter/….pb    those that the sink refused `log.max_attempts` times

Plain, blocking file operations, to be run in a thread; what they mean for the counts is the ledger's
business, and the ledger is not touched from here.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from hushar.errors import ConfigurationError, Problem
from hushar.records import Piece
from hushar.sidecars.appending import Job, Stage
from hushar.sidecars.segment import (
    Appended,
    FileOperations,
    OpenSegment,
    SegmentIdentity,
    StoredSegment,
    instance_name,
    stored_segment,
)
from hushar.sinks.disk import sync_directory

DEAD_LETTER: Final = "dead-letter"
PARTIAL_SUFFIX: Final = ".partial"
MARKED_SEGMENTS: Final = 2
"""A worker that has written so many segments leaves an end marker: a short run leaves one file."""
LOCAL_SPOOL: Final = ".spool"

_KEY: Final = "log.spool_dir"


def default_spool_dir(log_directory: Path | None, model_id: str, environment: Mapping[str, str]) -> Path:
    """Where the spool is if `log.spool_dir` does not say (CONTRACT.md 3).

    `log_directory` is the local directory that `log.uri` names, None if it names something else. A
    spool inside it makes a delivery a rename; hidden, so that no reader of the logs looks into it.
    Raises ConfigurationError if the environment names no home.
    """
    if log_directory is not None:
        return log_directory / LOCAL_SPOOL
    state = Path(environment.get("XDG_STATE_HOME", ""))
    # The XDG base directory specification: a relative path there is to be ignored.
    if not state.is_absolute():
        home = Path(environment.get("HOME", ""))
        if not home.is_absolute():
            problem = Problem("", _KEY, "neither XDG_STATE_HOME nor HOME is set: name a directory here")
            raise ConfigurationError([problem])
        state = home / ".local" / "state"
    return state / "hushar" / _folder_name(model_id)


def _folder_name(model_id: str) -> str:
    """The model id as the name of a folder; two ids never share one."""
    safe = instance_name(model_id)
    if safe == model_id:
        return safe
    return f"{safe}-{hashlib.sha256(model_id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


class SpoolLock:
    """Two processes never share a spool. Made by `acquire`; the system lets go when a process dies."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self._directory = directory
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, directory: Path) -> "SpoolLock":
        """Make the directory if it is not there, and hold it.

        Raises ConfigurationError, naming the directory, if it cannot be written to, or is held by
        another process (then naming that).
        """
        return cls(directory, _lock(directory))

    def regain(self) -> None:
        """Make the directory anew and hold it, if it or the lock in it was removed meanwhile.

        One call at a time. Raises ConfigurationError as `acquire` does: somebody else may have been
        faster.
        """
        if self._is_in_place():
            return
        descriptor = _lock(self._directory)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat((self._directory / "lock").stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def release(self) -> None:
        """Let another process have the directory. The file stays: removing it would be a race."""
        os.close(self._descriptor)


def _lock(directory: Path) -> int:
    """Make the directory if it is not there, and lock it: the descriptor that holds it."""
    path = directory / "lock"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Features are in there, and nobody but the server has a use for them there.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        message = f"{directory} cannot be written to: {error.strerror}"
        raise ConfigurationError([Problem("", _KEY, message)]) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        message = f"{directory} is in use by process {holder or '(unknown)'}: one process a directory"
        raise ConfigurationError([Problem("", _KEY, message)]) from error
    except OSError as error:
        os.close(descriptor)
        message = f"{directory} cannot be locked: {error.strerror}"
        raise ConfigurationError([Problem("", _KEY, message)]) from error
    with contextlib.suppress(OSError):
        # For people only. A full disk has no room for it, and is no reason not to start: delivering what
        # is in the spool is what makes room.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


class SegmentWriter:
    """One worker's segments, one open at a time. One call at a time; `sync` may run beside `append`."""

    def __init__(
        self,
        directory: Path,
        instance: str,
        worker: int,
        *,
        min_free_bytes: int = 0,
        files: FileOperations | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`instance`: as `instance_name` gives it; `wall_clock`: seconds since the epoch."""
        self._directory = directory
        self._instance = instance
        self._worker = worker
        self._min_free_bytes = min_free_bytes
        self._files = files or FileOperations()
        self._wall_clock = wall_clock
        self._stage = Stage()
        self._segment: OpenSegment | None = None
        self._segments = 0
        self._total = 0
        self._last: tuple[SegmentIdentity, int] | None = None
        self.short_bytes = 0
        """What must become free before an append that has returned None can succeed."""

    @property
    def is_first(self) -> bool:
        """Whether the open segment, or else the next one, is this worker's first."""
        return self._segments == 0

    @property
    def is_open(self) -> bool:
        """Whether there is a segment that can be appended to, or closed."""
        return self._segment is not None

    @property
    def size_bytes(self) -> int:
        """Of the open segment."""
        return self._segment.size_bytes if self._segment is not None else 0

    @property
    def torn(self) -> bool:
        """Whether the open segment has a torn end that cannot be cut off."""
        return self._segment is not None and self._segment.torn

    def append(self, records: Sequence[Piece], count: int = 0, *, direct: bool = True) -> Appended | None:
        """Append all records, to a new segment if none is open; see OpenSegment.append.

        None, and nothing written, if the file system has less than the least free space left. Does
        not raise OSError: see Appended. FileNotFoundError there is a spool, or a segment, that
        somebody has removed.
        """
        try:
            if self._below_free(sum(map(len, records))):
                return None
            if self._segment is None:
                self._segment = self._create()
            elif self._segment.is_removed:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._segment.path))
        except OSError as error:
            return Appended(0, 0, error)
        return self._segment.append(records, count, direct=direct)

    def job(self, records: Sequence[Piece], *, direct: bool) -> Job | None:
        """What a Pen would have to do for `append`. Does not block.

        None where that is not all: no segment is open, or it must be copied, or tried first what the file
        system can.
        """
        if self._segment is None:
            return None
        steps = self._segment.steps(records, direct=direct)
        return Job(self._segment.descriptor, self._min_free_bytes, steps) if steps is not None else None

    def written(
        self, records: Sequence[Piece], count: int, written: int, error: OSError | None = None
    ) -> Appended:
        """As `append` of what a Pen has written so many bytes of, and then failed with `error`, if it has.

        Blocks only where there is an error.
        """
        assert self._segment is not None
        return self._segment.written(records, count, written, error)

    def _below_free(self, size_bytes: int) -> bool:
        if not self._min_free_bytes:
            return False
        self.short_bytes = self._min_free_bytes + size_bytes - self._files.free_bytes(self._directory)
        return self.short_bytes > 0

    def _create(self) -> OpenSegment:
        identity = SegmentIdentity(
            instance=self._instance,
            worker=self._worker,
            number=self._segments + 1,
            total_before=self._total,
            unique=str(uuid.uuid4()),
            opened_unix_micros=int(self._wall_clock() * 1e6),
        )
        return OpenSegment.create(self._directory, identity, self._files, self._stage)

    def sync(self) -> None:
        """Force what was appended to the disk. Raises OSError."""
        if self._segment is not None:
            self._segment.sync()

    def sync_names(self) -> None:
        """Force the names of closed segments to the disk. Raises OSError."""
        sync_directory(self._directory)

    def close(self, *, sync: bool, name: bool = True) -> StoredSegment | None:
        """Close the open segment; None if there is none, or nothing in it. See OpenSegment.close.

        Raises OSError if that cannot be done; the file is left as it is then, for the next start to
        recover, and the next append opens a new one.
        """
        segment, self._segment = self._segment, None
        if segment is None:
            return None
        self._count(segment)
        return segment.close(sync=sync, name=name)

    def end(self, *, sync: bool) -> StoredSegment | None:
        """The end marker, where there are two segments or more: a closed one without records, whose
        SegmentInfo has the number and the total of what this worker has written, the open segment
        included. Nothing must be appended after it. Raises OSError.
        """
        segments, last = self._segments, self._last
        if self._segment is not None and self._segment.batches:
            segments, last = segments + 1, (self._segment.identity, self._segment.batches)
        if last is None or segments < MARKED_SEGMENTS:
            return None
        identity, batches = last
        return write_end(self._directory, identity.end(batches, str(uuid.uuid4())), self._files, sync=sync)

    def abandon(self) -> None:
        """Leave the open segment, if there is one, as it is: the next start recovers it."""
        segment, self._segment = self._segment, None
        if segment is not None:
            self._count(segment)
            segment.abandon()

    def _count(self, segment: OpenSegment) -> None:
        # A segment without records has no number: what is counted must be provable from the log.
        if not segment.batches:
            return
        self._segments += 1
        self._total += segment.batches
        self._last = segment.identity, segment.batches


def write_end(
    directory: Path, identity: SegmentIdentity, files: FileOperations, *, sync: bool
) -> StoredSegment:
    """A closed segment without records: the end marker `identity` (see SegmentWriter.end). Raises OSError."""
    info = identity.info(0)
    path = directory / identity.closed_name(0)
    write_file(path, [info], files, sync=sync)
    return stored_segment(path, identity, 0, len(info))


def write_file(path: Path, pieces: Iterable[bytes], files: FileOperations, *, sync: bool) -> int:
    """Write a file that is there as a whole or not at all; its size.

    Raises OSError, and whatever `pieces` raises: then nothing is left.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    size = 0
    # Always the same name: what a crash has left is overwritten by the next attempt.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        try:
            for piece in pieces:
                rest = memoryview(piece)
                size += len(piece)
                while rest:
                    rest = rest[files.write(descriptor, rest) :]
            if sync:
                files.sync(descriptor)
        finally:
            os.close(descriptor)
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if sync:
        try:
            sync_directory(path.parent)
        except OSError:
            # Not left behind: nobody would know of it until the next start, which would deliver it.
            path.unlink(missing_ok=True)
            raise
    return size


def discard(stored: StoredSegment) -> None:
    """Delete the segment's file, if it is still there: a delivery may have been a rename."""
    stored.segment.path.unlink(missing_ok=True)


def set_aside(stored: StoredSegment, rest: tuple[bytes, int] | None, files: FileOperations) -> Path:
    """The segment, or of one that the sink has taken but for a rest that rest (its bytes, its records), into
    `dead-letter`; where it is now. Raises OSError."""
    return dead_letter(stored) if rest is None else dead_letter_rest(stored, *rest, files)


def dead_letter(stored: StoredSegment) -> Path:
    """Set the segment aside, beside the others in the spool's `dead-letter`. Raises OSError."""
    path = stored.segment.path
    return path.replace(_dead_letters(path.parent) / path.name)


def dead_letter_rest(stored: StoredSegment, rest: bytes, batches: int, files: FileOperations) -> Path:
    """Set aside what is left of a segment, uncompressed records, and delete the segment. Raises OSError.

    Of one that is set aside already, the rest takes its place.
    """
    spool = stored.segment.path.parent
    directory = spool if spool.name == DEAD_LETTER else _dead_letters(spool)
    path = directory / stored.identity.closed_name(batches)
    write_file(path, [rest], files, sync=True)
    if path != stored.segment.path:
        discard(stored)
    return path


def _dead_letters(spool: Path) -> Path:
    directory = spool / DEAD_LETTER
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory
