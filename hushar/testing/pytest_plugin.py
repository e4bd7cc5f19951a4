"""Fixtures for tests of plugins that talk to AWS: pytest finds them where hushar is installed.

Nothing is started before a test asks for it. `-p no:hushar` leaves them out.
"""

import os
import uuid
from collections.abc import Iterator

import pytest

from hushar.testing.aws import MotoServer, aws_environment
from hushar.testing.proxy import FaultyProxy


@pytest.fixture(scope="session")
def hushar_moto() -> Iterator[MotoServer]:
    """One moto server for the whole session. Tests want `aws_server` or `faulty_aws`, which empty it."""
    with MotoServer() as moto:
        yield moto


@pytest.fixture
def aws_server(hushar_moto: MotoServer, monkeypatch: pytest.MonkeyPatch) -> MotoServer:
    """An empty AWS (S3, CloudWatch, Kinesis, …) at `url`; the environment points to it.

    So do boto3, botocore and every process that the test starts with this environment.
    """
    hushar_moto.reset()
    point_to(hushar_moto.url, monkeypatch)
    return hushar_moto


@pytest.fixture
def faulty_aws(aws_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A FaultyProxy before `aws_server`; the environment points to the proxy."""
    with FaultyProxy(aws_server.url) as proxy:
        point_to(proxy.url, monkeypatch)
        yield proxy


@pytest.fixture
def aws_bucket(aws_server: MotoServer) -> str:
    """The name of an empty bucket of `aws_server`."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    aws_server.create_bucket(name)
    return name


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the environment's AWS the one at `endpoint`, for one test."""
    wanted = aws_environment(endpoint)
    for name in os.environ.keys() - wanted.keys():
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
