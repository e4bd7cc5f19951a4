"""What a matrix is expected to take: by its size, from what is known of others where it must be."""

import pytest

from hushar.inference.pace import MOST_AT_ONCE, SLOWEST, WEIGHT, Pace


@pytest.fixture
def pace():
    return Pace(1024)


class TestExpected:
    def test_at_first_nothing_is_known(self, pace):
        assert pace.expected(1) is None
        assert pace.wait(1000) == 0.0

    def test_what_was_measured_for_the_size_is_expected(self, pace):
        pace.measured(100, 2e-4)
        assert pace.expected(100) == pace.expected(64) == 2e-4

    def test_a_moving_average_follows_slowly(self, pace):
        pace.measured(100, 1.0)
        pace.measured(100, 2.0)
        assert pace.expected(100) == pytest.approx(1.0 + WEIGHT)

    def test_one_that_was_interrupted_says_little(self, pace):
        pace.measured(100, 1.0)
        pace.measured(100, 1e6)
        assert pace.expected(100) == pytest.approx(1.0 + WEIGHT * (MOST_AT_ONCE - 1))
        for _ in range(100):
            pace.measured(100, 50.0)
        assert pace.expected(100) == pytest.approx(50.0, rel=0.01)

    def test_neither_does_the_first_of_a_size(self, pace):
        pace.rehearsed(1, 1e-5)
        pace.measured(1, 1.0)
        assert pace.expected(1) == pytest.approx(MOST_AT_ONCE * 1e-5)

    def test_larger_matrices_take_longer_in_proportion(self, pace):
        pace.measured(100, 1.0)
        assert pace.expected(1000) == pytest.approx(10.0)

    def test_smaller_ones_no_longer_than_the_smallest_that_is_known(self, pace):
        pace.measured(100, 1.0)
        assert pace.expected(1) == 1.0

    def test_a_matrix_without_rows_says_nothing(self, pace):
        pace.measured(0, 1.0)
        assert pace.expected(1) is None

    def test_what_a_matrix_costs_whatever_its_rows_is_not_charged_for_each_row(self, pace):
        for rows in (1, 2, 4, 8, 16, 32):
            pace.measured(rows, 8e-5)
        assert pace.expected(63) == 8e-5
        assert pace.expected(64) == pytest.approx(16e-5)


class TestRehearsal:
    def test_counts_until_something_is_measured(self, pace):
        pace.rehearsed(1, 1e-5)
        pace.rehearsed(512, 4e-5)
        assert pace.expected(1) == 1e-5
        assert pace.expected(1024) == pytest.approx(8e-5)

    def test_gives_the_proportion_for_sizes_that_were_not_measured(self, pace):
        pace.rehearsed(1, 1e-5)
        pace.rehearsed(512, 4e-5)
        pace.measured(1, 3e-5)
        assert pace.expected(512) == pytest.approx(12e-5)
        pace.measured(512, 5e-5)
        assert pace.expected(512) == 5e-5

    def test_expects_no_more_than_the_proportion_of_rows(self, pace):
        pace.rehearsed(1, 1e-5)
        pace.rehearsed(2, 1e-3)
        pace.measured(1, 1e-5)
        assert pace.expected(2) == pytest.approx(2e-5)


class TestWait:
    def test_is_matrix_after_matrix(self, pace):
        pace.measured(1024, 0.5)
        assert pace.wait(1024) == pytest.approx(0.5)
        assert pace.wait(10 * 1024) == pytest.approx(5.0)

    def test_of_fewer_rows_is_that_of_one_matrix(self, pace):
        pace.measured(1, 0.1)
        pace.measured(10, 0.2)
        assert pace.wait(10) == pytest.approx(0.2)
        assert pace.wait(0) == pace.wait(-1) == 0.0

    def test_is_shorter_where_several_are_under_way_at_once(self):
        pace = Pace(1024, concurrency=2)
        pace.measured(1024, 0.5)
        assert pace.wait(2048) == pytest.approx(0.5)

    def test_knows_that_the_loop_has_to_do_something_between_two_matrices(self, pace):
        pace.measured(1024, 0.5)
        for _ in range(300):
            pace.turned(0.5, 1.0)
        assert pace.wait(1024) == pytest.approx(1.0, rel=0.01)
        for _ in range(300):
            pace.turned(0.5, 0.5)
        assert pace.wait(1024) == pytest.approx(0.5, rel=0.01)

    def test_one_turn_that_took_for_ever_does_not_close_the_door(self, pace):
        pace.measured(1024, 0.5)
        pace.turned(0.5, 1e6)
        pace.turned(0.0, 1.0)
        assert pace.wait(1024) < 0.5 * SLOWEST
