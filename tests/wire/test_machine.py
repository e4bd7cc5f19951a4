"""A client, handlers and a driver do anything in any order; a model says what may come of it."""

from collections import Counter

import pytest
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from purerpc import Status, StatusCode

from hushar.rpc import events as ev
from hushar.rpc.calls import RawCall

LIMIT = 4
STREAM_WINDOW = 3000
CONNECTION_WINDOW = 70_000
MESSAGE = 1000
BYTES = 8000
FATAL = [
    "PING of 7 bytes", "SETTINGS of 5 bytes", "INITIAL_WINDOW_SIZE too large", "MAX_FRAME_SIZE too small",
    "ENABLE_PUSH of 2", "index 0", "an even stream id", "HEADERS on stream 0",
    "a frame inside a header block",
    "CONTINUATION of nothing", "DATA on stream 0", "DATA on an idle stream",
    "RST_STREAM on an idle stream", "WINDOW_UPDATE of 0", "WINDOW_UPDATE on an idle stream",
    "PRIORITY on stream 0", "PUSH_PROMISE", "GOAWAY of 1 byte", "GOAWAY on a stream",
]  # fmt: skip
"""Faults that cost the connection, whatever was before."""
SIZES = st.sampled_from([0, 1, 50, 400, MESSAGE])


class Machine(RuleBasedStateMachine):
    def __init__(self, wire):
        super().__init__()
        self.wire = wire
        self.talk = wire.Talk(
            connection_concurrency=LIMIT, stream_window_bytes=STREAM_WINDOW, max_receive_bytes=MESSAGE,
            connection_window_bytes=CONNECTION_WINDOW, max_send_bytes=5 * MESSAGE, reset_burst=30,
            glitch_burst=30, max_queued_control_frames=30,
        )  # fmt: skip
        self.talk.budget.max_bytes = BYTES
        self.engine = self.talk.engine
        self.next_id = 1
        self.sending = {}
        """Of streams that the client has not ended: the window that the server has left it."""
        self.may_send = CONNECTION_WINDOW
        self.window = 65535
        self.initial = 65535
        self.windows = {}
        """What the server may send on each stream, by all that the client has said."""
        self.ended = set()
        """Streams on which the server may not send any more."""
        self.running = []
        self.untaken = []
        self.happened = Counter()
        self.over = False
        self.refused_above = 2**31

    @initialize(window=st.sampled_from([0, 100, 65535]))
    def first_settings(self, window):
        self.settings(window)

    # The client

    def say(self, *pieces):
        for event in self.talk.say(*pieces):
            assert not self.happened["ConnectionFailed"], "an event after the last"
            self.happened[type(event).__name__] += 1
            match event:
                case RawCall() | ev.StreamBegun():
                    call = event if isinstance(event, RawCall) else event.call
                    if not call.over:
                        call.handler = self
                        self.running.append(call)
                case ev.MessageReceived(call, message, wire_bytes):
                    assert len(message) <= MESSAGE
                    self.untaken.append((call, wire_bytes))
                case ev.CallAborted(call):
                    assert call.over
        self.hear()

    def hear(self):
        for one in self.talk.hear():
            assert not self.over, f"{one} after the GOAWAY of an error"
            self.heard(one)

    def heard(self, one):
        match one.kind:
            case "HEADERS" | "DATA":
                assert one.stream not in self.ended, f"{one} after its end"
                assert one.stream <= self.refused_above
                if one.kind == "DATA":
                    self.window -= len(one.payload)
                    self.windows[one.stream] -= len(one.payload)
                    assert self.window >= 0
                    assert self.windows[one.stream] >= 0
                if one.ends:
                    self.ended.add(one.stream)
            case "RST_STREAM":
                self.ended.add(one.stream)
                self.sending.pop(one.stream, None)
            case "WINDOW_UPDATE" if one.stream:
                if one.stream in self.sending:
                    self.sending[one.stream] += one.number
                    assert self.sending[one.stream] <= STREAM_WINDOW
            case "WINDOW_UPDATE":
                self.may_send += one.number
                assert self.may_send <= CONNECTION_WINDOW
            case "GOAWAY":
                self.over = one.code != "NO_ERROR"
                assert one.number <= self.refused_above
                self.refused_above = one.number

    @rule(
        path=st.sampled_from(["Unary", "Unary", "Down", "Up", "Stream", "None"]),
        size=SIZES,
        whole=st.booleans(),
    )
    def call(self, path, size, whole):
        stream = self.next_id
        self.next_id += 2
        said = self.wire.headers(stream, self.wire.block(path=f"/t.S/{path}"))
        self.windows[stream] = self.initial
        if whole and size + 5 <= self.may_send:
            self.may_send -= size + 5
            said += self.wire.data(stream, self.wire.message(bytes(size)), end=True)
        else:
            self.sending[stream] = STREAM_WINDOW
        self.say(said)

    @precondition(lambda self: self.sending)
    @rule(choice=st.integers(0, 100), size=SIZES, end=st.booleans(), cut=st.integers(0, 10))
    def data(self, choice, size, end, cut):
        stream = sorted(self.sending)[choice % len(self.sending)]
        payload = self.wire.message(bytes(size))[: size + 5 - cut]
        if len(payload) > min(self.may_send, self.sending[stream]):
            return
        self.may_send -= len(payload)
        self.sending[stream] -= len(payload)
        if end:
            del self.sending[stream]
        self.say(self.wire.data(stream, payload, end=end))

    @precondition(lambda self: self.next_id > 1)
    @rule(choice=st.integers(0, 100))
    def reset(self, choice):
        stream = 1 + 2 * (choice % (self.next_id // 2))
        self.sending.pop(stream, None)
        self.ended.add(stream)
        self.say(self.wire.rst(stream))

    @rule()
    def ping(self):
        self.say(self.wire.ping())

    @rule(window=st.sampled_from([0, 1, 100, 5000, 65535]))
    def settings(self, window):
        for stream in self.windows:
            self.windows[stream] += window - self.initial
        self.initial = window
        self.say(self.wire.settings(INITIAL_WINDOW_SIZE=window))

    @rule(choice=st.integers(0, 100), increment=st.sampled_from([1, 100, 10_000]))
    def window_update(self, choice, increment):
        stream = [0, *self.windows][choice % (len(self.windows) + 1)]
        if stream:
            self.windows[stream] += increment
        else:
            self.window += increment
        self.say(self.wire.window_update(stream, increment))

    @rule(seconds=st.sampled_from([0.1, 20]))
    def time_passes(self, seconds):
        self.talk.now += seconds

    @rule(name=st.sampled_from(FATAL), rarely=st.integers(0, 30))
    def fault(self, name, rarely):
        if not rarely:
            self.say(self.wire.FAULTS[name](self.next_id))
            assert self.over

    # The server

    @precondition(lambda self: self.running)
    @rule(
        choice=st.integers(0, 100),
        size=SIZES,
        how=st.sampled_from(["reply", "send", "end", "expire", "large"]),
    )
    def answer(self, choice, size, how):
        call = self.running[choice % len(self.running)]
        match how:
            case "reply":
                call.reply(bytes(size))
            case "send":
                assert self.engine.send_message(call, bytes(size)) is not call.over
            case "end":
                self.engine.end_call(call, Status(StatusCode.OK))
            case "expire":
                self.engine.expire(call)
            case "large":
                call.reply(bytes(5 * MESSAGE + size))
        self.hear()

    @precondition(lambda self: self.running)
    @rule(choice=st.integers(0, 100))
    def handler_ends(self, choice):
        call = self.running.pop(choice % len(self.running))
        self.engine.end_call(call, Status(StatusCode.UNAVAILABLE))
        self.engine.handler_ended(call)
        self.hear()

    @precondition(lambda self: self.untaken)
    @rule()
    def a_message_is_taken(self):
        self.engine.acknowledge(*self.untaken.pop(0))
        self.hear()

    @rule(rarely=st.integers(0, 30))
    def drain(self, rarely):
        if not rarely:
            self.engine.go_away()
            self.hear()
            self.engine.refuse_new()
            self.hear()

    # What always holds

    @invariant()
    def calls_are_limited(self):
        assert self.engine.open_streams + self.engine.lingering <= LIMIT

    @invariant()
    def buffers_are_bounded(self):
        streams = self.engine._streams.values()
        assert self.engine.waiting_bytes == sum(stream.queued for stream in streams)
        assert self.engine._finished_bytes == sum(s.queued for s in streams if s.trailers is not None)
        assert all(stream.queued for stream in self.engine._ready.values())
        assert self.talk.budget.bytes == sum(stream.held for stream in streams)
        assert self.talk.budget.bytes <= BYTES
        assert self.talk.budget.calls == sum(not stream.over for stream in streams)

    @invariant()
    def nobody_waits_who_may_send(self):
        if self.engine.send_window > 0 and not self.over:
            assert not self.engine._ready

    @invariant()
    def an_error_is_the_end(self):
        assert self.over == self.engine.failed
        if self.over:
            assert not self.engine.open_streams
            assert self.talk.ask(self.wire.ping()) == []

    def teardown(self):
        self.engine.lost()
        for call in self.running:
            self.engine.end_call(call, Status(StatusCode.OK))
            self.engine.handler_ended(call)
        assert (self.talk.budget.calls, self.talk.budget.bytes) == (0, 0)
        assert (self.engine.open_streams, self.engine.lingering, self.engine.waiting_bytes) == (0, 0, 0)
        assert self.engine.data_to_send() == b""


@pytest.mark.slow
def test_nothing_but_what_the_model_allows(wire):
    run_state_machine_as_test(
        lambda: Machine(wire), settings=profile(max_examples=60, stateful_step_count=60, deadline=None)
    )
