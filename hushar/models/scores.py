"""A model's output as scores: one row for each input row, float32."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_FLOAT32: Final = np.dtype(np.float32)
"""Compared with this a dtype is found equal at a glance; with `np.float32` one is made first."""


class UnexpectedScores(RuntimeError):
    """The output does not fit the rows that went in. The text is for the log, not for a client."""


def as_scores(output: Any, rows: int) -> NDArray[np.float32]:
    """`output` as C-contiguous float32 `(rows, scores a row)`; the same array where it is that already.

    Rank 1 becomes one column; float64 is narrowed to the nearest float32 (CONTRACT.md 2), infinite
    where it is too large. Raises UnexpectedScores for another rank, another number of rows, or
    anything but floating-point numbers.
    """
    if (
        type(output) is np.ndarray
        and output.dtype == _FLOAT32
        and output.ndim == 2
        and len(output) == rows
        and output.flags.c_contiguous
    ):
        # Nearly every model's, twice a batch: the general way below costs 2 µs.
        return output
    if not isinstance(output, np.ndarray) or output.dtype.kind != "f":
        what = output.dtype if isinstance(output, np.ndarray) else type(output).__name__
        raise UnexpectedScores(f"the model's output is {what}, not an array of floating-point numbers")
    if output.ndim not in (1, 2) or output.shape[0] != rows:
        raise UnexpectedScores(f"the model's output has shape {output.shape} for {rows} rows of input")
    if output.ndim == 1:
        output = output[:, np.newaxis]
    with np.errstate(over="ignore", under="ignore"):
        return np.ascontiguousarray(output, dtype=np.float32)
