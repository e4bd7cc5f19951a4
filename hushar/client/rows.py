"""Rows as Python has them → InputRow messages.

Two shapes are read: a sequence of rows, each a mapping from feature to value (`rows_from_mappings`), and
a mapping from feature to column (`rows_from_columns`). What a value may be is told in
`hushar.client.values`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hushar.client.errors import BadRows
from hushar.client.values import as_array, assign, kind_of_dtype
from hushar.errors import Problem
from hushar.proto.structs_pb2 import InputRow

MAX_PROBLEMS: Final = 20
"""Problems that are listed; the rest are counted. A file with one mistake a line has many lines."""

NO_KINDS: Final[Mapping[str, str]] = {}


class Problems:
    """Collects what is wrong with rows, so that all of it can be told at once."""

    def __init__(self, source: str = "") -> None:
        self._source = source
        self._found: list[Problem] = []
        self._unlisted = 0

    def add(self, key: str, message: str) -> None:
        """Note a mistake at `key`, such as `row 3: feature 'age'`."""
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(Problem(self._source, key, message))
        else:
            self._unlisted += 1

    @contextmanager
    def noting(self, key: str) -> Iterator[None]:
        """Note a ValueError that the block raises, and go on."""
        try:
            yield
        except ValueError as error:
            self.add(key, str(error))

    def raise_if_any(self) -> None:
        """Raises BadRows if anything was noted."""
        if self._unlisted:
            raise BadRows([*self._found, Problem(self._source, "", f"{self._unlisted} more problems")])
        if self._found:
            raise BadRows(self._found)


def rows_from_python(
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    *,
    kinds: Mapping[str, str] = NO_KINDS,
    row_ids: Sequence[str] | None = None,
) -> list[InputRow]:
    """InputRows from either shape: a mapping is taken as columns. Raises BadRows."""
    if isinstance(rows, Mapping):
        return rows_from_columns(rows, kinds=kinds, row_ids=row_ids)
    return rows_from_mappings(rows, kinds=kinds, row_ids=row_ids)


def rows_from_mappings(
    rows: Sequence[Any],
    *,
    kinds: Mapping[str, str] = NO_KINDS,
    row_ids: Sequence[str] | None = None,
) -> list[InputRow]:
    """One InputRow for each mapping from feature to value. Raises BadRows."""
    problems = Problems()
    messages = _empty_rows(len(rows), row_ids, problems)
    for index, (message, row) in enumerate(zip(messages, rows, strict=True)):
        if not isinstance(row, Mapping):  # a caller without a type checker
            problems.add(f"row {index}", f"expected a mapping of features, not {type(row).__name__}")
            continue
        for feature, value in row.items():
            with problems.noting(f"row {index}: feature {feature!r}"):
                add_feature(message, feature, value, kinds.get(feature))
    problems.raise_if_any()
    return messages


def rows_from_columns(
    columns: Mapping[str, Any],
    *,
    kinds: Mapping[str, str] = NO_KINDS,
    row_ids: Sequence[str] | None = None,
) -> list[InputRow]:
    """As many InputRows as every column is long. Raises BadRows.

    A column is a numpy array of shape `(rows,)`, or `(rows, n)` for a feature that is an array of n
    values; a sequence of values, each as in a row by itself; or what numpy makes an array of (a pandas
    Series).
    """
    problems = Problems()
    arrays: dict[str, Any] = {}
    for feature, column in columns.items():
        array = as_array(column)
        sized = array.ndim if isinstance(array, np.ndarray) else isinstance(array, list | tuple)
        if sized:
            arrays[feature] = array
        else:
            problems.add(f"feature {feature!r}", f"expected a column of values, not {type(column).__name__}")
    lengths = {feature: len(column) for feature, column in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{feature!r}: {length}" for feature, length in lengths.items())
        problems.add("", f"columns differ in length: {listed}")
    problems.raise_if_any()
    messages = _empty_rows(next(iter(lengths.values()), 0), row_ids, problems)
    for feature, column in arrays.items():
        if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype != object:
            with problems.noting(f"feature {feature!r}"):
                _add_column(messages, feature, column)
        else:
            for index, (message, value) in enumerate(zip(messages, column, strict=True)):
                with problems.noting(f"row {index}: feature {feature!r}"):
                    add_feature(message, feature, value, kinds.get(feature))
    problems.raise_if_any()
    return messages


def add_feature(row: InputRow, feature: Any, value: Any, kind: str | None) -> None:
    """Put one feature into a row, unless its value counts as absent. Raises ValueError."""
    _check_name(feature)
    target = row.features[feature]
    present = False
    try:
        present = assign(target, value, kind)
    finally:
        if not present:
            del row.features[feature]


def set_row_id(row: InputRow, row_id: Any) -> None:
    """Raises ValueError where `row_id` is no string that can be sent."""
    if not isinstance(row_id, str):
        raise ValueError(f"expected a string, not {type(row_id).__name__}")  # noqa: TRY004 - collected with the others
    row.row_id = _sendable(row_id)


def _add_column(rows: Sequence[InputRow], feature: Any, column: NDArray[Any]) -> None:
    """A column of scalars: its dtype decides the kind once for all rows."""
    _check_name(feature)
    kind = kind_of_dtype(column.dtype)
    for row, value in zip(rows, column.tolist(), strict=True):
        setattr(row.features[feature], kind, value)


def _empty_rows(count: int, row_ids: Sequence[str] | None, problems: Problems) -> list[InputRow]:
    rows = [InputRow() for _ in range(count)]
    if row_ids is not None:
        if len(row_ids) != count:
            problems.add("row_ids", f"{len(row_ids)} ids for {count} rows")
            problems.raise_if_any()
        for index, (row, row_id) in enumerate(zip(rows, row_ids, strict=True)):
            with problems.noting(f"row_ids: row {index}"):
                set_row_id(row, row_id)
    return rows


def _check_name(feature: Any) -> None:
    if not isinstance(feature, str):
        raise ValueError(f"the name of a feature is a string, not {type(feature).__name__}")  # noqa: TRY004
    _sendable(feature)


def _sendable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is no valid Unicode text") from None
    return text
