"""Where a matrix runs follows what matrices have taken, without going back and forth."""

import pytest

from hushar.inference.pace import Pace
from hushar.inference.placement import TO_LOOP_SECONDS, TO_THREAD_SECONDS, Placement


class Measured:
    """A placement with what it goes by."""

    def __init__(self, offload="auto"):
        self.pace = Pace(1024)
        self.placement = Placement(offload, self.pace)

    def after(self, seconds, *, rows=1, times=200):
        """Where the last of several matrices of one kind runs."""
        for _ in range(times):
            where = self.placement.in_thread(rows)
            self.pace.measured(rows, seconds)
        return where


def test_where_nothing_is_known_it_is_a_thread():
    assert Measured().placement.in_thread(1)


def test_short_ones_are_in_the_loop_from_the_first_on_after_a_rehearsal():
    measured = Measured()
    measured.pace.rehearsed(1, 1e-5)
    measured.pace.rehearsed(512, 1e-4)
    assert not measured.placement.in_thread(1)
    assert not measured.placement.in_thread(1000)


def test_short_ones_come_to_the_loop_and_long_ones_stay_in_a_thread():
    assert not Measured().after(TO_LOOP_SECONDS / 2)
    assert Measured().after(TO_THREAD_SECONDS * 2)


def test_a_joined_batch_of_short_calls_stays_in_the_loop():
    assert not Measured().after(1e-4, rows=100)


def test_a_large_one_goes_to_a_thread_though_all_before_it_were_short():
    measured = Measured()
    assert not measured.after(1e-5)
    assert measured.placement.in_thread(10_000)
    assert not measured.placement.in_thread(1)


def test_between_the_two_bounds_nothing_changes():
    between = (TO_LOOP_SECONDS + TO_THREAD_SECONDS) / 2
    measured = Measured()
    assert not measured.after(TO_LOOP_SECONDS / 2)
    assert not measured.after(between)
    assert measured.after(TO_THREAD_SECONDS * 2)
    assert measured.after(between)
    assert not measured.after(TO_LOOP_SECONDS / 2)


@pytest.mark.parametrize("between", [1.1e-3, 1.9e-3])
def test_what_takes_between_one_and_two_milliseconds_stays_where_it_is(between):
    measured = Measured()
    assert not measured.after(0.5e-3)
    assert not measured.after(between)
    assert measured.after(3e-3)
    assert measured.after(between)


def test_a_size_does_not_take_others_with_it():
    between = (TO_LOOP_SECONDS + TO_THREAD_SECONDS) / 2
    measured = Measured()
    assert not measured.after(between / 8, rows=1)
    assert not measured.after(between, rows=4)
    assert measured.after(TO_THREAD_SECONDS * 2, rows=64)
    assert not measured.placement.in_thread(4)


def test_one_slow_one_among_fast_ones_changes_nothing():
    measured = Measured()
    measured.after(1e-5)
    measured.pace.measured(1, TO_THREAD_SECONDS * 5)
    assert not measured.placement.in_thread(1)


@pytest.mark.parametrize(("offload", "in_thread"), [("always", True), ("never", False)])
def test_what_is_configured_is_not_measured(offload, in_thread):
    measured = Measured(offload)
    assert measured.after(1.0) is in_thread
    assert measured.after(1e-6) is in_thread
