"""Logs, written with plain protobuf."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hushar.proto.structs_pb2 import DataType, InferenceLogBatch, InferenceLogRow, InferenceLogs

SECOND = 1_000_000


def make_batch(request_id: str, received: int = 0, model_id: str = "m") -> InferenceLogBatch:
    features = {"age": DataType(float_value=1.5), "city": DataType(string_value="Pune")}
    row = InferenceLogRow(row_id="r", features=features, scores=[0.1, 2])
    return InferenceLogBatch(
        request_id=request_id, model_id=model_id, inference_log_rows=[row], received_unix_micros=received
    )


@pytest.fixture
def batch() -> Callable[..., InferenceLogBatch]:
    return make_batch


@pytest.fixture
def write_log(tmp_path) -> Callable[..., Path]:
    """Writes a log file of batches below `tmp_path`."""

    def write(name: str, *batches: InferenceLogBatch) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(InferenceLogs(inferenceLogBatches=batches).SerializeToString())
        return path

    return write
