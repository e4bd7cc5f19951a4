"""`Channel`: a client's connection to one server, on the engine that the server runs on.

One connection at a time: it is made when the channel is entered, and again when it was lost or its server
went away and there is a next call. The cancel scope around a call is its deadline: what is left of it is
sent along, and leaving it resets the call.
"""

import math
import random
import socket
import ssl
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any, Final, Self

import purerpc
import trio
from purerpc import Status, StatusCode
from purerpc.grpclib.events import ResponseEnded, ResponseReceived
from purerpc.grpclib.exceptions import raise_status

from hushar.rpc.client_engine import ClientCall, ClientConnection, request_block
from hushar.rpc.header_blocks import encode
from hushar.rpc.limits import MIB, Limits
from hushar.rpc.links import Link, LinkLost, TlsLink
from hushar.rpc.request_head import custom_metadata, first
from hushar.rpc.status import encode_metadata, format_timeout

Metadata = Iterable[tuple[str, str | bytes]]

_BLOCKS: Final = 256
"""Header blocks that a channel keeps, by path and metadata."""
_RETRY_SECONDS: Final = 0.05
_RETRY_MAX_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 20.0
_USER_AGENT: Final = "hushar-rpc"


class _Wire:
    """One connection with its link and its two tasks."""

    def __init__(self, link: Link, limits: Limits) -> None:
        self.link = link
        self.engine = ClientConnection(limits, self._has_output)
        self._flusher = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()
        self.room = trio.lowlevel.ParkingLot()
        """Calls that wait until the server takes another one."""
        self.established = trio.Event()

    def _has_output(self) -> None:
        self._flusher.unpark()

    async def read(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Feed the engine until the connection ends."""
        task_status.started()
        engine, link = self.engine, self.link
        try:
            while not engine.failed:
                await trio.lowlevel.wait_readable(link.sock)
                data = link.receive()
                if link.established:
                    self.established.set()
                if data:
                    engine.receive_data(data, trio.current_time())
                    self.flush()
                    self.room.unpark_all()
        except (LinkLost, trio.ClosedResourceError):
            pass
        finally:
            self.close()

    async def write(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send what appears, and what the socket did not take at once."""
        task_status.started()
        try:
            while not self.link.closed:
                if self.link.pending_bytes:
                    await trio.lowlevel.wait_writable(self.link.sock)
                elif not self.engine.dirty:
                    await self._flusher.park()
                self.flush()
        except (LinkLost, trio.ClosedResourceError):
            self.close()

    def flush(self) -> None:
        """Send the engine's output."""
        self.engine.dirty = False
        self.link.send(self.engine.data_to_send())

    def close(self) -> None:
        """The connection is over, and all its calls with it."""
        if not self.link.closed:
            trio.lowlevel.notify_closing(self.link.sock)
            self.link.close()
        self.engine.lost()
        self.established.set()
        self.room.unpark_all()
        self._flusher.unpark_all()


class Channel:
    """Calls to one server. An async context manager."""

    def __init__(
        self,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None = None,
        *,
        retries: int = 3,
        max_receive_bytes: int = 64 * MIB,
    ) -> None:
        """`retries`: how often a call that was answered UNAVAILABLE is sent again. Calls that the server
        has not begun (REFUSED_STREAM, a GOAWAY, a connection lost before) are always sent again."""
        # These three names are what purerpc's client looks at.
        self._host = host
        self._port = port
        self._grpc_socket = self
        self._ssl_context = ssl_context
        self._retries = retries
        self._limits = Limits(
            max_receive_bytes=max_receive_bytes, connection_concurrency=1, max_header_bytes=64 * 1024
        )
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._scheme = "http" if ssl_context is None else "https"
        self._blocks: dict[tuple[str, tuple[tuple[str, str | bytes], ...]], bytes] = {}
        self._stack = AsyncExitStack()
        self._nursery: trio.Nursery | None = None
        self._wire: _Wire | None = None
        self._connecting = trio.Lock()

    async def __aenter__(self) -> Self:
        self._nursery = await self._stack.enter_async_context(trio.open_nursery())
        try:
            await self._connected()
        except BaseException:
            self._nursery.cancel_scope.cancel()
            await self._stack.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *_: Any) -> None:
        if self._wire is not None:
            self._wire.close()
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        # Without the block's exception, which the nursery would put into a group.
        await self._stack.__aexit__(None, None, None)

    async def unary(self, path: str, message: bytes, metadata: Metadata = ()) -> bytes:
        """Call `/pkg.Service/Method` with one message. Raises RpcFailedError for any status but OK."""
        attempt = 0
        while True:
            wire, call = await self._attempt(path, message, metadata)
            status = call.status
            assert status is not None
            if status.status_code is StatusCode.OK:
                if not call.messages:
                    raise _failure(Status(StatusCode.UNIMPLEMENTED, "the answer has no message"))
                return wire.engine.take(call)
            delay = self._retry_after(call, attempt)
            if delay is None or trio.current_time() + delay > trio.current_effective_deadline():
                raise _failure(status)
            attempt += 1
            await trio.sleep(delay)

    async def _attempt(self, path: str, message: bytes, metadata: Metadata) -> tuple[_Wire, ClientCall]:
        """Send a unary call once, and wait for its end."""
        wire = await self._ready()
        task = trio.lowlevel.current_task()
        parked = False

        def changed() -> None:
            nonlocal parked
            if call.over and parked:
                parked = False
                trio.lowlevel.reschedule(task)

        def abandoned(_: Any) -> trio.lowlevel.Abort:
            nonlocal parked
            parked = False
            wire.engine.cancel(call)
            return trio.lowlevel.Abort.SUCCEEDED

        call = wire.engine.begin_unary(self._block(path, metadata), message, changed)
        if not call.over:
            parked = True
            await trio.lowlevel.wait_task_rescheduled(abandoned)
        return wire, call

    def _retry_after(self, call: ClientCall, attempt: int) -> float | None:
        """Seconds until the call is sent again; None if it is not."""
        if call.unprocessed:
            return 0.0 if attempt == 0 else _backoff(attempt)
        status = call.status
        if status is None or status.status_code is not StatusCode.UNAVAILABLE or attempt >= self._retries:
            return None
        pushback = first(call.trailing, b"grpc-retry-pushback-ms")
        if pushback is not None:
            return int(pushback) / 1000 if pushback.isdigit() else None
        return _backoff(attempt)

    def _block(self, path: str, metadata: Metadata) -> bytes:
        """The header block of a call, with what is left of the deadline."""
        pairs = tuple(metadata)
        block = self._blocks.get((path, pairs))
        if block is None:
            if len(self._blocks) >= _BLOCKS:
                self._blocks.clear()
            block = request_block(self._scheme, self._authority, path, encode_metadata(pairs), _USER_AGENT)
            self._blocks[path, pairs] = block
        deadline = trio.current_effective_deadline()
        if deadline != math.inf:
            left = format_timeout(deadline - trio.current_time())
            block += encode([(b"grpc-timeout", left)])
        return block

    async def _ready(self) -> _Wire:
        """A connection on which a call can be begun now."""
        while True:
            wire = await self._connected()
            if wire.engine.can_begin:
                return wire
            if wire.engine.usable:
                await wire.room.park()

    async def _connected(self) -> _Wire:
        """The connection, made again if it is lost or its server is going away."""
        if self._wire is not None and self._wire.engine.usable:
            await trio.lowlevel.checkpoint_if_cancelled()
            return self._wire
        async with self._connecting:
            if self._wire is None or not self._wire.engine.usable:
                self._wire = await self._connect()
            return self._wire

    async def _connect(self) -> _Wire:
        """A new connection. Raises UnavailableError."""
        assert self._nursery is not None
        try:
            stream = await trio.open_tcp_stream(self._host, self._port)
        except OSError as error:
            text = f"cannot connect to {self._authority}: {error}"
            raise purerpc.UnavailableError(text) from error
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(False)
        link = Link(sock)
        if self._ssl_context is not None:
            self._ssl_context.set_alpn_protocols(["h2"])
            link = TlsLink(sock, self._ssl_context, server_hostname=self._host)
        wire = _Wire(link, self._limits)
        try:
            if isinstance(link, TlsLink):
                link.begin()
            wire.flush()
        except LinkLost as error:
            wire.close()
            raise purerpc.UnavailableError(f"cannot connect to {self._authority}: {error}") from error
        await self._nursery.start(wire.read)
        await self._nursery.start(wire.write)
        if not link.established:
            with trio.move_on_after(_CONNECT_SECONDS):
                await wire.established.wait()
            if not link.established:
                wire.close()
                raise purerpc.UnavailableError(f"no TLS connection to {self._authority}")
        return wire

    # What purerpc's stubs call

    async def start_request(
        self,
        scheme: str,  # noqa: ARG002 - the channel's own
        service_name: str,
        method_name: str,
        message_type: str | None = None,  # noqa: ARG002
        authority: str | None = None,  # noqa: ARG002
        *,
        custom_metadata: Metadata = (),
        **_: Any,
    ) -> "ClientStream":
        """Begin a call whose messages are sent and received one by one."""
        wire = await self._ready()
        stream = ClientStream(wire)
        stream.begin(self._block(f"/{service_name}/{method_name}", custom_metadata or ()))
        return stream


def _failure(status: Status) -> Exception:
    """Purerpc's exception for a status."""
    try:
        raise_status(status)
    except purerpc.RpcFailedError as error:
        failure: Exception = error
        return failure
    return purerpc.RpcFailedError(status)  # type: ignore[no-any-return]


def _backoff(attempt: int) -> float:
    """Exponential with full jitter, seconds."""
    ceiling = min(_RETRY_MAX_SECONDS, _RETRY_SECONDS * 2**attempt)
    return random.uniform(0, ceiling)  # noqa: S311


class ClientStream:
    """One call, under the names that purerpc's stubs use."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._arrived = trio.lowlevel.ParkingLot()
        self._call: ClientCall
        self._message_type: Any = None
        self.start_stream_event: ResponseReceived | None = None
        self.end_stream_event: ResponseEnded | None = None

    def begin(self, block: bytes) -> None:
        """Send the request's headers."""
        self._call = self._wire.engine.begin(block, self._changed)

    def _changed(self) -> None:
        self._arrived.unpark_all()

    def expect_message_type(self, message_type: Any) -> None:
        """What the response's messages are."""
        self._message_type = message_type

    async def send_message(self, message: Any) -> None:
        """Send a message of the request."""
        self._wire.engine.send_message(self._call, message.SerializeToString())
        limit = self._wire.engine.limits.stream_send_buffer_bytes
        while self._call.queued > limit and not self._call.over:
            await self._waiting(self._wire.room)
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Send nothing more."""
        self._wire.engine.end(self._call)

    async def receive_message(self) -> Any:
        """The next message of the response; None after the last: `end_stream_event` then has the status."""
        call = self._call
        while not call.messages and not call.over:
            await self._waiting(self._arrived)
        self._note_leading()
        if call.messages:
            message = self._message_type()
            message.ParseFromString(self._wire.engine.take(call))
            return message
        self._note_end()
        return None

    async def _waiting(self, lot: trio.lowlevel.ParkingLot) -> None:
        try:
            await lot.park()
        except trio.Cancelled:
            self._wire.engine.cancel(self._call)
            raise

    def _note_leading(self) -> None:
        call = self._call
        if self.start_stream_event is None and call.leading is not None:
            event = ResponseReceived(call.id, "application/grpc")
            event.custom_metadata = _metadata(call.leading)
            self.start_stream_event = event

    def _note_end(self) -> None:
        if self.end_stream_event is None:
            event = ResponseEnded(self._call.id, self._call.status)
            event.custom_metadata = _metadata(self._call.trailing)
            self.end_stream_event = event


def _metadata(fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str | bytes], ...]:
    return custom_metadata([field for field in fields if field[0][:1] != b":"])
