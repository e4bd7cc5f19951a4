"""Sinks and a storage that keep everything in memory, and segments to deliver."""

import gzip
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

from hushar.errors import StorageError
from hushar.proto import structs_pb2
from hushar.sinks.compression import SUFFIXES, compressed
from hushar.sinks.interface import Compression, LogSink, MetricBatch, MetricSink, Segment
from hushar.storage.interface import Blob, Entry, Storage

OPENED_UNIX_MICROS = 1_754_000_000_123_456
"""31 July 2025, 22:13:20.123456 UTC."""


class _Failures:
    """Which of the next calls have to fail."""

    def __init__(self) -> None:
        self._errors: list[Exception] = []

    def add(self, times: int, error: Exception) -> None:
        self._errors.extend([error] * times)

    def take(self) -> None:
        """Raise the next error, if one is left."""
        if self._errors:
            raise self._errors.pop(0).with_traceback(None)


class MemoryLogSink(LogSink):
    """A log sink that keeps what it is given."""

    def __init__(self) -> None:
        self.segments: dict[str, bytes] = {}
        """Key → content, in the order of first delivery."""
        self.attempts: list[str] = []
        """The key of every delivery, also of those that failed."""
        self.opened = 0
        self.closed = 0
        self._failures = _Failures()

    @property
    def description(self) -> str:
        """`memory`."""
        return "memory"

    def fail_next(self, deliveries: int, error: Exception) -> None:
        """Let the next deliveries raise `error`, after those that were ordered before."""
        self._failures.add(deliveries, error)

    @property
    def batches(self) -> list[structs_pb2.InferenceLogBatch]:
        """Every batch delivered, segment by segment."""
        return [
            batch
            for key, content in self.segments.items()
            for batch in structs_pb2.InferenceLogs.FromString(message_in(key, content)).inferenceLogBatches
        ]

    async def open(self) -> None:
        """Count."""
        self.opened += 1
        await trio.lowlevel.checkpoint()

    async def deliver(self, segment: Segment) -> None:
        """Keep the file's content. Raises what `fail_next` ordered.

        The file is read in the event loop: while a thread reads it, every task is blocked, and the
        clock of a test that jumps ahead (trio.testing.MockClock) would.
        """
        self.attempts.append(segment.key)
        await trio.lowlevel.checkpoint()
        self._failures.take()
        self.segments[segment.key] = _content(segment)

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1
        await trio.lowlevel.checkpoint()


def _content(segment: Segment) -> bytes:
    return segment.path.read_bytes()


def message_in(key: str, content: bytes) -> bytes:
    """The InferenceLogs message in an object: decompressed, where its key says that it is compressed."""
    if key.endswith(SUFFIXES["gzip"]):
        return gzip.decompress(content)
    if key.endswith(SUFFIXES["zstd"]):
        import zstandard  # noqa: PLC0415 - a library in C

        return zstandard.ZstdDecompressor().decompress(content)
    return content


class MemoryMetricSink(MetricSink):
    """A metric sink that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[MetricBatch] = []
        self.opened = 0
        self.closed = 0
        self._failures = _Failures()

    @property
    def description(self) -> str:
        """`memory`."""
        return "memory"

    def fail_next(self, batches: int, error: Exception) -> None:
        """Let the next batches raise `error`, after those that were ordered before."""
        self._failures.add(batches, error)

    async def open(self) -> None:
        """Count."""
        self.opened += 1
        await trio.lowlevel.checkpoint()

    async def emit(self, batch: MetricBatch) -> None:
        """Keep the batch. Raises what `fail_next` ordered."""
        await trio.lowlevel.checkpoint()
        self._failures.take()
        self.batches.append(batch)

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1
        await trio.lowlevel.checkpoint()


class MemoryStorage(Storage):
    """A storage that reads from a dictionary, `contents`: URI → bytes."""

    def __init__(self, contents: Mapping[str, bytes] | None = None) -> None:
        self.contents = dict(contents or {})
        self.closed = 0

    async def read(self, uri: str) -> Blob:
        """The bytes under `uri`; the version is their digest. Raises StorageError."""
        await trio.lowlevel.checkpoint()
        if uri not in self.contents:
            raise StorageError(f"{uri} cannot be read: there is nothing under this URI")
        data = self.contents[uri]
        return Blob(uri, data, version=hashlib.sha256(data).hexdigest()[:16])

    async def entries(self, uri: str, *, after: str | None = None) -> AsyncIterator[Entry]:
        """Those whose URI is `uri` or below it, in the order of their bytes."""
        for each in sorted(self.contents, key=os.fsencode):
            below = each == uri or each.startswith(uri.rstrip("/") + "/")
            if below and (after is None or os.fsencode(each) > os.fsencode(after)):
                await trio.lowlevel.checkpoint()
                yield Entry(each, len(self.contents[each]))

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1
        await trio.lowlevel.checkpoint()


def log_record(
    request_id: str = "request-1",
    *,
    model_id: str = "model",
    features: Mapping[str, float | str] | None = None,
    scores: Sequence[float] = (0.5,),
    received_unix_micros: int = OPENED_UNIX_MICROS,
) -> bytes:
    """One record as the log channel carries it: a batch of one row, `row-1`, with its tag and length.

    A str is a `string_value`, any other feature a `double_value`; `scores` are rounded to float32.
    """
    row = structs_pb2.InferenceLogRow(row_id="row-1", scores=scores)
    if features is None:
        features = {"age": 41.5, "city": "Pune"}
    for feature, value in features.items():
        if isinstance(value, str):
            row.features[feature].string_value = value
        else:
            row.features[feature].double_value = value
    batch = structs_pb2.InferenceLogBatch(
        request_id=request_id,
        model_id=model_id,
        inference_log_rows=[row],
        received_unix_micros=received_unix_micros,
    )
    return structs_pb2.InferenceLogs(inferenceLogBatches=[batch]).SerializeToString()


def segment(
    directory: Path,
    records: Iterable[bytes] | None = None,
    *,
    name: uuid.UUID | None = None,
    opened_unix_micros: int = OPENED_UNIX_MICROS,
    compression: Compression = "none",
) -> Segment:
    """A closed segment in a new file in `directory`, with its SegmentInfo at the end.

    `records` are as `log_record` makes them; None: three; empty: an end marker. `name` is the uuid in the
    key, random unless given.
    """
    records = [log_record(f"request-{i}") for i in (1, 2, 3)] if records is None else list(records)
    name = name or uuid.uuid4()
    opened = datetime.fromtimestamp(opened_unix_micros // 1_000_000, UTC)
    info = structs_pb2.SegmentInfo(
        instance="testing", segment=1, batches=len(records), total_batches=len(records)
    )
    content = b"".join(records) + structs_pb2.InferenceLogs(segment_info=[info]).SerializeToString()
    path = directory / f"{name}_{opened_unix_micros}.pb"
    path.write_bytes(content)
    if compression != "none":
        content = b"".join(compressed(path, compression))
        path.unlink()
        path = path.with_name(path.name + SUFFIXES[compression])
        path.write_bytes(content)
    return Segment(
        path=path,
        key=f"{opened:year=%Y/month=%m/day=%d/hour=%H/mi=%M}/{path.name}",
        size_bytes=len(content),
        batches=len(records),
        opened_unix_micros=opened_unix_micros,
        compression=compression,
    )
