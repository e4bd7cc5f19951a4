"""Delivering what a server has left, without the server."""

import errno
import gzip
import os
from pathlib import Path
from random import Random

import pytest
import trio

from hushar.errors import ConfigurationError, Problem, SegmentRefused, SinkError, SinkRefused
from hushar.sidecars import recovery
from hushar.sidecars.offline import ATTEMPTS, deliver_left
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import SegmentWriter, SpoolLock, dead_letter


@pytest.fixture
def leave(tmp_path: Path, record):
    """Leave closed segments, open ones, and dead letters in a spool."""
    spool = tmp_path / "spool"
    SpoolLock.acquire(spool).release()

    def left(*, closed=(), opened=(), dead=()):
        clock = iter(range(1, 100))
        for worker, name in enumerate((*dead, *closed, *opened), start=1):
            writer = SegmentWriter(spool, "old", worker, wall_clock=lambda: float(next(clock)))
            writer.append([record(name)])
            if name in opened:
                writer.abandon()
                continue
            stored = writer.close(sync=False)
            if name in dead:
                dead_letter(stored)
        return spool

    return left


@pytest.fixture
def deliver(bench):
    async def delivered(spool: Path, **settings):
        async def in_line(function, /, *args):
            await trio.lowlevel.checkpoint()
            return function(*args)

        return await deliver_left(
            LogSettings(**settings), bench.sink, spool, random=Random(1), run_in_thread=in_line
        )

    return delivered


def counts(done) -> tuple[int, int, int]:
    return done.delivered.records, done.left.records, done.torn_records


async def test_everything_is_delivered_the_oldest_first_and_then_the_dead_letters(
    autojump_clock, bench, leave, deliver
):
    spool = leave(closed=["a", "b"], opened=["c"], dead=["d"])
    done = await deliver(spool)
    assert counts(done) == (4, 0, 0)
    assert done.left.segments == 0
    assert bench.delivered == [["a"], ["b"], ["c"], ["d"]]
    assert [path.name for path in spool.rglob("*") if path.is_file()] == ["lock"]
    assert (bench.sink.opened, bench.sink.closed) == (1, 1)


async def test_a_spool_that_is_not_there_has_nothing_left_and_is_not_made(
    autojump_clock, bench, deliver, tmp_path
):
    done = await deliver(tmp_path / "nowhere")
    assert (done.delivered.segments, done.left.segments) == (0, 0)
    assert list(tmp_path.iterdir()) == []
    assert bench.sink.opened == 0


async def test_while_a_server_holds_the_spool_nothing_is_done(autojump_clock, bench, leave, deliver):
    spool = leave(closed=["a"])
    lock = SpoolLock.acquire(spool)
    with pytest.raises(ConfigurationError, match=rf"^log\.spool_dir: {spool} is in use by process"):
        await deliver(spool)
    lock.release()
    assert bench.sink.attempts == []
    assert bench.sink.opened == 0


async def test_a_short_outage_is_waited_for(autojump_clock, bench, leave, deliver):
    bench.sink.fail_next(ATTEMPTS - 1, SinkError("503"))
    assert counts(await deliver(leave(closed=["a", "b"]))) == (2, 0, 0)


async def test_a_sink_that_is_down_is_given_up_and_everything_stays(autojump_clock, bench, leave, deliver):
    bench.sink.fail_next(100, SinkError("down"))
    spool = leave(closed=["a", "b"], dead=["d"])
    assert counts(await deliver(spool)) == (0, 3, 0)
    assert len(bench.sink.attempts) == ATTEMPTS
    bench.sink = type(bench.sink)()
    assert counts(await deliver(spool)) == (3, 0, 0)


async def test_a_sink_that_refuses_everything_is_asked_once(autojump_clock, bench, leave, deliver):
    bench.sink.fail_next(100, SinkRefused("403"))
    assert counts(await deliver(leave(closed=["a", "b"]))) == (0, 2, 0)
    assert len(bench.sink.attempts) == 1


async def test_a_refused_segment_is_set_aside_and_a_dead_letter_stays_one(
    autojump_clock, bench, leave, deliver, ids
):
    spool = leave(closed=["poison", "good"], dead=["dead"])
    deliver_one = bench.sink.deliver

    async def picky(segment):
        bench.sink.attempts.append(segment.key)
        if ids(segment.path.read_bytes())[0] in ("poison", "dead"):
            raise SegmentRefused("too large")
        await deliver_one(segment)

    bench.sink.deliver = picky
    done = await deliver(spool, max_attempts=3)
    assert counts(done) == (1, 2, 0)
    assert bench.delivered == [["good"]]
    aside = sorted(ids(path.read_bytes())[0] for path in (spool / "dead-letter").iterdir())
    assert aside == ["dead", "poison"]
    assert not list(spool.glob("*.pb"))


async def test_a_part_that_is_refused_is_set_aside(autojump_clock, bench, leave, deliver, record, ids):
    spool = leave(closed=["a"])
    bench.sink.fail_next(1, SegmentRefused("a row is too large", rest=record("a"), rest_batches=1))
    done = await deliver(spool)
    assert done.left.segments == 1
    (path,) = (spool / "dead-letter").iterdir()
    assert ids(path.read_bytes()) == ["a"]


async def test_compression_is_as_the_server_would_have_done(autojump_clock, bench, leave, deliver, ids):
    spool = leave(closed=["b"], opened=["a"], dead=["d"])
    await deliver(spool, compression="gzip")
    content = {
        key: gzip.decompress(data) if key.endswith(".gz") else data
        for key, data in bench.sink.segments.items()
    }
    compressed = {name: key.endswith(".pb.gz") for key, data in content.items() for name in ids(data)}
    # What was closed may be there already, or in part, under the name that it has.
    assert compressed == {"a": True, "b": False, "d": False}


async def test_torn_records_are_counted(autojump_clock, leave, deliver, record):
    spool = leave(opened=["a"])
    (path,) = spool.glob("*.open")
    path.write_bytes(path.read_bytes() + record("torn")[:-1])
    assert counts(await deliver(spool)) == (1, 0, 1)


async def test_a_sink_that_cannot_be_opened_is_the_users_mistake(autojump_clock, bench, leave, deliver):
    async def refuse():
        raise ConfigurationError([Problem("", "log.uri", "no such place")])

    bench.sink.open = refuse
    spool = leave(closed=["a"])
    with pytest.raises(ConfigurationError, match="no such place"):
        await deliver(spool)
    SpoolLock.acquire(spool).release()
    assert list(spool.glob("*.pb"))


async def test_of_a_dead_letter_that_is_taken_but_for_a_part_that_part_stays(
    autojump_clock, bench, leave, deliver, record, ids
):
    """What the sink has taken must not go to it again at every try."""
    spool = leave(dead=["a"])
    (path,) = (spool / "dead-letter").iterdir()
    path.write_bytes(record("a") + record("b"))
    path.rename(path.with_name(path.name.replace(".n1.", ".n2.")))
    for _ in range(2):
        bench.sink.fail_next(1, SegmentRefused("a row is too large", rest=record("b"), rest_batches=1))
        done = await deliver(spool)
        assert (done.left.segments, done.left.records) == (1, 1)
        (path,) = (spool / "dead-letter").iterdir()
        assert ids(path.read_bytes()) == ["b"]
    assert counts(await deliver(spool)) == (1, 0, 0)
    assert bench.delivered == [["b"]]


async def test_a_file_that_cannot_be_deleted_keeps_nothing_from_the_sink(
    autojump_clock, bench, leave, deliver, monkeypatch, caplog
):
    def fail(stored):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("hushar.sidecars.offline.discard", fail)
    done = await deliver(leave(closed=["a", "b"]))
    assert bench.delivered == [["a"], ["b"]]
    assert (done.delivered.records, done.left.records) == (2, 2)
    assert "cannot be deleted" in caplog.text


async def test_a_file_that_cannot_be_read_is_left_and_counts_as_such(
    autojump_clock, bench, leave, deliver, monkeypatch, caplog
):
    spool = leave(closed=["a", "b"])
    unreadable = min(spool.glob("*.pb"))

    def fail(path):
        if path == unreadable:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scan_file(path)

    scan_file = recovery._scan_file
    monkeypatch.setattr(recovery, "_scan_file", fail)
    done = await deliver(spool)
    assert (done.delivered.records, done.left.segments) == (1, 1)
    assert unreadable.exists()
    assert "cannot be recovered, it is left there" in caplog.text


@pytest.mark.parametrize("there", ["a file", "behind a door"])
async def test_a_spool_that_cannot_be_looked_into_is_said_to_be_so(
    autojump_clock, deliver, tmp_path, monkeypatch, there
):
    spool = tmp_path / "spool"
    spool.write_text("not a directory")

    def fail(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    if there == "behind a door":
        monkeypatch.setattr(type(spool), "exists", fail)
    with pytest.raises(ConfigurationError, match=rf"^log\.spool_dir: {spool} cannot be "):
        await deliver(spool)
