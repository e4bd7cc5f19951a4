import datetime
import math
import socket

import pytest
import trio

from hushar.client.address import Address
from hushar.client.channel import CONNECT_SECONDS, Channel, wire_timeout
from hushar.client.client import tls_context
from hushar.client.errors import ConnectionFailed


def channel(port, host="127.0.0.1"):
    return Channel(Address(host, port), None, None)


@pytest.fixture
def closed_port():
    """A port that nobody listens at: bound, and not given to anyone else meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def test_where_nobody_listens_there_is_no_connection(closed_port):
    with pytest.raises(ConnectionFailed) as caught:
        async with channel(closed_port):
            pytest.fail("there is no connection")
    assert caught.value.message == f"cannot connect to 127.0.0.1:{closed_port}: Connection refused"


async def test_a_name_that_cannot_be_looked_up_is_told():
    with pytest.raises(ConnectionFailed, match=r"^UNAVAILABLE: cannot connect to x{70}\.invalid:1: "):
        async with channel(1, host="x" * 70 + ".invalid"):
            pytest.fail("there is no connection")


async def test_a_server_that_hangs_up_is_no_grpc_server(peer_for):
    async def script(peer):
        await peer.hang_up()

    async with peer_for(script) as port:
        with pytest.raises(ConnectionFailed, match=f"no gRPC server at 127.0.0.1:{port}: the server closed"):
            async with channel(port):
                pytest.fail("there is no connection")


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_a_server_of_another_protocol_is_no_grpc_server(peer_for, data):
    async def script(peer):
        await peer.send(data[:2])
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(data[2:])

    async with peer_for(script) as port:
        with pytest.raises(ConnectionFailed, match=r"no gRPC server at .*: it does not speak HTTP/2"):
            async with channel(port):
                pytest.fail("there is no connection")


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_limit(peer_for, autojump_clock):
    async def script(peer):
        return

    async with peer_for(script) as port:
        start = trio.current_time()
        with pytest.raises(ConnectionFailed, match="no answer within 20 s"):
            async with channel(port):
                pytest.fail("there is no connection")
        assert trio.current_time() - start == pytest.approx(CONNECT_SECONDS)


async def test_an_exception_of_the_block_comes_out_as_it_is(serve):
    with pytest.raises(KeyError, match="mine"):
        async with channel(await serve()):
            raise KeyError("mine")


async def test_a_block_can_be_cancelled(serve):
    port = await serve()
    with trio.CancelScope() as scope:
        async with channel(port):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_the_end_of_the_block_closes_the_connection_even_to_a_server_that_does_not_read(peer_for):
    async def script(peer):
        await peer.greet()
        await leave.wait()

    leave = trio.Event()
    async with peer_for(script) as port:
        async with channel(port) as open_channel:
            assert open_channel.closed_because is None
            large = open_channel._grpc_socket._grpc_connection.h2_connection
            large._data_to_send += b"\0" * 20_000_000
            await open_channel._grpc_socket._socket.flush()
            await trio.testing.wait_all_tasks_blocked()
        leave.set()


async def test_a_tls_handshake_that_is_broken_off_is_told(peer_for):
    async def script(peer):
        await peer.hang_up()

    async with peer_for(script) as port:
        with pytest.raises(ConnectionFailed, match="the server broke off the TLS handshake"):
            async with Channel(Address("127.0.0.1", port), tls_context(), None):
                pytest.fail("there is no connection")


async def test_a_tls_handshake_that_is_not_answered_is_given_up(peer_for, autojump_clock):
    async def script(peer):
        return

    async with peer_for(script) as port:
        with pytest.raises(ConnectionFailed, match=f"cannot connect to 127.0.0.1:{port} within 20 s"):
            async with Channel(Address("127.0.0.1", port), tls_context(), None):
                pytest.fail("there is no connection")


def test_before_its_block_a_channel_is_not_connected():
    assert channel(1).closed_because == "the client is not connected"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, None),
        (math.inf, None),
        (1e9, None),
        (0.25, datetime.timedelta(microseconds=250_000)),
        (1e-9, datetime.timedelta(microseconds=1)),
        (99.999, datetime.timedelta(microseconds=99_999_000)),
        (100.5, datetime.timedelta(seconds=101)),
        (86400 * 365, datetime.timedelta(days=365)),
    ],
)
def test_a_time_out_fits_eight_digits_and_is_not_rounded_down(seconds, told):
    assert wire_timeout(seconds) == told
