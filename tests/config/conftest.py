"""Configurations in memory: a document is bytes under a name."""

import json

import pytest

from hushar.config import examine_service
from hushar.errors import ConfigurationError
from hushar.storage.interface import Blob

REQUIRED = {"model_path": "m.onnx", "model_id": "m", "vectorization_instruction_path": "v.json"}


@pytest.fixture
def blob():
    """Make a Blob of bytes, text, or a value that becomes JSON."""

    def make(content, uri="service.json"):
        if isinstance(content, bytes):
            return Blob(uri, content)
        return Blob(uri, (content if isinstance(content, str) else json.dumps(content)).encode())

    return make


@pytest.fixture
def load(blob):
    """Load a service configuration; `values` are added to the required keys, a text stands alone."""

    def run(values=None, uri="service.json", *, options=None, overrides=(), environ=None):
        content = REQUIRED | (values or {}) if values is None or isinstance(values, dict) else values
        examined = examine_service(
            blob(content, uri),
            options=options or {},
            overrides=overrides,
            environ=environ or {},
            directory="/somewhere",
        )
        if examined.problems or examined.loaded is None:
            raise ConfigurationError(examined.problems)
        return examined.loaded

    return run


@pytest.fixture
def mistakes(load):
    """The lines of the error that loading ends with; arguments as for `load`."""

    def run(*args, **kwargs):
        with pytest.raises(ConfigurationError) as caught:
            load(*args, **kwargs)
        return [str(problem) for problem in caught.value.problems]

    return run
