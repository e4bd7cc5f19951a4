"""How a connection is made, and what is said when it is not."""

import socket

import pytest
import trio

from hushar.rpc.client_errors import ConnectionLostError
from hushar.rpc.dialing import CONNECT_SECONDS, Target, dial
from hushar.rpc.limits import Limits

SETTINGS = b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture
async def answering(nursery):
    """answering(script): the port of a server whose connections are the script's."""

    async def start(script):
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def serve(stream):
            async with stream:
                await script(stream)

        await nursery.start(trio.serve_listeners, serve, [listener])
        return listener.socket.getsockname()[1]

    return start


async def connect(port, host="127.0.0.1", **options):
    wire = await dial(Target(host, port, **options), Limits(), lambda _: None)
    wire.close("enough")


async def test_a_connection_is_there_when_the_server_has_sent_its_settings(answering):
    async def script(stream):
        assert (await stream.receive_some()).startswith(b"PRI * HTTP/2.0")
        for at in range(len(SETTINGS)):
            await stream.send_all(SETTINGS[at : at + 1])
        await trio.sleep_forever()

    await connect(await answering(script))


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_a_server_of_another_protocol_is_no_grpc_server(answering, data):
    async def script(stream):
        await stream.send_all(data)
        await trio.sleep_forever()

    with pytest.raises(ConnectionLostError, match=r"no gRPC server at .*: it does not speak HTTP/2"):
        await connect(await answering(script))


async def test_a_server_that_hangs_up_is_no_grpc_server(answering):
    async def script(stream):
        await stream.receive_some()

    with pytest.raises(ConnectionLostError, match=r"no gRPC server at .*: the server closed the connection"):
        await connect(await answering(script))


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_limit(answering, autojump_clock):
    async def script(stream):
        await trio.sleep_forever()

    start = trio.current_time()
    with pytest.raises(ConnectionLostError, match="no answer within 20 s"):
        await connect(await answering(script))
    assert trio.current_time() - start == pytest.approx(CONNECT_SECONDS)


async def test_a_tls_handshake_that_is_not_answered_is_given_up(answering, autojump_clock, client_context):
    async def script(stream):
        await trio.sleep_forever()

    port = await answering(script)
    with pytest.raises(ConnectionLostError, match=f"cannot connect to 127.0.0.1:{port} within 20 s"):
        await connect(port, ssl_context=client_context)


async def test_a_tls_handshake_that_is_broken_off_is_told(answering, client_context):
    async def script(stream):
        await stream.receive_some()

    with pytest.raises(ConnectionLostError, match="the server broke off the TLS handshake"):
        await connect(await answering(script), ssl_context=client_context)


async def test_where_nobody_listens():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        with pytest.raises(ConnectionLostError) as caught:
            await connect(port)
    text = caught.value.status.status_message
    assert text == f"cannot connect to 127.0.0.1:{port}: Connection refused"


async def test_a_unix_socket_that_is_not_there(tmp_path):
    with pytest.raises(ConnectionLostError, match=r"cannot connect to unix:.*: No such file or directory"):
        await connect(0, f"unix:{tmp_path}/absent")


async def test_a_name_that_cannot_be_looked_up():
    with pytest.raises(ConnectionLostError, match=r"^.*cannot connect to x{70}\.invalid:1: "):
        await connect(1, "x" * 70 + ".invalid")


@pytest.mark.parametrize("host", ["", ".bad", "x\0"])
async def test_a_name_that_is_none(host, client_context):
    with pytest.raises(ConnectionLostError, match="cannot connect to"):
        await connect(1, host, ssl_context=client_context)


async def test_a_connect_that_is_cancelled_leaves_no_socket(answering):
    async def script(stream):
        await stream.receive_some()
        scope.cancel()
        while await stream.receive_some():
            pass
        closed.set()

    scope, closed = trio.CancelScope(), trio.Event()
    port = await answering(script)
    with scope:
        await connect(port)
    assert scope.cancelled_caught
    await closed.wait()


@pytest.mark.parametrize(
    ("host", "authority"),
    [("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("name", "name:1"), ("unix:/x", "localhost")],
)
def test_the_authority_of_calls(host, authority):
    assert Target(host, 1).authority == authority
