"""Where a batch runs follows what batches have cost, without going back and forth."""

import pytest

from hushar.inference.placement import TO_LOOP_SECONDS, TO_THREAD_SECONDS, Placement


def after(placement, seconds, times=200):
    for _ in range(times):
        placement.measured(seconds)
    return placement.in_thread


def test_short_batches_stay_in_the_loop_and_long_ones_go_to_a_thread():
    assert not after(Placement("auto"), TO_LOOP_SECONDS / 2)
    assert after(Placement("auto"), TO_THREAD_SECONDS * 2)


def test_between_the_two_bounds_nothing_changes():
    between = (TO_LOOP_SECONDS + TO_THREAD_SECONDS) / 2
    placement = Placement("auto")
    assert not after(placement, between)
    assert after(placement, TO_THREAD_SECONDS * 2)
    assert after(placement, between)
    assert not after(placement, TO_LOOP_SECONDS / 2)


def test_one_slow_batch_among_fast_ones_changes_nothing():
    placement = Placement("auto")
    after(placement, 1e-5)
    placement.measured(TO_THREAD_SECONDS * 5)
    assert not placement.in_thread


@pytest.mark.parametrize(("offload", "in_thread"), [("always", True), ("never", False)])
def test_what_is_configured_is_not_measured(offload, in_thread):
    placement = Placement(offload)
    assert after(placement, 1.0) is in_thread
    assert after(placement, 1e-6) is in_thread
