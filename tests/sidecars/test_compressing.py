"""Compression on the way to the sink: in the spool, once, with the suffix in the key."""

import errno
import gzip
import os
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import zstandard
from trio.testing import wait_all_tasks_blocked

from hushar.errors import SinkError
from hushar.records import LogBatch
from hushar.sidecars.compressing import Compressing, compress
from hushar.sidecars.ledger import Ledger
from hushar.sidecars.segment import FileOperations, stored_segment
from hushar.sidecars.spool import SegmentWriter
from hushar.sidecars.threads import give_up_if_cancelled, own_threads

READ = {"gzip": gzip.decompress, "zstd": zstandard.ZstdDecompressor().decompress}
SUFFIX = {"gzip": ".pb.gz", "zstd": ".pb.zst"}


async def log(sidecar, record, *names: str) -> None:
    """One segment each, with `rotate_bytes=1`."""
    for name in names:
        sidecar.outlet(LogBatch((record(name),)))
        await wait_all_tasks_blocked()


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_segments_are_delivered_compressed_under_a_key_that_says_so(
    autojump_clock, bench, record, ids, compression, is_balanced
):
    sidecar = bench.sidecar(rotate_bytes=1, compression=compression, compression_level=1)
    async with bench.running(sidecar):
        await log(sidecar, record, "a", "b")
    contents = {key: READ[compression](content) for key, content in bench.sink.segments.items()}
    assert [names for content in contents.values() if (names := ids(content))] == [["a"], ["b"]]
    assert len(contents) == 3  # with the end marker
    assert all(key.endswith(SUFFIX[compression]) for key in contents)
    assert bench.on_disk() == []
    assert sidecar.statistics().spool_bytes == 0
    assert is_balanced(sidecar)


async def test_a_repeated_delivery_has_the_same_bytes_under_the_same_key(autojump_clock, bench, record):
    given = []

    async def deliver(segment):
        given.append((segment.key, segment.path.read_bytes(), segment.size_bytes))
        if len(given) < 4:
            raise SinkError("the answer was lost")

    bench.sink.deliver = deliver
    async with bench.running(bench.sidecar(rotate_bytes=1, compression="gzip")) as sidecar:
        await log(sidecar, record, "a" * 1000)
        await trio.sleep(60)
    assert len(given) >= 4
    assert len(set(given[:4])) == 1
    _, content, size = given[0]
    assert size == len(content) < 300


async def test_the_next_start_repeats_it_with_the_same_bytes(autojump_clock, bench, record):
    """Killed after compressing, and killed before: the spool has one of the two, never both."""
    bench.sink.fail_next(10**4, SinkError("down"))
    async with trio.open_nursery() as nursery:
        sidecar = bench.sidecar(rotate_bytes=1, compression="gzip")
        await nursery.start(sidecar.run)
        await log(sidecar, record, "a" * 1000)
        await trio.sleep(1)
        (path,) = bench.spool.glob("*.pb*")
        assert path.name.endswith(".pb.gz")
        content = path.read_bytes()
        nursery.cancel_scope.cancel()
    bench.sink = type(bench.sink)()
    async with bench.running(bench.sidecar(compression="gzip")):
        await wait_all_tasks_blocked()
    assert list(bench.sink.segments.values()) == [content]


async def test_what_was_compressed_keeps_its_compression_whatever_is_configured_now(
    autojump_clock, bench, record
):
    bench.sink.fail_next(10**4, SinkError("down"))
    async with bench.running(bench.sidecar(rotate_bytes=1, compression="zstd", drain_seconds=1)) as sidecar:
        await log(sidecar, record, "a")
    bench.sink = type(bench.sink)()
    async with bench.running(bench.sidecar(compression="none")):
        await wait_all_tasks_blocked()
    assert [key.endswith(".pb.zst") for key in bench.sink.segments] == [True]


async def test_what_may_be_there_uncompressed_is_not_compressed_afterwards(autojump_clock, bench, record):
    """Its answer was lost, then the server: under another name it would be there twice."""
    given = []

    async def deliver(segment):
        given.append(segment.key)
        raise SinkError("the answer was lost")

    bench.sink.deliver = deliver
    async with bench.running(bench.sidecar(rotate_bytes=1, drain_seconds=1)) as sidecar:
        await log(sidecar, record, "a")
    bench.sink = type(bench.sink)()
    async with bench.running(bench.sidecar(compression="gzip")):
        await wait_all_tasks_blocked()
    assert list(bench.sink.segments) == given[:1]


async def test_while_the_sink_is_down_the_others_are_compressed_ahead_and_count_as_what_they_are(
    autojump_clock, bench, record, is_balanced
):
    bench.sink.fail_next(10**4, SinkError("down"))
    sidecar = bench.sidecar(rotate_bytes=1, compression="gzip", drain_seconds=0)
    async with bench.running(sidecar):
        await log(sidecar, record, *(f"{n}" * 3000 for n in range(1, 6)))
        assert sidecar.statistics().spool_bytes > 4 * 3000
        await trio.sleep(60)
        files = list(bench.spool.glob("*.pb*"))
        assert [path.name.endswith(".pb.gz") for path in files] == [True] * 5
        assert sidecar.statistics().spool_bytes == sum(path.stat().st_size for path in files) < 1000
        assert is_balanced(sidecar)
    bench.sink = type(bench.sink)()
    async with bench.running(bench.sidecar()):
        await wait_all_tasks_blocked()
    assert len(bench.sink.segments) >= 5


async def test_a_disk_without_room_for_the_compressed_file_keeps_nothing_from_the_sink(
    autojump_clock, bench, record, is_balanced, caplog
):
    """And what was tried once uncompressed is never tried under another name."""
    sidecar = bench.sidecar(rotate_bytes=1, compression="gzip")
    bench.sink.fail_next(2, SinkError("the answer was lost"))
    async with bench.running(sidecar):
        write, failing = bench.disk.write, [True]

        def full(descriptor, data):
            if failing[0] and list(bench.spool.glob("*.partial")):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, data)

        bench.disk.write = full
        await log(sidecar, record, "a")
        failing[0] = False
        await trio.sleep(60)
        await log(sidecar, record, "b")
        assert is_balanced(sidecar)
        assert not list(bench.spool.glob("*.partial"))
    keys = [key.rpartition("_")[2].partition(".")[2] for key in bench.sink.segments]
    assert sorted(keys) == ["pb", "pb.gz", "pb.gz"]
    assert len(set(bench.sink.attempts)) == 3
    assert "1 segments are delivered uncompressed: [Errno 28]" in caplog.text


async def test_the_free_space_that_is_to_be_kept_is_not_used_for_the_second_copy(
    autojump_clock, bench, record, is_balanced
):
    """While the disk has a segment twice, an append would find it full and drop the oldest for nothing."""
    bench.sink.fail_next(10**6, SinkError("down"))
    size = 10_000
    settings = {"compression": "gzip", "rotate_bytes": 1, "spool_min_free_bytes": 5 * size}
    sidecar = bench.sidecar(**settings, drain_seconds=0)
    twice = []

    def free_bytes(directory) -> int:
        used = sum(path.stat().st_size for path in directory.iterdir())
        return 9 * size - used

    write = bench.disk.write

    def watched(descriptor, data):
        twice.extend([bench.disk.free_bytes(bench.spool)] if list(bench.spool.glob("*.partial")) else [])
        return write(descriptor, data)

    async with bench.running(sidecar):
        bench.disk.free_bytes, bench.disk.write = free_bytes, watched
        sidecar.outlet(LogBatch((record("a", padding=3 * size),)))
        await trio.sleep(60)
        # Twice it would leave less than is to be kept free.
        assert not list(bench.spool.glob("*.gz"))
        assert twice == []
        bench.disk.free_bytes = lambda directory: free_bytes(directory) + 3 * size
        sidecar.outlet(LogBatch((record("b", padding=size),)))
        await trio.sleep(120)
        assert list(bench.spool.glob("*.gz"))
        assert sum(sidecar.statistics().dropped_records.values()) == 0
        assert is_balanced(sidecar)


@pytest.mark.parametrize("fault", ["the directory cannot be synced", "the plain file cannot be deleted"])
async def test_a_segment_is_never_left_in_two_files(
    autojump_clock, bench, record, is_balanced, monkeypatch, fault
):
    """The one that nobody knows of would be delivered by the next start, under another name."""

    def fail(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with bench.running(bench.sidecar(rotate_bytes=1, fsync="segment", compression="gzip")) as sidecar:
        if "synced" in fault:
            monkeypatch.setattr("hushar.sidecars.spool.sync_directory", fail)
        else:
            unlink = Path.unlink
            monkeypatch.setattr(
                Path,
                "unlink",
                lambda path, missing_ok=False: (
                    fail if path.suffix == ".pb" and "spool" in path.parts else unlink
                )(path, missing_ok),
            )
        await log(sidecar, record, "a")
        monkeypatch.undo()
        await trio.sleep(1)
    assert not list(bench.spool.glob("*.gz"))
    assert bench.delivered_ids == ["a"]
    assert is_balanced(sidecar)


async def test_the_end_is_not_held_up_by_compressing_ahead(autojump_clock, bench, record, monkeypatch):
    bench.sink.fail_next(1, SinkError("down"))
    begun = []

    def endless(stored, *args, pause, **kwargs):
        begun.append(stored)
        if len(begun) == 1:
            return compress(stored, *args, pause=pause, **kwargs)
        raise OSError(errno.ENOSPC, "no room, for one")

    monkeypatch.setattr("hushar.sidecars.compressing.compress", endless)
    async with bench.running(bench.sidecar(rotate_bytes=1, compression="gzip")) as sidecar:
        await log(sidecar, record, "a", "b")
        assert sidecar.statistics().spooled_records == 2
    assert len(bench.sink.segments) == 3


async def test_what_takes_longer_than_a_pause_is_compressed_all_the_same(
    autojump_clock, bench, record, monkeypatch
):
    """Given up at each attempt it would cost a core for as long as the sink is down, and never be done."""
    begun = []
    compress_one = Compressing.__call__

    async def slowly(self, stored):
        begun.append(stored.identity.number)
        await trio.sleep(300)
        return await compress_one(self, stored)

    monkeypatch.setattr(Compressing, "__call__", slowly)
    bench.sink.fail_next(10**6, SinkError("down"))
    settings = {"rotate_bytes": 1, "compression": "zstd", "compression_level": 22}
    async with bench.running(bench.sidecar(**settings, drain_seconds=10)) as sidecar:
        await log(sidecar, record, "a", "b", "c")
        await trio.sleep(1000)
        assert begun == [1, 2, 3]
        assert len(list(bench.spool.glob("*.zst"))) == 3
        await log(sidecar, record, "d")
        await trio.sleep(40)
        assert begun[3:] == [4]
        attempts, ended = len(bench.sink.attempts), trio.current_time()
    # And the end is not held up by it.
    assert trio.current_time() - ended <= 10
    assert len(bench.sink.attempts) > attempts


async def test_a_long_backlog_is_compressed_without_going_through_it_again_and_again(
    autojump_clock, bench, record, identity
):
    """Found at the start, ten thousand segments: counted in steps, not in seconds."""
    ledger = Ledger(1)
    looked = [0]

    class Counting(dict):
        def values(self):
            for value in super().values():
                looked[0] += 1
                yield value

    for number in range(10_000):
        one = replace(identity, number=number)
        ledger.find(stored_segment(bench.spool / one.closed_name(1), one, 1, 10))
    ledger._plain[1] = Counting(ledger._plain[1])
    ledger._closed[1] = Counting(ledger._closed[1])
    while (plain := ledger.take_plain(1)) is not None:
        ledger.replace(replace(plain, segment=replace(plain.segment, compression="gzip")))
        ledger.give_back(plain)
    assert looked[0] <= 20_000


@pytest.mark.parametrize(("fsync", "syncs"), [("never", 0), ("segment", 2), ("interval", 2)])
async def test_the_compressed_file_is_on_the_disk_before_the_plain_one_goes(
    autojump_clock, bench, record, fsync, syncs
):
    """One fsync closes the segment, one is for the compressed file: it has no name yet, the plain one has."""
    there: list[list[str]] = []

    def sync(descriptor):
        there.append(sorted(path.name.rpartition(".n")[2] for path in bench.spool.glob("*.n1.*")))

    bench.disk.sync = sync
    async with bench.running(bench.sidecar(rotate_bytes=1, fsync=fsync, compression="gzip")) as sidecar:
        await log(sidecar, record, "a")
        assert len(there) == syncs
    assert there == [[], ["1.pb", "1.pb.gz.partial"]][:syncs]


class TestInAThread:
    async def test_a_cancelled_wait_ends_what_takes_long_in_a_thread(self):
        """The drain has a time limit, and a segment of a gigabyte takes long."""
        rounds = []

        def work() -> None:
            while True:
                rounds.append(1)
                give_up_if_cancelled()

        with trio.move_on_after(0.05) as scope:
            await own_threads(1)(work)
        assert scope.cancelled_caught
        assert rounds

    async def test_elsewhere_it_does_nothing(self):
        give_up_if_cancelled()

    async def test_a_compression_that_is_given_up_leaves_the_plain_segment(self, tmp_path, record):
        writer = SegmentWriter(tmp_path, "i", 1)
        writer.append([record("a")])
        stored = writer.close(sync=False)

        def stop() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compress(stored, "gzip", None, FileOperations(), sync=True, pause=stop)
        assert list(tmp_path.iterdir()) == [stored.segment.path]
        made = compress(stored, "gzip", None, FileOperations(), sync=True)
        assert list(tmp_path.iterdir()) == [made.segment.path]
        assert made.identity == stored.identity
