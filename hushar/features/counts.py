"""How often the features of the configuration were not what a model wants: running totals since the start.

What counts is in docs/vectorization.md. Calls are counted by what reaches a matrix: a call with an error adds
only the value that its error is about, and only where that is a string that cannot be read.
"""

import threading
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hushar.features.interface import Transformation
from hushar.features.plan import Plan
from hushar.features.transformations import Embedding, OneHotEncoding

MISSING, UNKNOWN, UNPARSABLE = range(3)
"""The rows of a table of totals; its columns are the plan's features."""

Counts = Mapping[str, tuple[int, int, int]]
"""By name: rows without the feature, unknown strings, calls refused for a string that cannot be read."""


class Tally(Protocol):
    """Where counts are added up; any thread may."""

    def add(self, lacking: NDArray[np.int64], /) -> None:
        """Add what rows lack: int64 `(2, features)`, missing and unknown."""
        ...

    def add_unparsable(self, position: int, /) -> None:
        """Add a call that was refused for a string of the feature at this position of the plan."""
        ...


class Totals:
    """The readable Tally; the kernel has its own."""

    def __init__(self, features: int) -> None:
        self._table = np.zeros((3, features), np.int64)
        self._lock = threading.Lock()

    def add(self, lacking: NDArray[np.int64], /) -> None:
        """See Tally."""
        with self._lock:
            self._table[:UNPARSABLE] += lacking

    def add_unparsable(self, position: int, /) -> None:
        """See Tally."""
        with self._lock:
            self._table[UNPARSABLE, position] += 1

    def table(self) -> NDArray[np.int64]:
        """A copy: int64 `(3, features)`."""
        with self._lock:
            return self._table.copy()


def by_name(plan: Plan, table: NDArray[np.int64]) -> Counts:
    """A table of totals by the features' names."""
    columns = table.T.tolist()
    return {
        feature.name: (missing, unknown, unparsable)
        for feature, (missing, unknown, unparsable) in zip(plan.features, columns, strict=True)
    }


def has_vocabulary(transformation: Transformation) -> bool:
    """Whether unknown strings of it are counted; a class that only derives from a built-in one is a
    plugin's, and what is unknown to that is its own business."""
    return type(transformation) in (OneHotEncoding, Embedding)
