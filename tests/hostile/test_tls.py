"""What is no TLS, only half of it, or too much of it, at a port that speaks nothing else."""

import random
import ssl

import pytest
import trio

from hushar.rpc import frames as fr

ECHO = "/test.Service/Echo"

pytestmark = pytest.mark.parametrize("served", ["tls"], indirect=True)


def client_hello(served):
    """The first bytes that a client sends."""
    _, outgoing, asking = by_hand(served)
    with pytest.raises(ssl.SSLWantReadError):
        asking.do_handshake()
    return outgoing.read()


def by_hand(served):
    """(incoming, outgoing, SSLObject) of a client, in memory."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = served.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    return incoming, outgoing, asking


@pytest.fixture
async def shaken(served, peers):
    """shaken(): (peer, SSLObject, BIO of what it sends) behind a handshake; the peer sends the records."""
    connected = []

    async def shaking():
        incoming, outgoing, asking = by_hand(served)
        peer = await peers.connect(served.port)
        connected.append(peer)
        while True:
            try:
                asking.do_handshake()
            except ssl.SSLWantReadError:
                await peer.send(outgoing.read())
                incoming.write(await peer.stream.receive_some(65536))
            else:
                await peer.send(outgoing.read())
                return peer, asking, outgoing

    yield shaking
    for peer in connected:
        await peer.aclose()


@pytest.fixture
async def connected(served, peers):
    """connected(): a peer that is connected, without TLS."""
    made = []

    async def connecting():
        made.append(await peers.connect(served.port))
        return made[-1]

    yield connecting
    for peer in made:
        await peer.aclose()


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        fr.PREFACE + fr.settings([]),
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x80\x2e\x01\x03\x01" + bytes(100),
    ],
    ids=["HTTP/1.1", "HTTP/2", "too large a record", "an alert", "too large a hello", "SSL 2"],
)
async def test_what_is_no_tls_is_closed(connected, first):
    for _ in range(20):
        peer = await connected()
        await peer.send(first)
        with trio.fail_after(10):
            await peer.rest()


async def test_bytes_by_chance(connected):
    chance = random.Random(7)
    for _ in range(100):
        peer = await connected()
        await peer.send(chance.randbytes(chance.randrange(1, 5000)))
        await peer.aclose()


async def test_a_handshake_that_is_not_begun_or_never_ends(connected, served, until):
    """The server waits `handshake_seconds`, for many at once."""
    before = served.descriptors()
    hello = client_hello(served)
    for number in range(90):
        peer = await connected()
        await peer.send(hello[: (0, 3, len(hello) // 2, len(hello) - 1, len(hello))[number % 5]])
    assert await until(lambda: served.descriptors() >= before + 90)
    assert await until(lambda: served.descriptors() <= before)


async def test_a_handshake_one_byte_at_a_time(connected, served):
    hello = client_hello(served)
    peer = await connected()
    for byte in hello:
        await peer.send(bytes((byte,)))
    # A handshake record, and in it the server's part of the key.
    assert (await peer.stream.receive_some(1)) == b"\x16"


async def test_handshakes_that_are_given_up(connected, served):
    """Each costs the server a signature."""
    hello = client_hello(served)
    for _ in range(300):
        peer = await connected()
        await peer.send(hello)
        await peer.aclose()


async def test_half_a_record_behind_a_greeting(shaken, served, until):
    before = served.descriptors()
    for _ in range(20):
        peer, asking, outgoing = await shaken()
        asking.write(fr.PREFACE + fr.settings([]) + fr.SETTINGS_ACK + peer.call(1, ECHO))
        records = outgoing.read()
        await peer.send(records[: len(records) // 2])
    assert await until(lambda: served.descriptors() >= before + 20)
    # Not the whole preface: it has its time.
    assert await until(lambda: served.descriptors() <= before)


async def test_a_record_that_was_tampered_with_ends_the_connection(shaken, served):
    for _ in range(20):
        peer, asking, outgoing = await shaken()
        asking.write(fr.PREFACE + fr.settings([]))
        record = bytearray(outgoing.read())
        record[-1] ^= 1
        await peer.send(record)
        with trio.fail_after(10):
            while await received(peer):
                pass


async def received(peer):
    """Bytes, or none at the end."""
    try:
        return await peer.stream.receive_some(65536)
    except trio.BrokenResourceError:
        return b""


async def test_garbage_behind_a_handshake(shaken, served):
    for _ in range(20):
        peer, _, _ = await shaken()
        await peer.send(b"no record at all, but long enough to be looked at")
        with trio.fail_after(10):
            while await received(peer):
                pass
