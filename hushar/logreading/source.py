"""Log files behind what a user names (a file, a folder, a `file:` URI), and their batches."""

import io
import os
import stat
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from hushar.errors import ConfigurationError, HusharError, Problem, StorageError
from hushar.logreading.files import LogReader
from hushar.logreading.partitions import Window, opened_of, partition_of
from hushar.proto.structs_pb2 import InferenceLogBatch
from hushar.uris import local_path, scheme_of

SUFFIX: Final = ".pb"
_COMPRESSED: Final = (".gz", ".zst")
_CHUNK_BYTES: Final = 1 << 20


class TornLog(HusharError):
    """A log file cannot be read on from some place. `str()` names the file, and says "torn"."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"{path}: torn at byte {offset}: {reason}")
        self.path = path
        self.offset = offset


def log_files(sources: Iterable[str], window: Window) -> list[Path]:
    """The files of all sources, each once, in the order of time.

    Of a folder: every `*.pb` at any depth that is not hidden and not in a hidden folder (a spool, a
    delivery under way), without the partitions that cannot hold records of the window. A file that is
    named itself is taken as it is. The order is that of the names (`partitions.opened_of`), else of
    the last change. Raises ConfigurationError with every source that is not there or cannot be read.
    """
    problems: list[Problem] = []
    found: dict[str, Path] = {}
    for source in sources:
        try:
            for file in _files(_path(source), window):
                found.setdefault(os.path.realpath(file), file)
        except ValueError as error:
            problems.append(Problem(source, "", str(error)))
        except OSError as error:
            where = f"{error.filename}: " if str(error.filename) != source else ""
            problems.append(Problem(source, "", f"{where}{error.strerror}"))
    if problems:
        raise ConfigurationError(problems)
    return sorted(found.values(), key=lambda file: (_time(file), str(file)))


def _path(source: str) -> Path:
    """The path that a source means. Raises ValueError for what is not on a local disk."""
    if not source:
        raise ValueError("the empty name is no file and no folder")
    scheme = scheme_of(source)
    if scheme != "file":
        raise ValueError(
            f"logs at {scheme}:// cannot be read: nothing installed reads it (a plugin may be missing)"
        )
    return Path(local_path(source))


def read_batches(path: Path) -> Generator[InferenceLogBatch]:
    """The batches of a file, one by one, in the order of the file.

    A file that grows meanwhile is read to where it ended at first. Raises TornLog after the last whole
    batch if that is not the end of the file, and StorageError if it cannot be read.
    """
    reader = LogReader()
    try:
        with path.open("rb", buffering=0) as file:
            for chunk in _chunks(file, reader):
                for record in reader.feed(chunk):
                    try:
                        batch = InferenceLogBatch.FromString(record)
                    except DecodeError:
                        raise TornLog(path, reader.offset, "this record is damaged") from None
                    yield batch
                if reader.torn is not None:
                    break
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    reader.finish()
    if reader.torn is not None:
        raise TornLog(path, reader.offset, reader.torn)


def _chunks(file: io.FileIO, reader: LogReader) -> Iterator[bytes]:
    """What is in the file now; `reader` is told how much that is (a pipe does not say)."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        yield from iter(lambda: file.read(_CHUNK_BYTES), b"")
        return
    reader.size_bytes = left = status.st_size
    while left and (chunk := file.read(min(_CHUNK_BYTES, left))):
        left -= len(chunk)
        yield chunk


def _files(path: Path, window: Window) -> Iterator[Path]:
    if not stat.S_ISDIR(path.stat().st_mode):
        if path.suffix in _COMPRESSED:
            raise ValueError("a compressed log cannot be read: decompress it first")
        if not os.access(path, os.R_OK):
            raise PermissionError(0, "Permission denied", str(path))
        yield path
        return
    for directory, folders, names in os.walk(path, onerror=_raise):
        folders[:] = [
            name for name in folders if not _hidden(name) and _may_hold(Path(directory, name), window)
        ]
        yield from (Path(directory, name) for name in names if name.endswith(SUFFIX) and not _hidden(name))


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _may_hold(directory: Path, window: Window) -> bool:
    partition = partition_of(directory)
    return partition is None or window.may_hold(partition)


def _time(file: Path) -> int:
    opened = opened_of(file)
    if opened is not None:
        return opened
    try:
        return file.stat().st_mtime_ns // 1000
    except OSError:
        return 0  # gone meanwhile; reading it will say so


def _raise(error: OSError) -> None:
    raise error
