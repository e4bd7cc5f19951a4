"""`Server` as purerpc has it: services by object, context manager and set-up functions; HTTP/2 underneath."""

import asyncio
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import h2.settings
import purerpc
import pytest
import trio

from hushar.rpc import Server


class TestServices:
    async def test_a_context_manager_is_entered_before_the_port_is_told_and_left_at_the_end(
        self, generated_service, connect, stub, word
    ):
        seen = []

        @asynccontextmanager
        async def managed():
            seen.append("entered")
            yield generated_service
            seen.append("left")

        server = Server(0)
        server.add_service(context_manager=managed(), name="phrases.Phrases")
        async with trio.open_nursery() as nursery:
            port = await nursery.start(server.serve_async)
            assert seen == ["entered"]
            async with connect(port) as channel:
                assert (await stub(channel).Greet(word(text="you"))).text == "Hello, you"
            server.drain()
        assert seen == ["entered", "left"]

    async def test_set_up_and_tear_down(self, generated_service, connect, stub, word):
        seen = []

        async def set_up():
            seen.append("set up")
            return generated_service

        async def tear_down():
            seen.append("torn down")

        server = Server(0)
        server.add_service(setup_fn=set_up, teardown_fn=tear_down, name="phrases.Phrases")
        async with trio.open_nursery() as nursery:
            port = await nursery.start(server.serve_async)
            assert seen == ["set up"]
            async with connect(port) as channel:
                assert (await stub(channel).Greet(word(text="you"))).text == "Hello, you"
            server.drain()
        assert seen == ["set up", "torn down"]

    def test_one_way_of_adding_a_service_at_a_time(self):
        with pytest.raises(ValueError, match="Precisely one"):
            Server(0).add_service()
        with pytest.raises(ValueError, match="name"):
            Server(0).add_service(setup_fn=trio.sleep_forever)

    def test_it_is_a_purerpc_server(self):
        server = Server(0)
        assert isinstance(server, purerpc.Server)
        assert (server.port, server._connection_count, server._exception_count) == (0, 0, 0)


class Http2Client:
    """h2 on a trio stream: bytes there, events back."""

    def __init__(self, stream):
        self._stream = stream
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._connection.initiate_connection()

    async def ping(self, data):
        self._connection.ping(data)
        await self._stream.send_all(self._connection.data_to_send())

    async def until(self, kind):
        """All events up to the first one of this kind."""
        seen = []
        with trio.fail_after(10):
            while not any(isinstance(event, kind) for event in seen):
                received = await self._stream.receive_some()
                assert received
                seen += self._connection.receive_data(received)
                await self._stream.send_all(self._connection.data_to_send())
        return seen


async def test_http2_settings_window_and_pings():
    async with trio.open_nursery() as nursery:
        port = await nursery.start(Server(0, connection_concurrency=77).serve_async)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            client = Http2Client(stream)
            await client.ping(b"DEADBEEF")
            seen = await client.until(h2.events.PingAckReceived)
            assert [event.ping_data for event in seen if isinstance(event, h2.events.PingAckReceived)] == [
                b"DEADBEEF"
            ]
            assert any(isinstance(event, h2.events.SettingsAcknowledged) for event in seen)
            assert any(isinstance(event, h2.events.WindowUpdated) for event in seen)
            changed = next(
                event.changed_settings for event in seen if isinstance(event, h2.events.RemoteSettingsChanged)
            )
            codes = h2.settings.SettingCodes
            values = {code: change.new_value for code, change in changed.items()}
            assert values[codes.MAX_CONCURRENT_STREAMS] == 77
            assert values[codes.MAX_FRAME_SIZE] == 1024 * 1024
            assert values[codes.MAX_HEADER_LIST_SIZE] == 16 * 1024
            await client.ping(b"BEEFDEAD")
            seen = await client.until(h2.events.PingAckReceived)
            assert seen[-1].ping_data == b"BEEFDEAD"
        nursery.cancel_scope.cancel()


async def test_another_backend_is_refused():
    def under_asyncio():
        asyncio.run(Server(0).serve_async())

    with pytest.raises(RuntimeError, match="trio only"):
        await trio.to_thread.run_sync(under_asyncio)
