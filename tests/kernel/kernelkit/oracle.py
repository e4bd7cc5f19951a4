"""What CONTRACT.md 1 and 2 say of a message: its matrix, or its error; a value at a time.

Protobuf's upb (kernelkit.schema) decides what decodes and what it holds. The formulas are computed with
numpy's scalars, numbers in strings with fractions. Slow, and nothing in it is hushar's.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from kernelkit.schema import decoded

UNDECODABLE = "request is not a valid hushar.InferenceRequest"

_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]*))?|\.(?P<only>[0-9]+))(?:[eE](?P<exponent>[+-]?[0-9]+))?"
)
_SCALARS = {"double_value", "float_value", "integer_value", "long_value", "string_value"}
_STRINGS = {"string_value", "string_array"}
_NARROW = {"float_value", "float_array", "integer_value", "integer_array"}
_WIDE = {"double_value", "double_array", "long_value", "long_array"}
_ACCEPTED = {
    "identity": _STRINGS | _NARROW | _WIDE,
    "plugin": _STRINGS | _NARROW | _WIDE,
    "min_max_scaling32": _NARROW,
    "standardization32": _NARROW,
    "min_max_scaling64": _WIDE,
    "standardization64": _WIDE,
    "one_hot_encoding": _STRINGS,
    "embedding": _STRINGS,
}
_ELEMENTS = ("double", "float", "integer", "long", "string")


@dataclass(frozen=True)
class Refused(Exception):
    """INVALID_ARGUMENT: which feature, which row, which kind."""

    feature: str
    kind: str
    row: int = -1
    row_id: str = ""

    def told_in(self, text):
        """Whether an error's text says what CONTRACT.md 1 asks for."""
        place = f"'{self.row_id}' ({self.row})" if self.row_id else str(self.row)
        plain = (self.feature + self.row_id).isprintable() and "\\" not in self.feature + self.row_id
        if plain and len(self.row_id) <= 64:
            start = f"feature '{self.feature}' of row {place}: "
            return text.startswith(start) and self.kind in text[len(start) :]
        index = f"({self.row}): " if self.row_id else f" {self.row}: "
        return text.startswith("feature '") and index in text and self.kind in text.partition(index)[2]


def nearest32(exact, negative):
    """The float32 nearest to the fraction `exact` >= 0, ties to even, with that sign."""
    if exact == 0:
        return np.float32(-0.0 if negative else 0.0)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    if exact < Fraction(2) ** exponent:
        exponent -= 1
    place = max(exponent - 23, -149)
    size = round(exact / Fraction(2) ** place) * Fraction(2) ** place
    number = np.float32(np.inf) if size >= 2**128 else np.float32(float(size))
    return -number if negative else number


def _integer(digits):
    """int() of any number of digits, which it refuses itself."""
    number = 0
    for at in range(0, len(digits), 4000):
        piece = digits[at : at + 4000]
        number = number * 10 ** len(piece) + int(piece)
    return number


def parsed(text):
    """The float32 of a decimal number; None: it is none."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    negative = match["sign"] == "-"
    part = match["only"] or match["part"] or ""
    digits = ((match["whole"] or "") + part).lstrip("0")
    if not digits:
        return nearest32(Fraction(0), negative)
    written = (match["exponent"] or "0").lstrip("+")
    figures = written.lstrip("-").lstrip("0") or "0"
    # An exponent that is longer than any text here is as good as one of twenty digits.
    exponent = int(figures) if len(figures) < 20 else 10**20
    exponent = -exponent if written.startswith("-") else exponent
    # The number is 0.DIGITS times ten to `scale`: below 1e-60 it is zero, above 1e60 infinite.
    scale = exponent - len(part) + len(digits)
    if not -60 < scale < 60:
        limit = np.float32(np.inf if scale > 0 else 0.0)
        return -limit if negative else limit
    return nearest32(_integer(digits) * Fraction(10) ** (scale - len(digits)), negative)


def _identity(element, value):
    if element == "string":
        return parsed(value)
    if element in ("integer", "long"):
        return nearest32(Fraction(abs(value)), value < 0)
    return np.float32(value)


def _linear(parameters, value):
    kind = parameters["type"]
    number = np.float32 if kind.endswith("32") else np.float64
    if kind.startswith("min_max"):
        offset, scale = number(parameters["min"]), number(parameters["max"]) - number(parameters["min"])
    else:
        offset, scale = number(parameters["mean"]), number(parameters["std_dev"])
    return np.float32((number(value) - offset) / scale)


def _unit(parameters, element, value, default):
    """The columns of one value; None: it cannot be read. `default` is what an unknown one gives."""
    match parameters["type"]:
        case "identity":
            made = _identity(element, value)
            return None if made is None else [made]
        case "one_hot_encoding":
            categories = parameters["categories"]
            return [np.float32(value == each) for each in categories] if value in categories else default
        case "embedding":
            vector = parameters["embeddings"].get(value)
            return default if vector is None else [np.float32(number) for number in vector]
        case "plugin":
            size = float(len(value) if element == "string" else value)
            if size == 7:
                return None
            bias = np.float64(parameters["bias"])
            made = [np.float32(np.float64(size) + bias), np.float32(_ELEMENTS.index(element))]
            return default if size > 10 else made
        case _:
            return [_linear(parameters, value)]


def _unit_width(parameters):
    match parameters["type"]:
        case "one_hot_encoding":
            return len(parameters["categories"])
        case "embedding":
            return len(next(iter(parameters["embeddings"].values())))
        case "plugin":
            return 2
        case _:
            return 1


def takes(parameters, kind, length):
    """Whether a feature takes values of a kind, so many of them."""
    fits = length * _unit_width(parameters) == len(parameters["default_val"])
    return kind in _ACCEPTED[parameters["type"]] and fits


def feature(name, parameters, value):
    """The columns of a feature; `value` is its DataType or None."""
    default = [np.float32(number) for number in parameters["default_val"]]
    kind = value.WhichOneof("data_type") if value is not None else None
    if kind is None:
        return default
    content = getattr(value, kind)
    contents = [content] if kind in _SCALARS else list(content.values)
    if not takes(parameters, kind, len(contents)):
        raise Refused(name, kind)
    width = _unit_width(parameters)
    columns = []
    for position, each in enumerate(contents):
        made = _unit(
            parameters, kind.partition("_")[0], each, default[position * width : (position + 1) * width]
        )
        if made is None:
            raise Refused(name, kind)
        columns += made
    return columns


def expected(configuration, message):
    """A float32 matrix (rows, width); or UNDECODABLE; or a Refused."""
    request = decoded(message)
    if request is None:
        return UNDECODABLE
    transformations, order = configuration["feature_transformations"], configuration["feature_order"]
    width = sum(len(transformations[name]["default_val"]) for name in order)
    matrix = np.empty((len(request.inputs), width), np.float32)
    with np.errstate(all="ignore"):
        for index, row in enumerate(request.inputs):
            given = dict(row.features.items())
            columns = []
            try:
                for name in order:
                    columns += feature(name, transformations[name], given.get(name))
            except Refused as refused:
                return Refused(refused.feature, refused.kind, index, row.row_id)
            matrix[index] = columns
    return matrix
