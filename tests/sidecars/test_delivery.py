"""From the spool to the sink: in order, again and again, and out of the spool only once it is there."""

import itertools

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.errors import ConfigurationError, Problem, SegmentRefused, SinkError, SinkRefused
from hushar.records import LogBatch
from hushar.sidecars import deliverer
from hushar.sidecars.ledger import DropReason


async def log(sidecar, record, *names: str) -> None:
    """One segment each, with `rotate_bytes=1`."""
    for name in names:
        sidecar.outlet(LogBatch((record(name),)))
        await wait_all_tasks_blocked()


async def hang(segment) -> None:
    await trio.sleep_forever()


class TestDelivery:
    async def test_a_closed_segment_is_delivered_at_once_and_gone_from_the_spool(
        self, autojump_clock, bench, record
    ):
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a")
            assert bench.delivered == [["a"]]
            assert bench.on_disk() == []
            now = sidecar.statistics()
            assert (now.delivered_records, now.spooled_records, now.spool_bytes) == (1, 0, 0)

    async def test_a_sink_that_moves_the_file_has_it(self, autojump_clock, bench, record, tmp_path):
        async def move(segment):
            segment.path.rename(tmp_path / segment.path.name)

        bench.sink.deliver = move
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a")
            assert sidecar.statistics().delivered_records == 1

    async def test_a_file_that_cannot_be_deleted_is_delivered_all_the_same(
        self, autojump_clock, bench, record, caplog
    ):
        async def replace(segment):
            segment.path.unlink()
            segment.path.mkdir()

        bench.sink.deliver = replace
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a")
            assert sidecar.statistics().delivered_records == 1
        assert "cannot be deleted" in caplog.text


class TestOutage:
    async def test_after_failures_everything_is_delivered_once_and_in_order(
        self, autojump_clock, bench, record
    ):
        bench.sink.fail_next(7, SinkError("503"))
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a", "b", "c")
            assert bench.delivered == []
            assert not sidecar.statistics().sink_up
            await trio.sleep(300)
            now = sidecar.statistics()
            assert now.sink_up
            assert now.sink_errors == {"error": 7, "unexpected": 0, "refused": 0, "segment_refused": 0}
        assert bench.delivered == [["a"], ["b"], ["c"]]
        assert len(set(bench.sink.attempts[:8])) == 1

    async def test_a_sink_that_is_down_never_stops_appending(
        self, autojump_clock, bench, record, is_balanced
    ):
        bench.sink.fail_next(10**5, SinkError("down"))
        sidecar = bench.sidecar(rotate_bytes=1, queue_bytes=100, drain_seconds=1)
        async with bench.running(sidecar):
            for n in range(100):
                await log(sidecar, record, str(n))
                assert is_balanced(sidecar)
            assert sidecar.statistics().spooled_records == 100
            assert sidecar.statistics().queued_bytes == 0

    async def test_attempts_come_less_and_less_often_but_never_end(self, autojump_clock, bench, record):
        times = []
        deliver = bench.sink.deliver

        async def timed(segment):
            times.append(trio.current_time())
            await deliver(segment)

        bench.sink.deliver = timed
        bench.sink.fail_next(500, SinkError("down"))
        settings = {"rotate_bytes": 1, "retry_min_seconds": 0.2, "retry_max_seconds": 30}
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            await log(sidecar, record, "a")
            await trio.sleep(3600 * 5)
            assert bench.delivered == [["a"]]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert min(gaps) >= 0.2
        assert max(gaps[:3]) <= 1.6
        assert 20 < max(gaps) <= 30.001

    async def test_one_workers_outage_is_not_anothers(self, autojump_clock, bench, record, is_balanced):
        """A segment that fails holds up the segments behind it, in its own worker only."""
        deliver = bench.sink.deliver

        async def picky(segment):
            if ".w1." in segment.path.name:
                raise SinkError("not this worker's")
            await deliver(segment)

        bench.sink.deliver = picky
        sidecar = bench.sidecar(rotate_bytes=1, workers=2, drain_seconds=1)
        async with bench.running(sidecar):
            for n in range(20):
                sidecar.outlet(LogBatch((record(str(n)),)))
            await log(sidecar, record, *(str(n) for n in range(20, 40)))
            assert bench.delivered
            assert is_balanced(sidecar)
            assert {info[1] for info in bench.infos()} == {2}

    async def test_an_unexpected_exception_is_an_outage_with_its_traceback_in_the_log(
        self, autojump_clock, bench, record, caplog
    ):
        bench.sink.fail_next(3, KeyError("bug"))
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a")
            await trio.sleep(60)
            assert sidecar.statistics().sink_errors["unexpected"] == 3
        assert bench.delivered == [["a"]]
        assert "Traceback" in caplog.text

    async def test_failures_are_warned_about_now_and_then(self, autojump_clock, bench, record, caplog):
        bench.sink.fail_next(10**4, SinkError("no route"))
        settings = {"rotate_bytes": 1, "retry_max_seconds": 0.2, "drain_seconds": 0}
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            await log(sidecar, record, "a")
            await trio.sleep(25)
            said = [message.getMessage() for message in caplog.records if "no route" in message.getMessage()]
            assert len(said) == 3
            assert "Traceback" not in caplog.text

    async def test_a_sink_that_never_answers_is_given_up_after_a_quarter_of_an_hour(
        self, autojump_clock, bench, record, is_balanced, caplog
    ):
        """And asked again: it has no time-out, which is its mistake, and its outage is not for ever."""
        deliver, hanging = bench.sink.deliver, [True]

        async def stuck(segment):
            if hanging[0]:
                await trio.sleep_forever()
            await deliver(segment)

        bench.sink.deliver = stuck
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a", "b")
            await trio.sleep(899)
            assert sidecar.statistics().sink_errors["error"] == 0
            hanging[0] = False
            await trio.sleep(60)
            assert sidecar.statistics().sink_errors["error"] == 1
            assert is_balanced(sidecar)
        assert bench.delivered == [["a"], ["b"]]
        assert "no answer in 900 seconds" in caplog.text

    async def test_a_file_that_somebody_deletes_holds_up_nothing(
        self, autojump_clock, bench, record, is_balanced
    ):
        bench.sink.fail_next(1, SinkError("down"))
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a", "b")
            next(iter(sorted(bench.spool.glob("*.s1.*.pb")))).unlink()
            bench.sink.fail_next(1, SinkError("the file is not there"))
            await trio.sleep(60)
            now = sidecar.statistics()
            assert now.dropped_records[DropReason.TORN] == 1
            assert is_balanced(sidecar)
        assert bench.delivered == [["b"]]


class TestRefusal:
    async def test_a_sink_that_refuses_everything_is_tried_slowly(self, autojump_clock, bench, record):
        bench.sink.fail_next(3, SinkRefused("403"))
        async with bench.running(bench.sidecar(rotate_bytes=1, refused_retry_seconds=60)) as sidecar:
            await log(sidecar, record, "a")
            await trio.sleep(179)
            assert len(bench.sink.attempts) == 3
            await trio.sleep(2)
            assert bench.delivered == [["a"]]
            assert sidecar.statistics().dead_lettered_records == 0

    async def test_a_poison_segment_is_set_aside_after_its_attempts_and_the_others_go_on(
        self, autojump_clock, bench, record, is_balanced, caplog
    ):
        bench.sink.fail_next(3, SegmentRefused("too large"))
        async with bench.running(bench.sidecar(rotate_bytes=1, max_attempts=3)) as sidecar:
            await log(sidecar, record, "poison", "good")
            await trio.sleep(300)
            now = sidecar.statistics()
            assert (now.dead_lettered_records, now.delivered_records, now.spooled_records) == (1, 1, 0)
            assert now.sink_up
            assert is_balanced(sidecar)
        assert bench.delivered == [["good"]]
        (path,) = (bench.spool / "dead-letter").iterdir()
        assert b"poison" in path.read_bytes()
        assert str(path) in caplog.text

    async def test_outages_never_count_as_attempts(self, autojump_clock, bench, record):
        for _ in range(5):
            bench.sink.fail_next(10, SinkError("down"))
            bench.sink.fail_next(1, SinkRefused("403"))
            bench.sink.fail_next(1, SegmentRefused("invalid"))
        async with bench.running(bench.sidecar(rotate_bytes=1, max_attempts=6)) as sidecar:
            await log(sidecar, record, "a")
            await trio.sleep(3600)
            assert sidecar.statistics().dead_lettered_records == 0
        assert bench.delivered == [["a"]]

    async def test_a_segment_that_cannot_be_set_aside_stays(
        self, autojump_clock, bench, record, is_balanced, caplog
    ):
        bench.sink.fail_next(4, SegmentRefused("invalid"))
        async with bench.running(bench.sidecar(rotate_bytes=1, max_attempts=2)) as sidecar:
            (bench.spool / "dead-letter").touch()
            await log(sidecar, record, "a")
            await trio.sleep(600)
            assert is_balanced(sidecar)
        assert bench.delivered == [["a"]]
        assert "cannot be set aside" in caplog.text

    async def test_of_a_segment_that_is_refused_in_part_only_that_part_is_set_aside(
        self, autojump_clock, bench, record, is_balanced, ids
    ):
        """A row that no Kinesis record can hold: no attempt would ever deliver it."""
        bench.sink.fail_next(1, SegmentRefused("a row is too large", rest=record("b"), rest_batches=1))
        sidecar = bench.sidecar(rotate_seconds=5)
        async with bench.running(sidecar):
            sidecar.outlet(LogBatch((record("a"), record("b"), record("c"))))
            await trio.sleep(6)
            now = sidecar.statistics()
            assert (now.delivered_records, now.dead_lettered_records, now.spooled_records) == (2, 1, 0)
            assert (now.dead_letter_segments, now.sink_up) == (1, True)
            assert is_balanced(sidecar)
        assert len(bench.sink.attempts) == 1
        (path,) = (bench.spool / "dead-letter").iterdir()
        assert path.name.endswith(".n1.pb")
        assert ids(path.read_bytes()) == ["b"]
        assert bench.on_disk() == [path.name]

    async def test_a_part_that_cannot_be_set_aside_is_tried_again(
        self, autojump_clock, bench, record, is_balanced
    ):
        bench.sink.fail_next(2, SegmentRefused("a row is too large", rest=record("a"), rest_batches=1))
        sidecar = bench.sidecar(rotate_bytes=1)
        async with bench.running(sidecar):
            (bench.spool / "dead-letter").touch()
            await log(sidecar, record, "a")
            (bench.spool / "dead-letter").unlink()
            await trio.sleep(60)
            assert is_balanced(sidecar)
        assert sidecar.statistics().dead_lettered_records == 1

    async def test_dead_letters_of_former_starts_are_known(self, autojump_clock, bench, record):
        bench.sink.fail_next(1, SegmentRefused("invalid"))
        async with bench.running(bench.sidecar(rotate_bytes=1, max_attempts=1)) as sidecar:
            await log(sidecar, record, "a")
        async with bench.running(bench.sidecar()) as sidecar:
            now = sidecar.statistics()
            assert (now.dead_letter_segments, now.dead_lettered_records, now.accepted_records) == (1, 0, 0)


class TestCircuit:
    """RELIABILITY.md 4.3: one probe per `retry_max_seconds`, shared by all workers."""

    async def test_a_sink_that_is_down_is_asked_once_in_a_while_by_all_workers_together(
        self, autojump_clock, bench, record, is_balanced
    ):
        bench.sink.fail_next(10**5, SinkError("down"))
        sidecar = bench.sidecar(rotate_bytes=1, workers=8, retry_max_seconds=30, drain_seconds=0)
        async with bench.running(sidecar):
            for n in range(80):
                sidecar.outlet(LogBatch((record(str(n)),)))
                if n % 8 == 7:
                    await wait_all_tasks_blocked()
            await trio.sleep(60)
            before = len(bench.sink.attempts)
            await trio.sleep(3600)
            assert 100 <= len(bench.sink.attempts) - before <= 120
            assert is_balanced(sidecar)

    async def test_the_first_success_opens_the_way_for_all(self, autojump_clock, bench, record):
        bench.sink.fail_next(20, SinkError("down"))
        sidecar = bench.sidecar(rotate_bytes=1, workers=4)
        async with bench.running(sidecar):
            for n in range(40):
                sidecar.outlet(LogBatch((record(str(n)),)))
                if n % 4 == 3:
                    await wait_all_tasks_blocked()
            await trio.sleep(20 * 30)
            assert sorted(map(int, bench.delivered_ids)) == list(range(40))
            assert sidecar.statistics().sink_up

    async def test_refusals_of_one_segment_never_open_it(self, autojump_clock, bench, record):
        bench.sink.fail_next(50, SegmentRefused("invalid"))
        async with bench.running(bench.sidecar(rotate_bytes=1, max_attempts=5)) as sidecar:
            for n in range(12):
                await log(sidecar, record, str(n))
            await trio.sleep(11 * 8)
            assert sidecar.statistics().dead_lettered_records == 10
            assert bench.delivered == [["10"], ["11"]]

    async def test_a_sink_that_refuses_everything_is_asked_by_one_worker_in_its_own_time(
        self, autojump_clock, bench, record
    ):
        bench.sink.fail_next(10**4, SinkRefused("403"))
        sidecar = bench.sidecar(rotate_bytes=1, workers=6, refused_retry_seconds=60, drain_seconds=0)
        async with bench.running(sidecar):
            for n in range(60):
                sidecar.outlet(LogBatch((record(str(n)),)))
                if n % 6 == 5:
                    await wait_all_tasks_blocked()
            await trio.sleep(120)
            before = len(bench.sink.attempts)
            await trio.sleep(3600)
            assert 55 <= len(bench.sink.attempts) - before <= 60

    async def test_the_end_is_worth_an_attempt_at_once_also_then(self, autojump_clock, bench, record):
        bench.sink.fail_next(6, SinkError("down"))
        sidecar = bench.sidecar(rotate_bytes=1, workers=3, retry_max_seconds=600)
        async with bench.running(sidecar):
            for n in range(9):
                sidecar.outlet(LogBatch((record(str(n)),)))
                if n % 3 == 2:
                    await wait_all_tasks_blocked()
            await trio.sleep(30)
            assert bench.delivered == []
            closed_at = trio.current_time()
        assert trio.current_time() - closed_at < 10
        assert sorted(map(int, bench.delivered_ids)) == list(range(9))

    async def test_while_it_is_open_the_oldest_segments_can_be_dropped(
        self, autojump_clock, bench, record, is_balanced
    ):
        """Nobody holds a segment while waiting."""
        bench.sink.fail_next(10**4, SinkError("down"))
        sidecar = bench.sidecar(rotate_bytes=1, spool_max_bytes=2000, drain_seconds=0)
        async with bench.running(sidecar):
            for n in range(40):
                await log(sidecar, record, f"{n:0100}")
                await trio.sleep(10)
                assert is_balanced(sidecar)
            kept = sorted(int(name.partition(".s")[2].partition(".")[0]) for name in bench.on_disk())
        assert kept[-1] == 40
        assert kept == list(range(kept[0], 41))


class TestCrash:
    async def test_a_mistake_in_delivering_is_tried_again_and_the_segment_is_not_lost(
        self, autojump_clock, bench, record, is_balanced, monkeypatch, caplog
    ):
        failing = [3]
        discard = deliverer.discard

        def crash(stored):
            if failing[0]:
                failing[0] -= 1
                raise KeyError("bug")
            discard(stored)

        monkeypatch.setattr(deliverer, "discard", crash)
        sidecar = bench.sidecar(rotate_bytes=1)
        async with bench.running(sidecar):
            await log(sidecar, record, "a", "b")
            assert is_balanced(sidecar)
            assert sidecar.statistics().spooled_records == 2
            await trio.sleep(60)
            assert sidecar.statistics().crashes == 3
            assert is_balanced(sidecar)
        assert bench.delivered == [["a"], ["b"]]
        assert sidecar.statistics().delivered_records == 2
        assert "delivering failed, it is started again" in caplog.text

    async def test_a_page_instead_of_an_error_is_cut(self, autojump_clock, bench, record, caplog):
        bench.sink.fail_next(1, SinkError("<html>" + "x" * 10**6))
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a")
            await trio.sleep(60)
        assert "<html>xxx" in caplog.text
        assert len(caplog.text) < 10_000

    async def test_secrets_in_an_unexpected_exception_stay_out_of_the_servers_log(
        self, autojump_clock, bench, record, caplog
    ):
        bench.sink.fail_next(1, KeyError("https://u:hunter2@h/?X-Amz-Signature=hunter2"))
        bench.sink.fail_next(1, SinkError("Authorization: Bearer hunter2"))
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a")
            await trio.sleep(60)
        assert "Traceback" in caplog.text
        assert "hunter2" not in caplog.text


class TestAge:
    async def test_segments_that_are_too_old_are_dropped_while_the_sink_is_down(
        self, autojump_clock, bench, record, is_balanced
    ):
        bench.sink.fail_next(10**5, SinkError("down"))
        settings = {"rotate_bytes": 1, "spool_max_age_seconds": 100, "drain_seconds": 0}
        async with bench.running(bench.sidecar(**settings)) as sidecar:
            await log(sidecar, record, "a", "b")
            await trio.sleep(60)
            await log(sidecar, record, "c")
            assert 60 <= sidecar.statistics().oldest_seconds < 61
            await trio.sleep(45)
            now = sidecar.statistics()
            assert now.dropped_records[DropReason.TOO_OLD] == 2
            assert now.spooled_records == 1
            assert is_balanced(sidecar)


class TestDrain:
    async def test_everything_is_delivered_before_the_end(self, autojump_clock, bench, record):
        sidecar = bench.sidecar(rotate_bytes=1)
        async with bench.running(sidecar):
            for n in range(50):
                sidecar.outlet(LogBatch((record(str(n)),)))
        assert bench.delivered_ids == [str(n) for n in range(50)]
        assert bench.on_disk() == []

    async def test_what_is_not_delivered_in_time_stays_for_the_next_start(
        self, autojump_clock, bench, record, caplog
    ):
        bench.sink.fail_next(10**5, SinkError("down"))
        sidecar = bench.sidecar(rotate_bytes=1, drain_seconds=10)
        async with bench.running(sidecar):
            await log(sidecar, record, "a", "b")
            closed_at = trio.current_time()
        assert trio.current_time() - closed_at == pytest.approx(10)
        assert bench.delivered == []
        assert sidecar.statistics().spooled_records == 2
        assert "2 records are not delivered yet" in caplog.text
        bench.sink = type(bench.sink)()
        async with bench.running(bench.sidecar()) as later:
            await wait_all_tasks_blocked()
            assert later.statistics().accepted_records == 2
        assert bench.delivered == [["a"], ["b"]]

    async def test_a_sink_that_hangs_does_not_hold_up_the_end(
        self, autojump_clock, bench, record, is_balanced
    ):
        bench.sink.deliver = hang
        sidecar = bench.sidecar(rotate_bytes=1, drain_seconds=3)
        async with bench.running(sidecar):
            await log(sidecar, record, "a")
            closed_at = trio.current_time()
        assert trio.current_time() - closed_at == pytest.approx(3)
        assert is_balanced(sidecar)
        assert len(bench.on_disk()) == 1

    async def test_the_end_is_worth_an_attempt_at_once(self, autojump_clock, bench, record):
        """The back-off of half an hour is cut short: the sink may have come back."""
        bench.sink.fail_next(1, SinkRefused("403"))
        async with bench.running(bench.sidecar(rotate_bytes=1, refused_retry_seconds=1800)) as sidecar:
            await log(sidecar, record, "a", "b")
            closed_at = trio.current_time()
        assert trio.current_time() == pytest.approx(closed_at)
        assert bench.delivered == [["a"], ["b"]]

    async def test_a_cancelled_delivery_leaves_the_segment_in_the_spool(
        self, autojump_clock, bench, record, is_balanced
    ):
        bench.sink.deliver = hang
        sidecar = bench.sidecar(rotate_bytes=1)
        async with trio.open_nursery() as nursery:
            await nursery.start(sidecar.run)
            await log(sidecar, record, "a")
            nursery.cancel_scope.cancel()
        assert is_balanced(sidecar)
        assert sidecar.statistics().spooled_records == 1
        assert bench.sink.closed == 1

    async def test_what_the_sink_has_is_counted_although_the_end_came_meanwhile(
        self, autojump_clock, bench, record
    ):
        """Cancelled between the delivery and the deletion: neither is undone."""
        scope = trio.CancelScope()

        async def deliver(segment):
            scope.cancel()

        bench.sink.deliver = deliver
        sidecar = bench.sidecar(rotate_bytes=1)
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(sidecar.run)
                await log(sidecar, record, "a")
        assert sidecar.statistics().delivered_records == 1
        assert bench.on_disk() == []


class TestOpening:
    async def test_a_sink_is_opened_once_and_closed_once(self, autojump_clock, bench, record):
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            assert (bench.sink.opened, bench.sink.closed) == (1, 0)
            await log(sidecar, record, "a", "b")
        assert (bench.sink.opened, bench.sink.closed) == (1, 1)

    async def test_a_sink_that_is_down_at_the_start_is_opened_later(
        self, autojump_clock, bench, record, caplog
    ):
        failures = [SinkError("no route"), RuntimeError("bug")]
        opened = bench.sink.open

        async def open_later():
            if failures:
                raise failures.pop(0)
            await opened()

        bench.sink.open = open_later
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            assert not sidecar.statistics().sink_up
            await log(sidecar, record, "a")
            await trio.sleep(10)
        assert bench.delivered == [["a"]]
        assert "no route" in caplog.text

    async def test_a_sink_that_does_not_answer_at_the_start_is_no_reason_not_to_start(
        self, autojump_clock, bench, record, caplog
    ):
        opened, hanging = bench.sink.open, [True]

        async def stuck():
            if hanging[0]:
                await trio.sleep_forever()
            await opened()

        bench.sink.open = stuck
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            assert trio.current_time() < 60
            assert not sidecar.statistics().sink_up
            hanging[0] = False
            await log(sidecar, record, "a")
        assert bench.delivered == [["a"]]
        assert "no answer in 30 seconds" in caplog.text

    async def test_a_mistake_that_only_shows_later_is_tried_slowly(self, autojump_clock, bench, record):
        mistakes = [SinkError("down"), ConfigurationError([Problem("", "log.uri", "no such bucket")])]

        async def open_badly():
            if mistakes:
                raise mistakes.pop(0)

        bench.sink.open = open_badly
        async with bench.running(bench.sidecar(rotate_bytes=1)) as sidecar:
            await log(sidecar, record, "a")
            assert sidecar.statistics().sink_errors["refused"] == 1

    async def test_a_sink_that_fails_to_close_or_never_does_ends_nothing_badly(
        self, autojump_clock, bench, caplog
    ):
        async def fail():
            raise OSError("broken pipe")

        bench.sink.aclose = fail
        async with bench.running(bench.sidecar()):
            pass
        assert "broken pipe" in caplog.text
        bench.sink.aclose = trio.sleep_forever
        async with bench.running(bench.sidecar()):
            pass
