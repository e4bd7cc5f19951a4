"""HTTP/1.1 for a few operators: connections of trio's, their protocol anycorn's, what is served an ASGI app.

Of anycorn only the protocol class is used, one object a connection. Its own server reaches HTTP/2 whatever it
is told (`Upgrade: h2c`, a connection that begins with `PRI * HTTP/2.0`), and the h2 that purerpc pins must
not meet what strangers send; with it, too, an error of one connection would end the whole server's nursery,
and a client that does not read would hold up its end.

Every connection has a deadline at any time: for a request to come, for the answer to leave.
"""

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import h11
import trio
from anycorn.app_wrappers import ASGIWrapper
from anycorn.config import Config
from anycorn.events import Closed, Event, RawData, Updated
from anycorn.protocol.h11 import H11Protocol
from anycorn.task_group import TaskGroup
from anycorn.typing import ASGIFramework, ConnectionState
from anycorn.worker_context import WorkerContext

log = logging.getLogger("hushar.admin")

MOST_CONNECTIONS: Final = 64
"""A scraper needs one, a browser six. One more, and the one that has waited longest for a request is closed:
whoever holds all of them must not keep a probe out."""
FIRST_SECONDS: Final = 10.0
"""For the first request to come, whole."""
IDLE_SECONDS: Final = 90.0
"""For the next one: longer than between two scrapes."""
ANSWER_SECONDS: Final = 20.0
"""For an answer to be made and taken."""
_RECEIVE_BYTES: Final = 16384


class _NoHttp11(Exception):
    """The client speaks another version."""


class _Http11(H11Protocol):
    """No other protocol can be had here."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Where anycorn would go over to HTTP/2."""
        if event.http_version not in (b"1.0", b"1.1"):
            raise _NoHttp11

    async def _create_stream(self, request: h11.Request) -> None:
        """Whatever a client would like to upgrade to, it is answered in HTTP/1.1 (RFC 9110, section 7.8)."""
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        version, method = request.http_version, request.method
        await super()._create_stream(
            h11.Request(method=method, target=request.target, headers=headers, http_version=version)
        )


class _Connection:
    """One client."""

    def __init__(self, stream: trio.SocketStream, app: ASGIWrapper, config: Config) -> None:
        self._stream = stream
        self._app = app
        self._config = config
        self._sending = trio.Lock()
        self._scope = trio.CancelScope(deadline=trio.current_time() + FIRST_SECONDS)
        self.idle_since: float | None = trio.current_time()
        """Since when it has waited for a request; None: there is one."""

    def end(self) -> None:
        """As if its time were over."""
        self._scope.cancel()

    async def run(self) -> None:
        """Until it is over."""
        try:
            host, port, *_ = self._stream.socket.getpeername()
        except OSError:
            # It is gone already.
            return
        with self._scope:
            async with TaskGroup() as tasks:
                protocol = _Http11(
                    self._app,
                    self._config,
                    WorkerContext(None),
                    tasks,
                    ConnectionState({}),
                    (host, port),
                    None,
                    self._send,
                    None,
                )
                await protocol.initiate()
                await self._read(protocol)
                # A client that has shut its half down may still wait for its answer, which is in a task.

    async def _read(self, protocol: H11Protocol) -> None:
        while True:
            try:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            try:
                await protocol.handle(RawData(bytes(data)))
            except _NoHttp11:
                await protocol._send_error_response(505)
                return
            if not data:
                return

    async def _send(self, event: Event) -> None:
        """What the protocol has to say."""
        if isinstance(event, RawData):
            async with self._sending:
                try:
                    await self._stream.send_all(event.data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    # The reader will see it, and end the connection.
                    await self._stream.aclose()
        elif isinstance(event, Closed):
            # The task of an answer and the reader may both have come to the end.
            async with self._sending:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_eof()
                await self._stream.aclose()
        elif isinstance(event, Updated):
            now = trio.current_time()
            self.idle_since = now if event.idle else None
            self._scope.deadline = now + (IDLE_SECONDS if event.idle else ANSWER_SECONDS)


async def serve(
    app: ASGIFramework,
    listeners: Sequence[socket.socket],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI app on sockets that listen, until cancelled. They are closed in any case."""
    config = Config()
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hushar.admin.http")
    # What a client does wrong, it is told; it is no news for whoever runs the server.
    config.errorlog.setLevel(logging.WARNING)
    wrapped = ASGIWrapper(app)
    connections: set[_Connection] = set()

    async def handle(stream: trio.SocketStream) -> None:
        if not _make_room(connections):
            return
        connection = _Connection(stream, wrapped, config)
        connections.add(connection)
        try:
            await connection.run()
        except Exception:
            log.exception("admin: a connection failed")
        finally:
            connections.discard(connection)

    streams = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in listeners]
    task_status.started()
    await trio.serve_listeners(handle, streams)


def _make_room(connections: set[_Connection]) -> bool:
    """Whether there may be one more; if need be, end another one."""
    if len(connections) < MOST_CONNECTIONS:
        return True
    idle = [(each.idle_since, each) for each in connections if each.idle_since is not None]
    if not idle:
        return False
    _, longest = min(idle, key=lambda pair: pair[0])
    longest.end()
    connections.discard(longest)
    return True
