"""purerpc's client side, made to end.

Theory of operation. purerpc's client does well as long as nothing goes wrong. When something does, its
calls wait for ever, because nobody tells them: the connection is lost, the server resets the stream, the
answer comes before the request is sent. It also gives up all calls at the server's GOAWAY, which is how
a server says that it finishes them and takes no more; does not look at how many calls the server takes
at once; takes an answer whose status is an error for one that is OK; and does not tell the server when
nobody waits any more. This module derives from purerpc's classes and adds exactly that: every way in
which a call can end becomes the one event that purerpc's stub understands, `ResponseEnded` with a
status. What is overridden are methods of purerpc 0.8 and h2 3.2 (which it pins) that have no public
door; the tests of this module hold each.
"""

import datetime
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Final

import anyio
import h2.events
import h2.exceptions
import trio
from anyio.abc import ByteStream
from h2.errors import ErrorCodes
from hyperframe.frame import Frame, GoAwayFrame, SettingsFrame
from purerpc import Status, StatusCode
from purerpc.grpc_proto import GRPCProtoSocket, GRPCProtoStream
from purerpc.grpc_socket import GRPCStreamState, SocketWrapper
from purerpc.grpclib.config import GRPCConfiguration
from purerpc.grpclib.connection import GRPCConnection
from purerpc.grpclib.events import Event, ResponseEnded, WindowUpdated
from purerpc.grpclib.exceptions import raise_status

from hushar.client.errors import ConnectionFailed

# The gRPC protocol's table from HTTP/2 error codes to statuses; what is not in it is INTERNAL.
_STATUS_OF_RESET: Final = {
    ErrorCodes.REFUSED_STREAM: StatusCode.UNAVAILABLE,
    ErrorCodes.CANCEL: StatusCode.CANCELLED,
    ErrorCodes.ENHANCE_YOUR_CALM: StatusCode.RESOURCE_EXHAUSTED,
    ErrorCodes.INADEQUATE_SECURITY: StatusCode.PERMISSION_DENIED,
}
_RECEIVE_BYTES: Final = 1 << 20
_FRAME_TYPE: Final = 3  # where a frame's type stands, RFC 9113 4.1


class ClientSocket(GRPCProtoSocket):  # type: ignore[misc]
    """The calls of one connection, the task that reads for them, and what becomes of them at its end."""

    def __init__(
        self, config: GRPCConfiguration, stream: ByteStream, timeout: datetime.timedelta | None
    ) -> None:
        """`timeout` is told to the server with every call."""
        super().__init__(config, stream)
        self.StreamClass = _Call
        self._streams: dict[int, _Call] = {}
        self._grpc_connection = _Connection(config, self._streams)
        self._socket = _Writer(self._grpc_connection, stream)
        self._timeout = timeout
        self._waiting = trio.lowlevel.ParkingLot()
        self._lost: str | None = None
        self.settled = trio.Event()
        """Set when the other side has shown that it speaks HTTP/2, or that it does not."""

    @property
    def closed_because(self) -> str | None:
        """Why no new call can be made, as a sentence; None while one can."""
        going_away: str | None = self._grpc_connection.going_away
        return going_away or self._lost

    async def start_request(self, *args: Any, **options: Any) -> GRPCProtoStream:
        """Open a stream, as soon as the server takes one more (MAX_CONCURRENT_STREAMS).

        Raises ConnectionFailed when the connection takes no more calls.
        """
        while self.closed_because is None and self._free_streams() <= 0:
            await self._waiting.park()
        if self.closed_because is not None:
            raise ConnectionFailed(self.closed_because)
        options["timeout"] = self._timeout
        return await super().start_request(*args, **options)

    def admit(self) -> None:
        """Wake as many calls that wait for a stream as there is room for; all, if there will be none."""
        if self.closed_because is not None:
            self._waiting.unpark_all()
        else:
            self._waiting.unpark(count=max(self._free_streams(), 0))

    def shut(self, reason: str) -> None:
        """No more calls, `reason` says why; those under way fail. What was not sent by now is not sent."""
        self._lost = self.closed_because or reason
        status = Status(StatusCode.UNAVAILABLE, f"the connection was lost before the answer: {self._lost}")
        for stream_id, call in list(self._streams.items()):
            call.deliver(ResponseEnded(stream_id, status))
        self._socket.scope.cancel()
        self.admit()

    def _free_streams(self) -> int:
        most: int = self._grpc_connection.h2_connection.remote_settings.max_concurrent_streams
        return most - len(self._streams)

    async def _reader_thread(self) -> None:
        """Overrides the task that purerpc starts: ends with the connection, and never raises."""
        self.shut(await self._read())
        self.settled.set()

    async def _read(self) -> str:
        """Reads to the end of the connection; returns why it ended."""
        while True:
            try:
                data = await self._socket.recv(_RECEIVE_BYTES)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return "the server closed the connection"
            except OSError as error:
                return f"the connection broke ({error.strerror or error})"
            try:
                events = self._grpc_connection.receive_data(data)
            except _NotHTTP2:
                return "it does not speak HTTP/2"
            except Exception as error:  # h2, hpack and purerpc have no common error for what they were sent
                await self._socket.flush()
                return f"it does not keep to the protocol ({type(error).__name__}: {error})"
            await self._socket.flush()
            for event in events:
                self._dispatch(event)
            if self._grpc_connection.has_settings:
                self.settled.set()
            self.admit()

    def _dispatch(self, event: Event) -> None:
        call = self._streams.get(event.stream_id)
        if isinstance(event, WindowUpdated):
            for sender in self._streams.values() if event.stream_id == 0 else filter(None, [call]):
                sender.window_opened()
        elif call is not None:
            call.deliver(event)


class _Connection(GRPCConnection):  # type: ignore[misc]
    """Sans-IO: bytes in, events out. Adds what a reset and a GOAWAY mean for calls."""

    def __init__(self, config: GRPCConfiguration, calls: MutableMapping[int, "_Call"]) -> None:
        super().__init__(config)
        self._calls = calls
        self.has_settings = False
        """Whether the server's SETTINGS, its first frame, have come."""
        self.going_away: str | None = None
        self._first = b""
        # h2 itself closes everything at a GOAWAY, also the calls that the server goes on to answer.
        self.h2_connection._frame_dispatch_table[GoAwayFrame] = _receive_goaway

    def receive_data(self, data: bytes) -> list[Event]:
        """Bytes from the server. Raises whatever h2, hpack and purerpc raise for bad ones."""
        if len(self._first) <= _FRAME_TYPE:
            # RFC 9113 3.4: the server begins with SETTINGS. To h2 an answer of HTTP/1.1 is the head of
            # a frame of 4.7 million bytes, to be waited for.
            self._first += data[: _FRAME_TYPE + 1]
            if len(self._first) > _FRAME_TYPE and self._first[_FRAME_TYPE] != SettingsFrame.type:
                raise _NotHTTP2
        events: list[Event] = super().receive_data(data)
        return events

    def _stream_reset(self, event: h2.events.StreamReset) -> list[Event]:
        code = _STATUS_OF_RESET.get(event.error_code, StatusCode.INTERNAL)
        name = getattr(event.error_code, "name", event.error_code)
        return _ended([event.stream_id], Status(code, f"the server reset the call ({name})"))

    def _connection_terminated(self, event: h2.events.ConnectionTerminated) -> list[Event]:
        said = (event.additional_data or b"").decode("ascii", "replace")
        self.going_away = "the server takes no more calls on this connection" + (f" ({said})" if said else "")
        refused = [stream_id for stream_id in self._calls if stream_id > event.last_stream_id]
        return _ended(refused, Status(StatusCode.UNAVAILABLE, self.going_away))

    def _remote_settings_changed(self, event: h2.events.RemoteSettingsChanged) -> list[Event]:
        self.has_settings = True
        events: list[Event] = super()._remote_settings_changed(event)
        return events


class _Writer(SocketWrapper):  # type: ignore[misc]
    """The task that sends. That a connection is lost is the reader's news: it also knows the calls."""

    def __init__(self, connection: GRPCConnection, stream: ByteStream) -> None:
        super().__init__(connection, stream)
        self.scope = trio.CancelScope()

    async def _writer_thread(self) -> None:
        with self.scope, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await super()._writer_thread()


class _NotHTTP2(Exception):
    """What the server sends first is no frame of HTTP/2; never leaves this module."""


class _EndedEarly(Exception):
    """The answer is there and the request is not all sent: what is left is not wanted."""


class _Call(GRPCProtoStream):  # type: ignore[misc]
    """A stream. Its end also ends the sending of its request; an exception in it resets it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._state: GRPCStreamState
        for end in self._incoming_events:
            end.close()
        # In place of anyio's, which want to be closed. The server sends one answer: bounded by its size.
        self._incoming_events: tuple[Any, Any] = trio.open_memory_channel(float("inf"))
        self._has_ended = False

    def deliver(self, event: Event) -> None:
        """What the reader has for this call."""
        self._incoming_events[0].send_nowait(event)
        if isinstance(event, ResponseEnded):
            self._has_ended = True
            self._close_remote()
            self.window_opened()

    def window_opened(self) -> None:
        """The request can be sent on, or need not."""
        self._flow_control_update_event.set()

    async def send_message(self, message: Any) -> None:
        """Send the request; as much of it as the server wants to have."""
        try:
            await super().send_message(message)
        except (_EndedEarly, h2.exceptions.StreamClosedError):
            return
        except BaseException:
            self._reset()
            raise

    async def receive_event(self) -> Event:
        """The next event of the answer. Raises RpcFailedError at the end, if it is not OK."""
        try:
            event = await super().receive_event()
        except BaseException:
            self._reset()
            raise
        if isinstance(event, ResponseEnded):
            raise_status(event.status)
        return event

    async def close(self, *args: Any, **options: Any) -> None:
        """The request is sent."""
        if self._state is not GRPCStreamState.CLOSED:
            await super().close(*args, **options)
            self._grpc_socket.admit()

    async def _wait_flow_control_update(self) -> None:
        if not self._has_ended:
            await super()._wait_flow_control_update()
        if self._has_ended:
            raise _EndedEarly

    def _reset(self) -> None:
        """Nobody waits for the answer: tell the server, and forget the call."""
        if self._state is GRPCStreamState.CLOSED:
            return
        self._state = GRPCStreamState.CLOSED
        self._grpc_socket._streams.pop(self._stream_id, None)
        self._grpc_connection.message_read_buffers.pop(self._stream_id, None)
        with suppress(h2.exceptions.ProtocolError):  # it is over for h2 already
            self._grpc_connection.reset_stream(self._stream_id, ErrorCodes.CANCEL)
        self._socket._flush_event.set()
        self._grpc_socket.admit()


def _ended(stream_ids: Iterable[int], status: Status) -> list[Event]:
    return [ResponseEnded(stream_id, status) for stream_id in stream_ids]


def _receive_goaway(frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
    """h2's handler of GOAWAY, without closing its state machine."""
    event = h2.events.ConnectionTerminated()
    event.error_code = frame.error_code
    event.last_stream_id = frame.last_stream_id
    event.additional_data = frame.additional_data
    return [], [event]
