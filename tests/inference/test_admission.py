"""What is let in, what is refused, and when another attempt is worth it."""

import math

import pytest

from hushar.errors import ErrorKind
from hushar.inference.admission import (
    DEADLINE_MARGIN,
    MOST_REST_SECONDS,
    REST_SHARE,
    Admission,
    BatcherLimits,
)
from hushar.inference.pace import Pace
from hushar.inference.queue import CallQueue


class Door:
    """A queue with calls in it, where a matrix of ten rows takes so many seconds."""

    def __init__(self, *, seconds=0.1, **limits):
        self.limits = BatcherLimits(**{"max_rows": 10, "max_queue_rows": 1000, **limits})
        self.queue = CallQueue(10)
        self.pace = Pace(10)
        if seconds:
            self.pace.measured(10, seconds)
        self.admission = Admission(self.limits, self.queue, self.pace)

    def refusal(self, rows=1, size=10, left=math.inf):
        error = self.admission.refusal(rows, size, left)
        return error and (error.reason, error.retry_ms)


def test_a_call_that_finds_the_queue_empty_is_always_let_in():
    door = Door(max_queue_rows=1, max_queue_bytes=1, max_queue_seconds=1e-6)
    door.admission.under_way_rows = 1000
    assert door.refusal(rows=500, size=10**9, left=1e-9) is None


class TestRows:
    def test_up_to_the_limit(self):
        door = Door(max_queue_rows=20)
        door.queue.admit(15, 0)
        assert door.refusal(rows=5) is None
        assert door.refusal(rows=6)[0] == "queue_rows"

    def test_another_attempt_is_worth_it_when_the_rows_in_excess_have_gone(self):
        door = Door(max_queue_rows=20)
        door.queue.admit(20, 0)
        assert door.refusal(rows=10) == ("queue_rows", 100)
        assert door.refusal(rows=1000) == ("queue_rows", 200)

    def test_where_nothing_is_known_it_is_the_least_time(self):
        door = Door(max_queue_rows=20, seconds=None)
        door.queue.admit(20, 0)
        assert door.refusal() == ("queue_rows", 1)


class TestBytes:
    def test_up_to_the_limit(self):
        door = Door(max_queue_bytes=1000)
        door.queue.admit(1, 900)
        assert door.refusal(size=100) is None
        assert door.refusal(size=101)[0] == "queue_bytes"

    def test_another_attempt_is_worth_it_when_as_many_bytes_have_gone(self):
        door = Door(max_queue_bytes=1000)
        door.queue.admit(20, 1000)
        assert door.refusal(size=500) == ("queue_bytes", 100)
        assert door.refusal(size=9999) == ("queue_bytes", 200)


class TestSeconds:
    def test_up_to_the_limit(self):
        door = Door(max_queue_seconds=0.5)
        door.queue.admit(50, 0)
        assert door.refusal() is None
        door.queue.admit(50, 0)
        assert door.refusal() == ("queue_seconds", 500)

    def test_another_attempt_is_never_more_than_a_minute_away(self):
        door = Door(seconds=100.0)
        door.queue.admit(500, 0)
        assert door.refusal() == ("queue_seconds", 60000)

    def test_a_large_call_in_the_queue_counts_as_much_as_it_can_be_in_the_way(self):
        """It shares each matrix: who comes after it need not wait for its end."""
        door = Door(max_queue_seconds=0.5)
        door.queue.admit(900, 0)
        door.queue.large_rows = 900
        assert door.refusal() is None
        assert door.refusal(rows=11)[0] == "queue_seconds"

    def test_who_could_not_be_answered_before_the_deadline_is_refused(self):
        door = Door()
        door.queue.admit(40, 0)
        needed = DEADLINE_MARGIN * 0.5
        assert door.refusal(rows=10, left=needed + 0.01) is None
        reason, retry_ms = door.refusal(rows=10, left=needed - 0.1)
        assert (reason, retry_ms) == ("queue_seconds", pytest.approx(100, abs=1))

    def test_so_is_who_has_to_wait_for_a_matrix_under_way(self):
        door = Door()
        door.queue.admit(1, 0)
        assert door.refusal(left=1.0) is None
        door.admission.under_way_rows = 100
        assert door.refusal(left=1.0)[0] == "queue_seconds"


class TestOneByOne:
    """Calls that came together, but are not all let in."""

    def test_each_is_asked_about_as_if_alone(self):
        door = Door(max_queue_rows=20)
        door.queue.admit(15, 0)
        refusal = door.admission.refusals(now=100.0)
        answers = [refusal(rows, 10, math.inf) for rows in (6, 5, 6, 7)]
        assert [error and error.reason for error in answers] == [
            "queue_rows",
            None,
            "queue_rows",
            "queue_rows",
        ]
        assert answers[2] is answers[3] is answers[0]

    def test_deadlines_are_on_the_clock(self):
        door = Door()
        door.queue.admit(40, 0)
        refusal = door.admission.refusals(now=100.0)
        assert [refusal(10, 10, 100.0 + left) is None for left in (0.1, 9.0, 0.05, math.inf)] == [
            False,
            True,
            False,
            True,
        ]


class TestTogether:
    @pytest.mark.parametrize(
        ("rows", "size", "left", "fits"),
        [
            (10, 100, math.inf, True),
            (11, 100, math.inf, False),
            (10, 101, math.inf, False),
            (10, 100, 0.2, False),
            (10, 100, 0.4, True),
        ],
    )
    def test_they_are_let_in_if_the_last_of_them_would_be(self, rows, size, left, fits):
        door = Door(max_queue_rows=20, max_queue_bytes=200)
        door.queue.admit(10, 100)
        assert door.admission.fits(rows, size, left) is fits

    def test_the_last_of_them_waits_for_the_others(self):
        assert Door(max_queue_seconds=1.0).admission.fits(100, 0, math.inf)
        assert not Door(max_queue_seconds=1.0).admission.fits(101, 0, math.inf)


@pytest.mark.parametrize(
    ("limits", "left", "text"),
    [
        ({"max_queue_rows": 1}, math.inf, "too many rows are waiting already"),
        ({"max_queue_bytes": 1}, math.inf, "too many bytes are waiting already"),
        ({"max_queue_seconds": 1e-6}, math.inf, "the expected wait is too long"),
        ({}, 1e-6, "the expected wait is too long for the call's deadline"),
    ],
)
def test_the_refusal_says_which_limit_it_was_and_nothing_of_others(limits, left, text):
    door = Door(**limits)
    door.queue.admit(20, 20)
    error = door.admission.refusal(1, 1, left)
    assert error.kind is ErrorKind.RESOURCE_EXHAUSTED
    assert str(error) == text


class TestRest:
    @pytest.fixture
    def rest_of(self):
        """rest_of(20, seconds=0.02): the rest with so many rows in the queue, right after a refusal."""

        def rest(rows, seconds, *, large_rows=0, later=0.0, refused=True):
            door = Door(seconds=seconds, max_queue_bytes=100)
            door.queue.admit(rows, 10)
            door.queue.large_rows = large_rows
            answer = door.admission.refusals(now=7.0)(1, 1000 if refused else 1, math.inf)
            assert (answer is not None) is refused
            return door.admission.rest(7.0 + later)

        return rest

    def test_it_is_a_small_part_of_the_wait(self, rest_of):
        assert rest_of(20, 0.02) == pytest.approx(0.04 * REST_SHARE)

    def test_it_is_never_long(self, rest_of):
        assert rest_of(500, 0.1) == MOST_REST_SECONDS

    def test_one_that_would_save_nothing_is_not_taken(self, rest_of):
        assert rest_of(10, 0.001) == 0

    def test_large_calls_let_others_pass_and_do_not_count(self, rest_of):
        assert rest_of(500, 0.1, large_rows=500) == 0

    def test_where_none_was_refused_there_is_none_however_much_waits(self, rest_of):
        assert rest_of(500, 0.01, refused=False) == 0

    def test_nor_when_that_was_long_ago(self, rest_of):
        assert rest_of(500, 0.1, later=0.9) == MOST_REST_SECONDS
        assert rest_of(500, 0.1, later=1.1) == 0
