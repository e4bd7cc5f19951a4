"""Listening sockets."""

import errno
import socket

import pytest
import trio

from hushar.rpc.listeners import bind, bind_unix, close_all


@pytest.fixture
def closing():
    """Sockets that are closed at the end of the test."""
    sockets = []
    yield sockets.extend
    close_all(sockets)


class TestBind:
    async def test_port_0_picks_one(self, closing):
        sockets, port = await bind("127.0.0.1", 0)
        closing(sockets)
        (sock,) = sockets
        assert sock.getsockname() == ("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):
            pass

    async def test_all_addresses_of_a_host_have_one_port(self, closing):
        sockets, port = await bind("localhost", 0)
        closing(sockets)
        assert {sock.getsockname()[1] for sock in sockets} == {port}

    async def test_an_empty_host_is_every_address(self, closing):
        sockets, port = await bind("", 0)
        closing(sockets)
        with socket.create_connection(("127.0.0.1", port)):
            pass

    async def test_ipv6(self, closing):
        if not socket.has_ipv6:
            pytest.skip("no IPv6 here")
        try:
            sockets, port = await bind("::1", 0)
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        closing(sockets)
        with socket.create_connection(("::1", port)):
            pass

    async def test_a_port_in_use_is_an_oserror(self, closing):
        sockets, port = await bind("127.0.0.1", 0)
        closing(sockets)
        with pytest.raises(OSError, match="in use") as caught:
            await bind("127.0.0.1", port)
        assert caught.value.errno == errno.EADDRINUSE

    async def test_with_reuse_port_two_servers_share_one(self, closing):
        sockets, port = await bind("127.0.0.1", 0, reuse_port=True)
        closing(sockets)
        more, same = await bind("127.0.0.1", port, reuse_port=True)
        closing(more)
        assert same == port

    async def test_a_host_that_is_not_here_is_an_oserror(self):
        with pytest.raises(OSError, match="assign"):
            await bind("192.0.2.1", 0)


class TestUnix:
    def test_the_file_is_there_while_it_listens(self, tmp_path):
        path = tmp_path / "s"
        sock = bind_unix(str(path))
        assert path.is_socket()
        close_all([sock])
        assert not path.exists()

    def test_closing_twice_does_no_harm(self, tmp_path):
        sock = bind_unix(str(tmp_path / "s"))
        close_all([sock])
        close_all([sock])

    def test_a_stale_file_is_replaced(self, tmp_path):
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert path.is_socket()
        sock = bind_unix(str(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        close_all([sock])

    def test_one_that_is_in_use_is_not(self, tmp_path):
        path = str(tmp_path / "s")
        sock = bind_unix(path)
        with pytest.raises(OSError, match="in use") as caught:
            bind_unix(path)
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        close_all([sock])

    def test_nor_one_whose_queue_is_full(self, tmp_path):
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
            busy.bind(path)
            busy.listen(0)
            waiting.connect(path)
            with pytest.raises(OSError, match="in use"):
                bind_unix(path)

    def test_a_file_that_is_no_socket_is_left_alone(self, tmp_path):
        path = tmp_path / "precious"
        path.write_text("data")
        with pytest.raises(OSError, match="in use") as caught:
            bind_unix(str(path))
        assert caught.value.filename == str(path)
        assert path.read_text() == "data"

    def test_a_folder_that_is_not_there_names_the_path(self, tmp_path):
        path = str(tmp_path / "no" / "s")
        with pytest.raises(FileNotFoundError) as caught:
            bind_unix(path)
        assert caught.value.filename == path

    def test_a_path_that_is_too_long_names_the_path(self, tmp_path):
        path = str(tmp_path / ("x" * 200))
        with pytest.raises(OSError, match="too long") as caught:
            bind_unix(path)
        assert caught.value.filename == path


async def test_a_listener_can_be_waited_for(closing):
    sockets, port = await bind("127.0.0.1", 0)
    closing(sockets)
    with socket.create_connection(("127.0.0.1", port)), trio.fail_after(5):
        await trio.lowlevel.wait_readable(sockets[0])
        accepted, _ = sockets[0].accept()
        accepted.close()
