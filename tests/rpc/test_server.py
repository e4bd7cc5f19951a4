"""hushar.rpc.Server on loopback, spoken to by grpcio."""

import asyncio
import logging
from contextlib import asynccontextmanager

import grpc
import purerpc
import pytest
import trio

from hushar.rpc import Server
from hushar.rpc import frames as fr


class RawMessage:
    """A message that is its bytes."""

    def __init__(self, data=b""):
        self.data = data

    def ParseFromString(self, data):
        self.data = data

    def SerializeToString(self):
        return self.data


UNARY = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, RawMessage, RawMessage)
STREAM = purerpc.RPCSignature(purerpc.Cardinality.UNARY_STREAM, RawMessage, RawMessage)


@pytest.fixture
async def serve(nursery):
    """Start a server; returns a function that calls a unary method of it, in a thread."""

    async def start(server):
        port = await nursery.start(server.serve_async)

        def call(method, message=b"x"):
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                return channel.unary_unary(f"/test.Service/{method}")(message, timeout=10)

        async def in_thread(*arguments):
            return await trio.to_thread.run_sync(call, *arguments)

        return in_thread

    return start


async def test_a_raw_method_gets_bytes_and_answers_bytes(serve):
    server = Server(0)
    server.add_raw_unary("/test.Service/Echo", lambda calls: [each.reply(each.message * 2) for each in calls])
    call = await serve(server)
    assert await call("Echo", b"ab") == b"abab"


async def test_a_raw_call_may_be_answered_later(serve, nursery):
    server = Server(0)
    send, receive = trio.open_memory_channel(1)
    server.add_raw_unary("/test.Service/Later", lambda calls: send.send_nowait(calls[0]))

    async def answer():
        (await receive.receive()).reply(b"late")

    call = await serve(server)
    nursery.start_soon(answer)
    assert await call("Later") == b"late"


async def test_a_raw_call_may_be_failed_with_any_status(serve):
    server = Server(0)
    code = purerpc.StatusCode.INVALID_ARGUMENT
    server.add_raw_unary("/test.Service/Refuse", lambda calls: [each.fail(code, "no: ä") for each in calls])
    call = await serve(server)
    with pytest.raises(grpc.RpcError) as caught:
        await call("Refuse")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "no: ä"


async def test_an_exception_in_receive_is_internal_without_its_text(serve, caplog):
    def broken(calls):
        raise ValueError("hunter2")

    server = Server(0)
    server.add_raw_unary("/test.Service/Broken", broken)
    call = await serve(server)
    with pytest.raises(grpc.RpcError) as caught:
        await call("Broken")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(caught.value)
    assert "hunter2" in caplog.text


async def test_an_exception_in_a_servicers_method_is_internal_without_its_text(serve, caplog):
    async def broken(message):
        raise ValueError("hunter2")

    service = purerpc.Service("test.Service")
    service.add_method("Broken", broken, UNARY)
    server = Server(0)
    server.add_service(service)
    call = await serve(server)
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as caught:
        await call("Broken")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(caught.value)
    assert "hunter2" in caplog.text


async def test_answering_twice_changes_nothing(serve):
    def twice(calls):
        for each in calls:
            each.reply(b"first")
            each.reply(b"second")
            each.fail(purerpc.StatusCode.INTERNAL, "third")

    server = Server(0)
    server.add_raw_unary("/test.Service/Twice", twice)
    call = await serve(server)
    assert await call("Twice") == b"first"


async def test_an_unknown_method_is_unimplemented(serve):
    server = Server(0)
    server.add_raw_unary("/test.Service/Known", lambda calls: None)
    call = await serve(server)
    with pytest.raises(grpc.RpcError) as caught:
        await call("Unknown")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_drain_lets_the_call_in_flight_end_and_refuses_new_connections(serve, nursery):
    server = Server(0, drain_seconds=10)
    send, receive = trio.open_memory_channel(1)
    server.add_raw_unary("/test.Service/Slow", lambda calls: send.send_nowait(calls[0]))
    call = await serve(server)
    answers, answered = [], trio.Event()

    async def ask():
        answers.append(await call("Slow"))
        answered.set()

    nursery.start_soon(ask)
    waiting = await receive.receive()
    server.drain()
    await trio.sleep(0.1)
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", server.port)
    waiting.reply(b"done")
    with trio.fail_after(5):
        await answered.wait()
    assert answers == [b"done"]


async def test_a_drain_ends_after_drain_seconds_whatever_still_runs(nursery):
    server = Server(0, drain_seconds=0.1)
    server.add_raw_unary("/test.Service/Never", lambda calls: None)
    ended = trio.Event()

    async def serve(task_status):
        await server.serve_async(task_status=task_status)
        ended.set()

    port = await nursery.start(serve)
    async with await trio.open_tcp_stream("127.0.0.1", port):
        server.drain()
        with trio.fail_after(5):
            await ended.wait()


async def test_a_port_in_use_is_an_oserror(serve):
    first = Server(0)
    await serve(first)
    with pytest.raises(OSError, match="in use"):
        await Server(first.port).serve_async()


class TestServices:
    """What purerpc's Server takes, and when it is entered and left."""

    async def echo(self, message):
        return message

    def service(self):
        service = purerpc.Service("test.Service")
        service.add_method("Echo", self.echo, UNARY)
        return service

    async def test_a_context_manager_is_entered_before_the_port_is_told_and_left_at_the_end(self, nursery):
        told, ended = [], trio.Event()

        @asynccontextmanager
        async def context():
            await trio.lowlevel.checkpoint()
            told.append("entered")
            yield self.service()
            told.append("left")

        server = Server(0)
        server.add_service(context_manager=context(), name="test.Service")

        async def run(task_status):
            await server.serve_async(task_status=task_status)
            ended.set()

        await nursery.start(run)
        assert told == ["entered"]
        server.drain()
        await ended.wait()
        assert told == ["entered", "left"]

    async def test_setup_and_teardown(self, serve, nursery):
        told = []

        async def setup():
            told.append("setup")
            return self.service()

        async def teardown():
            told.append("teardown")

        server = Server(0)
        server.add_service(setup_fn=setup, teardown_fn=teardown, name="test.Service")
        async with trio.open_nursery() as inner:
            port = await inner.start(server.serve_async)
            with_channel = grpc.insecure_channel(f"127.0.0.1:{port}")

            def call():
                with with_channel as channel:
                    return channel.unary_unary("/test.Service/Echo")(b"x", timeout=10)

            assert await trio.to_thread.run_sync(call) == b"x"
            assert told == ["setup"]
            server.drain()
        assert told == ["setup", "teardown"]

    async def test_a_servicer_under_another_name(self, serve):
        server = Server(0)
        server.add_service(self.service(), name="other.Service")

        call = await serve(server)
        with pytest.raises(grpc.RpcError) as caught:
            await call("Echo")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    @pytest.mark.parametrize("arguments", [{}, {"service": 1, "setup_fn": 2, "name": "x"}])
    def test_precisely_one_of_them_as_in_purerpc(self, arguments):
        with pytest.raises(ValueError, match="Precisely one"):
            Server(0).add_service(**arguments)

    async def test_an_error_in_a_setup_comes_out_and_nothing_listens(self):
        async def setup():
            raise ValueError("no database")

        server = Server(0)
        server.add_service(setup_fn=setup, name="test.Service")
        with pytest.raises(ValueError, match="no database"):
            await server.serve_async()
        assert server.port == 0


class TestSettings:
    def test_every_key_of_the_two_sections_is_an_argument(self):
        server = Server(
            0,
            unix_socket=None,
            reuse_port=True,
            drain_seconds=1,
            max_connections=1,
            max_connections_per_address=1,
            max_in_flight=1,
            max_in_flight_bytes=1,
            max_receive_bytes=1,
            max_send_bytes=1,
            max_header_bytes=1,
            max_header_fields=1,
            compression=["gzip"],
            compression_min_bytes=1,
            handshake_seconds=1,
            idle_seconds=1,
            keepalive_seconds=1,
            keepalive_timeout_seconds=1,
            max_connection_age_seconds=1,
            max_connection_age_grace_seconds=1,
            reflection=False,
            stream_window_bytes=65535,
            connection_window_bytes=65535,
            max_frame_bytes=16384,
            stream_send_buffer_bytes=1,
            connection_send_buffer_bytes=1,
            write_stall_seconds=1,
            reset_burst=1,
            reset_rate=1,
            max_continuation_frames=1,
            max_settings_entries=1,
            max_settings_frames=1,
            max_queued_control_frames=1,
            max_empty_frames=1,
            ping_strikes=1,
            ping_min_seconds=1,
            glitch_burst=1,
            glitch_rate=1,
        )
        assert server.limits.compression == ("gzip",)

    def test_another_is_a_type_error(self):
        with pytest.raises(TypeError, match="'max_conections'"):
            Server(0, max_conections=3)

    def test_an_encoding_that_there_is_not_is_a_value_error(self):
        with pytest.raises(ValueError, match="zstd"):
            Server(0, compression=["zstd"])

    @pytest.mark.parametrize("path", ["Echo", "/Echo", "/a/b/c", "a/b"])
    def test_a_raw_method_needs_a_whole_path(self, path):
        with pytest.raises(ValueError, match="Service/Method"):
            Server(0).add_raw_unary(path, print)

    def test_it_is_one_of_purerpcs(self):
        assert isinstance(Server(), purerpc.Server)
        assert Server().port == 50055


class TestEnds:
    async def test_cancelling_it_ends_it_at_once(self, connect, autojump_clock, make_service):
        cancelled = []

        async def wait(message):
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(1)

        server = Server(0)
        server.add_raw_unary("/test.Service/Never", lambda calls: None)
        server.add_service(make_service(unary={"Wait": wait}), name="test.Other")
        async with trio.open_nursery() as inner:
            port = await inner.start(server.serve_async)
            peer = await connect(port)
            await peer.greet()
            await peer.send(peer.call(1, "/test.Service/Never"), peer.call(3, "/test.Other/Wait"))
            await trio.testing.wait_all_tasks_blocked()
            begun = trio.current_time()
            inner.cancel_scope.cancel()
        assert trio.current_time() - begun < 1
        assert cancelled == [1]
        assert server.in_flight == 0
        statuses = {}
        for frame in await peer.rest():
            if frame.kind == fr.HEADERS:
                statuses[frame.stream_id] = dict(peer.decoder.decode(frame.payload))["grpc-status"]
        assert statuses == {1: "14", 3: "14"}

    async def test_a_drain_before_it_has_begun_is_not_forgotten(self):
        server = Server(0)
        server.drain()
        with trio.fail_after(5):
            await server.serve_async()

    async def test_it_can_serve_again(self, nursery):
        server = Server(0)
        server.drain()
        await server.serve_async()
        await nursery.start(server.serve_async)
        async with await trio.open_tcp_stream("127.0.0.1", server.port):
            pass

    async def test_the_file_of_a_unix_socket_is_there_while_it_listens(self, peers, tmp_path):
        path = tmp_path / "s"
        seen = []
        server = Server(0, unix_socket=str(path))
        server.add_raw_unary("/test.Service/Look", lambda calls: [call.reply(b"") for call in calls])
        server.add_hook(before=lambda request: seen.append(request.peer))
        async with trio.open_nursery() as inner:
            await inner.start(server.serve_async)
            peer = peers.Peer(await trio.open_unix_socket(str(path)))
            await peer.greet()
            await peer.send(peer.call(1, "/test.Service/Look"))
            await peer.end_of(1)
            await peer.aclose()
            server.drain()
        assert seen == ["unix:"]
        assert not path.exists()

    async def test_a_unix_socket_in_use_leaves_no_port_open(self, tmp_path, nursery):
        path = str(tmp_path / "s")
        await nursery.start(Server(0, unix_socket=path).serve_async)
        second = Server(0, unix_socket=path)
        with pytest.raises(OSError, match="in use") as caught:
            await second.serve_async()
        assert caught.value.filename == path
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", second.port)

    def test_serve_runs_trio_whatever_the_environment_says(self, monkeypatch):
        monkeypatch.setenv("PURERPC_BACKEND", "asyncio")
        server = Server(0)
        server.drain()
        server.serve()
        server.drain()
        server.serve("uvloop")

    @pytest.mark.filterwarnings("default")
    def test_under_asyncio_it_is_an_error_that_says_so(self):
        with pytest.raises(RuntimeError, match="asyncio"):
            asyncio.run(Server(0).serve_async())

    async def test_too_few_descriptors_are_said_at_the_start(self, nursery, caplog):
        await nursery.start(Server(0, max_connections=10**9).serve_async)
        assert "max_connections is 1000000000" in caplog.text


class TestWhere:
    async def test_ipv6_and_its_peers(self, nursery, peers):
        seen = []
        server = Server(0, host="::1")
        server.add_raw_unary("/test.Service/Look", lambda calls: [call.reply(b"") for call in calls])
        server.add_hook(before=lambda request: seen.append(request.peer))
        try:
            port = await nursery.start(server.serve_async)
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        peer = await peers.connect(port, "::1")
        await peer.greet()
        await peer.send(peer.call(1, "/test.Service/Look"))
        await peer.end_of(1)
        assert seen == [f"ipv6:[::1]:{peer.stream.socket.getsockname()[1]}"]
        await peer.aclose()

    async def test_two_servers_share_a_port_if_both_want_to(self, nursery):
        first = Server(0, reuse_port=True)
        await nursery.start(first.serve_async)
        second = Server(first.port, reuse_port=True)
        assert await nursery.start(second.serve_async) == first.port


class TestBudget:
    async def test_more_calls_than_the_whole_server_takes_are_refused(self, start):
        server = Server(0, max_in_flight=2)
        server.add_raw_unary("/test.Service/Never", lambda calls: None)
        greet = await start(server)
        first, second = await greet(), await greet()
        await first.send(first.call(1, "/test.Service/Never"), first.call(3, "/test.Service/Never"))
        await trio.testing.wait_all_tasks_blocked()
        await second.send(second.call(1, "/test.Service/Never"))
        assert (await second.end_of(1))[1] == 8
        await first.send(fr.rst_stream(1, fr.CANCEL))
        await trio.testing.wait_all_tasks_blocked()
        assert server.in_flight == 1

    async def test_more_bytes_of_requests_too(self, start):
        server = Server(0, max_in_flight_bytes=100_000)
        server.add_raw_unary("/test.Service/Never", lambda calls: None)
        peer = await (await start(server))()
        await peer.send(peer.call(1, "/test.Service/Never", bytes(90_000)))
        await peer.send(peer.call(3, "/test.Service/Never", bytes(20_000)))
        assert (await peer.end_of(3))[1] == 8
        assert server.in_flight == 1
