"""`Channel`: calls to one server, on the engine that the server runs on.

Theory of operation. Calls wait in one queue, in the order in which they were made, until a connection takes
them: at most as many are under way as the server allows. New calls go to one connection, the newest. It is
made when the channel is entered, and again when a call waits and it was lost, its server is going away, or
it has no stream ids left; a connection that a server drains lives on until its calls have ended. Who is
waiting for what is in `wire.py` (one connection) and `client_calls.py` (one call).

The cancel scope around a call is its deadline: what is left of it is sent along, and leaving it resets the
call, and only that.
"""

import ssl
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

import purerpc
import trio
from purerpc import Status, StatusCode

from hushar.rpc.client_calls import OnDone, TaskAttempt, UnaryCall, Waiter, backoff, counted, retry_delay
from hushar.rpc.client_errors import ConnectionLostError, failure
from hushar.rpc.client_streams import ClientStream
from hushar.rpc.dialing import Target, dial
from hushar.rpc.limits import MIB, Limits
from hushar.rpc.request_block import request_block
from hushar.rpc.status import encode_metadata
from hushar.rpc.wakeups import Wakeups
from hushar.rpc.wire import Wire

Metadata = Iterable[tuple[str, str | bytes]]

_BLOCKS: Final = 256
"""Header blocks that a channel keeps, by path and metadata."""
_MAX_HEADER_BYTES: Final = 64 * 1024


class Channel:
    """Calls to one server. An async context manager; for the tasks of one trio run."""

    def __init__(
        self,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None = None,
        *,
        retries: int = 3,
        server_hostname: str | None = None,
        max_receive_bytes: int = 64 * MIB,
        keepalive_seconds: float | None = None,
        keepalive_timeout_seconds: float = 20.0,
        user_agent: str = "hushar-rpc",
    ) -> None:
        """Makes no connection yet.

        Args:
            host: a name, an IP address (IPv6 without brackets), or `unix:PATH`.
            port: TCP port; means nothing to a unix socket.
            ssl_context: TLS; it is told to negotiate HTTP/2.
            retries: how often a call that ended with UNAVAILABLE is sent again. One that the server has not
                begun (REFUSED_STREAM, a GOAWAY, a connection that broke before) always is.
            server_hostname: the name in the server's certificate, if it is not `host`.
            max_receive_bytes: of a message, also inflated.
            keepalive_seconds: silence of the server after which it is asked, with a PING, whether it is still
                there, while calls are under way; many servers close connections that ask oftener than every
                five minutes. None: never.
            keepalive_timeout_seconds: the time for its answer.
            user_agent: of every call.
        """
        # These three names are what purerpc's client looks at.
        self._host = host
        self._port = port
        self._grpc_socket = self
        self.retries = retries
        self.wakeups = Wakeups()
        self._target = Target(host, port, ssl_context, server_hostname)
        self._limits = Limits(max_receive_bytes=max_receive_bytes, max_header_bytes=_MAX_HEADER_BYTES)
        self._keepalive = keepalive_seconds, keepalive_timeout_seconds
        self._user_agent = user_agent
        self._blocks: dict[Any, bytes] = {}
        self._stack = AsyncExitStack()
        self._nursery: trio.Nursery | None = None
        self._closed_because: str | None = "the channel is not connected"
        self._wire: Wire | None = None
        """Where new calls go."""
        self._wires: set[Wire] = set()
        """That, and those that are being drained."""
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._wanted = trio.lowlevel.ParkingLot()
        """The task that connects waits here until a call does."""

    async def __aenter__(self) -> Self:
        """Connects. Raises ConnectionLostError, an UnavailableError."""
        self._nursery = await self._stack.enter_async_context(trio.open_nursery())
        try:
            self._wire = await self._connect()
            self._closed_because = None
            await self._nursery.start(self._stay_connected)
            await self._nursery.start(self.wakeups.run)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes at once; calls still under way (of other tasks) fail."""
        await self._close()

    async def _close(self) -> None:
        self._closed_because = "the channel was closed"
        for wire in list(self._wires):
            wire.close(self._closed_because)
        self._fail_waiting(Status(StatusCode.UNAVAILABLE, self._closed_because))
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        # Without the block's exception, which the nursery would put into a group.
        await self._stack.aclose()

    @property
    def closed(self) -> bool:
        """Whether the channel takes no calls: it is not entered, or left."""
        return self._closed_because is not None

    # Calling

    async def unary(self, path: str, message: bytes, metadata: Metadata = ()) -> bytes:
        """Call `/pkg.Service/Method` with one message; returns the one of the answer.

        Raises RpcFailedError (its subclass for the status) for any status but OK; ConnectionLostError, an
        UnavailableError, where no connection can be made or it broke; BadMetadata, a ValueError.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        block = self._block(path, metadata)
        number = previous = 0
        while True:
            self._check_open()
            attempt = TaskAttempt(self, block, message, trio.current_effective_deadline())
            attempt.previous = previous
            self.submit(attempt)
            if attempt.wire is not None:
                attempt.wire.hurry()
            await attempt.wait()
            if attempt.answer is not None:
                return attempt.answer
            status = attempt.status
            assert status is not None
            delay = None if self.closed else retry_delay(attempt.call, status, number, self.retries)
            if delay is None or trio.current_time() + delay >= trio.current_effective_deadline():
                raise failure(status, lost=attempt.lost)
            number += 1
            previous += counted(attempt.call)
            await trio.sleep(delay)

    def start_unary(
        self,
        path: str,
        message: bytes,
        on_done: OnDone,
        metadata: Metadata = (),
        timeout: float | None = None,
    ) -> UnaryCall:
        """Begin such a call without a task of its own; for a generator of load.

        `on_done(status, answer)` is called in the event loop's thread once the call is over, never before
        this returns; `answer` is None unless the status is OK. An exception in it is logged. The result has
        `cancel()`, after which `on_done` is not called. `timeout`: seconds, for all attempts together; the
        cancel scope around plays no role. Raises ConnectionLostError outside of the channel's block.
        """
        self._check_open()
        deadline = float("inf") if timeout is None else trio.current_time() + timeout
        call = UnaryCall(self, self._block(path, metadata), message, deadline, on_done)
        if timeout is not None:
            self.wakeups.add(deadline, call)
            if timeout <= 0:
                return call
        self.submit(call)
        return call

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
    ) -> ClientStream:
        """Begin a call whose messages are sent and received one by one: what purerpc's stubs do."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        stream = ClientStream(self, self._block(f"/{service_name}/{method_name}", custom_metadata or ()))
        await stream.start()
        return stream

    def _check_open(self) -> None:
        if self._closed_because is not None:
            raise ConnectionLostError(self._closed_because)

    def _block(self, path: str, metadata: Metadata) -> bytes:
        """The header block of a call, without its time-out."""
        pairs = tuple(metadata)
        key = (path, pairs) if pairs else path
        block = self._blocks.get(key)
        if block is None:
            if len(self._blocks) >= _BLOCKS:
                self._blocks.clear()
            target = self._target
            fields = encode_metadata(pairs)
            block = request_block(target.scheme, target.authority, path, fields, self._user_agent)
            self._blocks[key] = block
        return block

    # Connections

    def submit(self, waiter: Waiter) -> None:
        """Begin the call now, or when a connection takes it."""
        wire = self._wire
        if wire is not None and not self._waiting:
            if not wire.engine.open_streams:
                # It may have ended while nobody looked.
                wire.poll()
            if wire.engine.can_begin:
                waiter.begin(wire)
                return
        self._waiting[waiter] = None
        if wire is None or not wire.engine.usable:
            self._wanted.unpark()

    def withdraw(self, waiter: Waiter) -> None:
        """It need not be begun any more."""
        self._waiting.pop(waiter, None)

    def _turn(self, wire: Wire) -> None:
        """Take note of what has ended on a connection, and begin what waits."""
        # More may end meanwhile: the loop meets that too.
        for call in wire.ended:
            call.owner.finish()
        wire.ended.clear()
        if wire.link.closed:
            self._wires.discard(wire)
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        """Begin as many of the calls that wait as the connection takes."""
        waiting, wire = self._waiting, self._wire
        while waiting and wire is not None and wire.engine.can_begin:
            waiter, _ = waiting.popitem(last=False)
            waiter.begin(wire)
        if waiting and (wire is None or not wire.engine.usable):
            self._wanted.unpark()

    def _fail_waiting(self, status: Status) -> None:
        waiting, self._waiting = self._waiting, OrderedDict()
        for waiter in waiting:
            waiter.fail(status)

    async def _stay_connected(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Connect whenever a call waits and there is no connection for it."""
        task_status.started()
        failures = 0
        while True:
            while not self._waiting or (self._wire is not None and self._wire.engine.usable):
                await self._wanted.park()
            if failures:
                await trio.sleep(backoff(failures))
            try:
                self._wire = await self._connect()
            except purerpc.UnavailableError as error:
                failures += 1
                self._fail_waiting(error.status)
                continue
            engine = self._wire.engine
            failures = 0 if engine.usable else failures + 1
            if failures:
                # It was over before it took a call.
                self._fail_waiting(Status(StatusCode.UNAVAILABLE, engine.end_reason))
            self._admit()

    async def _connect(self) -> Wire:
        """A new connection with its tasks. Raises ConnectionLostError."""
        assert self._nursery is not None
        wire = await dial(self._target, self._limits, self._turn)
        self._wires.add(wire)
        await self._nursery.start(wire.read)
        await self._nursery.start(wire.write)
        seconds, timeout = self._keepalive
        if seconds is not None:
            await self._nursery.start(wire.keep_alive, seconds, timeout)
        return wire
