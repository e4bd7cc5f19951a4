"""Vectorization as a person reads it: from protobuf objects, with numpy, a column at a time.

It is the yardstick of every faster implementation: same matrix bit for bit, same errors, same texts.

Theory of operation. Reading goes row by row and sorts the values of each feature by element type into
`_Cells`. Then each of these is one numpy array and one call of the feature's transformation, whose
result goes into the matrix; cells that nothing was written to keep the default. A row with an error
is remembered and its request read no further; the rows of such requests are cut out of the matrix at
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
from hushar.features.interface import Column, Element
from hushar.features.messages import located, unreadable, wrong_kind, wrong_length
from hushar.features.plan import Plan, PlannedFeature
from hushar.proto.internal_pb2 import NestedRequest
from hushar.proto.structs_pb2 import DataType, InferenceRequest, InputRow

_SCALARS: Final[Mapping[str, Element]] = {element.scalar_kind: element for element in Element}
_ARRAYS: Final[Mapping[str, Element]] = {element.array_kind: element for element in Element}

_NESTED_TAG: Final = NestedRequest.REQUEST_FIELD_NUMBER << 3 | 2


@dataclass(frozen=True, slots=True, eq=False)
class Vectorized:
    """The matrix of several requests."""

    matrix: NDArray[np.float32]
    """C-contiguous `(rows, width)`: the rows of all requests without an error, in their order."""
    rows: tuple[int, ...]
    """For each request, its rows in the matrix; 0 for one with an error."""
    errors: Mapping[int, RequestError]
    """By position of the request; those that brought no rows because of what is in them."""


@dataclass(frozen=True, slots=True, order=True)
class _Fault:
    """A value that cannot be served; the smallest of a request is the one that is told."""

    row: int
    """In the matrix of all requests."""
    position: int
    """Of the feature in the plan."""
    refusal: str = field(default="", compare=False)
    """What is wrong with its kind or length; empty if one of its elements cannot be read."""
    element: int = field(default=0, compare=False)
    """Which one, in an array."""


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

    __slots__ = ("cells", "feature", "position", "scalars")

    def __init__(self, position: int, feature: PlannedFeature) -> None:
        self.position = position
        self.feature = feature
        self.cells: dict[Element, _Cells] = {}
        self.scalars: dict[str, _Cells] = {}
        """By kind, where scalars of that kind have been found to be right: the short way of `_read`."""

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


def vectorize(plan: Plan, requests: Sequence[InferenceRequest]) -> Vectorized:
    """Fill one matrix with the rows of several requests.

    A request with a bad value has an InvalidRequest among the errors and no rows in the matrix.
    """
    counts = [len(request.inputs) for request in requests]
    starts = np.cumsum([0, *counts], dtype=np.intp)
    readers = {feature.name: _Reader(position, feature) for position, feature in enumerate(plan.features)}
    faults: list[_Fault] = []
    for request, start in zip(requests, starts.tolist(), strict=False):
        fault = _read(request.inputs, start, readers)
        if fault is not None:
            faults.append(fault)
    matrix = np.empty((sum(counts), plan.width), np.float32)
    matrix[:] = plan.row_default
    for reader in readers.values():
        for cells in reader.cells.values():
            faults += _fill(matrix, reader, cells, starts)
    if not faults:
        return Vectorized(matrix, tuple(counts), {})
    return _without_failed(plan, requests, matrix, starts, faults)


def _without_failed(
    plan: Plan,
    requests: Sequence[InferenceRequest],
    matrix: NDArray[np.float32],
    starts: NDArray[np.intp],
    faults: list[_Fault],
) -> Vectorized:
    """Cut out the rows of the requests that have a fault, and put the first of each into words."""
    faults.sort()
    of_request = _requests_of(np.array([fault.row for fault in faults], np.intp), starts)
    failed, firsts = np.unique(of_request, return_index=True)
    errors: dict[int, RequestError] = {}
    for index, first in zip(failed.tolist(), firsts.tolist(), strict=True):
        fault = faults[first]
        inputs, feature = requests[index].inputs, plan.features[fault.position]
        errors[index] = _error(fault, feature, inputs, int(starts[index]))
    counts = np.diff(starts)
    good = np.ones(len(requests), np.bool_)
    good[failed] = False
    return Vectorized(matrix[np.repeat(good, counts)], tuple(np.where(good, counts, 0).tolist()), errors)


def _read(inputs: Iterable[InputRow], start: int, readers: Mapping[str, _Reader]) -> _Fault | None:
    """Read the rows of one request up to the first that has a wrong kind or length."""
    reader_of, kind_of = readers.get, DataType.WhichOneof
    for row, input_row in enumerate(inputs, start):
        first: _Fault | None = None
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
                first = _Fault(row, reader.position, refusal)
        if first is not None:
            return first
    return None


def _fill(
    matrix: NDArray[np.float32], reader: _Reader, cells: _Cells, starts: NDArray[np.intp]
) -> list[_Fault]:
    """Transform the cells and write them into the matrix. Gives the first fault of each request."""
    feature, count = reader.feature, len(cells.rows)
    values = np.array(cells.values, dtype=cells.element.dtype)
    try:
        result = feature.transformation.transform(Column(cells.element, values))
    except Exception as error:
        # Only a plugin's raises; whoever reads the log must know which.
        error.add_note(f"in the transformation {feature.type!r} of feature {feature.name!r}")
        raise
    block = result.values.reshape(count, feature.units, -1)
    if result.unknown is not None:
        unknown = result.unknown.reshape(count, feature.units, 1)
        block = np.where(unknown, feature.default.reshape(feature.units, -1), block)
    columns = slice(feature.start, feature.stop)
    rows = slice(None) if count == len(matrix) else cells.rows
    matrix[rows, columns] = block.reshape(count, feature.width)
    if result.unparsable is None or not result.unparsable.any():
        return []
    bad_cells, elements = np.divmod(np.flatnonzero(result.unparsable), feature.units)
    bad_rows = np.array(cells.rows, np.intp)[bad_cells]
    _, firsts = np.unique(_requests_of(bad_rows, starts), return_index=True)
    return [_Fault(int(bad_rows[at]), reader.position, element=int(elements[at])) for at in firsts]


def _requests_of(rows: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The request of each row of the matrix; `starts` has each request's first row, and the end."""
    return np.searchsorted(starts, rows, side="right") - 1


def _error(fault: _Fault, feature: PlannedFeature, inputs: Sequence[InputRow], start: int) -> InvalidRequest:
    """The fault in words; `start` is the matrix row of the first of the request's `inputs`."""
    row = fault.row - start
    text = fault.refusal
    if not text:
        value = inputs[row].features[feature.name]
        kind = value.WhichOneof("data_type")
        assert kind is not None
        content, position = getattr(value, kind), None
        if kind in _ARRAYS:
            content, position = content.values[fault.element], fault.element
        text = unreadable(kind, content, position, feature.transformation.wants)
    return InvalidRequest(located(text, feature=feature.name, row_id=inputs[row].row_id, row=row))
