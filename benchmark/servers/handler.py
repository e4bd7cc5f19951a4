"""What the comparison servers do with a request: the plain way to write it by hand.

Every request is decoded into protobuf objects, vectorized value by value, run by itself and answered;
nothing is joined, logged or measured. It takes only the requests of the workloads: no defaults, no
errors of its own.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from hushar.proto.structs_pb2 import DataType, InferenceRequest, InferenceResponse, InputRow

Transform = Callable[[list[Any]], list[Any]]


class Handler:
    """Scores requests with the model and vectorization of a service configuration."""

    def __init__(self, service: Path) -> None:
        configuration = json.loads(service.read_text())
        vectorization = json.loads(
            (service.parent / configuration["vectorization_instruction_path"]).read_text()
        )
        features = vectorization["feature_transformations"]
        self._transforms = [(name, _transform(features[name])) for name in vectorization["feature_order"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        model = str(service.parent / configuration["model_path"])
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def score(self, request: InferenceRequest) -> InferenceResponse:
        """The answer to a request."""
        matrix = [
            [
                column
                for name, transform in self._transforms
                for column in transform(_values(row.features[name]))
            ]
            for row in request.inputs
        ]
        (scores,) = self._session.run(None, {self._input: np.array(matrix, np.float32)})
        response = InferenceResponse(request_id=request.request_id)
        for row, row_scores in zip(request.inputs, scores, strict=True):
            response.outputs.add(row_id=row.row_id, scores=row_scores.tolist())
        return response

    def _columns(self, row: InputRow) -> list[Any]:
        return [
            column
            for name, transform in self._transforms
            for column in transform(_values(row.features[name]))
        ]


def _values(value: DataType) -> list[Any]:
    """The values of a feature; a scalar is a list of one."""
    held = getattr(value, value.WhichOneof("data_type"))
    return list(held.values) if hasattr(held, "values") else [held]


def _transform(parameters: Mapping[str, Any]) -> Transform:
    kind = parameters["type"]
    if kind == "identity":
        return lambda values: [float(value) for value in values]
    if kind == "one_hot_encoding":
        size = len(parameters["categories"])
        rows = {
            category: [float(index == place) for index in range(size)]
            for place, category in enumerate(parameters["categories"])
        }
        return lambda values: [column for value in values for column in rows[value]]
    if kind == "embedding":
        table = parameters["embeddings"]
        return lambda values: [column for value in values for column in table[value]]
    if kind.startswith("min_max"):
        low, span = parameters["min"], parameters["max"] - parameters["min"]
    else:
        low, span = parameters["mean"], parameters["std_dev"]
    return lambda values: [(value - low) / span for value in values]


def arguments(description: str) -> tuple[Path, int]:
    """The service configuration and the port that a server was started with."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("service", type=Path, metavar="SERVICE.json")
    parser.add_argument("--port", type=int, default=0, help="0 picks one")
    parsed = parser.parse_args()
    return parsed.service, parsed.port


def ready(port: int) -> None:
    """Say where the server listens, in the words of `hushar serve`."""
    print(f"listening on 127.0.0.1:{port}", file=sys.stderr, flush=True)
