"""Appending to a segment's file, past the page cache where there is much to write.

Bytes that go through the page cache are copied once more, into memory that has to be found first; the
log is written and not read again by this process, so that it would push everything else out of that memory
in the end. Large appends are therefore written with O_DIRECT, from a buffer that lies as the disk wants it:

    file    ... |  head  |        blocks        | tail |
    way         through  |        direct        | through the page cache

O_DIRECT takes whole blocks only. The head fills up the block in which the file ends, the tail begins a new
one. A file system that does not know O_DIRECT, or refuses a write for its alignment, gets everything
through the page cache.
"""

import contextlib
import errno
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

BLOCK_BYTES: Final = 4096
"""A multiple of what disks ask for: offsets, lengths and addresses of direct writes are multiples of it."""
STAGE_BYTES: Final = 2 * 1024 * 1024
"""The most that is written at once."""
DIRECT_BYTES: Final = 32 * 1024
"""Fewer bytes at once are not worth waiting for the disk."""

_UNFIT: Final = (errno.EINVAL, errno.EOPNOTSUPP)
_O_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)
"""0 where the system has no such thing (macOS)."""


class Write(Protocol):
    """`os.write`, or what a test puts in its place."""

    def __call__(self, descriptor: int, data: memoryview, /) -> int:
        """How many bytes were written; OSError if none could be."""
        ...


class Stage:
    """Where a worker's bytes are put together for writing: memory that is used again and again."""

    def __init__(self, size_bytes: int = STAGE_BYTES) -> None:
        """`size_bytes`: a multiple of BLOCK_BYTES."""
        # Anonymous memory begins at a page's boundary, and takes room only once it is used.
        memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if (huge := getattr(mmap, "MADV_HUGEPAGE", None)) is not None:
            # A disk takes what lies together as one piece. A kernel without huge pages says no.
            with contextlib.suppress(OSError):
                memory.madvise(huge)
        self.view = memoryview(memory)


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

    def append(self, pieces: Sequence[bytes], offset: int, *, direct: bool) -> None:
        """Write all pieces behind one another. `offset`: the size of the file, which is where they go.

        `direct`: past the page cache where that pays. Raises OSError; some of the bytes may be in the
        file then.
        """
        stage, room = self._stage, len(self._stage)
        # Blocks of the file are blocks of the stage.
        begin = end = offset % BLOCK_BYTES
        if len(pieces) > 1 and sum(map(len, pieces)) <= room - begin:
            # Little, perhaps in many pieces: one more copy is less than a step for each.
            pieces = [b"".join(pieces)]
        for piece in pieces:
            if len(piece) <= room - end:
                stage[end : end + len(piece)] = piece
                end += len(piece)
                continue
            rest = memoryview(piece)
            while len(rest) >= room - end:
                taken = room - end
                stage[end:room] = rest[:taken]
                self._flush(begin, room, direct=direct)
                begin = end = 0
                rest = rest[taken:]
            stage[end : end + len(rest)] = rest
            end += len(rest)
        self._flush(begin, end, direct=direct)

    def _flush(self, begin: int, end: int, *, direct: bool) -> None:
        first = -(-begin // BLOCK_BYTES) * BLOCK_BYTES
        last = end // BLOCK_BYTES * BLOCK_BYTES
        if direct and last - first >= DIRECT_BYTES and self._open_direct():
            self._through(begin, first)
            begin = self._past(first, last)
        self._through(begin, end)

    def _through(self, begin: int, end: int) -> None:
        while begin < end:
            begin += self._write(self.descriptor, self._stage[begin:end])

    def _past(self, begin: int, end: int) -> int:
        """Write directly; up to where that went well."""
        assert self._direct is not None
        try:
            while begin < end:
                begin += self._write(self._direct, self._stage[begin:end])
        except OSError as error:
            if error.errno not in _UNFIT:
                raise
            self._may_direct = False
        return begin

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
        os.close(self.descriptor)
        if self._direct is not None:
            os.close(self._direct)
