"""What the admin port tells: plain records, read in one go in the event loop, so that they agree.

The room knows no other room's objects but these; `hushar.app` fills them.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hushar.sidecars.durations import Buckets
from hushar.sidecars.ledger import LogStatistics

UNKNOWN: Final = "unknown"
"""Service and method of calls to methods that there are not: a client must not make up labels."""


class State(enum.StrEnum):
    """Where in its life the server is."""

    STARTING = "starting"
    """Reading its files, warming up the model."""
    READY = "ready"
    DRAINING = "draining"
    """From SIGTERM on, to the end."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served; does not change."""

    model: str
    version: str
    runtime: str
    kernel: str
    hushar: str


@dataclass(frozen=True, slots=True)
class Method:
    """The calls of one gRPC method, since the start."""

    service: str
    method: str
    in_flight: int
    """Not over."""
    handled: Mapping[str, int]
    """Over, by the name of their status."""

    @property
    def started(self) -> int:
        """All that were begun."""
        return self.in_flight + sum(self.handled.values())


@dataclass(frozen=True, slots=True)
class Sink:
    """Where the log or the metrics go."""

    name: str
    up: bool
    """Whether the last attempt succeeded, or none was made."""
    errors: Mapping[str, int]
    """Failed attempts since the start, by reason; every reason has an entry."""


@dataclass(frozen=True, slots=True)
class FeatureCounts:
    """Values of one feature since the start that were not as expected."""

    missing: int
    """Rows without it."""
    unknown: int
    """Strings that are no category."""
    unparsable: int
    """Strings that are no number: the call failed."""

    @property
    def defaulted(self) -> int:
        """Values that the default took the place of."""
        return self.missing + self.unknown


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits, at this moment."""

    in_flight: int
    """Calls that have arrived and are not over."""
    calls: int
    """Of the scoring service, waiting for their matrix."""
    rows: int


@dataclass(frozen=True, slots=True)
class Glance:
    """The few numbers that the status page's plots are made of: cheap enough to be looked at all the time."""

    answered: Buckets
    """Calls answered OK."""
    failed: int
    """Calls with another status."""
    rows: int
    stages: Mapping[str, Buckets]
    queue: Queue


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment."""

    served: Served
    methods: Sequence[Method]
    answered: Buckets
    """Durations of calls of the scoring service that were answered OK."""
    failed: Mapping[str, Buckets]
    """Of the others, by status."""
    stages: Mapping[str, Buckets]
    """One value a matrix in each."""
    rows: int
    """That have been through the model."""
    batches: int
    """The matrices that they were in."""
    queue: Queue
    shed: Mapping[str, int]
    """Refused calls by reason; every reason has an entry."""
    features: Mapping[str, FeatureCounts]
    log: LogStatistics | None
    """None where nothing is logged."""
    sinks: Sequence[Sink]
    metrics_queued: int
    """Measured values that wait to be counted."""
    metrics_dropped: int
    """Those that found no room."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where readings come from, once there is something to read. Called in the event loop."""

    facts: Mapping[str, Any]
    """What is served, for a person: names and values as JSON can have them, in their order."""
    read: Callable[[], Reading]
    glance: Callable[[], Glance]
