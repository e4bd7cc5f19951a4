"""The seven built-in transformations (CONTRACT.md 2; docs/vectorization.md).

Results are compared bit for bit with the formulas of the contract: the `…32` ones compute in float32
with parameters rounded to float32 first, the `…64` ones in float64 and narrow the result. Infinities
and NaNs are results like any other, so numpy's warnings about them are off.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from hushar.features.interface import (
    ANY,
    STRINGS,
    Column,
    Element,
    FiniteFloat32,
    FiniteFloat64,
    Float32,
    Transformation,
    TransformationParameters,
    Transformed,
)
from hushar.features.numbers import parse_numbers


class Identity(Transformation):
    """The values as float32, each rounded once; a string is parsed as a decimal number."""

    accepts: ClassVar[frozenset[Element]] = ANY

    def transform(self, column: Column) -> Transformed:
        """Every kind of value; strings that are no decimal numbers are unparsable."""
        if column.element is Element.STRING:
            values, unparsable = parse_numbers(column.values)
            return Transformed(values.reshape(-1, 1), unparsable=unparsable)
        with np.errstate(all="ignore"):
            return Transformed(column.values.astype(np.float32).reshape(-1, 1))


class _Linear(Transformation):
    """`(v - offset) / scale`, computed in one floating-point type and given as float32."""

    dtype: ClassVar[type[np.float32 | np.float64]]

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        with np.errstate(all="ignore"):
            self.offset, self.scale = self.offset_and_scale()

    @abstractmethod
    def offset_and_scale(self) -> tuple[np.floating[Any], np.floating[Any]]:
        """Two scalars of type `dtype`."""

    def transform(self, column: Column) -> Transformed:
        """Numbers only; integers are converted to `dtype` before the arithmetic."""
        with np.errstate(all="ignore"):
            values: NDArray[Any] = column.values.astype(self.dtype)
            scaled = (values - self.offset) / self.scale
            return Transformed(scaled.astype(np.float32, copy=False).reshape(-1, 1))


class _Single(_Linear):
    dtype: ClassVar[type[np.float32 | np.float64]] = np.float32
    accepts: ClassVar[frozenset[Element]] = frozenset({Element.FLOAT, Element.INTEGER})


class _Double(_Linear):
    dtype: ClassVar[type[np.float32 | np.float64]] = np.float64
    accepts: ClassVar[frozenset[Element]] = frozenset({Element.DOUBLE, Element.LONG})


def _min_below_max(low: float | None, high: float, dtype: str) -> float:
    """`low` is None if it is itself invalid; `dtype` says what both were rounded to."""
    if low is not None and low >= high:
        raise ValueError(f"min must be below max; as {dtype}, min is {low!r} and max is {high!r}")
    return high


def _to_float32(value: float) -> float:
    """Parameters of the `…32` transformations are rounded before anything is computed or compared."""
    return float(np.float32(value))


Rounded32 = Annotated[FiniteFloat32, AfterValidator(_to_float32)]
"""A finite number, rounded to float32."""


class MinMax32Parameters(TransformationParameters):
    """`min` and `max` are float32; two numbers that round to the same float32 are not apart."""

    min: Rounded32
    max: Rounded32

    @field_validator("max")
    @classmethod
    def _order(cls, high: float, info: ValidationInfo) -> float:
        return _min_below_max(info.data.get("min"), high, "float32")


class MinMax64Parameters(TransformationParameters):
    """`min` and `max` are float64."""

    min: FiniteFloat64
    max: FiniteFloat64

    @field_validator("max")
    @classmethod
    def _order(cls, high: float, info: ValidationInfo) -> float:
        return _min_below_max(info.data.get("min"), high, "float64")


def _positive32(value: float) -> float:
    """Looked at after rounding: what rounds to 0 is not above it."""
    if value <= 0:
        raise ValueError(f"must be above 0; as float32, it is {value!r}")
    return value


def _positive64(value: float) -> float:
    if value <= 0:
        raise ValueError(f"must be above 0, is {value!r}")
    return value


class Standardization32Parameters(TransformationParameters):
    """`mean` and `std_dev` are float32; a `std_dev` that rounds to 0 is not above it."""

    mean: Rounded32
    std_dev: Annotated[Rounded32, AfterValidator(_positive32)]


class Standardization64Parameters(TransformationParameters):
    """`mean` and `std_dev` are float64."""

    mean: FiniteFloat64
    std_dev: Annotated[FiniteFloat64, AfterValidator(_positive64)]


class MinMaxScaling32(_Single):
    """`(v - min) / (max - min)` in float32, of float and int32 values."""

    Parameters = MinMax32Parameters

    def offset_and_scale(self) -> tuple[np.floating[Any], np.floating[Any]]:
        """Min, and max - min."""
        low, high = np.float32(self.parameters.min), np.float32(self.parameters.max)
        return low, high - low


class MinMaxScaling64(_Double):
    """`(v - min) / (max - min)` in float64, then narrowed to float32, of double and int64 values."""

    Parameters = MinMax64Parameters

    def offset_and_scale(self) -> tuple[np.floating[Any], np.floating[Any]]:
        """Min, and max - min."""
        low, high = np.float64(self.parameters.min), np.float64(self.parameters.max)
        return low, high - low


class Standardization32(_Single):
    """`(v - mean) / std_dev` in float32, of float and int32 values."""

    Parameters = Standardization32Parameters

    def offset_and_scale(self) -> tuple[np.floating[Any], np.floating[Any]]:
        """Mean and standard deviation."""
        return np.float32(self.parameters.mean), np.float32(self.parameters.std_dev)


class Standardization64(_Double):
    """`(v - mean) / std_dev` in float64, then narrowed to float32, of double and int64 values."""

    Parameters = Standardization64Parameters

    def offset_and_scale(self) -> tuple[np.floating[Any], np.floating[Any]]:
        """Mean and standard deviation."""
        return np.float64(self.parameters.mean), np.float64(self.parameters.std_dev)


class _Vocabulary(Transformation):
    """A string is looked up; one that is not there is unknown and takes the default's place."""

    accepts: ClassVar[frozenset[Element]] = STRINGS

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        words = self.words()
        self._position: Mapping[str, int] = {word: position for position, word in enumerate(words)}

    @abstractmethod
    def words(self) -> Iterable[str]:
        """The strings that are known, in order."""

    def positions(self, column: Column) -> NDArray[np.intp]:
        """Where each value stands among the words, shape `(n,)`; -1 for an unknown one."""
        get = self._position.get
        return np.fromiter((get(text, -1) for text in column.values), np.intp, len(column.values))


class OneHotParameters(TransformationParameters):
    """The categories in any order; their order is that of the columns."""

    categories: list[str] = Field(min_length=1)

    @field_validator("categories")
    @classmethod
    def _distinct(cls, categories: list[str]) -> list[str]:
        repeated = [repr(name) for name, count in Counter(categories).items() if count > 1]
        if repeated:
            raise ValueError(f"listed more than once: {', '.join(repeated)}")
        return categories


class OneHotEncoding(_Vocabulary):
    """One 1 among zeros, in the order of `categories`, of string values."""

    Parameters = OneHotParameters

    @property
    def unit(self) -> int:
        """A column for each category."""
        return len(self.parameters.categories)

    def words(self) -> Iterable[str]:
        """The categories."""
        categories: list[str] = self.parameters.categories
        return categories

    def transform(self, column: Column) -> Transformed:
        """Strings only."""
        positions = self.positions(column)
        unknown = positions < 0
        values = np.zeros((len(positions), self.unit), np.float32)
        known = np.flatnonzero(~unknown)
        values[known, positions[known]] = 1.0
        return Transformed(values, unknown=unknown)


class EmbeddingParameters(TransformationParameters):
    """A vector for each known string, all of one length."""

    embeddings: dict[str, list[Float32]] = Field(min_length=1)

    @field_validator("embeddings")
    @classmethod
    def _one_length(cls, embeddings: dict[str, list[float]]) -> dict[str, list[float]]:
        first, dimension = next((word, len(vector)) for word, vector in embeddings.items())
        for word, vector in embeddings.items():
            if not vector:
                raise ValueError(f"the vector of {word!r} is empty")
            if len(vector) != dimension:
                raise ValueError(
                    f"the vectors must have one length, but that of {first!r} has {dimension} "
                    f"and that of {word!r} has {len(vector)}"
                )
        return embeddings


class Embedding(_Vocabulary):
    """The vector of a string."""

    Parameters = EmbeddingParameters

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        vectors = list(self.parameters.embeddings.values())
        # The last row is for -1, the position of an unknown string.
        self.table = np.array([*vectors, [0.0] * len(vectors[0])], dtype=np.float32)

    @property
    def unit(self) -> int:
        """The dimension of the vectors."""
        return int(self.table.shape[1])

    def words(self) -> Iterable[str]:
        """The strings that have a vector."""
        embeddings: Mapping[str, list[float]] = self.parameters.embeddings
        return embeddings

    def transform(self, column: Column) -> Transformed:
        """Strings only."""
        positions = self.positions(column)
        return Transformed(self.table[positions], unknown=positions < 0)


BUILTIN: Final[Mapping[str, type[Transformation]]] = MappingProxyType(
    {
        "identity": Identity,
        "min_max_scaling32": MinMaxScaling32,
        "min_max_scaling64": MinMaxScaling64,
        "standardization32": Standardization32,
        "standardization64": Standardization64,
        "one_hot_encoding": OneHotEncoding,
        "embedding": Embedding,
    }
)
"""The built-in transformations by the `type` of the vectorization configuration."""
