"""Since the start, in fixed buckets: against a plain count of the same values."""

import math
import random

import numpy as np
import pytest

from hushar.records import BatchMetrics, Timings
from hushar.sidecars.aggregate import FOLDED_AT_ONCE, Aggregate
from hushar.sidecars.durations import Buckets, Durations, FixedBuckets

BOUNDS = (0.0001, 0.001, 0.01)
TIMINGS = Timings(
    decode_us=1.0, vectorization_us=20.0, to_tensor_us=3.0, inference_us=400.0, encode_us=5000.0
)


def test_a_value_is_in_the_first_bucket_whose_bound_it_does_not_exceed():
    buckets = FixedBuckets(BOUNDS)
    buckets.add(np.array([0.0, 100.0, 100.1, 1000.0, 10_000.0, 10_000.1, 9e9]))
    read = buckets.read()
    assert (read.bounds, read.counts) == (BOUNDS, (2, 2, 1, 2))
    assert read.seconds == pytest.approx((0 + 100 + 100.1 + 1000 + 10_000 + 10_000.1 + 9e9) / 1e6)


def test_any_values_are_counted_as_one_by_one():
    source = random.Random(7)
    values = [10 ** source.uniform(0, 6) for _ in range(1000)]
    times = [source.randrange(1, 5) for _ in values]
    buckets = FixedBuckets(BOUNDS)
    for start in range(0, 1000, 300):
        buckets.add(np.array(values[start : start + 300]), times[start : start + 300])
    expected = [0] * 4
    for value, count in zip(values, times, strict=True):
        expected[sum(value / 1e6 > bound for bound in BOUNDS)] += count
    assert buckets.read().counts == tuple(expected)
    assert buckets.read().count == sum(times)
    total = math.fsum(value * count for value, count in zip(values, times, strict=True))
    assert buckets.read().seconds == pytest.approx(total / 1e6)


def test_what_is_no_duration_does_not_spoil_the_sum():
    buckets = FixedBuckets(BOUNDS)
    buckets.add(np.array([math.nan, math.inf, -1.0, 50.0]))
    assert (buckets.read().counts, buckets.read().seconds) == ((4, 0, 0, 0), pytest.approx(5e-5))


def test_a_reading_does_not_change():
    buckets = FixedBuckets(BOUNDS)
    before = buckets.read()
    buckets.add(np.array([500.0]))
    assert (before.count, buckets.read().count) == (0, 1)
    assert buckets.read().since(before) == Buckets(BOUNDS, (0, 1, 0, 0), pytest.approx(5e-4))


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((10, 0, 0, 0), 0.5, 0.00005),
        ((10, 0, 0, 0), 1.0, 0.0001),
        ((0, 10, 10, 0), 0.5, 0.001),
        ((0, 10, 10, 0), 0.75, 0.0055),
        ((5, 0, 0, 5), 0.99, 0.01),
        ((0, 0, 0, 5), 0.5, 0.01),
    ],
)
def test_percentiles_are_read_off_the_buckets(counts, share, seconds):
    found = Buckets(BOUNDS, counts, 1.0).percentile(share)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_one_value_a_matrix_and_stage_and_one_a_call():
    durations = Durations(BOUNDS)
    aggregate = Aggregate(durations)
    aggregate.add(BatchMetrics(7, TIMINGS, [(150.0, 1), (20.0, 3)], [(900.0, 4)]))
    aggregate.add(BatchMetrics(1, TIMINGS))  # a slice of a large call
    aggregate.add(BatchMetrics(0, None, [(5.0, 1)], failed={"INVALID_ARGUMENT": 1}))
    aggregate.fold()
    assert durations.answered() == Buckets(BOUNDS, (0, 4, 0, 0), pytest.approx(4 * 900e-6))
    stages = durations.stages()
    assert list(stages) == ["decode", "queue", "vectorize", "run", "encode"]
    assert {stage: buckets.counts for stage, buckets in stages.items()} == {
        "decode": (2, 0, 0, 0),
        "queue": (1, 1, 0, 0),
        "vectorize": (2, 0, 0, 0),
        "run": (0, 2, 0, 0),
        "encode": (0, 0, 2, 0),
    }
    assert stages["queue"].seconds == pytest.approx(150e-6)


def test_they_grow_from_interval_to_interval():
    durations = Durations(BOUNDS)
    for _ in range(3):
        aggregate = Aggregate(durations)
        for _ in range(FOLDED_AT_ONCE + 1):
            aggregate.add(BatchMetrics(1, TIMINGS, [(1.0, 1)], [(1.0, 1)]))
        aggregate.distributions()
        aggregate.fold()
    assert durations.answered().count == durations.stages()["run"].count == 3 * (FOLDED_AT_ONCE + 1)
