import pytest

from hushar.models.onnx import load
from hushar.models.runtime import ModelSettings, Runtime
from hushar.storage.interface import Blob


@pytest.fixture
def loaded():
    """Loads the bytes of a model with those settings."""

    def load_model(model: bytes, **settings) -> Runtime:
        return load(Blob("model.onnx", model), ModelSettings(**settings))

    return load_model
