"""check_runtime passes what keeps the rules, and names the rule that a planted violation breaks."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hushar.models.runtime import ModelError, ModelSettings, Runtime, TensorSpec
from hushar.storage.interface import Blob
from hushar.testing import check_runtime
from hushar.testing.runtimes import THREADS

GOOD = Blob("file:///model.txt", b"0.5 -1.0 2.0")


class Weights(Runtime):
    """A right runtime: one score, the weighted sum of the row; the model is the weights in text."""

    name = "weights"
    version = "1.0"
    inputs = (TensorSpec("x", "float32", (None, 3)),)
    outputs = (TensorSpec("scores", "float32", (None, 1)),)
    output = outputs[0]
    width: int | None = 3
    details = {"format": "text"}  # noqa: RUF012 - as an instance has it

    def __init__(self, blob: Blob, settings: ModelSettings) -> None:
        try:
            self.weights = np.array(blob.data.decode("ascii").split(), np.float32)
        except ValueError as error:
            raise ModelError("model_path", "not a list of numbers") from error
        if len(self.weights) != 3:
            raise ModelError("model_path", "not three numbers")
        if settings.output not in (None, "scores"):
            raise ModelError("model.output", f"there is no output {settings.output!r}")

    def to_tensor(self, matrix: Any) -> Any:
        return matrix

    def run(self, tensor: Any) -> Any:
        return (tensor * self.weights).sum(axis=1, keepdims=True)


def test_a_right_runtime_passes():
    check_runtime(Weights, GOOD)


def test_a_right_runtime_passes_with_a_matrix_and_its_scores():
    matrix = np.array([[1, 0, 0], [2, 1, 1]], np.float32)
    check_runtime(Weights, GOOD, matrix=matrix, expected=np.array([[0.5], [2.0]], np.float32))


def test_a_runtime_that_takes_any_width_passes():
    class AnyWidth(Weights):
        width = None

        def run(self, tensor: Any) -> Any:
            return tensor.sum(axis=1, keepdims=True)

    check_runtime(AnyWidth, GOOD)


def test_wrong_scores_fail():
    matrix = np.ones((2, 3), np.float32)
    with pytest.raises(AssertionError, match="gives other scores than expected"):
        check_runtime(Weights, GOOD, matrix=matrix, expected=np.zeros((2, 1), np.float32))


def test_a_wrong_width_fails():
    with pytest.raises(AssertionError, match=r"width is 3, but the model's input is 4 wide"):
        check_runtime(Weights, GOOD, matrix=np.ones((2, 4), np.float32))


def test_a_matrix_of_another_type_is_the_mistake_of_the_check():
    with pytest.raises(AssertionError, match="must be float32 of shape"):
        check_runtime(Weights, GOOD, matrix=np.ones((2, 3)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attribute", "value", "sentence"),
    [
        ("name", "", "Runtime.name must be a str"),
        ("version", None, "Runtime.version must be a str"),
        ("inputs", (), "Runtime.inputs must be a tuple of TensorSpec"),
        ("outputs", [Weights.output], "Runtime.outputs must be a tuple of TensorSpec"),
        ("output", TensorSpec("other", "float32", ()), "Runtime.output must be one of Runtime.outputs"),
        ("width", 0, "Runtime.width must be None or an int of at least 1"),
        ("details", {"opset": 17}, "Runtime.details must be a mapping of str to str"),
    ],
)
def test_a_broken_attribute_fails(attribute: str, value: Any, sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        check_runtime(type("Broken", (Weights,), {attribute: value}), GOOD)


def flat(self, tensor):
    return Weights.run(self, tensor)[:, 0]


def float64(self, tensor):
    return Weights.run(self, tensor).astype(np.float64)


def not_contiguous(self, tensor):
    return np.repeat(Weights.run(self, tensor), 2, axis=1)[:, ::2]


def a_row_less(self, tensor):
    return Weights.run(self, tensor)[1:]


def no_scores(self, tensor):
    return Weights.run(self, tensor)[:, :0]


def in_place(self, tensor):
    tensor *= self.weights
    return tensor.sum(axis=1, keepdims=True)


def mixes_rows(self, tensor):
    return Weights.run(self, tensor) - tensor.mean()


def gives_out_its_buffer(self, tensor):
    self.buffer = getattr(self, "buffer", np.zeros((64, 1), np.float32))
    out = self.buffer[: len(tensor)]
    out[:] = Weights.run(self, tensor)
    return out


def changes_over_time(self, tensor):
    self.runs = getattr(self, "runs", 0) + (len(tensor) == 64)
    return Weights.run(self, tensor) + np.float32(self.runs > 4)


def needs_the_main_thread(self, tensor):
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("only in the main thread")
    return Weights.run(self, tensor)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (flat, r"C-contiguous float32 of shape \(rows, scores a row\)"),
        (float64, "C-contiguous float32.*it gives float64"),
        (not_contiguous, "C-contiguous float32.*not contiguous"),
        (a_row_less, "a row of scores for each row"),
        (no_scores, "a row of scores for each row"),
        (in_place, "modifies the matrix"),
        (mixes_rows, "mixes rows"),
        (gives_out_its_buffer, "gives out memory that its next run overwrites"),
        (changes_over_time, "other scores for the same rows the second time"),
        (needs_the_main_thread, "is not safe in threads.*only in the main thread"),
    ],
)
def test_a_broken_run_fails(run: Callable[[Any, Any], Any], sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        check_runtime(type("Broken", (Weights,), {"run": run}), GOOD)


def test_an_input_that_threads_share_fails():
    meeting = threading.Barrier(THREADS)
    met: set[int] = {threading.get_ident()}

    class Sharing(Weights):
        def run(self, tensor: Any) -> Any:
            """Once, all threads meet between binding the shared input and running."""
            self.bound = tensor
            if threading.get_ident() not in met:
                met.add(threading.get_ident())
                meeting.wait()
            return super().run(self.bound)

    with pytest.raises(AssertionError, match="is not safe in threads"):
        check_runtime(Sharing, GOOD)


def returns_no_runtime(blob: Blob, settings: ModelSettings) -> Any:
    return object()


def takes_garbage(blob: Blob, settings: ModelSettings) -> Runtime:
    return Weights(GOOD, settings)


def leaks_its_own_error(blob: Blob, settings: ModelSettings) -> Runtime:
    if not blob.data:
        raise IndexError("no first byte")
    return Weights(blob, settings)


def ignores_the_output(blob: Blob, settings: ModelSettings) -> Runtime:
    return Weights(blob, ModelSettings())


def blames_another_key(blob: Blob, settings: ModelSettings) -> Runtime:
    try:
        return Weights(blob, settings)
    except ModelError as error:
        raise ModelError("model_path", str(error)) from error


def blames_nothing(blob: Blob, settings: ModelSettings) -> Runtime:
    try:
        return Weights(blob, settings)
    except ModelError as error:
        raise ModelError("", str(error)) from error


def says_nothing(blob: Blob, settings: ModelSettings) -> Runtime:
    try:
        return Weights(blob, settings)
    except ModelError as error:
        raise ModelError("model_path", "") from error


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (returns_no_runtime, "must return a Runtime; it returns object"),
        (takes_garbage, "must raise ModelError for the model bytes .*; it returned a runtime"),
        (leaks_its_own_error, "must raise ModelError for the model bytes .*; it raised IndexError"),
        (ignores_the_output, "must raise ModelError for an output that the model does not have"),
        (blames_another_key, "ModelError.key must be 'model.output'"),
        (blames_nothing, "ModelError.key must name the setting at fault"),
        (says_nothing, "ModelError must carry a message of one line"),
    ],
)
def test_a_broken_factory_fails(factory: Callable[[Blob, ModelSettings], Any], sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        check_runtime(factory, GOOD)
