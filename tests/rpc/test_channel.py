"""Channels against our own server, and against scripted ones that do what a test says."""

import contextlib
import itertools
import math
import socket
import struct

import hpack
import purerpc
import pytest
import trio
import trio.testing

from hushar.rpc.channel import Channel
from hushar.rpc.client_errors import ConnectionLostError
from hushar.rpc.server import Server
from hushar.rpc.status import BadMetadata

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
OK = [(":status", "200"), ("content-type", "application/grpc")]
PATH = "/test.Service/Echo"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def settings(**values):
    ids = {"streams": 3, "window": 4}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", ids[name], values[name]) for name in values))


def go_away(last, code=0, text=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text)


NOTHING_SAID = settings()


class Host:
    """A server's end of one connection."""

    def __init__(self, stream):
        self.stream = stream
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.data = b""
        self.preface = 24

    async def say(self, *frames):
        await self.stream.send_all(b"".join(frames))

    async def frame(self):
        """(kind, flags, stream, payload) of the next frame; None at the end."""
        while True:
            data = self.data[self.preface :]
            if len(data) >= 9:
                head, flags, stream = struct.unpack_from(">IBI", data)
                if len(data) >= 9 + (head >> 8):
                    self.data, self.preface = data[9 + (head >> 8) :], 0
                    return head & 0xFF, flags, stream, data[9 : 9 + (head >> 8)]
            try:
                more = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return None
            if not more:
                return None
            self.data += more

    async def until(self, *kinds):
        """The next frame of these kinds; headers decoded."""
        while (frame := await self.frame()) is not None:
            kind, flags, stream, payload = frame
            fields = dict(self.decoder.decode(payload)) if kind == HEADERS else None
            if kind in kinds:
                return kind, flags, stream, fields if kind == HEADERS else payload
        return None

    async def call(self):
        """The id and fields of the next call, whole."""
        _, _, stream, fields = await self.until(HEADERS)
        while not (await self.until(DATA))[1] & 1:
            pass
        return stream, fields

    def fields(self, stream, *fields, end=False):
        return frame(HEADERS, 4 | end, stream, self.encoder.encode(list(fields)))

    def answer(self, stream, message=b"answer"):
        return (
            self.fields(stream, *OK)
            + frame(DATA, 0, stream, struct.pack(">BI", 0, len(message)) + message)
            + self.fields(stream, ("grpc-status", "0"), end=True)
        )

    def refusal(self, stream, status, *more):
        return self.fields(stream, *OK, ("grpc-status", str(status)), *more, end=True)


@pytest.fixture
async def host(nursery):
    """host(script, …): a port; the n-th connection is the n-th script's, later ones the last's."""

    async def start(*scripts, greeting=NOTHING_SAID):
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        numbers = itertools.count()

        async def serve(stream):
            script = scripts[min(next(numbers), len(scripts) - 1)]
            with contextlib.suppress(trio.BrokenResourceError):
                async with stream:
                    await stream.send_all(greeting)
                    await script(Host(stream))

        async def run(*, task_status):
            async with listener, trio.open_nursery() as connections:
                task_status.started()
                await trio.serve_listeners(serve, [listener], handler_nursery=connections)

        await nursery.start(run)
        return listener.socket.getsockname()[1]

    return start


@pytest.fixture
def serve(nursery):
    """serve({name: receive}, **options): the port of one of our servers, with raw methods."""

    async def start(ssl_context=None, *, methods=None, **options):
        server = Server(0, ssl_context, **options)
        methods = methods or {"Echo": lambda calls: [call.reply(call.message) for call in calls]}
        for name, receive in methods.items():
            server.add_raw_unary(f"/test.Service/{name}", receive)
        start.server = server
        return await nursery.start(server.serve_async)

    return start


def channel(port, *arguments, **options):
    return Channel("127.0.0.1", port, *arguments, **options)


async def never(host):
    await host.until()


class TestUnary:
    async def test_an_answer(self, serve):
        async with channel(await serve()) as open_channel:
            assert await open_channel.unary(PATH, b"abc") == b"abc"
            assert await open_channel.unary(PATH, b"") == b""

    async def test_megabytes(self, serve):
        message = bytes(range(256)) * 20_000
        port = await serve(max_receive_bytes=8 << 20)
        async with channel(port) as open_channel:
            assert await open_channel.unary(PATH, message) == message

    async def test_many_tasks_share_a_channel(self, serve):
        answers = {}

        async def ask(number):
            answers[number] = await open_channel.unary(PATH, str(number).encode())

        async with channel(await serve()) as open_channel, trio.open_nursery() as calls:
            for number in range(500):
                calls.start_soon(ask, number)
        assert answers == {number: str(number).encode() for number in range(500)}

    async def test_metadata_arrive(self, serve):
        seen = []

        def look(calls):
            for call in calls:
                seen.append(call.request.custom_metadata)
                call.reply(b"")

        async with channel(await serve(methods={"Echo": look})) as open_channel:
            for _ in range(2):
                await open_channel.unary(PATH, b"", [("A", "x"), ("b-bin", b"\0\xff"), ("a", "y")])
            await open_channel.unary(PATH, b"")
        expected = (("a", "x"), ("b-bin", b"\0\xff"), ("a", "y"))
        assert seen == [expected, expected, ()]

    @pytest.mark.parametrize(
        "pair", [("grpc-x", "1"), ("te", "x"), ("content-type", "x"), (":path", "/"), ("x y", ""), ("x", "ä")]
    )
    async def test_metadata_that_cannot_be_sent(self, serve, pair):
        async with channel(await serve()) as open_channel:
            with pytest.raises((BadMetadata, UnicodeEncodeError)):
                await open_channel.unary(PATH, b"", [pair])
            assert await open_channel.unary(PATH, b"a") == b"a"

    async def test_a_status_is_purerpcs_exception(self, serve):
        def refuse(calls):
            for call in calls:
                call.fail(purerpc.StatusCode(int(call.message)), "ä: 100 %")

        async with channel(await serve(methods={"Echo": refuse}), retries=0) as open_channel:
            for number in range(1, 17):
                with pytest.raises(purerpc.RpcFailedError) as caught:
                    await open_channel.unary(PATH, str(number).encode())
                assert caught.value.status.status_code.value == number
                assert caught.value.status.status_message == "ä: 100 %"
                assert type(caught.value) is not purerpc.RpcFailedError
                assert not isinstance(caught.value, ConnectionLostError)

    async def test_an_answer_without_a_message_is_unimplemented(self, host):
        async def script(host):
            stream, _ = await host.call()
            await host.say(host.fields(stream, *OK), host.fields(stream, ("grpc-status", "0"), end=True))
            await never(host)

        async with channel(await host(script)) as open_channel:
            with pytest.raises(purerpc.UnimplementedError):
                await open_channel.unary(PATH, b"")


class TestDeadlines:
    async def test_what_is_left_of_the_scope_is_sent_along(self, host, autojump_clock):
        seen = []

        async def script(host):
            while True:
                stream, fields = await host.call()
                seen.append(fields.get("grpc-timeout"))
                await host.say(host.answer(stream))

        async with channel(await host(script)) as open_channel:
            await open_channel.unary(PATH, b"")
            with trio.move_on_after(100), trio.move_on_after(2.5):
                await open_channel.unary(PATH, b"")
            with trio.move_on_after(100) as scope:
                scope.deadline = math.inf
                await open_channel.unary(PATH, b"")
        assert seen == [None, "2500000u", None]

    async def test_each_attempt_has_what_is_left_then(self, host, autojump_clock):
        seen = []

        async def script(host):
            for status in (14, 0):
                stream, fields = await host.call()
                seen.append(fields["grpc-timeout"])
                pushback = ("grpc-retry-pushback-ms", "4000")
                await host.say(host.refusal(stream, status, pushback) if status else host.answer(stream))
            await never(host)

        async with channel(await host(script)) as open_channel:
            with trio.fail_after(10):
                await open_channel.unary(PATH, b"")
        assert seen == ["10000000u", "6000000u"]

    async def test_a_call_that_is_cancelled_is_reset_and_the_channel_lives_on(self, host):
        reset = []

        async def script(host):
            stream, _ = await host.call()
            asked.set()
            _, _, reset_stream, payload = await host.until(RST)
            reset.append((reset_stream - stream, struct.unpack(">I", payload)))
            await host.say(host.answer(stream))
            stream, _ = await host.call()
            await host.say(host.answer(stream))
            await never(host)

        asked = trio.Event()
        async with channel(await host(script)) as open_channel:
            async with trio.open_nursery() as calls:
                calls.start_soon(open_channel.unary, PATH, b"")
                await asked.wait()
                calls.cancel_scope.cancel()
            assert await open_channel.unary(PATH, b"") == b"answer"
        assert reset == [(0, (8,))]

    async def test_a_handler_ends_with_its_clients_scope(self, serve, nursery):
        received = []
        async with channel(await serve(methods={"Echo": received.extend})) as open_channel:
            with trio.move_on_after(0.05) as scope:
                await open_channel.unary(PATH, b"")
            assert scope.cancelled_caught
            await trio.testing.wait_all_tasks_blocked()
            assert received[0].cancelled

    async def test_in_a_cancelled_scope_nothing_is_sent(self, serve):
        received = []
        async with channel(await serve(methods={"Echo": received.extend})) as open_channel:
            with trio.CancelScope() as scope:
                scope.cancel()
                await open_channel.unary(PATH, b"")
            assert scope.cancelled_caught
            assert open_channel._wire.engine.last_stream_id == 0


class TestRetries:
    @pytest.fixture
    def refusing(self, host):
        """refusing(n, answer): a port; the first n calls get `answer(host, stream)`; and the calls."""

        async def start(times, answer):
            seen = []

            async def script(host):
                while True:
                    stream, _ = await host.call()
                    seen.append(stream)
                    good = len(seen) > times
                    await host.say(host.answer(stream) if good else answer(host, stream))

            return await host(script), seen

        return start

    async def test_unavailable_is_tried_again_up_to_retries(self, refusing, autojump_clock):
        port, seen = await refusing(3, lambda host, stream: host.refusal(stream, 14))
        async with channel(port) as open_channel:
            assert await open_channel.unary(PATH, b"") == b"answer"
        assert len(seen) == 4

    async def test_and_no_oftener(self, refusing, autojump_clock):
        port, seen = await refusing(99, lambda host, stream: host.refusal(stream, 14))
        async with channel(port, retries=2) as open_channel:
            with pytest.raises(purerpc.UnavailableError) as caught:
                await open_channel.unary(PATH, b"")
        assert len(seen) == 3
        assert not isinstance(caught.value, ConnectionLostError)

    @pytest.mark.parametrize("status", [code for code in range(1, 17) if code != 14])
    async def test_no_other_status_is(self, refusing, status):
        port, seen = await refusing(99, lambda host, stream: host.refusal(stream, status))
        async with channel(port) as open_channel:
            with pytest.raises(purerpc.RpcFailedError):
                await open_channel.unary(PATH, b"")
        assert len(seen) == 1

    @pytest.mark.parametrize("pushback", ["-1", "x", "", "1.5", "+1", "99999999999999"])
    async def test_a_pushback_that_is_no_number_ends_the_trying(self, refusing, pushback):
        field = "grpc-retry-pushback-ms", pushback
        port, seen = await refusing(99, lambda host, stream: host.refusal(stream, 14, field))
        async with channel(port) as open_channel:
            with pytest.raises(purerpc.UnavailableError):
                await open_channel.unary(PATH, b"")
        assert len(seen) == 1

    async def test_a_pushback_takes_the_place_of_the_back_off(self, refusing, autojump_clock):
        field = "grpc-retry-pushback-ms", "5000"
        port, _ = await refusing(1, lambda host, stream: host.refusal(stream, 14, field))
        async with channel(port) as open_channel:
            start = trio.current_time()
            await open_channel.unary(PATH, b"")
            assert trio.current_time() - start == pytest.approx(5)

    async def test_nothing_is_tried_past_the_deadline(self, refusing, autojump_clock):
        field = "grpc-retry-pushback-ms", "5000"
        port, seen = await refusing(1, lambda host, stream: host.refusal(stream, 14, field))
        async with channel(port) as open_channel:
            with trio.fail_after(4), pytest.raises(purerpc.UnavailableError):
                await open_channel.unary(PATH, b"")
        assert len(seen) == 1

    async def test_a_refused_stream_is_always_tried_again(self, refusing, autojump_clock):
        port, seen = await refusing(20, lambda host, stream: frame(RST, 0, stream, struct.pack(">I", 7)))
        async with channel(port, retries=0) as open_channel:
            assert await open_channel.unary(PATH, b"") == b"answer"
        assert len(seen) == 21

    async def test_a_reset_of_another_kind_is_not(self, refusing):
        port, seen = await refusing(9, lambda host, stream: frame(RST, 0, stream, struct.pack(">I", 2)))
        async with channel(port) as open_channel:
            with pytest.raises(purerpc.InternalError):
                await open_channel.unary(PATH, b"")
        assert len(seen) == 1

    async def test_a_call_that_is_cancelled_while_it_waits_is_not_sent(self, refusing, autojump_clock):
        field = "grpc-retry-pushback-ms", "5000"
        port, seen = await refusing(1, lambda host, stream: host.refusal(stream, 14, field))
        async with channel(port) as open_channel:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as calls:
                    calls.start_soon(open_channel.unary, PATH, b"")
                    await trio.sleep(1)
                    scope.cancel()
            await trio.sleep(10)
        assert len(seen) == 1


class TestConnections:
    async def test_a_connection_that_was_lost_is_made_again(self, host):
        async def one_call(host):
            stream, _ = await host.call()
            await host.say(host.answer(stream))

        async with channel(await host(one_call), retries=0) as open_channel:
            for _ in range(3):
                assert await open_channel.unary(PATH, b"") == b"answer"
                await trio.testing.wait_all_tasks_blocked()

    async def test_a_connection_that_ended_unseen_is_not_used(self, host):
        """The end is there already, and the task that reads has not run yet."""
        hosts = []

        async def script(host):
            hosts.append(host)
            stream, _ = await host.call()
            await host.say(host.answer(stream))
            await trio.sleep_forever()

        async with channel(await host(script), retries=0) as open_channel:
            await open_channel.unary(PATH, b"")
            hosts[0].stream.socket.close()
            assert await open_channel.unary(PATH, b"") == b"answer"
        assert len(hosts) == 2

    async def test_a_call_whose_connection_broke_is_tried_again(self, host, autojump_clock):
        async def hang_up(host):
            await host.call()

        async def good(host):
            stream, _ = await host.call()
            await host.say(host.answer(stream))
            await never(host)

        async with channel(await host(hang_up, hang_up, good)) as open_channel:
            assert await open_channel.unary(PATH, b"") == b"answer"

    async def test_without_retries_it_fails(self, host):
        async def hang_up(host):
            await host.call()

        async with channel(await host(hang_up), retries=0) as open_channel:
            with pytest.raises(ConnectionLostError, match="the server closed the connection"):
                await open_channel.unary(PATH, b"")

    async def test_a_server_that_drains_finishes_and_new_calls_go_to_a_new_connection(self, host):
        finish = trio.Event()

        async def draining(host):
            stream, _ = await host.call()
            await host.say(go_away(2**31 - 1), frame(PING, 0, 0, bytes(8)))
            await host.until(PING)
            await host.say(go_away(stream))
            drained.set()
            await finish.wait()
            await host.say(host.answer(stream, b"old"))
            assert await host.frame() is None
            gone.set()

        async def fresh(host):
            stream, _ = await host.call()
            await host.say(host.answer(stream, b"new"))
            await never(host)

        drained, gone = trio.Event(), trio.Event()
        answers = []

        async def ask():
            answers.append(await open_channel.unary(PATH, b""))

        async with channel(await host(draining, fresh), retries=0) as open_channel:
            async with trio.open_nursery() as calls:
                calls.start_soon(ask)
                await drained.wait()
                assert await open_channel.unary(PATH, b"") == b"new"
                finish.set()
            assert answers == [b"old"]
            await gone.wait()
            assert len(open_channel._wires) == 1

    async def test_calls_that_a_goaway_leaves_out_are_sent_again(self, host):
        async def draining(host):
            await host.call()
            await host.call()
            await host.say(go_away(0))
            await never(host)

        async def fresh(host):
            while True:
                stream, _ = await host.call()
                await host.say(host.answer(stream))

        answers = []

        async def ask():
            answers.append(await open_channel.unary(PATH, b""))

        port = await host(draining, fresh)
        async with channel(port, retries=0) as open_channel, trio.open_nursery() as calls:
            calls.start_soon(ask)
            calls.start_soon(ask)
        assert answers == [b"answer"] * 2

    async def test_when_stream_ids_are_used_up_a_new_connection_is_made(self, host):
        seen = []

        async def script(host):
            while (call := await host.until(DATA)) is not None:
                seen.append(call[2])
                await host.say(host.answer(call[2]))

        async with channel(await host(script), retries=0) as open_channel:
            open_channel._wire.engine.last_stream_id = 2**31 - 5
            for _ in range(3):
                await open_channel.unary(PATH, b"")
        assert seen == [2**31 - 3, 2**31 - 1, 1]

    async def test_our_own_server_drains_without_a_failed_call(self, serve, nursery):
        """`max_connection_age_seconds` under load."""
        answered = []

        async def ask():
            for _ in range(200):
                answered.append(await open_channel.unary(PATH, b"x"))
                await trio.sleep(0.001)

        port = await serve(max_connection_age_seconds=0.05)
        async with channel(port, retries=0) as open_channel, trio.open_nursery() as calls:
            for _ in range(10):
                calls.start_soon(ask)
        assert answered == [b"x"] * 2000

    async def test_a_connection_that_takes_no_call_counts_as_none(self, nursery, autojump_clock):
        """The server greets, and goes away in the same breath."""
        greetings = [settings(), settings() + go_away(0, 0, b"full")]
        connections = []

        async def serve(stream):
            async with stream:
                await stream.send_all(greetings[min(len(connections), 1)])
                connections.append(stream)
                await Host(stream).until(HEADERS)

        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, [listener])
        async with channel(listener.socket.getsockname()[1], retries=2) as open_channel:
            with pytest.raises(ConnectionLostError, match="full"):
                await open_channel.unary(PATH, b"")
        assert len(connections) == 3

    async def test_where_nobody_listens_entering_fails_at_once(self):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            port = holder.getsockname()[1]
            with pytest.raises(ConnectionLostError, match=f"cannot connect to 127.0.0.1:{port}: Connection"):
                async with channel(port):
                    pytest.fail("there is no connection")

    async def test_while_nobody_listens_calls_fail_and_later_ones_do_not(self, nursery, autojump_clock):
        async def run(port, *, task_status):
            server = Server(port)
            server.add_raw_unary(PATH, lambda calls: [call.reply(b"answer") for call in calls])
            async with trio.open_nursery() as serving:
                task_status.started((await serving.start(server.serve_async), serving.cancel_scope))

        port, scope = await nursery.start(run, 0)
        async with channel(port) as open_channel:
            await open_channel.unary(PATH, b"")
            scope.cancel()
            await trio.sleep(1)
            with pytest.raises(ConnectionLostError, match="Connection refused"):
                await open_channel.unary(PATH, b"")
            await nursery.start(run, port)
            assert await open_channel.unary(PATH, b"") == b"answer"

    async def test_a_unix_socket(self, nursery, tmp_path):
        server = Server(0, unix_socket=str(tmp_path / "s"))
        server.add_raw_unary(PATH, lambda calls: [call.reply(call.message) for call in calls])
        await nursery.start(server.serve_async)
        async with Channel(f"unix:{tmp_path}/s", 0) as open_channel:
            assert await open_channel.unary(PATH, b"x") == b"x"

    async def test_a_silent_server_is_given_up_with_keepalive(self, host, autojump_clock):
        async def deaf(host):
            await host.call()
            await trio.sleep_forever()

        port = await host(deaf)
        async with channel(
            port, retries=0, keepalive_seconds=30, keepalive_timeout_seconds=5
        ) as open_channel:
            start = trio.current_time()
            with pytest.raises(ConnectionLostError, match="did not answer a ping within 5 s"):
                await open_channel.unary(PATH, b"")
            assert 30 < trio.current_time() - start < 61

    async def test_a_server_that_answers_pings_is_waited_for(self, host, autojump_clock):
        async def slow(host):
            stream, _ = await host.call()
            for _ in range(3):
                _, _, _, data = await host.until(PING)
                await host.say(frame(PING, 1, 0, data))
            await host.say(host.answer(stream))
            await never(host)

        port = await host(slow)
        async with channel(port, keepalive_seconds=30, keepalive_timeout_seconds=5) as open_channel:
            assert await open_channel.unary(PATH, b"") == b"answer"


class TestConcurrency:
    async def test_calls_above_the_limit_wait_in_their_order(self, host):
        asked = []

        async def script(host):
            under_way = []
            while len(asked) < 10:
                with trio.move_on_after(0.01):
                    while len(under_way) < 3:
                        under_way.append(await message_of(host))
                assert len(under_way) <= 2
                stream, message = under_way.pop(0)
                asked.append(message)
                await host.say(host.answer(stream))
            await never(host)

        async def message_of(host):
            _, _, stream, payload = await host.until(DATA)
            return stream, int(payload[5:])

        async def ask(number):
            await open_channel.unary(PATH, str(number).encode())

        port = await host(script, greeting=settings(streams=2))
        async with channel(port) as open_channel, trio.open_nursery() as calls:
            for number in range(10):
                calls.start_soon(ask, number)
                await trio.testing.wait_all_tasks_blocked()
        assert asked == list(range(10))

    async def test_a_limit_of_none_lets_calls_wait_until_it_is_raised(self, host):
        async def script(host):
            with trio.move_on_after(0.05):
                await host.call()
                pytest.fail("the server takes no call yet")
            await host.say(settings(streams=1))
            stream, _ = await host.call()
            await host.say(host.answer(stream))
            await never(host)

        async with channel(await host(script, greeting=settings(streams=0))) as open_channel:
            assert await open_channel.unary(PATH, b"") == b"answer"

    async def test_who_waits_can_be_cancelled(self, host):
        async with channel(await host(never, greeting=settings(streams=0))) as open_channel:
            with trio.move_on_after(0.01) as scope:
                await open_channel.unary(PATH, b"")
            assert scope.cancelled_caught
            assert not open_channel._waiting


class TestTheBlock:
    async def test_outside_of_it_there_are_no_calls(self, serve):
        closed = channel(await serve())
        with pytest.raises(ConnectionLostError, match="not connected"):
            await closed.unary(PATH, b"")
        async with closed:
            pass
        with pytest.raises(ConnectionLostError, match="was closed"):
            await closed.unary(PATH, b"")
        with pytest.raises(ConnectionLostError, match="was closed"):
            closed.start_unary(PATH, b"", lambda status, answer: None)

    async def test_its_exceptions_come_out_as_they_are(self, serve):
        with pytest.raises(KeyError, match="mine"):
            async with channel(await serve()):
                raise KeyError("mine")

    async def test_it_can_be_cancelled(self, serve):
        port = await serve()
        with trio.CancelScope() as scope:
            async with channel(port):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught

    async def test_calls_that_outlive_it_fail_at_once(self, host, nursery):
        failures = []

        async def ask():
            with pytest.raises(ConnectionLostError, match="the channel was closed") as caught:
                await open_channel.unary(PATH, b"")
            failures.append(caught)

        async with channel(await host(never, greeting=settings(streams=1))) as open_channel:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert len(failures) == 2

    async def test_it_ends_even_where_the_server_does_not_read(self, host, nursery):
        async def deaf(host):
            await host.say(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 30)))
            await trio.sleep_forever()

        async def ask():
            with pytest.raises(ConnectionLostError):
                await open_channel.unary(PATH, bytes(30 << 20))

        port = await host(deaf, greeting=settings(window=1 << 30))
        with trio.fail_after(5):
            async with channel(port) as open_channel:
                nursery.start_soon(ask)
                await trio.sleep(0.1)
                assert open_channel._wire.link.pending_bytes


class TestStartUnary:
    async def test_done_is_told_status_and_answer(self, serve):
        told, done = [], trio.Event()

        def on_done(status, answer):
            told.append((status.status_code.name, answer))
            if len(told) == 2:
                done.set()

        def some(calls):
            for call in calls:
                if call.message:
                    call.reply(b"answer")
                else:
                    call.fail(purerpc.StatusCode.ABORTED, "")

        async with channel(await serve(methods={"Echo": some})) as open_channel:
            open_channel.start_unary(PATH, b"x", on_done)
            open_channel.start_unary(PATH, b"", on_done)
            assert told == []
            await done.wait()
        assert sorted(told) == [("ABORTED", None), ("OK", b"answer")]

    async def test_a_new_call_may_be_begun_when_one_is_done(self, serve):
        left, done = [1000], trio.Event()

        def on_done(status, answer):
            assert answer == b"x"
            left[0] -= 1
            if left[0] > 0:
                open_channel.start_unary(PATH, b"x", on_done)
            elif left[0] == 0:
                done.set()

        async with channel(await serve()) as open_channel:
            open_channel.start_unary(PATH, b"x", on_done)
            await done.wait()

    async def test_a_time_out_ends_the_call_and_resets_it(self, host, autojump_clock):
        async def script(host):
            _, fields = await host.call()
            seen.append(fields["grpc-timeout"])
            await host.until(RST)
            reset.set()

        seen, told, reset = [], [], trio.Event()
        async with channel(await host(script)) as open_channel:
            open_channel.start_unary(PATH, b"", lambda *outcome: told.append(outcome), timeout=1.5)
            await reset.wait()
        [(status, answer)] = told
        assert (status.status_code.name, answer) == ("DEADLINE_EXCEEDED", None)
        assert seen == ["1500000u"]

    @pytest.mark.parametrize("seconds", [0, -1])
    async def test_a_time_out_of_nothing_sends_nothing(self, serve, seconds):
        told = []
        async with channel(await serve()) as open_channel:
            open_channel.start_unary(PATH, b"", lambda *outcome: told.append(outcome), timeout=seconds)
            assert told == []
            await trio.testing.wait_all_tasks_blocked()
            assert open_channel._wire.engine.last_stream_id == 0
        assert told[0][0].status_code.name == "DEADLINE_EXCEEDED"

    async def test_a_call_that_is_cancelled_is_reset_and_not_told(self, host):
        async def script(host):
            await host.call()
            asked.set()
            await host.until(RST)
            reset.set()

        asked, reset, told = trio.Event(), trio.Event(), []
        async with channel(await host(script), retries=0) as open_channel:
            call = open_channel.start_unary(PATH, b"", lambda *outcome: told.append(outcome))
            await asked.wait()
            call.cancel()
            call.cancel()
            await reset.wait()
        assert told == []

    async def test_one_that_waits_can_be_cancelled(self, host):
        async with channel(await host(never, greeting=settings(streams=0))) as open_channel:
            call = open_channel.start_unary(PATH, b"", lambda *outcome: pytest.fail("told"))
            call.cancel()
            assert not open_channel._waiting

    async def test_it_is_sent_again_by_the_same_rule(self, host, autojump_clock):
        async def script(host):
            for number in range(4):
                stream, _ = await host.call()
                if number == 0:
                    await host.say(frame(RST, 0, stream, struct.pack(">I", 7)))
                else:
                    await host.say(host.refusal(stream, 14))
            await never(host)

        told, done = [], trio.Event()

        def on_done(status, answer):
            told.append(status.status_code.name)
            done.set()

        async with channel(await host(script), retries=3) as open_channel:
            open_channel.start_unary(PATH, b"", on_done)
            await done.wait()
        assert told == ["UNAVAILABLE"]

    async def test_what_is_under_way_at_the_end_is_unavailable(self, host):
        told = []
        async with channel(await host(never)) as open_channel:
            open_channel.start_unary(PATH, b"", lambda *outcome: told.append(outcome[0].status_code.name))
            await trio.testing.wait_all_tasks_blocked()
        assert told == ["UNAVAILABLE"]

    async def test_an_exception_in_what_is_to_be_done_is_logged(self, serve, caplog):
        def broken(status, answer):
            done.set()
            raise ValueError("mine")

        done = trio.Event()
        async with channel(await serve()) as open_channel:
            open_channel.start_unary(PATH, b"", broken)
            await done.wait()
            assert await open_channel.unary(PATH, b"x") == b"x"
        assert "mine" in caplog.text


class TestTls:
    async def test_calls_go_over_tls(self, serve, server_context, client_context):
        port = await serve(server_context, require_alpn=True)
        message = bytes(1 << 20)
        async with channel(port, client_context, server_hostname="localhost") as open_channel:
            assert await open_channel.unary(PATH, message) == message
            assert open_channel._wire.link.protocol() == "h2"

    async def test_a_certificate_for_another_name_is_refused(self, serve, server_context, client_context):
        port = await serve(server_context)
        with pytest.raises(purerpc.UnavailableError, match="the server's certificate is not valid: "):
            async with channel(port, client_context):
                pytest.fail("there is no connection")

    async def test_a_server_without_tls_is_told(self, serve, client_context):
        with pytest.raises(purerpc.UnavailableError, match=r"cannot connect to .*TLS"):
            async with channel(await serve(), client_context):
                pytest.fail("there is no connection")

    async def test_a_server_with_tls_is_no_server_without(self, serve, server_context):
        with pytest.raises(purerpc.UnavailableError, match="no gRPC server at"):
            async with channel(await serve(server_context)):
                pytest.fail("there is no connection")
