"""What a distribution says of its values, listed one by one or with counts."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hushar.sinks.interface import Distribution

counted = st.dictionaries(st.integers(0, 1000).map(float), st.integers(1, 9), min_size=1, max_size=20)


@given(counted, st.floats(0, 1))
def test_counts_mean_the_value_so_many_times(values, q):
    ascending = sorted(values)
    short = Distribution("x", "Count", np.array(ascending), np.array([values[v] for v in ascending]))
    long = Distribution("x", "Count", np.repeat(ascending, [values[v] for v in ascending]))
    assert short.count == long.count == sum(values.values())
    assert math.isclose(short.mean, long.mean, abs_tol=1e-9)
    assert short.maximum == long.maximum == ascending[-1]
    assert short.quantile(q) == long.quantile(q)


def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed():
    distribution = Distribution("x", "Count", np.array([1.0, 2.0, 3.0, 4.0]))
    assert [distribution.quantile(q) for q in (0, 0.25, 0.5, 0.51, 0.99, 1)] == [1, 1, 2, 3, 4, 4]
