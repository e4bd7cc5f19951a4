"""What a log sink and a metric sink are, and what they get.

A log sink has one job: deliver a closed segment. Batching, retry, back-off, survival of a crash and
of an outage are the log sidecar's, the same for every sink. A metric sink gets one batch an interval.

Both are made by a factory (`hushar_log_sinks`, `hushar_metric_sinks`), which does no I/O; then
`open()` once, any number of `deliver()` / `emit()`, `aclose()` once, all in the event loop of trio.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Compression = Literal["none", "gzip", "zstd"]
"""How the bytes of a segment's file are compressed."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A closed segment: a file in the spool that holds one `InferenceLogs` message, perhaps compressed."""

    path: Path
    """The file. Its bytes are delivered as they are. A sink may move it away (a rename is a delivery); it
    must not change it. One that needs the message itself reads it with `hushar.plugins.read_segment`."""
    key: str
    """Relative name at the destination: `year=…/month=…/day=…/hour=…/mi=…/<uuid4>_<micros>.pb`, with `.gz`
    or `.zst` behind it where the file is compressed, always `/` between the parts. A repeated delivery
    has the same key and the same bytes, and overwrites its own object."""
    size_bytes: int
    """Of the file."""
    batches: int
    """Records (calls) in the file. 0: the message has a SegmentInfo only, which says how many segments
    and batches its worker has written in all. It is delivered like any other."""
    opened_unix_micros: int
    compression: Compression = "none"
    """Of the file."""


class LogSink(ABC):
    """Where closed segments go. One instance serves every worker; calls may overlap."""

    @property
    @abstractmethod
    def description(self) -> str:
        """For the banner: where it writes, without secrets. `s3://bucket/prefix`, a directory."""

    async def check(self) -> None:
        """Raise the ConfigurationError that `open` would raise, as far as that can be known without
        leaving anything behind: `hushar check` asks, and so does every start."""

    async def open(self) -> None:
        """Prepare. A ConfigurationError (unwritable directory) stops the start; an outage must not
        raise: the server serves and spools while a sink is down.
        """

    @abstractmethod
    async def deliver(self, segment: Segment) -> None:
        """Bring the segment to its destination, complete or not at all; return once it is there.

        Delivering the same segment again must leave exactly one object. Raises SinkError (tried
        again), SinkRefused (tried again slowly) or SegmentRefused (counted, then dead-lettered).
        Anything else that it raises is treated as a SinkError and logged with its traceback.
        """

    async def aclose(self) -> None:
        """Release what `open` took. Called once, also after a failed delivery."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """All values of one metric in one interval."""

    name: str
    unit: str
    """"Microseconds" or "Count"."""
    values: NDArray[np.float64]
    """Shape `(n,)`, ascending, n ≥ 1."""
    counts: NDArray[np.int64] | None = None
    """Shape `(n,)`: how often each of `values` occurred, ≥ 1. None: once each."""

    @property
    def count(self) -> int:
        """How many values there were."""
        return len(self.values) if self.counts is None else int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Of all values."""
        return float(np.average(self.values, weights=self.counts))

    @property
    def maximum(self) -> float:
        """Of all values."""
        return float(self.values[-1])

    def quantile(self, q: float) -> float:
        """The smallest value with at least the share `q` (0–1) of all values at or below it."""
        rank = max(1, math.ceil(q * self.count))
        if self.counts is None:
            return float(self.values[rank - 1])
        return float(self.values[np.searchsorted(np.cumsum(self.counts), rank)])


@dataclass(frozen=True, slots=True)
class Counter:
    """How often something happened in one interval; as a gauge, how much there is of something."""

    name: str
    value: float
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MetricBatch:
    """What happened in one interval."""

    namespace: str
    dimensions: Mapping[str, str]
    """`ModelId`, and those configured."""
    start_unix_seconds: float
    end_unix_seconds: float
    distributions: tuple[Distribution, ...]
    counters: tuple[Counter, ...]
    gauges: tuple[Counter, ...] = ()
    """What there was of something when the interval ended; 0 is a value like any other."""
    model_version: str = ""
    """The version of the model that is served; empty if it is not known."""


class MetricSink(ABC):
    """Where metric batches go. Best effort: what a sink fails to take is counted, not kept."""

    @property
    @abstractmethod
    def description(self) -> str:
        """For the banner."""

    async def check(self) -> None:
        """As for LogSink."""

    async def open(self) -> None:
        """Prepare; as for LogSink."""

    @abstractmethod
    async def emit(self, batch: MetricBatch) -> None:
        """Send or print the batch. Raises SinkError if that failed."""

    async def aclose(self) -> None:
        """Release what `open` took."""
