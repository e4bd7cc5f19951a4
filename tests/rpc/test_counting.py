"""What the server counts of its calls: by method and status, at the cost of a step for many answers."""

import grpc
import purerpc
import pytest
import trio

from hushar.rpc import Server, reply_all

OK, INTERNAL, UNIMPLEMENTED = (
    purerpc.StatusCode.OK,
    purerpc.StatusCode.INTERNAL,
    purerpc.StatusCode.UNIMPLEMENTED,
)
EXHAUSTED, INVALID = purerpc.StatusCode.RESOURCE_EXHAUSTED, purerpc.StatusCode.INVALID_ARGUMENT

pytestmark = pytest.mark.usefixtures("way")


def calls_of(port, messages):
    """Make all calls `(path, message)` of one connection at once; the name of each one's status."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        futures = [channel.unary_unary(path).future(message, timeout=10) for path, message in messages]
        return [future.code().name for future in futures]


async def until(condition):
    with trio.fail_after(10):
        while True:
            if condition():
                return
            await trio.sleep(0.01)


@pytest.fixture
def served(nursery):
    """served(server): a function that makes calls, in a thread."""

    async def start(server):
        port = await nursery.start(server.serve_async)

        async def make(*messages):
            return await trio.to_thread.run_sync(calls_of, port, messages)

        return make

    return start


@pytest.fixture
def server(make_service):
    """`/raw/Echo`, `/raw/Each`, `/raw/Bad`, and the ordinary `/test.Service/Ok` and `/test.Service/Fails`."""

    async def ok(message):
        return message

    async def fails(message):
        raise RuntimeError("hunter2")

    made = Server(0)
    made.add_raw_unary("/raw/Echo", lambda calls: reply_all(calls, [call.message for call in calls]))
    made.add_raw_unary("/raw/Each", lambda calls: [call.reply(call.message) for call in calls])
    made.add_raw_unary("/raw/Bad", lambda calls: [call.fail(INVALID, "no") for call in calls])
    made.add_service(make_service(unary={"Ok": ok, "Fails": fails}))
    return made


def ended(server):
    """By path, what became of the calls."""
    return {path: counts.ended for path, counts in server.calls().items() if counts.ended}


async def test_each_call_counts_once_under_its_method_and_status(served, server):
    make = await served(server)
    await make(*[("/raw/Echo", b"a")] * 30, *[("/raw/Each", b"a")] * 7, *[("/raw/Bad", b"a")] * 3)
    await make(*[("/test.Service/Ok", b"a")] * 4, ("/test.Service/Fails", b"a"), ("/raw/None", b"a"))
    await make(*[("/raw/Echo", b"a"), ("/raw/Each", b"a")] * 5)
    assert ended(server) == {
        "/raw/Echo": {OK: 35},
        "/raw/Each": {OK: 12},
        "/raw/Bad": {INVALID: 3},
        "/test.Service/Ok": {OK: 4},
        "/test.Service/Fails": {INTERNAL: 1},
        "": {UNIMPLEMENTED: 1},
    }


async def test_a_method_that_was_never_called_is_there(served, server):
    await served(server)
    counts = server.calls()
    assert set(counts) == {"/raw/Echo", "/raw/Each", "/raw/Bad", "/test.Service/Ok", "/test.Service/Fails"}
    assert all(not each.ended and not each.in_flight for each in counts.values())


async def test_what_is_under_way_is_in_flight_and_not_ended(served, nursery):
    waiting = []
    server = Server(0)
    server.add_raw_unary("/raw/Later", waiting.extend)
    make = await served(server)
    nursery.start_soon(lambda: make(*[("/raw/Later", b"a")] * 3))
    await until(lambda: len(waiting) == 3)
    assert server.calls()["/raw/Later"].in_flight == 3
    assert server.calls()["/raw/Later"].ended == {}
    reply_all(waiting, [b""] * 3)
    assert server.calls()["/raw/Later"].in_flight == 0
    assert server.calls()["/raw/Later"].ended == {OK: 3}


async def test_calls_that_find_no_room_are_counted_as_refused_and_under_their_status(served, nursery):
    waiting = []
    server = Server(0, max_in_flight=2)
    server.add_raw_unary("/raw/Later", waiting.extend)
    make = await served(server)
    statuses = []

    async def call():
        statuses.extend(await make(*[("/raw/Later", b"a")] * 5))

    nursery.start_soon(call)
    await until(lambda: server.refused()["in_flight"] == 3)
    reply_all(waiting, [b""] * len(waiting))
    await until(lambda: statuses)
    assert sorted(statuses) == ["OK"] * 2 + ["RESOURCE_EXHAUSTED"] * 3
    assert server.refused() == {"in_flight": 3, "in_flight_bytes": 0}
    assert server.calls()["/raw/Later"].ended == {OK: 2, EXHAUSTED: 3}


async def test_whoever_asks_is_told_of_each_failure(served, server):
    told = []
    server.on_failure = lambda path, code, seconds, calls: told.append((path, code, seconds >= 0, calls))
    make = await served(server)
    await make(("/raw/Echo", b"a"), ("/raw/Bad", b"a"), ("/raw/None", b"a"))
    assert sorted(told, key=str) == [("", UNIMPLEMENTED, True, 1), ("/raw/Bad", INVALID, True, 1)]


def test_before_it_serves_there_is_nothing_to_count(server):
    assert server.calls() == {}
    assert server.refused() == {"in_flight": 0, "in_flight_bytes": 0}
