"""HTTP/1.1 and nothing else, whatever a client sends."""

import logging
import socket
import struct

import anycorn.protocol.h2
import h2.connection
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.admin import serving

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def without_h2(monkeypatch):
    """That h2 would be made use of fails the test; purerpc has it imported already."""

    def refuse(*args, **kwargs):
        raise AssertionError("h2 met what a stranger sent")

    monkeypatch.setattr(h2.connection.H2Connection, "__init__", refuse)
    monkeypatch.setattr(anycorn.protocol.h2.H2Protocol, "__init__", refuse)


class TestHttp2:
    async def test_prior_knowledge_is_refused(self, asked, without_h2, caplog):
        said = await asked.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        assert said.startswith(b"HTTP/1.1 505 ")
        assert caplog.records == []
        assert (await asked.get("/healthz")).status_code == 200

    async def test_the_preface_in_pieces_is_refused(self, asked, without_h2):
        async with await trio.open_tcp_stream("127.0.0.1", asked.number) as stream:
            for piece in (b"PRI * HT", b"TP/2.0\r\n\r", b"\nSM\r\n\r\n"):
                await stream.send_all(piece)
                await wait_all_tasks_blocked()
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 505 ")

    @pytest.mark.parametrize("upgrade", [b"h2c", b"H2C", b"websocket", b"h2c, websocket"])
    async def test_an_upgrade_is_answered_in_http_1_1(self, asked, without_h2, upgrade):
        said = await asked.talk(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
            b"Upgrade: " + upgrade + b"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert said.startswith(b"HTTP/1.1 200 ")
        assert said.endswith(b"ok\n")

    @pytest.mark.parametrize("version", [b"2.0", b"3.0", b"0.9"])
    async def test_another_version_is_refused(self, asked, without_h2, version):
        assert (await asked.talk(b"GET /healthz HTTP/" + version + b"\r\n\r\n")).startswith(b"HTTP/1.1 505 ")


class TestClients:
    async def test_several_requests_on_one_connection(self, asked):
        said = await asked.talk(GET + GET + CLOSING)
        assert said.count(b"HTTP/1.1 200 ") == 3

    async def test_http_1_0(self, asked):
        assert (await asked.talk(b"GET /healthz HTTP/1.0\r\n\r\n")).endswith(b"ok\n")

    async def test_a_client_that_has_shut_its_half_down_is_answered(self, asked):
        assert (await asked.talk(GET, shut=True)).endswith(b"ok\n")

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000, 431),
            (b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nxxxx", 405),
            (b"GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
            (b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        ],
    )
    async def test_what_is_wrong_is_told_and_nothing_breaks(self, asked, caplog, sent, status):
        assert (await asked.talk(sent)).startswith(b"HTTP/1.1 %d " % status)
        assert caplog.records == []
        assert (await asked.get("/healthz")).status_code == 200

    async def test_clients_that_leave_at_once_leave_nothing(self, asked, caplog):
        for _ in range(50):
            client = socket.create_connection(("127.0.0.1", asked.number))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(GET)
            client.close()
            await trio.lowlevel.checkpoint()
        assert (await asked.get("/healthz")).status_code == 200
        assert caplog.records == []

    @pytest.mark.parametrize(
        "sent",
        [
            b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /readyz HTTP/1.0\r\n\r\n",
            CLOSING + CLOSING,
            b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + GET,
        ],
    )
    async def test_an_answer_and_a_complaint_at_the_same_moment(self, asked, caplog, sent):
        for _ in range(30):
            assert (await asked.talk(sent)).startswith(b"HTTP/1.1 ")
        assert caplog.records == []


class TestCrowds:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr(serving, "MOST_CONNECTIONS", 3)

    @pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost:"])
    async def test_the_one_that_has_waited_longest_makes_room(self, asked, sent):
        """Whoever holds all connections keeps nobody out."""
        streams = []
        for _ in range(3):
            streams.append(await trio.open_tcp_stream("127.0.0.1", asked.number))
            await streams[-1].send_all(sent)
            await wait_all_tasks_blocked()
        await streams[0].send_all(GET if not sent else GET.removeprefix(sent))
        assert (await streams[0].receive_some()).startswith(b"HTTP/1.1 200 ")
        for ended in (streams[1], streams[2], streams[0]):
            assert (await asked.talk(CLOSING)).endswith(b"ok\n")
            streams.append(await trio.open_tcp_stream("127.0.0.1", asked.number))
            with trio.fail_after(10):
                while await ended.receive_some():
                    pass
        assert (await asked.talk(CLOSING)).endswith(b"ok\n")
        for stream in streams:
            await stream.aclose()

    async def test_none_of_those_that_are_being_answered(self, nursery):
        begun, let_go = trio.open_memory_channel(10)[0], trio.Event()

        async def slow(scope, receive, send):
            begun.send_nowait(None)
            await let_go.wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        await nursery.start(serving.serve, slow, [listener])
        streams = [await trio.open_tcp_stream(*listener.getsockname()) for _ in range(3)]
        for stream in streams:
            await stream.send_all(CLOSING)
        with trio.fail_after(10):
            while begun.statistics().current_buffer_used < 3:  # noqa: ASYNC110
                await trio.sleep(0.001)
            async with await trio.open_tcp_stream(*listener.getsockname()) as refused:
                assert await refused.receive_some() == b""
            let_go.set()
            for stream in streams:
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 204 ")
                await stream.aclose()


class TestTime:
    """Every connection has a deadline; small ones here."""

    @pytest.mark.parametrize("sent", [b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
    async def test_a_request_that_does_not_come_is_not_waited_for(self, asked, monkeypatch, sent):
        monkeypatch.setattr(serving, "FIRST_SECONDS", 0.05)
        assert await asked.talk(sent) == b""

    async def test_a_connection_that_idles_is_closed(self, asked, monkeypatch):
        monkeypatch.setattr(serving, "IDLE_SECONDS", 0.05)
        assert (await asked.talk(GET)).endswith(b"ok\n")

    async def test_a_client_that_does_not_read_holds_up_nobody(self, nursery, monkeypatch):
        monkeypatch.setattr(serving, "ANSWER_SECONDS", 0.1)
        ended = trio.Event()

        async def endless(scope, receive, send):
            try:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while True:
                    await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
            finally:
                ended.set()

        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        await nursery.start(serving.serve, endless, [listener])
        async with await trio.open_tcp_stream(*listener.getsockname()[:2]) as stream:
            await stream.send_all(GET)
            with trio.fail_after(10):
                await ended.wait()

    async def test_the_end_waits_for_no_client(self, monkeypatch):
        async def endless(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})

        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        address = listener.getsockname()
        with trio.fail_after(10):
            async with trio.open_nursery() as serving_nursery:
                await serving_nursery.start(serving.serve, endless, [listener])
                async with await trio.open_tcp_stream(*address) as stream:
                    await stream.send_all(GET)
                    await stream.receive_some(100)
                    serving_nursery.cancel_scope.cancel()
        with pytest.raises(OSError, match=r"refused|connect"):
            await trio.open_tcp_stream(*address)


async def test_an_app_that_fails_is_told_and_logged(nursery, caplog):
    async def failing(scope, receive, send):
        raise ZeroDivisionError("bug")

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    await nursery.start(serving.serve, failing, [listener])
    async with await trio.open_tcp_stream(*listener.getsockname()) as stream:
        await stream.send_all(CLOSING)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 500 ")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "bug" in caplog.text
