"""`cyclical`: where in a period a number lies, as a point of the unit circle."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hushar.plugins import (
    NUMBERS,
    Column,
    Element,
    FiniteFloat64,
    Transformation,
    TransformationParameters,
    Transformed,
)

INTEGERS = frozenset({Element.INTEGER, Element.LONG})
INT64_END = 2.0**63


class CyclicalParameters(TransformationParameters):
    """Parameters of `cyclical`."""

    period: Annotated[FiniteFloat64, Field(gt=0)]
    """In the unit of the values: 24 for hours of a day, 86400 for seconds, 360 for degrees."""


class Cyclical(Transformation):
    """`sin(2π · r / period)`, `cos(2π · r / period)` with r = `fmod(v, period)`, in float64; two columns.

    The remainder is exact (and has the sign of v), so that a time stamp of today has the same result as
    the same hour in 1970: for integers and a whole period in integers, else in float64. Infinities and
    NaN give NaN.
    """

    Parameters = CyclicalParameters
    accepts = NUMBERS
    parameters: CyclicalParameters

    @property
    def unit(self) -> int:
        """Sine and cosine."""
        return 2

    def transform(self, column: Column) -> Transformed:
        """Unit 2."""
        angles = self._remainders(column) / self.parameters.period * (2 * np.pi)
        values = np.empty((len(angles), 2), np.float32)
        values[:, 0] = np.sin(angles)
        values[:, 1] = np.cos(angles)
        return Transformed(values)

    def _remainders(self, column: Column) -> NDArray[np.float64]:
        period = self.parameters.period
        if column.element in INTEGERS and period.is_integer() and period < INT64_END:
            return np.fmod(column.values.astype(np.int64), np.int64(period)).astype(np.float64)
        with np.errstate(invalid="ignore"):
            return np.fmod(column.values.astype(np.float64), period)
