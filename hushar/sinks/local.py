"""The log sink that is a directory: `log.uri` as a plain path or `file://`.

Where the spool is on the same file system (it is by default), a delivery is a rename: no byte is
copied, and whoever reads the directory sees a file whole or not at all.
"""

import errno
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import trio

from hushar.errors import ConfigurationError, Problem, SinkError
from hushar.sinks.disk import sync_directory
from hushar.sinks.interface import LogSink, Segment

_KEY: Final = "log.uri"


class LocalLogSink(LogSink):
    """Delivers segments to files below one directory, under the layout of CONTRACT.md 4."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Not trio's common limit: a disk that stalls must not take the threads of others (`/metrics`, reading
        # certificates again). There are never more calls at a time than the log has workers.
        self._limiter = trio.CapacityLimiter(math.inf)

    @property
    def description(self) -> str:
        """The directory."""
        return str(self._directory)

    async def check(self) -> None:
        """Raise ConfigurationError if the directory, there or not yet, cannot be written to."""
        problem = await trio.to_thread.run_sync(unusable, self._directory)
        if problem is not None:
            raise ConfigurationError([Problem("", _KEY, problem)])

    async def open(self) -> None:
        """Make the directory. Raises ConfigurationError if nothing can be written to it."""
        try:
            await trio.to_thread.run_sync(_prepare, self._directory)
        except OSError as error:
            message = f"{self._directory} is not a directory that can be written to: {error.strerror}"
            raise ConfigurationError([Problem("", _KEY, message)]) from error

    async def deliver(self, segment: Segment) -> None:
        """Move the segment to its place, atomically. Raises SinkError."""
        target = self._directory.joinpath(*segment.key.split("/"))
        try:
            await trio.to_thread.run_sync(_move, segment.path, target, self._directory, limiter=self._limiter)
        except OSError as error:
            raise SinkError(f"{target}: {error.strerror or error}") from error


def unusable(directory: Path) -> str | None:
    """Why nothing can be written to a directory that may not be there yet: a sentence, or None.

    Nothing is made: what decides is the nearest part of its path that exists.
    """
    try:
        present = next(path for path in (directory, *directory.parents) if path.exists())
        is_directory = present.is_dir()
    except OSError as error:
        # Not even that can be told: no permission on the way there, a name that is too long.
        return f"{directory} is not a directory that can be written to: {error.strerror}"
    if not is_directory:
        return f"{directory} is not a directory that can be written to: {present} is a file"
    if not os.access(present, os.W_OK | os.X_OK):
        return f"{directory} is not a directory that can be written to: no permission in {present}"
    return None


def _prepare(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


def _move(source: Path, target: Path, root: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, root)


def _copy(source: Path, target: Path, root: Path) -> None:
    """Copy beside the target under a hidden name, and rename once every byte is on the disk.

    The spool deletes its file after this, so file and names must survive a power cut by then; a
    rename needs none of this, as it leaves the bytes in one of the two places.
    """
    # Always the same name: what an attempt that was cut off has left is overwritten by the next.
    temporary = target.with_name(f".{target.name}.partial")
    try:
        with source.open("rb") as reader, temporary.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1024 * 1024)
            writer.flush()
            os.fsync(writer.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = target.parent
    while directory != root.parent:
        sync_directory(directory)
        directory = directory.parent
