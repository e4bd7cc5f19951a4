"""What all connections of a server share: limits, routes, hooks, the budget, constant answers."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from purerpc import Status, StatusCode

from hushar.rpc import frames as fr
from hushar.rpc.calls import Request
from hushar.rpc.header_blocks import Field, encode
from hushar.rpc.limits import Limits
from hushar.rpc.status import encode_message

Before = Callable[[Request], None]
After = Callable[[Request, StatusCode, float], None]
OnFailure = Callable[[str, StatusCode, float, int], None]
"""Path ("" where there is no such method), status, seconds since their header blocks came, how many."""

_KNOWN_REFUSALS: Final = 256
_KNOWN_REFUSAL_BYTES: Final = 512
"""Longer ones are made each time."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A method of a service, as far as the engine is concerned."""

    path: str
    collects: bool
    """One request: the call is told when it is complete."""
    target: Any = None
    """Of a raw method: the function that gets its calls."""
    method: Any = None
    """Of an ordinary method: purerpc's BoundRPCMethod."""


@dataclass(slots=True)
class Budget:
    """What all connections of a server hold together."""

    max_calls: float = float("inf")
    max_bytes: float = float("inf")
    calls: int = 0
    bytes: int = 0
    """Of requests that are held: of a call with one request until it is over, of others until a message
    is taken; inflated, and with what the objects of a message in a queue cost."""
    refused_calls: int = 0
    """Calls that were refused for `max_calls`, since the start."""
    refused_bytes: int = 0
    """The same for `max_bytes`."""


class ServerContext:
    """What all connections of a server share; its answers' constant parts among it."""

    def __init__(
        self,
        limits: Limits,
        routes: Mapping[bytes, Route],
        budget: Budget | None = None,
        *,
        before: Sequence[Before] = (),
        after: Sequence[After] = (),
        clock: Callable[[], float] | None = None,
        on_failure: OnFailure | None = None,
    ) -> None:
        """`routes` by path; `before` and `after`: hooks around every call; `clock`: the driver's, for the
        seconds that `after` is told (without one they end when bytes last came); `on_failure`: told
        of the calls that end with another status than OK, of those that do so together at once."""
        self.limits = limits
        self.routes = routes
        self.budget = budget or Budget()
        self.before = before
        self.after = after
        self.clock = clock
        self.telling = False
        """Whether a hook hears of a call's end just now: the method may be in the midst of answering."""
        self.on_failure = on_failure
        self.answered: dict[Route | None, int] = {}
        """Calls that have ended with OK, by method; None: there is none of that name."""
        self.failed: dict[tuple[Route | None, StatusCode], int] = {}
        """Calls that have ended with another status, by method and status."""
        self.offered = frozenset(name.encode() for name in limits.compression)
        self.common: tuple[Field, ...] = (
            (b":status", b"200"),
            (b"content-type", b"application/grpc"),
            (b"grpc-accept-encoding", ",".join(("identity", *limits.compression)).encode()),
        )
        self.leading = encode(self.common)
        self.trailing = encode([(b"grpc-status", b"0")])
        self.before_message = struct.Struct(f">IBI{len(self.leading)}sIBIBI")
        """HEADERS, then the header of a DATA frame, then a message's prefix."""
        self.after_message = struct.Struct(f">IBI{len(self.trailing)}s")
        self.leading_head = len(self.leading) << 8 | fr.HEADERS
        self.trailing_head = len(self.trailing) << 8 | fr.HEADERS
        self._refusals: dict[tuple[Any, ...], bytes] = {}

    def count_answered(self, route: Route | None, calls: int = 1) -> None:
        """Note calls of a method that have ended with OK."""
        self.answered[route] = self.answered.get(route, 0) + calls

    def count_failed(self, route: Route | None, code: StatusCode, seconds: float, calls: int = 1) -> None:
        """Note calls of a method that have ended with another status, so long after they began."""
        self.failed[route, code] = self.failed.get((route, code), 0) + calls
        if self.on_failure is not None:
            self.on_failure("" if route is None else route.path, code, seconds, calls)

    def refusal(self, status: Status, trailing: Sequence[Field] | None) -> bytes:
        """The block of an answer that is nothing but a status. Who refuses, refuses many alike."""
        key = (status.int_value, status.status_message, *(trailing or ()))
        block = self._refusals.get(key)
        if block is None:
            block = encode([*self.common, *status_fields(status, trailing)])
            if len(block) <= _KNOWN_REFUSAL_BYTES and len(status.status_message) <= _KNOWN_REFUSAL_BYTES:
                if len(self._refusals) == _KNOWN_REFUSALS:
                    self._refusals.clear()
                self._refusals[key] = block
        return block


def status_fields(status: Status, trailing: Sequence[Field] | None) -> list[Field]:
    """The trailers: status, message where there is one, metadata."""
    fields: list[Field] = [(b"grpc-status", str(status.int_value).encode())]
    if status.status_message:
        fields.append((b"grpc-message", encode_message(status.status_message)))
    fields += trailing or ()
    return fields
