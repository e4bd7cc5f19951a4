"""The log as a whole: started, stopped, killed and started again."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.errors import ConfigurationError, Problem, SinkError
from hushar.proto import structs_pb2
from hushar.records import LogBatch
from hushar.sidecars.bundles import LARGE_BYTES
from hushar.sidecars.ledger import DropReason
from hushar.sidecars.log import LogSidecar
from hushar.sidecars.recovery import recover
from hushar.sidecars.segment import SegmentIdentity
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import SpoolLock
from hushar.sinks.local import LocalLogSink
from hushar.testing.fakes import message_in

UUID = "0b2f1a52-7c53-4c34-9d3b-1f3f2d0c9a11"


class TestStart:
    async def test_a_sink_that_cannot_be_opened_stops_the_start(self, autojump_clock, bench):
        async def refuse():
            raise ConfigurationError([Problem("", "log.uri", "no such place")])

        bench.sink.open = refuse
        async with trio.open_nursery() as nursery:
            with pytest.raises(ConfigurationError, match=r"^log\.uri: no such place$"):
                await nursery.start(bench.sidecar().run)
        assert bench.sink.closed == 0

    async def test_a_spool_in_use_stops_the_start_and_closes_the_sink(self, autojump_clock, bench):
        lock = SpoolLock.acquire(bench.spool)
        async with trio.open_nursery() as nursery:
            with pytest.raises(ConfigurationError, match=rf"^log\.spool_dir: {bench.spool} is in use"):
                await nursery.start(bench.sidecar().run)
        assert (bench.sink.opened, bench.sink.closed) == (1, 1)
        lock.release()
        async with bench.running(bench.sidecar()):
            pass

    async def test_a_spool_that_cannot_be_read_stops_the_start(self, autojump_clock, bench, monkeypatch):
        """By a failing call, as file modes mean nothing to root."""

        def refuse(directory):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))

        monkeypatch.setattr("hushar.sidecars.log.recover", refuse)
        async with trio.open_nursery() as nursery:
            with pytest.raises(ConfigurationError) as refused:
                await nursery.start(bench.sidecar().run)
        assert str(refused.value) == f"log.spool_dir: {bench.spool} cannot be read: Permission denied"
        SpoolLock.acquire(bench.spool).release()

    async def test_nothing_is_done_before_it_runs(self, autojump_clock, bench):
        sidecar = bench.sidecar()
        assert not bench.spool.exists()
        assert bench.sink.opened == 0
        assert sidecar.statistics().accepted_records == 0

    async def test_what_is_logged_before_it_runs_waits_in_the_channel(self, autojump_clock, bench, record):
        sidecar = bench.sidecar()
        assert sidecar.outlet(LogBatch((record("early"),)))
        assert sidecar.statistics().spooled_records == 1
        async with bench.running(sidecar):
            pass
        assert bench.delivered_ids == ["early"]


class TestRecovery:
    @pytest.fixture
    def left(self, bench):
        """Leave an open segment of a former start in the spool."""

        def leave(content: bytes, worker: int = 1, number: int = 1):
            bench.spool.mkdir(exist_ok=True)
            identity = SegmentIdentity("old-0", worker, number, 10, UUID, number * 1_000_000)
            (bench.spool / identity.open_name).write_bytes(content)
            return identity

        return leave

    async def test_what_a_former_start_left_is_delivered_under_its_own_key(
        self, autojump_clock, bench, record, left, is_balanced
    ):
        identity = left(record("a") + record("b") + record("torn")[:3])
        sidecar = bench.sidecar()
        async with bench.running(sidecar):
            await wait_all_tasks_blocked()
            now = sidecar.statistics()
            assert (now.accepted_records, now.delivered_records) == (3, 2)
            assert now.dropped_records[DropReason.TORN] == 1
            assert is_balanced(sidecar)
        assert list(bench.sink.segments) == [identity.key]
        assert bench.delivered == [["a", "b"]]
        assert bench.infos() == [("old-0", 1, 1, 2, 12)]
        assert bench.on_disk() == []

    async def test_old_segments_go_before_new_ones_in_their_order_with_fewer_workers_than_then(
        self, autojump_clock, bench, record, left
    ):
        for number in (3, 1, 2):
            left(record(f"{number}"), worker=4, number=number)
        async with bench.running(bench.sidecar(workers=1, rotate_bytes=1)) as sidecar:
            sidecar.outlet(LogBatch((record("new"),)))
        assert bench.delivered_ids == ["1", "2", "3", "new"]

    async def test_a_new_start_never_writes_to_an_old_segment(self, autojump_clock, bench, record, left):
        left(record("old"))
        async with bench.running(bench.sidecar()) as sidecar:
            sidecar.outlet(LogBatch((record("new"),)))
        assert bench.delivered == [["old"], ["new"]]

    async def test_an_aborted_server_loses_nothing_that_was_spooled(self, autojump_clock, bench, record):
        sidecar = bench.sidecar()
        async with trio.open_nursery() as nursery:
            await nursery.start(sidecar.run)
            for name in "abc":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert bench.delivered == []
        async with bench.running(bench.sidecar()):
            await wait_all_tasks_blocked()
        assert bench.delivered == [["a", "b", "c"]]


class TestEnd:
    async def test_closing_twice_is_closing(self, autojump_clock, bench):
        sidecar = bench.sidecar()
        async with bench.running(sidecar):
            sidecar.close()
        sidecar.close()

    async def test_what_comes_after_the_end_is_counted_as_dropped(
        self, autojump_clock, bench, record, is_balanced
    ):
        sidecar = bench.sidecar()
        async with bench.running(sidecar):
            pass
        assert not sidecar.outlet(LogBatch((record("late"),)))
        assert sidecar.statistics().dropped_records[DropReason.QUEUE_FULL] == 1
        assert is_balanced(sidecar)

    async def test_what_nobody_takes_any_more_is_not_added_to(
        self, autojump_clock, bench, record, is_balanced
    ):
        """A response that waits for the spool would never leave."""
        sidecar = bench.sidecar()
        async with trio.open_nursery() as nursery:
            await nursery.start(sidecar.run)
            # The first is handed over, the last stays in the channel.
            for padding in (0, LARGE_BYTES, 0):
                assert sidecar.outlet(LogBatch((record("a", padding=padding),)))
            nursery.cancel_scope.cancel()
        assert not sidecar.outlet.draft.take(1)
        assert not sidecar.outlet(LogBatch((record("late"),)))
        assert sidecar.statistics().dropped_records[DropReason.QUEUE_FULL] == 1
        assert is_balanced(sidecar)

    async def test_the_sum_is_said_at_the_end(self, autojump_clock, bench, record, caplog):
        caplog.set_level("INFO", logger="hushar")
        async with bench.running(bench.sidecar()) as sidecar:
            sidecar.outlet(LogBatch((record("a"), record("b"))))
        assert (
            "log: 2 records accepted = 2 delivered + 0 spooled + 0 dropped + 0 dead-lettered" in caplog.text
        )


class TestStatistics:
    async def test_the_sum_holds_through_everything_that_can_happen(
        self, autojump_clock, bench, record, is_balanced
    ):
        """A bad day, looked at after every step: outages, refusals, full disk, full spool, full channel."""
        random = Random(11)
        sidecar = bench.sidecar(
            workers=2,
            rotate_bytes=400,
            rotate_seconds=2,
            spool_max_bytes=4000,
            spool_max_age_seconds=20,
            queue_bytes=600,
            max_attempts=2,
            drain_seconds=1,
            sample_rate=0.9,
        )
        async with bench.running(sidecar):
            for n in range(400):
                sidecar.outlet(LogBatch(tuple(record(f"{n}" * 20) for _ in range(random.randint(1, 3)))))
                assert is_balanced(sidecar)
                bench.disk.room = random.choice([None, None, None, 100])
                if random.random() < 0.2:
                    bench.sink.fail_next(random.randint(1, 4), SinkError("down"))
                if random.random() < 0.5:
                    await trio.sleep(random.random())
                assert is_balanced(sidecar)
            now = sidecar.statistics()
            assert now.delivered_records
            assert all(
                now.dropped_records[reason] for reason in (DropReason.QUEUE_FULL, DropReason.DISK_FULL)
            )
            bench.disk.room = None
        now = sidecar.statistics()
        assert is_balanced(sidecar)
        assert now.delivered_records == len(bench.delivered_ids)
        left = sum(stored.segment.batches for stored in recover(bench.spool).segments)
        assert now.spooled_records == left
        assert now.queued_bytes == 0

    async def test_counters_are_the_running_totals(self, autojump_clock, bench, record):
        bench.sink.fail_next(1, SinkError("down"))
        sidecar = bench.sidecar(queue_bytes=len(record("a")))
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("a"),)))
            sidecar.outlet(LogBatch((record("b"),)))
        counters = {(c.name, *c.labels.values()): c.value for c in sidecar.counters() if c.value}
        assert counters == {
            ("LogRecordsAccepted",): 2,
            ("LogRecordsDelivered",): 1,
            ("LogRecordsDropped", "queue_full"): 1,
            ("SinkErrors", "memory"): 1,
        }


class TestClock:
    """The wall clock names files; what is waited for is measured by one that cannot be set."""

    @pytest.mark.parametrize("jump", [-400 * 86400, 400 * 86400])
    async def test_a_clock_that_jumps_changes_names_and_nothing_else(
        self, autojump_clock, bench, record, is_balanced, jump
    ):
        offset = [0.0]
        steady = bench.now
        bench.now = lambda: steady() + offset[0]
        sidecar = bench.sidecar(rotate_seconds=10, spool_max_age_seconds=100, drain_seconds=0)
        bench.sink.fail_next(10**4, SinkError("down"))
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(5)
            offset[0] = jump
            assert sidecar.statistics().oldest_seconds == pytest.approx(5)
            await trio.sleep(6)
            sidecar.outlet(LogBatch((record("b"),)))
            await trio.sleep(11)
            # Both are closed after ten seconds, and neither is too old.
            assert [name.rpartition(".n")[2] for name in bench.on_disk()] == ["1.pb", "1.pb"]
            assert is_balanced(sidecar)
            await trio.sleep(80)
            assert sidecar.statistics().dropped_records[DropReason.TOO_OLD] == 1
            await trio.sleep(20)
            assert sidecar.statistics().dropped_records[DropReason.TOO_OLD] == 2
            assert is_balanced(sidecar)

    async def test_the_minute_in_the_key_is_that_of_the_first_record(self, autojump_clock, bench, record):
        """Over midnight, and whatever the clock says when it is closed or delivered."""
        bench.now = lambda: 86_399.5 + trio.current_time() - begun
        begun = trio.current_time()
        async with bench.running(bench.sidecar(rotate_seconds=10)) as sidecar:
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(11)
            sidecar.outlet(LogBatch((record("b"),)))
        folders = [key.rpartition("/")[0] for key in bench.sink.segments]
        assert folders[0] == "year=1970/month=01/day=01/hour=23/mi=59"
        assert folders[-1] == "year=1970/month=01/day=02/hour=00/mi=00"

    async def test_what_is_found_at_the_start_has_its_age(self, autojump_clock, bench, record):
        bench.sink.fail_next(10**4, SinkError("down"))
        settings = {"rotate_bytes": 1, "spool_max_age_seconds": 100, "drain_seconds": 0}
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            sidecar.outlet(LogBatch((record("a"),)))
            await wait_all_tasks_blocked()
        await trio.sleep(70)
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            assert sidecar.statistics().oldest_seconds == pytest.approx(70)
            await trio.sleep(28)
            assert sidecar.statistics().spooled_records == 1
            await trio.sleep(4)
            assert sidecar.statistics().dropped_records[DropReason.TOO_OLD] == 1


class TestLocalDisk:
    async def test_with_real_threads_and_the_local_sink_records_reach_their_files(self, tmp_path, record):
        settings = LogSettings(workers=2, rotate_bytes=2000, spool_min_free_bytes=0)
        directory = tmp_path / "logs"
        sidecar = LogSidecar(settings, LocalLogSink(directory), directory / ".spool", instance="i")
        told = []
        async with trio.open_nursery() as nursery:
            await nursery.start(sidecar.run)
            for n in range(300):
                sidecar.outlet(LogBatch((record(f"{n}"),), lambda n=n: told.append(n)))
                if n % 50 == 0:
                    await trio.lowlevel.checkpoint()
            sidecar.close()
        assert sorted(told) == list(range(300))
        assert sorted(int(name) for name in logged(directory)) == list(range(300))
        assert len(list(directory.glob("year=*/month=*/day=*/hour=*/mi=*/*.pb"))) >= 2
        assert not [path for path in (directory / ".spool").iterdir() if path.name != "lock"]


def logged(directory) -> list[str]:
    return [
        batch.request_id
        for path in directory.rglob("*.pb*")
        for batch in structs_pb2.InferenceLogs.FromString(
            message_in(path.name, path.read_bytes())
        ).inferenceLogBatches
    ]


SERVER = """
import json, sys
from pathlib import Path
import trio
from hushar.proto import structs_pb2
from hushar.records import LogBatch
from hushar.sidecars.log import LogSidecar
from hushar.sidecars.settings import LogSettings
from hushar.sinks.local import LocalLogSink

directory, instance = Path(sys.argv[1]), sys.argv[2]
settings = LogSettings(
    workers=2, rotate_bytes=65536, spool_min_free_bytes=0, fsync="never", compression=sys.argv[3]
)
sidecar = LogSidecar(settings, LocalLogSink(directory), directory / ".spool", instance=instance)

def record(name):
    batch = structs_pb2.InferenceLogBatch(request_id=name, model_id="m" * 300)
    return structs_pb2.InferenceLogs(inferenceLogBatches=[batch]).SerializeToString()

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(sidecar.run)
        number = 0
        while number < 200_000:
            names = [f"{instance}-{number + i}" for i in range(7)]
            number += 7
            records = tuple(record(name) for name in names)
            sidecar.outlet(LogBatch(records, lambda names=names: print(json.dumps(names), flush=True)))
            await trio.lowlevel.checkpoint()

trio.run(main)
"""


@pytest.mark.slow
class TestKill:
    @pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
    def test_sigkill_loses_nothing_that_was_spooled(self, tmp_path, compression):
        """Killed under load again and again, each start recovering what the one before has left."""
        told: list[str] = []
        for start, lines in enumerate((1, 40, 300, 700)):
            command = [sys.executable, "-c", SERVER, str(tmp_path), f"start-{start}", compression]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
                for _ in range(lines):
                    told += json.loads(server.stdout.readline())
                server.send_signal(signal.SIGKILL)
                # Whole lines that were in the pipe were told as well.
                for line in server.stdout:
                    if line.endswith("\n"):
                        told += json.loads(line)
            assert server.returncode == -signal.SIGKILL

        async def recover_and_deliver():
            settings = LogSettings(drain_seconds=math.inf, compression=compression)
            sidecar = LogSidecar(settings, LocalLogSink(tmp_path), tmp_path / ".spool", instance="last")
            sidecar.close()
            await sidecar.run()
            return sidecar.statistics()

        now = trio.run(recover_and_deliver)
        assert now.spooled_records == 0
        found = logged(tmp_path)
        assert len(told) >= 7 * 1041
        assert set(told) <= set(found)
        assert len(found) == len(set(found))
        assert [path.name for path in (tmp_path / ".spool").iterdir()] == ["lock"]
