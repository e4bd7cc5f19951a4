"""Columns of values into the matrix, by a feature's transformation; shared by all implementations."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hushar.features.interface import Column
from hushar.features.plan import PlannedFeature


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A value that cannot be served; the smallest of a part is the one that is told."""

    row: int
    """In the matrix of all parts."""
    position: int
    """Of the feature in the plan."""
    refusal: str = field(default="", compare=False)
    """What is wrong with its kind or length; empty if one of its elements cannot be read."""
    element: int = field(default=0, compare=False)
    """Which one, in an array."""


def fill(
    matrix: NDArray[np.float32],
    feature: PlannedFeature,
    column: Column,
    rows: Sequence[int] | NDArray[np.intp],
    *,
    position: int,
    starts: NDArray[np.intp],
    unknown_rows: list[NDArray[np.intp]] | None = None,
) -> list[Fault]:
    """Transform a column and write it into the matrix.

    `rows` are the rows of the matrix that it has values for, ascending, `feature.units` values each;
    `position` is the feature's in the plan; `starts` has each part's first row of the matrix, and the end.
    To `unknown_rows` the rows of unknown values are added, as often as they have any.
    Gives the first fault of each part.
    """
    count = len(rows)
    try:
        result = feature.transformation.transform(column)
    except Exception as error:
        # Only a plugin's raises; whoever reads the log must know which.
        error.add_note(f"in the transformation {feature.type!r} of feature {feature.name!r}")
        raise
    block = result.values.reshape(count, feature.units, -1)
    if result.unknown is not None:
        unknown = result.unknown.reshape(count, feature.units, 1)
        block = np.where(unknown, feature.default.reshape(feature.units, -1), block)
        if unknown_rows is not None:
            unknown_rows.append(np.repeat(np.asarray(rows, np.intp), feature.units)[result.unknown])
    columns = slice(feature.start, feature.stop)
    matrix[slice(None) if count == len(matrix) else rows, columns] = block.reshape(count, feature.width)
    if result.unparsable is None or not result.unparsable.any():
        return []
    bad_cells, elements = np.divmod(np.flatnonzero(result.unparsable), feature.units)
    bad_rows = np.asarray(rows, np.intp)[bad_cells]
    _, firsts = np.unique(parts_of(bad_rows, starts), return_index=True)
    return [Fault(int(bad_rows[at]), position, element=int(elements[at])) for at in firsts]


def parts_of(rows: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The part of each row of the matrix; `starts` has each part's first row, and the end."""
    return np.searchsorted(starts, rows, side="right") - 1


def first_faults(faults: Sequence[Fault], starts: NDArray[np.intp]) -> dict[int, Fault]:
    """The smallest fault of each part that has one."""
    ordered = sorted(faults)
    of_part = parts_of(np.array([fault.row for fault in ordered], np.intp), starts)
    failed, firsts = np.unique(of_part, return_index=True)
    return {part: ordered[first] for part, first in zip(failed.tolist(), firsts.tolist(), strict=True)}


def without(
    matrix: NDArray[np.float32], counts: Sequence[int] | NDArray[np.intp], failed: Collection[int]
) -> tuple[NDArray[np.float32], list[int]]:
    """The matrix without the rows of the failed parts, and how many rows of each part are in it."""
    good = np.ones(len(counts), np.bool_)
    good[list(failed)] = False
    return matrix[np.repeat(good, counts)], np.where(good, counts, 0).tolist()
