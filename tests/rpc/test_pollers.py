"""Pollers: both kinds, over real sockets."""

import itertools
import select
import socket
import time

import pytest
import trio

from hushar.rpc import pollers
from hushar.rpc.pollers import READ, WRITE, EpollPoller, TaskPoller


@pytest.fixture(params=["epoll", "tasks"])
async def poller(request, nursery):
    """A poller that runs, with what it has reported in `seen`."""
    if request.param == "epoll" and not hasattr(select, "epoll"):
        pytest.skip("no epoll on this system")
    made = EpollPoller() if request.param == "epoll" else TaskPoller()
    made.seen = []
    made.on_ready = lambda ready: None

    def on_ready(ready):
        ready = list(ready)
        made.seen += ready
        made.on_ready(ready)

    await nursery.start(made.run, on_ready)
    yield made
    made.close()


@pytest.fixture
def pair():
    """Two connected sockets that do not block."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


async def settle():
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    with trio.move_on_after(0.02):
        await trio.sleep_forever()


async def test_what_can_be_read_is_reported(poller, pair):
    ours, theirs = pair
    poller.on_ready = lambda ready: ours.recv(100)
    poller.watch(ours.fileno(), READ)
    theirs.send(b"x")
    await settle()
    assert poller.seen == [(ours.fileno(), READ)]
    poller.forget(ours.fileno())


async def test_what_is_not_watched_is_not_reported(poller, pair):
    ours, theirs = pair
    poller.watch(ours.fileno(), READ)
    poller.watch(ours.fileno(), 0)
    theirs.send(b"x")
    await settle()
    assert poller.seen == []
    poller.forget(ours.fileno())


async def test_what_can_be_written_is_reported(poller, pair):
    ours, _ = pair
    poller.on_ready = lambda ready: poller.watch(ours.fileno(), READ)
    poller.watch(ours.fileno(), READ | WRITE)
    await settle()
    assert poller.seen == [(ours.fileno(), WRITE)]
    poller.forget(ours.fileno())


async def test_a_peer_that_has_left_is_reported_for_reading(poller, pair):
    ours, theirs = pair
    poller.on_ready = lambda ready: poller.forget(ours.fileno())
    poller.watch(ours.fileno(), READ)
    theirs.close()
    await settle()
    assert [what for _, what in poller.seen] == [READ]


async def test_a_descriptor_may_be_closed_and_used_again_at_once(poller, pair):
    ours, theirs = pair
    descriptor = ours.fileno()
    poller.watch(descriptor, READ)
    await settle()
    poller.forget(descriptor)
    ours.close()
    again, other = socket.socketpair()
    with again, other:
        again.setblocking(False)
        poller.on_ready = lambda ready: again.recv(100)
        poller.watch(again.fileno(), READ)
        theirs.close()
        other.send(b"x")
        await settle()
        assert poller.seen == [(again.fileno(), READ)]
        poller.forget(again.fileno())


async def test_forgetting_and_closing_while_it_is_reported_does_no_harm(poller, pair):
    ours, theirs = pair

    def leave(ready):
        poller.forget(ours.fileno())
        ours.close()

    poller.on_ready = leave
    poller.watch(ours.fileno(), READ)
    theirs.send(b"x")
    await settle()
    assert len(poller.seen) == 1


async def test_forgetting_what_is_not_watched_does_no_harm(poller, pair):
    poller.forget(pair[0].fileno())


async def test_a_rest_is_kept_and_over(poller, pair, autojump_clock):
    ours, theirs = pair
    seen_at = []

    def on_ready(ready):
        ours.recv(100)
        seen_at.append(trio.current_time())
        poller.rest(5.0)

    poller.on_ready = on_ready
    poller.watch(ours.fileno(), READ)
    theirs.send(b"x")
    await trio.sleep(1)
    theirs.send(b"y")
    await trio.sleep(3)
    assert len(seen_at) == 1
    await trio.sleep(10)
    first, second = seen_at
    assert second - first == pytest.approx(5.0, abs=0.01)
    poller.forget(ours.fileno())


async def test_a_rest_is_kept_by_the_systems_own_clock(poller, pair):
    ours, theirs = pair
    send, seen = trio.open_memory_channel(10)

    def on_ready(ready):
        ours.recv(100)
        send.send_nowait(time.monotonic())
        poller.rest(0.02)

    poller.on_ready = on_ready
    poller.watch(ours.fileno(), READ)
    seen_at = []
    with trio.fail_after(5):
        for _ in range(3):
            theirs.send(b"x")
            seen_at.append(await seen.receive())
    assert all(later - earlier >= 0.02 for earlier, later in itertools.pairwise(seen_at))
    poller.forget(ours.fileno())


class Timer:
    """Sleeps by trio, and notes it."""

    def __init__(self):
        self.slept, self.closed = [], 0

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await trio.sleep(seconds)

    def close(self):
        self.closed += 1


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll on this system")
async def test_rests_are_slept_by_one_timer_that_is_closed_with_the_poller(monkeypatch, nursery, pair):
    made = []
    monkeypatch.setattr(pollers, "make_timer", lambda: made.append(Timer()) or made[-1])
    ours, theirs = pair
    send, seen = trio.open_memory_channel(10)
    poller = EpollPoller()

    def on_ready(ready):
        ours.recv(100)
        poller.rest(0.001)
        send.send_nowait(None)

    await nursery.start(poller.run, on_ready)
    poller.watch(ours.fileno(), READ)
    with trio.fail_after(5):
        for _ in range(3):
            theirs.send(b"x")
            await seen.receive()
    await settle()
    (timer,) = made
    assert timer.slept == [0.001] * 3
    poller.forget(ours.fileno())
    nursery.cancel_scope.cancel()
    assert not timer.closed
    poller.close()
    poller.close()
    assert timer.closed == 1


async def test_several_that_are_ready_are_reported_until_none_is(poller, pair):
    ours, theirs = pair
    seen = []

    def on_ready(ready):
        for descriptor, _ in ready:
            end = ours if descriptor == ours.fileno() else theirs
            seen.append((descriptor, end.recv(1)))

    poller.on_ready = on_ready
    poller.watch(ours.fileno(), READ)
    poller.watch(theirs.fileno(), READ)
    theirs.send(b"ab")
    ours.send(b"cde")
    await settle()
    assert [what for descriptor, what in seen if descriptor == ours.fileno()] == [b"a", b"b"]
    assert [what for descriptor, what in seen if descriptor == theirs.fileno()] == [b"c", b"d", b"e"]
    poller.forget(ours.fileno())
    poller.forget(theirs.fileno())


class Polls:
    """An epoll object whose polls are counted; `answers` is when one finds something."""

    def __init__(self, *found_at):
        self.count = 0
        self.found_at = found_at

    def poll(self, timeout):
        assert timeout == 0
        self.count += 1
        return [(7, select.EPOLLIN)] if self.count in self.found_at else []


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll on this system")
class TestLingering:
    @pytest.fixture
    def lingering(self):
        made = EpollPoller()
        made._epoll.close()
        return made

    def test_what_comes_soon_is_found(self, lingering):
        lingering._epoll = Polls(3, 5)
        assert lingering._linger() == [(7, select.EPOLLIN)]
        assert lingering._linger() == [(7, select.EPOLLIN)]
        assert lingering._epoll.count == 5

    def test_where_nothing_comes_it_is_tried_ever_more_rarely(self, lingering):
        lingering._epoll = Polls()
        tries = []
        for number in range(1000):
            before = lingering._epoll.count
            assert lingering._linger() == []
            if lingering._epoll.count > before:
                tries.append(number)
        assert tries[:5] == [0, 3, 8, 17, 34]
        assert all(later - earlier <= 65 for earlier, later in itertools.pairwise(tries))

    def test_once_something_has_come_it_is_tried_at_once_again(self, lingering):
        lingering._epoll = Polls()
        while not lingering._pause:
            lingering._linger()
        while lingering._pause:
            lingering._linger()
        lingering._epoll = Polls(1, 2)
        assert lingering._linger()
        assert lingering._linger()
