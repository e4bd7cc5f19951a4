"""A server in the same nursery: one that serves, and one that does as it is told."""

import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio

from hushar.proto.service_grpc import HusharServicer
from hushar.proto.structs_pb2 import InferenceRequest, InferenceResponse, OutputRow
from hushar.rpc import Server

Answer = Callable[[InferenceRequest], Awaitable[InferenceResponse]]


async def count_features(request: InferenceRequest) -> InferenceResponse:
    """Scores of a row: how many features it has, and 0.1."""
    outputs = [OutputRow(row_id=row.row_id, scores=[len(row.features), 0.1]) for row in request.inputs]
    return InferenceResponse(request_id=request.request_id, outputs=outputs)


class FakeServicer(HusharServicer):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def InferenceService(self, input_message):
        return await self._answer(input_message)


@pytest.fixture
def serve(nursery) -> Callable[..., Awaitable[int]]:
    """Starts a server with `answer`, gives its port."""

    async def start(answer: Answer = count_features, ssl_context: ssl.SSLContext | None = None) -> int:
        server = Server(0, ssl_context)
        server.add_service(FakeServicer(answer).service)
        return await nursery.start(server.serve_async)

    return start


class Peer:
    """The server's end of one connection: h2, and a test that says what it does."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._events: list[h2.events.Event] = []

    async def greet(self, max_streams: int | None = None) -> None:
        self.h2.initiate_connection()
        if max_streams is not None:
            self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: max_streams})
        await self.flush()

    async def event(self, kind: type[h2.events.Event]) -> h2.events.Event:
        """The next event of this kind; those before it are dropped."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, kind):
                    return event
            data = await self._stream.receive_some()
            assert data, f"the client closed before {kind.__name__}"
            self._events = self.h2.receive_data(data)
            await self.flush()

    async def call(self) -> int:
        """A call that has come whole; its stream id."""
        return (await self.event(h2.events.StreamEnded)).stream_id

    def start(self, stream_id: int) -> None:
        self.h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])

    def message(self, stream_id: int, message: bytes) -> None:
        self.h2.send_data(stream_id, struct.pack(">?I", False, len(message)) + message)

    def end(self, stream_id: int, status: int = 0) -> None:
        self.h2.send_headers(stream_id, [("grpc-status", str(status))], end_stream=True)

    async def answer(
        self, stream_id: int, response: InferenceResponse | None = None, status: int = 0
    ) -> None:
        self.start(stream_id)
        self.message(stream_id, (response or InferenceResponse()).SerializeToString())
        self.end(stream_id, status)
        await self.flush()

    async def flush(self) -> None:
        await self._stream.send_all(self.h2.data_to_send())

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        await self._stream.send_all(data)

    async def hang_up(self) -> None:
        await self._stream.aclose()


@pytest.fixture
def peer_for(nursery) -> Callable[[Callable[[Peer], Awaitable[None]]], AbstractAsyncContextManager[int]]:
    """Listens; the first connection is the script's. The block gets the port, and waits for the script."""

    @asynccontextmanager
    async def listen(script: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[int]:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        done = trio.Event()

        async def run() -> None:
            async with await listener.accept() as stream:
                await script(Peer(stream))
                done.set()
                await trio.sleep_forever()

        async with listener:
            nursery.start_soon(run)
            yield listener.socket.getsockname()[1]
            await done.wait()

    return listen
