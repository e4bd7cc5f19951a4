import math

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from hushar.bench import pace
from hushar.bench.pace import COARSE_TICK, FINE_TICK, Schedule, keep_pace, precise_sleep

RATES = st.floats(min_value=0.01, max_value=200_000)


@pytest.mark.parametrize(("rate", "tick"), [(100, 0), (4000, 0), (5000, FINE_TICK), (90_000, COARSE_TICK)])
def test_high_rates_are_meant_for_ticks(rate, tick):
    assert Schedule(0.0, rate, 10).tick == tick


@given(RATES, st.integers(1, 500))
def test_calls_are_meant_for_moments_at_a_constant_rate(rate, count):
    schedule = Schedule(5.0, rate, count)
    times = schedule.times(0, count)
    assert times == sorted(times)
    for index, time in enumerate(times):
        ideal = 5.0 + index / rate
        assert ideal - schedule.tick - 1e-6 <= time <= ideal + 1e-6
        assert schedule.time_of(index) == time


def in_groups(schedule, start, stop):
    """The moments of `groups`, each as often as it says."""
    return [
        moment
        for moments, counts in schedule.groups(start, stop)
        for moment in np.repeat(moments, counts).tolist()
    ]


@given(RATES, st.integers(0, 10_000), st.integers(0, 2000))
def test_groups_are_the_moments_of_all_calls(rate, start, count):
    schedule = Schedule(5.0, rate, 100_000)
    assert in_groups(schedule, start, start + count) == schedule.times(start, start + count)


def test_groups_come_in_pieces(monkeypatch):
    monkeypatch.setattr(pace, "_A_PIECE", 7)
    for rate in (100.0, 5000.0, 123_456.0):
        schedule = Schedule(5.0, rate, 100_000)
        assert in_groups(schedule, 3, 5000) == schedule.times(3, 5000)


def test_at_any_rate_there_are_only_some_thousand_groups_a_second():
    groups = list(Schedule(0.0, 1e9, 10**10).groups(5, 10**10))
    assert sum(counts.sum() for _, counts in groups) == 10**10 - 5
    assert sum(len(moments) for moments, _ in groups) == 10_000


@given(RATES, st.integers(1, 500), st.floats(-1, 10))
def test_due_are_the_calls_whose_time_has_come(rate, count, elapsed):
    schedule = Schedule(5.0, rate, count)
    now = 5.0 + elapsed
    due = schedule.due(now)
    assert 0 <= due <= count
    if due:
        assert schedule.time_of(due - 1) <= now + 1e-6
    if due < count:
        assert schedule.time_of(due) >= now - 1e-6


async def paced(schedule, stall=lambda now: None):
    """[(now, times)] of a run on a clock that jumps."""
    found = []

    def due(now, times):
        found.append((now, times))

    async def sleep_until(when):
        await trio.sleep_until(when)
        extra = stall(trio.current_time())
        if extra:
            await trio.sleep(extra)

    await keep_pace(schedule, sleep_until, due)
    return found


async def test_at_low_rates_every_call_has_its_own_moment(autojump_clock):
    begin = trio.current_time()
    found = await paced(Schedule(begin, 100.0, 50))
    assert len(found) == 50
    for index, (now, times) in enumerate(found):
        assert times == [pytest.approx(begin + index / 100)]
        assert now == pytest.approx(times[0], abs=1e-6)


async def test_at_high_rates_the_loop_wakes_a_tick_and_not_a_call(autojump_clock):
    found = await paced(Schedule(trio.current_time(), 100_000.0, 100_000))
    assert len(found) == pytest.approx(1000, abs=2)
    assert sum(len(times) for _, times in found) == 100_000
    assert all(now == pytest.approx(time, abs=1e-6) for now, times in found for time in times)


async def test_a_stall_of_the_generator_delays_calls_but_not_what_they_are_meant_for(autojump_clock):
    begin = trio.current_time()
    stalls = iter([1.0])
    found = await paced(
        Schedule(begin, 100.0, 300), lambda now: next(stalls, None) if now - begin > 0.5 else None
    )
    meant = [time for _, times in found for time in times]
    assert meant == pytest.approx([begin + index / 100 for index in range(300)])
    late = [now - time for now, times in found for time in times]
    assert max(late) == pytest.approx(1.0, abs=0.011)
    assert sum(each > 0.005 for each in late) == pytest.approx(100, abs=2)


async def test_a_rate_beyond_all_means_is_taken_in_bounded_steps(autojump_clock):
    found = await paced(Schedule(trio.current_time() - 1, 1e6, 100_000))
    assert max(len(times) for _, times in found) == 20_000
    assert sum(len(times) for _, times in found) == 100_000


async def test_precise_sleep_never_ends_early_and_lets_other_tasks_run():
    with precise_sleep() as sleep_until:
        for wait in (0.0, 0.0005, 0.003, -1.0):
            until = trio.current_time() + wait
            await sleep_until(until)
            assert trio.current_time() >= until
        with trio.move_on_after(0.01) as scope:
            await sleep_until(math.floor(trio.current_time()) + 3600.0)
        assert scope.cancelled_caught


async def test_precise_sleep_sleeps_by_a_timer_and_closes_it(monkeypatch):
    class Timer:
        slept, closed = (), False

        async def sleep(self, seconds):
            self.slept = (*self.slept, seconds)
            await trio.sleep(seconds)

        def close(self):
            self.closed = True

    timer = Timer()
    monkeypatch.setattr(pace, "make_timer", lambda: timer)
    with precise_sleep() as sleep_until:
        await sleep_until(trio.current_time() + 0.01)
        await sleep_until(trio.current_time() - 1.0)
        # What is left of the first is waited for awake.
        (seconds,) = timer.slept
        assert 0.005 < seconds < 0.01
        assert not timer.closed
    assert timer.closed


async def test_a_mock_clock_is_used_as_it_is(autojump_clock):
    with precise_sleep() as sleep_until:
        assert sleep_until is trio.sleep_until
