"""What the driver keeps of a connection."""

import math
from typing import Protocol

import trio

from hushar.rpc.calls import RawCall
from hushar.rpc.links import Link
from hushar.rpc.pollers import READ
from hushar.rpc.server_engine import ServerConnection


class Task(Protocol):
    """The task of a call; handlers.py has it."""

    def abort(self) -> None:
        """Nobody waits for what it does any more."""
        ...


class ConnectionState:
    """What the driver keeps of a connection beside its link and its engine. Times are trio's clock."""

    __slots__ = (
        "accepted_at",
        "active_at",
        "address",
        "age_limit",
        "close_at",
        "data_sent",
        "draining_at",
        "ended",
        "engine",
        "handlers",
        "idle_at",
        "interest",
        "last_stream_id",
        "link",
        "overdue",
        "parked",
        "pinged_at",
        "progress_at",
        "room",
        "silent",
        "stage",
        "stage_at",
        "waits",
    )

    def __init__(self, link: Link, address: str, now: float, age_limit: float) -> None:
        self.link = link
        self.address = address
        """The peer's, without its port; empty for a unix socket."""
        self.engine: ServerConnection
        self.handlers: set[Task] = set()
        """The tasks of calls, also of those that nobody waits for any more."""
        self.interest = READ
        self.accepted_at = now
        self.active_at = now
        """When bytes came last."""
        self.idle_at = now
        """When a call was last seen under way."""
        self.last_stream_id = 0
        """The engine's, when that was looked at."""
        self.progress_at = now
        """When the peer last took what waited for it, or nothing did."""
        self.waits = False
        """Something waits for the peer's socket or windows, or for what waits for them."""
        self.data_sent = 0
        """The engine's, when something last waited."""
        self.parked: list[RawCall] = []
        """Complete calls that are not begun while the answers to others wait for the peer."""
        self.pinged_at: float | None = None
        """When a ping was sent that is not answered yet."""
        self.stage = int(link.established)
        """How many steps of the handshake are done: TLS, preface."""
        self.stage_at = now
        self.age_limit = age_limit
        self.draining_at: float | None = None
        self.silent = False
        """It has not answered the PING of its drain."""
        self.close_at = math.inf
        """When the connection ends whatever happens."""
        self.overdue = False
        """It has ended whatever happened; what was said last is being sent."""
        self.ended = False
        """Our half is shut down."""
        self.room: trio.lowlevel.ParkingLot | None = None
        """Handlers that wait until output has gone; made when the first one does."""

    def abort_handlers(self) -> None:
        """Cancel the task of every call."""
        for handler in self.handlers:
            handler.abort()
