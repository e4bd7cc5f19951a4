"""The transformation `square_root`."""

import numpy as np

from hushar.plugins import (
    NUMBERS,
    Column,
    Float64,
    Transformation,
    TransformationParameters,
    Transformed,
)


class SquareRootParameters(TransformationParameters):
    """What stands beside `type`; `default_val` comes from the base."""

    offset: Float64 = 0.0


class SquareRoot(Transformation):
    """The square root of `v + offset`, computed in float64; below zero the value counts as unknown."""

    Parameters = SquareRootParameters
    accepts = NUMBERS
    parameters: SquareRootParameters

    def transform(self, column: Column) -> Transformed:
        """One float32 for each value."""
        values = column.values.astype(np.float64) + self.parameters.offset
        unknown = values < 0
        roots = np.sqrt(np.where(unknown, 0.0, values))
        return Transformed(roots.astype(np.float32)[:, None], unknown=unknown)
