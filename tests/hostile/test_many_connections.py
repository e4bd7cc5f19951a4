"""Idle connections, each of which has had a call, cost little."""

import resource
import socket

import trio

from hushar.rpc import frames as fr

ECHO = "/test.Service/Echo"
MOST = 10_000
SPARE = 300
BATCH = 200
MEASURED_SECONDS = 3


async def test_ten_thousand_idle_connections(serve, peers, until):
    """Fewer where not that many files may be open. Under 50 KB each, and 0.3 s of processor a second."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        await hold(serve("max_connections=20000"), peers, until, min(MOST, hard - SPARE))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def hold(server, peers, until, number):
    peer = peers.Peer(None)
    hello = fr.PREFACE + fr.settings([]) + fr.SETTINGS_ACK + peer.call(1, ECHO, b"x" * 100)
    before = server.memory()
    sockets = []
    try:
        while len(sockets) < number:
            batch = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(BATCH)]
            sockets += batch
            for sock in batch:
                sock.sendall(hello)
            for sock in batch:
                await trio.to_thread.run_sync(answered, sock)
        assert await until(lambda: server.descriptors() > len(sockets))
        each = (server.memory() - before) / len(sockets)
        used = server.processor_seconds()
        await trio.sleep(MEASURED_SECONDS)
        used = (server.processor_seconds() - used) / MEASURED_SECONDS
    finally:
        for sock in sockets:
            sock.close()
    print(f"{len(sockets)} connections: {each:,.0f} bytes each, {used:.3f} s of processor a second")  # noqa: T201
    assert each < 50_000
    assert used < 0.3


def answered(sock):
    """Read until the message has come back."""
    received = b""
    while b"x" * 100 not in received:
        data = sock.recv(65536)
        assert data, "closed"
        received += data
