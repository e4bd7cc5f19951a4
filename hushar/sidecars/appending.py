"""Appending to a segment's file, past the page cache where there is much to write.

Bytes that go through the page cache are copied once more, into memory that has to be found first; the
log is written and not read again by this process, so that it would push everything else out of that memory
in the end. Large appends are therefore written with O_DIRECT, from memory that lies as the disk wants it:

    file    ... |  head  |        blocks        | tail |
    way         through  |        direct        | through the page cache

O_DIRECT takes whole blocks only. The head fills up the block in which the file ends, the tail begins a new
one. Bytes that already lie like that, an address being as far into its block as its place in the file is,
are written from where they are; others are copied to a stage. A file system that does not know O_DIRECT,
or refuses a write for its alignment, gets everything through the page cache.
"""

import contextlib
import ctypes
import errno
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeGuard

from hushar.records import Piece

BLOCK_BYTES: Final = 4096
"""A multiple of what disks ask for: offsets, lengths and addresses of direct writes are multiples of it."""
STAGE_BYTES: Final = 2 * 1024 * 1024
"""The most that is written at once."""
DIRECT_BYTES: Final = 32 * 1024
"""Fewer bytes at once are not worth waiting for the disk."""

_HUGE_BYTES: Final = 2 * 1024 * 1024
"""A huge page where there are any."""
_UNFIT: Final = (errno.EINVAL, errno.EOPNOTSUPP)
_O_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)
"""0 where the system has no such thing (macOS)."""


MOST_STEPS: Final = 64
"""So many writes at once."""

Step = tuple[int, Piece]
"""A write: the descriptor, and what is written to it."""


class Job(NamedTuple):
    """What is to be written at once."""

    file: int
    """Nothing is written, and that is ENOENT, if it has been deleted."""
    min_free_bytes: int
    """Nothing is written, and that is ENOSPC, if its file system would have less free than that."""
    steps: Sequence[Step]


class Write(Protocol):
    """`os.write`, or what a test puts in its place."""

    def __call__(self, descriptor: int, data: memoryview, /) -> int:
        """How many bytes were written; OSError if none could be."""
        ...


class Stage:
    """Where bytes are put together for writing: memory that is used again and again."""

    def __init__(self, size_bytes: int = STAGE_BYTES) -> None:
        """`size_bytes`: a multiple of BLOCK_BYTES."""
        # Anonymous memory takes room only once it is used: what is before the first huge page never does.
        memory = mmap.mmap(-1, size_bytes + _HUGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if (huge := getattr(mmap, "MADV_HUGEPAGE", None)) is not None:
            # A disk takes what lies together as one piece. A kernel without huge pages says no.
            with contextlib.suppress(OSError):
                memory.madvise(huge)
        view = memoryview(memory)
        begin = -_address(view) % _HUGE_BYTES
        self.view = view[begin : begin + size_bytes]


class AppendedFile:
    """A file that only grows; made empty. One thread at a time."""

    def __init__(self, path: Path, stage: Stage, write: Write) -> None:
        """Raises OSError, FileExistsError if there is such a file."""
        self._path = path
        self._stage = stage.view
        self._write = write
        # Whoever may read the logs at their destination decides the umask: a delivery may be a
        # rename. While it is in the spool, the spool's own mode (0700) protects it.
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
        self._direct: int | None = None
        self._may_direct = _O_DIRECT != 0

    def append(self, pieces: Sequence[Piece], offset: int, *, direct: bool) -> None:
        """Write all pieces behind one another. `offset`: the size of the file, which is where they go.

        `direct`: past the page cache where that pays. Raises OSError; some of the bytes may be in the
        file then.
        """
        stage, room = self._stage, len(self._stage)
        # Blocks of the file are blocks of the stage.
        begin = end = offset % BLOCK_BYTES
        for piece in pieces:
            skew = end % BLOCK_BYTES
            if direct and _lies_at(piece, skew):
                self._flush(stage, begin, end, direct=direct)
                self._flush(piece, 0, len(piece), direct=direct, skew=skew)
                begin = end = (skew + len(piece)) % BLOCK_BYTES
                continue
            rest = memoryview(piece)
            while len(rest) >= room - end:
                taken = room - end
                stage[end:room] = rest[:taken]
                self._flush(stage, begin, room, direct=direct)
                begin = end = 0
                rest = rest[taken:]
            stage[end : end + len(rest)] = rest
            end += len(rest)
        self._flush(stage, begin, end, direct=direct)

    def steps(self, pieces: Sequence[Piece], offset: int, *, direct: bool) -> list[Step] | None:
        """The writes of `append`, if it would copy nothing and need not try first what the file system can;
        else None."""
        if len(pieces) > MOST_STEPS // 3:
            return None
        steps: list[Step] = []
        for piece in pieces:
            skew, size = offset % BLOCK_BYTES, len(piece)
            if direct and self._may_direct and size >= DIRECT_BYTES + BLOCK_BYTES:
                if self._direct is None or not _lies_at(piece, skew):
                    return None
                first, last = _blocks(0, size, skew)
                steps.append((self.descriptor, piece[:first]))
                steps.append((self._direct, piece[first:last]))
                steps.append((self.descriptor, piece[last:]))
            else:
                steps.append((self.descriptor, piece))
            offset += size
        return steps

    def take_back(self, error: OSError) -> bool:
        """Whether the error of a step is one that writing through the page cache would not have; from now on
        that is the way."""
        if error.errno not in _UNFIT or not self._may_direct:
            return False
        self._may_direct = False
        return True

    def _flush(self, data: memoryview, begin: int, end: int, *, direct: bool, skew: int = 0) -> None:
        """Write a part of `data`, which begins `skew` bytes behind the beginning of a block."""
        first, last = _blocks(begin, end, skew)
        if direct and last - first >= DIRECT_BYTES and self._open_direct():
            self._through(data[begin:first])
            begin = first + self._past(data[first:last])
        self._through(data[begin:end])

    def _through(self, data: memoryview) -> None:
        while data:
            data = data[self._write(self.descriptor, data) :]

    def _past(self, data: memoryview) -> int:
        """Write directly; how much of it went well."""
        assert self._direct is not None
        written = 0
        try:
            while written < len(data):
                written += self._write(self._direct, data[written:])
        except OSError as error:
            if error.errno not in _UNFIT:
                raise
            self._may_direct = False
        return written

    def _open_direct(self) -> bool:
        """Whether direct writing is possible as far as is known."""
        if self._may_direct and self._direct is None:
            try:
                self._direct = os.open(self._path, os.O_WRONLY | os.O_APPEND | _O_DIRECT)
            except OSError:
                # What else may be wrong with it is found when it is written to.
                self._may_direct = False
        return self._may_direct

    def close(self) -> None:
        """Let go of the file."""
        try:
            os.close(self.descriptor)
        finally:
            # Also where a disk says only now that it has failed.
            if self._direct is not None:
                os.close(self._direct)


def _blocks(begin: int, end: int, skew: int) -> tuple[int, int]:
    """From where to where there are whole blocks in what begins `skew` bytes behind the beginning of one."""
    return begin + -(begin + skew) % BLOCK_BYTES, end - (end + skew) % BLOCK_BYTES


def _lies_at(piece: Piece, skew: int) -> TypeGuard[memoryview]:
    """Whether the piece is worth writing from where it is, and begins `skew` bytes into a block."""
    if len(piece) < DIRECT_BYTES + BLOCK_BYTES or not isinstance(piece, memoryview) or piece.readonly:
        return False
    return _address(piece) % BLOCK_BYTES == skew


def _address(memory: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
