"""bucketize, against a count by exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.plugins import Element

NAN, INF = float("nan"), float("inf")
FINITE = st.floats(allow_nan=False, allow_infinity=False)
BOUNDARIES = st.lists(
    FINITE | st.integers(-(2**63), 2**63).map(float), min_size=1, max_size=6, unique=True
).map(sorted)


def numbers(result) -> list[int]:
    return [int(number) for number in result.values[:, 0]]


@pytest.mark.parametrize(
    ("right", "buckets"), [(False, [0, 1, 1, 2, 2, 3, 3, 0, 3]), (True, [0, 0, 1, 1, 2, 2, 3, 0, 3])]
)
def test_a_value_on_a_boundary_belongs_to_the_side_that_right_says(transformed, right, buckets):
    values = [-1.0, 0.0, 0.5, 1.0, 5.0, 10.0, 10.5, -INF, INF]
    result = transformed("bucketize", Element.DOUBLE, values, boundaries=[0, 1, 10], right=right)
    assert numbers(result) == buckets
    assert result.unknown is None


def test_one_hot_writes_a_one_in_the_place_of_the_bucket(transformed):
    result = transformed("bucketize", Element.INTEGER, [-5, 3, 7], boundaries=[0, 5], output="one_hot")
    assert result.values.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("output", ["ordinal", "one_hot"])
def test_nan_is_in_no_bucket_so_the_default_takes_its_place(transformed, output):
    result = transformed("bucketize", Element.FLOAT, [1.0, NAN], boundaries=[0], output=output)
    assert result.unknown.tolist() == [False, True]


def test_a_float_that_is_written_like_the_boundary_is_on_it(transformed):
    """0.7 as a float32 is less than 0.7 as a float64."""
    assert float(np.float32(0.7)) < 0.7
    assert numbers(transformed("bucketize", Element.FLOAT, [0.7], boundaries=[0.7])) == [1]
    assert numbers(transformed("bucketize", Element.DOUBLE, [float(np.float32(0.7))], boundaries=[0.7])) == [
        0
    ]


@given(BOUNDARIES, st.floats(allow_nan=False), st.booleans())
def test_doubles_are_compared_as_they_are(transformed, boundaries, value, right):
    expected = sum(b < value if right else b <= value for b in boundaries)
    result = transformed("bucketize", Element.DOUBLE, [value], boundaries=boundaries, right=right)
    assert numbers(result) == [expected]


@given(BOUNDARIES, st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_integers_are_compared_exactly(transformed, boundaries, value, right):
    expected = sum(Fraction(b) < value if right else Fraction(b) <= value for b in boundaries)
    result = transformed("bucketize", Element.LONG, [value], boundaries=boundaries, right=right)
    assert numbers(result) == [expected]


def test_integers_beyond_the_exact_range_of_float64_are_compared_exactly(transformed):
    result = transformed("bucketize", Element.LONG, [2**53, 2**53 + 1], boundaries=[2**53], right=True)
    assert numbers(result) == [0, 1]


def test_parameters_that_make_no_sense_are_refused(refusal):
    assert "boundaries" in refusal("bucketize")
    assert "boundaries" in refusal("bucketize", boundaries=[])
    assert "must ascend strictly, but 1.0 comes after 2.0" in refusal("bucketize", boundaries=[0, 2, 1])
    assert "must ascend strictly, but 1.0 comes after 1.0" in refusal("bucketize", boundaries=[1, 1])
    assert "boundaries.1" in refusal("bucketize", boundaries=[0, INF])
    assert "expected a number" in refusal("bucketize", boundaries=["0"])
    assert "'ordinal' or 'one_hot'" in refusal("bucketize", boundaries=[0], output="onehot")
    assert "right" in refusal("bucketize", boundaries=[0], right="yes")
