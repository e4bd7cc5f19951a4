"""How much of a connection is read before others get their turn."""

import pytest

from hushar.rpc import Server, driver
from hushar.rpc import frames as fr
from hushar.rpc.links import RECEIVE_BYTES, Link

ECHO = "/test.Service/Echo"


@pytest.fixture
def portions(monkeypatch):
    """The most bytes that the server has asked for, each time."""
    sizes = []
    receive = Link.receive

    def receiving(link):
        sizes.append(link.portion)
        return receive(link)

    monkeypatch.setattr(Link, "receive", receiving)
    return sizes


@pytest.fixture
def each_takes(monkeypatch):
    """each_takes(seconds): as long as every portion takes from then on, by the clock that is looked at."""
    clock = [0.0, 0.0]

    def look():
        clock[0] += clock[1]
        return clock[0]

    def taking(seconds):
        clock[1] = seconds

    monkeypatch.setattr(driver, "perf_counter", look)
    return taking


@pytest.fixture
async def greet(start):
    """Connects peers to a server; its batches are in `greet.batches`."""
    server = Server(0)
    batches = []

    def echo(calls):
        batches.append([call.message for call in calls])
        for call in calls:
            call.reply(call.message)

    server.add_raw_unary(ECHO, echo)
    connect = await start(server)

    async def greeting():
        peer = await connect([(fr.INITIAL_WINDOW_SIZE, fr.MAX_WINDOW)])
        await peer.send(fr.window_update(0, 2**30))
        return peer

    greeting.batches = batches
    return greeting


def begun(peer, stream_id, size):
    """A call whose message is in frames of 8 KiB."""
    body = b"\0" + size.to_bytes(4, "big") + bytes(size)
    frames = [
        fr.frame(fr.DATA, fr.END_STREAM if at + 8192 >= len(body) else 0, stream_id, body[at : at + 8192])
        for at in range(0, len(body), 8192)
    ]
    return b"".join([peer.headers(stream_id, ECHO), *frames])


def send_at_once(peer, data):
    """Before the server gets its turn."""
    assert peer.stream.socket._sock.send(data) == len(data)


async def answer(peer, stream_id):
    _, status, _ = await peer.end_of(stream_id)
    return status


class TestPortions:
    async def test_they_are_large_where_bytes_are_cheap(self, greet, portions, each_takes):
        each_takes(0.0001)
        peer = await greet()
        await peer.send(begun(peer, 1, 200_000))
        assert await answer(peer, 1) == 0
        assert set(portions) == {RECEIVE_BYTES}

    async def test_they_shrink_where_bytes_are_dear_and_grow_again(self, greet, portions, each_takes):
        peer = await greet()
        each_takes(0.05)
        await peer.send(begun(peer, 1, 200_000))
        assert await answer(peer, 1) == 0
        # 5 ms' worth, but never less than 4096 bytes.
        assert portions == sorted(portions, reverse=True)
        assert portions.count(4096) > 20
        each_takes(0.0001)
        portions.clear()
        await peer.send(begun(peer, 3, 200_000))
        assert await answer(peer, 3) == 0
        assert list(dict.fromkeys(portions)) == [4096, 8192, 16384, 32768, 65536]

    async def test_they_stay_where_they_take_as_long_as_they_may(self, greet, portions, each_takes):
        peer = await greet()
        each_takes(0.05)
        await peer.send(begun(peer, 1, 100_000))
        assert await answer(peer, 1) == 0
        each_takes(0.004)
        portions.clear()
        await peer.send(begun(peer, 3, 100_000))
        assert await answer(peer, 3) == 0
        assert set(portions) == {4096}

    async def test_others_get_their_turn_after_one_that_is_dear(self, greet, each_takes):
        dear, other = await greet(), await greet()
        each_takes(0.05)
        # Both are sent before the server gets its turn; of the first there is enough for many portions.
        send_at_once(
            dear,
            b"".join(dear.call(stream_id, ECHO, b"dear" + bytes(1000)) for stream_id in range(1, 161, 2)),
        )
        send_at_once(other, other.call(1, ECHO, b"other"))
        assert await answer(other, 1) == 0
        assert await answer(dear, 159) == 0
        first = next(batch for batch in greet.batches if b"other" in batch)
        assert len(first) <= 1 + RECEIVE_BYTES // 1000
        assert greet.batches.index(first) == 0
