"""The sections `metrics` and `admin` of the service configuration. As to the texts under the keys see
hushar.config.service."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

from pydantic import Field, field_validator

from hushar.config.section import Name, Names, Seconds, Section, Workers

RESERVED_DIMENSION = "ModelId"
"""Is sent with every metric, whatever else is configured."""
BUCKETS: Final = (*(round(0.0001 * 2**power, 4) for power in range(17)), 10.0)
"""100 us, each twice the one before, and 10 s."""


class MetricsSection(Section):
    """What the server measures, and where that goes."""

    sinks: Names = ("stderr",)
    """Names of the metric sinks; plugins bring further ones. Empty: none."""
    workers: Workers = 1
    """Workers that take measurements from the queue."""
    interval_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 60.0
    """Seconds between two summaries."""
    queue_values: Annotated[int, Field(ge=1)] = 100_000
    """Measured values that may wait in memory. Full: new ones are dropped and counted."""
    namespace: Name = "HusharService"
    """Namespace of the metrics."""
    dimensions: Mapping[str, str] = Field(default_factory=dict)
    """Further dimensions, sent with every metric beside `ModelId`."""
    buckets: Annotated[tuple[Seconds, ...], Field(strict=False, min_length=1)] = BUCKETS
    """Seconds: the upper bounds of the buckets of the histograms at `/metrics`, ascending."""

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, buckets: tuple[float, ...]) -> tuple[float, ...]:
        for before, after in pairwise(buckets):
            if before >= after:
                raise ValueError(f"must ascend, got {before:g} before {after:g}")
        return buckets

    @field_validator("dimensions")
    @classmethod
    def _own_names(cls, dimensions: Mapping[str, str]) -> Mapping[str, str]:
        if RESERVED_DIMENSION in dimensions:
            raise ValueError(f"{RESERVED_DIMENSION} is always sent and cannot be set")
        for name, value in dimensions.items():
            if not name.strip() or not value.strip():
                raise ValueError("names and values must not be empty")
        return dimensions


class AdminSection(Section):
    """The port for operators: metrics, health, a status page. It asks nobody for a password."""

    host: Name = "127.0.0.1"
    """Address that the admin port listens on."""
    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """TCP port of `/metrics`, `/healthz`, `/readyz` and the status page; 0 picks a free one and prints it.
    None: off."""
