"""Vectorization as a person reads it: from protobuf objects, with numpy, a column at a time.

It is the yardstick of every faster implementation: same matrix bit for bit, same errors, same texts.

Theory of operation. Reading goes row by row and sorts the values of each feature by element type into
`_Cells`. Then each of these is one numpy array and one call of the feature's transformation, whose
result goes into the matrix; cells that nothing was written to keep the default. A row with an error
is remembered and its part read no further; the rows of such parts are cut out of the matrix at
the end, so that they cost their neighbours nothing but time.

Which error of a request (CONTRACT.md 1): the first row's, in it the first feature's in the plan; of
one value the kind, then the length, then the first element that cannot be read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hushar.errors import InvalidRequest, RequestError, UndecodableRequest
from hushar.features.cells import Fault, fill, first_faults, without
from hushar.features.counts import Tally, has_vocabulary
from hushar.features.interface import Column, Element
from hushar.features.messages import located, unreadable, wrong_kind, wrong_length
from hushar.features.plan import Plan, PlannedFeature
from hushar.features.results import Vectorized
from hushar.proto.internal_pb2 import NestedRequest
from hushar.proto.structs_pb2 import DataType, InferenceRequest, InputRow

_SCALARS: Final[Mapping[str, Element]] = {element.scalar_kind: element for element in Element}
_ARRAYS: Final[Mapping[str, Element]] = {element.array_kind: element for element in Element}

_NESTED_TAG: Final = NestedRequest.REQUEST_FIELD_NUMBER << 3 | 2


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one request that follow each other."""

    inputs: Sequence[InputRow]
    first: int = 0
    """The index of the first of them in its request."""


@dataclass(slots=True, eq=False)
class _Cells:
    """All values of one feature that have one element type; each row brings `units` of them."""

    element: Element
    rows: list[int] = field(default_factory=list)
    """The row of the matrix of each cell, ascending."""
    values: list[Any] = field(default_factory=list)
    """The values of all cells, end to end."""


class _Reader:
    """Takes the values of one feature out of the messages of one batch."""

    __slots__ = ("cells", "feature", "position", "scalars", "unknown_rows")

    def __init__(self, position: int, feature: PlannedFeature) -> None:
        self.position = position
        self.feature = feature
        self.cells: dict[Element, _Cells] = {}
        self.scalars: dict[str, _Cells] = {}
        """By kind, where scalars of that kind have been found to be right: the short way of `_read`."""
        self.unknown_rows: list[NDArray[np.intp]] = []
        """The rows of unknown values, as often as they have any."""

    def receive(self, row: int, kind: str, value: DataType) -> str | None:
        """Take a value if it is of an accepted kind and length; else say what is wrong with it."""
        is_scalar = kind in _SCALARS
        element = _SCALARS[kind] if is_scalar else _ARRAYS[kind]
        if element not in self.feature.transformation.accepts:
            return wrong_kind(kind, self.feature.transformation)
        content = getattr(value, kind)
        values = [content] if is_scalar else content.values
        if len(values) != self.feature.units:
            return wrong_length(kind, len(values), self.feature.units)
        cells = self.cells.get(element)
        if cells is None:
            cells = self.cells[element] = _Cells(element)
        if is_scalar:
            self.scalars[kind] = cells
        cells.rows.append(row)
        cells.values.extend(values)
        return None

    def fill(self, matrix: NDArray[np.float32], starts: NDArray[np.intp]) -> list[Fault]:
        """Write what was taken into the matrix. Gives the first fault of each part."""
        faults: list[Fault] = []
        for cells in self.cells.values():
            column = Column(cells.element, np.array(cells.values, dtype=cells.element.dtype))
            faults += fill(
                matrix,
                self.feature,
                column,
                cells.rows,
                position=self.position,
                starts=starts,
                unknown_rows=self.unknown_rows,
            )
        return faults

    def lacking(self, good: NDArray[np.bool_]) -> tuple[int, int]:
        """Among the rows of the matrix that are `good`: those without a value; and the unknown strings."""
        present = sum(int(good[cells.rows].sum()) for cells in self.cells.values())
        unknown = 0
        if has_vocabulary(self.feature.transformation):
            unknown = sum(int(good[rows].sum()) for rows in self.unknown_rows)
        return int(good.sum()) - present, unknown


def open_request(message: bytes) -> InferenceRequest:
    """Decode a request, one level deeper than it came (CONTRACT.md 1, "Decoding, exactly").

    Raises:
        UndecodableRequest: what protobuf says about it is the cause, and no part of the message.
    """
    length, prefix = len(message), bytearray([_NESTED_TAG])
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    try:
        return NestedRequest.FromString(bytes(prefix) + message).request
    except (DecodeError, ValueError, RecursionError) as error:
        # The C library raises the first only; protobuf's pure Python one also the others.
        raise UndecodableRequest from error


def vectorize(plan: Plan, parts: Sequence[Part], tally: Tally | None = None) -> Vectorized:
    """Fill one matrix with the rows of several parts.

    A part with a bad value has an InvalidRequest among the errors and no rows in the matrix. To `tally` is
    added what is counted.
    """
    counts = [len(part.inputs) for part in parts]
    starts = np.cumsum([0, *counts], dtype=np.intp)
    readers = {feature.name: _Reader(position, feature) for position, feature in enumerate(plan.features)}
    faults: list[Fault] = []
    for part, start in zip(parts, starts.tolist(), strict=False):
        fault = _read(part.inputs, start, readers)
        if fault is not None:
            faults.append(fault)
    matrix = np.empty((sum(counts), plan.width), np.float32)
    matrix[:] = plan.row_default
    for reader in readers.values():
        faults += reader.fill(matrix, starts)
    errors: dict[int, RequestError] = {}
    for index, fault in (first_faults(faults, starts) if faults else {}).items():
        part, feature = parts[index], plan.features[fault.position]
        row = fault.row - int(starts[index])
        errors[index] = _error(fault, feature, part.inputs[row], part.first + row)
        if tally is not None and not fault.refusal:
            tally.add_unparsable(fault.position)
    if tally is not None:
        good = np.repeat([index not in errors for index in range(len(parts))], counts).astype(np.bool_)
        tally.add(np.array([reader.lacking(good) for reader in readers.values()], np.int64).reshape(-1, 2).T)
    if not errors:
        return Vectorized(matrix, counts, {})
    return Vectorized(*without(matrix, counts, errors), errors)


def explain(feature: PlannedFeature, input_row: InputRow, row: int) -> tuple[InvalidRequest, bool]:
    """The error of a row whose value of this feature cannot be served, and whether that is a string that
    cannot be read; `row` is its index in its request."""
    reader = _Reader(0, feature)
    fault = _read([input_row], 0, {feature.name: reader})
    if fault is None:
        matrix = np.empty((1, feature.stop), np.float32)
        (fault,) = reader.fill(matrix, np.array([0, 1], np.intp))
    return _error(fault, feature, input_row, row), not fault.refusal


def _read(inputs: Iterable[InputRow], start: int, readers: Mapping[str, _Reader]) -> Fault | None:
    """Read the rows of one part up to the first that has a wrong kind or length."""
    reader_of, kind_of = readers.get, DataType.WhichOneof
    for row, input_row in enumerate(inputs, start):
        first: Fault | None = None
        features = input_row.features
        for name in features:
            reader = reader_of(name)
            if reader is None:
                continue
            value = features[name]
            kind = kind_of(value, "data_type")
            if kind is None:
                continue
            cells = reader.scalars.get(kind)
            if cells is not None:
                cells.rows.append(row)
                cells.values.append(getattr(value, kind))
                continue
            refusal = reader.receive(row, kind, value)
            if refusal is not None and (first is None or reader.position < first.position):
                first = Fault(row, reader.position, refusal)
        if first is not None:
            return first
    return None


def _error(fault: Fault, feature: PlannedFeature, input_row: InputRow, row: int) -> InvalidRequest:
    """The fault in words; `row` is the index of `input_row` in its request."""
    text = fault.refusal
    if not text:
        value = input_row.features[feature.name]
        kind = value.WhichOneof("data_type")
        assert kind is not None
        content, position = getattr(value, kind), None
        if kind in _ARRAYS:
            content, position = content.values[fault.element], fault.element
        text = unreadable(kind, content, position, feature.transformation.wants)
    return InvalidRequest(located(text, feature=feature.name, row_id=input_row.row_id, row=row))
