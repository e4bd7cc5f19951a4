"""Small ONNX models for tests and benchmarks, built with `onnx.helper` (package `onnx`).

Each function returns the bytes of a model file. The same arguments give the same bytes. Inputs are
called `x`, the scores `y`, and the number of rows is free (`N`) unless said otherwise.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

OPSET = 17
IR_VERSION = 8
"""Old enough for every onnxruntime that hushar can be installed with."""


def linear(
    width: int, outputs: int, *, dtype: DTypeLike = np.float32, rank: int = 2, free_width: bool = False
) -> bytes:
    """`y = x @ w + b` with `linear_weights`; rank 1 leaves out the axis of a single score.

    With `free_width`, the model declares any number of columns.
    """
    weights, bias = linear_weights(width, outputs, dtype)
    nodes: list[Sequence[Any]] = [("Gemm", ["x", "w", "b"], ["scores" if rank == 1 else "y"])]
    constants = {"w": weights, "b": bias}
    shape: list[Any] = ["N", outputs]
    if rank == 1:
        nodes.append(("Reshape", ["scores", "shape"], ["y"]))
        constants["shape"] = np.array([-1], np.int64)
        shape = ["N"]
    return _model(
        nodes,
        inputs={"x": (dtype, ["N", "width" if free_width else width])},
        outputs={"y": (dtype, shape)},
        constants=constants,
    )


def linear_weights(
    width: int, outputs: int, dtype: DTypeLike = np.float32
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`(w, b)` of `linear`: shapes `(width, outputs)` and `(outputs,)`, numbers that are exact in float32."""
    weights = (np.arange(width * outputs) % 7 - 3).reshape(width, outputs) / 4
    bias = np.arange(outputs) / 2
    return weights.astype(dtype), bias.astype(dtype)


def mlp(sizes: Sequence[int], seed: int) -> bytes:
    """A multi-layer perceptron, float32: `sizes` from the input's width to the scores, ReLU between.

    Weights are drawn from that seed and scaled by 1/sqrt(inputs), so that scores stay near 1.
    """
    random = np.random.default_rng(seed)
    nodes: list[Sequence[Any]] = []
    constants: dict[str, NDArray[Any]] = {}
    value, last = "x", len(sizes) - 2
    for layer, (rows, columns) in enumerate(itertools.pairwise(sizes)):
        constants[f"w{layer}"] = (random.standard_normal((rows, columns)) / rows**0.5).astype(np.float32)
        constants[f"b{layer}"] = (random.standard_normal(columns) / 10).astype(np.float32)
        result = "y" if layer == last else f"h{layer}"
        nodes.append(("Gemm", [value, f"w{layer}", f"b{layer}"], [result]))
        value = result
        if layer != last:
            nodes.append(("Relu", [result], [f"r{layer}"]))
            value = f"r{layer}"
    return _model(
        nodes,
        inputs={"x": (np.float32, ["N", sizes[0]])},
        outputs={"y": (np.float32, ["N", sizes[-1]])},
        constants=constants,
    )


def failing_on(value: float, width: int = 1) -> bytes:
    """`y = x`, but a run fails if the first column of any row is `value`.

    It then looks up an element beyond the end of a table.
    """
    return _model(
        [
            ("Gather", ["x", "first"], ["column"], {"axis": 1}),
            ("Equal", ["column", "value"], ["bad"]),
            ("Cast", ["bad"], ["index"], {"to": _onnx().TensorProto.INT64}),
            ("Gather", ["table", "index"], ["zero"], {"axis": 0}),
            ("Add", ["x", "zero"], ["y"]),
        ],
        inputs={"x": (np.float32, ["N", width])},
        outputs={"y": (np.float32, ["N", width])},
        constants={
            "first": np.array([0], np.int64),
            "value": np.array(value, np.float32),
            "table": np.zeros(1, np.float32),
        },
    )


def wrong_rows(width: int = 1) -> bytes:
    """An output of one row whatever goes in: the sum over the rows."""
    return _model(
        [("ReduceSum", ["x", "axes"], ["y"], {"keepdims": 1})],
        inputs={"x": (np.float32, ["N", width])},
        outputs={"y": (np.float32, ["M", width])},
        constants={"axes": np.array([0], np.int64)},
    )


def two_outputs(width: int) -> bytes:
    """`y = x` and `negative = -x`, both float32."""
    return _model(
        [("Identity", ["x"], ["y"]), ("Neg", ["x"], ["negative"])],
        inputs={"x": (np.float32, ["N", width])},
        outputs={"y": (np.float32, ["N", width]), "negative": (np.float32, ["N", width])},
    )


def two_inputs() -> bytes:
    """`y = x + z`."""
    return _model(
        [("Add", ["x", "z"], ["y"])],
        inputs={"x": (np.float32, ["N", 1]), "z": (np.float32, ["N", 1])},
        outputs={"y": (np.float32, ["N", 1])},
    )


def classifier_like(width: int) -> bytes:
    """As scikit-learn's classifiers are exported without ZipMap.

    `label`, int64 `(N)`, comes first; `probabilities`, float32 `(N, width)`, are softmax(x).
    """
    return _model(
        [
            ("Softmax", ["x"], ["probabilities"], {"axis": 1}),
            ("ArgMax", ["x"], ["label"], {"axis": 1, "keepdims": 0}),
        ],
        inputs={"x": (np.float32, ["N", width])},
        outputs={"label": (np.int64, ["N"]), "probabilities": (np.float32, ["N", width])},
    )


def identity(
    dtype: DTypeLike = np.float32,
    shape: Sequence[int | str | None] = ("N", 1),
    *,
    operator: str = "Identity",
    opset: int = OPSET,
) -> bytes:
    """`y = x` of any dtype and shape; or another operator of one input, also one that does not exist."""
    return _model(
        [(operator, ["x"], ["y"])],
        inputs={"x": (dtype, list(shape))},
        outputs={"y": (dtype, list(shape))},
        opset=opset,
    )


def deep_output() -> bytes:
    """`y` has rank 3: float32 `(N, 1, 1)`."""
    return _model(
        [("Unsqueeze", ["x", "axes"], ["y"])],
        inputs={"x": (np.float32, ["N", 1])},
        outputs={"y": (np.float32, ["N", 1, 1])},
        constants={"axes": np.array([2], np.int64)},
    )


def no_input() -> bytes:
    """A constant."""
    return _model(
        [("Identity", ["w"], ["y"])],
        inputs={},
        outputs={"y": (np.float32, [1, 1])},
        constants={"w": np.zeros((1, 1), np.float32)},
    )


def zipmap_like() -> bytes:
    """As scikit-learn's classifiers are exported with ZipMap: scores as a sequence of maps."""
    onnx = _onnx()
    kind = onnx.TensorProto
    model = onnx.load_model_from_string(identity(shape=("N", 2)))
    graph = model.graph
    graph.node[0].CopyFrom(
        onnx.helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    )
    element = onnx.helper.make_map_type_proto(
        kind.INT64, onnx.helper.make_tensor_type_proto(kind.FLOAT, None)
    )
    graph.output[0].CopyFrom(onnx.helper.make_value_info("y", onnx.helper.make_sequence_type_proto(element)))
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    return bytes(model.SerializeToString(deterministic=True))


def with_external_data(location: str, elements: int) -> bytes:
    """`linear(1, elements)` whose weights are not in the model but in the file `location`.

    The file's content is `linear_weights(1, elements)[0].tobytes()`.
    """
    onnx = _onnx()
    model = onnx.load_model_from_string(linear(1, elements))
    weights = next(each for each in model.graph.initializer if each.name == "w")
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    return bytes(model.SerializeToString(deterministic=True))


def _onnx() -> Any:
    """The package onnx, which only those who build models need."""
    import onnx  # noqa: PLC0415

    return onnx


def _model(
    nodes: Sequence[Sequence[Any]],
    *,
    inputs: Mapping[str, tuple[DTypeLike, Sequence[Any]]],
    outputs: Mapping[str, tuple[DTypeLike, Sequence[Any]]],
    constants: Mapping[str, NDArray[Any]] | None = None,
    opset: int = OPSET,
) -> bytes:
    """A model of nodes `(operator, inputs, outputs[, attributes])`."""
    onnx = _onnx()
    helper = onnx.helper

    def info(name: str, dtype: DTypeLike, shape: Sequence[Any]) -> Any:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, element, list(shape))

    graph = helper.make_graph(
        [helper.make_node(node[0], node[1], node[2], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "graph",
        [info(name, *spec) for name, spec in inputs.items()],
        [info(name, *spec) for name, spec in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
        producer_name="hushar.testing",
    )
    return bytes(model.SerializeToString(deterministic=True))
