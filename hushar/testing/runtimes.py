"""The rules of `Runtime` (hushar/models/runtime.py), checked on an implementation and a model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hushar.models.runtime import ModelError, ModelSettings, Runtime, RuntimeFactory, TensorSpec
from hushar.storage.interface import Blob
from hushar.testing._rules import in_threads, rule

ROW_COUNTS = (1, 2, 3, 64)
THREADS = 4
ROUNDS = 4
SEED = 1
ANY_WIDTH = 5
"""Columns of the test matrix where the model takes any number."""
UNKNOWN_OUTPUT = "no such output"
GARBAGE = (b"", b"\x00garbage\xff" * 7)
RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""How far scores of the same row may be apart: a matrix product of another size sums in another order."""


def check_runtime(
    factory: RuntimeFactory,
    blob: Blob,
    settings: ModelSettings | None = None,
    *,
    matrix: NDArray[np.float32] | None = None,
    expected: NDArray[np.float32] | None = None,
) -> None:
    """Check that what `factory` makes of the model keeps the rules of a Runtime.

    `matrix`, float32 `(rows, width)` with at least 2 rows, is what the model is run on; without it,
    64 rows of normally distributed numbers (seeded). `expected`, `(rows, scores)`, are its right
    scores, compared with a tolerance of 1e-4. The model must score each row by itself, as every
    model that hushar serves has to: calls are joined into one matrix.
    """
    settings = settings or ModelSettings()
    runtime = factory(blob, settings)
    _check_attributes(runtime)
    matrix = _matrix(runtime, matrix)
    scores = _checked(runtime, matrix)
    if expected is not None:
        rule(
            scores.shape == np.shape(expected) and _close(scores, np.asarray(expected)),
            f"Runtime.run gives other scores than expected: {scores!r}, not {expected!r}",
        )
    _check_row_counts(runtime, matrix, scores)
    _check_pure(runtime, matrix, scores)
    _check_threads(runtime, matrix, scores)
    _check_refusals(factory, blob, settings)


def _close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return np.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)


def _check_attributes(runtime: Runtime) -> None:
    rule(
        isinstance(runtime, Runtime),
        f"a runtime factory must return a Runtime; it returns {type(runtime).__name__}",
    )
    for name in ("name", "version"):
        text = getattr(runtime, name, None)
        rule(isinstance(text, str) and bool(text), f"Runtime.{name} must be a str, not empty; it is {text!r}")
    for name in ("inputs", "outputs"):
        specs = getattr(runtime, name, None)
        rule(
            isinstance(specs, tuple) and bool(specs) and all(isinstance(s, TensorSpec) for s in specs),
            f"Runtime.{name} must be a tuple of TensorSpec, not empty; it is {specs!r}",
        )
    output = getattr(runtime, "output", None)
    rule(output in runtime.outputs, f"Runtime.output must be one of Runtime.outputs; it is {output!r}")
    width = getattr(runtime, "width", 0)
    rule(
        width is None or (isinstance(width, int) and width >= 1),
        f"Runtime.width must be None or an int of at least 1; it is {width!r}",
    )
    details = getattr(runtime, "details", None)
    rule(
        isinstance(details, Mapping) and all(isinstance(t, str) for item in details.items() for t in item),
        f"Runtime.details must be a mapping of str to str; it is {details!r}",
    )


def _matrix(runtime: Runtime, matrix: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if matrix is None:
        shape = (max(ROW_COUNTS), runtime.width or ANY_WIDTH)
        return np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)
    rule(
        matrix.ndim == 2 and matrix.dtype == np.float32 and matrix.shape[0] >= 2,
        "the matrix of the check must be float32 of shape (rows, width), 2 rows or more; it is "
        f"{matrix.dtype} of shape {matrix.shape}",
    )
    rule(
        runtime.width is None or matrix.shape[1] == runtime.width,
        f"Runtime.width is {runtime.width}, but the model's input is {matrix.shape[1]} wide",
    )
    return np.ascontiguousarray(matrix)


def _score(runtime: Runtime, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    return runtime.run(runtime.to_tensor(matrix))


def _checked(runtime: Runtime, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy of the matrix's scores, after their form is found right and the matrix untouched."""
    given = matrix.copy()
    scores = _score(runtime, matrix)
    rule(given.tobytes() == matrix.tobytes(), "Runtime.to_tensor or run modifies the matrix that it is given")
    rule(
        isinstance(scores, np.ndarray)
        and scores.dtype == np.float32
        and scores.ndim == 2
        and scores.flags.c_contiguous,
        "Runtime.run must give C-contiguous float32 of shape (rows, scores a row); it gives "
        f"{getattr(scores, 'dtype', type(scores).__name__)} of shape {getattr(scores, 'shape', None)}"
        + (", not contiguous" if isinstance(scores, np.ndarray) and not scores.flags.c_contiguous else ""),
    )
    rule(
        len(scores) == len(matrix) and scores.shape[1] >= 1,
        f"Runtime.run must give a row of scores for each row: {len(matrix)} rows gave shape {scores.shape}",
    )
    return scores.copy()


def _check_row_counts(runtime: Runtime, matrix: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    for rows in ROW_COUNTS:
        some = np.resize(matrix, (rows, matrix.shape[1]))
        want = np.resize(scores, (rows, scores.shape[1]))
        got = _checked(runtime, some)
        rule(
            got.shape == want.shape and _close(got, want),
            f"Runtime.run mixes rows: {rows} rows by themselves get other scores than among {len(matrix)}",
        )


def _check_pure(runtime: Runtime, matrix: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    kept = _score(runtime, matrix)
    _score(runtime, np.ascontiguousarray(matrix[::-1]) + np.float32(1))
    rule(
        _close(kept, scores),
        "Runtime.run gives out memory that its next run overwrites, or other scores for the same rows",
    )
    frozen = matrix.copy()
    frozen.flags.writeable = False
    rule(
        _close(_score(runtime, frozen), scores),
        "Runtime.run gives other scores for the same rows the second time",
    )


def _check_threads(runtime: Runtime, matrix: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    """Several threads at once, each with the rows in another order, so that shared state shows."""

    def repeatedly(shift: int) -> bool:
        rolled = np.roll(matrix, shift, axis=0)
        want = np.roll(scores, shift, axis=0)
        return all(_close(_score(runtime, rolled), want) for _ in range(ROUNDS))

    for right in in_threads([partial(repeatedly, shift) for shift in range(THREADS)]):
        rule(
            right is True,
            "Runtime.run is not safe in threads: runs at the same moment disturb each other"
            + (f": {right!r}" if isinstance(right, Exception) else ""),
        )


def _check_refusals(factory: RuntimeFactory, blob: Blob, settings: ModelSettings) -> None:
    for garbage in GARBAGE:
        unreadable = Blob(blob.uri, garbage)
        _check_refused(partial(factory, unreadable, settings), f"the model bytes {garbage[:8]!r}")
    unknown = replace(settings, output=UNKNOWN_OUTPUT)
    key = _check_refused(partial(factory, blob, unknown), "an output that the model does not have")
    rule(key == "model.output", f"ModelError.key must be 'model.output' for an unknown output; it is {key!r}")


def _check_refused(load: Callable[[], Runtime], what: str) -> str:
    """The key of the ModelError that loading raises."""
    try:
        load()
    except ModelError as error:
        rule(
            bool(str(error)) and "\n" not in str(error),
            f"ModelError must carry a message of one line; for {what} it is {str(error)!r}",
        )
        rule(bool(error.key), f"ModelError.key must name the setting at fault; for {what} it is empty")
        return error.key
    except Exception as error:
        raise AssertionError(
            f"a runtime factory must raise ModelError for {what}; it raised {error!r}"
        ) from error
    raise AssertionError(f"a runtime factory must raise ModelError for {what}; it returned a runtime")
