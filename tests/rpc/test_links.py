"""Links: bytes to and from a socket, plain and through TLS."""

import socket
import ssl

import pytest

from hushar.rpc.links import Link, LinkLost, TlsLink


@pytest.fixture
def sockets():
    """Two connected sockets that do not block, with small buffers."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


def shake_hands(server, client):
    client.begin()
    for _ in range(10):
        for link in (server, client):
            if link.receive():
                raise AssertionError("data before the handshake")
        if server.established and client.established:
            return
    raise AssertionError("no handshake")


class TestPlain:
    def test_bytes_go_both_ways(self, sockets):
        ours, theirs = map(Link, sockets)
        assert ours.send(b"abc")
        assert theirs.receive() == b"abc"
        assert theirs.receive() == b""

    def test_what_the_socket_does_not_take_waits(self, sockets):
        ours, theirs = map(Link, sockets)
        data = bytes(range(256)) * 1000
        assert ours.send(data)
        assert 0 < ours.pending_bytes < len(data)
        assert not ours.send(b"")
        received = theirs.receive()
        while ours.pending_bytes:
            assert ours.send(b"")
            received += theirs.receive()
        while rest := theirs.receive():
            received += rest
        assert received == data

    def test_later_output_goes_behind_what_waits(self, sockets):
        ours, theirs = map(Link, sockets)
        ours.send(bytes(100_000))
        ours.send(b"end")
        received = b""
        while ours.pending_bytes:
            received += theirs.receive()
            ours.send(b"")
        while rest := theirs.receive():
            received += rest
        assert (len(received), received[-3:]) == (100_003, b"end")

    def test_a_peer_that_has_closed_is_lost(self, sockets):
        ours, theirs = map(Link, sockets)
        theirs.close()
        with pytest.raises(LinkLost):
            ours.receive()

    def test_writing_to_one_is_too(self, sockets):
        ours, theirs = map(Link, sockets)
        theirs.close()
        with pytest.raises(LinkLost):
            ours.send(b"x")

    def test_a_closed_link_takes_nothing(self, sockets):
        ours, _ = map(Link, sockets)
        ours.close()
        assert ours.closed
        with pytest.raises(LinkLost):
            ours.send(b"x")

    def test_after_our_end_the_peer_can_still_be_read(self, sockets):
        ours, theirs = map(Link, sockets)
        ours.end()
        theirs.send(b"late")
        assert ours.receive() == b"late"
        with pytest.raises(LinkLost):
            theirs.receive()


class TestTls:
    @pytest.fixture
    def server_context(self, server_context):
        server_context.set_alpn_protocols(["h2"])
        return server_context

    @pytest.fixture
    def links(self, sockets, server_context, client_context):
        server = TlsLink(sockets[0], server_context)
        client = TlsLink(sockets[1], client_context, server_hostname="localhost")
        shake_hands(server, client)
        return server, client

    def test_bytes_go_both_ways(self, links):
        server, client = links
        client.send(b"question")
        assert server.receive() == b"question"
        server.send(b"answer")
        assert client.receive() == b"answer"

    def test_h2_is_agreed_on(self, links):
        assert [link.protocol() for link in links] == ["h2", "h2"]

    def test_what_is_sent_before_the_handshake_goes_after_it(self, sockets, server_context, client_context):
        server = TlsLink(sockets[0], server_context)
        client = TlsLink(sockets[1], client_context, server_hostname="localhost")
        server.send(b"early")
        client.begin()
        received = b""
        for _ in range(10):
            server.receive()
            received += client.receive()
        assert received == b"early"

    def test_who_waits_for_the_handshake_is_told_before_anything_is_read(
        self, sockets, server_context, client_context
    ):
        server = TlsLink(sockets[0], server_context)
        client = TlsLink(sockets[1], client_context, server_hostname="localhost")
        told = []
        server.on_established = lambda: told.append(server.protocol())
        client.send(b"first")
        client.begin()
        received = b""
        while not received:
            client.receive()
            received = server.receive()
            assert told or not received
        assert (received, told) == (b"first", ["h2"])

    def test_an_end_is_met_even_where_the_peers_socket_stays_open(self, links):
        server, client = links
        client.send(b"last words")
        with pytest.raises(ssl.SSLWantReadError):
            client._tls.unwrap()
        client.sock.send(client._outgoing.read())
        assert server.receive() == b"last words"
        with pytest.raises(LinkLost, match="closed by the peer"):
            server.receive()

    def test_what_is_no_tls_is_lost(self, sockets, server_context):
        server = TlsLink(sockets[0], server_context)
        sockets[1].send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(LinkLost, match="TLS handshake"):
            server.receive()

    def test_what_is_broken_on_the_way_is_lost(self, links):
        server, client = links
        client.sock.send(b"\x17\x03\x03\x00\x10" + bytes(16))
        with pytest.raises(LinkLost, match="TLS"):
            server.receive()

    def test_a_certificate_that_is_not_trusted_is_told_to_the_server(self, sockets, server_context):
        server = TlsLink(sockets[0], server_context)
        client = TlsLink(sockets[1], ssl.create_default_context(), server_hostname="localhost")
        client.begin()
        server.receive()
        with pytest.raises(LinkLost, match="TLS handshake"):
            client.receive()
        with pytest.raises(LinkLost):
            server.receive()

    def test_much_goes_through_small_buffers(self, links):
        server, client = links
        data = bytes(range(256)) * 2000
        server.send(data)
        received = client.receive()
        while server.pending_bytes:
            server.send(b"")
            received += client.receive()
        while rest := client.receive():
            received += rest
        assert received == data
