"""cyclical."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.plugins import Element

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("hour", "sine", "cosine"), [(0, 0, 1), (6, 1, 0), (12, 0, -1), (18, -1, 0), (24, 0, 1), (-6, -1, 0)]
)
def test_it_is_the_place_on_the_unit_circle(transformed, hour, sine, cosine):
    for element in (Element.INTEGER, Element.LONG, Element.FLOAT, Element.DOUBLE):
        out = transformed("cyclical", element, [hour], period=24).values
        assert out.shape == (1, 2)
        np.testing.assert_allclose(out, [[sine, cosine]], atol=1e-7)


def test_a_time_stamp_in_nanoseconds_has_the_place_of_its_hour(transformed):
    """2**53 is less than such a time stamp: in float64 its last digits would be lost."""
    day, hour = 86_400 * 10**9, 3_600 * 10**9
    stamp = 20_000 * day + 7 * hour + 1
    today = transformed("cyclical", Element.LONG, [stamp], period=day).values
    then = transformed("cyclical", Element.LONG, [7 * hour + 1], period=day).values
    assert today.tobytes() == then.tobytes()


def test_the_smallest_and_largest_integers_are_reduced_exactly(transformed):
    out = transformed("cyclical", Element.LONG, [-(2**63), 2**63 - 1], period=10).values
    np.testing.assert_allclose(out[:, 0], np.sin([-2 * np.pi * 0.8, 2 * np.pi * 0.7]), rtol=1e-6)


@given(st.floats(-1e300, 1e300), st.floats(1e-3, 1e6))
def test_the_remainder_is_exact(transformed, value: float, period: float):
    remainder = abs(Fraction(value)) % Fraction(period)
    angle = math.copysign(2 * math.pi * float(remainder / Fraction(period)), value)
    out = transformed("cyclical", Element.DOUBLE, [value], period=period).values
    np.testing.assert_allclose(out, [[math.sin(angle), math.cos(angle)]], atol=2e-7)


def test_what_has_no_place_is_nan(transformed):
    out = transformed("cyclical", Element.DOUBLE, [NAN, INF, -INF], period=24).values
    assert np.isnan(out).all()


def test_the_period_is_a_positive_number(refusal):
    assert "period" in refusal("cyclical")
    for period in (0, -1, INF, NAN, "24", True):
        assert "period" in refusal("cyclical", period=period)
