"""Every flood of RPC.md: GOAWAY ENHANCE_YOUR_CALM, and the connection is closed."""

import gzip

import pytest
import trio

from hushar.rpc import frames as fr

ECHO = "/test.Service/Echo"
WAIT = "/test.Ordinary/Wait"
STREAM = "/test.Ordinary/Stream"
ATTACKERS = 8

EITHER = pytest.mark.parametrize("served", ["plain", "tls"], indirect=True)


def rapid_resets(peer):
    """CVE-2023-44487."""
    for stream_id in range(1, 6001, 2):
        yield peer.call(stream_id, WAIT) + fr.rst_stream(stream_id, fr.CANCEL)


def resets_of_raw_calls(peer):
    for stream_id in range(1, 6001, 2):
        yield peer.headers(stream_id, ECHO) + fr.rst_stream(stream_id, fr.CANCEL)


def resets_that_the_server_sends(peer):
    """CVE-2025-8671: an increment of 0 is a stream error."""
    for stream_id in range(1, 6001, 2):
        yield peer.call(stream_id, WAIT) + fr.window_update(stream_id, 0)


def resets_for_data_on_half_closed_streams(peer):
    for stream_id in range(1, 6001, 2):
        yield peer.call(stream_id, WAIT) + peer.message(stream_id, b"more")


def refused_streams(peer):
    """More streams than were offered, as fast as they are refused."""
    for stream_id in range(1, 6001, 2):
        yield peer.call(stream_id, WAIT)


def pings(peer):
    for number in range(5000):
        yield fr.ping(b"%08d" % number)


def settings(peer):
    for _ in range(5000):
        yield fr.settings([(fr.INITIAL_WINDOW_SIZE, 65535)])


def empty_data(peer):
    yield peer.headers(1, ECHO)
    for _ in range(5000):
        yield fr.frame(fr.DATA, 0, 1)


def data_of_one_byte(peer):
    yield peer.headers(1, ECHO) + fr.frame(fr.DATA, 0, 1, b"\0\0\x3f\xff\xff")
    for _ in range(100):
        yield fr.frame(fr.DATA, 0, 1, b"x") * 1000


def messages_of_no_bytes_a_byte_a_frame(peer):
    yield peer.headers(1, STREAM)
    for _ in range(100):
        yield fr.frame(fr.DATA, 0, 1, b"\0") * 1000


def bombs(peer):
    """4 KB that grow to 4 MiB, one behind the other."""
    bomb = gzip.compress(bytes(4 * 1024 * 1024 + 5000))
    for stream_id in range(1, 1001, 2):
        yield peer.headers(stream_id, ECHO, ("grpc-encoding", "gzip")) + peer.message(stream_id, bomb, flag=1)


def empty_continuations(peer):
    yield fr.frame(fr.HEADERS, 0, 1, peer.block(ECHO))
    for _ in range(5000):
        yield fr.frame(fr.CONTINUATION, 0, 1)


def filled_continuations(peer):
    yield fr.frame(fr.HEADERS, 0, 1, peer.block(ECHO))
    for _ in range(100):
        yield fr.frame(fr.CONTINUATION, 0, 1, bytes(16_000))


def priorities(peer):
    for number in range(5000):
        yield fr.frame(fr.PRIORITY, 0, 2 * number + 1, bytes(4) + b"\x10")


def window_updates(peer):
    for _ in range(5000):
        yield fr.window_update(0, 1)


def window_updates_of_a_stream(peer):
    yield peer.call(1, WAIT)
    for _ in range(5000):
        yield fr.window_update(1, 1)


FLOODS = [
    rapid_resets,
    resets_of_raw_calls,
    resets_that_the_server_sends,
    resets_for_data_on_half_closed_streams,
    refused_streams,
    pings,
    settings,
    empty_data,
    data_of_one_byte,
    messages_of_no_bytes_a_byte_a_frame,
    bombs,
    empty_continuations,
    filled_continuations,
    priorities,
    window_updates,
    window_updates_of_a_stream,
]


async def pour(peer, flood):
    """Send as much of a flood as the server takes."""
    try:
        await peer.send(*flood(peer))
    except trio.BrokenResourceError:
        return


@EITHER
@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_is_told_to_calm_down(connect, flood):
    told = []

    async def attack():
        peer = await connect()
        async with trio.open_nursery() as both:
            both.start_soon(pour, peer, flood)
            told.append(await peer.goaway())

    with trio.fail_after(20):
        async with trio.open_nursery() as attackers:
            for _ in range(ATTACKERS):
                attackers.start_soon(attack)
    assert [goaway[1] for goaway in told] == [fr.ENHANCE_YOUR_CALM] * ATTACKERS


@EITHER
@pytest.mark.parametrize("flood", [rapid_resets, pings, settings, window_updates])
async def test_nor_does_it_go_on_where_the_peer_reads_nothing(connect, served, until, flood):
    before = served.descriptors()
    for _ in range(ATTACKERS):
        await pour(await connect(), flood)
    assert await until(lambda: served.descriptors() <= before)


@EITHER
async def test_resets_as_fast_as_they_can_be_sent_for_two_seconds(connect):
    """An attacker comes back as soon as it is thrown out."""

    async def attack():
        while True:
            peer = await connect()
            await pour(peer, rapid_resets)
            await peer.aclose()

    with trio.move_on_after(2):
        async with trio.open_nursery() as attackers:
            for _ in range(2):
                attackers.start_soon(attack)
