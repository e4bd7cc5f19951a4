"""The workloads fit the server that they are for, and are the same every time."""

import importlib.util
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from hushar.config.vectorization import parse_vectorization
from hushar.features.plan import check_width, compile_plan
from hushar.features.transformations import BUILTIN
from hushar.features.vectorize import kernel_problem, make_vectorizer
from hushar.models.onnx import load
from hushar.models.runtime import ModelSettings
from hushar.models.served import warm_up
from hushar.storage.interface import Blob

SOURCE = Path(__file__).resolve().parents[2] / "benchmark" / "workloads.py"


@pytest.fixture(scope="module")
def workloads():
    specification = importlib.util.spec_from_file_location("benchmark_workloads", SOURCE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        specification.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[module.__name__]


@pytest.fixture(params=["W1", "W2", "W3", "W4"])
def name(request) -> str:
    return request.param


def compiled(workload):
    data = json.dumps(workload.vectorization).encode()
    return compile_plan(parse_vectorization(Blob("vectorization.json", data)), BUILTIN)


@pytest.mark.parametrize("rows", [None, 7])
@pytest.mark.parametrize("kernel", ["reference", "cython"])
def test_the_request_becomes_the_matrix_bit_for_bit(workloads, name, kernel, rows):
    if kernel == "cython" and kernel_problem(kernel) is not None:
        pytest.skip(
            "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"
        )
    workload = workloads.make(name, rows=rows)
    vectorizer = make_vectorizer(compiled(workload), kernel)
    vectorized = vectorizer.vectorize([workload.request], vectorizer.count([workload.request]))
    assert not vectorized.errors
    assert len(vectorized.matrix) == rows or rows is None
    assert vectorized.matrix.tobytes() == workload.matrix.tobytes()


def test_the_vectorization_fits_the_model(workloads, name):
    workload = workloads.make(name)
    plan, runtime = compiled(workload), load(Blob("model.onnx", workload.model), ModelSettings())
    assert check_width(plan, runtime.width, model_uri="model.onnx") is None
    assert warm_up(runtime, plan.row_default) == {"W4": 5}.get(name, 1)


def test_the_same_every_time(workloads, name):
    one, other = workloads.make(name), workloads.make(name)
    assert (one.request, one.model) == (other.request, other.model)


def test_shapes(workloads):
    shapes = {name: workloads.make(name).matrix.shape for name in workloads.WORKLOADS}
    assert shapes == {"W1": (1, 1), "W2": (1, 50), "W3": (50, 212), "W4": (1, 1002)}
    w4 = workloads.make("W4").vectorization["feature_transformations"]
    assert len(w4) == 22
    assert {parameters["type"] for parameters in w4.values()} == set(BUILTIN)


def test_files(workloads, tmp_path):
    workload = workloads.make("W1")
    service = json.loads(workload.write(tmp_path / "W1").read_text())
    assert (tmp_path / "W1" / service["model_path"]).read_bytes() == workload.model
    assert (tmp_path / "W1" / service["vectorization_instruction_path"]).is_file()
    np.testing.assert_array_equal(np.load(tmp_path / "W1" / "matrix.npy"), workload.matrix)
    framed = (tmp_path / "W1" / "request.grpc").read_bytes()
    assert struct.unpack(">BI", framed[:5]) == (0, len(workload.request))
    assert framed[5:] == (tmp_path / "W1" / "request.bin").read_bytes() == workload.request
