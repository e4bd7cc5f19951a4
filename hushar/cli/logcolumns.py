"""Logged rows as columns: one for each feature of a vectorization configuration, with its type.

No I/O, no pyarrow: a chunk of rows is a list of values a column, None where there is none.
"""

import enum
import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from google.protobuf.json_format import MessageToDict

from hushar.features.interface import NUMBERS, STRINGS
from hushar.features.plan import Plan
from hushar.proto.structs_pb2 import DataType, InferenceLogBatch, InferenceLogRow


class Type(enum.Enum):
    """Of a column's values."""

    STRING = "string"
    FLOAT64 = "float64"
    FLOAT32 = "float32"
    TIMESTAMP = "timestamp"
    """Microseconds since the epoch, as an int."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a column is called, and what is in it."""

    name: str
    type: Type
    is_list: bool = False


FIXED: Final = (
    Column("request_id", Type.STRING),
    Column("model_id", Type.STRING),
    Column("model_version", Type.STRING),
    Column("received", Type.TIMESTAMP),
    Column("row_id", Type.STRING),
    Column("scores", Type.FLOAT32, is_list=True),
)
"""The columns of every logged row."""
OTHERS: Final = Column("other_features", Type.STRING)
"""The features outside of the configuration, as JSON."""
_CELL_BYTES: Final = 4
"""The least that a value takes in a log (a float in an array); an int may take less."""


class _Values:
    """The values of one feature in a chunk."""

    def __init__(self, *, is_text: bool, takes_both: bool, is_list: bool) -> None:
        self.is_text = is_text
        self.values: list[Any] = []
        self.has_text = False
        """A string came, where numbers and strings may and the column has numbers."""
        self.misfits = 0
        """Values of a kind, or a number of values, that the feature does not take: they are null."""
        self._takes_both = takes_both
        self._is_list = is_list

    def put(self, row: int, value: DataType) -> None:
        """The value of a row; the rows before it that have none are filled up."""
        kind = value.WhichOneof("data_type")
        if kind is None:
            return
        brought = getattr(value, kind)
        element, _, form = kind.partition("_")
        several = list(brought.values) if form == "array" else [brought]
        if (element == "string") != self.is_text:
            if not self._takes_both:
                self.misfits += 1
                return
            self.has_text = self.has_text or not self.is_text
            several = [_text(each, element) for each in several] if self.is_text else [None] * len(several)
        elif not self.is_text:
            several = [float(each) for each in several]
        if not self._is_list and len(several) != 1:
            self.misfits += 1
            return
        self.fill(row)
        # A repeated key is one entry of the map: the row has no value yet.
        self.values.append(several if self._is_list else several[0])

    def fill(self, rows: int) -> None:
        """None up to so many rows."""
        self.values.extend([None] * (rows - len(self.values)))


def _text(value: float, element: str) -> str:
    """A number in a column of strings: the shortest text that is this number again."""
    if element == "float":
        return str(np.float32(value))
    return repr(value)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: a list of values for each column."""

    rows: int
    values: Sequence[Sequence[Any]]


@dataclass(slots=True)
class RowColumns:
    """Takes rows and gives chunks. `texts`: features of either kind that have strings somewhere."""

    plan: Plan
    texts: Set[str] = frozenset()
    all_features: bool = False
    columns: tuple[Column, ...] = field(init=False)
    cells: int = 0
    """About how many Python objects the rows since the last chunk are: one a column, one for a few bytes."""
    _rows: int = 0
    _fixed: tuple[list[Any], ...] = field(init=False)
    _features: dict[str, _Values] = field(init=False)
    _others: list[str | None] = field(init=False)

    def __post_init__(self) -> None:
        self._features = {}
        columns = [*FIXED, *[OTHERS] * self.all_features]
        taken = {column.name for column in columns}
        features = []
        # A name that is free goes before one that has to make way for a clash.
        names = {feature.name for feature in self.plan.features} - taken
        for feature in self.plan.features:
            accepts = feature.transformation.accepts
            takes_both = bool(accepts & NUMBERS and accepts & STRINGS)
            is_text = not accepts & NUMBERS or (takes_both and feature.name in self.texts)
            is_list = feature.units > 1
            self._features[feature.name] = _Values(is_text=is_text, takes_both=takes_both, is_list=is_list)
            name = feature.name
            while name in taken or (name in names and name != feature.name):
                name = f"feature.{name}"
            taken.add(name)
            features.append(Column(name, Type.STRING if is_text else Type.FLOAT64, is_list))
        self.columns = (*FIXED, *features, *[OTHERS] * self.all_features)
        self._empty()

    def add(self, batch: InferenceLogBatch, row: InferenceLogRow) -> None:
        """A row of a batch."""
        received = batch.received_unix_micros or None
        known = (batch.request_id, batch.model_id, batch.model_version, received, row.row_id)
        for values, each in zip(self._fixed, (*known, list(row.scores)), strict=True):
            values.append(each)
        others = {}
        for name, value in row.features.items():
            feature = self._features.get(name)
            if feature is not None:
                feature.put(self._rows, value)
            elif self.all_features:
                others[name] = MessageToDict(value, preserving_proto_field_name=True)
        self._others.append(json.dumps(others, sort_keys=True, ensure_ascii=False) if others else None)
        self._rows += 1
        # Not the number of features: one may be an array of a million numbers, or a string as long as a book.
        self.cells += len(self.columns) + (row.ByteSize() + len(batch.request_id)) // _CELL_BYTES

    def chunk(self) -> Chunk:
        """The rows since the last chunk."""
        for feature in self._features.values():
            feature.fill(self._rows)
        values = [*self._fixed, *(feature.values for feature in self._features.values())]
        chunk = Chunk(self._rows, [*values, *[self._others] * self.all_features])
        self._empty()
        return chunk

    def _empty(self) -> None:
        self._rows = self.cells = 0
        self._fixed = tuple([] for _ in FIXED)
        self._others = []
        for feature in self._features.values():
            feature.values = []

    @property
    def found_texts(self) -> set[str]:
        """Features whose column is of numbers, and whose values are not: the columns must be made anew."""
        return {name for name, feature in self._features.items() if feature.has_text}

    @property
    def misfits(self) -> dict[str, int]:
        """Feature → how many values are null because the configuration does not take them."""
        return {name: feature.misfits for name, feature in self._features.items() if feature.misfits}


def rows_of(chunk: Chunk) -> Iterable[tuple[Any, ...]]:
    """The chunk row by row."""
    return zip(*chunk.values, strict=True)
