"""`Server`: purerpc's, with raw unary methods, a host to bind, exceptions hidden, and a drain.

What stands below is stock purerpc behind the interface that an engine of our own will have: only its
connection handler is extended, where it would leak an exception's text to a client or end a
connection while calls run on it.
"""

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.abc
import purerpc
import trio
from anyio.streams.tls import TLSListener
from hyperframe.frame import GoAwayFrame
from purerpc.grpc_proto import GRPCProtoSocket
from purerpc.server import BoundRPCMethod, ConnectionHandler

from hushar.rpc.calls import RawCall

log = logging.getLogger("hushar.rpc")

_LARGEST_STREAM_ID = 2**31 - 1
_QUIET_SECONDS = 0.05
"""A drain waits until no call has been in flight for this long: a client that has not yet read the
GOAWAY may still begin one."""

Receive = Callable[[Sequence[RawCall]], None]


class RawMessage:
    """A message that is not decoded; has the two methods of protobuf's that purerpc calls."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def ParseFromString(self, data: bytes) -> None:  # noqa: N802 - protobuf's name
        """Keep the bytes."""
        self.data = bytes(data)

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes."""
        return self.data


class Server(purerpc.Server):  # type: ignore[misc]  # purerpc is untyped
    """A purerpc.Server that binds one host, hides exceptions, drains, and serves raw unary methods."""

    def __init__(
        self,
        port: int = 50055,
        ssl_context: Any = None,
        *,
        host: str = "127.0.0.1",
        connection_concurrency: int = 200,
        drain_seconds: float = 30.0,
    ) -> None:
        """`connection_concurrency`: calls in flight a connection; `drain_seconds`: how long `drain`
        waits for calls in flight."""
        super().__init__(port, ssl_context)
        self.port: int = port
        self.host = host
        self.connection_concurrency = connection_concurrency
        self.drain_seconds = drain_seconds
        self.in_flight = 0
        self._raw: dict[str, dict[str, Receive]] = {}
        self._handlers: set[_Handler] = set()
        self._draining = trio.Event()

    def add_raw_unary(self, path: str, receive: Receive) -> None:
        """Serve `/pkg.Service/Method` with `receive(calls)`, a plain function called in the event loop."""
        _, service, method = path.split("/")
        self._raw.setdefault(service, {})[method] = receive

    def drain(self) -> None:
        """Take no new connections, let the calls in flight end; `serve_async` then returns."""
        self._draining.set()

    async def serve_async(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained or cancelled; `task_status` gets the port. OSError if it cannot bind."""
        async with AsyncExitStack() as stack:
            services = {
                name: _guarded(await stack.enter_async_context(context))
                for name, context in self.services.items()
            }
            services |= {name: _raw_service(name, methods) for name, methods in self._raw.items()}
            listener: Any = await anyio.create_tcp_listener(local_host=self.host, local_port=self.port)
            self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
            if self._ssl_context:
                listener = TLSListener(listener, self._ssl_context, standard_compatible=False)
            stack.push_async_callback(listener.aclose)
            task_status.started(self.port)
            async with anyio.create_task_group() as connections:
                async with anyio.create_task_group() as accepting:
                    accepting.start_soon(
                        listener.serve, functools.partial(_handle, services, self), connections
                    )
                    await self._draining.wait()
                    accepting.cancel_scope.cancel()
                await listener.aclose()
                await self._finish()
                connections.cancel_scope.cancel()

    async def _finish(self) -> None:
        """Tell every client to go elsewhere, and wait for what is in flight."""
        for handler in self._handlers:
            await handler.go_away(_LARGEST_STREAM_ID)
        with trio.move_on_after(self.drain_seconds):
            quiet = 0
            while quiet < 2:
                await trio.sleep(_QUIET_SECONDS / 2)
                quiet = 0 if self.in_flight else quiet + 1
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                for handler in list(self._handlers):
                    nursery.start_soon(handler.finish)


async def _handle(services: dict[str, Any], server: Server, stream: Any) -> None:
    await _Handler(services, server)(stream)


class _Handler(ConnectionHandler):  # type: ignore[misc]  # purerpc is untyped
    """One connection."""

    def __init__(self, services: dict[str, Any], server: Server) -> None:
        super().__init__(services, server)
        self._own_server = server
        self._socket: Any = None
        self._reading = trio.CancelScope()
        self._closed = trio.Event()

    async def go_away(self, last_stream_id: int) -> None:
        """Send GOAWAY(NO_ERROR). Past h2, whose state machine would end the calls in flight with it."""
        if self._socket is not None:
            frame = GoAwayFrame(0, last_stream_id=last_stream_id, error_code=0)
            self._socket._grpc_connection.h2_connection._data_to_send += frame.serialize()
            await self._socket._socket.flush()

    async def finish(self) -> None:
        """Stop reading, send what is left, close."""
        if self._socket is not None:
            h2 = self._socket._grpc_connection.h2_connection
            await self.go_away(h2.highest_inbound_stream_id)
        self._reading.cancel()
        await self._closed.wait()

    async def request_received(self, stream: Any) -> None:
        """Serve one call, and count it."""
        self._own_server.in_flight += 1
        try:
            await super().request_received(stream)
        finally:
            self._own_server.in_flight -= 1

    async def __call__(self, stream_: Any) -> None:
        """Serve the connection until its client has gone or `finish` was called."""
        server = self._own_server
        server._connection_count += 1
        server._handlers.add(self)
        try:
            socket = GRPCProtoSocket(self.config, stream_)
            connection = socket._grpc_connection
            connection.MAX_CONCURRENT_STREAMS = server.connection_concurrency
            connection._set_h2_connection_local_settings()
            # purerpc itself leaves the socket to the garbage collector.
            async with stream_, socket as self._socket, anyio.create_task_group() as calls:
                with self._reading:
                    async for stream in self._socket.listen():
                        calls.start_soon(self.request_received, stream)
        except Exception:
            log.info("a connection ended with an error", exc_info=True)
            server._exception_count += 1
        finally:
            server._handlers.discard(self)
            self._closed.set()


def _raw_service(name: str, methods: dict[str, Receive]) -> purerpc.Service:
    service = purerpc.Service(name)
    signature = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, RawMessage, RawMessage)
    for method_name, receive in methods.items():
        service.add_method(method_name, _raw_method(receive), signature)
    return service


def _raw_method(receive: Receive) -> Callable[..., Awaitable[RawMessage]]:
    async def method(message: RawMessage, request: Any) -> RawMessage:
        over = trio.Event()
        call = RawCall(message.data, request, over.set)
        try:
            receive([call])
        except Exception:
            log.exception("a raw method failed")
            call.fail(purerpc.StatusCode.INTERNAL, "internal error")
        try:
            await over.wait()
        finally:
            call.abandon()
        if call.response is None:
            raise purerpc.RpcFailedError(call.status)
        return RawMessage(call.response)

    return method


def _guarded(service: Any) -> purerpc.Service:
    """The same service, its exceptions turned into INTERNAL without their text."""
    service = service.service if isinstance(service, purerpc.Servicer) else service
    guarded = purerpc.Service(service.name)
    for name, (method, signature) in service.methods.items():
        streams = signature.cardinality in (
            purerpc.Cardinality.UNARY_STREAM,
            purerpc.Cardinality.STREAM_STREAM,
        )
        guard = _guarded_stream(method) if streams else _guarded_unary(method)
        guarded.methods[name] = BoundRPCMethod(guard, signature)
    return guarded


def _hidden(error: Exception) -> Exception:
    is_status: bool = isinstance(error, purerpc.RpcFailedError)
    if is_status:
        return error
    log.error("a handler failed", exc_info=error)
    hidden: Exception = purerpc.RpcFailedError(purerpc.Status(purerpc.StatusCode.INTERNAL, "internal error"))
    return hidden


def _guarded_unary(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def guarded(message: Any, request: Any) -> Any:
        try:
            return await method(message, request=request)
        except Exception as error:
            raise _hidden(error) from error

    return guarded


def _guarded_stream(method: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    async def guarded(message: Any, request: Any) -> AsyncIterator[Any]:
        try:
            async for each in method(message, request=request):
                yield each
        except Exception as error:
            raise _hidden(error) from error

    return guarded
