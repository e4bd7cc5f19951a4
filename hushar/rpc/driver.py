"""The reader of all connections: sockets to engines, engines to handlers and back.

Theory of operation. `Driver.on_ready` is one pass over the sockets that are ready: receive from each, feed
its engine, collect the calls that are complete, hand each raw method all of its calls at once, start a
task for each call of an ordinary method, then send every connection's output with one `send`; a raw method
may have that done as soon as it has answered (`flush`). Output that appears later (a reply from another task)
puts its connection on the dirty list and wakes the flusher, so that however many replies come in one turn of
the loop, each connection sends once.

How connections are made, written to, looked after and ended is in keeping.py. Deadlines are one heap and
one task.
"""

import errno
import logging
import math
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import perf_counter
from typing import Any, Final

import trio
from purerpc import StatusCode

from hushar.rpc import events as ev
from hushar.rpc.calls import RawCall
from hushar.rpc.compiled import take_complete
from hushar.rpc.connection_state import ConnectionState
from hushar.rpc.keeping import DRAIN_PING, Keeper
from hushar.rpc.lifetimes import Lifetimes
from hushar.rpc.links import RECEIVE_BYTES, Link, LinkLost
from hushar.rpc.parking import park
from hushar.rpc.pollers import READ, WRITE
from hushar.rpc.server_context import Route, ServerContext
from hushar.rpc.timers import Deadlines

log = logging.getLogger("hushar.rpc")

SWEEP_SECONDS: Final = 1.0
DRAIN_SWEEP_SECONDS: Final = 0.1
ACCEPT_BACKOFF_SECONDS: Final = 0.1
_ACCEPT_AT_ONCE: Final = 64
_READS_AT_ONCE: Final = 8
"""Full buffers that are read from a connection before others get their turn: half a megabyte."""
_LEAST_PORTION: Final = 4096
_PORTION_SECONDS: Final = 0.005
"""After bytes that take longer to be worked through, a connection's portions are smaller and others get their
turn: what is dear to read (bombs, DATA of a byte a frame) waits in its own socket."""
_SWEEP_AT_ONCE: Final = 500
"""Connections that are looked after before others get their turn."""
_BROKEN_LISTENER: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})


class Driver(Keeper):
    """All connections of a server. Its methods are called in the event loop's thread."""

    def __init__(
        self,
        context: ServerContext,
        lifetimes: Lifetimes,
        *,
        start_call: Callable[[RawCall, ConnectionState], None],
        ssl_context: ssl.SSLContext | None = None,
        require_alpn: bool = False,
        max_connections: int = 1024,
        max_connections_per_address: int | None = None,
    ) -> None:
        """`start_call` begins the task of a call of an ordinary method."""
        super().__init__(
            context,
            lifetimes,
            ssl_context=ssl_context,
            require_alpn=require_alpn,
            max_connections=max_connections,
            max_connections_per_address=max_connections_per_address,
        )
        self._start_call = start_call
        self._cannot_accept = False
        self._said_full = False
        self._deadlines = Deadlines()
        self._deadline_set = trio.Event()
        self._expires_at = math.inf
        """When the task that ends calls looks at their deadlines, if nobody wakes it before."""
        self._delivers = False
        """Whether the pass has come to handing calls to their raw methods."""
        self._timed: list[RawCall] = []
        """Calls with a deadline that this pass has begun."""

    # Tasks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the connections that are given to `accept` or `adopt`, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._flush_later)
                await nursery.start(self._expire)
                await nursery.start(self._sweep)
                await nursery.start(self._poller.run, self.on_ready)
                task_status.started()
        finally:
            for state in list(self.connections.values()):
                self._part(state)
            self._poller.close()

    def _part(self, state: ConnectionState) -> None:
        """Close a connection at once; its peer is told why as far as the socket takes it."""
        with suppress(LinkLost):
            self._last_words(state)
            state.link.send(state.engine.data_to_send())
        self._lose(state)

    async def _flush_later(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Send what appears outside a pass."""
        task_status.started()
        while True:
            if not self._dirty:
                await self._flusher.park()
            self._flush()
            await trio.lowlevel.checkpoint()

    async def _expire(self, *, task_status: trio.TaskStatus[None]) -> None:
        """End calls whose deadline is over."""
        task_status.started()
        while True:
            self._deadline_set = trio.Event()
            earliest = self._deadlines.next
            self._expires_at = math.inf if earliest is None else earliest
            with trio.move_on_at(self._expires_at):
                await self._deadline_set.wait()
            for call in self._deadlines.expired(trio.current_time()):
                call.connection.expire(call)
                if call.handler is not None:
                    call.handler.abort()

    async def _sweep(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            await trio.sleep(SWEEP_SECONDS)
            states = list(self.connections.values())
            for at in range(0, len(states), _SWEEP_AT_ONCE):
                self._look_after_all(states[at : at + _SWEEP_AT_ONCE])
                await trio.lowlevel.checkpoint()

    def _look_after_all(self, states: Iterable[ConnectionState]) -> None:
        now = trio.current_time()
        for state in states:
            if state.link.closed:
                continue
            try:
                self._look_after(state, now)
            except LinkLost:
                self._lose(state)
            except Exception:
                self._break(state)
        self._flush()

    async def accept(
        self, listener: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take connections from a non-blocking listening socket until cancelled.

        While there are `max_connections`, or no descriptors are left, they wait in the listener's queue.
        """
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(listener)
            if self.full:
                if not self._said_full:
                    log.warning("max_connections (%d) are open: others wait", self._max_connections)
                self._said_full = True
                await self._vacancy.park()
                continue
            try:
                self.accept_waiting(listener, _ACCEPT_AT_ONCE)
            except OSError as error:
                if error.errno in _BROKEN_LISTENER:
                    raise
                if not self._cannot_accept:
                    log.warning("cannot accept connections: %s", error.strerror)
                self._cannot_accept = True
                await trio.sleep(ACCEPT_BACKOFF_SECONDS)

    def accept_waiting(self, listener: socket.socket, most: int) -> None:
        """Take those connections that are there already, while there is room. Raises OSError."""
        for _ in range(most):
            try:
                sock, _ = listener.accept()
            except ConnectionAbortedError:
                continue
            except (BlockingIOError, InterruptedError):
                break
            self._cannot_accept = False
            self.adopt(sock)
            if self.full:
                return
        self._said_full = False

    def on_ready(self, ready: Iterable[tuple[int, int]]) -> None:
        """One pass over the sockets that are ready."""
        self._in_pass = True
        now = self._now()
        complete: dict[Route, list[RawCall]] = {}
        connections = self.connections
        for descriptor, what in ready:
            state = connections.get(descriptor)
            if state is None:
                continue
            try:
                if what & WRITE:
                    self._send(state, now)
                if what & READ:
                    self._receive(state, now, complete)
            except LinkLost:
                self._lose(state)
            except Exception:
                self._break(state)
        self._delivers = True
        for route, calls in complete.items():
            self._deliver(route, calls)
        self._delivers = False
        if self._timed:
            self._watch_deadlines()
        self._in_pass = False
        if self._dirty:
            self._flush()

    def _receive(self, state: ConnectionState, now: float, complete: dict[Any, list[RawCall]]) -> None:
        """Read what has come, but of one connection no more than its part of a pass."""
        link = state.link
        for _ in range(_READS_AT_ONCE):
            data = link.receive()
            if not data or state.ended:
                if link.pending_bytes:
                    # TLS may have something to say of its own.
                    self._set_interest(state)
                return
            if len(data) < _LEAST_PORTION:
                # Nearly always: another receive would find nothing, and costs more than to be told again.
                self._take(state, data, now, complete)
                return
            begun = perf_counter()
            self._take(state, data, now, complete)
            _pace(link, len(data), perf_counter() - begun)
            if len(data) < RECEIVE_BYTES or link.portion < RECEIVE_BYTES or link.closed:
                return

    def _take(
        self, state: ConnectionState, data: bytes, now: float, complete: dict[Any, list[RawCall]]
    ) -> None:
        state.active_at = now
        engine = state.engine
        if not engine.dirty:
            engine.dirty = True
            self._dirty.append(state)
        events = engine.receive_data(data, now)
        if engine.overfull:
            events = park(state, events)
        for event in take_complete(RawCall, events, complete):
            if type(event) is RawCall:
                self._start_call(event, state)
            else:
                self._happened(state, event, now)
        if engine.timed:
            self._timed += engine.timed
            engine.timed.clear()

    def begin(self, calls: list[RawCall], state: ConnectionState) -> None:
        """See Keeper."""
        complete: dict[Any, list[RawCall]] = {}
        for call in take_complete(RawCall, calls, complete):
            self._start_call(call, state)
        for route, together in complete.items():
            self._deliver(route, together)

    def _watch_deadlines(self) -> None:
        """Watch the deadlines of the calls that this pass has begun and not ended: often there are none."""
        calls = [call for call in self._timed if not call.over]
        self._timed.clear()
        if not calls:
            return
        earliest = self._deadlines.add(calls)
        if earliest < self._expires_at:
            self._expires_at = earliest
            self._deadline_set.set()

    def _happened(self, state: ConnectionState, event: Any, now: float) -> None:
        """Act on an event that is no complete call."""
        match event:
            case ev.StreamBegun(call):
                if not call.over:
                    self._start_call(call, state)
            case ev.MessageReceived(call, message, wire_bytes):
                if call.handler is not None:
                    call.handler.put(message, wire_bytes)
            case ev.HalfClosed(call):
                if call.handler is not None:
                    call.handler.put_end()
            case ev.CallAborted(call):
                if call.handler is not None:
                    call.handler.abort()
            case ev.PingAcknowledged(data):
                if data == DRAIN_PING and state.draining_at is not None:
                    state.engine.refuse_new()
                state.pinged_at = None
            case ev.ConnectionFailed():
                self.failed(state, now)

    def _deliver(self, route: Route, calls: list[RawCall]) -> None:
        """Hand a raw method all of its calls of this pass."""
        try:
            route.target(calls)
        except (Exception, SystemExit):
            log.exception("the handler of %s failed", route.path)
            for call in calls:
                call.fail(StatusCode.INTERNAL, "internal error")

    def rest(self, seconds: float) -> None:
        """Read nothing for so long after the pass that is under way: see Server.rest."""
        if self._in_pass:
            self._poller.rest(seconds)

    def flush(self) -> None:
        """Send what this pass has to send so far: see Server.flush."""
        if self._delivers and not self.context.telling:
            # Calls that begin because there is room again are sent their answers by the same flush.
            self._delivers = False
            self._flush()
            self._delivers = True

    async def drain(self, grace: float) -> None:
        """Drain every connection, at most `grace` seconds and a moment, until there is none."""
        self._empty = trio.Event()
        for state in list(self.connections.values()):
            self.go_away(state, grace)
        self._flush()
        while self.connections:
            with trio.move_on_after(DRAIN_SWEEP_SECONDS):
                await self._empty.wait()
            self._look_after_all(list(self.connections.values()))


def _pace(link: Link, size: int, seconds: float) -> None:
    """`size` bytes of a connection have taken so long: how many are to be received at once from now on."""
    if seconds > _PORTION_SECONDS:
        link.portion = max(_LEAST_PORTION, min(link.portion, int(size * _PORTION_SECONDS / seconds)))
    elif link.portion < RECEIVE_BYTES and seconds < _PORTION_SECONDS / 2:
        link.portion = min(RECEIVE_BYTES, 2 * link.portion)
