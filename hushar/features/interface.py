"""What a transformation is: a parameter model, the kinds that it accepts, and a columnar function.

Kinds, widths, defaults and error messages are the plan's business (CONTRACT.md 2); a transformation
only computes. It sees a column: the values of one feature over many rows, flat, all of one element
type. For each value it gives one *unit*: `unit` float32 numbers side by side.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hushar.texts import shown


class Element(enum.Enum):
    """The five element types of the wire; each comes as a scalar and as an array of it."""

    DOUBLE = "double"
    FLOAT = "float"
    INTEGER = "integer"
    LONG = "long"
    STRING = "string"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Numpy's type of a column's values: float64, float32, int32, int64, object (of str)."""
        return _DTYPES[self]

    @property
    def scalar_kind(self) -> str:
        """The field of DataType that holds one value, such as `float_value`."""
        return f"{self.value}_value"

    @property
    def array_kind(self) -> str:
        """The field of DataType that holds several, such as `float_array`."""
        return f"{self.value}_array"


_DTYPES: Mapping[Element, np.dtype[Any]] = {
    Element.DOUBLE: np.dtype(np.float64),
    Element.FLOAT: np.dtype(np.float32),
    Element.INTEGER: np.dtype(np.int32),
    Element.LONG: np.dtype(np.int64),
    Element.STRING: np.dtype(object),
}

NUMBERS = frozenset({Element.DOUBLE, Element.FLOAT, Element.INTEGER, Element.LONG})
STRINGS = frozenset({Element.STRING})
ANY = NUMBERS | STRINGS


@dataclass(frozen=True, slots=True)
class Column:
    """Values of one feature, over all rows of a batch that have it with this element type."""

    element: Element
    values: NDArray[Any]
    """Shape `(n,)`, dtype `element.dtype`; arrays of several values are laid end to end."""


@dataclass(frozen=True, slots=True)
class Transformed:
    """What a transformation makes of a column of n values."""

    values: NDArray[np.float32]
    """Shape `(n, unit)`, float32."""
    unknown: NDArray[np.bool_] | None = None
    """Shape `(n,)`: values outside the vocabulary; the feature's default takes their place (the j-th
    unit of `default_val` at position j of an array). None: there are none."""
    unparsable: NDArray[np.bool_] | None = None
    """Shape `(n,)`: values that cannot be read; their request fails with INVALID_ARGUMENT."""


def _within_float32(value: float) -> float:
    """Refuse a finite number that float32 cannot hold."""
    with np.errstate(over="ignore"):
        if np.isfinite(value) and not np.isfinite(np.float32(value)):
            raise ValueError(f"{value!r} does not fit a float32")
    return value


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise ValueError(f"must be finite, is {value}")
    return value


def _number(value: Any) -> Any:
    """A float64 made of an integer or a float; booleans and strings are no numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {shown(value)}")  # noqa: TRY004 - pydantic wants it
    try:
        return float(value)
    except OverflowError:
        raise ValueError("the number does not fit a float64") from None


Float64 = Annotated[float, BeforeValidator(_number)]
"""A number in a configuration: no string, no boolean. NaN and infinities pass, see FiniteFloat64."""
Float32 = Annotated[Float64, AfterValidator(_within_float32)]
"""A number that float32 can hold (it may still be rounded to it). NaN and infinities pass."""
FiniteFloat64 = Annotated[float, BeforeValidator(_number), AfterValidator(_finite)]
"""A Float64 that is no NaN and not infinite."""
FiniteFloat32 = Annotated[FiniteFloat64, AfterValidator(_within_float32)]
"""A Float32 that is no NaN and not infinite."""


class TransformationParameters(BaseModel):
    """What stands beside `type` in the vectorization configuration. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    default_val: list[Float32] = Field(min_length=1)
    """What an absent feature gives; its length is the feature's width in the matrix."""


class Transformation(ABC):
    """One configured transformation.

    A subclass sets `Parameters` (a TransformationParameters) and `accepts`, and computes in
    `transform`. An instance is shared by all batches and threads: no state after `__init__`.
    """

    Parameters: ClassVar[type[TransformationParameters]] = TransformationParameters
    accepts: ClassVar[frozenset[Element]]
    wants: ClassVar[str] = "a number"
    """What an unparsable value is not, for the message `string_value 'x' is not a number`."""

    def __init__(self, parameters: Any) -> None:
        """`parameters` is an instance of `Parameters`. Raise ValueError for what cannot work."""
        self.parameters = parameters

    @property
    def unit(self) -> int:
        """How many float32 numbers one value gives."""
        return 1

    @abstractmethod
    def transform(self, column: Column) -> Transformed:
        """All values of the column at once; plain numpy, no state, never raises for a value."""
