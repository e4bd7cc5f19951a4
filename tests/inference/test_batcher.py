"""Calls that wait at the same moment are joined; each gets its own answer, or its own error."""

import itertools
import threading
import time

import pytest
import trio
import trio.testing

from hushar.errors import InvalidRequest, Overloaded, UndecodableRequest
from hushar.inference.admission import MOST_REST_SECONDS
from hushar.inference.batcher import LARGEST_SECONDS


def seconds_of(stage, rows, seconds):
    """What matrices of so many rows are measured to take, as if that were so."""
    stage.batcher._pace._measured[rows.bit_length()] = (rows, seconds)


class TestAtOnce:
    """Nothing waits, nothing is under way, and it does not take long: no task is needed."""

    def test_calls_of_one_moment_are_one_batch(self, make_stage, call):
        stage = make_stage()
        calls = [call(1.0), call(2.0, 3.0), call(4.0)]
        stage.batcher.submit(calls)
        assert stage.sizes == [4]
        assert [each.scores for each in calls] == [[2.0], [4.0, 6.0], [8.0]]
        assert stage.out.replied == [3]

    def test_a_lone_call_does_not_wait_for_another(self, make_stage, call):
        stage, one = make_stage(), call(1.0)
        stage.batcher.submit([one])
        assert one.scores == [2.0]

    def test_a_call_without_rows_gets_an_empty_answer_and_no_run(self, make_stage, call):
        stage, one = make_stage(logged=True), call(request_id="empty")
        stage.batcher.submit([one])
        assert (one.response.request_id, one.scores) == ("empty", [])
        assert stage.sizes == []
        assert len(stage.out.records()) == 1

    def test_each_batch_is_measured_once(self, make_stage, call):
        stage = make_stage()
        stage.batcher.submit([call(1.0), call(2.0, 3.0), call(4.0, row_ids=["bad"])])
        (metrics,) = stage.out.metrics
        assert metrics.rows == 3
        assert dict(metrics.failed) == {"INVALID_ARGUMENT": 1}
        assert [calls for _, calls in metrics.answered_us] == [2]
        assert [calls for _, calls in metrics.queue_us] == [3]
        assert metrics.timings.vectorization_us > 0
        statistics = stage.batcher.statistics()
        assert (statistics.batches, statistics.rows) == (1, 3)
        assert (statistics.waiting_calls, statistics.waiting_rows, statistics.running_calls) == (0, 0, 0)

    def test_a_call_that_is_over_already_is_not_answered(self, make_stage, call):
        stage, gone, here = make_stage(logged=True), call(1.0), call(2.0)
        gone.over = True
        stage.batcher.submit([gone, here])
        assert (gone.response, here.scores) == (None, [4.0])
        assert stage.out.failed == {"CANCELLED": 1}
        assert len(stage.out.records()) == 1

    async def test_nor_is_anything_computed_for_one_past_its_deadline(self, make_stage, call, autojump_clock):
        stage, now = make_stage(logged=True), trio.current_time()
        late, here = call(1.0, deadline=now), call(2.0, deadline=now + 1)
        score, running = stage.scorer.score, []
        stage.scorer.score = lambda work: (running.append(stage.batcher.statistics()), score(work))[1]
        stage.batcher.submit([late, here])
        assert stage.runtime.runs == [[2.0]]
        assert [each.running_calls for each in running] == [1]
        assert stage.batcher.statistics().running_calls == 0
        assert here.scores == [4.0]
        # The transport's timer says DEADLINE_EXCEEDED.
        assert not late.over
        assert (stage.out.failed, len(stage.out.records())) == ({"CANCELLED": 1}, 1)

    async def test_if_all_are_late_nothing_runs(self, make_stage, call, autojump_clock):
        stage, late = make_stage(), call(1.0, deadline=trio.current_time() - 1)
        stage.batcher.submit([late])
        assert (stage.sizes, late.over, stage.out.failed) == ([], False, {"CANCELLED": 1})
        assert stage.batcher.statistics().running_calls == 0

    async def test_calls_without_rows_are_no_more_at_once_than_a_matrix_has_rows(self, make_stage, call):
        stage = make_stage(max_rows=4)
        calls = [call() for _ in range(9)]
        stage.batcher.submit(calls)
        assert not any(each.done for each in calls)
        await stage.rest()
        assert all(each.done for each in calls)
        assert max(stage.out.replied) <= 4

    @pytest.mark.parametrize(("setting", "at_once"), [("auto", True), ("never", True), ("always", False)])
    async def test_what_does_not_take_long_is_scored_there_unless_configured_otherwise(
        self, make_stage, call, setting, at_once
    ):
        stage, one = make_stage(offload=setting), call(1.0)
        stage.batcher.rehearse()
        stage.batcher.submit([one])
        assert one.done is at_once

    async def test_what_takes_long_is_left_to_a_thread(self, make_stage, call):
        stage, one = make_stage(offload="auto"), call(1.0)
        seconds_of(stage, 1, 1.0)
        stage.batcher.submit([one])
        assert not one.done
        loop, found = threading.get_ident(), []
        stage.runtime.meanwhile = lambda: found.append(threading.get_ident())
        await stage.until(lambda: one.done)
        assert found != [loop]
        assert one.scores == [2.0]

    async def test_more_rows_than_a_matrix_has_are_several(self, make_stage, call):
        stage = make_stage(max_rows=4)
        calls = [call(1.0, 1.0, 1.0), call(1.0), call(1.0, 1.0), call(1.0)]
        stage.batcher.submit(calls)
        assert stage.sizes == []
        await stage.rest()
        assert stage.sizes == [4, 3]
        assert all(each.done for each in calls)


class TestQueue:
    async def test_calls_that_come_while_a_batch_is_under_way_are_the_next(self, make_stage, call):
        stage = make_stage()
        first, later = [call(1.0), call(2.0)], [call(3.0)]
        stage.queue(*first)
        stage.queue(*later)
        assert stage.batcher.statistics().waiting_calls == 3
        await stage.rest()
        assert stage.runtime.runs == [[1.0, 2.0, 3.0]]
        assert [each.scores for each in first + later] == [[2.0], [4.0], [6.0]]
        assert stage.batcher.statistics().waiting_calls == 0

    async def test_what_waits_goes_before_what_comes(self, make_stage, call):
        stage, first, second = make_stage(), call(1.0), call(2.0)
        stage.queue(first)
        stage.batcher.submit([second])
        assert not second.done
        await stage.rest()
        assert stage.runtime.runs == [[1.0, 2.0]]

    async def test_nothing_is_computed_or_logged_for_a_call_that_was_cancelled_meanwhile(
        self, make_stage, call
    ):
        stage, gone, here = make_stage(logged=True), call(1.0), call(2.0)
        stage.queue(gone, here)
        gone.over = True
        await stage.rest()
        assert stage.runtime.runs == [[2.0]]
        assert (gone.response, here.scores) == (None, [4.0])
        assert len(stage.out.records()) == 1
        assert stage.out.failed == {"CANCELLED": 1}

    @pytest.mark.parametrize("refused", [0, 1], ids=["together", "each for itself"])
    async def test_nor_for_one_whose_deadline_is_over(self, make_stage, call, autojump_clock, refused):
        stage = make_stage(max_rows=4, max_call_rows=4)
        late, here = call(1.0, deadline=trio.current_time() + 1), call(2.0)
        stage.queue(late, here, *[call(*range(5)) for _ in range(refused)])
        await trio.sleep(1)
        await stage.rest()
        assert stage.runtime.runs == [[2.0]]
        assert not late.done

    @pytest.mark.parametrize("offload", ["always", "never"])
    async def test_a_call_that_is_cancelled_while_its_batch_runs_is_neither_answered_nor_logged(
        self, make_stage, call, offload
    ):
        stage, gone, here = make_stage(logged=True, offload=offload), call(1.0), call(2.0)
        stage.runtime.meanwhile = lambda: setattr(gone, "over", True)
        stage.queue(gone, here)
        await stage.until(lambda: here.done)
        assert (gone.response, here.scores) == (None, [4.0])
        assert len(stage.out.records()) == 1
        assert (stage.out.failed, stage.out.answered) == ({"CANCELLED": 1}, 1)

    @pytest.mark.parametrize("way", ["submit", "queue"])
    async def test_a_call_whose_deadline_passes_while_its_batch_runs_neither(
        self, make_stage, call, mock_clock, way
    ):
        stage, now = make_stage(logged=True), trio.current_time()
        late, here = call(1.0, deadline=now + 1), call(2.0, deadline=now + 3)
        stage.runtime.meanwhile = lambda: mock_clock.jump(2)
        if way == "submit":
            stage.batcher.submit([late, here])
        else:
            stage.queue(late, here)
            await stage.rest()
        assert stage.runtime.runs == [[1.0, 2.0]]
        assert (late.over, here.scores) == (False, [4.0])
        assert len(stage.out.records()) == 1
        assert (stage.out.failed, stage.out.answered) == ({"CANCELLED": 1}, 1)

    @pytest.mark.parametrize("offload", ["always", "never"])
    async def test_after_a_failure_those_that_nobody_waits_for_are_not_tried_again(
        self, make_stage, call, offload, caplog
    ):
        stage = make_stage(offload=offload)
        bad, gone, late, here = call(-1.0), call(2.0), call(3.0), call(4.0)
        now = trio.current_time()
        late.deadline, here.deadline = now + 0.05, now + 1000

        def meanwhile():
            if len(stage.sizes) == 1:
                gone.over = True
                while time.perf_counter() < begun + 0.1:
                    time.sleep(0.01)

        stage.runtime.meanwhile = meanwhile
        stage.queue(bad, gone, late, here)
        begun = time.perf_counter()
        await stage.until(lambda: here.done)
        assert stage.runtime.runs == [[-1.0, 2.0, 3.0, 4.0], [-1.0], [4.0]]
        assert (gone.done, late.done, here.scores) == (False, False, [8.0])
        assert stage.out.failed == {"INTERNAL": 1, "CANCELLED": 2}

    async def test_what_lies_between_two_matrices_is_part_of_the_pace(self, make_stage, call):
        stage = make_stage(max_rows=2)
        turned = []
        stage.batcher._pace.turned = lambda run, turn: turned.append((run, turn))
        stage.queue(*[call(1.0) for _ in range(6)])
        await stage.rest()
        # Of the last nobody waits for the end.
        assert len(turned) == 2
        assert all(0 < run <= turn for run, turn in turned)

    async def test_between_two_matrices_others_get_their_turn(self, make_stage, call, monkeypatch):
        monkeypatch.setattr("hushar.inference.batcher.TURN_SECONDS", 0.0)
        stage = make_stage(max_rows=2)
        turns = []

        async def other():
            while True:
                turns.append(len(stage.sizes))
                await trio.lowlevel.checkpoint()

        stage.queue(*[call(float(value)) for value in range(100, 140)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await nursery.start(stage.batcher.run)
            while len(stage.sizes) < 20:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        # Of two tasks that both pass a checkpoint, trio runs either first.
        assert all(after - before <= 2 for before, after in itertools.pairwise(turns))


class TestErrors:
    @pytest.mark.parametrize("way", ["submit", "queue"])
    async def test_a_bad_row_fails_its_call_and_no_other(self, make_stage, call, way):
        stage = make_stage(logged=True)
        good, bad, late = call(1.0), call(2.0, 3.0, row_ids=["ok", "bad"]), call(4.0)
        getattr(stage.batcher if way == "submit" else stage, way)(
            *([[good, bad, late]] if way == "submit" else [good, bad, late])
        )
        await stage.rest()
        assert (good.scores, late.scores) == ([2.0], [8.0])
        assert isinstance(bad.error, InvalidRequest)
        assert len(stage.out.records()) == 2

    def test_an_undecodable_message_fails_alone(self, make_stage, call):
        stage, good, bad = make_stage(), call(1.0), call(message=b"\x12\xff")
        stage.batcher.submit([bad, good])
        assert isinstance(bad.error, UndecodableRequest)
        assert good.scores == [2.0]

    @pytest.mark.parametrize("poison", [-1.0, 13.0], ids=["the model raises", "too few rows come out"])
    def test_a_model_that_fails_on_one_calls_rows_fails_only_that_call(
        self, make_stage, call, poison, caplog
    ):
        stage = make_stage(logged=True)
        before, bad, after = call(1.0), call(poison), call(3.0)
        stage.batcher.submit([before, bad, after])
        assert (before.scores, after.scores) == ([2.0], [6.0])
        assert bad.error.kind.name == "INTERNAL"
        assert len(stage.out.records()) == 2

    def test_what_nobody_thought_of_fails_the_calls_and_not_the_server(self, make_stage, call, caplog):
        stage, one = make_stage(), call(1.0)

        def broken(*_):
            raise LookupError("bug")

        stage.scorer.score = broken
        stage.batcher.submit([one])
        assert one.error.kind.name == "INTERNAL"
        assert "bug" in caplog.text

    async def test_too_many_rows_are_refused_and_the_others_are_served(self, make_stage, call):
        stage = make_stage(max_call_rows=3)
        many, few = call(*range(4)), call(*range(3))
        stage.batcher.submit([many, few])
        await stage.rest()
        assert "4 rows, at most 3" in str(many.error)
        assert stage.vectorizer.checked == [many.message]
        assert len(few.scores) == 3
        assert stage.out.failed == {"INVALID_ARGUMENT": 1}

    async def test_undecodable_comes_before_too_many_rows(self, make_stage, call):
        stage, bad = make_stage(max_call_rows=3), call(message=b"\x12\xff" + b"\x12" * 9)
        stage.batcher.submit([bad])
        assert isinstance(bad.error, UndecodableRequest)


class TestLarge:
    """A call with more rows than a matrix is cut into slices."""

    async def test_it_gets_one_answer_of_all_slices(self, make_stage, call):
        stage, large = make_stage(max_rows=4, logged=True), call(*range(10), request_id="L")
        stage.batcher.submit([large])
        await stage.rest()
        assert stage.sizes == [4, 4, 2]
        assert large.scores == [2.0 * value for value in range(10)]
        assert large.response.request_id == "L"
        assert [row.row_id for row in large.response.outputs] == [str(index) for index in range(10)]
        (batch,) = stage.out.records()
        assert [row.scores[1] for row in batch.inference_log_rows] == large.scores
        assert stage.out.answered == 1

    async def test_calls_that_come_meanwhile_are_in_the_next_matrix(self, make_stage, call):
        stage, large = make_stage(max_rows=4), call(*[1.0] * 20)
        small = [call(2.0), call(3.0)]

        def arrive():
            if len(stage.sizes) == 2:
                stage.batcher.submit(small)

        stage.runtime.meanwhile = arrive
        stage.batcher.submit([large])
        await stage.rest()
        assert stage.runtime.runs[:3] == [[1.0] * 4, [1.0] * 4, [2.0, 3.0, 1.0, 1.0]]
        assert [each.scores for each in small] == [[4.0], [6.0]]
        assert large.scores == [2.0] * 20

    async def test_it_keeps_half_of_each_matrix_under_a_stream_of_small_calls(self, make_stage, call):
        stage, large = make_stage(max_rows=4), call(*[1.0] * 10)
        stage.runtime.meanwhile = lambda: large.done or stage.batcher.submit([call(2.0) for _ in range(8)])
        stage.batcher.submit([large])
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.batcher.run)
            while not large.done:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert [run.count(1.0) for run in stage.runtime.runs[:4]] == [4, 2, 2, 2]
        assert [len(run) for run in stage.runtime.runs[:4]] == [4] * 4

    async def test_cancelled_it_costs_no_more_than_the_matrix_under_way(self, make_stage, call):
        stage, large = make_stage(max_rows=4), call(*range(20))

        def cancel():
            large.over = len(stage.sizes) == 2

        stage.runtime.meanwhile = cancel
        stage.batcher.submit([large])
        await stage.rest()
        assert stage.sizes == [4, 4]
        assert not large.done
        assert stage.out.failed == {"CANCELLED": 1}
        assert stage.batcher.statistics().waiting_rows == 0

    async def test_past_its_deadline_neither(self, make_stage, call, mock_clock):
        stage, large = make_stage(max_rows=4), call(*range(20), deadline=trio.current_time() + 5)
        stage.runtime.meanwhile = lambda: mock_clock.jump(2)
        stage.batcher.submit([large])
        await stage.rest()
        assert stage.sizes == [4, 4, 4]
        assert stage.out.failed == {"CANCELLED": 1}

    async def test_an_error_ends_it_at_once_and_names_the_row_of_the_call(self, make_stage, call):
        ids = [str(index) for index in range(20)]
        ids[6] = "bad"
        stage, large = make_stage(max_rows=4), call(*[1.0] * 20, row_ids=ids)
        stage.batcher.submit([large])
        await stage.rest()
        assert stage.sizes == [4]
        assert "of row 'bad' (6)" in str(large.error)
        assert stage.batcher.statistics().waiting_rows == 0

    async def test_a_model_that_fails_on_a_slice_fails_the_call_and_no_small_one(
        self, make_stage, call, caplog
    ):
        stage, large, small = make_stage(max_rows=4), call(1.0, -1.0, *[1.0] * 18), call(5.0)
        stage.batcher.submit([large, small])
        await stage.rest()
        assert large.error.kind.name == "INTERNAL"
        assert small.scores == [10.0]
        assert "failed on a batch" in caplog.text

    @pytest.mark.parametrize("past", ["cancelled", "its deadline"])
    async def test_ended_in_its_last_matrix_no_answer_is_put_together(
        self, make_stage, call, mock_clock, past
    ):
        stage, large = make_stage(max_rows=4), call(*range(8), deadline=trio.current_time() + 5)
        made = []
        stage.scorer.finish = lambda *given: made.append(given)

        def end():
            if len(stage.sizes) == 2:
                if past == "cancelled":
                    large.over = True
                else:
                    mock_clock.jump(5)

        stage.runtime.meanwhile = end
        stage.batcher.submit([large])
        await stage.rest()
        assert (stage.sizes, made, large.done) == ([4, 4], [], False)
        assert stage.out.failed == {"CANCELLED": 1}
        assert stage.batcher._queue.bytes == 0

    @pytest.mark.parametrize("offload", ["never", "always"])
    async def test_its_answer_may_be_too_large(self, make_stage, call, offload):
        stage, large = make_stage(max_rows=4, offload=offload, logged=True), call(*range(20))
        stage.scorer._max_answer_bytes = 100
        stage.batcher.submit([large])
        await stage.until(lambda: large.done)
        assert str(large.error) == "the answer is larger than 100 bytes"
        assert stage.sizes == [4, 4]
        assert stage.out.failed == {"RESOURCE_EXHAUSTED": 1}
        assert (stage.out.logged, stage.out.answered) == ([], 0)
        assert stage.batcher._queue.bytes == 0

    async def test_too_large_only_by_what_stands_behind_the_last_row(self, make_stage, call, caplog):
        stage, large = make_stage(max_rows=4, logged=True), call(*[1.0] * 8)
        large.message += b"\x0a\xc8\x01" + b"q" * 200
        stage.scorer._max_answer_bytes = 200
        stage.batcher.submit([large])
        await stage.rest()
        assert str(large.error) == "the answer is larger than 200 bytes"
        assert (stage.out.failed, stage.out.logged, caplog.text) == ({"RESOURCE_EXHAUSTED": 1}, [], "")

    async def test_scores_of_another_width_fail_it(self, make_stage, call, caplog):
        stage, large = make_stage(max_rows=4), call(*range(8))
        run = stage.runtime.run
        stage.runtime.run = lambda tensor: run(tensor)[:, : len(stage.sizes)]
        stage.batcher.submit([large])
        await stage.rest()
        assert large.error.kind.name == "INTERNAL"

    async def test_an_answer_that_cannot_be_made_fails_it(self, make_stage, call, caplog):
        stage, large = make_stage(max_rows=4), call(*range(8))

        def broken(*_):
            raise LookupError("bug")

        stage.scorer.finish = broken
        stage.batcher.submit([large])
        await stage.rest()
        assert large.error.kind.name == "INTERNAL"
        assert "bug" in caplog.text

    @pytest.mark.parametrize("over", [False, True])
    async def test_an_answer_that_takes_long_is_made_in_a_thread(self, make_stage, call, over):
        stage, large, small = make_stage(max_rows=4, offload="auto"), call(*range(8)), call(1.0)
        seconds_of(stage, 1, 1e-6)
        seconds_of(stage, 4, 1e-6)
        stage.batcher._finishing.pace.measured(8, 1.0)
        found, finish = [], stage.scorer.finish

        def watched(*given):
            found.append(threading.get_ident())
            return finish(*given)

        def end():
            large.over = over and len(stage.sizes) == 2

        stage.scorer.finish, stage.runtime.meanwhile = watched, end
        stage.batcher.submit([large])
        await stage.until(lambda: stage.out.answered or stage.out.failed)
        stage.batcher.submit([small])
        assert small.scores == [2.0]
        assert large.done is not over
        assert [each == threading.get_ident() for each in found] == ([] if over else [False])


class TestConcurrency:
    async def test_so_many_batches_are_under_way_at_once(self, make_stage, call):
        stage = make_stage(max_rows=2, offload="always", concurrency=2)
        meeting = threading.Barrier(2)
        stage.runtime.meanwhile = lambda: meeting.wait(10)
        calls = [call(float(value)) for value in range(8)]
        stage.batcher.submit(calls)
        await stage.until(lambda: all(each.done for each in calls))
        assert stage.sizes == [2] * 4
        assert [each.scores for each in calls] == [[2.0 * value] for value in range(8)]

    async def test_tasks_that_are_idle_wake_one_another_while_there_is_more(self, make_stage, call):
        stage = make_stage(max_rows=2, offload="always", concurrency=3)
        meeting = threading.Barrier(3)
        stage.runtime.meanwhile = lambda: meeting.wait(10)
        calls = [call(float(value)) for value in range(6)]
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.batcher.run)
            await trio.testing.wait_all_tasks_blocked()
            stage.batcher.submit(calls)
            while not all(each.done for each in calls):  # noqa: ASYNC110 - they have no event
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert stage.sizes == [2] * 3
        assert [each.scores for each in calls] == [[2.0 * value] for value in range(6)]

    async def test_slices_of_one_call_are_not_but_others_go_beside_it(self, make_stage, call):
        stage = make_stage(max_rows=2, offload="always", concurrency=2)
        meeting = threading.Barrier(2)
        stage.runtime.meanwhile = lambda: meeting.wait(10)
        large, small = call(*[1.0] * 4), [call(2.0, 2.0), call(3.0, 3.0)]
        stage.batcher.submit([large, *small])
        await stage.until(lambda: all(each.done for each in (large, *small)))
        assert large.scores == [2.0] * 4
        assert sorted(stage.runtime.runs) == [[1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]

    async def test_a_thread_that_outlasts_the_server_is_known(self, make_stage, call):
        stage = make_stage(offload="always")
        leave = threading.Event()
        stage.runtime.meanwhile = lambda: leave.wait(10)
        stage.batcher.submit([call(1.0)])
        await stage.until(lambda: stage.sizes)
        assert stage.batcher.statistics().running_calls == 1
        assert stage.batcher.thread_at_work
        leave.set()


class TestOverload:
    async def test_what_is_above_a_limit_is_refused_and_counted(self, make_stage, call):
        stage = make_stage(max_queue_rows=3)
        calls = [call(float(value)) for value in range(5)]
        stage.queue(*calls)
        assert [isinstance(each.error, Overloaded) for each in calls] == [False] * 3 + [True] * 2
        statistics = stage.batcher.statistics()
        assert statistics.shed == {"queue_rows": 2, "queue_bytes": 0, "queue_seconds": 0}
        assert (statistics.waiting_calls, statistics.waiting_rows) == (3, 3)
        assert stage.out.failed == {"RESOURCE_EXHAUSTED": 2}
        await stage.rest()
        assert [each.scores for each in calls[:3]] == [[0.0], [2.0], [4.0]]
        stage.batcher.submit([again := call(1.0)])
        assert again.scores == [2.0]

    async def test_bytes_have_a_limit(self, make_stage, call):
        calls = [call(1.0) for _ in range(3)]
        stage = make_stage(max_queue_bytes=2 * len(calls[0].message))
        stage.queue(*calls)
        assert calls[2].error.reason == "queue_bytes"
        assert stage.batcher.statistics().shed["queue_bytes"] == 1

    async def test_so_has_the_expected_wait(self, make_stage, call):
        stage = make_stage(max_rows=1, max_queue_seconds=2.5)
        seconds_of(stage, 1, 1.0)
        calls = [call(1.0) for _ in range(5)]
        stage.queue(*calls)
        assert [each.error and each.error.reason for each in calls] == [None] * 3 + ["queue_seconds"] * 2
        assert calls[3].error.retry_ms == 500

    async def test_who_cannot_be_answered_in_time_is_refused(self, make_stage, call, autojump_clock):
        stage = make_stage(max_rows=1, max_queue_seconds=100)
        seconds_of(stage, 1, 1.0)
        now = trio.current_time()
        patient, hasty, endless = [call(1.0, deadline=now + left) for left in (30, 2, float("inf"))]
        stage.queue(call(1.0))
        stage.queue(patient, hasty, endless)
        assert (patient.error, endless.error) == (None, None)
        assert hasty.error.reason == "queue_seconds"

    async def test_matrices_that_are_done_are_in_nobodys_way(self, make_stage, call, autojump_clock):
        stage = make_stage(max_rows=1, max_queue_seconds=100)
        for _ in range(50):
            stage.batcher.submit([call(1.0)])
        stage.queue(*[call(1.0) for _ in range(9)])
        await stage.rest()
        seconds_of(stage, 1, 1.0)
        stage.batcher._pace._turn = 1.0
        stage.queue(call(1.0))
        stage.queue(patient := call(1.0, deadline=trio.current_time() + 30))
        assert patient.error is None

    async def test_what_large_calls_hold_counts_until_they_are_answered(self, make_stage, call):
        stage = make_stage(max_rows=4, offload="auto", logged=True)
        seconds_of(stage, 4, 1e-6)
        stage.batcher._finishing.pace.measured(8, 1.0)
        held, leave, finish = [], threading.Event(), stage.scorer.finish

        def slowly(*given):
            leave.wait(10)
            return finish(*given)

        stage.scorer.finish = slowly
        large = [call(*range(8)) for _ in range(2)]
        stage.batcher.submit(large)
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.batcher.run)
            while len(stage.batcher._finishing._done) < 2:  # noqa: ASYNC110 - it has no event
                await trio.sleep(0.001)
            queue = stage.batcher._queue
            held = queue.bytes
            # The first is being answered, the second waits for that.
            assert (queue.rows, stage.batcher.statistics().waiting_calls) == (0, 1)
            leave.set()
            while stage.out.answered < 2:  # noqa: ASYNC110 - it has no event
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        records = sum(record.ByteSize() for record in stage.out.records())
        assert held > 2 * len(large[0].message) + 0.8 * records
        assert (queue.bytes, queue.calls) == (0, 0)

    async def test_a_large_call_on_an_idle_server_is_let_in_whatever_the_limits(self, make_stage, call):
        stage, large = make_stage(max_rows=4, max_queue_rows=1, max_queue_bytes=1), call(*[1.0] * 20)
        stage.batcher.submit([large])
        await stage.rest()
        assert len(large.scores) == 20

    async def test_those_that_come_together_are_refused_together(self, make_stage, call):
        stage = make_stage(max_queue_rows=2, max_call_rows=3)
        calls = [call(1.0), call(1.0), call(1.0), call(*[1.0] * 4), call(1.0, 1.0), call(1.0)]
        stage.queue(*calls)
        kinds = [(number, type(error)) for number, error in stage.out.refused]
        assert kinds == [(3, Overloaded), (1, InvalidRequest)]
        assert stage.out.failed == {"RESOURCE_EXHAUSTED": 3, "INVALID_ARGUMENT": 1}
        assert stage.batcher.statistics().shed["queue_rows"] == 3

    async def test_calls_without_rows_cannot_fill_the_memory(self, make_stage, call):
        stage = make_stage(max_queue_rows=3)
        calls = [call() for _ in range(5)]
        stage.queue(*calls)
        assert [isinstance(each.error, Overloaded) for each in calls] == [False] * 3 + [True] * 2

    async def test_whoever_brings_calls_is_told_when_it_may_rest(self, make_stage, call):
        told = []
        stage = make_stage(max_rows=1, max_queue_rows=2)
        stage.batcher.on_waiting = told.append
        seconds_of(stage, 1, 1.0)
        stage.queue(call(1.0))
        stage.queue(call(1.0))
        assert told == []
        stage.queue(call(1.0))
        assert told == [MOST_REST_SECONDS]


class TestLog:
    def test_records_are_made_of_what_was_answered(self, make_stage, call):
        stage = make_stage(logged=True)
        stage.batcher.submit([call(1.5, request_id="q", row_ids=["r"])])
        (batch,) = stage.out.records()
        assert (batch.request_id, batch.model_id, batch.model_version) == ("q", "model", "v1")
        assert batch.received_unix_micros > 0
        (row,) = batch.inference_log_rows
        assert (row.row_id, row.features["x"].float_value, list(row.scores)) == ("r", 1.5, [1.5, 3.0])

    def test_with_acknowledge_spooled_the_response_waits_for_the_spool(self, make_stage, call):
        stage, one = make_stage(logged=True, spooled=True), call(1.0)
        stage.batcher.submit([one])
        assert one.response is None
        stage.out.logged[0].spooled()
        assert one.scores == [2.0]

    def test_a_log_that_takes_nothing_does_not_fail_a_call(self, make_stage, call):
        stage, one = make_stage(logged=True, takes_log=False, spooled=True), call(1.0)
        stage.batcher.submit([one])
        assert one.scores == [2.0]


class TestRehearsal:
    def test_nothing_of_it_is_answered_counted_or_logged(self, make_stage):
        stage = make_stage(logged=True)
        stage.batcher.rehearse()
        assert (stage.out.metrics, stage.out.logged, stage.out.replied) == ([], [], [])
        assert stage.batcher.statistics().rows == 0
        assert stage.sizes[:4] == [1, 1, 2, 2]
        assert max(stage.sizes) <= 100

    def test_after_it_the_first_call_needs_no_thread(self, make_stage, call):
        stage, one = make_stage(offload="auto"), call(1.0)
        stage.batcher.rehearse()
        stage.batcher.submit([one])
        assert one.scores == [2.0]

    def test_a_slow_model_runs_once(self, make_stage, monkeypatch):
        stage = make_stage(offload="auto")
        now = [0.0]
        monkeypatch.setattr("hushar.inference.batcher.time.perf_counter", lambda: now[0])

        def slow():
            now[0] += LARGEST_SECONDS

        stage.runtime.meanwhile = slow
        stage.batcher.rehearse()
        assert stage.sizes == [1]
        assert stage.batcher._placement.in_thread(1)

    @pytest.mark.parametrize(
        ("a_run", "a_row", "reached"), [(8e-3, 1e-4, [30, 30, 100, 100]), (8e-3, 5e-3, [19, 19])]
    )
    def test_the_largest_matrix_is_tried_if_that_does_not_take_long(
        self, make_stage, monkeypatch, a_run, a_row, reached
    ):
        """A model that takes its time whatever the rows; one that does for each row. Twice: what a runtime
        keeps for a number of rows that it knows is then there before the first call."""
        stage = make_stage()
        now = [0.0]
        monkeypatch.setattr("hushar.inference.batcher.time.perf_counter", lambda: now[0])

        def work():
            now[0] += a_run + a_row * stage.sizes[-1]

        stage.runtime.meanwhile = work
        stage.batcher.rehearse()
        assert stage.sizes == [1, 1, *reached]

    def test_a_model_that_does_not_like_it_is_no_reason_not_to_serve(self, make_stage, call, caplog):
        stage, one = make_stage(), call(1.0)
        run = stage.runtime.run

        def picky(tensor):
            if not tensor[1].any():
                raise RuntimeError("nothing but zeros")
            return run(tensor)

        stage.runtime.run = picky
        stage.batcher.rehearse()
        stage.batcher.submit([one])
        assert one.scores == [2.0]
