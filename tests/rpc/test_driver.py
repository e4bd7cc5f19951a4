"""One pass over the sockets that are ready, and how connections are accepted."""

import errno
import socket
import ssl

import purerpc
import pytest
import trio
import trustme

from hushar.rpc import Server
from hushar.rpc import frames as fr
from hushar.rpc.driver import Driver

ECHO = "/test.Service/Echo"
OK, INTERNAL = 0, 13


def echo(calls):
    for call in calls:
        call.reply(call.message)


class TestRawCalls:
    async def test_all_calls_that_are_ready_are_handed_over_at_once(self, start):
        batches = []

        def receive(calls):
            batches.append(len(calls))
            echo(calls)

        server = Server(0)
        server.add_raw_unary(ECHO, receive)
        peer = await (await start(server))()
        await peer.send(*(peer.call(stream_id, ECHO) for stream_id in range(1, 21, 2)))
        await peer.end_of(19)
        assert batches == [10]

    async def test_also_those_of_several_connections(self, start):
        batches = []

        def receive(calls):
            batches.append(sorted(call.message for call in calls))
            echo(calls)

        server = Server(0)
        server.add_raw_unary(ECHO, receive)
        greet = await start(server)
        first, second = await greet(), await greet()
        # Both are sent before the server gets its turn.
        first.stream.socket._sock.send(first.call(1, ECHO, b"a"))
        second.stream.socket._sock.send(second.call(1, ECHO, b"b"))
        await first.end_of(1)
        await second.end_of(1)
        assert batches == [[b"a", b"b"]]

    async def test_a_call_that_its_client_has_reset_is_not_handed_over(self, start):
        seen = []

        def receive(calls):
            seen.extend(call.message for call in calls)
            echo(calls)

        server = Server(0)
        server.add_raw_unary(ECHO, receive)
        peer = await (await start(server))()
        await peer.send(
            peer.call(1, ECHO, b"reset"), fr.rst_stream(1, fr.CANCEL), peer.call(3, ECHO, b"kept")
        )
        await peer.end_of(3)
        assert seen == [b"kept"]

    async def test_a_call_is_cancelled_by_its_client_and_by_its_deadline(self, start, autojump_clock):
        held = []
        server = Server(0)
        server.add_raw_unary("/test.Service/Hold", held.extend)
        peer = await (await start(server))()
        await peer.send(peer.call(1, "/test.Service/Hold"))
        await peer.send(peer.call(3, "/test.Service/Hold", b"x", ("grpc-timeout", "2S")))
        await trio.testing.wait_all_tasks_blocked()
        assert [call.cancelled for call in held] == [False, False]
        await peer.send(fr.rst_stream(1, fr.CANCEL))
        assert (await peer.end_of(3))[1] == 4
        assert [call.cancelled for call in held] == [True, True]
        for call in held:
            call.reply(b"nothing happens")
        assert server.in_flight == 0

    async def test_calls_of_one_pass_end_each_by_its_own_deadline(self, start, autojump_clock):
        held = []
        server = Server(0)
        server.add_raw_unary("/test.Service/Hold", held.extend)
        server.add_raw_unary(ECHO, echo)
        peer = await (await start(server))()
        timeouts = {1: "5S", 3: "9S", 5: "2S", 7: "7S"}
        await peer.send(
            *(
                peer.call(stream_id, "/test.Service/Hold", b"x", ("grpc-timeout", timeout))
                for stream_id, timeout in timeouts.items()
            ),
            peer.call(9, ECHO, b"x", ("grpc-timeout", "1S")),
        )
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        # Earlier than all that are watched.
        await peer.send(peer.call(11, "/test.Service/Hold", b"x", ("grpc-timeout", "1S")))
        assert (await peer.end_of(9))[1] == OK
        for stream_id, seconds in [(11, 1), (5, 2), (1, 5), (7, 7), (3, 9)]:
            assert (await peer.end_of(stream_id))[1] == 4
            assert seconds - 0.5 < trio.current_time() - begun < seconds + 0.5
        assert all(call.cancelled for call in held)

    async def test_an_exception_fails_those_that_are_not_answered(self, start, caplog):
        def half(calls):
            calls[0].reply(b"first")
            raise ValueError("hunter2")

        server = Server(0)
        server.add_raw_unary(ECHO, half)
        peer = await (await start(server))()
        await peer.send(peer.call(1, ECHO), peer.call(3, ECHO))
        assert (await peer.end_of(1))[:2] == ([b"first"], OK)
        _, status, fields = await peer.end_of(3)
        assert (status, fields["grpc-message"]) == (INTERNAL, "internal error")
        assert "hunter2" in caplog.text


class TestAccept:
    async def test_without_descriptors_connections_wait(self, start, monkeypatch, caplog, autojump_clock):
        """As after EMFILE: the server says so once, and goes on when there are some again."""
        failures = 3

        class Poor(socket.socket):
            def accept(self):
                nonlocal failures
                if failures:
                    failures -= 1
                    raise OSError(errno.EMFILE, "Too many open files")
                return super().accept()

        monkeypatch.setattr("hushar.rpc.listeners.socket.socket", Poor)
        server = Server(0)
        server.add_raw_unary(ECHO, echo)
        peer = await (await start(server))()
        await peer.send(peer.call(1, ECHO))
        assert (await peer.end_of(1))[1] == OK
        assert caplog.text.count("Too many open files") == 1

    async def test_a_connection_that_cannot_be_set_up_is_closed(self, start, monkeypatch, caplog):
        server = Server(0)
        server.add_raw_unary(ECHO, echo)
        greet = await start(server)
        good = await greet()

        def broken(self, sock):
            raise OSError(errno.ENOSPC, "no room for another watch")

        monkeypatch.setattr(Driver, "_adopt", broken)
        with pytest.raises(AssertionError, match="closed"):
            await greet()
        assert "no room for another watch" in caplog.text
        await good.send(good.call(1, ECHO))
        assert (await good.end_of(1))[1] == OK


class TestDescriptors:
    async def test_a_descriptor_that_is_used_again_belongs_to_the_new_connection(self, start, make_service):
        """What the handler of a lost connection still does must not touch its successor."""
        leave = trio.Event()

        async def linger(message):
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await leave.wait()
            yield message

        server = Server(0)
        server.add_raw_unary(ECHO, echo)
        server.add_service(make_service(down={"Linger": linger}))
        greet = await start(server)
        for _ in range(3):
            first = await greet()
            await first.send(first.call(1, "/test.Service/Linger"))
            await trio.testing.wait_all_tasks_blocked()
            await first.aclose()
            await trio.testing.wait_all_tasks_blocked()
        second = await greet()
        leave.set()
        await trio.testing.wait_all_tasks_blocked()
        await second.send(second.call(1, ECHO, b"mine"))
        assert (await second.end_of(1))[:2] == ([b"mine"], OK)

    async def test_a_closed_peer_costs_no_processor(self, start):
        """The reader sleeps once the connection is gone."""
        passes = []
        on_ready = Driver.on_ready
        server = Server(0)
        server.add_raw_unary(ECHO, echo)
        greet = await start(server)
        peer = await greet()
        await peer.send(peer.call(1, ECHO))
        await peer.end_of(1)
        server._driver.on_ready = lambda ready: (passes.append(1), on_ready(server._driver, ready))
        await peer.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(passes) <= 2


class TestRest:
    async def test_all_sockets_are_left_alone_for_so_long(self, start, autojump_clock):
        passes = []

        def receive(calls):
            passes.append((trio.current_time(), len(calls)))
            server.rest(5.0)
            echo(calls)

        server = Server(0)
        server.add_raw_unary(ECHO, receive)
        greet = await start(server)
        first, second = await greet(), await greet()
        await first.send(first.call(1, ECHO))
        await first.end_of(1)
        await first.send(first.call(3, ECHO))
        await second.send(second.call(1, ECHO), second.call(3, ECHO))
        await second.end_of(3)
        (begun, alone), (again, together) = passes
        assert (alone, together) == (1, 3)
        assert again - begun == pytest.approx(5.0, abs=0.1)

    async def test_outside_of_a_pass_it_is_nothing(self, start, autojump_clock):
        server = Server(0)
        server.add_raw_unary(ECHO, echo)
        server.rest(5.0)
        peer = await (await start(server))()
        begun = trio.current_time()
        server.rest(5.0)
        await peer.send(peer.call(1, ECHO))
        await peer.end_of(1)
        assert trio.current_time() - begun < 1


class TestTls:
    @pytest.fixture
    def serve(self, nursery, server_context):
        async def serving(**settings):
            server = Server(0, server_context, **settings)
            server.add_raw_unary(ECHO, echo)
            await nursery.start(server.serve_async)
            return server

        return serving

    @pytest.fixture
    async def connect_tls(self, peers):
        """connect_tls(port, context): a peer behind TLS."""
        streams = []

        async def connecting(port, context):
            tcp = await trio.open_tcp_stream("127.0.0.1", port)
            streams.append(tcp)
            stream = trio.SSLStream(tcp, context, server_hostname="localhost", https_compatible=True)
            await stream.do_handshake()
            return peers.Peer(stream)

        yield connecting
        for stream in streams:
            await stream.aclose()

    async def test_a_call_through_tls(self, serve, connect_tls, client_context):
        server = await serve(require_alpn=True)
        peer = await connect_tls(server.port, client_context)
        await peer.greet()
        await peer.send(peer.call(1, ECHO, b"sealed"))
        assert (await peer.end_of(1))[:2] == ([b"sealed"], OK)
        assert peer.stream.selected_alpn_protocol() == "h2"

    @pytest.mark.parametrize("offered", [None, ["http/1.1"]])
    async def test_with_require_alpn_a_client_without_h2_is_refused(
        self, serve, connect_tls, authority, offered
    ):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if offered:
            context.set_alpn_protocols(offered)
        server = await serve(require_alpn=True)
        with pytest.raises((AssertionError, trio.BrokenResourceError)):
            await (await connect_tls(server.port, context)).greet()

    async def test_without_it_such_a_client_is_served(self, serve, connect_tls, authority):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        server = await serve()
        peer = await connect_tls(server.port, context)
        await peer.greet()
        await peer.send(peer.call(1, ECHO))
        assert (await peer.end_of(1))[1] == OK

    async def test_plain_text_is_closed(self, serve, connect):
        server = await serve()
        peer = await connect(server.port)
        await peer.send(fr.PREFACE, fr.settings([]))
        frames = [frame.kind for frame in await peer.rest()]
        assert fr.SETTINGS not in frames

    async def test_half_a_handshake_is_closed_in_time(self, serve, connect, autojump_clock):
        server = await serve(handshake_seconds=3)
        peer = await connect(server.port)
        begun = trio.current_time()
        await peer.send(b"\x16\x03\x01\x02\x00\x01")
        await peer.rest()
        assert 3 <= trio.current_time() - begun <= 5

    async def test_a_hook_sees_the_clients_certificate_already_at_the_first_call(
        self, nursery, connect_tls, authority, server_context, client_context
    ):
        """Whose HEADERS come before the acknowledgement of our SETTINGS, as is usual."""
        authority.configure_trust(server_context)
        server_context.verify_mode = ssl.CERT_REQUIRED
        authority.issue_cert("client.test").configure_cert(client_context)
        server = Server(0, server_context)
        server.add_raw_unary(ECHO, echo)
        seen = []
        server.add_hook(before=lambda request: seen.append(request.peer_certificate))
        peer = await connect_tls(await nursery.start(server.serve_async), client_context)
        await peer.send(fr.PREFACE, fr.settings([]), peer.call(1, ECHO))
        assert (await peer.end_of(1))[1] == OK
        assert seen[0]["subjectAltName"] == (("DNS", "client.test"),)

    async def test_a_client_without_the_certificate_that_is_required_is_refused(
        self, serve, connect_tls, authority, server_context, client_context
    ):
        authority.configure_trust(server_context)
        server_context.verify_mode = ssl.CERT_REQUIRED
        server = await serve()
        with pytest.raises((AssertionError, trio.BrokenResourceError)):
            await (await connect_tls(server.port, client_context)).greet()

    async def test_certificates_are_replaced_without_an_open_connection_being_lost(
        self, serve, connect_tls, client_context
    ):
        server = await serve()
        old = await connect_tls(server.port, client_context)
        await old.greet()
        other = trustme.CA()
        replaced = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        other.issue_cert("localhost").configure_cert(replaced)
        server.replace_ssl_context(replaced)
        await old.send(old.call(1, ECHO))
        assert (await old.end_of(1))[1] == OK
        with pytest.raises(trio.BrokenResourceError):
            await connect_tls(server.port, client_context)
        other.configure_trust(client_context)
        new = await connect_tls(server.port, client_context)
        await new.greet()
        await new.send(new.call(1, ECHO))
        assert (await new.end_of(1))[1] == OK
        assert new.stream.selected_alpn_protocol() == "h2"

    async def test_a_drain_through_tls_ends_with_the_answer(self, serve, connect_tls, client_context):
        server = await serve()
        peer = await connect_tls(server.port, client_context)
        await peer.greet()
        server.drain()
        ping = await peer.until(fr.PING)
        await peer.send(peer.call(1, ECHO, b"last"))
        assert (await peer.end_of(1))[:2] == ([b"last"], OK)
        await peer.send(fr.ping(ping.payload, ack=True))
        assert (await peer.goaway())[:2] == (1, fr.NO_ERROR)


class TestHooks:
    async def test_a_hook_that_refuses_ends_the_call(self, start):
        def refuse(request):
            raise purerpc.UnauthenticatedError("who are you?")

        server = Server(0)
        server.add_raw_unary(ECHO, echo)
        server.add_hook(before=refuse)
        peer = await (await start(server))()
        await peer.send(peer.call(1, ECHO))
        assert (await peer.end_of(1))[1] == 16

    async def test_a_hook_is_told_of_every_end(self, start, make_service, caplog):
        async def fail(message):
            raise purerpc.NotFoundError("no")

        ends = []
        server = Server(0)
        server.add_raw_unary(ECHO, echo)
        server.add_service(make_service(unary={"Fail": fail}))
        server.add_hook(after=lambda request, code, seconds: ends.append((request.method_name, code.name)))
        peer = await (await start(server))()
        await peer.send(peer.call(1, ECHO), peer.call(3, "/test.Service/Fail"))
        await peer.end_of(3)
        assert sorted(ends) == [("Echo", "OK"), ("Fail", "NOT_FOUND")]
