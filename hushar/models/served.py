"""The model that is served: what identifies it, and the checks before it is ready."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hushar.models.messages import short_text
from hushar.models.runtime import ModelError, Runtime
from hushar.models.scores import UnexpectedScores, as_scores

_VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model under its public name."""

    runtime: Runtime
    model_id: str
    version: str
    """`model_version` of its two files: in every log batch, and in the metrics."""


def model_version(model: bytes, vectorization: bytes) -> str:
    """12 hexadecimal digits over the model's bytes and the vectorization configuration's.

    Each is preceded by its length (8 bytes, big-endian), so that no byte can move from one to the
    other without a change.
    """
    digest = hashlib.sha256()
    for part in (model, vectorization):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:_VERSION_DIGITS]


def check_sha256(data: bytes, expected: str | None) -> str | None:
    """What is wrong with the model's bytes by `model.sha256`: a sentence, or None.

    `expected` is None where the configuration does not say it; upper and lower case are the same. That
    it has the form of a digest is the configuration's business.
    """
    if expected is None:
        return None
    actual = hashlib.sha256(data).hexdigest()
    if actual == expected.lower():
        return None
    return f"the model's SHA-256 is {actual}, expected {expected.lower()}"


def warm_up(runtime: Runtime, row: NDArray[np.float32], row_counts: Sequence[int] = (1, 2)) -> int:
    """Run the model on copies of `row`, shape `(width,)`; returns its number of scores a row.

    `row` is what an empty input row gives: the defaults. Two sizes tell a model that really takes
    any number of rows from one that was exported for a single one. The first runs also pay for what
    the library allocates lazily. Raises ModelError with the key `model_path`, or `model.output`
    where the output does not fit the rows.
    """
    widths = {_scores_a_row(runtime, row, rows) for rows in row_counts}
    if len(widths) != 1 or widths == {0}:
        found = " and ".join(str(width) for width in sorted(widths))
        raise ModelError("model.output", f"the model's output has {found} scores a row")
    return widths.pop()


def _scores_a_row(runtime: Runtime, row: NDArray[np.float32], rows: int) -> int:
    what = "a row" if rows == 1 else f"{rows} rows"
    matrix = np.tile(row, (rows, 1))
    try:
        scores = runtime.run(runtime.to_tensor(matrix))
    except UnexpectedScores as error:
        raise ModelError("model.output", str(error)) from error
    except Exception as error:  # whatever the library raises: at start, its text helps
        raise ModelError(
            "model_path", f"the model fails on {what} of default values: {short_text(error)}"
        ) from error
    try:
        return int(as_scores(scores, rows).shape[1])
    except UnexpectedScores as error:
        raise ModelError("model.output", str(error)) from error
