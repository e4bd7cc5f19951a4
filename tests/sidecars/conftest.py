"""What the tests of the sidecars share: records, and a log sidecar whose disk work runs in line.

In line, because a virtual clock must not jump while a thread writes.
"""

import errno
import fcntl
import math
import os
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import trio

from hushar.proto import structs_pb2
from hushar.sidecars.appending import Job
from hushar.sidecars.log import LogSidecar
from hushar.sidecars.segment import FileOperations, SegmentIdentity
from hushar.sidecars.settings import LogSettings
from hushar.testing import MemoryLogSink

OPENED = 1_754_000_000_123_456
UUID = "0b2f1a52-7c53-4c34-9d3b-1f3f2d0c9a11"


def make_record(request_id: str, *, padding: int = 0) -> bytes:
    batch = structs_pb2.InferenceLogBatch(request_id=request_id, model_id="m" * padding)
    return structs_pb2.InferenceLogs(inferenceLogBatches=[batch]).SerializeToString()


def ids_in(content: bytes) -> list[str]:
    return [batch.request_id for batch in structs_pb2.InferenceLogs.FromString(content).inferenceLogBatches]


@dataclass
class Disk:
    """File operations that fail when told to, the way a disk does."""

    room: int | None = None
    """Bytes that may still be written; None: any number."""
    write_error: int = errno.ENOSPC
    largest_write: int | None = None
    truncate_error: int | None = None
    sync_error: int | None = None
    free: int = 1 << 40
    syncs: int = 0

    @property
    def files(self) -> FileOperations:
        """Looked up at each call, so that a test can replace one."""
        return FileOperations(*(self._late(name) for name in ("write", "truncate", "sync", "free_bytes")))

    def _late(self, name: str) -> Callable[..., int]:
        def call(*args: object) -> int:
            return getattr(self, name)(*args)

        return call

    def free_bytes(self, directory: Path) -> int:
        return self.free

    def write(self, descriptor: int, data: memoryview) -> int:
        size = len(data) if self.largest_write is None else min(len(data), self.largest_write)
        if self.room is not None:
            if not self.room:
                raise OSError(self.write_error, os.strerror(self.write_error))
            size = min(size, self.room)
            self.room -= size
        return os.write(descriptor, data[:size])

    def truncate(self, descriptor: int, size: int) -> None:
        if self.truncate_error is not None:
            raise OSError(self.truncate_error, os.strerror(self.truncate_error))
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        if self.sync_error is not None:
            raise OSError(self.sync_error, os.strerror(self.sync_error))


def is_direct(descriptor: int) -> bool:
    """Whether writes to it go past the page cache."""
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & getattr(os, "O_DIRECT", 0))


@dataclass
class FakePen:
    """A pen whose thread is a few lines of Python, in line, on a disk that can fail; one of `PenCase`."""

    disk: Disk
    done: list[tuple[int, int, bool]] = field(default_factory=list)
    """Of each job: bytes, errno, and whether any of it was to go directly."""
    crashes: int = 0
    """So many jobs fail in a way that nothing is made for, before they begin."""
    closed: bool = False

    async def write(self, job: Job) -> tuple[int, int]:
        assert not self.closed
        if self.crashes:
            self.crashes -= 1
            raise RuntimeError("no pen for that")
        await trio.lowlevel.cancel_shielded_checkpoint()
        written, number = self._write(job)
        direct = any(is_direct(descriptor) for descriptor, _ in job.steps)
        self.done.append((written, number, direct))
        return written, number

    def _write(self, job: Job) -> tuple[int, int]:
        written = 0
        if not os.fstat(job.file).st_nlink:
            return 0, errno.ENOENT
        size = sum(len(data) for _, data in job.steps)
        if job.min_free_bytes and self.disk.free < job.min_free_bytes + size:
            return 0, errno.ENOSPC
        try:
            for descriptor, data in job.steps:
                rest = memoryview(data)
                while rest:
                    count = self.disk.write(descriptor, rest)
                    written += count
                    rest = rest[count:]
        except OSError as error:
            return written, error.errno
        return written, 0

    def close(self) -> None:
        self.closed = True


@dataclass
class PenCase:
    """Where the workers take their pens from."""

    disk: Disk
    pens: list[FakePen] = field(default_factory=list)

    def __call__(self) -> FakePen:
        self.pens.append(FakePen(self.disk))
        return self.pens[-1]

    @property
    def done(self) -> list[tuple[int, int, bool]]:
        """Of all pens."""
        return [job for pen in self.pens for job in pen.done]


@dataclass
class Bench:
    """A log sidecar with a sink in memory, a disk that can fail, and a wall clock of its own."""

    spool: Path
    sink: MemoryLogSink = field(default_factory=MemoryLogSink)
    disk: Disk = field(default_factory=Disk)
    now: Callable[[], float] = lambda: OPENED / 1e6 + trio.current_time()
    gather_seconds: float = 0.0
    first_seconds: float = math.inf
    instance: str = "test-1"
    pens: PenCase | None = None
    """None: everything is written in threads."""

    def sidecar(self, **settings: object) -> LogSidecar:
        sidecar = LogSidecar(
            LogSettings(**({"spool_min_free_bytes": 0, "fsync": "never"} | settings)),
            self.sink,
            self.spool,
            instance=self.instance,
            random=Random(7),
            wall_clock=self.now,
            run_in_thread=in_line,
            files=self.disk.files,
            gather_seconds=self.gather_seconds,
            first_seconds=self.first_seconds,
        )
        if self.pens is not None:
            sidecar._pen = self.pens
        return sidecar

    @asynccontextmanager
    async def running(self, sidecar: LogSidecar) -> Iterator[LogSidecar]:
        """Run the sidecar around the block; it is closed, and has ended, after it."""
        async with trio.open_nursery() as nursery:
            await nursery.start(sidecar.run)
            yield sidecar
            sidecar.close()

    @property
    def delivered(self) -> list[list[str]]:
        """The request ids in each segment that the sink has, in their order; without end markers."""
        return [found for content in self.sink.segments.values() if (found := ids_in(content))]

    @property
    def delivered_ids(self) -> list[str]:
        return [request_id for segment in self.delivered for request_id in segment]

    def on_disk(self) -> list[str]:
        """Without end markers."""
        files = [path.name for path in self.spool.rglob("*") if path.is_file() and path.name != "lock"]
        return sorted(name for name in files if ".n0.pb" not in name)

    def infos(self, *, ends: bool = False) -> list[tuple[str, int, int, int, int]]:
        """Of what the sink has, in the order of delivery; `ends`: of end markers too."""
        return [
            (info.instance, info.worker, info.segment, info.batches, info.total_batches)
            for content in self.sink.segments.values()
            for info in structs_pb2.InferenceLogs.FromString(content).segment_info
            if ends or info.batches
        ]


async def in_line(function, /, *args):
    await trio.lowlevel.checkpoint_if_cancelled()
    return function(*args)


def balanced(sidecar: LogSidecar) -> bool:
    now = sidecar.statistics()
    return now.accepted_records == (
        now.delivered_records
        + now.spooled_records
        + sum(now.dropped_records.values())
        + now.dead_lettered_records
    )


@pytest.fixture
def record() -> Callable[..., bytes]:
    return make_record


@pytest.fixture
def ids() -> Callable[[bytes], list[str]]:
    return ids_in


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "spool")


@pytest.fixture
def pens(bench: Bench) -> PenCase:
    """The bench's workers write with these."""
    bench.pens = PenCase(bench.disk)
    return bench.pens


@pytest.fixture
def is_balanced() -> Callable[[LogSidecar], bool]:
    return balanced


@pytest.fixture
def identity() -> SegmentIdentity:
    return SegmentIdentity("host-1", 2, 3, 40, UUID, OPENED)
