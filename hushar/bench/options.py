"""What a run is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hushar.client.address import Address
from hushar.rpc.client_bursts import Prepared
from hushar.rpc.dialing import Target

FIRST_RATE: Final = 100.0
"""Of a sweep."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much is offered in one run: calls a second, or calls at a time."""

    rate: float | None = None
    """Of an open loop."""
    concurrency: int | None = None
    """Of a closed one."""

    @property
    def mode(self) -> str:
        """As the JSON report calls it."""
        return "open" if self.rate is not None else "closed"

    def __str__(self) -> str:
        if self.rate is not None:
            return f"open loop, {self.rate:g} calls a second"
        return f"closed loop, {self.concurrency} at a time"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the figures are held to; None: not at all."""

    max_p50_seconds: float | None = None
    max_p99_seconds: float | None = None
    max_error_rate: float | None = None
    """Calls that did not end with OK, as a share (0–1) of those that ended."""
    min_rate: float | None = None
    """Calls a second that ended with OK."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all runs of one command have in common."""

    target: Target
    calls: Sequence[Prepared]
    """The requests, sent in turn again and again."""
    rows: int = 1
    """A call."""
    source: str = ""
    """Where the rows come from, for people."""
    seconds: float = 10.0
    """That are measured."""
    warmup_seconds: float = 1.0
    """Before, left out of all figures."""
    connections: int = 4
    timeout_seconds: float | None = None
    admin: Address | None = None
    """Of the server's /metrics."""
    bounds: Bounds = field(default_factory=Bounds)
