"""`Server`: purerpc's, on an engine and a driver of our own.

What is written for purerpc on trio runs on it: services, servicers, generated code, status types. It
departs where that is documented (docs/rpc.md): it binds loopback unless told otherwise, takes 4 MiB a
message, runs on trio only, and tells a client nothing of an exception.
"""

import dataclasses
import logging
import resource
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import purerpc
import trio
from purerpc import StatusCode

from hushar.rpc.calls import RawCall
from hushar.rpc.connection_state import ConnectionState
from hushar.rpc.driver import Driver
from hushar.rpc.handlers import Handler, run_call
from hushar.rpc.lifetimes import Lifetimes
from hushar.rpc.limits import Limits
from hushar.rpc.listeners import BACKLOG, bind, bind_unix, close_all
from hushar.rpc.messages import ENCODINGS
from hushar.rpc.ranges import check_ranges
from hushar.rpc.server_context import After, Before, Budget, OnFailure, Route, ServerContext

log = logging.getLogger("hushar.rpc")

Receive = Callable[[Sequence[RawCall]], None]

_LIMITS: Final = frozenset(field.name for field in dataclasses.fields(Limits)) - {"connection_concurrency"}
_LIFETIMES: Final = frozenset(field.name for field in dataclasses.fields(Lifetimes))
_OWN: Final = {
    "unix_socket": None,
    "reuse_port": False,
    "drain_seconds": 30.0,
    "max_connections": 1024,
    "max_connections_per_address": None,
    "max_in_flight": None,
    "max_in_flight_bytes": 256 * 1024 * 1024,
    "reflection": True,
}
_SPARE_DESCRIPTORS: Final = 64
"""Open files beside the connections: listeners, logs, libraries."""


@dataclass(slots=True)
class CallCounts:
    """What became of the calls of one method."""

    in_flight: int = 0
    """Not over."""
    ended: dict[StatusCode, int] = field(default_factory=dict)
    """Over, by status; with those in flight it is all that were begun."""


class Server(purerpc.Server):  # type: ignore[misc]  # purerpc is untyped
    """A gRPC server. `async with` nothing: `serve_async` runs it, in a nursery of the caller's."""

    def __init__(
        self,
        port: int = 50055,
        ssl_context: ssl.SSLContext | None = None,
        *,
        host: str = "127.0.0.1",
        connection_concurrency: int = 200,
        require_alpn: bool = False,
        **settings: Any,
    ) -> None:
        """Every key of the sections `server` and `http2` of the configuration is an argument.

        `connection_concurrency`: calls in flight a connection; `require_alpn`: refuse TLS clients that
        do not offer `h2`. Raises TypeError for an argument that is no such key, ValueError for a value that
        it cannot have.
        """
        unknown = settings.keys() - _LIMITS - _LIFETIMES - _OWN.keys()
        if unknown:
            raise TypeError(f"Server() got an unexpected keyword argument {min(unknown)!r}")
        check_ranges({"connection_concurrency": connection_concurrency, **settings})
        super().__init__(port, ssl_context)
        self.port: int = port
        self.host = host
        self._require_alpn = require_alpn
        own: dict[str, Any] = {name: settings.get(name, default) for name, default in _OWN.items()}
        self._unix_socket: str | None = own["unix_socket"]
        self._reuse_port: bool = own["reuse_port"]
        self._drain_seconds: float = own["drain_seconds"]
        self._max_connections: int = own["max_connections"]
        self.reflection: bool = own["reflection"]
        """For whoever adds the services; the server itself brings none."""
        self._max_per_address: int | None = own["max_connections_per_address"]
        self.budget = Budget(_or_infinite(own["max_in_flight"]), _or_infinite(own["max_in_flight_bytes"]))
        limits = {name: value for name, value in settings.items() if name in _LIMITS}
        if "compression" in limits:
            limits["compression"] = _encodings(limits["compression"])
        self.limits = Limits(connection_concurrency=connection_concurrency, **limits)
        self._lifetimes = Lifetimes(**{name: value for name, value in settings.items() if name in _LIFETIMES})
        self._raw: dict[str, Receive] = {}
        self._before: list[Before] = []
        self._after: list[After] = []
        self.on_failure: OnFailure | None = None
        """Told of calls that end with another status than OK, of several at once where they end together; set
        before `serve_async`. A plain function that raises nothing."""
        self._driver: Driver | None = None
        self._draining = trio.Event()
        self._calls: trio.Nursery | None = None

    def add_raw_unary(self, path: str, receive: Receive) -> None:
        """Serve `/pkg.Service/Method` with a plain function of all calls that are ready.

        `receive(calls)` is called in the event loop; each call is answered with `reply` or `fail`, now
        or later. An exception fails the calls that have not been answered with INTERNAL.
        """
        if path.count("/") != 2 or not path.startswith("/"):
            raise ValueError(f"{path!r} is not of the form /pkg.Service/Method")
        self._raw[path] = receive

    def rest(self, seconds: float) -> None:
        """Leave all sockets alone for so long, once a raw method that calls this has returned.

        For a method that cannot take more at the moment: to refuse calls a few at a time costs several
        times what it costs to refuse them together. Some milliseconds at most: it holds up every method.
        """
        if self._driver is not None:
            self._driver.rest(seconds)

    def flush(self) -> None:
        """Send what the calls of this pass over the sockets have been answered, rather than at its end.

        For a raw method that has more to do once it has answered. Calls that have waited for room in the
        output may begin meanwhile: methods, also this one, are then called before this returns, and what they
        answer is sent as well. Called from anywhere else it does nothing, and need not be: what is answered
        then is sent soon.
        """
        if self._driver is not None:
            self._driver.flush()

    def add_hook(self, before: Before | None = None, after: After | None = None) -> None:
        """Call `before(request)` before each call is begun (it may raise RpcFailedError), and
        `after(request, code, seconds)` when one is over; plain functions."""
        if before is not None:
            self._before.append(before)
        if after is not None:
            self._after.append(after)

    @property
    def in_flight(self) -> int:
        """Calls that are not over."""
        return self.budget.calls

    def refused(self) -> Mapping[str, int]:
        """Calls that the transport has refused for want of room, since the start, by the setting at fault."""
        return {"in_flight": self.budget.refused_calls, "in_flight_bytes": self.budget.refused_bytes}

    def calls(self) -> Mapping[str, CallCounts]:
        """What became of the calls since the start, by path; under "" those to methods that there are not.

        It looks at every call that is in flight: for whoever asks now and then.
        """
        driver = self._driver
        if driver is None:
            return {}
        context = driver.context
        counts: dict[str, CallCounts] = {route.path: CallCounts() for route in context.routes.values()}

        def of(route: Route | None) -> CallCounts:
            return counts.setdefault("" if route is None else route.path, CallCounts())

        for route, calls in context.answered.items():
            of(route).ended[StatusCode.OK] = calls
        for (route, code), calls in context.failed.items():
            of(route).ended[code] = calls
        for state in driver.connections.values():
            for route in state.engine.running_routes():
                of(route).in_flight += 1
        return counts

    def replace_ssl_context(self, ssl_context: ssl.SSLContext) -> None:
        """Use other certificates for connections from now on; those that are open go on."""
        self._ssl_context = _with_alpn(ssl_context)
        if self._driver is not None:
            self._driver.ssl_context = ssl_context

    def drain(self) -> None:
        """Take no new connections and let the calls in flight end; `serve_async` then returns.

        Before `serve_async` it makes that return as soon as it has begun.
        """
        self._draining.set()

    def serve(self, backend: str | None = None) -> None:  # noqa: ARG002 - purerpc's argument
        """Run the server in a trio loop of its own, whatever backend is asked for."""
        trio.run(self.serve_async)

    async def serve_async(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained or cancelled; `task_status` gets the port.

        Raises OSError where it cannot bind, RuntimeError outside of trio.
        """
        _require_trio()
        async with AsyncExitStack() as stack:
            services = {name: await stack.enter_async_context(made) for name, made in self.services.items()}
            self._raise_descriptors()
            listeners = await self._bind()
            stack.callback(close_all, listeners)
            driver = self._driver = self._make_driver(services)
            async with trio.open_nursery() as running:
                await running.start(driver.run)
                async with trio.open_nursery() as self._calls:
                    await self._accept_until_drained(driver, listeners, task_status)
                    await driver.drain(self._drain_seconds)
                    self._calls.cancel_scope.cancel()
                running.cancel_scope.cancel()
        self._draining = trio.Event()

    async def _accept_until_drained(
        self, driver: Driver, listeners: Sequence[socket.socket], task_status: Any
    ) -> None:
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                await accepting.start(driver.accept, listener)
            task_status.started(self.port)
            await self._draining.wait()
            accepting.cancel_scope.cancel()
        for listener in listeners:
            # Clients that are connected already hear of the drain, instead of a reset.
            with suppress(OSError):
                driver.accept_waiting(listener, BACKLOG)
        close_all(listeners)

    def _make_driver(self, services: dict[str, Any]) -> Driver:
        if self._ssl_context is not None:
            _with_alpn(self._ssl_context)
        context = ServerContext(
            self.limits,
            self._routes(services),
            self.budget,
            before=tuple(self._before),
            after=tuple(self._after),
            clock=trio.lowlevel.current_clock().current_time,
            on_failure=self.on_failure,
        )
        return Driver(
            context,
            self._lifetimes,
            start_call=self._start_call,
            ssl_context=self._ssl_context,
            require_alpn=self._require_alpn,
            max_connections=self._max_connections,
            max_connections_per_address=self._max_per_address,
        )

    def _routes(self, services: dict[str, Any]) -> dict[bytes, Route]:
        routes: dict[bytes, Route] = {}
        for name, made in services.items():
            service = made.service if isinstance(made, purerpc.Servicer) else made
            for method_name, method in service.methods.items():
                path = f"/{name}/{method_name}"
                streaming = method.signature.cardinality in (
                    purerpc.Cardinality.STREAM_UNARY,
                    purerpc.Cardinality.STREAM_STREAM,
                )
                routes[path.encode()] = Route(path, collects=not streaming, method=method)
        for path, receive in self._raw.items():
            routes[path.encode()] = Route(path, collects=True, target=receive)
        return routes

    def _start_call(self, call: RawCall, state: ConnectionState) -> None:
        """Begin the task of a call of an ordinary method."""
        assert self._driver is not None
        assert self._calls is not None
        route: Any = call.head.route
        handler = call.handler = Handler(call, state, self._driver)
        self._calls.start_soon(run_call, handler, route.method.method_fn, route.method.signature)

    async def _bind(self) -> list[socket.socket]:
        """Listening sockets for host and port, and for the unix socket."""
        sockets, self.port = await bind(self.host, self.port, reuse_port=self._reuse_port)
        if self._unix_socket is not None:
            try:
                sockets.append(bind_unix(self._unix_socket))
            except BaseException:
                close_all(sockets)
                raise
        return sockets

    def _raise_descriptors(self) -> None:
        """Raise the soft limit of open files to the hard one, and say if it is too low all the same."""
        limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        enough = self._max_connections + _SPARE_DESCRIPTORS
        # macOS says that there is no hard limit, and refuses more than its own.
        for wanted in (hard, max(limit, enough)) if limit != hard else ():
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                limit = wanted
                break
        if limit != resource.RLIM_INFINITY and limit < enough:
            log.warning("max_connections is %d, but only %d files may be open", self._max_connections, limit)

    @property
    def _connection_count(self) -> int:
        return self._driver.accepted if self._driver is not None else 0

    @_connection_count.setter
    def _connection_count(self, value: int) -> None:
        """Purerpc's constructor sets it to 0."""

    @property
    def _exception_count(self) -> int:
        return self._driver.failures if self._driver is not None else 0

    @_exception_count.setter
    def _exception_count(self, value: int) -> None:
        """Purerpc's constructor sets it to 0."""


def _require_trio() -> None:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        raise RuntimeError("hushar.rpc.Server runs on trio only, not under asyncio") from None


def _or_infinite(value: int | None) -> float:
    return float("inf") if value is None else value


def _encodings(names: Sequence[str]) -> tuple[str, ...]:
    unknown = set(names) - set(ENCODINGS)
    if unknown:
        raise ValueError(f"compression: {min(unknown)!r} is none of {', '.join(ENCODINGS)}")
    return tuple(names)


def _with_alpn(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["h2"])
    return context
