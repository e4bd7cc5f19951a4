"""The models that other tests and the benchmarks are made with."""

import numpy as np
import onnx
import onnxruntime
import pytest

from hushar.testing import onnx_models

VALID = {
    "linear": lambda: onnx_models.linear(3, 2),
    "linear, float64": lambda: onnx_models.linear(3, 2, dtype=np.float64),
    "linear, rank 1": lambda: onnx_models.linear(3, 1, rank=1),
    "linear, free width": lambda: onnx_models.linear(3, 1, free_width=True),
    "mlp": lambda: onnx_models.mlp([4, 3, 2], seed=5),
    "failing_on": lambda: onnx_models.failing_on(1.5),
    "wrong_rows": onnx_models.wrong_rows,
    "two_outputs": lambda: onnx_models.two_outputs(2),
    "two_inputs": onnx_models.two_inputs,
    "classifier_like": lambda: onnx_models.classifier_like(2),
    "identity": onnx_models.identity,
    "zipmap_like": onnx_models.zipmap_like,
    "deep_output": onnx_models.deep_output,
    "no_input": onnx_models.no_input,
}


@pytest.mark.parametrize("build", VALID.values(), ids=VALID.keys())
def test_they_are_valid_and_the_same_every_time(build):
    model = build()
    assert model == build()
    onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)


def test_an_mlp_is_decided_by_its_seed():
    assert onnx_models.mlp([2, 2], seed=1) != onnx_models.mlp([2, 2], seed=2)


def test_an_mlp_has_one_layer_less_than_sizes():
    session = onnxruntime.InferenceSession(onnx_models.mlp([50, 32, 1], seed=1))
    (scores,) = session.run(["y"], {"x": np.ones((3, 50), np.float32)})
    assert scores.shape == (3, 1)
    graph = onnx.load_model_from_string(onnx_models.mlp([50, 32, 1], seed=1)).graph
    assert [node.op_type for node in graph.node] == ["Gemm", "Relu", "Gemm"]
