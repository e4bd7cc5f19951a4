"""The deadlines of calls, by explicit clocks."""

import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.rpc.timers import Deadlines


class Call:
    """What the heap looks at."""

    def __init__(self, deadline):
        self.deadline = deadline
        self.over = False


def watched(*deadlines):
    """A heap with calls of these deadlines, and the calls."""
    heap = Deadlines()
    calls = [Call(deadline) for deadline in deadlines]
    for call in calls:
        heap.add(call)
    return heap, calls


def test_nothing_to_wait_for():
    heap = Deadlines()
    assert heap.next is None
    assert heap.expired(1e9) == []


def test_the_earliest_is_next():
    heap, _ = watched(3.0, 1.0, 2.0)
    assert heap.next == 1.0


def test_calls_expire_in_their_order_once():
    heap, (late, early, middle) = watched(3.0, 1.0, 2.0)
    assert heap.expired(0.5) == []
    assert heap.expired(2.0) == [early, middle]
    assert heap.expired(2.0) == []
    assert heap.next == 3.0
    assert heap.expired(10.0) == [late]
    assert heap.next is None


def test_equal_deadlines_expire_in_the_order_of_arrival():
    heap, calls = watched(*[1.0] * 50)
    assert heap.expired(1.0) == calls


@pytest.mark.parametrize("looked", [False, True])
def test_a_call_that_is_over_expires_no_more(looked):
    heap, (first, second) = watched(1.0, 2.0)
    first.over = True
    if looked:
        assert heap.next == 2.0
    assert heap.expired(5.0) == [second]


def test_all_over():
    heap, calls = watched(1.0, 2.0)
    for call in calls:
        call.over = True
    assert heap.next is None
    assert heap.expired(5.0) == []


def test_calls_that_are_over_do_not_pile_up():
    """However many calls end before their deadlines, few more than those that go on are held."""
    heap = Deadlines()
    going_on = [Call(1e9 + number) for number in range(100)]
    for call in going_on:
        heap.add(call)
    held = weakref.WeakSet()
    for number in range(20_000):
        call = Call(float(number))
        heap.add(call)
        call.over = True
        held.add(call)
        assert len(held) < 2000
    assert heap.expired(2e9) == going_on


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60),
    st.lists(st.floats(0, 100), max_size=6),
)
def test_every_call_that_goes_on_expires_when_its_time_has_come(calls, times):
    heap = Deadlines()
    waiting = []
    for deadline, over in calls:
        call = Call(deadline)
        heap.add(call)
        call.over = over
        if not over:
            waiting.append(call)
    for now in sorted(times):
        due = sorted((call for call in waiting if call.deadline <= now), key=lambda call: call.deadline)
        waiting = [call for call in waiting if call.deadline > now]
        assert heap.expired(now) == due
        assert heap.next == min((call.deadline for call in waiting), default=None)
