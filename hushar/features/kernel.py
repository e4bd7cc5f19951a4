"""The compiled vectorizer: what surrounds `_kernel.pyx` in Python.

The kernel is told the plan in op-codes and numbers, and says which row and feature of which part is
bad; the words for it come from the reference, which is shown that one row. Features of plugins have no
op-code: their values come out of the kernel as columns, and go the reference's way into the matrix.

Importing this module fails where the kernel was not built.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hushar.errors import RequestError, UndecodableRequest
from hushar.features import _kernel, reference
from hushar.features.cells import Fault, fill, first_faults, without
from hushar.features.columns import (
    InputColumn,
    Strings,
    check_shape,
    count_columns,
    failed,
    fill_column,
    finished,
    refusal_of,
)
from hushar.features.counts import Counts, by_name
from hushar.features.interface import Column, Element
from hushar.features.plan import Plan, PlannedFeature
from hushar.features.results import Reading, Vectorized
from hushar.features.transformations import (
    Embedding,
    Identity,
    MinMaxScaling32,
    MinMaxScaling64,
    OneHotEncoding,
    Standardization32,
    Standardization64,
)
from hushar.proto.structs_pb2 import InputRow

# The numbers of _kernel.pyx.
_IDENTITY, _LINEAR32, _LINEAR64, _ONE_HOT, _EMBEDDING, _COLLECT = range(6)
_UNDECODABLE, _BAD_VALUE, _FAILED_BEFORE = 1, 2, 4
_ELEMENTS: Final = (Element.DOUBLE, Element.FLOAT, Element.INTEGER, Element.LONG, Element.STRING)

_ZERO_IN_A_GROUP: Final = b"\x4b\x00\x00\x4c"
"""Field number 0 inside of an unknown group: versions of protobuf differ in whether that decodes."""


class _KernelReading(Reading):
    """The kernel reads as far as it is asked to."""

    __slots__ = ("at",)

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.at = 0
        """The offset of the next row."""


class KernelVectorizer:
    """The compiled implementation. See Vectorizer for its methods."""

    name = "cython"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._program = _kernel.Program(
            [_operation(feature) for feature in plan.features],
            plan.row_default,
            int.from_bytes(os.urandom(8)),
            _decodes(_ZERO_IN_A_GROUP),
        )
        self._collected = [
            position for position, feature in enumerate(plan.features) if _operation(feature)[1] == _COLLECT
        ]
        """The positions of plugins' features, as the kernel numbers them."""

    count = staticmethod(_kernel.count_rows)
    """See Vectorizer. Nothing in between: it is asked of every batch, also of one call."""

    def check(self, message: bytes) -> None:
        """See Vectorizer."""
        if not self._program.decodes(message):
            raise UndecodableRequest

    def begin(self, message: bytes) -> Reading:
        """See Vectorizer."""
        return _KernelReading(message)

    def vectorize(
        self, parts: Sequence[bytes | Reading], rows: Sequence[int], counted: bool = True
    ) -> Vectorized:
        """See Vectorizer."""
        matrix, faults, cells, lacking, layout = self._program.vectorize(parts, rows, counted)
        if not faults and not cells and lacking is None:
            return Vectorized(matrix, rows, {}, 0.0, layout)
        counts = list(rows)
        errors: dict[int, RequestError] = {}
        bad: dict[int, tuple[int, int, bytes]] = {}
        for index, outcome, feature, row, content in faults:
            if outcome == _BAD_VALUE:
                bad[index] = feature, row, content
                continue
            counts[index] = 0
            errors[index] = _error_before(parts[index]) if outcome == _FAILED_BEFORE else UndecodableRequest()
        if self._collected:
            matrix, counts, found = self._fill(parts, matrix, counts, cells, bad, counted=counted)
            errors |= found
        else:
            for index, (position, row, content) in bad.items():
                counts[index] = 0
                errors[index] = self._explain(position, InputRow.FromString(content), row, counted)
        if lacking is not None:
            self._program.add(lacking[[index not in errors for index in range(len(parts))]].sum(axis=0))
        for index, error in errors.items():
            part = parts[index]
            if isinstance(part, Reading):
                part.error = error
        return Vectorized(matrix, counts, errors, layout=None if errors else layout)

    def vectorize_columns(
        self, columns: Mapping[str, InputColumn], rows: int, row_ids: Sequence[str] = ()
    ) -> Vectorized:
        """See Vectorizer."""
        for column in columns.values():
            check_shape(column, rows)
        strings = [column.values for column in columns.values() if isinstance(column.values, Strings)]
        if not all(
            _kernel.strings_are_utf8(each.data, np.ascontiguousarray(each.offsets)) for each in strings
        ):
            return failed(self.plan, UndecodableRequest())
        matrix = np.empty((rows, self.plan.width), np.float32)
        matrix[:] = self.plan.row_default
        faults: list[Fault] = []
        unknown = [0] * len(self.plan.features)
        for position, feature in enumerate(self.plan.features):
            given = columns.get(feature.name)
            if given is not None:
                found, unknown[position] = self._fill_column(matrix, position, feature, given)
                faults += found
        count_columns(self._program, self.plan, columns, rows, unknown=unknown, faults=faults)
        return finished(self.plan, matrix, columns, faults, row_ids)

    def _fill_column(
        self, matrix: NDArray[np.float32], position: int, feature: PlannedFeature, column: InputColumn
    ) -> tuple[list[Fault], int]:
        if position in self._collected or refusal_of(feature, column):
            return fill_column(matrix, position, feature, column)
        values = column.values
        if isinstance(values, Strings):
            content, offsets = np.frombuffer(values.data, np.uint8), np.ascontiguousarray(values.offsets)
        else:
            content, offsets = np.ascontiguousarray(values).reshape(-1).view(np.uint8), None
        present = None if column.present is None else np.ascontiguousarray(column.present).view(np.uint8)
        element = _ELEMENTS.index(column.element)
        bad, unknown = self._program.fill_column(position, matrix, element, content, offsets, present)
        if bad < 0:
            return [], unknown
        return [Fault(bad // feature.units, position, element=bad % feature.units)], unknown

    def feature_counts(self) -> Counts:
        """See Vectorizer."""
        return by_name(self.plan, self._program.table())

    def _explain(self, position: int, input_row: InputRow, row: int, counted: bool) -> RequestError:
        error, unparsable = reference.explain(self.plan.features[position], input_row, row)
        if unparsable and counted:
            self._program.add_unparsable(position)
        return error

    def _fill(
        self,
        parts: Sequence[bytes | Reading],
        matrix: NDArray[np.float32],
        counts: Sequence[int],
        cells: Sequence[tuple[int, int, NDArray[np.int64], NDArray[Any]]],
        bad: Mapping[int, tuple[int, int, bytes]],
        *,
        counted: bool,
    ) -> tuple[NDArray[np.float32], list[int], dict[int, RequestError]]:
        """Let the plugins transform the cells of their features, in a matrix of all parts that decode.

        `bad` are the faults that the kernel has found; a plugin may find one that comes before it.
        """
        starts = np.cumsum([0, *counts], dtype=np.intp)
        faults: list[Fault] = []
        firsts: dict[int, int] = {}
        for index, count in enumerate(counts):
            part = parts[index]
            firsts[index] = part.row - count if isinstance(part, Reading) else 0
        for index, (position, row, _) in bad.items():
            faults.append(Fault(int(starts[index]) + row - firsts[index], position))
        for collector, element, rows, values in cells:
            position = self._collected[collector]
            column = Column(_ELEMENTS[element], values)
            faults += fill(
                matrix, self.plan.features[position], column, rows, position=position, starts=starts
            )
        if not faults:
            return matrix, list(counts), {}
        errors: dict[int, RequestError] = {}
        for index, fault in first_faults(faults, starts).items():
            row = firsts[index] + fault.row - int(starts[index])
            try:
                errors[index] = self._explain(fault.position, _input_row(parts[index], row), row, counted)
            except UndecodableRequest as error:
                # A Reading whose rest, not yet walked, does not decode.
                errors[index] = error
        return *without(matrix, counts, errors), errors


def _error_before(part: bytes | Reading) -> RequestError:
    assert isinstance(part, Reading)
    assert part.error is not None
    return part.error


def _input_row(part: bytes | Reading, row: int) -> InputRow:
    message = part.message if isinstance(part, Reading) else part
    return reference.open_request(message).inputs[row]


def _decodes(message: bytes) -> bool:
    try:
        reference.open_request(message)
    except UndecodableRequest:
        return False
    return True


def _operation(feature: PlannedFeature) -> tuple[Any, ...]:
    """A feature for the kernel: name, op-code, accepted elements, first column, units, unit, parameters.

    A class that only derives from a built-in one is a plugin's.
    """
    transformation: Any = feature.transformation
    kind = type(transformation)
    code = _COLLECT
    parameters: Any = None
    if kind is Identity:
        code = _IDENTITY
    elif kind in (MinMaxScaling32, Standardization32):
        code, parameters = _LINEAR32, (transformation.offset, transformation.scale)
    elif kind in (MinMaxScaling64, Standardization64):
        code, parameters = _LINEAR64, (transformation.offset, transformation.scale)
    elif kind is OneHotEncoding:
        code, parameters = _ONE_HOT, [_utf8(word) for word in transformation.words()]
    elif kind is Embedding:
        words = [_utf8(word) for word in transformation.words()]
        code, parameters = _EMBEDDING, (words, transformation.table)
    accepts = sum(1 << bit for bit, element in enumerate(_ELEMENTS) if element in transformation.accepts)
    unit = feature.width // feature.units
    return _utf8(feature.name), code, accepts, feature.start, feature.units, unit, parameters


def _utf8(text: str) -> bytes | None:
    """None for what no request can spell: JSON may escape half of a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None
