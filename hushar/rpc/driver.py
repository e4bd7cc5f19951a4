"""The reader of all connections: sockets to engines, engines to handlers and back.

Theory of operation. `Driver.on_ready` is one pass over the sockets that are ready: receive from each, feed
its engine, collect the calls that are complete, hand each raw method all of its calls at once, start a
task for each call of an ordinary method, then send every connection's output with one `send`. Output that
appears later (a reply from another task) puts its connection on the dirty list and wakes the flusher, so
that however many replies come in one turn of the loop, each connection sends once.

How connections are made, written to, looked after and ended is in keeping.py. Deadlines are one heap and
one task.
"""

import errno
import logging
import math
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final

import trio
from purerpc import StatusCode

from hushar.rpc import events as ev
from hushar.rpc.calls import RawCall
from hushar.rpc.keeping import DRAIN_PING, LINGER_SECONDS, ConnectionState, Keeper, Lifetimes
from hushar.rpc.links import LinkLost
from hushar.rpc.pollers import READ, WRITE
from hushar.rpc.server_context import Route, ServerContext
from hushar.rpc.server_engine import ServerConnection
from hushar.rpc.timers import Deadlines

log = logging.getLogger("hushar.rpc")

SWEEP_SECONDS: Final = 1.0
ACCEPT_BACKOFF_SECONDS: Final = 0.1


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
            max_connections=max_connections,
            max_connections_per_address=max_connections_per_address,
        )
        self._start_call = start_call
        self._require_alpn = require_alpn
        self._deadlines = Deadlines()
        self._deadline_set = trio.Event()

    # Tasks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the connections that are given to `accept` or `adopt`, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._flush_later)
                await nursery.start(self._expire)
                await nursery.start(self._sweep)
                await nursery.start(self._poll)
                task_status.started()
        finally:
            for state in list(self.connections.values()):
                self._close(state)
            self._poller.close()

    async def _poll(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self._poller.run(self.on_ready, task_status=task_status)

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
            with trio.move_on_at(self._deadlines.next or math.inf):
                await self._deadline_set.wait()
            for call in self._deadlines.expired(trio.current_time()):
                call.connection.expire(call)
                if call.handler is not None:
                    call.handler.abort()

    async def _sweep(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            await trio.sleep(SWEEP_SECONDS)
            now = trio.current_time()
            for state in list(self.connections.values()):
                try:
                    self._look_after(state, now)
                except LinkLost:
                    self._lose(state)
            self._flush()

    async def accept(
        self, listener: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take connections from a non-blocking listening socket until cancelled."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.warning("cannot accept a connection: %s", error.strerror)
                await trio.sleep(ACCEPT_BACKOFF_SECONDS)
                continue
            self.adopt(sock)

    def on_ready(self, ready: Iterable[tuple[int, int]]) -> None:
        """One pass over the sockets that are ready."""
        self._in_pass = True
        now = trio.current_time()
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
        for route, calls in complete.items():
            self._deliver(route, calls)
        self._in_pass = False
        self._flush()

    def _receive(self, state: ConnectionState, now: float, complete: dict[Any, list[RawCall]]) -> None:
        data = state.link.receive()
        if not data or state.ended:
            return
        state.active_at = now
        engine = state.engine
        if not engine.dirty:
            engine.dirty = True
            self._dirty.append(state)
        for event in engine.receive_data(data, now):
            if type(event) is RawCall:
                route: Any = event.head.route
                if route.target is None:
                    self._start_call(event, state)
                elif route in complete:
                    complete[route].append(event)
                else:
                    complete[route] = [event]
            else:
                self._happened(state, event, now)
        if engine.timed:
            self._watch_deadlines(engine)

    def _watch_deadlines(self, engine: ServerConnection) -> None:
        earliest = self._deadlines.next
        for call in engine.timed:
            if not call.over:
                self._deadlines.add(call)
                if earliest is None or call.deadline < earliest:
                    earliest = call.deadline
                    self._deadline_set.set()
        engine.timed.clear()

    def _happened(self, state: ConnectionState, event: Any, now: float) -> None:
        """Act on an event that is no complete call."""
        match event:
            case ev.StreamBegun(call):
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
                if data == DRAIN_PING:
                    state.engine.refuse_new()
                state.keepalive_at = None
            case ev.SettingsAcknowledged():
                self._established(state)
            case ev.ConnectionFailed():
                self.failures += 1
                state.close_at = now + LINGER_SECONDS

    def _established(self, state: ConnectionState) -> None:
        state.engine.peer_certificate = state.link.peer_certificate()
        if self._require_alpn and state.link.protocol() not in (None, "h2"):
            raise LinkLost("no HTTP/2 agreed on")

    def _deliver(self, route: Route, calls: list[RawCall]) -> None:
        """Hand a raw method all of its calls of this pass."""
        try:
            route.target(calls)
        except Exception:
            log.exception("the handler of %s failed", route.path)
            for call in calls:
                call.fail(StatusCode.INTERNAL, "internal error")

    async def drain(self, grace: float) -> None:
        """Drain every connection, and wait until there is none."""
        for state in list(self.connections.values()):
            self.go_away(state, grace)
        self._flush()
        self._empty = trio.Event()
        if self.connections:
            await self._empty.wait()
