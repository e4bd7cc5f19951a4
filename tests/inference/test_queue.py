"""Which calls go into the next matrix: the oldest, and a part of a large one."""

import math

import pytest

from hushar.features.vectorize import Reading
from hushar.inference.queue import Arrival, CallQueue, Large


class Call:
    def __init__(self, name, rows, deadline=math.inf):
        self.name, self.rows, self.deadline, self.over = name, rows, deadline, False


class Filled:
    """A queue of ten rows a matrix, and short names for what it is filled with."""

    def __init__(self, max_rows=10):
        self.queue = CallQueue(max_rows)
        self.calls = {}

    def put(self, *, earliest=-math.inf, **rows):
        """Calls that came together: name=rows; no deadline comes before `earliest`."""
        calls = [Call(name, count) for name, count in rows.items()]
        self.calls |= {call.name: call for call in calls}
        messages = [b"m" * 10 for _ in calls]
        self.queue.admit(sum(count or 1 for count in rows.values()), 10 * len(calls), len(calls))
        self.queue.put(Arrival(calls, messages, list(rows.values()), 1.0, 2, earliest))

    def put_large(self, name, rows):
        call = self.calls[name] = Call(name, rows)
        self.queue.admit(rows, 100)
        large = Large(call, b"M" * 100, rows, Reading(b""), None, 1.0, 2)
        self.queue.put_large(large)
        return large

    def take(self, now=0.0):
        """The names in the next matrix, a slice as (name, rows); the slice is done at once."""
        batch = self.batch = self.queue.take(now)
        names = "".join(call.name for call in batch.calls)
        assert batch.rows == [call.rows for call in batch.calls]
        assert len(batch.messages) == len(batch.received) == len(batch.calls)
        assert batch.total_rows == sum(batch.rows) + batch.slice_rows
        if batch.large is None:
            return names
        batch.large.under_way = False
        if not batch.large.left:
            # Answered at once as well.
            self.queue.release(batch.large)
        return names, batch.large.call.name, batch.slice_rows

    @property
    def empty(self):
        queue = self.queue
        return (queue.rows, queue.large_rows, queue.bytes, queue.calls, queue.ready) == (0, 0, 0, 0, False)


@pytest.fixture
def filled():
    return Filled()


class TestCalls:
    def test_everything_that_waits_is_taken(self, filled):
        filled.put(a=1, b=2)
        filled.put(c=3)
        assert filled.take() == "abc"
        assert filled.empty

    def test_oldest_first_and_no_more_rows_than_a_matrix_has(self, filled):
        filled.put(a=4, b=4, c=4)
        filled.put(d=3, e=4)
        assert [filled.take(), filled.take()] == ["ab", "cd"]
        assert (filled.queue.rows, filled.queue.bytes, filled.queue.calls) == (4, 10, 1)
        assert filled.take() == "e"
        assert filled.empty

    def test_just_the_limit_is_one_matrix(self, filled):
        filled.put(a=5, b=5)
        filled.put(c=1)
        assert [filled.take(), filled.take()] == ["ab", "c"]

    def test_calls_without_rows_are_taken_but_not_without_number(self, filled):
        filled.put(**dict.fromkeys("abcdefghijklm", 0))
        assert [filled.take(), filled.take()] == ["abcdefghij", "klm"]
        assert filled.empty

    def test_it_is_known_when_each_call_came(self, filled):
        filled.put(a=1, b=1)
        filled.put(c=1)
        filled.take()
        assert [calls for _, calls in filled.batch.origins] == [2, 1]
        assert filled.batch.received == [2, 2, 2]

    def test_of_an_empty_queue_nothing_is_taken(self, filled):
        assert filled.take() == ""
        assert filled.empty


class TestGone:
    def test_calls_that_are_over_are_left_out_and_leave_their_room_to_others(self, filled):
        filled.put(a=4, b=4, c=4)
        filled.put(d=2)
        filled.calls["b"].over = True
        assert filled.take() == "acd"
        assert filled.batch.gone == 1
        assert filled.empty

    def test_so_are_those_past_their_deadline(self, filled):
        filled.put(a=1, b=1, c=1)
        filled.calls["a"].deadline, filled.calls["c"].deadline = 4.9, 5.1
        assert filled.take(now=5.0) == "bc"
        assert filled.batch.gone == 1

    def test_all_may_be(self, filled):
        filled.put(a=1, b=10)
        filled.put_large("L", 30)
        for call in filled.calls.values():
            call.over = True
        assert filled.take() == ""
        assert filled.batch.gone == 3
        assert filled.empty

    @pytest.mark.parametrize("earliest", [-math.inf, 5.0])
    def test_what_is_taken_of_an_arrival_leaves_the_rest(self, filled, earliest):
        filled.put(earliest=earliest, a=4, b=0, c=4, d=3, e=0)
        filled.calls["b"].over = True
        assert filled.take() == "ac"
        assert (filled.batch.gone, filled.batch.rows, filled.queue.rows) == (1, [4, 4], 4)
        assert (filled.queue.bytes, filled.queue.calls) == (20, 2)
        filled.put(earliest=earliest, f=7)
        assert filled.take() == "de"
        assert filled.take() == "f"
        assert filled.empty


class TestDeadlines:
    def test_where_one_may_be_over_each_is_looked_at(self, filled):
        filled.put(earliest=5.0, a=1, b=1)
        filled.put(earliest=5.0, c=1, d=1)
        filled.calls["a"].deadline = filled.calls["c"].deadline = 5.0
        filled.calls["b"].deadline = 6.0
        assert filled.take(now=5.0) == "bd"
        assert (filled.batch.gone, filled.batch.earliest) == (2, 6.0)
        assert filled.empty

    def test_before_that_none_is(self, filled):
        filled.put(earliest=5.0, a=1, b=1)
        assert filled.take(now=4.9) == "ab"
        assert filled.batch.earliest == 5.0

    def test_the_earliest_of_a_matrix_is_known(self, filled):
        filled.put(a=1, b=1, c=1)
        filled.calls["b"].deadline = 7.0
        filled.take()
        assert filled.batch.earliest == 7.0

    def test_that_of_a_slice_too(self, filled):
        filled.put_large("L", 15)
        filled.calls["L"].deadline = 8.0
        filled.take()
        assert filled.batch.earliest == 8.0

    def test_where_none_has_one_there_is_none(self, filled):
        filled.put(a=1)
        filled.take()
        assert filled.batch.earliest == math.inf


class TestLarge:
    def test_alone_it_has_the_whole_of_each_matrix(self, filled):
        filled.put_large("L", 25)
        assert [filled.take() for _ in range(3)] == [("", "L", 10), ("", "L", 10), ("", "L", 5)]
        assert filled.empty

    def test_calls_that_come_meanwhile_are_in_the_next_matrix(self, filled):
        filled.put_large("L", 25)
        filled.take()
        filled.put(a=1, b=2)
        assert filled.take() == ("ab", "L", 7)
        assert filled.take() == ("", "L", 8)

    def test_it_keeps_half_of_each_matrix_however_many_wait(self, filled):
        filled.put_large("L", 25)
        for letter in "abcdefghijklmno":
            filled.put(**{letter: 1})
        assert [filled.take() for _ in range(3)] == [("abcde", "L", 5), ("fghij", "L", 5), ("klmno", "L", 5)]

    def test_what_is_left_of_it_may_be_less_than_half(self, filled):
        filled.put_large("L", 12)
        filled.take()
        filled.put(a=4, b=4, c=4)
        assert [filled.take(), filled.take()] == [("ab", "L", 2), "c"]
        assert filled.empty

    def test_a_call_larger_than_the_other_half_gets_in_and_the_large_one_gets_its_due_after_it(self, filled):
        filled.put_large("L", 40)
        filled.put(a=9)
        filled.put(b=9)
        filled.put(c=1)
        assert [filled.take() for _ in range(4)] == [
            ("a", "L", 1),
            ("", "L", 10),
            ("b", "L", 1),
            ("c", "L", 9),
        ]

    def test_one_that_fills_a_matrix_leaves_nothing_of_it_but_not_twice(self, filled):
        filled.put_large("L", 40)
        filled.put(a=10, b=10)
        assert [filled.take() for _ in range(3)] == ["a", ("", "L", 10), "b"]

    def test_of_two_the_older_goes_first(self, filled):
        filled.put_large("L", 15)
        filled.put_large("M", 15)
        taken = [filled.take() for _ in range(4)]
        assert taken == [("", "L", 10), ("", "L", 5), ("", "M", 10), ("", "M", 5)]

    def test_while_one_is_in_a_matrix_another_goes_on_and_so_do_calls(self, filled):
        large = filled.put_large("L", 30)
        filled.take()
        large.under_way = True
        assert not filled.queue.ready
        filled.put(a=1)
        assert filled.queue.ready
        assert filled.take() == "a"
        filled.put_large("M", 30)
        assert filled.take() == ("", "M", 10)

    def test_one_that_nobody_waits_for_is_left_out(self, filled):
        filled.put_large("L", 30)
        filled.put_large("M", 30)
        filled.take()
        filled.calls["L"].over = True
        assert filled.take() == ("", "M", 10)
        assert filled.batch.gone == 1
        filled.calls["M"].deadline = 1.0
        assert filled.take(now=1.0) == ""
        assert filled.empty

    def test_what_it_holds_counts_until_it_has_ended(self, filled):
        large = filled.put_large("L", 10)
        batch = filled.queue.take(0.0)
        assert (batch.large, large.left) == (large, 0)
        assert (filled.queue.rows, filled.queue.calls, filled.queue.bytes) == (0, 0, 100)
        filled.queue.hold(large, 50)
        assert filled.queue.bytes == 150
        filled.queue.release(large)
        assert filled.queue.bytes == 0

    def test_dropped_after_its_last_slice_was_taken_it_is_not_there_twice(self, filled):
        large = filled.put_large("L", 15)
        filled.take()
        filled.take()
        filled.queue.drop(large)
        assert filled.empty

    def test_rows_of_a_matrix_may_be_one(self):
        filled = Filled(max_rows=1)
        filled.put_large("L", 3)
        filled.put(a=1, b=1)
        assert [filled.take() for _ in range(5)] == ["a", ("", "L", 1), "b", ("", "L", 1), ("", "L", 1)]
        assert filled.empty
