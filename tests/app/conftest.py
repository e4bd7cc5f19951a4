"""A folder with a configuration, and what the application makes of it."""

import json
import logging
import os

import pytest

from hushar.app.preparing import Source, prepare
from hushar.testing import onnx_models

# Before onnxruntime is imported: it would send events to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

IDENTITY = {"type": "identity", "default_val": [0.5]}


@pytest.fixture(autouse=True)
def _messages_go_where_they_went():
    """`configure_messages` changes loggers of the whole process."""
    loggers = [logging.getLogger(name) for name in ("hushar", "purerpc")]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


class Workspace:
    """`service.json`, `vectorization.json`, `model.onnx`: two features, the score is -0.75 a - 0.5 b."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.write("model.onnx", onnx_models.linear(2, 1))
        self.vectorize(a=IDENTITY, b=IDENTITY)
        self.configure()

    def path(self, name):
        return str(self.folder / name)

    def write(self, name, content):
        """A file: bytes as they are, anything else as JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (self.folder / name).write_bytes(data)

    def configure(self, **keys):
        """The service configuration; None takes a key out."""
        keys = {
            "model_path": "model.onnx",
            "model_id": "tested",
            "vectorization_instruction_path": "vectorization.json",
            "port_number": 0,
            "metrics": {"sinks": []},
        } | keys
        self.write("service.json", {key: value for key, value in keys.items() if value is not None})

    def vectorize(self, order=None, **features):
        made = {"feature_transformations": features, "feature_order": order or list(features)}
        self.write("vectorization.json", made)

    def source(self, uri=None, **sources):
        return Source(uri or self.path("service.json"), **({"directory": str(self.folder)} | sources))

    async def prepare(self, **keys):
        """What is made of the configuration with these keys."""
        self.configure(**keys)
        return await prepare(self.source())


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")
