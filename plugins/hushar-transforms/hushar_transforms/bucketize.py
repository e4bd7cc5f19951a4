"""`bucketize`: which of the intervals between given boundaries a number lies in."""

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool, field_validator

from hushar.plugins import (
    NUMBERS,
    Column,
    Element,
    FiniteFloat64,
    Transformation,
    TransformationParameters,
    Transformed,
)

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class BucketizeParameters(TransformationParameters):
    """Parameters of `bucketize`."""

    boundaries: Annotated[list[FiniteFloat64], Field(min_length=1)]
    """Strictly ascending; n boundaries make n + 1 buckets."""
    output: Literal["ordinal", "one_hot"] = "ordinal"
    right: StrictBool = False
    """Whether a bucket holds its right boundary, instead of its left one."""

    @field_validator("boundaries")
    @classmethod
    def _ascending(cls, boundaries: list[float]) -> list[float]:
        for before, after in pairwise(boundaries):
            if not before < after:
                raise ValueError(f"must ascend strictly, but {after} comes after {before}")
        return boundaries


class Bucketize(Transformation):
    """The number of the bucket, counted from 0; or (`one_hot`) a 1 among zeros at this place.

    With boundaries b(1) < … < b(n), bucket k is `b(k) <= v < b(k+1)`, with `right` `b(k) < v <= b(k+1)`,
    where b(0) is minus infinity and b(n+1) infinity, both inside. So the number is how many boundaries
    are `<= v` (with `right`: `< v`), as in `numpy.digitize`. NaN lies in no bucket: it is unknown, and
    the default takes its place.

    A float (float32) is compared with the boundaries rounded to float32, for 0.7 sent as a float is
    meant to be the boundary 0.7; a double with the boundaries as they are; integers exactly.
    """

    Parameters = BucketizeParameters
    accepts = NUMBERS
    parameters: BucketizeParameters

    def __init__(self, parameters: BucketizeParameters) -> None:
        super().__init__(parameters)
        boundaries = np.array(parameters.boundaries, np.float64)
        with np.errstate(over="ignore"):
            self._float32 = boundaries.astype(np.float32)
        self._float64 = boundaries
        self._int64 = _integer_boundaries(parameters.boundaries, right=parameters.right)
        self._side: Literal["left", "right"] = "left" if parameters.right else "right"

    @property
    def unit(self) -> int:
        """1, or as many as there are buckets."""
        return len(self._float64) + 1 if self.parameters.output == "one_hot" else 1

    def transform(self, column: Column) -> Transformed:
        """Unit 1, or as many as there are buckets."""
        numbers = self._numbers(column)
        missing = np.isnan(column.values)
        unknown = missing if missing.any() else None
        if self.parameters.output == "ordinal":
            return Transformed(numbers.astype(np.float32)[:, None], unknown=unknown)
        values = np.zeros((len(numbers), self.unit), np.float32)
        values[np.arange(len(numbers)), numbers] = 1
        return Transformed(values, unknown=unknown)

    def _numbers(self, column: Column) -> NDArray[np.intp]:
        """The bucket of each value; NaN is in the last one."""
        if column.element is Element.FLOAT:
            return np.searchsorted(self._float32, column.values, side=self._side)
        if column.element is Element.DOUBLE:
            return np.searchsorted(self._float64, column.values, side=self._side)
        return np.searchsorted(self._int64, column.values.astype(np.int64), side="right")


def _integer_boundaries(boundaries: list[float], *, right: bool) -> NDArray[Any]:
    """Boundaries b' so that for an int64 v, `b' <= v` just where `b <= v` (with `right`: `b < v`).

    numpy compares int64 with float64 by rounding the integer, which is wrong beyond 2**53. Those that
    no int64 reaches are left out, which is at the end.
    """
    exact = (math.floor(b) + 1 if right else math.ceil(b) for b in boundaries)
    return np.array([max(b, INT64_MIN) for b in exact if b <= INT64_MAX], np.int64)
