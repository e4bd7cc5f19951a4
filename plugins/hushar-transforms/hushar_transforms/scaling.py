"""Number in, number out: `log1p` and `clip`."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import StrictBool, model_validator

from hushar.plugins import (
    NUMBERS,
    Column,
    FiniteFloat32,
    Transformation,
    TransformationParameters,
    Transformed,
)


class Log1pParameters(TransformationParameters):
    """Parameters of `log1p`."""

    signed: StrictBool = False
    """Mirror the function at zero, so that negative values have a result."""


class Log1p(Transformation):
    """`ln(1 + v)` in float64, then rounded to float32.

    -1 gives minus infinity and less than -1 NaN; infinity and NaN pass through. With `signed`:
    `sign(v) · ln(1 + |v|)`, defined everywhere, -0 stays -0.
    """

    Parameters = Log1pParameters
    accepts = NUMBERS
    parameters: Log1pParameters

    def transform(self, column: Column) -> Transformed:
        """Unit 1."""
        values: NDArray[np.float64] = column.values.astype(np.float64)
        if self.parameters.signed:
            logarithms = np.copysign(np.log1p(np.abs(values)), values)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                logarithms = np.log1p(values)
        return Transformed(logarithms.astype(np.float32)[:, None])


class ClipParameters(TransformationParameters):
    """Parameters of `clip`: at least one bound."""

    lower: FiniteFloat32 | None = None
    upper: FiniteFloat32 | None = None

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError("needs `lower`, `upper` or both")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(
                f"`lower` must be less than `upper`, but {self.lower} is not less than {self.upper}"
            )
        return self


class Clip(Transformation):
    """The value, `lower` where it is less than that, `upper` where it is more; rounded once to float32.

    Rounding keeps order, so that values and bounds may be rounded first and compared afterwards: the
    result is the same, also for integers that no float64 can hold. Infinities are clipped, NaN passes.
    """

    Parameters = ClipParameters
    accepts = NUMBERS
    parameters: ClipParameters

    def __init__(self, parameters: ClipParameters) -> None:
        super().__init__(parameters)
        lower = -np.inf if parameters.lower is None else parameters.lower
        upper = np.inf if parameters.upper is None else parameters.upper
        self._bounds = np.float32(lower), np.float32(upper)

    def transform(self, column: Column) -> Transformed:
        """Unit 1."""
        lower, upper = self._bounds
        with np.errstate(over="ignore"):
            values: NDArray[np.float32] = column.values.astype(np.float32)
        # Not np.clip: which of -0 and 0 it takes where a bound is 0 is not defined.
        values = np.where(values < lower, lower, values)
        values = np.where(values > upper, upper, values)
        return Transformed(values[:, None])
