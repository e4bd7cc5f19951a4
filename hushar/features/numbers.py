"""Decimal strings to float32, rounded once (CONTRACT.md 1, 2).

The way through float64 rounds twice: `float()` gives the nearest float64, and that is rounded again.
The second rounding goes wrong only where the float64 lies exactly midway between two neighbouring
float32 although the decimal number does not. Every such midpoint is a float64 itself, so for all
other numbers the decimal and its float64 lie on the same side of each midpoint, and the result is
right. The rare midpoints are decided by exact arithmetic.

Time is linear in the length of a string: `float()` is, and the exact comparison looks at a bounded
number of digits and one sticky digit for the rest.
"""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Possessive quantifiers: a long string that does not match is given up without backtracking.
_NUMBER: Final = re.compile(
    r"""
    [+-]?
    (?: (?P<whole>[0-9]++) (?: \. (?P<fraction>[0-9]*+) )?+ | \. (?P<only_fraction>[0-9]++) )
    (?: [eE] (?P<exponent>[+-]?[0-9]++) )?+
    """,
    re.VERBOSE,
)

_SIGNIFICANT: Final = 128
"""More digits than a midpoint has: it is k · 2^e with k < 2^25 and e >= -150, so 113 at most."""

_LOW_BITS: Final = np.uint64((1 << 29) - 1)
"""The bits of a float64's fraction that a normal float32 does not have."""
_MIDWAY: Final = np.uint64(1 << 28)
_SMALLEST_NORMAL: Final = 2.0**-126
_BEYOND: Final = 2.0**128
"""What would follow the largest float32; midway to it begins infinity."""


def parse_numbers(
    texts: Sequence[str] | NDArray[np.object_],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The nearest float32 of each of n strings, and which of them are no numbers.

    Both arrays have shape `(n,)`; what is no number is NaN in the first. Ties go to the even
    neighbour; too large is infinite, too small is zero, both with their sign.
    """
    is_number = _NUMBER.fullmatch
    nan = float("nan")
    doubles = np.fromiter((float(text) if is_number(text) else nan for text in texts), np.float64, len(texts))
    with np.errstate(over="ignore"):
        singles = doubles.astype(np.float32)
    for index in np.flatnonzero(_midway(doubles)).tolist():
        singles[index] = _nearest(texts[index], float(doubles[index]), singles[index])
    return singles, np.isnan(doubles)


def nearest_number(text: str) -> float:
    """The float32 nearest to the decimal number in `text`, which is known to be one."""
    double = float(text)
    with np.errstate(over="ignore"):
        single = np.float32(double)
    if _midway(np.array([double]))[0]:
        single = _nearest(text, double, single)
    return float(single)


def _midway(doubles: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numbers lie exactly between two neighbouring float32."""
    size = np.abs(doubles)
    normal = (doubles.view(np.uint64) & _LOW_BITS) == _MIDWAY
    # Below the normal numbers float32 is spaced 2^-149 apart; the product is exact.
    small = np.where(size < _SMALLEST_NORMAL, size, 0.0) * 2.0**150 % 2.0 == 1.0
    midway: NDArray[np.bool_] = np.where(size < _SMALLEST_NORMAL, small, normal & (size < _BEYOND))
    return midway


def _nearest(text: str, midpoint: float, even: np.float32) -> np.float32:
    """The nearest float32 of a number whose nearest float64 is a midpoint; `even` is its tie's winner."""
    side = _compare(text, abs(midpoint))
    if side == 0:
        return even
    even_is_above = abs(float(even)) > abs(midpoint)
    if even_is_above == (side > 0):
        return even
    towards = np.float32(0) if even_is_above else np.float32(np.copysign(np.inf, midpoint))
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(np.nextafter(even, towards))


def _compare(text: str, size: float) -> int:
    """-1, 0, 1: whether the absolute value of the decimal in `text` is below, equal to, above `size`.

    The decimal is nonzero and rounds to `size`, so that its exponent is small once the digits are
    cut: the powers below are of a bounded size.
    """
    match = _NUMBER.fullmatch(text)
    assert match is not None
    fraction = match["only_fraction"] or match["fraction"] or ""
    digits = ((match["whole"] or "") + fraction).lstrip("0")
    exponent = _integer(match["exponent"] or "0") - len(fraction)
    kept, rest = digits[:_SIGNIFICANT], digits[_SIGNIFICANT:]
    exponent += len(rest)
    if rest.strip("0"):
        kept, exponent = kept + "1", exponent - 1
    # Both sides as integers: decimal · 10^exponent against numerator / denominator.
    numerator, denominator = size.as_integer_ratio()
    decimal: int = int(kept) * denominator * 10 ** max(exponent, 0)
    exact: int = numerator * 10 ** max(-exponent, 0)
    return (decimal > exact) - (decimal < exact)


def _integer(exponent: str) -> int:
    """An exponent that may have any number of leading zeros; int() refuses very long strings."""
    sign = -1 if exponent.startswith("-") else 1
    return sign * int(exponent.lstrip("+-").lstrip("0") or "0")
