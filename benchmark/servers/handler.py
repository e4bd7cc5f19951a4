"""What the comparison servers do with a request: as one writes it by hand, with protobuf and numpy.

Every request is decoded into protobuf objects, vectorized (numbers of a dtype as one array, words by a
table of their columns), run by itself and answered; nothing is joined, logged or measured. It takes
only the requests of the workloads: no defaults, no errors of its own. In which field of DataType a
feature comes, which the author of such a server knows, is taken from the first request.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hushar.proto.structs_pb2 import InferenceRequest, InferenceResponse, InputRow

MAX_MESSAGE_BYTES = 64 << 20
"""Of the comparison servers: calls of many rows are larger than gRPC's usual 4 MiB."""

_DTYPES = {"float": "f4", "integer": "i4", "double": "f8", "long": "i8"}
_WORDS = ("one_hot_encoding", "embedding")

Fill = Callable[[Sequence[InputRow], NDArray[np.float32]], None]
"""Writes the columns of some features, for all rows, into the matrix."""


@dataclass(frozen=True)
class _Feature:
    name: str
    parameters: Mapping[str, Any]
    start: int
    stop: int

    @property
    def scale(self) -> tuple[float, float]:
        """What is subtracted, and what is divided by."""
        given = self.parameters
        if "min" in given:
            return given["min"], given["max"] - given["min"]
        return given.get("mean", 0.0), given.get("std_dev", 1.0)

    @property
    def dtype(self) -> str:
        """In which its formula is computed."""
        return "f8" if self.parameters["type"].endswith("64") else "f4"


class Handler:
    """Scores requests with the model and vectorization of a service configuration."""

    def __init__(self, service: Path) -> None:
        configuration = json.loads(service.read_text())
        vectorization = json.loads(
            (service.parent / configuration["vectorization_instruction_path"]).read_text()
        )
        self._features: list[_Feature] = []
        self._width = 0
        for name in vectorization["feature_order"]:
            parameters = vectorization["feature_transformations"][name]
            stop = self._width + len(parameters["default_val"])
            self._features.append(_Feature(name, parameters, self._width, stop))
            self._width = stop
        self._fills: list[Fill] = []
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        model = str(service.parent / configuration["model_path"])
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def score(self, request: InferenceRequest) -> InferenceResponse:
        """The answer to a request."""
        rows = request.inputs
        if not self._fills:
            self._fills = list(_plan(self._features, rows[0]))
        matrix = np.empty((len(rows), self._width), np.float32)
        for fill in self._fills:
            fill(rows, matrix)
        (scores,) = self._session.run(None, {self._input: matrix})
        response = InferenceResponse(request_id=request.request_id)
        add = response.outputs.add
        for row, row_scores in zip(rows, scores.tolist(), strict=True):
            add(row_id=row.row_id, scores=row_scores)
        return response


def _plan(features: Sequence[_Feature], example: InputRow) -> list[Fill]:
    """How the matrix is filled, for requests that look like the example."""
    fills: list[Fill] = []
    alike: dict[tuple[str, str], list[_Feature]] = {}
    for feature in features:
        kind = example.features[feature.name].WhichOneof("data_type")
        if feature.parameters["type"] in _WORDS:
            fills.append(_words(feature, kind))
        elif kind.startswith("string"):
            fills.append(_texts(feature, kind))
        elif kind.endswith("_value"):
            alike.setdefault((kind, feature.dtype), []).append(feature)
        else:
            fills.append(_array(feature, kind))
    return [*fills, *(_scalars(each, kind, dtype) for (kind, dtype), each in alike.items())]


def _scalars(features: Sequence[_Feature], kind: str, dtype: str) -> Fill:
    """All features that are one number of the same kind, scaled in the same dtype."""
    names = [feature.name for feature in features]
    columns: Any = [feature.start for feature in features]
    if columns == list(range(columns[0], columns[0] + len(columns))):
        columns = slice(columns[0], columns[0] + len(columns))
    low, span = np.array([feature.scale for feature in features], dtype).T
    number = attrgetter(kind)
    came_as = _DTYPES[kind.partition("_")[0]]

    def fill(rows: Sequence[InputRow], matrix: NDArray[np.float32]) -> None:
        values = [list(map(number, map(row.features.__getitem__, names))) for row in rows]
        matrix[:, columns] = (np.array(values, came_as) - low) / span

    return fill


def _array(feature: _Feature, kind: str) -> Fill:
    """A feature that is an array of numbers."""
    low, span = np.array(feature.scale, feature.dtype)
    name, start, stop = feature.name, feature.start, feature.stop
    array = attrgetter(f"{kind}.values")
    came_as = _DTYPES[kind.partition("_")[0]]

    def fill(rows: Sequence[InputRow], matrix: NDArray[np.float32]) -> None:
        values = np.array([array(row.features[name]) for row in rows], came_as)
        matrix[:, start:stop] = (values - low) / span

    return fill


def _texts(feature: _Feature, kind: str) -> Fill:
    """A feature whose numbers come as text."""
    name, start, stop = feature.name, feature.start, feature.stop
    texts = _strings(kind)

    def fill(rows: Sequence[InputRow], matrix: NDArray[np.float32]) -> None:
        matrix[:, start:stop] = [list(map(float, texts(row.features[name]))) for row in rows]

    return fill


def _words(feature: _Feature, kind: str) -> Fill:
    """A one-hot encoding or an embedding: each word has its columns in a table."""
    parameters = feature.parameters
    if parameters["type"] == "embedding":
        table = np.array(list(parameters["embeddings"].values()), np.float32)
        places = {word: place for place, word in enumerate(parameters["embeddings"])}
    else:
        table = np.eye(len(parameters["categories"]), dtype=np.float32)
        places = {word: place for place, word in enumerate(parameters["categories"])}
    name, start, stop = feature.name, feature.start, feature.stop
    texts = _strings(kind)

    def fill(rows: Sequence[InputRow], matrix: NDArray[np.float32]) -> None:
        chosen = [[places[word] for word in texts(row.features[name])] for row in rows]
        matrix[:, start:stop] = table[chosen].reshape(len(rows), -1)

    return fill


def _strings(kind: str) -> Callable[[Any], Sequence[str]]:
    """The strings of a feature; a single one is a sequence of one."""
    if kind == "string_value":
        return lambda value: (value.string_value,)
    return attrgetter("string_array.values")


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
