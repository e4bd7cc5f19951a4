"""What is no HTTP/2, or only half of it; bombs; peers that do nothing, or hardly anything."""

import random
import zlib

import pytest
import trio

from hushar.rpc import frames as fr

ECHO = "/test.Service/Echo"
STREAM = "/test.Ordinary/Stream"
MEGABYTE = 1024 * 1024

EITHER = pytest.mark.parametrize("served", ["plain", "tls"], indirect=True)


async def test_bytes_by_chance(connect):
    chance = random.Random(7)
    for _ in range(100):
        peer = await connect(greet=False)
        await peer.send(chance.randbytes(chance.randrange(1, 5000)))
        with trio.fail_after(10):
            await peer.rest()


@EITHER
async def test_bytes_by_chance_behind_a_greeting(connect):
    chance = random.Random(7)
    for _ in range(100):
        peer = await connect()
        await peer.send(chance.randbytes(chance.randrange(9, 5000)))
        await peer.aclose()


@EITHER
async def test_frames_by_chance(connect):
    """Well-formed as frames, all else by chance."""
    chance = random.Random(7)

    async def one():
        peer = await connect()
        try:
            for _ in range(50):
                payload = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 100, 5000)))
                kind, flags = chance.randrange(12), chance.randrange(256)
                await peer.send(fr.frame(kind, flags, chance.choice((0, 1, 1, 2, 3, 99)), payload))
        except trio.BrokenResourceError:
            return
        await peer.aclose()

    async with trio.open_nursery() as attackers:
        for _ in range(100):
            attackers.start_soon(one)


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\n",
        fr.PREFACE + b"not a frame at all",
    ],
)
async def test_what_is_no_preface_is_closed(connect, first):
    for _ in range(20):
        peer = await connect(greet=False)
        await peer.send(first)
        with trio.fail_after(10):
            await peer.rest()


@EITHER
async def test_half_frames_that_never_end(connect, served, until):
    before = served.descriptors()
    halves = [
        fr.HEADER.pack(100 << 8 | fr.HEADERS, 4, 1) + bytes(50),
        fr.HEADER.pack(MEGABYTE << 8 | fr.DATA, 0, 1) + bytes(1000),
        b"\x00\x00",
    ]
    attackers = [await connect() for _ in range(60)]
    for number, peer in enumerate(attackers):
        await peer.send(halves[number % 3])
    assert await until(lambda: served.descriptors() >= before + 50)
    for peer in attackers:
        await peer.aclose()


@EITHER
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bombs_of_compressed_zeros(connect, encoding):
    """300 MB in 300 kB. Refused without being inflated further than a message may be."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    bomb = b"".join(compressor.compress(bytes(MEGABYTE)) for _ in range(300)) + compressor.flush()
    for _ in range(3):
        peer = await connect()
        for stream_id in range(1, 11, 2):
            message = peer.message(stream_id, bomb, flag=1)
            await peer.send(peer.headers(stream_id, ECHO, ("grpc-encoding", encoding)), message)
            assert (await peer.end_of(stream_id))[1] == 8


@EITHER
async def test_bombs_of_header_fields(connect):
    """A field of 4,000 bytes in the dynamic table, referred to 10,000 times a block."""
    for _ in range(10):
        peer = await connect()
        await peer.send(peer.headers(1, ECHO, ("x-bomb", "x" * 3900), end=True))
        block = peer.block(ECHO) + b"\xbe" * 10_000
        await peer.send(fr.frame(fr.HEADERS, fr.END_HEADERS | fr.END_STREAM, 3, block))
        with trio.fail_after(10):
            assert (await peer.goaway())[1] == fr.ENHANCE_YOUR_CALM


@EITHER
async def test_slow_readers(connect, served):
    """Big answers, and nobody takes them: the memory is bounded, and the connections are dropped."""
    before = served.memory()
    for _ in range(4):
        peer = await connect([(fr.INITIAL_WINDOW_SIZE, fr.MAX_WINDOW)])
        await peer.send(fr.window_update(0, 2**30))
        with trio.move_on_after(1):
            for stream_id in range(1, 101, 2):
                await peer.send(peer.call(stream_id, ECHO, bytes(3 * MEGABYTE)))
    assert served.memory() < before + 4 * 60 * MEGABYTE


async def test_readers_that_open_no_window(connect, served):
    before = served.memory()
    for _ in range(4):
        peer = await connect([(fr.INITIAL_WINDOW_SIZE, 0)])
        with trio.move_on_after(1):
            for stream_id in range(1, 101, 2):
                await peer.send(peer.call(stream_id, ECHO, bytes(100_000)))
    assert served.memory() < before + 4 * 60 * MEGABYTE


@EITHER
async def test_streams_whose_answers_nobody_reads(connect, served):
    before = served.memory()
    for _ in range(4):
        peer = await connect([(fr.INITIAL_WINDOW_SIZE, fr.MAX_WINDOW)])
        await peer.send(fr.window_update(0, 2**30), peer.headers(1, STREAM))
        with trio.move_on_after(1):
            while True:
                await peer.send(peer.message(1, bytes(MEGABYTE), end=False))
    assert served.memory() < before + 4 * 60 * MEGABYTE


async def test_200_silent_peers(connect, served, until):
    before = served.descriptors()
    for _ in range(200):
        await connect(greet=False)
    assert await until(lambda: served.descriptors() >= before + 200)
    assert await until(lambda: served.descriptors() <= before)


async def test_500_who_come_and_go(connect, served):
    for number in range(500):
        peer = await connect(greet=False)
        if number % 3:
            await peer.send(fr.PREFACE, fr.settings([]))
        if number % 3 == 2:
            await peer.send(peer.call(1, ECHO))
        await peer.aclose()


@EITHER
async def test_one_byte_at_a_time(connect, served):
    peer = await connect(greet=False)
    for byte in fr.PREFACE + fr.settings([]) + fr.SETTINGS_ACK + peer.call(1, ECHO, b"slowly"):
        await peer.send(bytes((byte,)))
    assert (await peer.end_of(1))[:2] == ([b"slowly"], 0)
