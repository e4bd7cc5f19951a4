"""Who is answered, who is refused, what is logged, and what is measured of a batch."""

from types import SimpleNamespace

import pytest

from hushar.errors import InvalidRequest, ModelFailed
from hushar.inference.answering import Answering
from hushar.inference.queue import Batch, Large
from hushar.inference.scoring import Scored
from hushar.records import Timings

TIMINGS = Timings(0.0, 1.0, 2.0, 3.0, 4.0)


@pytest.fixture
def answering(out):
    return Answering(out.refuse, out.reply_all, out.metrics.append, out.log)


@pytest.fixture
def batch(call):
    """Three calls: the first came alone, two later together."""
    calls = [call(1.0), call(2.0), call(3.0)]
    return Batch(calls, [b""] * 3, [1] * 3, [0] * 3, [(0.0, 1), (2e-6, 2)], total_rows=3)


@pytest.fixture
def scored():
    """scored(of how many, errors): responses and records that carry their position."""

    def make(count, errors=()):
        good = [index for index in range(count) if index not in dict(errors)]
        responses = [b"\x0a\x01" + str(index).encode() for index in good]
        return Scored(
            responses, [f"r{index}".encode() for index in good], dict(errors), rows=3, timings=TIMINGS
        )

    return make


def ids(calls):
    return [each.response and each.response.request_id for each in calls]


class TestAnswer:
    def test_all_are_answered_at_once_and_logged_after_that(self, answering, out, batch, scored):
        answering.answer(batch, scored(3), 5e-6)
        assert ids(batch.calls) == ["0", "1", "2"]
        assert out.replied == [3]
        assert [each.records for each in out.logged] == [(b"r0", b"r1", b"r2")]

    def test_each_arrival_is_measured_once_for_all_of_its_calls(self, answering, out, batch, scored):
        answering.answer(batch, scored(3), 5e-6)
        (metrics,) = out.metrics
        assert (metrics.rows, metrics.timings, dict(metrics.failed)) == (3, TIMINGS, {})
        assert metrics.queue_us == [(pytest.approx(5.0), 1), (pytest.approx(3.0), 2)]
        assert [calls for _, calls in metrics.answered_us] == [1, 2]

    def test_one_with_an_error_is_refused_and_the_others_keep_their_own(self, answering, out, batch, scored):
        error = InvalidRequest("no")
        answering.answer(batch, scored(3, {1: error}), 5e-6)
        assert ids(batch.calls) == ["0", None, "2"]
        assert batch.calls[1].error is error
        assert [each.records for each in out.logged] == [(b"r0", b"r2")]
        (metrics,) = out.metrics
        assert metrics.failed == {"INVALID_ARGUMENT": 1}
        assert [calls for _, calls in metrics.answered_us] == [1, 1]
        assert [calls for _, calls in metrics.queue_us] == [1, 2]

    def test_one_that_is_over_is_neither_answered_nor_logged(self, answering, out, batch, scored):
        batch.calls[0].over = batch.calls[2].over = True
        answering.answer(batch, scored(3, {2: ModelFailed()}), 5e-6)
        assert ids(batch.calls) == [None, "1", None]
        assert batch.calls[2].error is None
        assert [each.records for each in out.logged] == [(b"r1",)]
        (metrics,) = out.metrics
        assert metrics.failed == {"CANCELLED": 2}
        assert [calls for _, calls in metrics.answered_us] == [1]

    def test_if_none_is_left_nobody_is_called(self, answering, out, batch, scored):
        answering.answer(batch, scored(3, dict.fromkeys(range(3), ModelFailed())), 5e-6)
        assert (out.replied, out.logged) == ([], [])
        assert out.failed == {"INTERNAL": 3}

    def test_the_error_of_a_slice_is_nobody_elses(self, answering, out, batch, scored, call):
        batch.large, batch.slice_rows = Large(call(9.0), b"", 10, None, None, 1e-6, 0, taken=4), 4
        answering.answer(batch, scored(3, {3: ModelFailed()}), 5e-6)
        assert ids(batch.calls) == ["0", "1", "2"]
        assert out.failed == {}

    @pytest.mark.parametrize(("taken", "waited"), [(4, [4.0]), (8, [])])
    def test_a_large_call_has_waited_until_its_first_slice(self, answering, out, call, taken, waited):
        batch = Batch(large=Large(call(9.0), b"", 10, None, None, 1e-6, 0, taken=taken), slice_rows=4)
        answering.answer(batch, Scored(rows=4), 5e-6)
        assert out.metrics[0].queue_us == [(pytest.approx(value), 1) for value in waited]


class TestDeadline:
    """Past its deadline a call is DEADLINE_EXCEEDED: the transport's timer says so, whatever was computed."""

    @pytest.fixture
    def at(self, out):
        """at(seconds): the ways out when the calls' clock says so."""

        def make(now):
            return Answering(out.refuse, out.reply_all, out.metrics.append, out.log, clock=lambda: now)

        return make

    @pytest.mark.parametrize(("now", "late"), [(5.0, True), (4.9, False)])
    def test_one_that_is_late_is_neither_answered_nor_logged_nor_refused(
        self, at, out, batch, scored, now, late
    ):
        batch.calls[1].deadline = batch.earliest = 5.0
        at(now).answer(batch, scored(3), 5e-6)
        assert ids(batch.calls) == (["0", None, "2"] if late else ["0", "1", "2"])
        assert not (late and batch.calls[1].over)
        assert [len(each.records) for each in out.logged] == [2 if late else 3]
        assert out.failed == ({"CANCELLED": 1} if late else {})

    def test_not_even_with_its_error(self, at, out, batch, scored):
        batch.calls[1].deadline = batch.earliest = 5.0
        at(5.0).answer(batch, scored(3, {1: ModelFailed()}), 5e-6)
        assert not batch.calls[1].done
        assert out.failed == {"CANCELLED": 1}

    @pytest.mark.parametrize("failed", [False, True])
    def test_a_large_call_neither(self, at, out, call, failed):
        large = Large(call(9.0, deadline=5.0), b"", 10, None, None, 0.0, 0)
        if failed:
            at(5.0).fail(large.call, ModelFailed())
        else:
            at(5.0).answer_large(large, [b"\x0a\x01L"], [b"record"])
        assert not large.call.done
        assert (out.logged, out.answered, out.failed) == ([], 0, {"CANCELLED": 1})


class TestRefused:
    """The transport refuses answers to a client that takes none: RESOURCE_EXHAUSTED, like any refusal."""

    @pytest.fixture
    def choked(self, batch):
        """The same batch; the client of the second call takes no answers."""
        batch.calls[1].choked = True
        return batch

    @pytest.mark.parametrize(
        "pieces", [[b"\x0a\x01a", b"\x0a\x01b", b"\x0a\x01c"], [b"\x0a\x01a\x0a\x01b\x0a\x01c"]]
    )
    def test_one_is_neither_logged_nor_counted_as_ok(self, answering, out, choked, scored, pieces):
        made = scored(3)
        made.records = pieces
        answering.answer(choked, made, 5e-6)
        assert ids(choked.calls) == ["0", None, "2"]
        assert [(each.records, each.size) for each in out.logged] == [((b"\x0a\x01a", b"\x0a\x01c"), 2)]
        (metrics,) = out.metrics
        assert metrics.failed == {"RESOURCE_EXHAUSTED": 1}
        assert [calls for _, calls in metrics.answered_us] == [1, 1]
        assert [calls for _, calls in metrics.queue_us] == [1, 2]

    def test_those_lost_before_count_as_what_they_are(self, answering, out, choked, scored):
        choked.calls[0].over = True
        answering.answer(choked, scored(3, {2: ModelFailed()}), 5e-6)
        assert (out.logged, out.answered) == ([], 0)
        assert out.failed == {"CANCELLED": 1, "INTERNAL": 1, "RESOURCE_EXHAUSTED": 1}

    def test_a_large_call(self, answering, out, call):
        large = Large(call(9.0), b"", 10, None, None, 0.0, 0)
        large.call.choked = True
        answering.answer_large(large, [b"\x0a\x01L"], [b"record"])
        assert (out.logged, out.answered, out.failed) == ([], 0, {"RESOURCE_EXHAUSTED": 1})

    @pytest.mark.parametrize("takes_log", [True, False])
    def test_when_spooled_its_record_stays_and_it_is_counted_when_it_is_known(
        self, out, choked, scored, takes_log
    ):
        out.takes_log = takes_log
        answering = Answering(out.refuse, out.reply_all, out.metrics.append, out.log, when_spooled=True)
        answering.answer(choked, scored(3), 5e-6)
        assert [each.records for each in out.logged] == [(b"r0", b"r1", b"r2")]
        if takes_log:
            assert (out.answered, out.failed) == (0, {})
            choked.calls[2].over = True
            out.logged[0].spooled()
        assert ids(choked.calls) == ["0", None, None if takes_log else "2"]
        assert out.answered == (1 if takes_log else 2)
        assert out.failed == {"RESOURCE_EXHAUSTED": 1, **({"CANCELLED": 1} if takes_log else {})}
        assert [metrics.rows for metrics in out.metrics] == ([3, 0] if takes_log else [3])


class TestFlush:
    def test_answers_leave_once_the_log_has_their_records_and_before_they_are_measured(
        self, answering, out, batch, scored
    ):
        seen = []
        answering.answer(
            batch, scored(3), 5e-6, lambda: seen.append((out.replied[:], len(out.logged), out.metrics[:]))
        )
        assert seen == [([3], 1, [])]
        assert len(out.metrics) == 1

    def test_how_long_that_takes_is_not_in_the_time_until_the_answer(
        self, answering, out, batch, scored, monkeypatch
    ):
        now = [1.0]
        monkeypatch.setattr("hushar.inference.answering.time", SimpleNamespace(perf_counter=lambda: now[0]))
        answering.answer(batch, scored(3), 5e-6, lambda: now.append(now.pop() + 8))
        assert out.metrics[0].answered_us == [(pytest.approx(1e6), 1), (pytest.approx(1e6 - 2), 2)]


class TestLog:
    def test_when_spooled_the_answers_wait_for_it(self, out, batch, scored):
        answering = Answering(out.refuse, out.reply_all, out.metrics.append, out.log, when_spooled=True)
        answering.answer(batch, scored(3), 5e-6)
        assert ids(batch.calls) == [None] * 3
        assert [(metrics.rows, metrics.answered_us) for metrics in out.metrics] == [(3, [])]
        out.logged[0].spooled()
        assert ids(batch.calls) == ["0", "1", "2"]
        assert [calls for metrics in out.metrics for _, calls in metrics.answered_us] == [1, 2]

    def test_a_log_that_takes_nothing_holds_up_nobody(self, out, batch, scored):
        out.takes_log = False
        answering = Answering(out.refuse, out.reply_all, out.metrics.append, out.log, when_spooled=True)
        answering.answer(batch, scored(3), 5e-6)
        assert ids(batch.calls) == ["0", "1", "2"]

    def test_without_a_log_there_is_none(self, out, batch, scored):
        answering = Answering(out.refuse, out.reply_all, out.metrics.append)
        made = scored(3)
        made.records = []
        answering.answer(batch, made, 5e-6)
        assert ids(batch.calls) == ["0", "1", "2"]


class TestLarge:
    def test_is_answered_logged_and_measured(self, answering, out, call):
        large = Large(call(9.0), b"", 10, None, None, 0.0, 0)
        answering.answer_large(large, [b"\x0a\x01L"], [b"record"])
        assert ids([large.call]) == ["L"]
        assert [each.records for each in out.logged] == [(b"record",)]
        assert (out.answered, out.failed) == (1, {})

    def test_not_if_it_is_over(self, answering, out, call):
        large = Large(call(9.0), b"", 10, None, None, 0.0, 0)
        large.call.over = True
        answering.answer_large(large, [b"\x0a\x01L"], [b"record"])
        assert (out.logged, out.answered, out.failed) == ([], 0, {"CANCELLED": 1})

    @pytest.mark.parametrize(("over", "failed"), [(False, {"INTERNAL": 1}), (True, {"CANCELLED": 1})])
    def test_is_refused_unless_it_is_over(self, answering, out, call, over, failed):
        one = call(9.0)
        one.over = over
        answering.fail(one, ModelFailed())
        assert (one.error is None) is over
        assert out.failed == failed
