"""Exact while few, within one per cent for any number, and never more than so much memory."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.sidecars import histogram as module
from hushar.sidecars.histogram import EXACT_VALUES, Histogram


def made(values) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


class TestFew:
    @given(st.lists(st.floats(0, 1e12), min_size=1, max_size=50))
    def test_every_value_is_kept_exactly_and_in_order(self, values):
        distribution = made(values).distribution("InferenceTime", "Microseconds")
        assert distribution.values.tolist() == sorted(values)
        assert distribution.counts is None
        assert (distribution.name, distribution.unit) == ("InferenceTime", "Microseconds")

    def test_no_values_are_no_distribution(self):
        assert made([]).distribution("x", "Count") is None

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
    def test_what_is_no_duration_is_left_out(self, value):
        assert made([value]).distribution("x", "Count") is None
        assert made([value, 2.0]).distribution("x", "Count").values.tolist() == [2.0]

    def test_asking_changes_nothing(self):
        histogram = made([1.0, 2.0])
        assert histogram.distribution("x", "Count").count == 2
        histogram.add(3.0)
        assert histogram.distribution("x", "Count").count == 3


class TestMany:
    @pytest.mark.parametrize("seed", range(3))
    def test_quantiles_are_within_one_per_cent_sum_and_extremes_exact(self, seed):
        random = Random(seed)
        values = [random.lognormvariate(4, 2) for _ in range(3 * EXACT_VALUES + 17)]
        distribution = made(values).distribution("x", "Microseconds")
        ordered = sorted(values)
        assert distribution.count == len(values)
        assert distribution.values[0] == ordered[0]
        assert distribution.maximum == ordered[-1]
        assert float(distribution.values @ distribution.counts) == pytest.approx(math.fsum(values), rel=1e-12)
        for q in (0.001, 0.1, 0.5, 0.9, 0.99, 0.999):
            assert distribution.quantile(q) == pytest.approx(
                ordered[math.ceil(q * len(values)) - 1], rel=0.01
            )

    def test_values_ascend_and_are_far_fewer_than_what_they_stand_for(self):
        random = Random(1)
        histogram = Histogram()
        for _ in range(200):
            for _ in range(1000):
                histogram.add(random.lognormvariate(0, 12))
        distribution = histogram.distribution("x", "Microseconds")
        assert np.all(np.diff(distribution.values) >= 0)
        assert distribution.count == 200_000
        assert np.all(distribution.counts >= 1)
        assert len(distribution.values) < 5000

    def test_memory_has_a_bound_whatever_the_values(self):
        histogram = made(10.0**exponent for exponent in range(-300, 301) for _ in range(EXACT_VALUES // 100))
        assert len(histogram.distribution("x", "Microseconds").values) < 5000

    @settings(max_examples=50)
    @given(st.lists(st.sampled_from([0.0, 1e-9, 1.0, 1.005, 1.01, 7.7, 1e20]), min_size=2, max_size=12))
    def test_any_mixture_keeps_count_order_and_extremes(self, some):
        """Folded at every value: the buckets' own arithmetic, with a handful of values."""
        histogram = made(some * (EXACT_VALUES // len(some) + 1))
        repeats = EXACT_VALUES // len(some) + 1
        distribution = histogram.distribution("x", "Count")
        assert distribution.count == len(some) * repeats
        assert np.all(np.diff(distribution.values) >= 0)
        assert distribution.values[0] == min(some)
        assert distribution.maximum == max(some)

    def test_zeros_stay_zeros(self):
        """The time of reading a message before vectorization is exactly 0 where one pass does both."""
        distribution = made([0.0] * (EXACT_VALUES + 1)).distribution("DecodeTime", "Microseconds")
        assert distribution.values.tolist() == [0.0]
        assert distribution.counts.tolist() == [EXACT_VALUES + 1]

    def test_one_value_many_times_is_that_value(self):
        distribution = made([123.456] * (EXACT_VALUES + 1)).distribution("x", "Count")
        assert set(distribution.values.tolist()) == {123.456}
        assert distribution.count == EXACT_VALUES + 1

    def test_values_go_on_being_added_after_an_answer(self):
        histogram = made(range(1, EXACT_VALUES + 2))
        histogram.distribution("x", "Count")
        histogram.add(1e6)
        distribution = histogram.distribution("x", "Count")
        assert distribution.count == EXACT_VALUES + 2
        assert distribution.maximum == 1e6


class TestTheSameSeveralTimes:
    """Calls that came together have one value between them."""

    def test_is_kept_with_how_often(self):
        histogram = Histogram()
        histogram.add(5.0, 100)
        histogram.add(1.0, 3)
        distribution = histogram.distribution("x", "Microseconds")
        assert (distribution.values.tolist(), distribution.counts.tolist()) == ([1.0, 5.0], [3, 100])
        assert (distribution.count, distribution.quantile(0.02), distribution.quantile(0.5)) == (
            103,
            1.0,
            5.0,
        )

    def test_is_as_good_as_each_for_itself(self):
        random = Random(5)
        pairs = [(random.lognormvariate(4, 2), random.randrange(1, 5)) for _ in range(EXACT_VALUES + 500)]
        together = Histogram()
        for value, times in pairs:
            together.add(value, times)
        each = made(value for value, times in pairs for _ in range(times))
        first, second = (one.distribution("x", "Microseconds") for one in (together, each))
        assert first.values.tolist() == pytest.approx(second.values.tolist(), rel=1e-12)
        assert first.counts.tolist() == second.counts.tolist()


def test_the_promise_of_one_per_cent_is_the_buckets():
    assert module.GROWTH - 1 <= 0.01 + 1e-15
