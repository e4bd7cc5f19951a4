import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.bench.recording import PERCENTILES, RELATIVE_ERROR, Histogram, Recorder, Window

SECONDS = st.floats(min_value=1e-9, max_value=4000)


def histogram(values):
    made = Histogram()
    made.add(np.array(values, np.float64))
    return made


@given(st.lists(SECONDS, min_size=1, max_size=300), st.sampled_from([*PERCENTILES.values(), 0.0, 0.25, 1.0]))
def test_percentiles_are_exact_within_the_documented_resolution(values, share):
    exact = sorted(values)[max(0, math.ceil(share * len(values) - 1e-9) - 1)]
    assert histogram(values).percentile(share) == pytest.approx(exact, rel=1.001 * RELATIVE_ERROR)


@given(st.lists(SECONDS, min_size=1, max_size=50), st.lists(SECONDS, max_size=50))
def test_least_greatest_mean_and_count_are_exact_however_values_come(first, second):
    made = histogram(first)
    made.add(np.array(second))
    values = first + second
    assert (made.count, made.least, made.greatest) == (len(values), min(values), max(values))
    assert made.mean == pytest.approx(np.mean(values))
    assert made.percentile(1.0) == max(values)


@given(st.lists(st.tuples(SECONDS, st.integers(0, 5)), max_size=50), st.lists(SECONDS, max_size=5))
def test_a_value_may_be_counted_many_times_at_once(pairs, before):
    values, counts = np.array([value for value, _ in pairs]), np.array([n for _, n in pairs], np.int64)
    made, expected = histogram(before), histogram([*before, *np.repeat(values, counts)])
    made.add(values, counts)
    assert (made.count, made.least, made.greatest) == (expected.count, expected.least, expected.greatest)
    assert made.mean == (None if expected.mean is None else pytest.approx(expected.mean))
    assert made._counts.tolist() == expected._counts.tolist()


def test_more_values_than_could_ever_be_held_are_counted():
    made = Histogram()
    made.add(np.array([1.0, 3.0]), np.array([10**14, 10**14]))
    assert (made.count, made.mean, made.percentile(1.0)) == (2 * 10**14, 2.0, 3.0)
    assert made.percentile(0.4) == pytest.approx(1.0, rel=RELATIVE_ERROR)


def test_many_values_of_a_skewed_distribution():
    values = np.random.default_rng(1).lognormal(-7, 1.5, 200_000)
    made = histogram(values)
    for share in PERCENTILES.values():
        exact = sorted(values)[round(share * 200_000) - 1]
        assert made.percentile(share) == pytest.approx(exact, rel=RELATIVE_ERROR)


def test_each_percentile_is_the_one_of_its_name():
    """Of 10,000 latencies those at the ranks 5000, 9000, 9900, 9990 and 9999 are like no other."""
    made = Histogram()
    made.add(np.arange(1.0, 12.0), np.array([4999, 1, 3999, 1, 899, 1, 89, 1, 8, 1, 1]))
    assert made.count == 10_000
    at = {name: made.percentile(share) for name, share in PERCENTILES.items()}
    known = {"p50": 2.0, "p90": 4.0, "p99": 6.0, "p99.9": 8.0, "p99.99": 10.0}
    assert at == pytest.approx(known, rel=RELATIVE_ERROR)


def test_nothing_has_no_percentile():
    made = Histogram()
    assert (made.percentile(0.5), made.mean, made.least, made.greatest) == (None, None, None, None)
    assert made.bars(10)[0].size == 0


def test_zero_and_what_lies_outside_the_range_is_counted_at_its_ends():
    made = histogram([0.0, -1.0, 1e-12, 1e9])
    assert made.count == 4
    assert (made.least, made.greatest) == (0.0, 1e9)
    assert made.percentile(0.5) < 2e-9
    assert made.percentile(1.0) == 1e9


def test_memory_does_not_grow():
    made = histogram([1.0])
    size = made._counts.nbytes
    made.add(np.geomspace(1e-9, 4000, 100_000))
    assert made._counts.nbytes == size == 42 * 256 * 8


def test_the_curve_and_the_bars_hold_all_values():
    values = np.random.default_rng(2).lognormal(-7, 1, 10_000)
    made = histogram(values)
    at, shares = made.curve()
    assert shares[-1] == 1.0
    assert (np.diff(at) > 0).all()
    edges, counts = made.bars(40)
    assert len(edges) == len(counts) + 1 == 41
    assert counts.sum() == 10_000


class TestRecorder:
    def test_only_what_is_meant_for_the_window_counts(self):
        recorder = Recorder(Window(10.0, 12.0), 1.0)
        recorder.ok(10.1, [9.9, 10.0])
        recorder.ok(13.0, [11.9, 12.0])
        recorder.failed(10.5, 9.0, "UNAVAILABLE", "early")
        recorder.failed(11.5, 11.0, "UNAVAILABLE", "first")
        recorder.failed(11.6, 11.0, "UNAVAILABLE", "second")
        recorder.waited(20.0, [5.0, 11.0])
        recorder.begun(11.25, [11.0, 30.0])
        recorder.settle()
        assert recorder.statuses == {"OK": 2, "UNAVAILABLE": 2}
        assert recorder.messages == {"UNAVAILABLE": "first"}
        assert (recorder.latency.count, recorder.latency.greatest) == (3, 9.0)
        assert (recorder.late.count, recorder.late.greatest) == (1, 0.25)

    def test_the_series_over_time_has_what_ended_in_the_window(self):
        recorder = Recorder(Window(10.0, 12.0), 1.0)
        recorder.ok(10.1, [9.9, 10.0])
        recorder.ok(11.5, [11.4])
        recorder.ok(13.0, [11.9])
        recorder.failed(11.5, 11.0, "INTERNAL")
        recorder.settle()
        assert recorder.ok_slots.tolist() == [2, 1]
        assert recorder.failed_slots.tolist() == [0, 1]

    def test_what_is_kept_back_is_bounded(self):
        recorder = Recorder(Window(0.0, 1e6), 1e4)
        for at in range(100):
            recorder.ok(at + 0.5, [float(at)] * 1000)
        assert len(recorder._tags) < 10_000
        recorder.settle()
        assert recorder.statuses == {"OK": 100_000}
        assert recorder.latency.percentile(0.5) == pytest.approx(0.5, rel=RELATIVE_ERROR)

    def test_a_window_may_be_closed_early(self):
        recorder = Recorder(Window(10.0, 20.0), 1.0)
        recorder.ok(11.0, [10.9])
        recorder.close(12.5)
        recorder.ok(12.6, [12.4, 12.55])
        recorder.settle()
        assert recorder.window == Window(10.0, 12.5)
        assert recorder.statuses == {"OK": 2}
        assert len(recorder.ok_slots) == 3
        recorder.close(9.0)
        assert recorder.window == Window(10.0, 10.0)
