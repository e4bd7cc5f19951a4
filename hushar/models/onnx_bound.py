"""Small matrices, in memory that is bound to an onnxruntime session once.

`InferenceSession.run` looks up and converts its arguments at every call. For a small matrix that takes longer
than the model, most of all when a call comes after a pause and finds the caches cold: W1's one row takes
30 µs so and 17 bound, with warm caches 4.2 and 1.8 (`benchmark/binding.py`). Larger matrices run as they are:
to copy them would take longer than that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hushar.models.scores import as_scores

MOST_ROWS: Final = 128
"""Of a small matrix. Each number of rows has memory of its own."""
MOST_BYTES: Final = 16_384
"""Of a small matrix, and of its scores."""
_GRAPH_KEY: Final = "gpu_graph_id"


def run_options(onnxruntime: Any) -> Any:
    """RunOptions for all runs of a session: where none are given, each run makes some anew.

    The entry has its default. onnxruntime's Python asks for it at every bound run, and where there is none
    finds that out by an exception of C++, at 30 µs.
    """
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(_GRAPH_KEY, "0")
    return options


@dataclass(frozen=True, slots=True, eq=False)
class _Bound:
    """Memory of one shape, and the binding to it."""

    run: Callable[[], object]
    tensor: NDArray[Any]
    scores: NDArray[np.float32]
    """`(rows, scores a row)`, whatever the rank of the model's output."""


class BoundRuns:
    """Runs of one session. Safe to use from several threads at once: no two have the same memory."""

    def __init__(self, session: Any, options: Any, taken: str, given: str, *, binds: bool = True) -> None:
        """`options` are the RunOptions of every run; `taken` and `given` are the names of the session's input
        and of the output that holds the scores. `binds`: whether it computes on the CPU, where memory of ours
        can be bound; else all runs are plain."""
        self._session = session
        self._options = options
        self._taken = taken
        self._given = given
        self._free: dict[tuple[int, ...], list[_Bound]] = {}
        """By the shape of the input: what no run is using now."""
        self._binds = binds

    def run(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """The scores of a C-contiguous `(rows, width)` of the model's dtype: see Runtime. Their array is the
        caller's alone.

        Raises what onnxruntime raises, and UnexpectedScores if the output does not fit the rows.
        """
        free = self._free.get(tensor.shape)
        if not free:
            return self._run_first(tensor)
        try:
            bound = free.pop()
        except IndexError:
            # Another thread has just taken the last one.
            return self._run_first(tensor)
        bound.tensor[:] = tensor
        try:
            bound.run()
        except Exception:
            # Either the model fails on these rows, or its output is not always of one shape.
            output = self._run_plainly(tensor)
            self._binds = False
            self._free.clear()
            return as_scores(output, len(tensor))
        scores = bound.scores.copy()
        free.append(bound)
        return scores

    def _run_first(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Run without a binding, and make one for the next such matrix where it can be used."""
        output = self._run_plainly(tensor)
        scores = as_scores(output, len(tensor))
        if (
            self._binds
            and 0 < len(tensor) <= MOST_ROWS
            and tensor.nbytes <= MOST_BYTES
            and output.dtype == np.float32
            and 0 < output.nbytes <= MOST_BYTES
        ):
            bound = self._bind(np.empty(tensor.shape, tensor.dtype), np.empty(output.shape, np.float32))
            self._free.setdefault(tensor.shape, []).append(bound)
        return scores

    def _bind(self, tensor: NDArray[Any], output: NDArray[np.float32]) -> _Bound:
        binding = self._session.io_binding()
        binding.bind_input(self._taken, "cpu", 0, tensor.dtype.type, tensor.shape, tensor.ctypes.data)
        binding.bind_output(self._given, "cpu", 0, np.float32, output.shape, output.ctypes.data)
        # Of rank 1 or 2, and contiguous: no copy.
        return _Bound(self._runs(binding), tensor, output.reshape(len(output), -1))

    def _runs(self, binding: Any) -> Callable[[], object]:
        """What runs the session with a binding.

        `InferenceSession.run_with_iobinding` asks its session about graphs on a GPU before it does the same:
        a third of all that one row takes. Where that has changed, it is taken as it is.
        """
        inner, bound = getattr(self._session, "_sess", None), getattr(binding, "_iobinding", None)
        if inner is None or bound is None:
            return partial(self._session.run_with_iobinding, binding, self._options)
        return partial(inner.run_with_iobinding, bound, self._options)

    def _run_plainly(self, tensor: NDArray[Any]) -> Any:
        (output,) = self._session.run([self._given], {self._taken: tensor}, self._options)
        return output
