"""Calls of ordinary methods: a task for each, between the engine and a servicer's coroutine.

What purerpc's servicers expect is kept: a unary method is a coroutine function of a message (and, if it
wants, `request`), a streaming one takes an async iterator or is an async generator. What purerpc does
with exceptions is not: one is INTERNAL with a safe sentence, its traceback in the log; RpcFailedError is
the way to answer with any status. `sys.exit()` is an exception like others: one call does not end a server.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, Self

import trio
from purerpc import Cardinality, RpcFailedError, Status, StatusCode

from hushar.rpc.calls import RawCall
from hushar.rpc.connection_state import ConnectionState
from hushar.rpc.keeping import Keeper

log = logging.getLogger("hushar.rpc")

Method = Callable[..., Any]

_MESSAGES_AT_ONCE: Final = 32
"""Messages that a handler takes before others get their turn, however many have come."""


class Handler:
    """The task of one call, and the messages that have come for it."""

    __slots__ = ("_arrived", "_ended", "_messages", "_taken", "call", "connection", "keeper", "scope")

    def __init__(self, call: RawCall, connection: ConnectionState, keeper: Keeper) -> None:
        self.call = call
        self.connection = connection
        self.keeper = keeper
        self.scope = trio.CancelScope(deadline=call.deadline)
        """Its deadline is the call's, so that what a handler calls in turn can be held to it."""
        self._messages: deque[tuple[bytes, int]] = deque()
        self._ended = False
        self._taken = 0
        self._arrived = trio.lowlevel.ParkingLot()
        connection.handlers.add(self)

    def put(self, message: bytes, wire_bytes: int) -> None:
        """A message has come. Bounded by the stream's window, which is credited when it is taken."""
        self._messages.append((message, wire_bytes))
        self._arrived.unpark()

    def put_end(self) -> None:
        """No message will come any more."""
        self._ended = True
        self._arrived.unpark_all()

    def abort(self) -> None:
        """Nobody waits for the answer: the task is cancelled, and its place is kept until it has ended."""
        self.scope.cancel()

    def finished(self) -> None:
        """The task has ended: its place is free."""
        self.connection.handlers.discard(self)
        self.call.connection.handler_ended(self.call)
        self.keeper.call_ended(self.connection)

    async def receive(self) -> bytes | None:
        """The next message; None after the last."""
        self._taken += 1
        if self._taken % _MESSAGES_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
        while not self._messages:
            if self._ended:
                await trio.lowlevel.checkpoint()
                return None
            await self._arrived.park()
        message, wire_bytes = self._messages.popleft()
        self.call.connection.acknowledge(self.call, wire_bytes)
        return message

    async def send(self, message: Any) -> None:
        """Send a message of the response; waits while the peer does not keep up."""
        data = message.SerializeToString()
        if not self.call.over:
            self.call.connection.send_message(self.call, data)
            await self.keeper.room(self.call, self.connection)
        await trio.lowlevel.checkpoint()


class Messages:
    """The messages of a request, decoded, as an async iterator that may be left at any time."""

    __slots__ = ("_handler", "_message_type")

    def __init__(self, handler: Handler, message_type: Any) -> None:
        self._handler = handler
        self._message_type = message_type

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        data = await self._handler.receive()
        if data is None:
            raise StopAsyncIteration
        return _decoded(self._message_type, data)

    async def aclose(self) -> None:
        """Nothing is held; for those who close what they iterate over."""
        await trio.lowlevel.checkpoint()


async def run_call(handler: Handler, method: Method, signature: Any) -> None:
    """Run a method for one call, to its end."""
    call = handler.call
    connection = call.connection
    try:
        with handler.scope:
            await _answer(handler, method, signature)
    except RpcFailedError as failure:
        connection.end_call(call, failure.status)
    except (Exception, SystemExit) as error:
        _failed(call, error)
    except BaseExceptionGroup as error:
        # What a nursery inside the handler has made of it.
        if error.split((Exception, SystemExit))[1] is not None:
            raise
        _failed(call, error)
    finally:
        if trio.current_time() >= call.deadline:
            # The scope's deadline may come first by a hair.
            connection.expire(call)
        # Nothing, unless the task was cancelled from outside: the server ends at once.
        connection.end_call(call, Status(StatusCode.UNAVAILABLE, "the server is going away"))
        handler.finished()


def _failed(call: RawCall, error: BaseException) -> None:
    statuses = _statuses_in(error)
    if statuses:
        call.connection.end_call(call, statuses[0])
        return
    path = call.head.path.decode("ascii", "replace")
    # Where the call was over before, the handler was cancelled: an expected end.
    level = logging.DEBUG if call.over else logging.ERROR
    log.log(level, "the handler of %s failed", path, exc_info=error)
    call.connection.end_call(call, Status(StatusCode.INTERNAL, "internal error"))


def _statuses_in(error: BaseException) -> list[Status]:
    """A status that a nursery inside the handler has wrapped in a group, if it is alone there."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _statuses_in(error.exceptions[0])
    return [error.status] if isinstance(error, RpcFailedError) else []


async def _answer(handler: Handler, method: Method, signature: Any) -> None:
    call = handler.call
    request = call.request
    cardinality = signature.cardinality
    if cardinality in (Cardinality.STREAM_UNARY, Cardinality.STREAM_STREAM):
        argument: Any = Messages(handler, signature.request_type)
    else:
        argument = _decoded(signature.request_type, call.message)
    if cardinality in (Cardinality.UNARY_STREAM, Cardinality.STREAM_STREAM):
        async with aclosing(method(argument, request=request)) as answers:
            async for answer in answers:
                await handler.send(answer)
                if call.over:
                    return
        call.connection.end_call(call, Status(StatusCode.OK))
    else:
        answering: Awaitable[Any] = method(argument, request=request)
        call.reply((await answering).SerializeToString())


def _decoded(message_type: Any, data: bytes) -> Any:
    message = message_type()
    try:
        message.ParseFromString(data)
    except Exception as error:
        name = getattr(getattr(message_type, "DESCRIPTOR", None), "full_name", "message")
        raise RpcFailedError(Status(StatusCode.INTERNAL, f"request is not a valid {name}")) from error
    return message
