"""Where a batch runs follows what rows have cost, without going back and forth."""

import pytest

from hushar.inference.placement import TO_LOOP_SECONDS, TO_THREAD_SECONDS, Placement


def after(placement, row_seconds, *, rows=1, times=200):
    """Where the last of several batches of one kind runs."""
    for _ in range(times):
        where = placement.in_thread(rows)
        placement.measured(rows, rows * row_seconds)
    return where


def test_the_first_batch_goes_to_a_thread_since_nothing_is_known():
    assert Placement("auto").in_thread(1)


def test_short_batches_come_to_the_loop_and_long_ones_stay_in_a_thread():
    assert not after(Placement("auto"), TO_LOOP_SECONDS / 2)
    assert after(Placement("auto"), TO_THREAD_SECONDS * 2)


def test_a_large_batch_goes_to_a_thread_though_all_before_it_were_short():
    placement = Placement("auto")
    assert not after(placement, 1e-5)
    assert placement.in_thread(10_000)
    assert not placement.in_thread(1)


def test_between_the_two_bounds_nothing_changes():
    between = (TO_LOOP_SECONDS + TO_THREAD_SECONDS) / 2
    placement = Placement("auto")
    assert not after(placement, TO_LOOP_SECONDS / 2)
    assert not after(placement, between)
    assert after(placement, TO_THREAD_SECONDS * 2)
    assert after(placement, between)
    assert not after(placement, TO_LOOP_SECONDS / 2)


def test_a_batch_without_rows_says_nothing():
    placement = Placement("auto")
    placement.measured(0, 0.0)
    assert placement.in_thread(1)


def test_one_slow_batch_among_fast_ones_changes_nothing():
    placement = Placement("auto")
    after(placement, 1e-5)
    placement.measured(1, TO_THREAD_SECONDS * 5)
    assert not placement.in_thread(1)


def test_what_a_batch_costs_whatever_its_rows_is_not_charged_for_each_row():
    placement = Placement("auto")
    for rows in (1, 2, 4, 8, 16, 32):
        assert not after(placement, 8e-5 / rows, rows=rows)
    assert not placement.in_thread(50)
    assert placement.in_thread(1000)


@pytest.mark.parametrize(("offload", "in_thread"), [("always", True), ("never", False)])
def test_what_is_configured_is_not_measured(offload, in_thread):
    placement = Placement(offload)
    assert after(placement, 1.0) is in_thread
    assert after(placement, 1e-6) is in_thread
