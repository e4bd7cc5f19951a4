"""The fast ways in and out, compiled and readable: the same events, output and state, whatever comes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from purerpc import RpcFailedError, Status, StatusCode

from hushar.rpc import compiled, fast_ways, server_engine
from hushar.rpc.calls import RawCall
from hushar.rpc.server_context import Budget, Route

STEPS = 12
ROUTE = Route("/t.S/Unary", collects=True, target=print)


@pytest.fixture(scope="module")
def modules(twins):
    """The engine's modules as they are, and read anew without what is compiled."""
    if not twins.is_compiled():
        pytest.skip(twins.NEEDS)
    with twins.without_compiled():
        readable = twins.engine_modules()
    return twins.engine_modules(), readable


@pytest.fixture(params=["compiled", "readable"])
def ways(request, twins):
    """The functions in one way."""
    if request.param == "readable":
        return fast_ways
    if not twins.is_compiled():
        pytest.skip(twins.NEEDS)
    return compiled


class Both:
    """The same client at both engines."""

    def __init__(
        self, twins, modules, *, hooks=False, places=6, calls=float("inf"), held=float("inf"), largest=3000
    ):
        self.twins = twins
        self.modules = modules
        self.asked = [[], []]
        self.engines = []
        self.calls = [[], []]
        self.now = 1.0
        for index, kit in enumerate(modules):
            hook = self.asked[index].append
            context = kit.server_context.ServerContext(
                kit.limits.Limits(
                    connection_concurrency=places, connection_window_bytes=80_000, max_receive_bytes=largest,
                    stream_window_bytes=70_000, max_frame_bytes=20_000,
                ),
                {b"/t.S/Unary": kit.server_context.Route("/t.S/Unary", collects=True, target=print),
                 b"/t.S/Up": kit.server_context.Route("/t.S/Up", collects=False)},
                kit.server_context.Budget(calls, held),
                before=[self._before(hook)] if hooks else (),
                after=[lambda request, code, seconds, hook=hook: hook((request.stream_id, code, seconds))]
                if hooks
                else (),
            )  # fmt: skip
            self.engines.append(kit.server_engine.ServerConnection(context, lambda: None, peer="p"))

    @staticmethod
    def _before(hook):
        def before(request):
            hook(request.stream_id)
            if request.stream_id % 7 == 0:
                raise RpcFailedError(Status(StatusCode.UNAUTHENTICATED, "no"))

        return before

    def say(self, data):
        told = []
        for engine, calls in zip(self.engines, self.calls, strict=True):
            events = engine.receive_data(data, self.now)
            calls.extend(event for event in events if type(event).__name__ == "RawCall")
            told.append(self.twins.plain(events))
        assert told[0] == told[1]
        self.compare()

    def answer(self, choices, message):
        """Answer some of the calls that have come, by `reply_all` or one by one."""
        told = []
        for kit, calls in zip(self.modules, self.calls, strict=True):
            some = [calls[choice % len(calls)] for choice in choices] if calls else []
            if len(choices) % 2:
                told.append(kit.compiled.reply_all(some, [message] * len(some)))
            else:
                told.append([call.reply(message) for call in some])
        assert told[0] == told[1]
        self.compare()

    def fail(self, choices, trailing):
        """End some of the calls that have come, by `fail_all`."""
        for kit, calls in zip(self.modules, self.calls, strict=True):
            some = [calls[choice % len(calls)] for choice in choices] if calls else []
            kit.compiled.fail_all(some, Status(StatusCode.RESOURCE_EXHAUSTED, "too much"), trailing)
        self.compare()

    def hear(self):
        output = [engine.data_to_send() for engine in self.engines]
        for engine in self.engines:
            engine.dirty = False
        assert output[0] == output[1]

    def compare(self):
        assert self.asked[0] == self.asked[1]
        one, other = (self.twins.state_of(engine) for engine in self.engines)
        assert one == other
        one, other = ([self.twins.call_state(call) for call in calls[-20:]] for calls in self.calls)
        assert one == other


@st.composite
def usual(draw, wire, first):
    """Calls as clients send them, from stream `first` on, and how many."""
    count = draw(st.integers(1, 5))
    path = draw(st.sampled_from(["/t.S/Unary"] * 5 + ["/t.S/Up"]))
    size = draw(st.sampled_from([0, 1, 30, 3000]))
    fields = draw(
        st.sampled_from(
            [(), (), (("x-a", "1"),), (("grpc-timeout", "1S"),), (("grpc-timeout", "0S"),),
             (("content-length", str(size + 5)),), (("content-length", "4"),)]
        )
    )  # fmt: skip
    block = wire.block(*fields, path=path)
    streams = range(first, first + 2 * count, 2)
    heads = [wire.headers(stream, block) for stream in streams]
    bodies = [wire.data(stream, wire.message(bytes(size)), end=True) for stream in streams]
    match draw(st.integers(0, 2)):
        case 0:
            frames = heads + bodies
        case 1:
            frames = [frame for pair in zip(heads, bodies, strict=True) for frame in pair]
        case _:
            frames = draw(st.permutations(bodies))
            frames = heads + [frame for body in frames for frame in (body, wire.window_update(0, 40))]
    return b"".join(frames), count


@st.composite
def odd(draw, wire, first):
    """Something else about streams before `first`."""
    stream = max(1, first - 2 * draw(st.integers(1, 5)))
    return draw(
        st.sampled_from(
            [wire.window_update(0, 1000), wire.window_update(stream, 1000), wire.window_update(stream, 0),
             wire.window_update(0, 2**31 - 1), wire.window_update(stream, 2**31 - 1), wire.rst(stream),
             wire.settings(INITIAL_WINDOW_SIZE=20), wire.settings(INITIAL_WINDOW_SIZE=65535), wire.ping(),
             wire.data(stream, b"", end=True), wire.data(stream, wire.message(b"ab"), end=True),
             wire.headers(stream, end=True), wire.headers(first + 1), wire.priority(stream),
             wire.headers(first, wire.block() + wire.literal("x-new", "y", 0x40)), wire.goaway(),
             wire.window_update(first + 8, 5)]
        )
    )  # fmt: skip


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(drawn=st.data())
def test_both_ways_are_the_same(wire, twins, modules, drawn):
    draw = drawn.draw
    both = Both(
        twins,
        modules,
        hooks=draw(st.booleans()),
        places=draw(st.sampled_from([3, 10, 200])),
        calls=draw(st.sampled_from([4, float("inf")])),
        held=draw(st.sampled_from([3500, float("inf")])),
    )
    both.say(wire.PREFACE + wire.settings() + wire.settings_ack())
    first = 1
    for _ in range(draw(st.integers(1, STEPS))):
        piece, count = draw(usual(wire, first))
        first += 2 * count
        if not draw(st.integers(0, 3)):
            piece += draw(odd(wire, first))
        if not draw(st.integers(0, 9)):
            at = draw(st.integers(0, len(piece) - 1))
            piece = piece[:at] + bytes((piece[at] ^ draw(st.integers(1, 255)),)) + piece[at + 1 :]
        cut = draw(st.integers(0, len(piece)))
        for part in (piece[:cut], piece[cut:]):
            both.say(part)
            both.now += draw(st.sampled_from([0.0, 0.5]))
        both.answer(
            draw(st.lists(st.integers(0, 500), max_size=8)), bytes(draw(st.sampled_from([0, 20, 9000])))
        )
        both.fail(
            draw(st.lists(st.integers(0, 500), max_size=4)), draw(st.sampled_from([None, [(b"x-t", b"1")]]))
        )
        if draw(st.booleans()):
            both.hear()
    both.hear()


PARTS = [16_000, 9000, 5000, 4096, 4095, 1000, 0]


@st.composite
def in_parts(draw, wire, first):
    """Messages that are too large for a frame, on a few streams at once, and how many there are."""
    count = draw(st.integers(1, 3))
    queues = []
    for stream in range(first, first + 2 * count, 2):
        message = wire.message(bytes(draw(st.sampled_from([0, 4000, 9000, 20_000, 39_990, 41_000]))))
        if not draw(st.integers(0, 5)):
            message += draw(st.sampled_from([b"\0", bytes(5), bytes(6000)]))
        length = draw(st.sampled_from([None, None, len(message), len(message) - 5000, 10**9]))
        fields = () if length is None else (("content-length", str(length)),)
        path = draw(st.sampled_from(["/t.S/Unary"] * 4 + ["/t.S/Up"]))
        frames = [wire.headers(stream, wire.block(*fields, path=path))]
        while message:
            size = draw(st.sampled_from(PARTS))
            frames.append(wire.data(stream, message[:size]))
            message = message[size:]
        frames.append(wire.data(stream, b"", end=True) if draw(st.booleans()) else b"")
        queues.append(frames)
    mixed = []
    while any(queues):
        mixed.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
        if not draw(st.integers(0, 7)):
            mixed.append(wire.window_update(draw(st.sampled_from([0, first])), 40))
    return b"".join(mixed), count


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(drawn=st.data())
def test_both_ways_are_the_same_with_messages_in_parts(wire, twins, modules, drawn):
    draw = drawn.draw
    held = draw(st.sampled_from([30_000, float("inf")]))
    both = Both(twins, modules, hooks=draw(st.booleans()), held=held, largest=40_000)
    both.say(wire.PREFACE + wire.settings() + wire.settings_ack())
    first = 1
    for _ in range(draw(st.integers(1, 5))):
        piece, count = draw(in_parts(wire, first))
        first += 2 * count
        while piece:
            size = draw(st.sampled_from([1000, 16_384, 65_536]))
            both.say(piece[:size])
            piece = piece[size:]
        both.answer(draw(st.lists(st.integers(0, 500), max_size=8)), b"an answer")
        both.hear()


class TestWayIn:
    @pytest.fixture(autouse=True)
    def _compiled(self, twins):
        if not twins.is_compiled():
            pytest.skip(twins.NEEDS)

    def test_usual_calls_reach_no_general_method(self, wire, monkeypatch):
        talk = wire.Talk()
        talk.say(wire.call(1))
        for name in ("_block_complete", "_data", "_window_update", "_frames", "_work"):
            monkeypatch.setattr(server_engine.ServerConnection, name, None)
        monkeypatch.setattr(talk.engine, "_handlers", ())
        talk.say(b"".join(wire.call(stream, b"x") for stream in range(3, 9, 2)) + wire.window_update(0, 9))
        talk.say(wire.headers(9) + wire.headers(11) + wire.data(11, wire.message(b"b"), end=True)
                 + wire.data(9, wire.message(b"a"), end=True))  # fmt: skip
        assert [(call.id, call.message) for call in talk.calls()] == [
            (1, b""), (3, b"x"), (5, b"x"), (7, b"x"), (11, b"b"), (9, b"a"),
        ]  # fmt: skip

    def test_a_whole_message_of_the_length_that_was_said_is_usual(self, wire, monkeypatch):
        talk = wire.Talk()
        fields = (("content-length", "7"),)
        talk.say(wire.call(1, b"ab", *fields))
        monkeypatch.setattr(server_engine.ServerConnection, "_work", None)
        talk.say(wire.call(3, b"ab", *fields))
        assert [call.message for call in talk.calls()] == [b"ab", b"ab"]
        assert talk.budget.bytes == 4

    def test_large_parts_of_a_message_reach_no_general_method(self, wire, monkeypatch):
        talk = wire.Talk()
        message = wire.message(bytes(30_000))
        talk.say(wire.headers(1) + wire.data(1, message[:5000]))
        general = server_engine.ServerConnection._some_data
        monkeypatch.delattr("hushar.rpc.bodies.ReceivingConnection._some_data")
        talk.say(wire.data(1, message[5000:15_000]) + wire.data(1, message[15_000:25_000]))
        monkeypatch.setattr("hushar.rpc.bodies.ReceivingConnection._some_data", general, raising=False)
        (call,) = talk.say(wire.data(1, message[25_000:], end=True))
        assert call.message == bytes(30_000)

    def test_it_goes_on_behind_what_is_unusual(self, wire, monkeypatch):
        talk = wire.Talk()
        talk.say(wire.call(1))
        pings = []
        monkeypatch.setattr(talk.engine, "_handlers", [None] * 6 + [lambda *_: pings.append(1)])
        talk.say(wire.call(3) + wire.ping() + wire.call(5) + wire.ping() + wire.call(7)[:-1])
        assert [call.id for call in talk.calls()] == [1, 3, 5]
        assert pings == [1, 1]

    @pytest.mark.parametrize("size", range(9 + 5))
    def test_a_frame_in_part_is_left_alone(self, wire, size):
        talk = wire.Talk()
        talk.say(wire.call(1))
        whole = wire.call(3)
        start = len(whole) - 14
        assert compiled.take_calls(RawCall, talk.engine, whole[: start + size], 0) == start
        assert [call.id for call in talk.calls()] == [1]

    @pytest.mark.parametrize("at", [-1, 14, 15, 2**40])
    def test_no_byte_outside_is_read(self, wire, at):
        talk = wire.Talk()
        assert compiled.take_calls(RawCall, talk.engine, wire.window_update(0, 5) + b"\0", at) == at

    @pytest.mark.parametrize(
        "arguments",
        [
            (int, None, b"", 0),
            (None, "engine", b"", 0),
            (RawCall, object(), b"", 0),
            (RawCall, "engine", b"", "0"),
        ],
    )
    def test_wrong_arguments_are_errors(self, wire, arguments):
        engine = wire.Talk().engine
        with pytest.raises(TypeError):
            compiled.take_calls(*[engine if each == "engine" else each for each in arguments])

    def test_a_type_that_is_no_call(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1))
        with pytest.raises(TypeError):
            compiled.take_calls(int, talk.engine, wire.call(3), 0)

    def test_headers_alone_are_what_allows_pings(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1))
        for stream in range(3, 23, 2):
            talk.say(wire.headers(stream), wire.ping())
        assert not talk.engine.failed

    def test_a_budget_is_used_up_to_its_end(self, wire):
        talk = wire.Talk(budget=Budget(max_calls=3, max_bytes=6))
        talk.say(wire.call(1))
        talk.say(b"".join([wire.call(3, b"abc"), wire.call(5, b"abc"), wire.call(7), wire.call(9)]))
        assert [call.id for call in talk.calls()] == [1, 3, 5]
        assert (talk.budget.calls, talk.budget.bytes) == (3, 6)
        talk.calls()[0].reply(b"")
        talk.hear()
        assert [str(one) for one in talk.ask(wire.call(11, b"a"))] == ["headers 11 200/8 end"]

    def test_the_connection_is_credited_at_half_its_window_exactly(self, wire):
        talk = wire.Talk(connection_window_bytes=80_000)
        said = talk.ask(*[wire.call(stream, bytes(1995)) for stream in range(1, 39, 2)])
        assert [each for each in map(str, said) if each.startswith("window")] == []
        assert [str(each) for each in talk.ask(wire.call(39, bytes(1995)))] == ["window 0 40000"]

    def test_other_bytes_than_bytes_are_left_alone(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1))
        assert compiled.take_calls(RawCall, talk.engine, bytearray(wire.call(3)), 0) == 0


class TestReplyAll:
    def test_answers_leave_in_their_order(self, wire, ways, way):
        talk = wire.Talk()
        talk.say(*[wire.call(stream) for stream in (1, 3, 5, 7)])
        first, second, third, fourth = talk.calls()
        fourth.request.set_trailing_metadata([("x-t", "v")])
        second.fail(StatusCode.NOT_FOUND)
        talk.hear()
        lost = ways.reply_all([third, second, fourth, first, third], [b"3", b"2", b"44", b"1", b"again"])
        assert lost == (1, 4)
        assert [str(one) for one in talk.hear()] == [
            "headers 5 200", "data 5 6", "headers 5 0 end",
            "headers 7 200", "data 7 7", "headers 7 0 end",
            "headers 1 200", "data 1 6", "headers 1 0 end",
        ]  # fmt: skip
        assert (talk.budget.calls, talk.engine.open_streams, talk.outputs) == (0, 0, 3)

    def test_each_connection_is_told_once(self, wire, ways, way):
        talks = [wire.Talk(), wire.Talk()]
        for talk in talks:
            talk.say(*[wire.call(stream) for stream in (1, 3, 5, 7)])
            talk.calls()[0].fail(StatusCode.NOT_FOUND)
            talk.hear()
        before = [talk.outputs for talk in talks]
        calls = [call for pair in zip(talks[0].calls(), talks[1].calls(), strict=True) for call in pair]
        ways.reply_all(calls, [str(index).encode() for index in range(8)])
        assert [talk.outputs for talk in talks] == [before[0] + 1, before[1] + 1]
        assert [one.payload[5:] for talk in talks for one in talk.hear() if one.kind == "DATA"] == [
            b"2", b"4", b"6", b"3", b"5", b"7",
        ]  # fmt: skip

    def test_what_the_windows_do_not_take_waits(self, wire, ways, way):
        talk = wire.Talk()
        talk.say(*[wire.call(stream) for stream in (1, 3, 5, 7, 9)])
        talk.hear()
        assert ways.reply_all(talk.calls(), [bytes(16000)] * 5) == ()
        said = [str(one) for one in talk.hear() if one.ends]
        assert said == [f"headers {stream} 0 end" for stream in (1, 3, 5, 7)]
        assert talk.engine.send_window == 0
        assert [str(one) for one in talk.ask(wire.window_update(0, 16005))][-1] == "headers 9 0 end"

    def test_those_refused_are_told(self, wire, ways, way):
        talk = wire.Talk(connection_send_buffer_bytes=1000, max_send_bytes=5000)
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=100))
        talk.say(*[wire.call(stream) for stream in (1, 3, 5, 7, 9)])
        messages = [bytes(5001), bytes(4500), bytes(600), bytes(10), bytes(95)]
        assert ways.reply_all(talk.calls(), messages) == (0, 2)
        assert [str(one) for one in talk.hear() if one.ends] == [
            "headers 1 200/8 end", "headers 5 200/8 end", "headers 7 0 end", "headers 9 0 end",
        ]  # fmt: skip

    def test_hooks_are_told_of_every_call(self, wire, ways, way):
        ended = []
        talk = wire.Talk(after=[lambda request, code, _: ended.append((request.stream_id, code))])
        talk.say(wire.call(1), wire.call(3))
        ways.reply_all(talk.calls(), [b"", b""])
        assert ended == [(1, StatusCode.OK), (3, StatusCode.OK)]
        assert (talk.budget.calls, talk.budget.bytes) == (0, 0)

    def test_a_hook_that_fails_holds_nothing_up(self, wire, ways, way, caplog):
        talk = wire.Talk(after=[lambda *_: 1 / 0])
        talk.say(wire.call(1), wire.call(3))
        ways.reply_all(talk.calls(), [b"", b""])
        assert talk.engine.open_streams == 0
        assert caplog.text.count("a hook failed") == 2

    def test_lists_of_two_lengths(self, wire, ways):
        talk = wire.Talk()
        talk.say(wire.call(1))
        with pytest.raises(ValueError, match="1 calls and 2 messages"):
            ways.reply_all(talk.calls(), [b"", b""])
        assert talk.budget.calls == 1

    @pytest.mark.parametrize("message", [None, "text", 5])
    def test_a_message_that_is_no_bytes(self, wire, ways, message):
        talk = wire.Talk()
        talk.say(wire.call(1))
        with pytest.raises(TypeError):
            ways.reply_all(talk.calls(), [message])

    def test_whoever_can_reply_is_a_call(self, ways):
        class Call:
            def reply(self, message):
                self.message = message
                return message == b"x"

        calls = [Call(), Call()]
        assert ways.reply_all(calls, [b"x", b"y"]) == (1,)
        assert [call.message for call in calls] == [b"x", b"y"]

    def test_nothing_to_do(self, ways):
        assert ways.reply_all([], []) == ()


EXHAUSTED = Status(StatusCode.RESOURCE_EXHAUSTED, "no room")
PUSHBACK = [(b"x-retry", b"7")]


class TestFailAll:
    def test_the_status_leaves_for_each_that_is_not_over(self, wire, ways, way):
        talk = wire.Talk()
        talk.say(*[wire.call(stream, bytes(10)) for stream in (1, 3, 5, 7)], wire.headers(9))
        first, second, third, fourth = talk.calls()
        second.reply(b"")
        third.request.set_trailing_metadata([("x-own", "v")])
        talk.hear()
        ways.fail_all([fourth, second, third, fourth, first], EXHAUSTED)
        assert [str(one) for one in talk.hear()] == [
            "headers 7 200/8 end",
            "headers 5 200/8 end",
            "headers 1 200/8 end",
        ]
        assert [(call.over, call.message, call.held) for call in talk.calls()] == [(True, b"", 0)] * 4
        assert (talk.budget.calls, talk.budget.bytes, talk.engine.open_streams, talk.outputs) == (1, 0, 1, 3)
        assert talk.engine.running_calls == 1

    def test_metadata_goes_with_it(self, wire, ways, way):
        talk = wire.Talk()
        talk.say(wire.call(1), wire.call(3))
        talk.calls()[0].request.set_trailing_metadata([("x-own", "v")])
        ways.fail_all(talk.calls(), EXHAUSTED, PUSHBACK)
        for said in talk.hear():
            assert said.fields == (
                (":status", "200"),
                ("content-type", "application/grpc"),
                ("grpc-accept-encoding", "identity,gzip,deflate"),
                ("grpc-status", "8"),
                ("grpc-message", "no room"),
                ("x-retry", "7"),
            )

    def test_the_calls_own_metadata_stays_where_there_is_none(self, wire, ways, way):
        talk = wire.Talk()
        talk.say(wire.call(1), wire.call(3))
        talk.calls()[0].request.set_trailing_metadata([("x-own", "v")])
        ways.fail_all(talk.calls(), EXHAUSTED)
        assert [dict(said.fields).get("x-own") for said in talk.hear()] == ["v", None]

    def test_each_connection_is_told_once(self, wire, ways, way):
        talks = [wire.Talk(), wire.Talk()]
        for talk in talks:
            talk.say(*[wire.call(stream) for stream in (1, 3, 5, 7)])
            talk.calls()[0].fail(StatusCode.NOT_FOUND)
            talk.hear()
        before = [talk.outputs for talk in talks]
        ways.fail_all(
            [call for pair in zip(talks[0].calls(), talks[1].calls(), strict=True) for call in pair],
            EXHAUSTED,
        )
        assert [talk.outputs for talk in talks] == [before[0] + 1, before[1] + 1]
        assert [[one.stream for one in talk.hear()] for talk in talks] == [[3, 5, 7]] * 2

    def test_answers_that_have_begun_are_ended_behind_what_was_said(self, wire, ways, way):
        talk = wire.Talk()
        talk.say(wire.call(1), wire.call(3), wire.call(5))
        first, second, _ = talk.calls()
        first.connection.send_message(first, b"abc")
        second.request.set_leading_metadata([("x-l", "1")])
        ways.fail_all(talk.calls(), EXHAUSTED)
        assert [str(one) for one in talk.hear()] == [
            "headers 1 200", "data 1 8", "headers 1 8 end", "headers 3 200/8 end", "headers 5 200/8 end",
        ]  # fmt: skip

    def test_hooks_are_told_of_every_call(self, wire, ways, way):
        ended = []
        talk = wire.Talk(after=[lambda request, code, _: ended.append((request.stream_id, code))])
        talk.say(wire.call(1), wire.call(3))
        ways.fail_all(talk.calls(), EXHAUSTED)
        assert ended == [(1, EXHAUSTED.status_code), (3, EXHAUSTED.status_code)]

    def test_they_are_counted_with_the_time_that_each_took(self, wire, ways, way):
        told = []
        talk = wire.Talk()
        talk.context.clock = lambda: 9.0
        talk.context.on_failure = lambda *failed: told.append(failed)
        for talk.now, streams in ((2.0, [1, 3]), (4.0, [5])):
            talk.say(*map(wire.call, streams))
        ways.fail_all(talk.calls(), EXHAUSTED)
        seconds = [took for path, code, took, calls in told for _ in range(calls)]
        assert {(path, code) for path, code, _, _ in told} == {("/t.S/Unary", EXHAUSTED.status_code)}
        assert seconds == [7.0, 7.0, 5.0]
        assert list(talk.context.failed.values()) == [3]

    def test_an_end_that_is_no_failure(self, wire, ways, way):
        told = []
        talk = wire.Talk()
        talk.context.on_failure = lambda *failed: told.append(failed)
        talk.say(wire.call(1), wire.call(3))
        ways.fail_all(talk.calls(), Status(StatusCode.OK))
        assert [str(one) for one in talk.hear()] == ["headers 1 200/0 end", "headers 3 200/0 end"]
        assert (told, list(talk.context.answered.values()), talk.context.failed) == ([], [2], {})

    def test_metadata_that_fits_no_frame(self, wire, ways, way):
        talk = wire.Talk()
        talk.say(wire.call(1), wire.call(3))
        ways.fail_all(talk.calls(), EXHAUSTED, [(b"x-t", b"v" * 20_000)])
        assert [(one.stream, one.ends) for one in talk.hear() if one.kind == "HEADERS"] == [
            (1, True),
            (3, True),
        ]

    def test_whoever_can_fail_is_a_call(self, ways):
        class Call:
            over = False
            trailing = None

            def fail(self, code, text):
                self.ended = (code, text, self.trailing)

        calls = [Call(), Call()]
        calls[1].over = True
        ways.fail_all(calls, EXHAUSTED, PUSHBACK)
        assert calls[0].ended == (EXHAUSTED.status_code, "no room", PUSHBACK)
        assert not hasattr(calls[1], "ended")

    def test_nothing_to_do(self, ways):
        ways.fail_all([], EXHAUSTED)


class TestTakeComplete:
    def test_calls_of_raw_methods_are_sorted_by_route(self, wire, ways):
        talk = wire.Talk()
        routes = [Route("/t.S/A", collects=True, target=print), Route("/t.S/B", collects=True, target=print)]
        ordinary = Route("/t.S/C", collects=True)
        talk.context.routes.update({each.path.encode(): each for each in (*routes, ordinary)})
        events = talk.say(
            b"".join(
                wire.call(1 + 2 * index, b"", path=f"/t.S/{name}") for index, name in enumerate("ABACBA")
            ),
            wire.ping(ack=True),
        )
        over = events[2]
        over.fail(StatusCode.NOT_FOUND)
        complete = {}
        others = ways.take_complete(RawCall, [*events, "other"], complete)
        assert {route.path: [call.id for call in calls] for route, calls in complete.items()} == {
            "/t.S/A": [1, 11], "/t.S/B": [3, 9],
        }  # fmt: skip
        assert list(others) == [events[3], "other"]

    def test_calls_join_those_of_other_connections(self, wire, ways):
        talks = [wire.Talk(), wire.Talk()]
        complete = {}
        for talk in talks:
            talk.context.routes[b"/t.S/Unary"] = ROUTE
            assert not ways.take_complete(RawCall, talk.say(wire.call(1)), complete)
        assert complete == {ROUTE: [talks[0].calls()[0], talks[1].calls()[0]]}


class TestTwins:
    """What the compiled classes have, the readable ones have."""

    @pytest.mark.parametrize("name", ["CallState", "EngineState"])
    def test_fields(self, twins, modules, name):
        one, other = (getattr(kit.compiled, name) for kit in modules)
        assert one is not other
        fields = {field for field in dir(one) if not field.startswith("__")}
        assert fields == {field for field in dir(other) if not field.startswith("__")}
