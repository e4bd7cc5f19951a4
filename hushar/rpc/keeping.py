"""Connections kept: made, written to, looked after and ended. What is read from them is the driver's.

What a socket does not take is kept by its link until it is writable; a connection with too much of it is
not read any more, and dropped once its peer has taken nothing for `write_stall_seconds`. Everything that is
counted in seconds (idle, keepalive, handshake, age) is looked at once a second for all connections together.
"""

import math
import random
import socket
import ssl
from dataclasses import dataclass
from typing import Final

import trio

from hushar.rpc import events as ev
from hushar.rpc import frames as fr
from hushar.rpc.calls import RawCall
from hushar.rpc.links import Link, LinkLost, TlsLink
from hushar.rpc.pollers import READ, WRITE, make_poller
from hushar.rpc.server_context import ServerContext
from hushar.rpc.server_engine import ServerConnection

LINGER_SECONDS: Final = 1.0
"""How long a connection that ends is still read, so that the kernel does not cut its last bytes off."""
GOAWAY_SECONDS: Final = 5.0
"""How long an unanswered PING holds the second GOAWAY up."""
DRAIN_PING: Final = b"hushardr"
_KEEPALIVE_PING: Final = b"husharka"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """Times of a connection, in seconds; names and defaults of the section `server`."""

    handshake_seconds: float = 10.0
    idle_seconds: float = 900.0
    keepalive_seconds: float = 7200.0
    keepalive_timeout_seconds: float = 20.0
    max_connection_age_seconds: float | None = None
    max_connection_age_grace_seconds: float = 30.0
    write_stall_seconds: float = 30.0


class ConnectionState:
    """What the driver keeps of a connection beside its link and its engine."""

    __slots__ = (
        "accepted_at",
        "active_at",
        "address",
        "age_limit",
        "close_at",
        "draining_at",
        "ended",
        "engine",
        "interest",
        "keepalive_at",
        "link",
        "progress_at",
        "room",
    )

    def __init__(self, link: Link, address: str, now: float, age_limit: float) -> None:
        self.link = link
        self.address = address
        """The peer's, without its port."""
        self.engine: ServerConnection
        self.interest = READ
        self.accepted_at = now
        self.active_at = now
        """When bytes came last."""
        self.progress_at = now
        """When the peer last took bytes, or had none to take."""
        self.keepalive_at: float | None = None
        """When a ping was sent that is not answered yet."""
        self.age_limit = age_limit
        self.draining_at: float | None = None
        self.close_at = math.inf
        """When the socket is closed whatever happens."""
        self.ended = False
        """Our half is shut down."""
        self.room: trio.lowlevel.ParkingLot | None = None
        """Handlers that wait until output has gone; made when the first one does."""


class Keeper:
    """All connections of a server. Its methods are called in the event loop's thread."""

    def __init__(
        self,
        context: ServerContext,
        lifetimes: Lifetimes,
        *,
        ssl_context: ssl.SSLContext | None,
        max_connections: int,
        max_connections_per_address: int | None,
    ) -> None:
        """See Driver."""
        self.context = context
        self.lifetimes = lifetimes
        self.ssl_context = ssl_context
        """May be replaced: connections made from then on use the new one."""
        self.connections: dict[int, ConnectionState] = {}
        self.accepted = 0
        self.failures = 0
        self._max_connections = max_connections
        self._max_per_address = max_connections_per_address
        self._per_address: dict[str, int] = {}
        self._poller = make_poller()
        self._dirty: list[ConnectionState] = []
        self._in_pass = False
        self._flusher = trio.lowlevel.ParkingLot()
        self._empty = trio.Event()

    def adopt(self, sock: socket.socket) -> None:
        """Serve a connected socket."""
        now = trio.current_time()
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer, address = _peer_of(sock)
        of_address = self._per_address.get(address, 0)
        too_many = self._max_per_address is not None and of_address >= self._max_per_address
        if too_many or len(self.connections) >= self._max_connections:
            sock.close()
            return
        link = Link(sock) if self.ssl_context is None else TlsLink(sock, self.ssl_context)
        state = ConnectionState(link, address, now, self._age_limit())
        engine = ServerConnection(self.context, lambda: self._has_output(state), peer=peer)
        state.engine = engine
        self._per_address[address] = of_address + 1
        self.connections[link.descriptor] = state
        self.accepted += 1
        self._poller.watch(link.descriptor, READ)
        self._has_output(state)

    def _age_limit(self) -> float:
        """`max_connection_age_seconds` with 10 % of jitter, so that clients do not come back all at once."""
        seconds = self.lifetimes.max_connection_age_seconds
        return math.inf if seconds is None else seconds * random.uniform(0.9, 1.1)  # noqa: S311

    def _has_output(self, state: ConnectionState) -> None:
        state.engine.dirty = True
        self._dirty.append(state)
        if not self._in_pass:
            self._flusher.unpark()

    def _flush(self) -> None:
        """Send the output of every connection that has any."""
        now = trio.current_time()
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for state in dirty:
                state.engine.dirty = False
                try:
                    self._send(state, now)
                except LinkLost:
                    self._lose(state)

    def _send(self, state: ConnectionState, now: float) -> None:
        link = state.link
        had_pending = link.pending_bytes
        if link.send(state.engine.data_to_send()) or not had_pending:
            state.progress_at = now
        self._set_interest(state)
        if state.room is not None and self._has_room(state):
            state.room.unpark_all()
        if state.engine.failed or state.draining_at is not None:
            self._end_if_done(state, now)

    def _has_room(self, state: ConnectionState) -> bool:
        return state.link.pending_bytes < self.context.limits.connection_send_buffer_bytes

    def _set_interest(self, state: ConnectionState) -> None:
        """Write while something is pending; read unless too much of it is."""
        pending = state.link.pending_bytes
        interest = (WRITE if pending else 0) | (READ if self._has_room(state) else 0)
        if interest != state.interest and state.link.descriptor in self.connections:
            state.interest = interest
            self._poller.watch(state.link.descriptor, interest)

    async def room(self, call: RawCall, state: ConnectionState) -> None:
        """Wait until a handler may send more: its stream's queue and its connection's output are short."""
        limit = self.context.limits.stream_send_buffer_bytes
        while not call.over and (call.queued > limit or not self._has_room(state)):
            if state.room is None:
                state.room = trio.lowlevel.ParkingLot()
            await state.room.park()

    def call_ended(self, state: ConnectionState) -> None:
        """The task of a call has ended."""
        if state.draining_at is not None:
            self._end_if_done(state, trio.current_time())

    def go_away(self, state: ConnectionState, grace: float) -> None:
        """Drain a connection: two GOAWAYs with a PING between them, at most `grace` seconds in all."""
        if state.draining_at is None:
            now = trio.current_time()
            state.draining_at = now
            state.close_at = min(state.close_at, now + grace)
            state.engine.go_away()
            state.engine.send_ping(DRAIN_PING)

    def _look_after(self, state: ConnectionState, now: float) -> None:
        """Once a second for each connection: everything that is counted in seconds."""
        times = self.lifetimes
        engine = state.engine
        if now >= state.close_at:
            self._lose(state)
        elif not engine.settings_acknowledged and now - state.accepted_at > times.handshake_seconds:
            self._give_up(state, fr.SETTINGS_TIMEOUT, "handshake took too long")
        elif (
            state.link.pending_bytes or engine.waiting_bytes
        ) and now - state.progress_at > times.write_stall_seconds:
            self._lose(state)
        elif state.draining_at is not None:
            if now - state.draining_at > GOAWAY_SECONDS:
                engine.refuse_new()
            self._end_if_done(state, now)
        elif now - state.accepted_at > state.age_limit or (
            not engine.open_streams and now - state.active_at > times.idle_seconds
        ):
            self.go_away(state, times.max_connection_age_grace_seconds)
        elif state.keepalive_at is not None:
            if now - state.keepalive_at > times.keepalive_timeout_seconds:
                self._lose(state)
        elif now - state.active_at > times.keepalive_seconds:
            state.keepalive_at = now
            engine.send_ping(_KEEPALIVE_PING)

    def _give_up(self, state: ConnectionState, code: int, reason: str) -> None:
        engine = state.engine
        if not state.link.established or not engine.greeted:
            self._lose(state)
            return
        engine.fail(code, reason)
        self.failures += 1
        state.close_at = min(state.close_at, trio.current_time() + LINGER_SECONDS)

    def _end_if_done(self, state: ConnectionState, now: float) -> None:
        """Shut our half down once all is said: after a fault, or when a drain has nothing left."""
        engine = state.engine
        if state.ended or state.link.pending_bytes:
            return
        drained = engine.refusing and not engine.open_streams and not engine.lingering
        if engine.failed or drained:
            state.ended = True
            state.close_at = min(state.close_at, now + LINGER_SECONDS)
            state.link.end()

    def _lose(self, state: ConnectionState) -> None:
        """The socket is gone."""
        for event in state.engine.lost():
            if isinstance(event, ev.CallAborted) and event.call.handler is not None:
                event.call.handler.abort()
        self._close(state)

    def _close(self, state: ConnectionState) -> None:
        if self.connections.pop(state.link.descriptor, None) is None:
            return
        self._poller.forget(state.link.descriptor)
        address = state.address
        left = self._per_address[address] - 1
        if left:
            self._per_address[address] = left
        else:
            self._per_address.pop(address, None)
        state.link.close()
        if state.room is not None:
            state.room.unpark_all()
        if not self.connections:
            self._empty.set()


def _peer_of(sock: socket.socket) -> tuple[str, str]:
    """The peer as gRPC writes it (`ipv4:127.0.0.1:40001`), and its address without the port."""
    try:
        name = sock.getpeername()
    except OSError:
        name = ("", 0)
    if sock.family == socket.AF_INET:
        return f"ipv4:{name[0]}:{name[1]}", name[0]
    if sock.family == socket.AF_INET6:
        return f"ipv6:[{name[0]}]:{name[1]}", name[0]
    return "unix:", "unix:"
