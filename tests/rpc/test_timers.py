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


def one_by_one(heap, calls):
    for call in calls:
        heap.add([call])


def together(heap, calls):
    if calls:
        heap.add(calls)


def in_twos(heap, calls):
    for at in range(0, len(calls), 2):
        heap.add(calls[at : at + 2])


@pytest.fixture(params=[one_by_one, together, in_twos], ids=lambda add: add.__name__)
def watched(request):
    """watched(deadline, …): a heap with calls of these deadlines, added in batches, and the calls."""

    def made(*deadlines):
        heap = Deadlines()
        calls = [Call(deadline) for deadline in deadlines]
        request.param(heap, calls)
        return heap, calls

    return made


def test_nothing_to_wait_for():
    heap = Deadlines()
    assert heap.next is None
    assert heap.expired(1e9) == []


def test_the_earliest_is_next(watched):
    heap, _ = watched(3.0, 1.0, 2.0)
    assert heap.next == 1.0


def test_calls_expire_in_their_order_once(watched):
    heap, (late, early, middle) = watched(3.0, 1.0, 2.0)
    assert heap.expired(0.5) == []
    assert heap.expired(2.0) == [early, middle]
    assert heap.expired(2.0) == []
    assert heap.next == 3.0
    assert heap.expired(10.0) == [late]
    assert heap.next is None


def test_equal_deadlines_expire_in_the_order_of_arrival(watched):
    heap, calls = watched(*[1.0] * 50)
    assert heap.expired(1.0) == calls


@pytest.mark.parametrize("looked", [False, True])
def test_a_call_that_is_over_expires_no_more(watched, looked):
    heap, (first, second) = watched(1.0, 2.0)
    first.over = True
    if looked:
        assert heap.next == 2.0
    assert heap.expired(5.0) == [second]


def test_all_over(watched):
    heap, calls = watched(1.0, 2.0)
    for call in calls:
        call.over = True
    assert heap.next is None
    assert heap.expired(5.0) == []


@pytest.mark.parametrize("size", [1, 10])
def test_calls_that_are_over_do_not_pile_up(size):
    """However many calls end before their deadlines, few more than those that go on are held."""
    heap = Deadlines()
    going_on = [Call(1e9 + number) for number in range(100)]
    heap.add(going_on)
    held = weakref.WeakSet()
    for number in range(20_000 // size):
        calls = [Call(float(number)) for _ in range(size)]
        heap.add(calls)
        for call in calls:
            call.over = True
            held.add(call)
        del calls, call
        assert len(held) < 2000
    assert heap.expired(2e9) == going_on


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 20) | st.floats(0, 100), st.booleans()), min_size=1, max_size=8),
        max_size=20,
    ),
    st.lists(st.floats(0, 100), max_size=6),
)
def test_every_call_that_goes_on_expires_when_its_time_has_come(batches, times):
    heap = Deadlines()
    waiting = []
    for batch in batches:
        calls = [Call(deadline) for deadline, _ in batch]
        assert heap.add(calls) == min(deadline for deadline, _ in batch)
        for call, (_, over) in zip(calls, batch, strict=True):
            call.over = over
            if not over:
                waiting.append(call)
    for now in sorted(times):
        due = sorted((call for call in waiting if call.deadline <= now), key=lambda call: call.deadline)
        waiting = [call for call in waiting if call.deadline > now]
        assert heap.expired(now) == due
        assert heap.next == min((call.deadline for call in waiting), default=None)
