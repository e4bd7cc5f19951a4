"""Vectorization once more, from CONTRACT.md 2 alone: one value at a time, exact fractions, no numpy.

Nothing here is fast and nothing is shared with hushar: where the two differ, one is wrong.
"""

import functools
import math
import re
import struct
from dataclasses import dataclass
from fractions import Fraction

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_STRINGS = {"string_value", "string_array"}
_NARROW = {"float_value", "float_array", "integer_value", "integer_array"}
_WIDE = {"double_value", "double_array", "long_value", "long_array"}
_ACCEPTED = {
    "identity": _STRINGS | _NARROW | _WIDE,
    "min_max_scaling32": _NARROW,
    "standardization32": _NARROW,
    "min_max_scaling64": _WIDE,
    "standardization64": _WIDE,
    "one_hot_encoding": _STRINGS,
    "embedding": _STRINGS,
}
KINDS = sorted(_STRINGS | _NARROW | _WIDE)
_LARGEST = Fraction((2**24 - 1) * 2**104)


@dataclass(frozen=True)
class Refused(Exception):
    """INVALID_ARGUMENT is due, for this feature's value of this kind."""

    feature: str
    kind: str


def float32(number):
    """The float (a Python one) that is `number` rounded once to binary32, ties to even."""
    if isinstance(number, float):
        if math.isnan(number) or math.isinf(number) or number == 0:
            return number
    elif number == 0:
        return 0.0
    exact = abs(Fraction(number))
    # The last place of a binary32 number in [2**e, 2**(e+1)) is 2**(e-23), and never below 2**-149.
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    if exact < Fraction(2) ** exponent:
        exponent -= 1
    place = Fraction(2) ** max(exponent - 23, -149)
    rounded = round(exact / place) * place  # Fraction's round() is half to even
    result = math.inf if rounded > _LARGEST else float(rounded)
    return -result if number < 0 else result


def _integer(digits):
    """As int(), which refuses more than some thousand digits."""
    return functools.reduce(lambda number, digit: number * 10 + int(digit), digits, 0)


def _exponent(text):
    """The exponent, or one that is as good where it has more digits than anything else here."""
    digits = text.lstrip("+-").lstrip("0")
    size = int(digits or "0") if len(digits) < 12 else 10**12
    return -size if text.startswith("-") else size


def number_in(text):
    """The binary32 of a decimal number, None if the text is none."""
    if not _NUMBER.fullmatch(text):
        return None
    mantissa, _, exponent = text.lower().partition("e")
    sign = -1.0 if mantissa.startswith("-") else 1.0
    digits = mantissa.lstrip("+-")
    whole, _, decimals = digits.partition(".")
    significant = (whole + decimals).lstrip("0")
    if not significant:
        return sign * 0.0
    # The number is 0.SIGNIFICANT times ten to `scale`; far outside of binary32 no fraction is needed.
    scale = _exponent(exponent) - len(decimals) + len(significant)
    if scale > 60:
        return sign * math.inf
    if scale < -60:
        return sign * 0.0
    return math.copysign(float32(_integer(significant) * Fraction(10) ** (scale - len(significant))), sign)


def _numeric(kind, parameters, value):
    """One binary32 of one number, each step of the formula rounded to the transformation's precision."""
    if kind == "identity":
        return float32(value)
    # A difference or quotient of two binary32 numbers that is made in binary64 and then rounded is
    # the correctly rounded one: 53 >= 2 * 24 + 2.
    rounded = float32 if kind.endswith("32") else float
    if kind.startswith("min_max"):
        offset = rounded(parameters["min"])
        divisor = rounded(rounded(parameters["max"]) - offset)
    else:
        offset, divisor = rounded(parameters["mean"]), rounded(parameters["std_dev"])
    difference = rounded(rounded(value) - offset)
    return float32(rounded(difference / divisor))


def _units(parameters):
    """The unit's width of a transformation over strings, and the vector of each known string."""
    if parameters["type"] == "one_hot_encoding":
        names = parameters["categories"]
        vectors = {name: [float(name == other) for other in names] for name in names}
    else:
        vectors = {
            name: [float32(float(x)) for x in vector] for name, vector in parameters["embeddings"].items()
        }
    return len(next(iter(vectors.values()))), vectors


def feature_vector(name, parameters, given):
    """The columns of one feature; `given` is (kind, value) or None for an absent one."""
    default = [float32(float(x)) for x in parameters["default_val"]]
    if given is None:
        return default
    kind, value = given
    transformation = parameters["type"]
    if kind not in _ACCEPTED[transformation]:
        raise Refused(name, kind)
    values = value if kind.endswith("_array") else [value]
    if transformation in ("one_hot_encoding", "embedding"):
        unit, vectors = _units(parameters)
        if len(values) * unit != len(default):
            raise Refused(name, kind)
        columns = []
        for j, text in enumerate(values):
            columns += vectors.get(text, default[j * unit : (j + 1) * unit])
        return columns
    if len(values) != len(default):
        raise Refused(name, kind)
    columns = []
    for item in values:
        made = number_in(item) if isinstance(item, str) else _numeric(transformation, parameters, item)
        if made is None:
            raise Refused(name, kind)
        columns.append(made)
    return columns


def row_vector(configuration, features):
    """The model's input for one row: {name: (kind, value)}; raises Refused."""
    columns = []
    for name in configuration["feature_order"]:
        columns += feature_vector(name, configuration["feature_transformations"][name], features.get(name))
    return columns


def width(configuration):
    return sum(
        len(configuration["feature_transformations"][name]["default_val"])
        for name in configuration["feature_order"]
    )


def bits(values):
    """Bit patterns of binary32 numbers; every NaN is the same one (CONTRACT.md 1)."""
    return ["nan" if math.isnan(value) else struct.pack("<f", value).hex() for value in values]
