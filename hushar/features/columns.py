"""Columnar input: one array for each feature instead of rows of named values.

For protocols that bring tables. The transformations, results, errors and texts are those of rows: a
column of shape `(rows,)` is so many `float_value`s, one of shape `(rows, units)` so many `float_array`s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hushar.errors import InvalidRequest, RequestError, UndecodableRequest
from hushar.features.cells import Fault, fill
from hushar.features.counts import Tally, has_vocabulary
from hushar.features.interface import Column, Element
from hushar.features.messages import located, unreadable, wrong_kind, wrong_length
from hushar.features.plan import Plan, PlannedFeature
from hushar.features.results import Vectorized


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """Many strings in one bytes object."""

    data: bytes
    """UTF-8, end to end."""
    offsets: NDArray[np.int64]
    """Shape `(n + 1,)`, ascending: string i is `data[offsets[i]:offsets[i + 1]]`."""
    shape: tuple[int, ...]
    """`(rows,)` or `(rows, units)`, n strings in all, row after row."""

    def at(self, index: int) -> str:
        """String number `index` in all of them. Raises UnicodeDecodeError."""
        return self.data[self.offsets[index] : self.offsets[index + 1]].decode()


@dataclass(frozen=True, slots=True, eq=False)
class InputColumn:
    """The values of one feature in all rows."""

    values: NDArray[Any] | Strings
    """float64, float32, int32 or int64 in native byte order, or strings; of shape `(rows,)` for
    scalars, `(rows, units)` for arrays."""
    present: NDArray[np.bool_] | None = None
    """Shape `(rows,)`: which rows have the feature; what stands at the others is not looked at, but for
    strings' UTF-8. None: all."""

    @property
    def element(self) -> Element:
        """The type of the values. Raises ValueError for arrays of another one."""
        if isinstance(self.values, Strings):
            return Element.STRING
        element = _ELEMENTS.get(self.values.dtype)
        if element is None:
            raise ValueError(f"a column of {self.values.dtype}; known: {', '.join(map(str, _ELEMENTS))}")
        return element

    @property
    def kind(self) -> str:
        """What the values would be in a row, such as `float_array`."""
        return self.element.scalar_kind if len(self.values.shape) == 1 else self.element.array_kind

    @property
    def length(self) -> int:
        """How many values a row has; 1 for scalars."""
        return 1 if len(self.values.shape) == 1 else self.values.shape[1]

    def present_rows(self, rows: int) -> NDArray[np.intp]:
        """The indices of the rows that have the feature."""
        return np.arange(rows) if self.present is None else np.flatnonzero(self.present)


_ELEMENTS: Final[Mapping[np.dtype[Any], Element]] = {
    element.dtype: element for element in Element if element is not Element.STRING
}


def vectorize_columns(
    plan: Plan,
    columns: Mapping[str, InputColumn],
    rows: int,
    row_ids: Sequence[str] = (),
    tally: Tally | None = None,
) -> Vectorized:
    """Fill a matrix from columns, with numpy; the yardstick of the kernel's way. See Vectorizer.

    To `tally` is added what is counted.
    """
    for column in columns.values():
        check_shape(column, rows)
    if not all(_is_utf8(column.values) for column in columns.values()):
        return failed(plan, UndecodableRequest())
    matrix = np.empty((rows, plan.width), np.float32)
    matrix[:] = plan.row_default
    faults: list[Fault] = []
    unknown = [0] * len(plan.features)
    for position, feature in enumerate(plan.features):
        given = columns.get(feature.name)
        if given is not None:
            found, unknown[position] = fill_column(matrix, position, feature, given)
            faults += found
    if tally is not None:
        count_columns(tally, plan, columns, rows, unknown=unknown, faults=faults)
    return finished(plan, matrix, columns, faults, row_ids)


def count_columns(
    tally: Tally,
    plan: Plan,
    columns: Mapping[str, InputColumn],
    rows: int,
    *,
    unknown: Sequence[int],
    faults: Sequence[Fault],
) -> None:
    """Add what columns of so many rows lack; `unknown` are the unknown strings of each feature."""
    if faults:
        if not min(faults).refusal:
            tally.add_unparsable(min(faults).position)
        return
    given = [columns.get(feature.name) for feature in plan.features]
    present = [0 if column is None else len(column.present_rows(rows)) for column in given]
    tally.add(np.array([[rows - each for each in present], unknown], np.int64))


def check_shape(column: InputColumn, rows: int) -> None:
    """Raises ValueError: a column is not of so many rows, or its parts do not fit each other.

    This is the mistake of a program, never of a client.
    """
    values, shape = column.values, column.values.shape
    if column.element and (len(shape) not in (1, 2) or shape[0] != rows):
        raise ValueError(f"a column of shape {shape} for {rows} rows")
    if column.present is not None and (column.present.shape != (rows,) or column.present.dtype != np.bool_):
        raise ValueError(f"presence of shape {column.present.shape} for {rows} rows")
    if isinstance(values, Strings):
        offsets = values.offsets
        if offsets.dtype != np.int64 or offsets.shape != (rows * column.length + 1,):
            raise ValueError(f"offsets of shape {offsets.shape} for strings of shape {shape}")
        if offsets[0] < 0 or offsets[-1] > len(values.data) or (np.diff(offsets) < 0).any():
            raise ValueError("offsets must be ascending and inside of the data")


def refusal_of(feature: PlannedFeature, column: InputColumn) -> str:
    """What is wrong with the kind or length of a column; empty if nothing."""
    if column.element not in feature.transformation.accepts:
        return wrong_kind(column.kind, feature.transformation)
    if column.length != feature.units:
        return wrong_length(column.kind, column.length, feature.units)
    return ""


def fill_column(
    matrix: NDArray[np.float32], position: int, feature: PlannedFeature, column: InputColumn
) -> tuple[list[Fault], int]:
    """Write a column into the matrix, by the feature's transformation. Gives the first fault in it, and how
    many of its strings are unknown."""
    rows = column.present_rows(len(matrix))
    if not len(rows):
        return [], 0
    refusal = refusal_of(feature, column)
    if refusal:
        return [Fault(int(rows[0]), position, refusal)], 0
    values = column.values
    if isinstance(values, Strings):
        flat = np.empty(len(values.offsets) - 1, object)
        flat[:] = [values.at(index) for index in range(len(flat))]
    else:
        flat = values.reshape(-1)
    chosen = flat.reshape(len(matrix), column.length)[rows].reshape(-1)
    starts = np.array([0, len(matrix)], np.intp)
    unknown: list[NDArray[np.intp]] = []
    faults = fill(
        matrix,
        feature,
        Column(column.element, chosen),
        rows,
        position=position,
        starts=starts,
        unknown_rows=unknown,
    )
    return faults, sum(map(len, unknown)) if has_vocabulary(feature.transformation) else 0


def finished(
    plan: Plan,
    matrix: NDArray[np.float32],
    columns: Mapping[str, InputColumn],
    faults: Sequence[Fault],
    row_ids: Sequence[str],
) -> Vectorized:
    """The result of a matrix that has been filled: all of it, or the error of the first fault."""
    if not faults:
        return Vectorized(matrix, [len(matrix)], {})
    fault = min(faults)
    feature = plan.features[fault.position]
    column, text = columns[feature.name], fault.refusal
    if not text:
        index = fault.row * column.length + fault.element
        values = column.values
        value = values.at(index) if isinstance(values, Strings) else values.reshape(-1)[index].item()
        position = fault.element if len(values.shape) == 2 else None
        text = unreadable(column.kind, value, position, feature.transformation.wants)
    row_id = row_ids[fault.row] if row_ids else ""
    return failed(plan, InvalidRequest(located(text, feature=feature.name, row_id=row_id, row=fault.row)))


def failed(plan: Plan, error: RequestError) -> Vectorized:
    """The result where there is an error: no rows."""
    return Vectorized(np.empty((0, plan.width), np.float32), [0], {0: error})


def _is_utf8(values: NDArray[Any] | Strings) -> bool:
    if isinstance(values, Strings):
        try:
            for index in range(len(values.offsets) - 1):
                values.at(index)
        except UnicodeDecodeError:
            return False
    return True
