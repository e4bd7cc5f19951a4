"""ONNX models whose scores show something, made with `onnx.helper`; functions return the file's bytes."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64


def _model(nodes, width, *, kind=FLOAT, outputs=None, constants=None, opset=17):
    x = helper.make_tensor_value_info("x", kind, ["rows", width])
    outputs = outputs or [("scores", kind, ["rows", None])]
    graph = helper.make_graph(
        nodes,
        "graph",
        [x],
        [helper.make_tensor_value_info(name, element, shape) for name, element, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return model.SerializeToString()


def _node(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def echo(width):
    """The scores are the row's vector, bit for bit."""
    return _model([_node("Identity", "x", "scores")], width, outputs=[("scores", FLOAT, ["rows", width])])


def echo_double(width):
    """The same in float64, so that scores are narrowed on the way out."""
    return _model([_node("Mul", "x tenth", "scores")], width, kind=DOUBLE, constants={"tenth": np.array(0.1)})


def mlp(width, seed, outputs=3):
    """width → 16 → outputs, with weights from that seed."""
    random = np.random.default_rng(seed)
    shapes = {"w1": (width, 16), "b1": (16,), "w2": (16, outputs), "b2": (outputs,)}
    constants = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        _node("Gemm", "x w1 b1", "hidden"),
        _node("Relu", "hidden", "active"),
        _node("Gemm", "active w2 b2", "scores"),
    ]
    return _model(nodes, width, constants=constants, outputs=[("scores", FLOAT, ["rows", outputs])])


def total(width):
    """An output of rank 1: the sum of each row."""
    nodes = [_node("ReduceSum", "x axes", "scores", keepdims=0)]
    return _model(nodes, width, constants={"axes": np.array([1])}, outputs=[("scores", FLOAT, ["rows"])])


def classifier():
    """As sklearn's exporter makes them without ZipMap: labels first, probabilities an output of their own."""
    nodes = [
        _node("Sigmoid", "x", "yes"),
        _node("Sub", "one yes", "no"),
        _node("Concat", "no yes", "probabilities", axis=1),
        _node("ArgMax", "probabilities", "label", axis=1, keepdims=0),
    ]
    return _model(
        nodes,
        1,
        constants={"one": np.array(1, np.float32)},
        outputs=[("label", INT64, ["rows"]), ("probabilities", FLOAT, ["rows", 2])],
    )


def lookup():
    """Fails inside of onnxruntime for a row whose value is no index into four rows of a table."""
    nodes = [_node("Cast", "x", "index", to=INT64), _node("Gather", "table index", "scores", axis=0)]
    table = np.array([10, 11, 12, 13], np.float32)
    return _model(nodes, 1, constants={"table": table}, outputs=[("scores", FLOAT, ["rows", 1])])


def forgetful():
    """Leaves out the rows below minus one: an output with fewer rows than the input."""
    nodes = [
        _node("Greater", "x limit", "kept"),
        _node("Reshape", "kept shape", "flat"),
        _node("Compress", "x flat", "scores", axis=0),
    ]
    constants = {"limit": np.array(-1, np.float32), "shape": np.array([-1])}
    return _model(nodes, 1, constants=constants, outputs=[("scores", FLOAT, [None, 1])])


def slow():
    """Echoes one column, after as many thousands of small matrix products as the largest value says."""
    body = helper.make_graph(
        [_node("Identity", "go", "go_on"), _node("MatMul", "state weights", "next")],
        "body",
        [
            helper.make_tensor_value_info("step", INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, [64, 64]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, [64, 64]),
        ],
    )
    nodes = [
        _node("Mul", "x thousand", "steps_of_rows"),
        _node("ReduceMax", "steps_of_rows", "steps_as_float", keepdims=0),
        _node("Cast", "steps_as_float", "steps", to=INT64),
        helper.make_node("Loop", ["steps", "yes", "weights"], ["last"], body=body),
        _node("ReduceSum", "last", "sum", keepdims=0),
        _node("Mul", "sum nothing", "zero"),
        _node("Add", "x zero", "scores"),
    ]
    constants = {
        "thousand": np.array(1000, np.float32),
        "yes": np.array(True),
        "weights": np.eye(64, dtype=np.float32),
        "nothing": np.array(0, np.float32),
    }
    return _model(nodes, 1, constants=constants, outputs=[("scores", FLOAT, ["rows", 1])])


def text_input():
    """A model that hushar cannot feed: its input is a tensor of strings."""
    nodes = [_node("Shape", "x", "shape"), _node("Cast", "shape", "scores", to=FLOAT)]
    return _model(nodes, 1, kind=TensorProto.STRING, outputs=[("scores", FLOAT, [2])])


def unknown_operator():
    return _model([_node("NoSuchOperator", "x", "scores")], 1)


def unknown_opset():
    return _model([_node("Identity", "x", "scores")], 1, opset=999)
