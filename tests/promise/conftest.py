"""The failure matrix, end to end: a `hushar serve` process under load between a client and a fake AWS.

What the client was answered is compared with what boto3 finds in the store. The processes and models are
those of tests/e2e.
"""

import importlib.util
import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from hushar.testing import FaultyProxy, MotoServer
from hushar.testing.pytest_plugin import point_to

HERE = Path(__file__).parent
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.append(str(HERE))


from promisekit.serving import make_service  # noqa: E402
from promisekit.stores import S3Store  # noqa: E402


def of_e2e(name):
    """A helper module of tests/e2e, loaded by its path (tests are no package)."""
    full_name = f"hushar_e2e_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, HERE.parent / "e2e" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
    return sys.modules[full_name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Each of these starts a process or talks to one."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


@dataclass
class Aws:
    """A fake AWS, the proxy before it that the environment points to, and a bucket."""

    moto: MotoServer
    proxy: FaultyProxy
    bucket: str
    store: S3Store

    @property
    def uri(self):
        return f"s3://{self.bucket}/logs"


def make_aws(moto, monkeypatch):
    bucket = f"promise-{uuid.uuid4().hex[:12]}"
    moto.create_bucket(bucket)
    store = S3Store(moto.url, bucket, "logs/")
    with FaultyProxy(moto.url) as proxy:
        point_to(proxy.url, monkeypatch)
        yield Aws(moto, proxy, bucket, store)
    store.close()


@pytest.fixture
def aws(hushar_moto, monkeypatch):
    """For one test."""
    yield from make_aws(hushar_moto, monkeypatch)


@pytest.fixture(scope="module")
def shared_aws(hushar_moto):
    """For the tests of one module."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield from make_aws(hushar_moto, monkeypatch)


@pytest.fixture(scope="session")
def model():
    """Gives back its one feature."""
    return of_e2e("onnx_models").echo(1)


@pytest.fixture(scope="session")
def forker(tmp_path_factory):
    """Runs short commands without importing everything anew."""
    environment = of_e2e("serving").clean_environment(tmp_path_factory.mktemp("home"))
    forker = of_e2e("forking").Forker(environment)
    yield forker
    forker.close()


@pytest.fixture
def servers(tmp_path):
    """Processes that live as long as one test."""
    servers = of_e2e("serving").Servers(tmp_path)
    yield servers
    servers.close()


@pytest.fixture
def serve(servers, forker, model):
    """serve(uri, log={…}, …): a Service that is started; all are ended with the test."""

    def start(uri, **settings):
        return make_service(servers, forker, model, uri, **settings).start()

    return start


@pytest.fixture(scope="module")
def shared_servers(tmp_path_factory):
    """Processes that live as long as the tests of one module."""
    servers = of_e2e("serving").Servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.close()
