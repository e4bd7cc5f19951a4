"""log1p and clip."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.plugins import Element

NAN, INF = float("nan"), float("inf")
INT64 = st.integers(-(2**63), 2**63 - 1)
DOUBLES = st.floats(width=64)


def same(one: np.float32, other: np.float32) -> bool:
    """Bit for bit, any NaN being any other."""
    return bool(np.isnan(one) and np.isnan(other)) or one.tobytes() == other.tobytes()


class TestLog1p:
    @pytest.mark.parametrize(
        ("value", "result"),
        [
            (0.0, 0.0),
            (math.e - 1, 1.0),
            (1.0, math.log(2)),
            (-0.5, math.log(0.5)),
            (1e-20, 1e-20),
            (-1.0, -INF),
            (-1.5, NAN),
            (INF, INF),
            (-INF, NAN),
            (NAN, NAN),
        ],
    )
    def test_it_is_the_logarithm_of_one_plus_the_value(self, transformed, value, result):
        out = transformed("log1p", Element.DOUBLE, [value]).values
        assert out.shape == (1, 1)
        assert same(out[0, 0], np.float32(result))

    @pytest.mark.parametrize(
        ("value", "result"),
        [(-1.0, -math.log(2)), (1.0, math.log(2)), (-0.0, -0.0), (-INF, -INF), (INF, INF), (NAN, NAN)],
    )
    def test_signed_mirrors_it_at_zero(self, transformed, value, result):
        out = transformed("log1p", Element.DOUBLE, [value], signed=True).values
        assert same(out[0, 0], np.float32(result))

    def test_it_takes_the_smallest_integer(self, transformed):
        out = transformed("log1p", Element.LONG, [-(2**63)], signed=True).values
        assert out[0, 0] == np.float32(-math.log(2**63))

    @given(st.floats(-1e300, 1e300))
    def test_signed_is_odd(self, transformed, value: float):
        out = transformed("log1p", Element.DOUBLE, [value, -value], signed=True).values
        assert same(out[0, 0], -out[1, 0])

    def test_signed_is_a_boolean(self, refusal):
        assert "signed" in refusal("log1p", signed=1)


class TestClip:
    @pytest.mark.parametrize(
        ("value", "result"),
        [
            (-7.0, -1.0),
            (-1.0, -1.0),
            (0.1, 0.1),
            (2.0, 2.0),
            (2.5, 2.0),
            (INF, 2.0),
            (-INF, -1.0),
            (NAN, NAN),
        ],
    )
    def test_values_are_kept_between_the_bounds(self, transformed, value, result):
        out = transformed("clip", Element.DOUBLE, [value], lower=-1, upper=2).values
        assert same(out[0, 0], np.float32(result))

    def test_one_bound_is_enough(self, transformed):
        assert transformed("clip", Element.INTEGER, [-5, 5], lower=0).values.tolist() == [[0], [5]]
        assert transformed("clip", Element.INTEGER, [-5, 5], upper=0).values.tolist() == [[-5], [0]]

    def test_a_zero_keeps_its_sign_at_a_bound_of_zero(self, transformed):
        out = transformed("clip", Element.FLOAT, [-0.0, 0.0], lower=0).values
        assert np.signbit(out[:, 0]).tolist() == [True, False]

    @given(INT64, INT64, INT64)
    def test_integers_are_clipped_exactly_and_rounded_once(self, transformed, value, one, other):
        # Bounds come as JSON numbers, that is float64; a float64 that is an integer is exact.
        lower, upper = sorted((float(one), float(other)))
        if lower == upper:
            upper = lower + max(abs(lower), 1.0)
        clipped = max(int(lower), min(value, int(upper)))
        out = transformed("clip", Element.LONG, [value], lower=lower, upper=upper).values
        assert same(out[0, 0], nearest_float32(clipped))

    def test_bounds_must_make_sense(self, refusal):
        assert "needs `lower`, `upper` or both" in refusal("clip")
        assert "`lower` must be less than `upper`" in refusal("clip", lower=2, upper=2)
        assert "`lower` must be less than `upper`" in refusal("clip", lower=2, upper=1)
        assert "lower" in refusal("clip", lower=NAN)
        assert "upper" in refusal("clip", lower=0, upper=INF)
        assert "does not fit a float32" in refusal("clip", upper=1e39)
        assert "expected a number" in refusal("clip", upper="1")


def nearest_float32(value: int) -> np.float32:
    """The float32 nearest to an integer, ties to even: by exact arithmetic."""
    near = np.float32(float(value))
    candidates = [np.nextafter(near, np.float32(-INF)), near, np.nextafter(near, np.float32(INF))]

    def distance(candidate: np.float32) -> tuple[Fraction, int]:
        return abs(Fraction(float(candidate)) - value), int(candidate.view(np.uint32)) & 1

    return min(candidates, key=distance)
