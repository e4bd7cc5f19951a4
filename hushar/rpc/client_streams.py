"""A call whose messages are sent and received one by one, under the names that purerpc's stubs use.

A call that the server has not begun, or that it could not take, is sent again, as long as nothing of an
answer has come and what was sent is little enough to be kept: a stub's unary call is one of these.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import trio
from purerpc import Status, StatusCode
from purerpc.grpclib.events import ResponseEnded, ResponseReceived

from hushar.rpc.client_calls import Caller, counted, retry_delay, with_timeout
from hushar.rpc.client_engine import ClientCall, ClientConnection
from hushar.rpc.client_errors import failure
from hushar.rpc.request_block import previous_field
from hushar.rpc.request_head import custom_metadata
from hushar.rpc.wire import Wire

_KEPT_BYTES: Final = 1024 * 1024
"""Of messages that were sent, for the case that they have to be sent again."""


class ClientStream:
    """One call."""

    def __init__(self, caller: Caller, block: bytes) -> None:
        """It is begun with `start`."""
        self._call: ClientCall | None = None
        self._wire: Wire | None = None
        self._token = trio.lowlevel.current_trio_token()
        self._caller = caller
        self._block = block
        self._deadline = math.inf
        self._changed = trio.lowlevel.ParkingLot()
        self._refusal: Status | None = None
        """There was no connection."""
        self._attempt = self._previous = 0
        self._sent: list[bytes] | None = []
        """What was sent; None once it is not kept any more."""
        self._sent_bytes = 0
        self._closed = False
        self._received = 0
        self._message_type: Any = None
        self._end: ResponseEnded | None = None
        self._start: ResponseReceived | None = None

    # Waiter

    def begin(self, wire: Wire) -> None:
        """See Waiter. The engine must not know this object, so that one that nobody holds is given up."""
        changed = self._changed.unpark_all
        block = with_timeout(self._block + previous_field(self._previous), self._deadline)
        self._wire = wire
        self._call = wire.engine.begin(block, lambda _: changed(), changed)
        changed()

    def fail(self, status: Status) -> None:
        """See Waiter."""
        self._refusal = status
        self._changed.unpark_all()

    # Beginning

    async def start(self) -> None:
        """Send the request's headers once a connection takes the call. Raises ConnectionLostError."""
        while (refusal := await self._refused()) is not None:
            delay = self._delay(None, refusal)
            if delay is None:
                raise failure(refusal, lost=True)
            self._attempt += 1
            await trio.sleep(delay)

    async def _refused(self) -> Status | None:
        """Have the call begun; the status if no connection takes it."""
        self._refusal = None
        self._deadline = trio.current_effective_deadline()
        before = self._call
        self._caller.submit(self)
        try:
            while self._call is before and self._refusal is None:
                await self._changed.park()
        except trio.Cancelled:
            self._caller.withdraw(self)
            self._abandon()
            raise
        return self._refusal

    def _delay(self, call: ClientCall | None, status: Status) -> float | None:
        if self._caller.closed:
            return None
        delay = retry_delay(call, status, self._attempt, self._caller.retries)
        late = delay is not None and trio.current_time() + delay >= trio.current_effective_deadline()
        return None if late else delay

    async def _begun_again(self) -> bool:
        """Send the call once more, with all that was sent, if that is right."""
        _, call = self._under_way()
        if self._sent is None or call.leading is not None or call.status is None:
            return False
        delay = self._delay(call, call.status)
        if delay is None:
            return False
        self._attempt += 1
        self._previous += counted(call)
        await trio.sleep(delay)
        await self.start()
        engine, call = self._under_way()
        for message in self._sent:
            engine.send_message(call, message)
        if self._closed:
            engine.end(call)
        return True

    def _under_way(self) -> tuple[ClientConnection, ClientCall]:
        assert self._wire is not None
        assert self._call is not None
        return self._wire.engine, self._call

    # What purerpc's stubs and their users call

    @property
    def start_stream_event(self) -> ResponseReceived | None:
        """The response's leading metadata, once they have come."""
        call = self._call
        if self._start is None and call is not None and call.leading is not None:
            self._start = ResponseReceived(call.id, "application/grpc")
            self._start.custom_metadata = custom_metadata(call.leading)
        return self._start

    @property
    def end_stream_event(self) -> ResponseEnded | None:
        """The response's status and trailing metadata, once `receive_message` has returned None."""
        return self._end

    def expect_message_type(self, message_type: Any) -> None:
        """What the response's messages are."""
        self._message_type = message_type

    async def send_message(self, message: Any) -> None:
        """Send a message of the request; waits while too much is waiting to be sent.

        Where the call is over nothing is sent: `receive_message` tells how it ended.
        """
        if self._closed:
            raise TypeError("the stream was closed for sending")
        with self._given_up_if_cancelled():
            # A stub's only message is to leave with its end: no pause behind the first.
            if self._sent_bytes:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
            data = message.SerializeToString()
            self._keep(data)
            engine, call = self._under_way()
            engine.send_message(call, data)
            limit = engine.limits.stream_send_buffer_bytes
            wire = self._wire
            while wire is not None and not call.over and (call.queued > limit or not wire.has_room):
                await wire.room.park()

    async def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        engine, call = self._under_way()
        engine.end(call)
        if self._wire is not None:
            self._wire.hurry()

    async def receive_message(self) -> Any:
        """The next message of the response; None after the last: `end_stream_event` then has the status.

        A single answer to a request that has ended, followed by another status than OK, is no answer:
        purerpc's stubs would take it for one, so that raises here.
        """
        with self._given_up_if_cancelled():
            await trio.lowlevel.checkpoint_if_cancelled()
            while True:
                _, call = self._under_way()
                if call.messages:
                    return self._taken(call)
                if not call.over:
                    await self._changed.park()
                elif self._end is not None or not await self._begun_again():
                    self._ended(call)
                    return None

    def _keep(self, data: bytes) -> None:
        self._sent_bytes += len(data)
        if self._sent is not None:
            self._sent.append(data)
            if self._sent_bytes > _KEPT_BYTES or (self._call is not None and self._call.leading is not None):
                self._sent = None

    def _taken(self, call: ClientCall) -> Any:
        engine, _ = self._under_way()
        self._sent = None
        self._received += 1
        data = engine.take(call)
        message = self._message_type()
        try:
            message.ParseFromString(data)
        except Exception:
            # Whoever called cannot go on.
            self._abandon()
            raise
        return message

    def _ended(self, call: ClientCall) -> None:
        if self._end is not None:
            return
        self._end = ResponseEnded(call.id, call.status)
        self._end.custom_metadata = custom_metadata(call.trailing)
        status = call.status
        assert status is not None
        if self._received == 1 and self._closed and status.status_code is not StatusCode.OK:
            raise failure(status, lost=call.lost)

    @contextmanager
    def _given_up_if_cancelled(self) -> Iterator[None]:
        try:
            yield
        except trio.Cancelled:
            self._abandon()
            raise

    def _abandon(self) -> None:
        if self._wire is not None and self._call is not None:
            self._wire.engine.cancel(self._call)

    def __del__(self) -> None:
        """Nobody holds the stream, so nobody will read on. This may be any thread."""
        call, wire = self._call, self._wire
        if call is not None and wire is not None and not call.over:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(wire.engine.cancel, call)
