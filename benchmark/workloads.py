"""The workloads W1–W4 (docs/benchmark.md): configuration, model, request, and the matrix it must become.

Everything comes from fixed seeds: the same packages make the same files. The matrix is made beside
the request, by the formulas, so that answers can be checked without the code under test.
"""

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hushar.proto.structs_pb2 import DataType, InferenceRequest
from hushar.testing import onnx_models

CONNECTION_CONCURRENCY = 1000
"""Streams a connection: more than any load asks for, so that the client decides, as with the other servers,
which have no such limit or a higher one. hushar's default is 50."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload."""

    name: str
    summary: str
    vectorization: Mapping[str, Any]
    model: bytes
    request: bytes
    """A serialized hushar.InferenceRequest."""
    matrix: NDArray[np.float32]
    """What vectorization must make of the request: `(rows, width)`."""

    @property
    def framed(self) -> bytes:
        """The request as a gRPC message: flag, length, bytes. What h2load sends."""
        return struct.pack(">BI", 0, len(self.request)) + self.request

    def write(self, directory: Path) -> Path:
        """Write all files into `directory`; returns the service configuration's path."""
        directory.mkdir(parents=True, exist_ok=True)
        service = {
            "model_id": self.name,
            "model_path": "model.onnx",
            "vectorization_instruction_path": "vectorization.json",
            "connection_concurrency": CONNECTION_CONCURRENCY,
        }
        (directory / "model.onnx").write_bytes(self.model)
        (directory / "vectorization.json").write_text(json.dumps(self.vectorization, indent=1) + "\n")
        (directory / "service.json").write_text(json.dumps(service, indent=1) + "\n")
        (directory / "request.bin").write_bytes(self.request)
        (directory / "request.grpc").write_bytes(self.framed)
        np.save(directory / "matrix.npy", self.matrix)
        return directory / "service.json"


@dataclass(frozen=True, slots=True)
class _Feature:
    """One feature: how it is configured, and how a value of it and its columns are drawn."""

    name: str
    parameters: Mapping[str, Any]
    draw: Callable[[np.random.Generator], tuple[DataType, NDArray[np.float32]]]


def make(name: str, *, rows: int | None = None) -> Workload:
    """The workload of that name, with another number of rows where one is given. KeyError for another."""
    return WORKLOADS[name]() if rows is None else WORKLOADS[name](rows)


def w1(rows: int = 1) -> Workload:
    """The Rust benchmark client's request."""
    feature = _Feature("feature1", {"type": "identity", "default_val": [0.0]}, _identity_float)
    model = onnx_models.mlp([1, 1], seed=1)
    return _workload("W1", "1 row x 1 float feature, 1 -> 1", [feature], model, rows=rows, seed=1)


def w2(rows: int = 1) -> Workload:
    """A typical ranking or fraud call."""
    features = [_standardized(f"feature_{index:02d}", mean=0.5, std_dev=2.0) for index in range(50)]
    model = onnx_models.mlp([50, 32, 1], seed=2)
    return _workload("W2", "1 row x 50 float features, 50 -> 32 -> 1", features, model, rows=rows, seed=2)


def w3(rows: int = 50) -> Workload:
    """Many rows: 281 KB of request."""
    features = [_standardized(f"user_feature_{index:03d}", mean=0.5, std_dev=2.0) for index in range(212)]
    model = onnx_models.mlp([212, 64, 32, 1], seed=3)
    summary = "50 rows x 212 float features, 212 -> 64 -> 32 -> 1"
    return _workload("W3", summary, features, model, rows=rows, seed=3)


def w4(rows: int = 1) -> Workload:
    """All seven transformations, scalars and arrays: 22 features, 1,002 columns."""
    model = onnx_models.mlp([1002, 512, 256, 5], seed=4)
    summary = "1 row x 22 features of all transformations, 1002 -> 512 -> 256 -> 5"
    return _workload("W4", summary, list(_all_transformations()), model, rows=rows, seed=4)


def slow(rows: int = 10) -> Workload:
    """W2's rows, several a call, and a large model: a client can offer three times what is served."""
    features = [_standardized(f"feature_{index:02d}", mean=0.5, std_dev=2.0) for index in range(50)]
    model = onnx_models.mlp([50, 2048, 2048, 1], seed=5)
    summary = f"{rows} rows x 50 float features, 50 -> 2048 -> 2048 -> 1"
    return _workload("slow", summary, features, model, rows=rows, seed=5)


WORKLOADS: Mapping[str, Callable[..., Workload]] = {"W1": w1, "W2": w2, "W3": w3, "W4": w4}


def _workload(
    name: str, summary: str, features: Sequence[_Feature], model: bytes, *, rows: int, seed: int
) -> Workload:
    random = np.random.default_rng(seed)
    request = InferenceRequest(request_id=f"{name}-request")
    matrix: list[NDArray[np.float32]] = []
    for index in range(rows):
        row = request.inputs.add(row_id=f"row-{index:02d}")
        columns: list[NDArray[np.float32]] = []
        for feature in features:
            value, made = feature.draw(random)
            row.features[feature.name].CopyFrom(value)
            columns.append(made)
        matrix.append(np.concatenate(columns))
    vectorization = {
        "feature_transformations": {feature.name: dict(feature.parameters) for feature in features},
        "feature_order": [feature.name for feature in features],
    }
    message = request.SerializeToString(deterministic=True)
    return Workload(name, summary, vectorization, model, message, np.array(matrix, np.float32))


def _identity_float(random: np.random.Generator) -> tuple[DataType, NDArray[np.float32]]:
    value = random.standard_normal(1).astype(np.float32)
    return DataType(float_value=value[0]), value


def _standardized(name: str, *, mean: float, std_dev: float) -> _Feature:
    """A float feature by `standardization32`."""
    parameters = {"type": "standardization32", "mean": mean, "std_dev": std_dev, "default_val": [0.0]}

    def draw(random: np.random.Generator) -> tuple[DataType, NDArray[np.float32]]:
        value = random.standard_normal(1).astype(np.float32)
        return DataType(float_value=value[0]), (value - np.float32(mean)) / np.float32(std_dev)

    return _Feature(name, parameters, draw)


def _all_transformations() -> Iterator[_Feature]:
    """The features of W4; the widths add up to 1,002."""
    yield _Feature("identity_float", {"type": "identity", "default_val": [0.0]}, _identity_float)
    yield _Feature("identity_string", {"type": "identity", "default_val": [0.0]}, _identity_string)
    yield _numeric("identity_long", "identity", {}, "long_value")
    yield _numeric("identity_array", "identity", {}, "double_array", 16)
    bounds, moments = {"min": -4.0, "max": 6.0}, {"mean": 0.25, "std_dev": 1.75}
    yield _numeric("min_max32_float", "min_max_scaling32", bounds, "float_value")
    yield _numeric("min_max32_array", "min_max_scaling32", bounds, "float_array", 32)
    yield _numeric("min_max64_double", "min_max_scaling64", bounds, "double_value")
    yield _numeric("min_max64_array", "min_max_scaling64", bounds, "double_array", 32)
    yield _numeric("standard32_float", "standardization32", moments, "float_value")
    yield _numeric("standard32_integer", "standardization32", moments, "integer_value")
    yield _numeric("standard32_array", "standardization32", moments, "float_array", 64)
    yield _numeric("standard64_double", "standardization64", moments, "double_value")
    yield _numeric("standard64_long", "standardization64", moments, "long_value")
    yield _numeric("standard64_array", "standardization64", moments, "double_array", 64)
    yield _one_hot("one_hot_small", words=10)
    yield _one_hot("one_hot_large", words=100)
    yield _one_hot("one_hot_array", words=20, length=5)
    yield _one_hot("one_hot_long_array", words=25, length=7)
    yield _embedding("embedding_small", words=20, dimension=8)
    yield _embedding("embedding_large", words=200, dimension=64)
    yield _embedding("embedding_array", words=50, dimension=32, length=5)
    yield _embedding("embedding_long_array", words=50, dimension=24, length=7)


def _identity_string(random: np.random.Generator) -> tuple[DataType, NDArray[np.float32]]:
    text = f"{random.uniform(-10, 10):.3f}"
    return DataType(string_value=text), np.array([float(text)], np.float32)


_DTYPES = {"float": "f4", "integer": "i4", "double": "f8", "long": "i8"}


def _numeric(name: str, kind: str, parameters: Mapping[str, float], field: str, length: int = 1) -> _Feature:
    """A feature of numbers that arrives in `field` of DataType."""
    configured = {"type": kind, **parameters, "default_val": [0.0] * length}
    element, _, form = field.partition("_")
    number = np.float64 if kind.endswith("64") else np.float32

    def draw(random: np.random.Generator) -> tuple[DataType, NDArray[np.float32]]:
        values = (random.standard_normal(length) * 3).astype(_DTYPES[element])
        value = DataType()
        if form == "array":
            getattr(value, field).values.extend(values.tolist())
        else:
            setattr(value, field, values[0].item())
        return value, _scaled(values.astype(number), parameters).astype(np.float32)

    return _Feature(name, configured, draw)


def _scaled(values: NDArray[Any], parameters: Mapping[str, float]) -> NDArray[Any]:
    """The formula of the scaling transformations, in the dtype of `values`; identity has no parameters."""
    number = {name: np.array(value, values.dtype) for name, value in parameters.items()}
    scaled = values
    if "min" in number:
        scaled = (values - number["min"]) / (number["max"] - number["min"])
    elif "mean" in number:
        scaled = (values - number["mean"]) / number["std_dev"]
    return scaled


def _strings(texts: Sequence[str], *, array: bool) -> DataType:
    value = DataType()
    if array:
        value.string_array.values.extend(texts)
    else:
        value.string_value = texts[0]
    return value


def _one_hot(name: str, *, words: int, length: int | None = None) -> _Feature:
    categories = [f"{name}_{index:03d}" for index in range(words)]
    default = [0.0] * (words * (length or 1))
    parameters = {"type": "one_hot_encoding", "categories": categories, "default_val": default}

    def draw(random: np.random.Generator) -> tuple[DataType, NDArray[np.float32]]:
        chosen = random.integers(words, size=length or 1)
        texts = [categories[index] for index in chosen]
        return _strings(texts, array=length is not None), np.eye(words, dtype=np.float32)[chosen].ravel()

    return _Feature(name, parameters, draw)


def _embedding(name: str, *, words: int, dimension: int, length: int | None = None) -> _Feature:
    # Eighths: written into JSON and read again, they are the same float32.
    table = np.random.default_rng(words * dimension).integers(-16, 17, (words, dimension)) / 8
    names = [f"{name}_{index:03d}" for index in range(words)]
    parameters = {
        "type": "embedding",
        "embeddings": dict(zip(names, table.tolist(), strict=True)),
        "default_val": [0.0] * (dimension * (length or 1)),
    }

    def draw(random: np.random.Generator) -> tuple[DataType, NDArray[np.float32]]:
        chosen = random.integers(words, size=length or 1)
        texts = [names[index] for index in chosen]
        return _strings(texts, array=length is not None), table[chosen].astype(np.float32).ravel()

    return _Feature(name, parameters, draw)
