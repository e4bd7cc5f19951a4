"""Complete calls that wait to be begun while the answers to others wait for their client's windows."""

import types

import pytest
import trio

from hushar.rpc import Server
from hushar.rpc import frames as fr
from hushar.rpc.parking import leave

OK, DEADLINE, EXHAUSTED = 0, 4, 8
BIG = "/test.Service/Big"
NOTHING_OPEN = [(fr.INITIAL_WINDOW_SIZE, 0)]


@pytest.fixture
def begun():
    """The messages of the calls that have been begun."""
    return []


@pytest.fixture(params=["raw", "unary"])
def server(request, begun, make_service, raw_message):
    """Answers 600 bytes; 1000 may wait."""
    made = Server(0, connection_send_buffer_bytes=1000)

    def big(calls):
        for call in calls:
            begun.append(call.message)
            call.reply(bytes(600))

    async def big_task(message):
        begun.append(message.data)
        return raw_message(bytes(600))

    if request.param == "raw":
        made.add_raw_unary(BIG, big)
    else:
        made.add_service(make_service(unary={"Big": big_task}))
    return made


@pytest.fixture
async def peer(start, server):
    return await (await start(server))(NOTHING_OPEN)


async def ask(peer, *ids):
    """Send calls, each in a piece of its own, and wait until the server has taken them."""
    for number in ids:
        await peer.send(peer.call(number, BIG, b"%d" % number))
        await trio.testing.wait_all_tasks_blocked(0.01)


class TestParked:
    async def test_above_the_buffer_no_more_are_begun_until_the_client_takes_some(self, peer, begun):
        await ask(peer, 1, 3, 5, 7, 9)
        assert begun == [b"1", b"3"]
        await peer.send(fr.window_update(1, 605))
        assert (await peer.end_of(1))[:2] == ([bytes(600)], OK)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert begun == [b"1", b"3", b"5"]
        await peer.send(*(fr.window_update(number, 605) for number in (3, 5, 7, 9)))
        # Each is begun as the one before it has gone.
        for number in (3, 5, 7, 9):
            assert (await peer.end_of(number))[:2] == ([bytes(600)], OK)
        assert begun == [b"1", b"3", b"5", b"7", b"9"]

    async def test_one_that_is_cancelled_meanwhile_is_never_begun(self, peer, begun):
        await ask(peer, 1, 3, 5, 7)
        await peer.send(fr.rst_stream(5, fr.CANCEL), fr.rst_stream(1, fr.CANCEL), fr.rst_stream(3, fr.CANCEL))
        await peer.send(fr.window_update(7, 605))
        assert (await peer.end_of(7))[1] == OK
        assert begun == [b"1", b"3", b"7"]

    async def test_its_deadline_counts(self, peer, begun, autojump_clock):
        await peer.send(peer.call(1, BIG), peer.call(3, BIG))
        await peer.until(fr.HEADERS, 3)
        await peer.send(peer.call(5, BIG, b"5", ("grpc-timeout", "2S")))
        assert (await peer.end_of(5))[1] == DEADLINE
        assert len(begun) == 2

    async def test_the_server_forgets_them_with_their_connection(self, server, peer, begun):
        await ask(peer, 1, 3, 5)
        await peer.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.in_flight == 0
        assert server.budget.bytes == 0
        assert len(begun) == 2

    async def test_a_long_call_beside_them_does_not_hold_them_up(
        self, start, make_service, raw_message, begun
    ):
        async def watch(message):
            yield message
            await trio.sleep_forever()

        async def big(message):
            begun.append(message.data)
            return raw_message(bytes(5000))

        server = Server(0, connection_send_buffer_bytes=1000)
        server.add_service(make_service(unary={"Big": big}, down={"Watch": watch}))
        peer = await (await start(server))(NOTHING_OPEN)
        await peer.send(peer.call(1, "/test.Service/Watch"))
        await ask(peer, 3, 5, 7)
        assert begun == [b"3"]
        await peer.send(*(fr.window_update(number, 5005) for number in (3, 5, 7)))
        for number in (3, 5, 7):
            assert (await peer.end_of(number))[1] == OK


async def test_answers_far_beyond_the_buffer_are_resource_exhausted(peer, begun):
    """Of calls that were begun together: what their answers will be, nobody knows before."""
    await peer.send(b"".join(peer.call(number, BIG) for number in range(1, 41, 2)))
    refused = await ends(peer, 13)
    assert set(refused.values()) == {EXHAUSTED}
    assert len(begun) == 20
    await peer.send(*(fr.window_update(number, 605) for number in range(1, 41, 2) if number not in refused))
    assert set((await ends(peer, 7)).values()) == {OK}


async def ends(peer, count):
    """The statuses of the next calls that end, by stream."""
    statuses = {}
    while len(statuses) < count:
        frame = await peer.frame()
        if frame.kind == fr.HEADERS:
            fields = dict(peer.decoder.decode(frame.payload))
            if frame.flags & fr.END_STREAM:
                statuses[frame.stream_id] = int(fields["grpc-status"])
    return statuses


@pytest.mark.usefixtures("way")
def test_an_answer_that_need_not_wait_is_sent_whatever_waits(wire):
    talk = wire.Talk(connection_send_buffer_bytes=1000)
    talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
    talk.say(*(wire.call(number) for number in (1, 3, 5, 7)), wire.window_update(5, 100))
    talk.say(wire.window_update(7, 100))
    first, second, third, fourth = talk.calls()
    first.reply(bytes(5000))
    fourth.request.set_trailing_metadata([("a", "b")])
    for call in (second, third, fourth):
        call.reply(bytes(10))
    assert [str(one) for one in talk.hear()] == [
        "headers 1 200", "headers 3 200/8 end", "headers 5 200", "data 5 15", "headers 5 0 end",
        "headers 7 200", "data 7 15", "headers 7 0 end",
    ]  # fmt: skip


async def test_streams_together_wait_for_the_connections_buffer(
    start, make_service, raw_message, autojump_clock
):
    """Each may have one message waiting, whatever the others have."""
    sent = []

    async def flood(message):
        for _ in range(100):
            sent.append(message.data)
            yield raw_message(bytes(600))

    server = Server(0, connection_send_buffer_bytes=1000)
    server.add_service(make_service(down={"Flood": flood}))
    peer = await (await start(server))(NOTHING_OPEN)
    await peer.send(*(peer.call(number, "/test.Service/Flood", b"%d" % number) for number in range(1, 21, 2)))
    await trio.sleep(1)
    assert {sent.count(b"%d" % number) for number in range(1, 21, 2)} <= {1, 2}
    assert len(sent) <= 12


@pytest.mark.parametrize(
    ("send_room", "longest", "unsent", "running", "left"),
    [
        (1000, 100, 0, 0, 5),
        (1000, 100, 700, 0, 3),
        (1000, 100, 0, 8, 2),
        (500, 600, 0, 3, 0),
        (500, 600, 0, 0, 1),
        (1000, 2000, 0, 3, 1),
    ],
)
def test_as_many_leave_as_there_is_room_for(send_room, longest, unsent, running, left):
    parked = [types.SimpleNamespace(over=False, number=number) for number in range(5)]
    engine = types.SimpleNamespace(
        send_buffer=1000,
        send_room=send_room,
        longest_waiting=longest,
        unsent=unsent,
        running_calls=running + len(parked),
    )
    state = types.SimpleNamespace(engine=engine, parked=[types.SimpleNamespace(over=True), *parked])
    assert [call.number for call in leave(state)] == list(range(left))
    assert [call.number for call in state.parked] == list(range(left, 5))
