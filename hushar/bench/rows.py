"""Plausible random rows: values of the kinds and ranges that a vectorization is made for.

| transformation | values |
|---|---|
| min_max_scaling32, …64 | uniform from min to max |
| standardization32, …64 | normal with its mean and std_dev |
| one_hot_encoding, embedding | its categories, each as likely; UNKNOWN of them others |
| identity | normal around the default: a float |
| a plugin's | of the first kind that it accepts of float, double, integer, long, string |

A feature of several units gets an array of so many values. Of every feature ABSENT of the rows lack it.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hushar.features.interface import Element
from hushar.features.plan import Plan, PlannedFeature
from hushar.proto.structs_pb2 import InputRow

ABSENT: Final = 0.02
UNKNOWN: Final = 0.02
_PREFERRED: Final = (Element.FLOAT, Element.DOUBLE, Element.INTEGER, Element.LONG, Element.STRING)
_WORDS: Final = ("red", "green", "blue", "black", "white")
"""For a plugin's transformation of strings."""


def random_rows(plan: Plan, count: int, random: np.random.Generator) -> list[InputRow]:
    """So many rows; the same for the same generator."""
    digits = len(str(max(count - 1, 0)))
    rows = [InputRow(row_id=f"row-{index:0{digits}d}") for index in range(count)]
    for feature in plan.features:
        element = next(each for each in _PREFERRED if each in feature.transformation.accepts)
        present = random.random(count) >= ABSENT
        values = _values(feature, element, (count, feature.units), random).tolist()
        kind = element.scalar_kind if feature.units == 1 else element.array_kind
        for row, value, is_present in zip(rows, values, present, strict=True):
            if is_present and feature.units == 1:
                setattr(row.features[feature.name], kind, value[0])
            elif is_present:
                getattr(row.features[feature.name], kind).values.extend(value)
    return rows


def _values(
    feature: PlannedFeature, element: Element, shape: tuple[int, int], random: np.random.Generator
) -> NDArray[Any]:
    """Values of one feature, shape `(rows, units)`, of the element's dtype."""
    if element is Element.STRING:
        return _strings(feature, shape, random)
    parameters: Any = feature.transformation.parameters
    match feature.type:
        case "min_max_scaling32" | "min_max_scaling64":
            low, high = parameters.min, parameters.max
            # Not `uniform`, whose high - low may be infinite.
            share = random.random(shape)
            drawn = low * (1 - share) + high * share
            return _cast(np.clip(drawn, low, high), element)
        case "standardization32" | "standardization64":
            drawn = random.normal(parameters.mean, parameters.std_dev, shape)
        case "identity":
            drawn = feature.default + random.standard_normal(shape) * np.maximum(1, abs(feature.default) / 10)
        case _:
            drawn = abs(random.normal(0, 10, shape))
    limits = np.finfo(np.float32) if element is Element.FLOAT else np.finfo(np.float64)
    if element in (Element.INTEGER, Element.LONG):
        return _cast(np.clip(np.nan_to_num(drawn), -(2.0**31), 2.0**31 - 1), element)
    return _cast(np.clip(drawn, limits.min, limits.max), element)


def _cast(drawn: NDArray[Any], element: Element) -> NDArray[Any]:
    """The numbers as the wire has them."""
    cast: NDArray[Any] = drawn.astype(element.dtype)
    return cast


def _strings(feature: PlannedFeature, shape: tuple[int, int], random: np.random.Generator) -> NDArray[Any]:
    parameters: Any = feature.transformation.parameters
    match feature.type:
        case "one_hot_encoding":
            words: Sequence[str] = parameters.categories
        case "embedding":
            words = tuple(parameters.embeddings)
        case _:
            words = _WORDS
    known = np.array(words, object)[random.integers(len(words), size=shape)]
    unknown = random.random(shape) < UNKNOWN
    numbers = random.integers(1000, size=shape)
    for place in zip(*np.nonzero(unknown), strict=True):
        known[place] = f"unknown-{numbers[place]:03d}"
    return known
