"""The connections of a run, and that there are always as many as were asked for.

One task reads all of them, as at the server: so a hundred connections cost little more than four. A wire's
own tasks (`Wire.read`, `Wire.write`) are not used.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import trio

from hushar.rpc.client_bursts import BurstConnection
from hushar.rpc.client_errors import ConnectionLostError
from hushar.rpc.dialing import Target, dial
from hushar.rpc.limits import MIB, Limits
from hushar.rpc.pollers import READ, WRITE, make_poller
from hushar.rpc.wire import Wire

RETRY_SECONDS: Final = 0.1
"""Between two attempts to connect again."""
_LIMITS: Final = Limits(max_receive_bytes=64 * MIB, max_header_bytes=64 * 1024)


class Line:
    """One of the connections: a wire, and when that is lost another."""

    def __init__(self, lines: "Lines") -> None:
        self.wire: Wire | None = None
        """Where calls can be begun; None while there is no connection."""
        self._lines = lines
        self._wanted = trio.Event()
        self._wires: set[Wire] = set()
        """That, and those whose last calls are still under way."""

    @property
    def free(self) -> int:
        """How many calls can be begun now."""
        return 0 if self.wire is None else engine_of(self.wire).free

    @property
    def in_flight(self) -> int:
        """Calls under way, also on connections that take no more."""
        return sum(wire.engine.open_streams for wire in self._wires)

    def engines(self) -> Iterator[BurstConnection]:
        """Those of all connections that are not closed."""
        return map(engine_of, self._wires)

    def flush(self) -> None:
        """Send what was begun or cancelled."""
        for wire in list(self._wires):
            self._lines.turn(wire)

    def close(self) -> None:
        """End all connections at once."""
        for wire in list(self._wires):
            wire.close("the run is over")

    async def connect(self) -> None:
        """Make the connection. Raises ConnectionLostError."""
        wire = await dial(self._lines.target, _LIMITS, self._turn, BurstConnection)
        self._wires.add(wire)
        self.wire = wire
        self._lines.add(wire)

    async def stay_connected(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Connect again whenever the connection is lost, until cancelled."""
        task_status.started()
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            while self.wire is None:
                try:
                    await self.connect()
                except ConnectionLostError as error:
                    self._lines.no_server(str(error.status.status_message))
                    await trio.sleep(RETRY_SECONDS)
            self._lines.changed()

    def _turn(self, wire: Wire) -> None:
        self._lines.on_turn(self, engine_of(wire), wire.received_at)
        if wire.link.closed:
            self._wires.discard(wire)
        if wire is self.wire and (wire.link.closed or not wire.engine.usable):
            self.wire = None
            self._wanted.set()


OnTurn = Callable[[Line, BurstConnection, float], None]
"""Gets a line, one of its engines, and when the server was heard last. It takes what has ended."""


class Lines:
    """All connections of a run."""

    def __init__(self, target: Target, count: int) -> None:
        """Makes no connection yet."""
        self.target = target
        self.on_turn: OnTurn = _ignore
        self.on_no_server: Callable[[], None] = _nothing
        """Called after an attempt to connect that failed while there is no other connection."""
        self.failure = ""
        """Why the last attempt to connect failed; empty once one did not."""
        self.all = [Line(self) for _ in range(count)]
        self._poller = make_poller()
        self._wires: dict[int, Wire] = {}
        """Descriptor → connection that is not closed."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection at all."""
        return any(line.wire is not None for line in self.all)

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return sum(line.in_flight for line in self.all)

    def add(self, wire: Wire) -> None:
        """Read a new connection from now on."""
        self._wires[wire.link.descriptor] = wire
        wire.on_close = self._forget
        self.turn(wire)

    def turn(self, wire: Wire) -> None:
        """Have a connection take its turn, and watch its socket."""
        wire.turn()
        self._watch(wire)

    def _watch(self, wire: Wire) -> None:
        if not wire.link.closed:
            self._poller.watch(wire.link.descriptor, READ | WRITE if wire.link.pending_bytes else READ)

    def _forget(self, wire: Wire) -> None:
        self._wires.pop(wire.link.descriptor, None)
        self._poller.forget(wire.link.descriptor)

    def _ready(self, ready: Iterable[tuple[int, int]]) -> None:
        for descriptor, interest in ready:
            wire = self._wires.get(descriptor)
            if wire is None:
                continue
            if interest & READ:
                wire.poll()
            if interest & WRITE:
                wire.turn()
            self._watch(wire)

    async def read(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Read all connections until cancelled."""
        try:
            await self._poller.run(self._ready, task_status=task_status)
        finally:
            self._poller.close()

    def no_server(self, reason: str) -> None:
        """An attempt to connect has failed."""
        self.failure = reason
        if not self.connected:
            self.on_no_server()

    def changed(self) -> None:
        """An attempt to connect has not failed."""
        self.failure = ""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Connect all, and keep them connected in the block. Raises ConnectionLostError."""
        return _open(self)


@asynccontextmanager
async def _open(lines: Lines) -> Any:
    failure = None
    async with trio.open_nursery() as nursery:
        await nursery.start(lines.read)
        try:
            for line in lines.all:
                await line.connect()
            for line in lines.all:
                await nursery.start(line.stay_connected)
            yield
        except ConnectionLostError as error:
            # Raised behind the nursery, which would put it into a group.
            failure = error
        finally:
            for line in lines.all:
                line.close()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def engine_of(wire: Wire) -> BurstConnection:
    """A wire's engine, by its type."""
    engine = wire.engine
    assert isinstance(engine, BurstConnection)
    return engine


def _ignore(line: Line, engine: BurstConnection, heard: float) -> None:
    """Nothing is under way yet."""


def _nothing() -> None:
    """Nobody wants to know."""
