"""From DATA to messages, and what a server holds of them (RPC.md, Calls; RFC 9113, 8.1)."""

import gzip

import pytest
from purerpc import StatusCode

from hushar.rpc import compiled
from hushar.rpc import events as ev

pytestmark = pytest.mark.usefixtures("way")

REFUSED = {13: "headers 1 200/13 end", 12: "headers 1 200/12 end", 8: "headers 1 200/8 end"}
STOP = "reset 1 NO_ERROR"


def reply_to(call):
    """Answer a call with others."""
    compiled.reply_all([call], [b""])


def begin(wire, path="/t.S/Unary", *fields, **limits):
    talk = wire.Talk(**limits)
    talk.say(wire.headers(1, wire.block(*fields, path=path)))
    return talk


class TestOneMessage:
    @pytest.mark.parametrize("body", [b"", b"abc", bytes(100_000)])
    def test_in_one_frame(self, wire, body):
        talk = begin(wire)
        (call,) = talk.say(wire.data(1, wire.message(body), end=True))
        assert call.message == body

    @pytest.mark.parametrize("cut", range(9))
    def test_in_two(self, wire, cut):
        talk = begin(wire)
        said = wire.message(b"abc")
        assert talk.say(wire.data(1, said[:cut])) == []
        (call,) = talk.say(wire.data(1, said[cut:], end=True))
        assert call.message == b"abc"

    def test_it_is_told_when_the_request_has_ended(self, wire):
        talk = begin(wire)
        assert talk.say(wire.data(1, wire.message(b"abc"))) == []
        assert talk.say(wire.data(1, end=True)) == [talk.calls()[0]]

    def test_trailers_end_it_too(self, wire):
        talk = begin(wire)
        talk.say(wire.data(1, wire.message(b"abc")))
        talk.say(wire.headers(1, wire.literal("x-t", "1"), end=True))
        assert talk.calls()[0].message == b"abc"

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", 12),
            (b"\0\0\0\0", 13),
            (b"\0\0\0\0\5abc", 13),
            (b"\2\0\0\0\0", 13),
            (b"\1\0\0\0\0", 13),
            (b"\0\0\0\0\0\0\0\0\0\0", 12),
            (b"\0\0\0\0\0\0", 13),
            (b"\0\0\0\x03\xe9" + bytes(1001), 8),
            (b"\0\xff\xff\xff\xff", 8),
        ],
        ids=["none", "part of a prefix", "part of a message", "flag 2", "no encoding", "two",
             "one and a part", "too large", "far too large"],
    )  # fmt: skip
    def test_what_is_no_single_message(self, wire, body, code):
        talk = begin(wire, max_receive_bytes=1000)
        heard = talk.ask(wire.data(1, body, end=True))
        assert [said for said in heard if said != STOP] == [REFUSED[code]]
        assert talk.calls() == []
        assert (talk.budget.calls, talk.budget.bytes) == (0, 0)
        assert not talk.engine.failed

    def test_too_large_is_said_before_anything_is_kept(self, wire):
        talk = begin(wire, max_receive_bytes=1000)
        assert talk.ask(wire.data(1, b"\0\0\0\x03\xe9")) == [REFUSED[8], STOP]

    def test_headers_that_end_the_request_bring_no_message(self, wire):
        assert wire.Talk().ask(wire.headers(1, end=True)) == [REFUSED[12]]


class TestManyMessages:
    def test_each_is_told_of(self, wire):
        talk = begin(wire, "/t.S/Stream")
        events = talk.say(
            wire.data(1, wire.message(b"a") + wire.message(b"") + wire.message(b"bc")[:6]),
            wire.data(1, b"c"),
            wire.data(1, end=True),
        )
        assert [type(event) for event in events] == [ev.MessageReceived] * 3 + [ev.HalfClosed]
        assert [event.message for event in events[:3]] == [b"a", b"", b"bc"]
        # All but the bytes of the unfinished message count when the last message of a frame is taken.
        assert [event.wire_bytes for event in events[:3]] == [0, 17, 1]

    def test_none(self, wire):
        talk = wire.Talk()
        events = talk.say(wire.headers(1, wire.block(path="/t.S/Up"), end=True))
        assert [type(event) for event in events] == [ev.StreamBegun, ev.HalfClosed]

    @pytest.mark.parametrize(
        ("body", "code"),
        [(b"\2\0\0\0\0", 13), (b"\0\0\0\x03\xe9", 8), (b"\0\0\0\0\1", 13), (b"\1\0\0\0\0", 13)],
    )
    def test_a_fault_ends_the_handler_too(self, wire, body, code):
        """Or it would wait for ever for a message, and keep its place."""
        talk = begin(wire, "/t.S/Stream", max_receive_bytes=1000)
        events = talk.say(wire.data(1, wire.message(b"good") + body, end=True))
        assert [type(event) for event in events] == [ev.MessageReceived, ev.CallAborted]
        assert str(talk.hear()[0]) == REFUSED[code]
        assert events[1].call.over


class TestCompression:
    def test_a_message_is_inflated(self, wire):
        talk = begin(wire, "/t.S/Unary", ("grpc-encoding", "gzip"))
        talk.say(wire.data(1, wire.message(gzip.compress(b"abc"), 1), end=True))
        assert talk.calls()[0].message == b"abc"

    def test_never_beyond_the_limit(self, wire):
        talk = begin(wire, "/t.S/Unary", ("grpc-encoding", "gzip"), max_receive_bytes=10_000)
        bomb = gzip.compress(bytes(5_000_000))
        assert talk.ask(wire.data(1, wire.message(bomb, 1), end=True))[0] == REFUSED[8]

    def test_bombs_in_a_stream_count_as_what_they_become(self, wire):
        talk = begin(wire, "/t.S/Up", ("grpc-encoding", "gzip"), max_receive_bytes=100_000)
        talk.budget.max_bytes = 450_000
        bomb = wire.message(gzip.compress(bytes(100_000)), 1)
        events = talk.say(wire.data(1, bomb * 100))
        assert [type(event) for event in events] == [ev.MessageReceived] * 4 + [ev.CallAborted]
        assert [str(one) for one in talk.hear()] == [REFUSED[8], STOP]
        assert talk.budget.bytes == 0

    def test_an_unknown_encoding_is_12_if_it_is_used(self, wire):
        talk = begin(wire, "/t.S/Unary", ("grpc-encoding", "br"))
        talk.say(wire.data(1, wire.message(b"abc", 1), end=True))
        (refusal,) = [one for one in talk.hear() if one.kind == "HEADERS"]
        assert refusal.get("grpc-status") == "12"
        assert refusal.get("grpc-accept-encoding") == "identity,gzip,deflate"

    def test_and_nothing_if_it_is_not(self, wire):
        talk = begin(wire, "/t.S/Unary", ("grpc-encoding", "br"))
        talk.say(wire.data(1, wire.message(b"abc"), end=True))
        assert talk.calls()[0].message == b"abc"

    def test_a_server_may_offer_none(self, wire):
        talk = begin(wire, "/t.S/Unary", ("grpc-encoding", "gzip"), compression=())
        assert talk.ask(wire.data(1, wire.message(b"abc", 1), end=True))[0] == REFUSED[12]


class TestContentLength:
    """RFC 9113, 8.1.1."""

    @pytest.mark.parametrize(("length", "fits"), [("8", True), ("7", False), ("9", False)])
    def test_it_has_to_be_right(self, wire, length, fits):
        talk = begin(wire, "/t.S/Unary", ("content-length", length))
        heard = talk.ask(wire.data(1, wire.message(b"abc"), end=True, pad=4))
        assert heard == ([] if fits else ["reset 1 PROTOCOL_ERROR"])
        assert len(talk.calls()) == fits

    def test_also_where_headers_end_the_request(self, wire):
        talk = wire.Talk()
        said = wire.headers(1, wire.block(("content-length", "5")), end=True)
        assert talk.ask(said) == ["reset 1 PROTOCOL_ERROR"]
        assert talk.ask(wire.headers(3, wire.block(("content-length", "0")), end=True)) == [
            "headers 3 200/12 end"
        ]

    def test_and_as_soon_as_it_is_exceeded(self, wire):
        talk = begin(wire, "/t.S/Up", ("content-length", "8"))
        assert talk.ask(wire.data(1, wire.message(b"abcd"))) == ["reset 1 PROTOCOL_ERROR"]


class TestAfterTheEnd:
    def test_data_after_an_answer_that_still_waits_is_dropped(self, wire):
        talk = begin(wire, "/t.S/Stream")
        call = talk.events[-1].call
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
        call.reply(b"abc")
        events = talk.say(wire.data(1, wire.message(bytes(100))), wire.data(1, end=True))
        assert events == []
        assert (talk.budget.bytes, call.receiving) == (0, False)
        # No RST_STREAM NO_ERROR: the client has said all.
        assert talk.ask(wire.window_update(1, 100))[-2:] == ["data 1 8", "headers 1 0 end"]

    def test_trailers_too(self, wire):
        talk = begin(wire, "/t.S/Stream", ("content-length", "100"))
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
        talk.events[-1].call.reply(b"abc")
        assert talk.say(wire.headers(1, wire.literal("x-t", "1"), end=True)) == []
        assert talk.ask(wire.window_update(1, 100))[-1] == "headers 1 0 end"

    def test_data_on_a_half_closed_stream(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1))
        events = talk.say(wire.data(1, b"x"))
        assert [type(event) for event in events] == [ev.CallAborted]
        assert [str(one) for one in talk.hear()] == ["reset 1 STREAM_CLOSED"]

    def test_data_on_a_stream_that_we_have_reset_is_ignored_but_counts(self, wire):
        talk = begin(wire, connection_window_bytes=65535)
        talk.ask(wire.window_update(1, 0))
        assert talk.ask(wire.data(1, bytes(16384)) * 2) == ["window 0 32768"]


class TestBudget:
    def test_a_request_counts_until_its_call_is_over(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1, bytes(100)) + wire.headers(3) + wire.data(3, wire.message(bytes(50))[:20]))
        assert (talk.budget.calls, talk.budget.bytes) == (2, 120)
        talk.calls()[0].reply(b"")
        assert (talk.budget.calls, talk.budget.bytes) == (1, 20)
        talk.say(wire.rst(3))
        assert (talk.budget.calls, talk.budget.bytes) == (0, 0)

    def test_of_a_stream_of_requests_what_was_not_taken(self, wire):
        talk = begin(wire, "/t.S/Up")
        talk.budget.max_bytes = 2000
        for _ in range(50):
            (event,) = talk.say(wire.data(1, wire.message(bytes(1000))))
            assert talk.budget.bytes == 1128
            talk.engine.acknowledge(event.call, event.wire_bytes)
            assert talk.budget.bytes == 0
        assert not event.call.over

    def test_messages_of_no_bytes_are_not_for_nothing(self, wire):
        talk = begin(wire, "/t.S/Up")
        talk.budget.max_bytes = 10_000
        heard = talk.ask(wire.data(1, wire.message() * 1000))
        assert heard == [REFUSED[8], STOP]
        assert sum(isinstance(event, ev.MessageReceived) for event in talk.events) <= 79

    @pytest.mark.parametrize("pieces", [1, 2])
    def test_too_much_of_it_is_refused(self, wire, pieces):
        talk = begin(wire)
        talk.budget.max_bytes = 1000
        said = wire.message(bytes(1200))
        cut = 600 * (pieces - 1)
        heard = talk.ask(*([wire.data(1, said[:cut])] if cut else []), wire.data(1, said[cut:], end=True))
        assert REFUSED[8] in heard
        assert talk.calls() == []
        assert talk.budget.bytes == 0

    def test_a_frame_that_is_not_complete_counts(self, wire):
        talk = begin(wire)
        said = wire.data(1, wire.message(bytes(100_000)), end=True)
        talk.say(said[:10_000])
        assert talk.budget.bytes == 0  # Short ones are not worth it.
        talk.say(said[10_000:60_000], said[60_000:-1])
        assert talk.budget.bytes == len(said) - 1
        talk.say(said[-1:])
        assert talk.budget.bytes == talk.calls()[0].held == 100_000
        talk.calls()[0].reply(b"")
        assert talk.budget.bytes == 0

    @pytest.mark.parametrize("path", ["/t.S/Unary", "/t.S/Up"])
    def test_a_frame_that_is_too_much_of_it_ends_its_call_and_is_not_kept(self, wire, path):
        talk = begin(wire, path)
        talk.budget.max_bytes = 30_000
        said = wire.data(1, wire.message(bytes(100_000)))
        heard = talk.ask(said[:20_000], said[20_000:40_000])
        assert heard == [REFUSED[8], STOP]
        assert talk.budget.bytes == 0
        assert talk.engine._chunks == []
        # The connection goes on behind it.
        talk.say(said[40_000:70_000], said[70_000:] + wire.call(3, b"next"))
        assert talk.calls()[-1].message == b"next"
        assert talk.ask(wire.ping()) == ["ping ack"]

    def test_a_frame_at_once_that_is_too_much_of_it(self, wire):
        talk = begin(wire)
        talk.budget.max_bytes = 30_000
        said = wire.data(1, wire.message(bytes(100_000)), end=True)
        assert REFUSED[8] in talk.ask(said[:40_000])
        talk.say(said[40_000:] + wire.call(3, b"next"))
        assert [call.message for call in talk.calls()] == [b"next"]
        talk.calls()[0].reply(b"")
        assert (talk.budget.calls, talk.budget.bytes) == (0, 0)

    @pytest.mark.parametrize("kind", ["HEADERS", "DATA", "UNKNOWN"])
    def test_one_that_is_no_calls_ends_the_connection(self, wire, kind):
        talk = begin(wire)
        talk.budget.max_bytes = 30_000
        said = wire.frame(0x77 if kind == "UNKNOWN" else kind, 0, 5, bytes(60_000))
        assert talk.ask(said[:40_000]) == ["goaway ENHANCE_YOUR_CALM"]
        assert talk.budget.bytes == 0

    @pytest.mark.parametrize("end", ["lost", "fault"])
    def test_a_connection_that_ends_gives_its_half_frame_back(self, wire, end):
        talk = begin(wire)
        said = wire.data(1, wire.message(bytes(100_000)), end=True)
        talk.say(said[:40_000], said[40_000:80_000])
        if end == "lost":
            talk.engine.lost()
        else:
            talk.engine.fail(0, "")
        assert (talk.budget.calls, talk.budget.bytes) == (0, 0)

    @pytest.mark.parametrize("part", [0, 3])
    def test_what_comes_after_the_answer_does_not_count(self, wire, part):
        """The answer waits for its window, so the stream is open."""
        talk = begin(wire)
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
        talk.say(wire.headers(3))
        call = talk.engine._streams[3]
        said = wire.message(bytes(100))
        if part:
            talk.say(wire.data(3, said[:part]))
        call.reply(b"early")
        talk.say(wire.data(3, said[part:], end=True))
        assert talk.budget.bytes == 0
        assert talk.calls() == []
        assert "data 3 10" in talk.ask(wire.window_update(3, 100))

    def test_messages_taken_after_the_end_give_nothing_back_twice(self, wire):
        talk = begin(wire, "/t.S/Up")
        (event,) = talk.say(wire.data(1, wire.message(bytes(1000))))
        talk.say(wire.rst(1))
        talk.engine.acknowledge(event.call, event.wire_bytes)
        assert talk.budget.bytes == 0
        assert talk.hear() == []


class TestWhatIsOver:
    """A deadline may be watched for hours: what a client has sent is let go when its call is over."""

    @pytest.mark.parametrize("body", [b"abc", bytes(100_000)])
    @pytest.mark.parametrize(
        "end", [lambda call: call.reply(b""), lambda call: call.fail(StatusCode.INTERNAL), reply_to]
    )
    def test_an_answered_call_has_no_message(self, wire, body, end):
        talk = begin(wire)
        (call,) = talk.say(wire.data(1, wire.message(body), end=True))
        end(call)
        assert call.over
        assert (call.message, call.reader) == (b"", None)

    def test_nor_has_a_cancelled_one(self, wire):
        talk = begin(wire)
        (call,) = talk.say(wire.data(1, wire.message(b"abc"), end=True))
        talk.say(wire.rst(1))
        assert (call.message, call.reader) == (b"", None)

    def test_nor_a_part_of_one(self, wire):
        talk = begin(wire)
        talk.say(wire.data(1, wire.message(bytes(50_000))[:30_000]))
        (call,) = talk.engine._streams.values()
        assert call.reader.held == 30_000
        talk.say(wire.rst(1))
        assert call.reader is None

    def test_a_handler_has_it_until_it_ends(self, wire):
        talk = begin(wire)
        (call,) = talk.say(wire.data(1, wire.message(b"abc"), end=True))
        call.handler = object()
        call.reply(b"")
        assert call.message == b"abc"
        talk.engine.handler_ended(call)
        assert call.message == b""
