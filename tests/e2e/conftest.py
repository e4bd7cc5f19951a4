"""Black-box tests: a `hushar serve` process, called by stock clients, against CONTRACT.md's words.

Nothing here imports hushar's implementation, except the generated purerpc stub that its users import
too. The helpers are modules beside this file; tests reach them through fixtures only.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

# Before these tests import onnxruntime themselves: it would send events to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# kernelkit.wire, which knows nothing of hushar.
sys.path.append(str(Path(__file__).parents[1] / "kernel"))


def _beside(name):
    """The helper module of that name in this folder, loaded by its path (tests are no package)."""
    full_name = f"hushar_e2e_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
    return sys.modules[full_name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Each of these starts a process or talks to one."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def wire():
    """Protobuf's wire format by hand."""
    return _beside("wire")


@pytest.fixture(scope="session")
def oracle():
    """The independent vectorization."""
    return _beside("oracle")


@pytest.fixture(scope="session")
def onnx_models():
    """Makers of ONNX models."""
    return _beside("onnx_models")


@pytest.fixture(scope="session")
def serving():
    """Processes, clients, logs."""
    return _beside("serving")


@pytest.fixture(scope="session")
def randomness():
    """Random configurations and rows."""
    return _beside("randomness")


@pytest.fixture(scope="session")
def messages(wire, tmp_path_factory):
    """Message classes made from `protos/` by protoc, in a descriptor pool of their own."""
    return wire.Messages(tmp_path_factory.mktemp("protos"))


@pytest.fixture(scope="session")
def session_servers(serving, tmp_path_factory):
    """Servers that live as long as the test session."""
    servers = serving.Servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def forker(serving, tmp_path_factory):
    """Runs short commands without importing everything anew."""
    forker = _beside("forking").Forker(serving.clean_environment(tmp_path_factory.mktemp("home")))
    yield forker
    forker.close()


@pytest.fixture
def servers(serving, tmp_path):
    """Servers of one test."""
    servers = serving.Servers(tmp_path)
    yield servers
    servers.close()


@pytest.fixture
def workspace(serving, tmp_path):
    """A folder for configurations, in which commands run."""
    return serving.Workspace(tmp_path / "workspace")


@pytest.fixture
def connect(serving, messages):
    """connect(server_or_address, credentials=None): a grpcio client, closed at the end."""
    clients = []

    def make(server, credentials=None):
        address = server if isinstance(server, str) else server.address
        clients.append(serving.Client(address, messages, credentials))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


EVERYTHING = {
    "feature_transformations": {
        "anything": {"type": "identity", "default_val": [-1.5]},
        "pair": {"type": "identity", "default_val": [0.25, -0.0]},
        "narrow": {"type": "min_max_scaling32", "min": -1.0, "max": 3.0, "default_val": [0.5]},
        "narrows": {"type": "standardization32", "mean": 0.1, "std_dev": 0.7, "default_val": [1, 2, 3]},
        "wide": {"type": "min_max_scaling64", "min": 0.1, "max": 1e9, "default_val": [7.0]},
        "wides": {"type": "standardization64", "mean": 1e-3, "std_dev": 3.3, "default_val": [8, 9]},
        "colour": {
            "type": "one_hot_encoding",
            "categories": ["red", "green", "blue"],
            "default_val": [0, 0, 0],
        },
        "colours": {
            "type": "one_hot_encoding",
            "categories": ["b", "a"],
            "default_val": [0.1, 0.2, 0.3, 0.4],
        },
        "word": {
            "type": "embedding",
            "embeddings": {"up": [1, 2], "down": [-1, -2]},
            "default_val": [0.5, 0.5],
        },
    },
    "feature_order": ["word", "anything", "pair", "narrow", "narrows", "wide", "wides", "colours", "colour"],
}
"""All seven transformations, scalars and arrays."""


@pytest.fixture(scope="session")
def everything():
    """A vectorization configuration with all seven transformations, of scalars and of arrays."""
    return EVERYTHING


@pytest.fixture(scope="session")
def echo_server(session_servers, onnx_models, oracle, everything):
    """Serves `everything` with a model whose scores are the vector; takes up to 50 rows; logs nothing."""
    model = onnx_models.echo(oracle.width(everything))
    settings = {"batching": {"max_call_rows": 50}}
    return session_servers.serve(model, everything, name="echo", **settings)


@pytest.fixture
def client(connect, echo_server):
    """A grpcio client of `echo_server`."""
    return connect(echo_server)
