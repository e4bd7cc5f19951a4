"""Log files behind what a user names (a file, a folder, a URI), and what is in them."""

import io
import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from google.protobuf.message import DecodeError

from hushar.decompression import Damaged
from hushar.errors import ConfigurationError, HusharError, Problem, StorageError
from hushar.logreading.compression import SUFFIXES, decompressed
from hushar.logreading.files import BATCH_FIELD, LogReader
from hushar.logreading.partitions import Window, opened_of, partition_of
from hushar.logreading.stores import Store, is_log_name, stored_logs
from hushar.proto.structs_pb2 import InferenceLogBatch, SegmentInfo
from hushar.uris import local_path, scheme_of

_CHUNK_BYTES: Final = 1 << 20


class TornLog(HusharError):
    """A log file cannot be read on from some place. `str()` names the file, and says "torn"."""

    def __init__(self, file: str, offset: int, reason: str, *, between: bool = False) -> None:
        super().__init__(f"{file}: torn at byte {offset}: {reason}")
        self.file = file
        self.offset = offset
        """Of what the file holds: where it is compressed, decompressed."""
        self.between = between
        """Not in the middle of a batch, as far as that can be seen."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log file, on the local disk or in a store."""

    name: str
    """Its path or URI, for messages."""
    opened_unix_micros: int | None
    """When its (first) segment was opened, by its name or its folder; None where neither tells."""
    size_bytes: int
    """As it is stored; 0 where that is not known."""
    path: Path | None = None
    """On the local disk."""
    store: Store | None = None
    """What reads it where there is no path."""

    @property
    def uri(self) -> str:
        """For the store."""
        return self.name


def log_files(sources: Iterable[str], window: Window, store: Store | None = None) -> list[LogFile]:
    """The files of all sources, each once, in the order of time.

    Of a folder: every `*.pb`, `*.pb.gz` and `*.pb.zst` at any depth that is not hidden and not in a hidden
    folder (a spool, a delivery under way), without the partitions that cannot hold records of the window. A
    file that is named itself is taken as it is. The order is that of the names (`partitions.opened_of`), else
    of the last change; first comes what has neither. `store` reads what is not on a local disk. Raises
    ConfigurationError with every source that is not there or cannot be read.
    """
    problems: list[Problem] = []
    found: dict[str, tuple[int, LogFile]] = {}
    for source in sources:
        try:
            for identity, time, file in _files(source, window, store):
                found.setdefault(identity, (time, file))
        except StorageError as error:
            problems.append(Problem("", "", str(error)))  # it names the URI
        except ValueError as error:
            problems.append(Problem(source, "", str(error)))
        except ConfigurationError as error:
            problems += error.problems
        except OSError as error:
            where = f"{error.filename}: " if str(error.filename) != source else ""
            problems.append(Problem(source, "", f"{where}{error.strerror}"))
    if problems:
        raise ConfigurationError(problems)
    files = [file for _, file in sorted(found.values(), key=lambda each: (each[0], each[1].name))]
    if store is not None:
        store.expect([file for file in files if file.path is None])
    return files


def _files(source: str, window: Window, store: Store | None) -> Iterator[tuple[str, int, LogFile]]:
    """What makes a file the same as another, its time for the order, and the file."""
    if not source:
        raise ValueError("the empty name is no file and no folder")
    if scheme_of(source) == "file":
        for path in _local_files(Path(local_path(source)), window):
            opened = opened_of(path)
            size, changed = _status(path)
            file = LogFile(str(path), opened, size, path=path)
            yield os.path.realpath(path), changed if opened is None else opened, file
        return
    if store is None:
        raise ValueError(f"logs at {scheme_of(source)}:// cannot be read here")
    for entry in stored_logs(store, source, window):
        opened = opened_of(PurePosixPath(entry.uri))
        yield entry.uri, opened or 0, LogFile(entry.uri, opened, entry.size_bytes, store=store)


def read_batches(
    file: LogFile, progress: Callable[[int], object] | None = None
) -> Generator[InferenceLogBatch]:
    """The batches of a file, one by one, in the order of the file; as `read_records`."""
    with closing(read_records(file, progress)) as records:
        for record in records:
            if isinstance(record, InferenceLogBatch):
                yield record


def read_records(
    file: LogFile, progress: Callable[[int], object] | None = None
) -> Generator[InferenceLogBatch | SegmentInfo]:
    """The batches and SegmentInfos of a file, one by one, in the order of the file; decompressed by need.

    A local file is read in pieces, and one that grows meanwhile to where it ended at first; one in a store
    is read whole. `progress` is told of bytes as they are read, as they are stored. Raises TornLog after the
    last whole record if that is not the end of the file, and StorageError if it cannot be read.
    """
    reader = LogReader()
    try:
        with _opened(file) as (stream, size):
            chunks = _chunks(stream, size, progress)
            compressed, content = decompressed(chunks, expected=file.name.endswith(SUFFIXES))
            if not compressed:
                reader.size_bytes = size
            for chunk in content:
                for field, record in reader.feed(chunk):
                    yield _parsed(field, record, file, reader)
                if reader.torn is not None:
                    break
    except Damaged as error:
        raise TornLog(file.name, reader.offset, str(error), between=reader.between_batches) from None
    except OSError as error:
        raise StorageError(f"{file.name}: cannot be read: {error.strerror or error}") from error
    reader.finish()
    if reader.torn is not None:
        raise TornLog(file.name, reader.offset, reader.torn, between=reader.between_batches)


def _parsed(field: int, record: bytes, file: LogFile, reader: LogReader) -> InferenceLogBatch | SegmentInfo:
    kind = InferenceLogBatch if field == BATCH_FIELD else SegmentInfo
    try:
        return kind.FromString(record)
    except DecodeError:
        raise TornLog(file.name, reader.offset, "this record is damaged") from None


@contextmanager
def _opened(file: LogFile) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file, and how much is in it now; None where that cannot be known (a pipe does not say)."""
    if file.path is None:
        assert file.store is not None
        data = file.store.read(file.name)
        yield io.BytesIO(data), len(data)
        return
    with file.path.open("rb", buffering=0) as stream:
        status = os.fstat(stream.fileno())
        yield stream, status.st_size if stat.S_ISREG(status.st_mode) else None


def _chunks(stream: BinaryIO, size: int | None, progress: Callable[[int], object] | None) -> Iterator[bytes]:
    left = size
    while left is None or left:
        chunk = stream.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left))
        if not chunk:
            break
        if left is not None:
            left -= len(chunk)
        if progress is not None:
            progress(len(chunk))
        yield chunk


def _local_files(path: Path, window: Window) -> Iterator[Path]:
    if not stat.S_ISDIR(path.stat().st_mode):
        if not os.access(path, os.R_OK):
            raise PermissionError(0, "Permission denied", str(path))
        yield path
        return
    for directory, folders, names in os.walk(path, onerror=_raise):
        folders[:] = [
            name for name in folders if not _hidden(name) and _may_hold(Path(directory, name), window)
        ]
        yield from (Path(directory, name) for name in names if is_log_name(name) and not _hidden(name))


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _may_hold(directory: Path, window: Window) -> bool:
    partition = partition_of(directory)
    return partition is None or window.may_hold(partition)


def _status(file: Path) -> tuple[int, int]:
    """Size, and the last change in microseconds since the epoch; 0 of one that is gone meanwhile: reading
    it will say so."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns // 1000


def _raise(error: OSError) -> None:
    raise error
