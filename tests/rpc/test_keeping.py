"""Connections: how long they live, who may have one, and how each kind of them ends."""

import gc
import socket
import weakref

import pytest
import trio

from hushar.rpc import Server
from hushar.rpc import frames as fr
from hushar.rpc.server_engine import ServerConnection

OK, UNAVAILABLE = 0, 14
NEVER = "/test.Service/Never"
ECHO = "/test.Service/Echo"


@pytest.fixture
def make_server():
    def make(**settings):
        server = Server(0, **settings)
        server.add_raw_unary(ECHO, lambda calls: [call.reply(call.message) for call in calls])
        server.add_raw_unary(NEVER, lambda calls: None)
        return server

    return make


async def seconds_until_closed(peer):
    """Virtual seconds until the server has closed the connection, and its last GOAWAY."""
    begun = trio.current_time()
    goaway = await peer.goaway()
    return trio.current_time() - begun, goaway


class TestHandshake:
    async def test_a_silent_peer_is_closed_after_handshake_seconds(
        self, nursery, connect, make_server, autojump_clock
    ):
        peer = await connect(await nursery.start(make_server(handshake_seconds=3).serve_async))
        seconds, goaway = await seconds_until_closed(peer)
        assert 3 <= seconds <= 5
        assert goaway is None

    async def test_half_a_preface_is_no_preface(self, nursery, connect, make_server, autojump_clock):
        peer = await connect(await nursery.start(make_server(handshake_seconds=3).serve_async))
        await peer.send(fr.PREFACE[:20])
        seconds, _ = await seconds_until_closed(peer)
        assert 3 <= seconds <= 5

    async def test_settings_that_are_not_acknowledged_end_the_connection(
        self, start, make_server, autojump_clock
    ):
        peer = await (await start(make_server(handshake_seconds=3)))(acknowledge=False)
        seconds, goaway = await seconds_until_closed(peer)
        assert 3 <= seconds <= 6
        assert goaway[1] == fr.SETTINGS_TIMEOUT

    async def test_a_connection_that_is_given_up_ends_its_handlers(
        self, start, make_server, make_service, autojump_clock
    ):
        ended = trio.Event()

        async def wait(message):
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        server = make_server(handshake_seconds=3)
        server.add_service(make_service(unary={"Wait": wait}))
        peer = await (await start(server))(acknowledge=False)
        await peer.send(peer.call(1, "/test.Service/Wait"))
        with trio.fail_after(10):
            await ended.wait()
        assert server.in_flight == 0

    async def test_each_step_has_its_time(self, nursery, connect, make_server, autojump_clock):
        peer = await connect(await nursery.start(make_server(handshake_seconds=3).serve_async))
        await trio.sleep(2)
        await peer.greet(acknowledge=False)
        await trio.sleep(2)
        await peer.send(fr.SETTINGS_ACK, peer.call(1, ECHO))
        assert (await peer.end_of(1))[1] == OK

    async def test_http_1_is_closed(self, nursery, connect, make_server):
        peer = await connect(await nursery.start(make_server().serve_async))
        await peer.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (await peer.goaway())[1] == fr.PROTOCOL_ERROR


class TestIdle:
    async def test_a_connection_without_calls_is_drained(self, start, make_server, autojump_clock):
        peer = await (await start(make_server(idle_seconds=50)))()
        await peer.send(peer.call(1, ECHO))
        await peer.end_of(1)
        seconds, goaway = await seconds_until_closed(peer)
        assert 49 <= seconds <= 54
        assert goaway[:2] == (1, fr.NO_ERROR)

    async def test_pings_are_no_calls(self, start, make_server, nursery, autojump_clock):
        peer = await (await start(make_server(idle_seconds=50, ping_min_seconds=1)))()

        async def ping():
            for _ in range(2):
                await trio.sleep(20)
                await peer.send(fr.ping(b"12345678"))

        nursery.start_soon(ping)
        assert 49 <= (await seconds_until_closed(peer))[0] <= 54

    async def test_a_call_that_goes_on_is_not_idle(self, start, make_server, autojump_clock):
        peer = await (await start(make_server(idle_seconds=50)))()
        await peer.send(peer.call(1, NEVER))
        with trio.move_on_after(500) as scope:
            await peer.until(fr.GOAWAY)
        assert scope.cancelled_caught

    async def test_the_time_counts_from_the_end_of_the_last_call(
        self, start, make_server, nursery, autojump_clock
    ):
        server = make_server(idle_seconds=50)
        held = []
        server.add_raw_unary("/test.Service/Hold", held.extend)
        peer = await (await start(server))()
        await peer.send(peer.call(1, "/test.Service/Hold"))
        await trio.sleep(200)
        held[0].reply(b"")
        await peer.end_of(1)
        seconds, _ = await seconds_until_closed(peer)
        assert seconds >= 49


class TestKeepalive:
    async def test_a_peer_that_does_not_answer_a_ping_is_dropped(self, start, make_server, autojump_clock):
        server = make_server(keepalive_seconds=60, keepalive_timeout_seconds=5)
        peer = await (await start(server))()
        begun = trio.current_time()
        await peer.until(fr.PING)
        assert 60 <= trio.current_time() - begun <= 62
        assert 5 <= (await seconds_until_closed(peer))[0] <= 7

    @pytest.mark.parametrize("answer", [fr.ping(b"husharka", ack=True), fr.settings([])])
    async def test_anything_that_comes_is_an_answer(self, start, make_server, autojump_clock, answer):
        server = make_server(keepalive_seconds=60, keepalive_timeout_seconds=5)
        peer = await (await start(server))()
        for _ in range(3):
            await peer.until(fr.PING)
            await peer.send(answer)


class TestAge:
    async def test_a_connection_is_drained_at_its_age_give_or_take_a_tenth(
        self, start, make_server, autojump_clock
    ):
        greet = await start(make_server(max_connection_age_seconds=100))
        begun = trio.current_time()
        ages = []

        async def live():
            peer = await greet()
            await peer.until(fr.GOAWAY)
            ages.append(trio.current_time() - begun)

        async with trio.open_nursery() as lives:
            for _ in range(20):
                lives.start_soon(live)
        assert 90 <= min(ages) < max(ages) <= 112

    async def test_the_calls_in_flight_have_a_grace(self, start, make_server, autojump_clock):
        server = make_server(max_connection_age_seconds=100, max_connection_age_grace_seconds=20)
        held = []
        server.add_raw_unary("/test.Service/Hold", held.extend)
        peer = await (await start(server))()
        await peer.send(peer.call(1, "/test.Service/Hold"))
        await peer.until(fr.GOAWAY)
        await trio.sleep(10)
        held[0].reply(b"late")
        assert (await peer.end_of(1))[:2] == ([b"late"], OK)

    async def test_what_still_runs_after_the_grace_is_unavailable(self, start, make_server, autojump_clock):
        server = make_server(max_connection_age_seconds=100, max_connection_age_grace_seconds=20)
        peer = await (await start(server))()
        await peer.send(peer.call(1, NEVER))
        await peer.until(fr.GOAWAY)
        begun = trio.current_time()
        assert (await peer.end_of(1))[1] == UNAVAILABLE
        assert 19 <= trio.current_time() - begun <= 22
        assert (await seconds_until_closed(peer))[0] <= 3
        assert server.in_flight == 0


class TestWriteStall:
    async def test_a_peer_that_takes_nothing_is_dropped(self, start, make_server, autojump_clock):
        """It has room for 64 KiB, and never opens its window."""
        server = make_server(write_stall_seconds=30)
        peer = await (await start(server))()
        await peer.send(peer.call(1, ECHO, bytes(200_000)))
        assert 30 <= (await seconds_until_closed(peer))[0] <= 33
        assert server.in_flight == 0

    async def test_nor_does_a_full_socket_hold_a_connection(self, start, make_server, autojump_clock):
        server = make_server(write_stall_seconds=30)
        peer = await (await start(server))([(fr.INITIAL_WINDOW_SIZE, fr.MAX_WINDOW)])
        await peer.send(fr.window_update(0, 2**30))
        for stream_id in range(1, 21, 2):
            await peer.send(peer.call(stream_id, ECHO, bytes(4_000_000)))
        # Nothing is read: the kernel's buffers fill, then the server's.
        await trio.sleep(40)
        received = sum(len(frame.payload) for frame in await peer.rest() if frame.kind == fr.DATA)
        assert received < 40_000_000
        assert server.in_flight == 0

    async def test_what_a_peer_says_meanwhile_is_no_progress(self, start, make_server, autojump_clock):
        """Nor is what it makes the server say."""
        server = make_server(write_stall_seconds=30)
        peer = await (await start(server))([(fr.INITIAL_WINDOW_SIZE, 0)])
        await peer.send(peer.call(1, ECHO))
        noise = fr.frame(fr.PRIORITY, 0, 2001, bytes(4) + b"\x10")
        begun = trio.current_time()
        for number in range(3, 403, 2):
            try:
                await peer.send(noise, peer.headers(number, "/test.Service/None", end=True))
            except trio.BrokenResourceError:
                break
            await trio.sleep(1)
        assert 30 <= trio.current_time() - begun <= 35
        assert server.in_flight == 0

    async def test_a_peer_that_takes_a_little_now_and_then_stays(self, start, make_server, autojump_clock):
        peer = await (await start(make_server(write_stall_seconds=30)))([(fr.INITIAL_WINDOW_SIZE, 0)])
        await trio.sleep(100)
        await peer.send(peer.call(1, ECHO, b"abcde"))
        for _ in range(10):
            await trio.sleep(20)
            await peer.send(fr.window_update(1, 1))
        assert (await peer.end_of(1))[:2] == ([b"abcde"], OK)

    @pytest.mark.parametrize("flushes", [True, False])
    async def test_the_time_for_which_a_method_works_is_not_the_peers(self, start, mock_clock, flushes):
        """The answer is larger than the peer's windows: some of it waits from the moment that it is given."""

        def slow(calls):
            mock_clock.jump(40)
            for call in calls:
                call.reply(bytes(200_000))
            if flushes:
                server.flush()

        server = Server(0, write_stall_seconds=30)
        server.add_raw_unary("/test.Service/Slow", slow)
        peer = await (await start(server))()
        await peer.send(peer.call(1, "/test.Service/Slow"))
        await peer.until(fr.DATA)
        for _ in range(2):
            mock_clock.jump(1.5)
            await trio.testing.wait_all_tasks_blocked()
        await peer.send(fr.window_update(0, 2**20), fr.window_update(1, 2**20))
        assert (await peer.end_of(1))[1] == OK

    async def test_a_peer_with_nothing_to_take_stays(self, start, make_server, autojump_clock):
        peer = await (await start(make_server(write_stall_seconds=30)))()
        await trio.sleep(100)
        await peer.send(peer.call(1, ECHO))
        assert (await peer.end_of(1))[1] == OK


class TestMemory:
    @pytest.mark.parametrize("kind", ["raw", "unary", "waiting", "reset", "asked"])
    async def test_a_connection_is_free_when_it_is_closed(
        self, nursery, connect, make_server, make_service, kind
    ):
        """Not only when the garbage collector comes by."""

        async def unary(message, request):
            assert request.custom_metadata == ()
            return message

        server = make_server()
        server.add_service(make_service(unary={"Unary": unary}))
        if kind == "asked":
            server.add_hook(lambda request: request.peer, lambda request, *_: request.custom_metadata)
        peer = await connect(await nursery.start(server.serve_async))
        await peer.greet([(fr.INITIAL_WINDOW_SIZE, 0)] if kind == "waiting" else ())
        path = {"unary": "/test.Service/Unary", "reset": NEVER}.get(kind, ECHO)
        await peer.send(peer.call(1, path), fr.ping(b"12345678"))
        await peer.until(fr.PING)
        if kind == "reset":
            await peer.send(fr.rst_stream(1, fr.CANCEL))
        elif kind != "waiting":
            assert (await peer.end_of(1))[1] == OK
        (state,) = server._driver.connections.values()
        engine = weakref.ref(state.engine)
        del state
        gc.collect()
        gc.disable()
        try:
            await peer.aclose()
            # Whoever looks after connections has looked at others, or at none, since.
            await trio.sleep(1.5)
            assert engine() is None
        finally:
            gc.enable()


class TestHowMany:
    async def test_above_max_connections_others_wait_for_a_place(
        self, nursery, connect, make_server, autojump_clock, caplog
    ):
        port = await nursery.start(make_server(max_connections=2).serve_async)
        first, second, third = [await connect(port) for _ in range(3)]
        await first.greet()
        await second.greet()
        await third.send(fr.PREFACE, fr.settings([]))
        with trio.move_on_after(5) as scope:
            await third.frame()
        assert scope.cancelled_caught
        assert "max_connections" in caplog.text
        await first.aclose()
        await third.send(third.call(1, ECHO))
        assert (await third.end_of(1))[1] == OK

    async def test_above_max_connections_per_address_others_are_closed(self, nursery, connect, make_server):
        port = await nursery.start(make_server(max_connections_per_address=1).serve_async)
        first, second = [await connect(port) for _ in range(2)]
        await first.greet()
        assert await second.rest() == []
        await first.aclose()
        await trio.testing.wait_all_tasks_blocked()
        third = await connect(port)
        await third.greet()

    async def test_a_unix_socket_has_no_addresses_to_count(self, start, peers, make_server, tmp_path):
        path = str(tmp_path / "s")
        await start(make_server(max_connections_per_address=1, unix_socket=path))
        for _ in range(3):
            peer = peers.Peer(await trio.open_unix_socket(path))
            await peer.greet()
            await peer.send(peer.call(1, ECHO))
            assert (await peer.end_of(1))[1] == OK
            await peer.aclose()


class TestDrain:
    @pytest.fixture
    def served(self, nursery, make_server):
        """served(**settings): (server, event of its end); `hold` is a raw method."""

        async def serve(*, hold=None, **settings):
            server = make_server(**settings)
            if hold is not None:
                server.add_raw_unary("/test.Service/Hold", hold)
            ended = trio.Event()

            async def run(task_status):
                await server.serve_async(task_status=task_status)
                ended.set()

            await nursery.start(run)
            return server, ended

        return serve

    async def test_two_goaways_with_a_ping_between_them_and_calls_in_between_are_served(
        self, served, connect
    ):
        server, ended = await served()
        peer = await connect(server.port)
        await peer.greet()
        server.drain()
        assert fr.word((await peer.until(fr.GOAWAY)).payload) == fr.MAX_STREAM_ID
        ping = await peer.until(fr.PING)
        await peer.send(peer.call(5, ECHO, b"in between"))
        assert (await peer.end_of(5))[:2] == ([b"in between"], OK)
        await peer.send(fr.ping(ping.payload, ack=True))
        assert (await peer.goaway())[:2] == (5, fr.NO_ERROR)
        await peer.aclose()
        with trio.fail_after(5):
            await ended.wait()

    @pytest.mark.parametrize("kind", ["raw", "unary", "down"])
    async def test_a_call_in_flight_ends_with_its_answer(
        self, nursery, connect, make_server, make_service, kind
    ):
        held, answer = [], trio.Event()

        async def hold(message):
            await answer.wait()
            return message

        async def hold_stream(message):
            await answer.wait()
            yield message

        server = make_server()
        if kind == "raw":
            server.add_raw_unary("/test.Service/Hold", held.extend)
        else:
            server.add_service(make_service(**{kind: {"Hold": {"unary": hold, "down": hold_stream}[kind]}}))
        port = await nursery.start(server.serve_async)
        peer = await connect(port)
        await peer.greet()
        await peer.send(peer.call(1, "/test.Service/Hold", b"x"), fr.ping(b"12345678"))
        await peer.until(fr.PING)
        server.drain()
        await peer.until(fr.GOAWAY)
        ping = await peer.until(fr.PING)
        await peer.send(fr.ping(ping.payload, ack=True))
        await peer.until(fr.GOAWAY)
        answer.set()
        for call in held:
            call.reply(call.message)
        assert (await peer.end_of(1))[:2] == ([b"x"], OK)
        assert await peer.rest() == []

    async def test_with_nothing_in_flight_it_is_quick_even_where_nobody_answers(
        self, served, connect, autojump_clock
    ):
        """Half a second for the PING, a quarter for what was sent before that: the process has two in all."""
        server, ended = await served()
        await connect(server.port)
        greeted = await connect(server.port)
        await greeted.greet()
        begun = trio.current_time()
        server.drain()
        await ended.wait()
        assert 0.7 < trio.current_time() - begun < 1.2
        assert (await greeted.goaway())[:2] == (0, fr.NO_ERROR)

    async def test_who_answers_and_stays_has_a_second_to_leave(self, served, connect, autojump_clock):
        server, ended = await served()
        peer = await connect(server.port)
        await peer.greet()
        begun = trio.current_time()
        server.drain()
        ping = await peer.until(fr.PING)
        await peer.send(fr.ping(ping.payload, ack=True))
        await ended.wait()
        assert 0.9 < trio.current_time() - begun < 1.3

    async def test_a_call_that_ends_where_nobody_answers_holds_the_end_up_no_longer(
        self, served, connect, autojump_clock
    ):
        held = []
        server, ended = await served(hold=held.extend)
        peer = await connect(server.port)
        await peer.greet()
        await peer.send(peer.call(1, "/test.Service/Hold"))
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        server.drain()
        await trio.sleep(8)
        held[0].reply(b"late")
        assert (await peer.end_of(1))[:2] == ([b"late"], OK)
        await ended.wait()
        assert trio.current_time() - begun < 8.7

    @pytest.mark.parametrize("kind", ["raw", "unary", "both"])
    async def test_what_still_runs_after_drain_seconds_is_unavailable(
        self, served, connect, make_service, autojump_clock, nursery, make_server, kind
    ):
        cancelled = []

        async def wait(message):
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(1)

        async def wait_stream(messages):
            try:
                async for message in messages:
                    yield message
            finally:
                cancelled.append(1)

        server = make_server(drain_seconds=5)
        if kind != "raw":
            methods = {"unary": wait, "both": wait_stream}
            server.add_service(make_service(**{kind: {"Wait": methods[kind]}}))
        ended = trio.Event()

        async def run(task_status):
            await server.serve_async(task_status=task_status)
            ended.set()

        await nursery.start(run)
        peer = await connect(server.port)
        await peer.greet()
        path = NEVER if kind == "raw" else "/test.Service/Wait"
        await peer.send(peer.headers(1, path), peer.message(1, b"x", end=kind != "both"))
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        server.drain()
        assert (await peer.end_of(1))[1] == UNAVAILABLE
        await ended.wait()
        assert 5 <= trio.current_time() - begun < 6
        assert cancelled == ([] if kind == "raw" else [1])

    async def test_a_connection_that_drains_already_has_no_longer_than_the_server(
        self, served, connect, autojump_clock
    ):
        server, ended = await served(
            max_connection_age_seconds=10, max_connection_age_grace_seconds=1000, drain_seconds=5
        )
        peer = await connect(server.port)
        await peer.greet()
        await peer.send(peer.call(1, NEVER))
        await peer.until(fr.GOAWAY)
        begun = trio.current_time()
        server.drain()
        await ended.wait()
        assert trio.current_time() - begun < 6

    async def test_clients_that_are_still_in_the_listeners_queue_hear_of_it(self, served, peers):
        """More than are accepted at once: they are connected, as far as they know."""
        server, ended = await served()
        sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        server.drain()
        told = 0
        for sock in sockets:
            peer = peers.Peer(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
            told += (await peer.until(fr.GOAWAY)) is not None
            await peer.aclose()
        assert told == 200
        await ended.wait()


class TestFaults:
    @pytest.mark.parametrize("unread", [False, True])
    async def test_a_connection_error_closes_the_connection_within_three_seconds(
        self, start, make_server, autojump_clock, unread
    ):
        """Also where the peer has not read what was sent before, and does not close."""
        server = make_server()
        peer = await (await start(server))([(fr.INITIAL_WINDOW_SIZE, fr.MAX_WINDOW)])
        if unread:
            await peer.send(fr.window_update(0, 2**30))
            for stream_id in range(1, 7, 2):
                await peer.send(peer.call(stream_id, ECHO, bytes(2_000_000)))
        begun = trio.current_time()
        for _ in range(10):
            await peer.send(fr.ping(b"12345678"))
        # Nothing is read.
        while server._driver.connections:  # noqa: ASYNC110 - no event tells of it
            await trio.sleep(0.1)
        assert trio.current_time() - begun <= 3

    async def test_its_handlers_are_cancelled(self, start, make_server, make_service):
        ended = trio.Event()

        async def wait(message):
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        server = make_server()
        server.add_service(make_service(unary={"Wait": wait}))
        peer = await (await start(server))()
        await peer.send(peer.call(1, "/test.Service/Wait"), fr.ping(b"12345678"))
        await peer.until(fr.PING)
        await peer.send(fr.ping(b"short"))
        with trio.fail_after(5):
            await ended.wait()


class TestErrors:
    async def test_an_error_of_ours_costs_one_connection(self, start, make_server, monkeypatch, caplog):
        receive = ServerConnection.receive_data

        def broken(self, data, now):
            if b"bomb" in data:
                raise RuntimeError("a bug")
            return receive(self, data, now)

        monkeypatch.setattr(ServerConnection, "receive_data", broken)
        server = make_server()
        greet = await start(server)
        good, bad = await greet(), await greet()
        await bad.send(bad.call(1, NEVER))
        await bad.send(b"bomb")
        assert await bad.goaway() is None
        assert "a bug" in caplog.text
        await good.send(good.call(1, ECHO, b"still here"))
        assert (await good.end_of(1))[:2] == ([b"still here"], OK)
        assert server._exception_count == 1
        assert server.in_flight == 0

    async def test_connections_and_faults_are_counted(self, start, make_server):
        server = make_server()
        greet = await start(server)
        first, second = await greet(), await greet()
        await second.send(fr.ping(b"short"))
        assert (await second.goaway())[1] == fr.FRAME_SIZE_ERROR
        assert (server._connection_count, server._exception_count) == (2, 1)
        await first.send(first.call(1, ECHO))
        assert (await first.end_of(1))[1] == OK
