import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.features.numbers import parse_numbers

LARGEST = Fraction(2**24 - 1) * 2**104


def parsed(text):
    values, unparsable = parse_numbers([text])
    assert values.dtype == np.float32
    return None if unparsable[0] else float(values[0])


def nearest_float32(exact, *, negative):
    """The nearest float32 of an exact number by definition: half to even in units of the last place."""
    size, sign = abs(exact), -1.0 if negative else 1.0
    if size == 0:
        return sign * 0.0
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - 23, -149)
    rounded = round(size / unit) * unit
    return sign * (math.inf if rounded > LARGEST else float(rounded))


def bits(value):
    return struct.pack("<f", value)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "7",
        "-7",
        "+7",
        "007",
        "1.",
        ".5",
        "-.5",
        "1.5",
        "1e3",
        "1E3",
        "1.e-3",
        ".5e+3",
        "-0",
        "1e-0",
        "00.00e00",
    ],
)
def test_decimal_numbers_are_numbers(text):
    assert bits(parsed(text)) == bits(float(text))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ".", "+", "-", "e5", ".e5", "1e", "1e+", "1e5.0", "1e5e5", "--1", "+-1", "1.2.3",
        "0x10", "1,5", "1f", "nan", "NaN", "inf", "-inf", "Infinity", "1_000",
        " 1", "1 ", "1\n", "\t1", "1\x00", "١", "1²", "１", "−1",
    ],
)  # fmt: skip
def test_everything_else_is_none(text):
    assert parsed(text) is None


def test_which_are_none_is_told_by_position():
    values, unparsable = parse_numbers(["1", "x", "2.5", ""])

    assert unparsable.tolist() == [False, True, False, True]
    assert values[[0, 2]].tolist() == [1.0, 2.5]


def test_no_strings_give_no_numbers():
    values, unparsable = parse_numbers([])

    assert values.shape == unparsable.shape == (0,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e39", math.inf),
        ("-1e39", -math.inf),
        ("1e400", math.inf),
        ("-1e400", -math.inf),
        ("1e-60", 0.0),
        ("-1e-60", -0.0),
        ("-1e-400", -0.0),
        ("-0", -0.0),
        ("-0e999999999999999999999", -0.0),
        ("1e999999999999", math.inf),
        ("-1e-999999999999", -0.0),
        ("3.4028235677973366163753939545814e38", 2.0**128 - 2.0**104),
        ("340282356779733661637539395458142568447", 2.0**128 - 2.0**104),
        ("340282356779733661637539395458142568448", math.inf),
        ("-340282356779733661637539395458142568448", -math.inf),
    ],
)
def test_too_large_is_infinite_and_too_small_is_zero_of_the_same_sign(text, expected):
    assert bits(parsed(text)) == bits(expected)


def midpoints():
    """A decimal expansion, exact, of numbers midway between two neighbouring float32."""
    for low_bits in (
        0x00000000,
        0x00000001,
        0x007FFFFF,
        0x00800000,
        0x3F800000,
        0x3F800001,
        0x4B000001,
        0x7F7FFFFE,
    ):
        low, high = (struct.unpack("<f", struct.pack("<I", low_bits + step))[0] for step in (0, 1))
        yield low, high, (Fraction(low) + Fraction(high)) / 2


def expand(number):
    """The digits of a fraction whose denominator is a power of two; `digits` times 10^-places."""
    places = number.denominator.bit_length() - 1
    return int(number * 10**places), places


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(("low", "high", "middle"), list(midpoints()))
@pytest.mark.parametrize("far", [1, 30, 500, 20_000])
def test_a_digit_however_far_decides_a_tie(sign, low, high, middle, far):
    digits, places = expand(middle)
    even = low if struct.unpack("<I", bits(low))[0] % 2 == 0 else high
    factor = -1.0 if sign else 1.0

    below = f"{sign}{digits - 1}{'9' * far}e-{places + far}"
    exact = f"{sign}{digits}{'0' * far}e-{places + far}"
    above = f"{sign}{digits}{'0' * (far - 1)}1e-{places + far}"

    assert bits(parsed(below)) == bits(factor * low)
    assert bits(parsed(exact)) == bits(factor * even)
    assert bits(parsed(above)) == bits(factor * high)


def test_a_number_just_above_a_tie_is_not_rounded_twice():
    # float64 cannot tell it from 1 + 2^-24, which would round to 1.
    assert parsed("1.000000059604644775390625000000000000000000000000000001") == 1.0 + 2.0**-23
    assert float(np.float32(float("1.000000059604644775390625000000000000000000000000000001"))) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0." + "0" * 100_000 + "1e100000", 0.1),
        ("1" + "0" * 100_000 + "e-100000", 1.0),
        ("0" * 1_000_000 + "2", 2.0),
        ("1e" + "0" * 1_000_000 + "2", 100.0),
        ("1e-" + "0" * 10_000 + "2", 0.01),
        ("1e" + "9" * 1_000_000, math.inf),
        ("-1e-" + "9" * 1_000_000, -0.0),
        ("1" * 1_000_000, math.inf),
        ("1." + "3" * 1_000_000, 4 / 3),
        ("1.000000059604644775390625" + "0" * 1_000_000 + "1e0000", 1.0 + 2.0**-23),
        (
            "0." + "0" * 1_000_000 + "1000000059604644775390625000000001e" + "0" * 5000 + "1000001",
            1.0 + 2.0**-23,
        ),
    ],
)
def test_a_megabyte_of_digits_is_read_in_linear_time(text, expected):
    assert bits(parsed(text)) == bits(expected)


@pytest.mark.parametrize(
    "text", ["1" * 1_000_000 + "x", "1." + "1" * 1_000_000 + "x", "1e" + "1" * 1_000_000 + "x"]
)
def test_a_megabyte_of_digits_that_is_no_number_is_given_up_in_linear_time(text):
    assert parsed(text) is None


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(
    sign=st.sampled_from(["", "-", "+"]),
    digits=st.text("0123456789", min_size=1, max_size=60),
    point=st.integers(0, 60),
    exponent=st.integers(-110, 90),
)
def test_every_decimal_is_rounded_once(sign, digits, point, exponent):
    point = min(point, len(digits))
    text = f"{sign}{digits[:point]}.{digits[point:]}e{exponent}" if point else f"{sign}{digits}e{exponent}"
    shift = exponent - (len(digits) - point if point else 0)
    exact = int(digits) * Fraction(10) ** shift

    assert bits(parsed(text)) == bits(nearest_float32(exact, negative=sign == "-"))


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(low_bits=st.integers(0, 0x7F7FFFFE), offset=st.integers(-2, 2), zeros=st.integers(0, 200))
def test_every_neighbourhood_of_a_tie_is_rounded_once(low_bits, offset, zeros):
    low, high = (struct.unpack("<f", struct.pack("<I", low_bits + step))[0] for step in (0, 1))
    digits, places = expand((Fraction(low) + Fraction(high)) / 2)
    digits, places = digits * 10**zeros + offset, places + zeros
    exact = digits * Fraction(10) ** -places

    assert bits(parsed(f"{digits}e-{places}")) == bits(nearest_float32(exact, negative=False))
