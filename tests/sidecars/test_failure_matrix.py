"""The promise as a whole, against a sink that does everything that sinks do: RELIABILITY.md 4.3.

Several starts of one server after another, some ended in order and some cut off, with a sink that is down,
slow, refuses, loses its answers or is simply wrong. What was told to be in the spool is at the destination
in the end, each record in one object; the sum holds whenever somebody looks; nothing is missing by what
the log itself says.
"""

import errno
import json
import math
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.errors import SegmentRefused, SinkError, SinkRefused
from hushar.logreading.completeness import Completeness, FileCount
from hushar.logreading.partitions import Window
from hushar.proto import structs_pb2
from hushar.records import LogBatch
from hushar.sidecars import pen
from hushar.sidecars.ledger import DropReason
from hushar.sidecars.offline import deliver_left
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import SegmentWriter, dead_letter
from hushar.sinks.interface import Segment
from hushar.testing import MemoryLogSink
from hushar.testing.fakes import message_in


@dataclass
class FaultySink(MemoryLogSink):
    """Delivers, or does what `faults` says: by chance, or always the one."""

    random: Random
    faults: list[str] = field(default_factory=list)
    overwritten: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    async def deliver(self, segment: Segment) -> None:
        content = segment.path.read_bytes()
        fault = self.random.choice(self.faults) if self.faults else "none"
        await trio.lowlevel.checkpoint()
        if fault == "down":
            raise SinkError("connection refused")
        if fault == "503":
            await trio.sleep(0.1)
            raise SinkError("503 SlowDown")
        if fault == "time-out":
            await trio.sleep(10)
            raise SinkError("read time-out")
        if fault == "403":
            raise SinkRefused("403 AccessDenied")
        if fault == "400":
            raise SegmentRefused("400 InvalidArgument")
        if fault == "bug":
            raise ZeroDivisionError("in the sink")
        if fault == "slow":
            await trio.sleep(3)
        if (there := self.segments.get(segment.key)) is not None:
            assert there == content, "a repeated delivery has other bytes"
            self.overwritten += 1
        self.segments[segment.key] = content
        if fault == "answer lost":
            raise SinkError("reset after the body")


ROWS = ["down", "503", "time-out", "403", "bug", "slow", "answer lost"]


def ids_at(sink: MemoryLogSink) -> list[str]:
    return [batch.request_id for batch in sink.batches]


def missing_by_itself(sink: MemoryLogSink) -> int:
    """What `hushar logs verify` would miss."""
    completeness = Completeness(Window(), from_the_start=True)
    for key, content in sink.segments.items():
        logs = structs_pb2.InferenceLogs.FromString(message_in(key, content))
        count = FileCount(key, None, Window())
        for batch in logs.inferenceLogBatches:
            count.batch(batch.received_unix_micros)
        for info in logs.segment_info:
            count.info(info)
        completeness.add(count)
    return completeness.verdict().missing


@pytest.fixture
def faulty(bench):
    bench.sink = FaultySink(Random(1))
    return bench.sink


async def serve(bench, sidecar, record, names, *, killed, is_balanced, random) -> list[str]:
    """One start under load; the names that were told to be in the spool."""
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(sidecar.run)
        for name in names:
            sidecar.outlet(LogBatch((record(name),), lambda name=name: told.append(name)))
            if random.random() < 0.3:
                await trio.sleep(random.random())
            assert is_balanced(sidecar)
        if killed:
            nursery.cancel_scope.cancel()
        sidecar.close()
    assert is_balanced(sidecar)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_the_sink_does_nothing_is_lost_and_nothing_is_there_twice(
    autojump_clock, bench, faulty, record, is_balanced, seed
):
    random = Random(seed)
    faulty.random = random
    bench.first_seconds = 2
    told: list[str] = []
    number = 0
    for start in range(4):
        faulty.faults = random.sample(ROWS, 3) + ["none"] * random.randint(0, 3)
        bench.instance = f"start-{start}"
        sidecar = bench.sidecar(
            workers=random.randint(1, 3),
            rotate_bytes=random.choice([1, 200, 10**6]),
            rotate_seconds=random.choice([1, 5]),
            compression=["none", "gzip", "zstd"][seed % 3],
            retry_max_seconds=5,
            refused_retry_seconds=7,
            drain_seconds=random.choice([0, 3, 100]),
        )
        names = [str(number + i) for i in range(random.randint(1, 80))]
        number += len(names)
        killed = random.random() < 0.6
        told += await serve(
            bench, sidecar, record, names, killed=killed, is_balanced=is_balanced, random=random
        )
    faulty.faults = []
    bench.instance = "last"
    async with bench.running(bench.sidecar(compression=["none", "gzip", "zstd"][seed % 3])) as last:
        await wait_all_tasks_blocked()
    found = ids_at(faulty)
    assert set(told) <= set(found)
    assert len(found) == len(set(found))
    assert bench.on_disk() == []
    assert last.statistics().spooled_records == 0
    assert missing_by_itself(faulty) == 0
    assert len(told) >= number / 4


@pytest.mark.parametrize("fault", ROWS)
async def test_each_fault_for_an_hour_costs_disk_and_then_everything_is_there(
    autojump_clock, bench, faulty, record, is_balanced, fault
):
    """And appending never notices: the channel is empty after every call."""
    faulty.faults = [fault]
    sidecar = bench.sidecar(rotate_seconds=60, queue_bytes=1000)
    async with bench.running(sidecar):
        for n in range(360):
            assert sidecar.outlet(LogBatch((record(str(n)),)))
            await trio.sleep(10)
            assert sidecar.statistics().queued_bytes == 0
            assert is_balanced(sidecar)
        now = sidecar.statistics()
        assert now.sink_up is (fault == "slow")
        assert not any(now.dropped_records.values())
        faulty.faults = []
        await trio.sleep(120)
        assert sidecar.statistics().delivered_records >= 350
    assert sorted(map(int, ids_at(faulty))) == list(range(360))
    assert missing_by_itself(faulty) == 0


async def test_a_poison_segment_goes_to_the_dead_letters_the_others_to_the_sink_and_deliver_retries_it(
    autojump_clock, bench, faulty, record, is_balanced
):
    poison, deliver = [True], faulty.deliver

    async def picky(segment: Segment) -> None:
        if poison[0] and b"poison" in segment.path.read_bytes():
            raise SegmentRefused("400 InvalidArgument")
        await deliver(segment)

    faulty.deliver = picky
    sidecar = bench.sidecar(rotate_bytes=1, max_attempts=5)
    async with bench.running(sidecar):
        for name in ("a", "poison", "b"):
            sidecar.outlet(LogBatch((record(name),)))
            await wait_all_tasks_blocked()
        await trio.sleep(300)
        assert is_balanced(sidecar)
    now = sidecar.statistics()
    assert (now.delivered_records, now.dead_lettered_records, now.sink_errors["segment_refused"]) == (2, 1, 5)
    assert missing_by_itself(faulty) == 1

    async def in_line(function, /, *args):
        await trio.lowlevel.checkpoint()
        return function(*args)

    poison[0] = False
    done = await deliver_left(LogSettings(), faulty, bench.spool, run_in_thread=in_line)
    assert (done.delivered.records, done.left.segments) == (1, 0)
    assert sorted(ids_at(faulty)) == ["a", "b", "poison"]
    assert missing_by_itself(faulty) == 0


async def test_what_a_full_spool_drops_is_missing_by_the_numbers_too(
    autojump_clock, bench, faulty, record, is_balanced
):
    """Counted here, and seen by whoever reads the log."""
    faulty.faults = ["down"]
    sidecar = bench.sidecar(rotate_bytes=1, spool_max_bytes=3000)
    async with bench.running(sidecar):
        for n in range(40):
            sidecar.outlet(LogBatch((record(f"{n:0100}"),)))
            await wait_all_tasks_blocked()
        dropped = sidecar.statistics().dropped_records[DropReason.SPOOL_FULL]
        assert dropped
        faulty.faults = []
        await trio.sleep(120)
        assert is_balanced(sidecar)
    assert missing_by_itself(faulty) == dropped
    assert len(ids_at(faulty)) == 40 - dropped


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
async def test_a_disk_that_fails_is_served_on_and_what_was_spooled_is_there(
    autojump_clock, bench, faulty, record, is_balanced, error
):
    random = Random(error)
    told: list[int] = []
    sidecar = bench.sidecar(rotate_bytes=2000, rotate_seconds=5, fsync="interval")
    async with bench.running(sidecar):
        for n in range(300):
            bench.disk.write_error = error
            bench.disk.room = random.choice([None, None, 0, 17, 400])
            bench.disk.sync_error = random.choice([None, error])
            dropped = sidecar.statistics().dropped_records[DropReason.DISK_FULL]
            sidecar.outlet(LogBatch((record(f"{n}"),)))
            await wait_all_tasks_blocked()
            if sidecar.statistics().dropped_records[DropReason.DISK_FULL] == dropped:
                told.append(n)
            await trio.sleep(random.random())
            assert is_balanced(sidecar)
        bench.disk.room = bench.disk.sync_error = None
        sidecar.outlet(LogBatch((record("300"),)))
    assert sorted(map(int, ids_at(faulty))) == [*told, 300]
    assert sidecar.statistics().dropped_records[DropReason.DISK_FULL] == 300 - len(told)
    assert is_balanced(sidecar)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compression", "rotate_bytes"), [("none", 100_000), ("gzip", 100_000), ("none", 5_000_000)]
)
def test_a_disk_that_is_really_full(tmp_path, compression, rotate_bytes):
    """A spool on a file system of one megabyte, with threads, pens and real errors. Mounted in a process of
    its own, with which it goes again, whatever becomes of that."""
    shell = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" "$3" "$1" "$4" "$5"'
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("a process cannot have mounts of its own here")
    program = Path(__file__).with_name("full_disk.py")
    arguments = [str(tmp_path), sys.executable, str(program), compression, str(rotate_bytes)]
    done = subprocess.run(
        [*alone, "sh", "-c", shell, "sh", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    lost = found["disk_full"]
    assert 0 < lost < 490
    assert (found["delivered"], found["spooled"]) == (510 - lost, 0)
    assert len(found["ids"]) == len(set(found["ids"])) == 510 - lost
    # There was room again for the last ten.
    assert set(range(500, 510)) <= set(found["ids"])
    assert found["left"] == ["lock"]
    if pen._pen is not None:
        # It has found out, and what it had written was dealt with.
        assert found["pens"]["all"] > 0
        assert any(found["pens"].get(f"{how}: ENOSPC") for how in ("part", "nothing"))
        assert found["pens"].keys() <= {"all", "part: ENOSPC", "nothing: ENOSPC"}


async def test_a_sink_that_is_down_holds_no_memory(autojump_clock, bench, faulty, record):
    """What waits is on the disk: nothing of it is kept in the process."""
    faulty.faults = ["down"]
    sidecar = bench.sidecar(rotate_bytes=100_000, drain_seconds=0)
    async with bench.running(sidecar):
        for n in range(200):
            sidecar.outlet(LogBatch((record(str(n), padding=50_000),)))
            await wait_all_tasks_blocked()
            assert sidecar.statistics().queued_bytes == 0
        assert sidecar.statistics().spool_bytes > 9_000_000


async def test_dead_letters_are_no_part_of_the_spools_size(autojump_clock, bench, record, tmp_path):
    writer = SegmentWriter(bench.spool, "old", 1)
    bench.spool.mkdir()
    writer.append([record("x" * 5000)])
    dead_letter(writer.close(sync=False))
    async with bench.running(bench.sidecar(spool_max_bytes=2000)) as sidecar:
        assert sidecar.statistics().spool_bytes == 0
        sidecar.outlet(LogBatch((record("a"),)))
    assert bench.delivered == [["a"]]


async def test_the_end_waits_no_longer_than_it_may(autojump_clock, bench, faulty, record):
    for fault in ROWS:
        faulty.faults = [fault]
        sidecar = bench.sidecar(rotate_bytes=1, drain_seconds=4, compression="gzip")
        async with bench.running(sidecar):
            for n in range(20):
                sidecar.outlet(LogBatch((record(str(n)),)))
            ended_at = trio.current_time()
        assert trio.current_time() - ended_at <= 4 + 1e-6, fault
        assert not math.isnan(sidecar.statistics().oldest_seconds)
