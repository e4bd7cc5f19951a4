"""Connections kept: made, written to, looked after and ended. What is read from them is the driver's.

What a socket does not take is kept by its link until it is writable; a connection with too much of it is
not read any more. Where finished answers wait for the peer's windows instead, it has to be read
(WINDOW_UPDATE opens them), but no complete call is begun until there are fewer (parking.py). Either way a
peer that has taken nothing for `write_stall_seconds` is dropped.

Everything that is counted in seconds (lifetimes.py) is looked at once a second for all connections together,
and oftener while the server drains.

An error in the handling of one connection costs that connection, never the server.
"""

import logging
import socket
import ssl
from typing import Final

import trio
from purerpc import Status, StatusCode

from hushar.rpc import frames as fr
from hushar.rpc.calls import RawCall
from hushar.rpc.connection_state import ConnectionState
from hushar.rpc.lifetimes import Lifetimes
from hushar.rpc.links import Link, LinkLost, TlsLink
from hushar.rpc.parking import leave
from hushar.rpc.pollers import READ, WRITE, make_poller
from hushar.rpc.server_context import ServerContext
from hushar.rpc.server_engine import ServerConnection

log = logging.getLogger("hushar.rpc")

LINGER_SECONDS: Final = 1.0
"""How long a connection that ends is still read, so that the kernel does not cut its last bytes off."""
LAST_WORDS_SECONDS: Final = 0.25
"""The same, for one whose grace is over, and in a drain for one that has not answered the PING: it has been
sent all of it, and what it may have sent since it was told to stop has had as long again to come."""
GOAWAY_SECONDS: Final = 5.0
"""How long an unanswered PING holds the second GOAWAY up while calls go on."""
GOAWAY_IDLE_SECONDS: Final = 0.5
"""The same where there are none. A call sent meanwhile is above the second GOAWAY's id: it is sent again."""
DRAIN_PING: Final = b"hushardr"
_KEEPALIVE_PING: Final = b"husharka"
GOING_AWAY: Final = Status(StatusCode.UNAVAILABLE, "the server is going away")


class Keeper:
    """All connections of a server. Its methods are called in the event loop's thread."""

    def __init__(
        self,
        context: ServerContext,
        lifetimes: Lifetimes,
        *,
        ssl_context: ssl.SSLContext | None,
        require_alpn: bool,
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
        self._require_alpn = require_alpn
        self._max_connections = max_connections
        self._max_per_address = max_connections_per_address
        self._per_address: dict[str, int] = {}
        self._poller = make_poller()
        self._now = context.clock or trio.current_time
        self._dirty: list[ConnectionState] = []
        self._in_pass = False
        self._flusher = trio.lowlevel.ParkingLot()
        self._vacancy = trio.lowlevel.ParkingLot()
        self._empty = trio.Event()

    # Made

    @property
    def full(self) -> bool:
        """Whether there are `max_connections`."""
        return len(self.connections) >= self._max_connections

    def adopt(self, sock: socket.socket) -> None:
        """Serve a connected socket; close it if that is not possible."""
        try:
            self._adopt(sock)
        except OSError as error:
            log.warning("cannot serve a connection: %s", error)
            sock.close()

    def _adopt(self, sock: socket.socket) -> None:
        now = trio.current_time()
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer, address = _peer_of(sock)
        of_address = self._per_address.get(address, 0)
        # All that come through a unix socket are one machine's, or a proxy's: they have no address.
        limited = self._max_per_address is not None and address
        if self.full or (limited and of_address >= (self._max_per_address or 0)):
            sock.close()
            return
        link = Link(sock) if self.ssl_context is None else TlsLink(sock, self.ssl_context)
        state = ConnectionState(link, address, now, self.lifetimes.age_limit())
        state.engine = ServerConnection(self.context, lambda: self._has_output(state), peer=peer)
        link.on_established = lambda: self._established(state)
        self._poller.watch(link.descriptor, READ)
        self._per_address[address] = of_address + 1
        self.connections[link.descriptor] = state
        self.accepted += 1
        self._has_output(state)

    def _established(self, state: ConnectionState) -> None:
        """TLS is there; nothing of the first call has been read yet."""
        state.engine.peer_certificate = state.link.peer_certificate()
        if self._require_alpn and state.link.protocol() != "h2":
            raise LinkLost("no HTTP/2 agreed on")

    # Written to

    def _has_output(self, state: ConnectionState) -> None:
        state.engine.dirty = True
        self._dirty.append(state)
        if not self._in_pass:
            self._flusher.unpark()

    def _flush(self) -> None:
        """Send the output of every connection that has any."""
        # Not when the pass began: while it was at work nobody's peer took nothing.
        now = self._now()
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for state in dirty:
                state.engine.dirty = False
                if state.link.closed:
                    continue
                try:
                    self._send(state, now)
                except LinkLost:
                    self._lose(state)
                except Exception:
                    self._break(state)

    def _send(self, state: ConnectionState, now: float) -> None:
        link = state.link
        engine = state.engine
        had_pending = link.pending_bytes
        took = link.send(engine.data_to_send())
        if link.pending_bytes or engine.waiting_bytes or state.waits or state.interest != READ:
            self._wait(state, now, took, had_pending)
        else:
            state.progress_at = now
        if state.room is not None and self._has_room(state):
            state.room.unpark_all()
        if engine.failed or state.draining_at is not None:
            self._end_if_done(state, now)

    def _wait(self, state: ConnectionState, now: float, took: bool, had_pending: int) -> None:
        """Something waits for the peer, or has: note what it takes, and begin what has waited for that.

        `took`: its socket has just taken something; `had_pending`: so many bytes waited for it to before.
        """
        engine = state.engine
        waits = bool(state.link.pending_bytes or engine.waiting_bytes)
        # What it makes us say besides, PING's answers and the like, is no progress.
        progress = took and (had_pending or engine.data_sent != state.data_sent)
        if progress or not waits or not state.waits:
            state.progress_at = now
        state.data_sent = engine.data_sent
        engine.unsent = state.link.pending_bytes
        self._set_interest(state)
        if engine.overfull:
            self._begin_parked(state)
        state.waits = waits or engine.overfull

    def _has_room(self, state: ConnectionState) -> bool:
        return state.link.pending_bytes < self.context.limits.connection_send_buffer_bytes

    def _set_interest(self, state: ConnectionState) -> None:
        """Write while something is pending; read unless too much of it is."""
        pending = state.link.pending_bytes
        interest = (WRITE if pending else 0) | (READ if self._has_room(state) else 0)
        if interest != state.interest and not state.link.closed:
            state.interest = interest
            self._poller.watch(state.link.descriptor, interest)

    async def room(self, call: RawCall, state: ConnectionState) -> None:
        """Wait until a handler may send more: its stream's queue and its connection's output are short.

        A stream that has nothing waiting is not held up by those that have.
        """
        limits = self.context.limits
        while not call.over and (
            call.queued > limits.stream_send_buffer_bytes
            or (call.queued and state.engine.waiting_bytes > limits.connection_send_buffer_bytes)
            or not self._has_room(state)
        ):
            if state.room is None:
                state.room = trio.lowlevel.ParkingLot()
            await state.room.park()

    def _begin_parked(self, state: ConnectionState) -> None:
        """Begin parked calls, as far as there is room for their answers now."""
        if state.engine.send_room > 0 and self._has_room(state):
            calls = leave(state)
            state.engine.overfull = bool(state.parked)
            self.begin(calls, state)

    def begin(self, calls: list[RawCall], state: ConnectionState) -> None:
        """Begin calls that are complete."""
        raise NotImplementedError

    # Looked after

    def _look_after(self, state: ConnectionState, now: float) -> None:
        """Once a second for each connection: everything that is counted in seconds."""
        engine = state.engine
        times = self.lifetimes
        if engine.overfull:
            self._begin_parked(state)
        if now >= state.close_at:
            self._time_is_over(state, now)
        elif state.ended or engine.failed:
            self._end_if_done(state, now)
        elif times.handshake_is_late(state, now):
            self._give_up(state, now)
        elif times.writes_stall(state, now):
            self._lose(state)
        elif state.draining_at is not None:
            self._drain_on(state, now, state.draining_at)
        elif times.is_due_to_go(state, now):
            self.go_away(state, times.max_connection_age_grace_seconds)
        elif times.ping_is_lost(state, now):
            self._lose(state)
        elif times.ping_is_due(state, now):
            state.pinged_at = now
            engine.send_ping(_KEEPALIVE_PING)

    def _give_up(self, state: ConnectionState, now: float) -> None:
        """The handshake takes too long."""
        engine = state.engine
        if not state.link.established or not engine.greeted:
            self._lose(state)
            return
        engine.fail(fr.SETTINGS_TIMEOUT, "no acknowledgement of SETTINGS")
        self.failed(state, now)

    # Ended

    def failed(self, state: ConnectionState, now: float) -> None:
        """A connection error: its GOAWAY is sent, its handlers end, then it is closed."""
        self.failures += 1
        state.close_at = min(state.close_at, now + LINGER_SECONDS)
        state.abort_handlers()

    def go_away(self, state: ConnectionState, grace: float) -> None:
        """Drain a connection: two GOAWAYs with a PING between them, at most `grace` seconds in all."""
        now = trio.current_time()
        state.close_at = min(state.close_at, now + grace)
        if state.draining_at is None:
            state.draining_at = now
            if not state.engine.failed:
                state.engine.go_away()
                state.engine.send_ping(DRAIN_PING)

    def _drain_on(self, state: ConnectionState, now: float, since: float) -> None:
        """The second GOAWAY is due where the first one's PING is not answered."""
        engine = state.engine
        due = now - since > (GOAWAY_SECONDS if engine.open_streams else GOAWAY_IDLE_SECONDS)
        if due and not engine.refusing:
            if not engine.greeted:
                self._lose(state)
                return
            state.silent = True
            engine.refuse_new()
        self._end_if_done(state, now)

    def call_ended(self, state: ConnectionState) -> None:
        """The task of a call has ended."""
        if state.draining_at is not None:
            self._end_if_done(state, trio.current_time())

    def _end_if_done(self, state: ConnectionState, now: float) -> None:
        """Shut our half down once all is said and sent: after a fault, or when a drain has nothing left."""
        engine = state.engine
        if state.ended or engine.dirty or state.link.pending_bytes or state.link.closed:
            return
        drained = engine.refusing and not engine.open_streams and not engine.lingering
        if engine.failed or drained or state.overdue:
            state.ended = True
            linger = LAST_WORDS_SECONDS if state.silent else LINGER_SECONDS
            state.close_at = min(state.close_at, now + linger)
            state.link.end()

    def _time_is_over(self, state: ConnectionState, now: float) -> None:
        """The grace of a drain, or the linger of an end."""
        last_words = not (state.overdue or state.ended or state.engine.failed)
        if not last_words or not state.engine.greeted or state.draining_at is None:
            self._lose(state)
            return
        state.overdue = True
        state.close_at = now + LAST_WORDS_SECONDS
        self._last_words(state)

    def _last_words(self, state: ConnectionState) -> None:
        """What still runs is UNAVAILABLE, and nothing more is begun."""
        state.engine.end_all(GOING_AWAY)
        state.engine.refuse_new()
        state.abort_handlers()

    def _lose(self, state: ConnectionState) -> None:
        """The socket is gone, or is given up."""
        try:
            state.engine.lost()
        except Exception:
            log.exception("the end of a connection failed")
        state.abort_handlers()
        self._close(state)

    def _break(self, state: ConnectionState) -> None:
        """An error of ours, in an except clause: this connection is dropped, the others go on."""
        log.exception("a connection from %s is dropped", state.address or "a unix socket")
        self.failures += 1
        self._lose(state)

    def _close(self, state: ConnectionState) -> None:
        if state.link.closed:
            return
        del self.connections[state.link.descriptor]
        self._poller.forget(state.link.descriptor)
        address = state.address
        left = self._per_address[address] - 1
        if left:
            self._per_address[address] = left
        else:
            self._per_address.pop(address, None)
        state.link.close()
        state.link.on_established = None
        state.engine.release()
        state.parked.clear()
        if state.room is not None:
            state.room.unpark_all()
        self._vacancy.unpark_all()
        if not self.connections:
            self._empty.set()


def _peer_of(sock: socket.socket) -> tuple[str, str]:
    """The peer as gRPC writes it (`ipv4:127.0.0.1:40001`), and its address without the port, if any."""
    try:
        name = sock.getpeername()
    except OSError:
        name = ("", 0)
    if sock.family == socket.AF_INET:
        return f"ipv4:{name[0]}:{name[1]}", name[0]
    if sock.family == socket.AF_INET6:
        return f"ipv6:[{name[0]}]:{name[1]}", name[0]
    return "unix:", ""
