"""From the channel into the spool: one write for what waits, segments closed by size and by age, and
what happens when there is no room."""

import errno
import os
import shutil

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.errors import ConfigurationError, SinkError
from hushar.records import LogBatch
from hushar.sidecars import gathering
from hushar.sidecars.ledger import DropReason
from hushar.sidecars.spool import SegmentWriter, SpoolLock


def down(bench):
    bench.sink.fail_next(10**4, SinkError("down"))


class TestAppending:
    async def test_everything_that_waits_shares_one_write(self, autojump_clock, bench, record):
        writes = []
        write = bench.disk.write
        bench.disk.write = lambda descriptor, data: writes.append(len(data)) or write(descriptor, data)
        async with bench.running(bench.sidecar()) as sidecar:
            for name in "abcd":
                sidecar.outlet(LogBatch((record(name), record(name * 2))))
            await wait_all_tasks_blocked()
            assert len(writes) == 1
        assert bench.delivered_ids == ["a", "aa", "b", "bb", "c", "cc", "d", "dd"]

    async def test_soon_after_a_write_records_gather_for_the_next_unless_a_response_waits(
        self, autojump_clock, bench, record
    ):
        """A write costs a hop to a thread: a busy server must not pay one a batch."""
        bench.gather_seconds = 0.01
        writes = []
        write = bench.disk.write
        bench.disk.write = lambda descriptor, data: (
            writes.append(trio.current_time()) or write(descriptor, data)
        )
        async with bench.running(bench.sidecar()) as sidecar:
            begun = trio.current_time()
            for _ in range(9):
                sidecar.outlet(LogBatch((record("a"),)))
                await trio.sleep(0.001)
            await trio.sleep(1)
            assert [round(at - begun, 3) for at in writes] == [0, 0.01]
            told = []
            for name in "bc":
                sidecar.outlet(LogBatch((record(name),), lambda: told.append(trio.current_time())))
                await wait_all_tasks_blocked()
            assert told == writes[2:]
            assert told[1] - told[0] < 0.01
        assert bench.delivered_ids == [*"aaaaaaaaabc"]

    async def test_much_at_once_does_not_wait_for_more(self, autojump_clock, bench, record, monkeypatch):
        """Or the gathering would bound what can be logged in a second."""
        monkeypatch.setattr(gathering, "LITTLE_BYTES", 1000)
        bench.gather_seconds = 10.0 * gathering.GATHERING_BYTES / 16_000
        async with bench.running(bench.sidecar(queue_bytes=16_000)) as sidecar:
            sidecar.outlet(LogBatch((record("first"),)))
            await wait_all_tasks_blocked()
            begun, told = trio.current_time(), []
            sidecar.outlet(LogBatch((record("x", padding=1000),)))
            await wait_all_tasks_blocked()
            told.append(sidecar.statistics().queued_bytes)
            assert (told, trio.current_time()) == ([0], begun)

    @pytest.mark.parametrize(("mebibytes", "at"), [(0.5, 10.5), (2, 4.0), (8, 1.0)])
    async def test_they_gather_no_longer_than_until_a_quarter_of_the_channel_is_full(
        self, autojump_clock, bench, record, mebibytes, at
    ):
        """As far as can be told from how they came before."""
        bench.gather_seconds = 10.0
        writes = []
        write = bench.disk.write
        bench.disk.write = lambda descriptor, data: (
            writes.append(trio.current_time()) or write(descriptor, data)
        )
        async with bench.running(bench.sidecar(rotate_bytes=2**30)) as sidecar:
            begun, size = trio.current_time(), int(mebibytes * 2**20)
            sidecar.outlet(LogBatch((record("first", padding=5 * size),)))
            await wait_all_tasks_blocked()
            writes[1:] = []
            while len(writes) == 1:
                await trio.sleep(0.5)
                sidecar.outlet(LogBatch((record("a", padding=size),)))
                await wait_all_tasks_blocked()
            assert writes[0] == begun
            assert at - 0.5 <= writes[1] - begun <= at + gathering.LOOK_SECONDS + 1e-6

    async def test_a_rest_ends_sooner_where_much_more_comes_than_before(self, autojump_clock, bench, record):
        bench.gather_seconds = 10.0
        async with bench.running(bench.sidecar(rotate_bytes=2**30)) as sidecar:
            for name in ("first", "then"):
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            assert sidecar.statistics().queued_bytes > 0
            sidecar.outlet(LogBatch((record("much", padding=17 * 2**20),)))
            await trio.sleep(1.1 * gathering.LOOK_SECONDS)
            assert sidecar.statistics().queued_bytes == 0

    async def test_a_disk_that_can_hardly_keep_up_does_not_rest(
        self, autojump_clock, bench, record, monkeypatch
    ):
        """More than a quarter of what it writes comes while it does, and much of the channel is full."""
        monkeypatch.setattr(gathering, "LITTLE_BYTES", 100)
        bench.gather_seconds = 10.0 * gathering.GATHERING_BYTES / 16_000
        async with bench.running(bench.sidecar(queue_bytes=16_000)) as sidecar:
            for padding, waits in ((4000, False), (900, True), (1500, False), (2000, False)):
                # As if the one before had been written until now.
                sidecar.outlet(LogBatch((record("x", padding=padding),)))
                await wait_all_tasks_blocked()
                assert (sidecar.statistics().queued_bytes > 0) == waits
                if waits:
                    await trio.sleep(10.1)
                    assert sidecar.statistics().queued_bytes == 0

    @pytest.mark.parametrize(
        ("seconds", "ways"), [(2.0, [True, False, False, False, True, True]), (0.5, [True] * 6)]
    )
    async def test_a_disk_that_does_not_keep_up_is_helped_by_the_page_cache(
        self, autojump_clock, bench, record, monkeypatch, seconds, ways
    ):
        """Where more than half of the channel waits. One that was slow is tried again after a while, and one
        that is faster than what comes catches up by itself."""
        made = []
        append = SegmentWriter.append

        def watched(writer, records, count, *, direct):
            made.append(direct)
            autojump_clock.jump(seconds)
            return append(writer, records, count, direct=direct)

        monkeypatch.setattr(SegmentWriter, "append", watched)
        async with bench.running(bench.sidecar(queue_bytes=1000)) as sidecar:
            for padding in (400, *[800] * 5):
                assert sidecar.outlet(LogBatch((record("a", padding=padding),)))
                await wait_all_tasks_blocked()
                await trio.sleep(0.5)
            await trio.sleep(10)
            sidecar.outlet(LogBatch((record("a", padding=100),)))
            await wait_all_tasks_blocked()
        assert made == [*ways, True]

    async def test_joined_records_are_split_where_a_segment_ends(self, autojump_clock, bench, record):
        records = [record(f"{n}", padding=30_000) for n in range(5)]
        async with bench.running(bench.sidecar(rotate_bytes=65536)) as sidecar:
            sidecar.outlet(LogBatch((b"".join(records),), None, 5))
            await wait_all_tasks_blocked()
            assert sidecar.statistics().spooled_records + sidecar.statistics().delivered_records == 5
        assert bench.delivered_ids == [*"01234"]
        assert [len(segment) for segment in bench.delivered] == [3, 2]

    async def test_a_batch_is_told_once_its_last_record_is_in_the_spool(
        self, autojump_clock, bench, record, ids
    ):
        told = []
        async with bench.running(bench.sidecar()) as sidecar:

            def tell(name):
                (path,) = bench.spool.glob("*.open")
                told.append((name, ids(path.read_bytes())))

            sidecar.outlet(LogBatch((record("a"), record("b")), lambda: tell("first")))
            await wait_all_tasks_blocked()
            sidecar.outlet(LogBatch((record("c"),), lambda: tell("second")))
            await wait_all_tasks_blocked()
        assert told == [("first", ["a", "b"]), ("second", ["a", "b", "c"])]

    async def test_a_batch_is_not_told_with_a_later_one_of_its_bundle(
        self, autojump_clock, bench, record, monkeypatch
    ):
        """Where a segment ends is foreseen when a bundle is begun, and may be foreseen wrongly."""
        size, writes, told = len(record("0")), [], []
        write = bench.disk.write
        bench.disk.write = lambda descriptor, data: writes.append(data) or write(descriptor, data)
        sidecar = bench.sidecar(rotate_bytes=2 * size)
        monkeypatch.setattr(sidecar.outlet, "_segment_bytes", 2**30)
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("0"),)))
            await wait_all_tasks_blocked()
            writes.clear()
            for name in "1234":
                sidecar.outlet(LogBatch((record(name),), lambda name=name: told.append((name, len(writes)))))
            await wait_all_tasks_blocked()
        # One for each segment, and one for its SegmentInfo when it is closed.
        assert told == [("1", 2), ("2", 4), ("3", 4), ("4", 5)]
        assert bench.delivered == [["0", "1"], ["2", "3"], ["4"]]

    async def test_what_gathers_does_not_fill_a_small_channel(self, autojump_clock, bench, record):
        """However long the gathering of a large one."""
        bench.gather_seconds = 64.0
        async with bench.running(bench.sidecar(queue_bytes=2**20)) as sidecar:
            for name in "ab":
                sidecar.outlet(LogBatch((record(name),)))
                await trio.sleep(1.1)
            assert sidecar.statistics().queued_bytes == 0

    async def test_a_batch_whose_records_are_lost_is_told_too(self, autojump_clock, bench, record):
        told = []
        async with bench.running(bench.sidecar()) as sidecar:
            bench.disk.room = 0
            sidecar.outlet(LogBatch((record("a"),), lambda: told.append(1)))
            await wait_all_tasks_blocked()
            assert told == [1]

    async def test_a_batch_that_cannot_be_told_does_not_stop_the_log(
        self, autojump_clock, bench, record, caplog
    ):
        def fail():
            raise ZeroDivisionError

        async with bench.running(bench.sidecar()) as sidecar:
            sidecar.outlet(LogBatch((record("a"),), fail))
            await wait_all_tasks_blocked()
            sidecar.outlet(LogBatch((record("b"),)))
        assert bench.delivered_ids == ["a", "b"]
        assert "ZeroDivisionError" in caplog.text

    async def test_the_channels_bytes_are_given_back_when_the_records_are_on_disk(
        self, autojump_clock, bench, record
    ):
        async with bench.running(bench.sidecar(queue_bytes=len(record("a")))) as sidecar:
            for name in "abc":
                assert sidecar.outlet(LogBatch((record(name),)))
                assert not sidecar.outlet(LogBatch((record("x"),)))
                await wait_all_tasks_blocked()
        assert bench.delivered_ids == ["a", "b", "c"]

    async def test_several_workers_share_one_channel_and_lose_nothing(
        self, autojump_clock, bench, record, is_balanced
    ):
        sidecar = bench.sidecar(workers=3)
        async with bench.running(sidecar):
            for n in range(60):
                sidecar.outlet(LogBatch((record(str(n)),)))
                if n % 4 == 0:
                    await wait_all_tasks_blocked()
        assert sorted(bench.delivered_ids, key=int) == [str(n) for n in range(60)]
        assert is_balanced(sidecar)


class TestRotation:
    async def test_a_segment_is_closed_at_its_size_over_by_less_than_a_record(
        self, autojump_clock, bench, record
    ):
        size = len(record("00"))
        async with bench.running(bench.sidecar(rotate_bytes=3 * size - 1)) as sidecar:
            sidecar.outlet(LogBatch(tuple(record(f"{n:02}") for n in range(8))))
            await wait_all_tasks_blocked()
            assert [len(segment) for segment in bench.delivered] == [3, 3]
        assert [len(segment) for segment in bench.delivered] == [3, 3, 2]
        assert bench.delivered_ids == [f"{n:02}" for n in range(8)]
        assert bench.infos() == [("test-1", 1, 1, 3, 3), ("test-1", 1, 2, 3, 6), ("test-1", 1, 3, 2, 8)]

    async def test_a_segment_is_closed_at_its_age_without_any_traffic(self, autojump_clock, bench, record):
        async with bench.running(bench.sidecar(rotate_seconds=60)) as sidecar:
            await trio.sleep(100)
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(59.9)
            assert bench.delivered == []
            await trio.sleep(0.2)
            assert bench.delivered == [["a"]]
            await trio.sleep(200)
            assert bench.on_disk() == []

    async def test_the_age_is_counted_from_the_first_record_not_from_the_last(
        self, autojump_clock, bench, record
    ):
        async with bench.running(bench.sidecar(rotate_seconds=60)) as sidecar:
            for n in range(13):
                sidecar.outlet(LogBatch((record(str(n)),)))
                await trio.sleep(10)
            assert [len(segment) for segment in bench.delivered] in ([6, 6], [7, 6], [6, 7])


class TestAnnouncement:
    """From early on whoever reads the log knows of each worker."""

    async def test_a_workers_first_segment_is_closed_early_and_only_that(self, autojump_clock, bench, record):
        bench.first_seconds = 2
        async with bench.running(bench.sidecar(rotate_seconds=60)) as sidecar:
            await trio.sleep(100)
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(1.9)
            sidecar.outlet(LogBatch((record("b"),)))
            assert bench.delivered == []
            await trio.sleep(0.2)
            assert bench.delivered == [["a", "b"]]
            sidecar.outlet(LogBatch((record("c"),)))
            await trio.sleep(59)
            assert bench.delivered == [["a", "b"]]
            await trio.sleep(2)
            assert bench.delivered == [["a", "b"], ["c"]]

    async def test_it_is_never_later_than_the_others(self, autojump_clock, bench, record):
        bench.first_seconds = 2
        async with bench.running(bench.sidecar(rotate_seconds=1)) as sidecar:
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(1.1)
            assert bench.delivered == [["a"]]

    async def test_each_worker_has_one(self, autojump_clock, bench, record):
        bench.first_seconds = 2
        async with bench.running(bench.sidecar(workers=3)) as sidecar:
            for n in range(30):
                sidecar.outlet(LogBatch((record(str(n)),)))
                if n % 3 == 0:
                    await wait_all_tasks_blocked()
            await trio.sleep(2.1)
            assert {info[1] for info in bench.infos()} >= {1}
            assert sorted(map(int, bench.delivered_ids)) == list(range(30))


class TestEndMarker:
    async def test_at_the_end_it_is_said_how_much_there_is_before_the_last_segment_goes(
        self, autojump_clock, bench, record
    ):
        async with bench.running(bench.sidecar(rotate_seconds=10)) as sidecar:
            for names in ("ab", "c", "def"):
                sidecar.outlet(LogBatch(tuple(map(record, names))))
                await trio.sleep(11 if names != "def" else 1)
        assert bench.infos(ends=True) == [
            ("test-1", 1, 1, 2, 2),
            ("test-1", 1, 2, 1, 3),
            ("test-1", 1, 4, 0, 6),
            ("test-1", 1, 3, 3, 6),
        ]
        assert bench.delivered == [["a", "b"], ["c"], ["d", "e", "f"]]

    async def test_also_where_everything_was_delivered_long_ago(self, autojump_clock, bench, record):
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            for name in "ab":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            await trio.sleep(1000)
        assert bench.infos(ends=True)[-1] == ("test-1", 1, 3, 0, 2)
        *_, last, end = bench.sink.segments
        assert end.rpartition("/")[0] == last.rpartition("/")[0]

    @pytest.mark.parametrize("count", [0, 1])
    async def test_a_short_run_leaves_one_file_or_none(self, autojump_clock, bench, record, count):
        async with bench.running(bench.sidecar()) as sidecar:
            for n in range(count):
                sidecar.outlet(LogBatch((record(str(n)),)))
        assert len(bench.sink.segments) == count

    async def test_a_full_disk_ends_without_and_that_is_all(
        self, autojump_clock, bench, record, is_balanced, caplog
    ):
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            for name in "ab":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            bench.disk.room = 0
        assert bench.infos(ends=True) == bench.infos()
        assert is_balanced(sidecar)
        assert "worker 1 ends without its marker: [Errno 28]" in caplog.text


class TestCrash:
    """A mistake in the writing half: it goes on, nobody waits for ever, and the sum holds."""

    @pytest.fixture
    def crash(self, monkeypatch):
        """Let the next so many appends fail in a way that nothing is made for."""
        left = [0]
        append = SegmentWriter.append

        def failing(writer, *args, **kwargs):
            if left[0]:
                left[0] -= 1
                raise RuntimeError("can't start new thread")
            return append(writer, *args, **kwargs)

        monkeypatch.setattr(SegmentWriter, "append", failing)
        return left

    async def test_what_was_in_hand_is_counted_and_the_rest_goes_on(
        self, autojump_clock, bench, record, is_balanced, crash, caplog
    ):
        sidecar = bench.sidecar()
        told = []
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("before"),)))
            await wait_all_tasks_blocked()
            crash[0] = 1
            sidecar.outlet(LogBatch((record("a"), record("b")), lambda: told.append("ab")))
            await wait_all_tasks_blocked()
            now = sidecar.statistics()
            assert (now.dropped_records[DropReason.DISK_FULL], now.crashes) == (2, 1)
            assert told == ["ab"]
            assert is_balanced(sidecar)
            sidecar.outlet(LogBatch((record("after"),), lambda: told.append("after")))
            await trio.sleep(1)
            assert told == ["ab", "after"]
            assert sidecar.statistics().queued_bytes == 0
            assert is_balanced(sidecar)
        assert bench.delivered == [["after"]]
        # What was open waits for the next start.
        assert sidecar.statistics().spooled_records == 1
        assert "writing failed, it is started again" in caplog.text
        async with bench.running(bench.sidecar()):
            await wait_all_tasks_blocked()
        assert bench.delivered == [["after"], ["before"]]

    async def test_again_and_again_it_is_tried_and_the_server_is_not_told(
        self, autojump_clock, bench, record, is_balanced, crash
    ):
        sidecar = bench.sidecar(workers=2)
        async with bench.running(sidecar):
            crash[0] = 8
            for n in range(300):
                sidecar.outlet(LogBatch((record(str(n)),)))
                await trio.sleep(1)
                assert is_balanced(sidecar)
            assert sidecar.statistics().crashes == 8
        assert len(bench.delivered_ids) == 300 - sidecar.statistics().dropped_records[DropReason.DISK_FULL]

    async def test_a_mistake_while_closing_loses_no_record_from_the_books(
        self, autojump_clock, bench, record, is_balanced, monkeypatch
    ):
        close, failing = SegmentWriter.close, [True]

        def crash(writer, **kwargs):
            stored = close(writer, **kwargs)
            if failing.pop() if failing else False:
                raise KeyError("bug")
            return stored

        monkeypatch.setattr(SegmentWriter, "close", crash)
        sidecar = bench.sidecar(rotate_seconds=10)
        async with bench.running(sidecar):
            for name in ("a", "b", "c"):
                sidecar.outlet(LogBatch((record(name),)))
                await trio.sleep(11)
                assert is_balanced(sidecar)
            assert sidecar.statistics().spooled_records == 1
        async with bench.running(bench.sidecar()):
            await wait_all_tasks_blocked()
        assert sorted(bench.delivered_ids) == ["a", "b", "c"]

    async def test_a_mistake_that_never_goes_away_does_not_keep_the_server_from_ending(
        self, autojump_clock, bench, record, is_balanced, monkeypatch
    ):
        def crash(writer, **kwargs):
            raise KeyError("bug")

        monkeypatch.setattr(SegmentWriter, "end", crash)
        monkeypatch.setattr(SegmentWriter, "close", crash)
        sidecar = bench.sidecar()
        with trio.fail_after(60):
            async with bench.running(sidecar):
                sidecar.outlet(LogBatch((record("a"),)))
                await wait_all_tasks_blocked()
        assert is_balanced(sidecar)
        assert sidecar.statistics().spooled_records == 1

    async def test_what_gathers_while_the_fsync_beside_it_fails_is_in_the_books(
        self, autojump_clock, bench, record, is_balanced
    ):
        """Taken from the channel, not yet in hand: it would hold its part of `queue_bytes` for ever."""
        bench.gather_seconds = 10.0

        def fail(descriptor):
            bench.disk.sync = lambda descriptor: None
            raise RuntimeError("can't start new thread")

        bench.disk.sync = fail
        async with bench.running(bench.sidecar(fsync="interval", fsync_seconds=1.0)) as sidecar:
            for name in "ab":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            await trio.sleep(5)
            now = sidecar.statistics()
            assert now.crashes == 1
            assert (now.queued_bytes, now.dropped_records[DropReason.DISK_FULL]) == (0, 1)
            assert is_balanced(sidecar)

    async def test_what_could_not_be_dropped_for_want_of_a_thread_is_delivered(
        self, autojump_clock, bench, record, is_balanced, monkeypatch
    ):
        def fail(stored):
            monkeypatch.undo()
            raise RuntimeError("can't start new thread")

        down(bench)
        async with bench.running(bench.sidecar(rotate_bytes=1, spool_max_age_seconds=3.0)) as sidecar:
            sidecar.outlet(LogBatch((record("a"),)))
            await wait_all_tasks_blocked()
            monkeypatch.setattr("hushar.sidecars.upkeep.discard", fail)
            await trio.sleep(10)
            now = sidecar.statistics()
            assert (now.dropped_records[DropReason.TOO_OLD], now.spooled_records, now.crashes) == (1, 0, 1)
            assert is_balanced(sidecar)

    async def test_the_end_comes_all_the_same(self, autojump_clock, bench, record, is_balanced, crash):
        sidecar = bench.sidecar()
        async with bench.running(sidecar):
            crash[0] = 1
            sidecar.outlet(LogBatch((record("a"),)))
            sidecar.close()
        assert is_balanced(sidecar)
        assert sidecar.statistics().spooled_records == 0


class TestFsync:
    @pytest.fixture
    def named_at(self, monkeypatch):
        """When the names in the spool were forced to the disk."""
        at = []
        for module in ("segment", "spool"):
            monkeypatch.setattr(
                f"hushar.sidecars.{module}.sync_directory", lambda path: at.append(trio.current_time())
            )
        return at

    async def test_at_intervals_only_what_is_new(self, autojump_clock, bench, record):
        async with bench.running(bench.sidecar(fsync="interval", fsync_seconds=0.5)) as sidecar:
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(0.6)
            assert bench.disk.syncs == 1
            await trio.sleep(10)
            assert bench.disk.syncs == 1
            sidecar.outlet(LogBatch((record("b"),)))
            await trio.sleep(0.6)
            assert bench.disk.syncs == 2

    async def test_no_record_waits_longer_than_that(self, autojump_clock, bench, record):
        at = []
        bench.disk.sync = lambda descriptor: at.append(round(trio.current_time() - begun, 3))
        async with bench.running(bench.sidecar(fsync="interval", fsync_seconds=0.5)) as sidecar:
            begun = trio.current_time()
            for seconds in (0.3, 0.3, 0.1, 0.7, 0.1):
                await trio.sleep(seconds)
                sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(0.6)
            # Records came at 0.3, 0.6 and 0.7; at 1.4 and 1.5.
            assert at == [0.8, 1.9]

    async def test_a_segment_that_is_closed_before_is_forced_once_and_its_name_with_others(
        self, autojump_clock, bench, record, named_at
    ):
        """A busy server closes segments all the time, and each fsync holds up the next segment."""
        sidecar = bench.sidecar(fsync="interval", fsync_seconds=0.5, rotate_bytes=1)
        async with bench.running(sidecar):
            begun = trio.current_time()
            for _ in range(20):
                await trio.sleep(0.12)
                sidecar.outlet(LogBatch((record("a"),)))
                await wait_all_tasks_blocked()
            assert bench.disk.syncs == 20
            # Half a second after the first record whose segment was closed: that of 0.12, 0.72, and 1.32.
            assert [round(at - begun, 3) for at in named_at] == [0.62, 1.22, 1.82]
            await trio.sleep(0.45)
            assert len(named_at) == 4

    @pytest.mark.parametrize("fsync", ["never", "interval", "segment"])
    async def test_at_the_end_every_name_is_forced(self, autojump_clock, bench, record, named_at, fsync):
        async with bench.running(bench.sidecar(fsync=fsync, fsync_seconds=60.0, rotate_bytes=1)) as sidecar:
            for _ in range(3):
                sidecar.outlet(LogBatch((record("a"),)))
                await wait_all_tasks_blocked()
            # One of them is for the end marker.
            before = len(named_at)
        assert (before, len(named_at)) == {"never": (0, 0), "interval": (0, 2), "segment": (3, 4)}[fsync]
        assert bench.disk.syncs == {"never": 0, "interval": 4, "segment": 4}[fsync]

    async def test_names_are_forced_though_there_was_no_thread_for_it_at_first(
        self, autojump_clock, bench, record, named_at, monkeypatch
    ):
        def fail(writer):
            failed.append(1)
            context.undo()
            raise RuntimeError("can't start new thread")

        failed = []
        sidecar = bench.sidecar(fsync="interval", fsync_seconds=0.5, rotate_bytes=1)
        async with bench.running(sidecar):
            with monkeypatch.context() as context:
                context.setattr(SegmentWriter, "sync_names", fail)
                sidecar.outlet(LogBatch((record("a"),)))
                await trio.sleep(10)
            assert (failed, len(named_at), sidecar.statistics().crashes) == ([1], 1, 1)

    async def test_a_directory_that_cannot_be_forced_is_tried_again(
        self, autojump_clock, bench, record, monkeypatch, caplog
    ):
        tried = []

        def sync(path):
            tried.append(path)
            if len(tried) < 3:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr("hushar.sidecars.spool.sync_directory", sync)
        sidecar = bench.sidecar(fsync="interval", fsync_seconds=0.5, rotate_bytes=1)
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(10)
            assert tried == [bench.spool] * 3
        assert "fsync of a segment: [Errno 5]" in caplog.text

    async def test_a_failed_one_is_repeated(self, autojump_clock, bench, record):
        def fail(descriptor):
            bench.disk.sync = sync
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        sync, bench.disk.sync = bench.disk.sync, fail
        async with bench.running(bench.sidecar(fsync="interval", fsync_seconds=0.5)) as sidecar:
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(1.2)
            assert bench.disk.syncs == 1

    @pytest.mark.parametrize(("fsync", "syncs"), [("never", 0), ("segment", 1), ("interval", 1)])
    async def test_at_the_close(self, autojump_clock, bench, record, fsync, syncs):
        async with bench.running(bench.sidecar(fsync=fsync, fsync_seconds=1000)) as sidecar:
            sidecar.outlet(LogBatch((record("a"),)))
            await trio.sleep(5)
            assert bench.disk.syncs == 0
        assert bench.disk.syncs == syncs

    async def test_a_failed_fsync_is_said_now_and_then_and_loses_nothing(
        self, autojump_clock, bench, record, caplog
    ):
        bench.disk.sync_error = errno.EIO
        async with bench.running(bench.sidecar(fsync="interval")) as sidecar:
            for n in range(8):
                sidecar.outlet(LogBatch((record(str(n)),)))
                await trio.sleep(1)
            assert sum("fsync" in message.getMessage() for message in caplog.records) == 1
        assert len(bench.delivered_ids) == 8


class TestLimits:
    async def test_a_full_spool_drops_the_oldest_closed_segment(
        self, autojump_clock, bench, record, is_balanced, caplog
    ):
        down(bench)
        size = len(record("0" * 100))
        settings = {"rotate_bytes": 2 * size, "spool_max_bytes": 10 * size, "drain_seconds": 0}
        sidecar = bench.sidecar(**settings)
        async with bench.running(sidecar):
            for n in range(40):
                sidecar.outlet(LogBatch((record(f"{n:0100}"),)))
                await wait_all_tasks_blocked()
                assert sidecar.statistics().spool_bytes <= 10 * size
                assert sum(path.stat().st_size for path in bench.spool.iterdir()) <= 10 * size
                assert is_balanced(sidecar)
            dropped = sidecar.statistics().dropped_records[DropReason.SPOOL_FULL]
            assert dropped >= 30
            assert "records dropped: spool_full" in caplog.text
        bench.sink = type(bench.sink)()
        async with bench.running(bench.sidecar()):
            await wait_all_tasks_blocked()
        assert [int(name) for name in bench.delivered_ids] == list(range(dropped, 40))

    async def test_with_nothing_closed_the_new_records_are_lost_and_the_open_ones_go_to_the_sink(
        self, autojump_clock, bench, record, is_balanced
    ):
        async with bench.running(bench.sidecar(spool_max_bytes=2000)) as sidecar:
            for name in ("a" * 900, "b" * 1200):
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            assert sidecar.statistics().dropped_records[DropReason.SPOOL_FULL] == 1
            assert bench.delivered_ids == ["a" * 900]
            assert is_balanced(sidecar)
            sidecar.outlet(LogBatch((record("c"),)))
        assert bench.delivered_ids == ["a" * 900, "c"]

    async def test_a_record_larger_than_the_spool_is_lost_alone(self, autojump_clock, bench, record):
        async with bench.running(bench.sidecar(spool_max_bytes=2000)) as sidecar:
            sidecar.outlet(LogBatch((record("x" * 3000),)))
            await wait_all_tasks_blocked()
            sidecar.outlet(LogBatch((record("y"),)))
        assert bench.delivered_ids == ["y"]

    async def test_a_record_larger_than_the_spool_takes_nothing_with_it(
        self, autojump_clock, bench, record, is_balanced
    ):
        """Neither what is closed, nor what is open, nor what is written with it."""
        down(bench)
        settings = {"rotate_bytes": 300, "spool_max_bytes": 2000, "drain_seconds": 0}
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            sidecar.outlet(LogBatch((record("a" * 300), record("b" * 300))))
            await wait_all_tasks_blocked()
            closed = sorted(path.name for path in bench.spool.glob("*.pb"))
            sidecar.outlet(LogBatch((record("c"), record("x" * 3000), record("d"))))
            await wait_all_tasks_blocked()
            assert sorted(path.name for path in bench.spool.glob("*.pb")) == closed
            assert len(closed) == 2
            assert sidecar.statistics().dropped_records[DropReason.SPOOL_FULL] == 1
            assert sidecar.statistics().spooled_records == 4
            assert is_balanced(sidecar)

    async def test_nothing_closed_is_dropped_where_that_does_not_make_enough_room(
        self, autojump_clock, bench, record
    ):
        down(bench)
        settings = {"rotate_bytes": 600, "spool_max_bytes": 2000, "drain_seconds": 0}
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            for name in ("a" * 600, "b" * 500, "x" * 1300):
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            assert sidecar.statistics().dropped_records[DropReason.SPOOL_FULL] == 1
            assert sidecar.statistics().spooled_records == 2

    async def test_a_file_that_cannot_be_deleted_is_lost_all_the_same(
        self, autojump_clock, bench, record, is_balanced, caplog
    ):
        down(bench)
        async with bench.running(bench.sidecar(rotate_bytes=1, spool_max_bytes=1200)) as sidecar:
            sidecar.outlet(LogBatch((record("a" * 500),)))
            await wait_all_tasks_blocked()
            (path,) = bench.spool.glob("*.pb")
            path.unlink()
            path.mkdir()
            sidecar.outlet(LogBatch((record("b" * 500),)))
            await wait_all_tasks_blocked()
            assert sidecar.statistics().dropped_records[DropReason.SPOOL_FULL] == 1
            assert is_balanced(sidecar)
            path.rmdir()
        assert "cannot be deleted" in caplog.text

    async def test_too_little_free_space_counts_as_full(self, autojump_clock, bench, record, is_balanced):
        down(bench)
        settings = {"rotate_bytes": 1, "spool_min_free_bytes": 1000, "drain_seconds": 0}
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            for name in "abc":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            bench.disk.free = 999
            sidecar.outlet(LogBatch((record("d"),)))
            await wait_all_tasks_blocked()
            # Everything closed has gone, in vain; so the new one goes too.
            assert sidecar.statistics().dropped_records[DropReason.SPOOL_FULL] == 4
            bench.disk.free = 10**9
            sidecar.outlet(LogBatch((record("e"),)))
            await wait_all_tasks_blocked()
            assert sidecar.statistics().spooled_records == 1
            assert is_balanced(sidecar)

    async def test_where_others_have_filled_the_disk_only_what_is_new_is_dropped(
        self, autojump_clock, bench, record, is_balanced
    ):
        """Dropping all that is closed would not make room enough: it stays."""
        down(bench)
        settings = {"rotate_bytes": 1, "spool_min_free_bytes": 10_000, "drain_seconds": 0}
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            for name in "abc":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            bench.disk.free = 5000
            for name in "de":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            now = sidecar.statistics()
            assert (now.dropped_records[DropReason.SPOOL_FULL], now.spooled_records) == (2, 3)
            assert is_balanced(sidecar)

    async def test_no_more_is_dropped_than_the_free_space_needs(self, autojump_clock, bench, record):
        down(bench)
        settings = {"rotate_bytes": 1, "spool_min_free_bytes": 1000, "drain_seconds": 0}
        sidecar = bench.sidecar(**settings)
        async with bench.running(sidecar):
            for name in "abc":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()

            bench.disk.free_bytes = lambda directory: 999 if len(list(directory.glob("*.pb"))) > 2 else 10**6
            sidecar.outlet(LogBatch((record("d"),)))
            await wait_all_tasks_blocked()
            assert sidecar.statistics().dropped_records[DropReason.SPOOL_FULL] == 1


class TestFullDisk:
    async def test_records_are_lost_and_counted_until_there_is_room_again(
        self, autojump_clock, bench, record, is_balanced
    ):
        size = len(record("0"))
        async with bench.running(bench.sidecar()) as sidecar:
            sidecar.outlet(LogBatch((record("0"),)))
            await wait_all_tasks_blocked()
            bench.disk.room = size + 2
            sidecar.outlet(LogBatch((record("1"), record("2"), record("3"))))
            await wait_all_tasks_blocked()
            now = sidecar.statistics()
            assert now.dropped_records[DropReason.DISK_FULL] == 2
            assert now.spooled_records == 2
            assert now.queued_bytes == 0
            assert is_balanced(sidecar)
            bench.disk.room = None
            sidecar.outlet(LogBatch((record("4"),)))
        assert bench.delivered == [["0", "1", "4"]]
        assert bench.infos() == [("test-1", 1, 1, 3, 3)]

    async def test_a_disk_that_fails_otherwise_gets_another_file(
        self, autojump_clock, bench, record, is_balanced
    ):
        async with bench.running(bench.sidecar()) as sidecar:
            sidecar.outlet(LogBatch((record("0"),)))
            await wait_all_tasks_blocked()
            bench.disk.room, bench.disk.write_error = 3, errno.EIO
            sidecar.outlet(LogBatch((record("lost"),)))
            await wait_all_tasks_blocked()
            bench.disk.room = None
            sidecar.outlet(LogBatch((record("1"),)))
        assert bench.delivered == [["0"], ["1"]]
        assert is_balanced(sidecar)

    async def test_what_cannot_be_cut_off_is_left_to_the_next_start(
        self, autojump_clock, bench, record, is_balanced, caplog
    ):
        sidecar = bench.sidecar(drain_seconds=0.5)
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("0"),)))
            await wait_all_tasks_blocked()
            bench.disk.room, bench.disk.truncate_error = 3, errno.EIO
            sidecar.outlet(LogBatch((record("lost"),)))
            await wait_all_tasks_blocked()
            bench.disk.room = bench.disk.truncate_error = None
            sidecar.outlet(LogBatch((record("1"),)))
            await wait_all_tasks_blocked()
            assert sidecar.statistics().spooled_records == 2
            assert is_balanced(sidecar)
        assert bench.delivered == [["1"]]
        assert sidecar.statistics().spooled_records == 1
        assert "left for the next start" in caplog.text
        async with bench.running(bench.sidecar()):
            await wait_all_tasks_blocked()
        assert bench.delivered == [["1"], ["0"]]

    async def test_a_segment_that_cannot_be_closed_is_left_to_the_next_start(
        self, autojump_clock, bench, record, is_balanced
    ):
        sidecar = bench.sidecar(rotate_seconds=60)
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("0"),)))
            await wait_all_tasks_blocked()
            bench.disk.room, bench.disk.truncate_error = 3, errno.EIO
            await trio.sleep(61)
            bench.disk.room = bench.disk.truncate_error = None
            sidecar.outlet(LogBatch((record("1"),)))
        assert bench.delivered == [["1"]]
        assert is_balanced(sidecar)
        async with bench.running(bench.sidecar()):
            await wait_all_tasks_blocked()
        assert bench.delivered == [["1"], ["0"]]


class TestRemovedSpool:
    @pytest.mark.parametrize("settings", [{}, {"spool_min_free_bytes": 1}])
    async def test_it_is_made_and_held_again_and_only_what_was_in_it_is_lost(
        self, autojump_clock, bench, record, is_balanced, caplog, settings
    ):
        sidecar = bench.sidecar(workers=2, **settings)
        if settings:
            # What the system says of a directory that is not there.
            bench.disk.free_bytes = lambda directory: directory.stat() and 10**9
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("gone"),)))
            await wait_all_tasks_blocked()
            shutil.rmtree(bench.spool)
            for name in "abc":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            assert sidecar.statistics().dropped_records[DropReason.TORN] == 1
            assert sidecar.statistics().spooled_records == 3
            assert is_balanced(sidecar)
            with pytest.raises(ConfigurationError, match="in use"):
                SpoolLock.acquire(bench.spool)
        assert sorted(bench.delivered_ids) == ["a", "b", "c"]
        assert is_balanced(sidecar)
        assert "1 records dropped: torn ([Errno 2] No such file or directory" in caplog.text

    async def test_a_segment_that_is_removed_before_it_is_closed_is_lost(
        self, autojump_clock, bench, record, is_balanced
    ):
        sidecar = bench.sidecar(rotate_seconds=60)
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("a"), record("b"))))
            await wait_all_tasks_blocked()
            shutil.rmtree(bench.spool)
            await trio.sleep(61)
            now = sidecar.statistics()
            assert (now.dropped_records[DropReason.TORN], now.spooled_records, now.spool_bytes) == (2, 0, 0)
            assert is_balanced(sidecar)

    async def test_where_it_cannot_be_made_again_records_are_lost_and_the_reason_said(
        self, autojump_clock, bench, record, is_balanced, caplog
    ):
        sidecar = bench.sidecar()
        async with bench.running(sidecar):
            shutil.rmtree(bench.spool)
            bench.spool.symlink_to("nowhere")
            for name in "abc":
                sidecar.outlet(LogBatch((record(name),)))
                await wait_all_tasks_blocked()
            assert sidecar.statistics().dropped_records[DropReason.DISK_FULL] == 3
            assert is_balanced(sidecar)
            assert caplog.text.count("the spool was removed: log.spool_dir: ") == 1
            bench.spool.unlink()
            sidecar.outlet(LogBatch((record("d"),)))
        assert bench.delivered_ids == ["d"]
        assert "1 records dropped: disk_full ([Errno 2] No such file or directory" in caplog.text
