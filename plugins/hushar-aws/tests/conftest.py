"""Fixtures for the tests of the plugin: a fake AWS, something before it that fails, and a stock boto3."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest

from hushar.plugins import Segment
from hushar.testing import segment
from hushar.testing.exchanges import Answer
from hushar.testing.faults import Exchange, Fault
from hushar.testing.pytest_plugin import aws_bucket, aws_server, faulty_aws, hushar_moto

__all__ = ["aws_bucket", "aws_server", "faulty_aws", "hushar_moto"]


class NoDelay(Random):
    """Draws the shortest delay."""

    def random(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Canned(Fault):
    """An answer that was written beforehand."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def act(self, exchange: Exchange) -> None:
        exchange.read()
        exchange.answer(Answer(self.status, self.headers, self.body))


@pytest.fixture
def no_delay() -> Random:
    return NoDelay()


@pytest.fixture
def canned() -> type[Canned]:
    return Canned


@pytest.fixture
def s3(aws_server) -> Any:
    """A stock boto3."""
    return boto3.client("s3", endpoint_url=aws_server.url)


@pytest.fixture
def objects(s3, aws_bucket) -> Callable[[], dict[str, bytes]]:
    """Everything in the bucket: key → content."""

    def read() -> dict[str, bytes]:
        listed = s3.list_objects_v2(Bucket=aws_bucket).get("Contents", [])
        return {
            each["Key"]: s3.get_object(Bucket=aws_bucket, Key=each["Key"])["Body"].read() for each in listed
        }

    return read


@pytest.fixture
def make_segment(tmp_path: Path) -> Callable[..., Segment]:
    """make_segment(size=None): a segment, of so many bytes if they are given."""

    def make(size: int | None = None) -> Segment:
        one = segment(tmp_path)
        if size is not None:
            one.path.write_bytes(Random(size).randbytes(size))
        return one

    return make
