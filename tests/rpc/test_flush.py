"""`Server.flush`: a raw method sends its answers before it goes on.

`wire` knows what the server's sockets have taken, so that a method can see what has left while it runs.
"""

import select
import socket
import struct
import types

import pytest
import trio

from hushar.rpc import Server
from hushar.rpc import frames as fr
from hushar.rpc.links import Link, LinkLost

pytestmark = pytest.mark.usefixtures("way")

FIRST, SECOND = "/test.Service/First", "/test.Service/Second"
BIG, OTHER = "/test.Service/Big", "/test.Service/Other"
OK, INTERNAL = 0, 13
ANSWERS = [b"1" * 600, b"5" * 600, b"9" * 600, b"to x", b"to y"]
"""Of calls that were parked, or were before those, and of the method that flushes."""
NOTHING_OPEN = [(fr.INITIAL_WINDOW_SIZE, 0)]


class Wire:
    """What sockets have taken of the server, in how many sends."""

    def __init__(self):
        self.data = bytearray()
        self.sends = 0
        self.faults = {}
        """What happens, once, instead of a send with these bytes in it: an exception, or 0 bytes taken."""

    def __contains__(self, answer):
        return answer in self.data

    def send(self, send, link, data):
        for answer in list(self.faults):
            if answer in bytes(data):
                fault = self.faults.pop(answer)
                if fault:
                    raise fault
                return 0
        taken = send(link, data)
        self.data += data[:taken]
        self.sends += 1
        return taken


@pytest.fixture
def wire(monkeypatch):
    watched, send = Wire(), Link._send
    monkeypatch.setattr(Link, "_send", lambda link, data: watched.send(send, link, data))
    return watched


@pytest.fixture
def server():
    return Server(0, connection_send_buffer_bytes=1000)


@pytest.fixture
def seen():
    """What methods note.

    `left`: the answers that had left after each flush; `outcomes`, of each call after it: whether it was over
    and was answered; `begun`, of each call of BIG: its message, how deep in others, the sends of its flush.
    """
    return types.SimpleNamespace(left=[], outcomes=[], begun=[])


def echo(calls):
    """Answers; returns what was asked, which a call that is over has no more."""
    asked = [call.message for call in calls]
    for call, message in zip(calls, asked, strict=True):
        call.reply(b"to " + message)
    return asked


async def send_together(*pieces):
    """Send (peer, bytes) before the server gets its turn: it reads all of them in one pass, in this order."""
    await trio.testing.wait_all_tasks_blocked()
    for peer, data in pieces:
        assert peer.stream.socket._sock.send(data) == len(data)


async def answers(peer, *ids):
    """The messages of answers, all of them OK."""
    messages = []
    for number in ids:
        got, status, _ = await peer.end_of(number)
        assert status == OK
        messages += got
    return messages


class TestInAPass:
    async def test_an_answer_is_sent_before_the_method_returns(self, start, server, wire):
        seen = []

        def receive(calls):
            echo(calls)
            seen.append(b"to prompt" in wire)
            server.flush()
            seen.append(b"to prompt" in wire)

        server.add_raw_unary(FIRST, receive)
        peer = await (await start(server))()
        await peer.send(peer.call(1, FIRST, b"prompt"))
        assert await answers(peer, 1) == [b"to prompt"]
        assert seen == [False, True]

    async def test_its_client_can_read_it_then(self, start, server):
        came = []

        def receive(calls):
            echo(calls)
            if came:
                server.flush()
                sock = peer.stream.socket._sock
                select.select([sock], [], [], 10)
                came.append(sock.recv(65536, socket.MSG_PEEK))
            came.append(b"")

        server.add_raw_unary(FIRST, receive)
        peer = await (await start(server))()
        # Whatever else there is to say has come with the first answer.
        await peer.send(peer.call(1, FIRST))
        await answers(peer, 1)
        await peer.send(peer.call(3, FIRST, b"prompt"))
        await answers(peer, 3)
        assert b"to prompt" in came[1]

    async def test_where_nothing_is_answered_nothing_is_sent(self, start, server, wire):
        sends = []

        def receive(calls):
            sends.append(wire.sends)
            server.flush()
            sends.append(wire.sends)
            echo(calls)

        server.add_raw_unary(FIRST, receive)
        peer = await (await start(server))()
        for number in (1, 3):
            await peer.send(peer.call(number, FIRST))
            await answers(peer, number)
        # What there is to say beside answers has come with the first.
        assert sends[2] == sends[3]

    async def test_a_method_may_flush_as_often_as_it_answers(self, start, server, wire):
        seen = []

        def receive(calls):
            for number, call in enumerate(calls):
                call.reply(b"to %d" % number)
                if number < 2:
                    server.flush()
                seen.append([b"to %d" % each in wire for each in range(3)])

        server.add_raw_unary(FIRST, receive)
        peer = await (await start(server))()
        await send_together((peer, b"".join(peer.call(number, FIRST) for number in (1, 3, 5))))
        assert await answers(peer, 1, 3, 5) == [b"to 0", b"to 1", b"to 2"]
        assert seen == [[True, False, False], [True, True, False], [True, True, False]]

    @pytest.mark.parametrize("again", [False, True], ids=["at the end", "at a flush"])
    @pytest.mark.parametrize("count", [1, 2], ids=["one connection", "two"])
    async def test_answers_of_another_method_in_the_same_pass_are_sent_too(
        self, start, server, wire, again, count
    ):
        seen = []

        def first(calls):
            echo(calls)
            server.flush()
            seen.append((b"to one" in wire, b"to two" in wire))

        def second(calls):
            echo(calls)
            seen.append((b"to one" in wire, b"to two" in wire))
            if again:
                server.flush()
            seen.append((b"to one" in wire, b"to two" in wire))

        server.add_raw_unary(FIRST, first)
        server.add_raw_unary(SECOND, second)
        greet = await start(server)
        one = await greet()
        two = one if count == 1 else await greet()
        await send_together((one, one.call(1, FIRST, b"one")), (two, two.call(3, SECOND, b"two")))
        assert await answers(one, 1) + await answers(two, 3) == [b"to one", b"to two"]
        assert seen == [(True, False), (True, False), (True, again)]

    async def test_all_connections_have_their_answers_at_once(self, start, server, wire):
        seen = []

        def receive(calls):
            asked = echo(calls)
            server.flush()
            seen.append([message for message in asked if b"to " + message in wire])

        server.add_raw_unary(FIRST, receive)
        greet = await start(server)
        connected = [await greet() for _ in range(4)]
        await send_together(
            *((peer, peer.call(1, FIRST, b"%d" % number)) for number, peer in enumerate(connected))
        )
        for number, peer in enumerate(connected):
            assert await answers(peer, 1) == [b"to %d" % number]
        assert seen == [[b"0", b"1", b"2", b"3"]]


class TestOutsideOfAPass:
    async def test_it_does_nothing_before_the_server_serves_and_after(self, nursery, connect, server):
        server.add_raw_unary(FIRST, echo)
        server.flush()
        ended = trio.Event()

        async def serve(*, task_status):
            await server.serve_async(task_status=task_status)
            ended.set()

        peer = await connect(await nursery.start(serve))
        await peer.greet()
        await peer.send(peer.call(1, FIRST, b"x"))
        assert await answers(peer, 1) == [b"to x"]
        await peer.aclose()
        server.drain()
        await ended.wait()
        server.flush()

    async def test_from_a_task_it_does_nothing_and_the_answer_is_sent_soon(self, start, server, wire):
        held = []
        server.add_raw_unary(FIRST, held.extend)
        peer = await (await start(server))()
        await peer.send(peer.call(1, FIRST, b"late"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        sends = wire.sends
        echo(held)
        server.flush()
        assert wire.sends == sends
        assert await answers(peer, 1) == [b"to late"]


class TestLostConnections:
    @pytest.fixture
    async def three(self, start, server, wire, seen):
        """Three peers of a server whose first method flushes."""

        def first(calls):
            asked = echo(calls)
            if b"closed" in asked:
                reset(connected[1])
                select.select([state.link.sock for state in server._driver.connections.values()], [], [], 10)
            server.flush()
            seen.left.append([message for message in asked if b"to " + message in wire])

        def second(calls):
            for call in calls:
                seen.outcomes.append((call.over, call.reply(b"to " + call.message)))

        server.add_raw_unary(FIRST, first)
        server.add_raw_unary(SECOND, second)
        greet = await start(server)
        connected = [await greet() for _ in range(3)]
        return connected

    @pytest.mark.parametrize("kind", ["closed", "lost", "broken"])
    async def test_one_disturbs_neither_the_others_nor_the_rest_of_the_pass(
        self, server, three, wire, seen, caplog, kind
    ):
        """Its peer has closed it, its socket fails, or our own code does."""
        if kind != "closed":
            wire.faults[b"to " + kind.encode()] = LinkLost("gone") if kind == "lost" else ValueError("ours")
        await ask(three, b"a", kind.encode(), b"c")
        for peer, name in [(three[0], b"a"), (three[2], b"c")]:
            assert await answers(peer, 1, 3) == [b"to " + name, b"to " + name * 2]
        assert seen.left == [[b"a", b"c"]]
        # Of the lost connection's calls, the one that was not answered yet is over.
        assert seen.outcomes == [(False, True), (True, False), (False, True)]
        assert len(server._driver.connections) == 2
        assert server.in_flight == 0
        assert ("is dropped" in caplog.text) == ("ValueError: ours" in caplog.text) == (kind == "broken")
        await three[0].send(three[0].call(5, FIRST, b"later"))
        assert await answers(three[0], 5) == [b"to later"]
        assert seen.left[1:] == [[b"later"]]

    async def test_what_a_socket_does_not_take_is_sent_when_it_does(self, three, wire, seen):
        wire.faults[b"to full"] = 0
        await ask(three, b"a", b"full", b"c")
        for peer, name in zip(three, [b"a", b"full", b"c"], strict=True):
            assert await answers(peer, 1, 3) == [b"to " + name, b"to " + name * 2]
        assert seen.left == [[b"a", b"c"]]
        assert seen.outcomes == [(False, True)] * 3


async def ask(three, *names):
    """A call of each method from each peer, in one pass."""
    await send_together(
        *(
            (peer, peer.call(1, FIRST, name) + peer.call(3, SECOND, name * 2))
            for peer, name in zip(three, names, strict=True)
        )
    )


def reset(peer):
    """Close a peer's socket, without waiting for anything."""
    peer.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.stream.socket.close()


@pytest.mark.parametrize("fault", [ValueError("hunter2"), SystemExit(3)], ids=["exception", "exit"])
async def test_an_exception_after_it_fails_what_is_not_answered_and_nothing_else(
    start, server, wire, caplog, fault
):
    seen = []

    def receive(calls):
        asked = echo(calls[:1])
        server.flush()
        seen.append(b"to " + asked[0] in wire)
        if len(calls) > 1:
            raise fault

    server.add_raw_unary(FIRST, receive)
    server.add_raw_unary(SECOND, echo)
    peer = await (await start(server))()
    await peer.send(peer.call(1, FIRST, b"a"), peer.call(3, FIRST, b"b"), peer.call(5, SECOND, b"c"))
    assert await answers(peer, 1) == [b"to a"]
    assert (await peer.end_of(3))[1] == INTERNAL
    assert await answers(peer, 5) == [b"to c"]
    assert f"the handler of {FIRST} failed" in caplog.text
    await peer.send(peer.call(7, FIRST, b"d"))
    assert await answers(peer, 7) == [b"to d"]
    assert seen == [True, True]


async def test_from_a_hook_it_does_nothing(start, server, wire):
    """Its method may be in the midst of answering others."""
    left = []

    def after(request, code, seconds):
        server.flush()
        left.append(b"one" in wire or b"two" in wire)

    def method(calls):
        for call in calls:
            call.reply(call.message)
        left.append(b"one" in wire)
        server.flush()
        left.append(b"one" in wire and b"two" in wire)

    server.add_hook(after=after)
    server.add_raw_unary(FIRST, method)
    peer = await (await start(server))()
    await send_together((peer, peer.call(1, FIRST, b"one") + peer.call(3, FIRST, b"two")))
    assert await answers(peer, 1, 3) == [b"one", b"two"]
    assert left == [False, False, False, True]


class TestParkedCalls:
    """They begin as soon as there is room for their answers, which a flush may make."""

    @pytest.fixture
    async def slow_and_other(self, start, server, wire, seen):
        """A peer with two answers that wait for its windows, and three calls that wait for those; and another
        of the same server."""
        depth = 0

        def big(calls):
            nonlocal depth
            depth += 1
            message = calls[0].message
            if message != b"bad":
                calls[0].reply(message * 600)
            sends = wire.sends
            server.flush()
            seen.begun.append((message, depth, wire.sends - sends))
            depth -= 1
            if message == b"bad":
                raise ValueError("hunter2")

        def other(calls):
            for call in calls:
                echo([call])
                server.flush()
                seen.left.append([answer for answer in ANSWERS if answer in wire])

        server.add_raw_unary(BIG, big)
        server.add_raw_unary(OTHER, other)
        greet = await start(server)
        slow = await greet(NOTHING_OPEN)
        for number, message in [(1, b"1"), (3, b"3"), (5, b"5"), (7, b"bad"), (9, b"9")]:
            await send_together((slow, slow.call(number, BIG, message)))
        await trio.testing.wait_all_tasks_blocked()
        # Their headers were sent.
        assert seen.begun == [(b"1", 1, 1), (b"3", 1, 1)]
        return slow, await greet()

    @pytest.mark.parametrize("flushed", [True, False], ids=["at a flush", "at the end of the pass"])
    async def test_they_are_answered_by_the_same_flush_and_cannot_flush_themselves(
        self, slow_and_other, seen, caplog, flushed
    ):
        slow, other = slow_and_other
        pieces = [(slow, b"".join(fr.window_update(number, 605) for number in (1, 3, 5, 7, 9)))]
        if flushed:
            pieces.append((other, other.call(1, OTHER, b"x") + other.call(3, OTHER, b"y")))
        await send_together(*pieces)
        assert await answers(slow, 1, 3, 5) == [b"1" * 600, b"3" * 600, b"5" * 600]
        assert (await slow.end_of(7))[1] == INTERNAL
        assert await answers(slow, 9) == [b"9" * 600]
        # One begins after the other, each once the answer before it has gone.
        assert seen.begun[2:] == [(b"5", 1, 0), (b"bad", 1, 0), (b"9", 1, 0)]
        assert caplog.text.count(f"the handler of {BIG} failed") == 1
        if flushed:
            assert await answers(other, 1, 3) == [b"to x", b"to y"]
            assert seen.left == [ANSWERS[:-1], ANSWERS]
