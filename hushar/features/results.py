"""What goes in at the door of vectorization besides bytes, and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hushar.errors import RequestError

Layout = tuple[bytes, bytes]
"""Where all rows are in their messages, and for each part what is not in its rows: arrays of `Row` and `Head`
(`_layout.pxd`), for compiled code. No row has a field 3."""


@dataclass(slots=True, eq=False)
class Vectorized:
    """The matrix of several parts."""

    matrix: NDArray[np.float32]
    """C-contiguous `(rows, width)`: the rows of all parts without an error, in their order."""
    rows: Sequence[int]
    """For each part, its rows in the matrix; 0 for one with an error."""
    errors: Mapping[int, RequestError]
    """By position of the part: UndecodableRequest or InvalidRequest. These brought no rows."""
    decode_us: float = 0.0
    """Microseconds of reading the messages before vectorizing; 0 where that is one walk."""
    layout: Layout | None = None
    """For who reads the messages again; None where it is not known, or some part has an error."""


class Reading:
    """A message whose rows are read in several parts: how far it has been read.

    It belongs to the Vectorizer that began it, and to one thread at a time. One that has failed gives
    its error again.
    """

    __slots__ = ("error", "message", "row")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.row = 0
        """How many rows have been read, which is the index of the next one."""
        self.error: RequestError | None = None
