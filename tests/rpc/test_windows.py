"""Flow control (RFC 9113, 5.2 and 6.9), both ways."""

from collections import Counter

import pytest

pytestmark = pytest.mark.usefixtures("way")

WIDE = 2**31 - 1


@pytest.fixture
def talk(wire):
    """A connection whose streams may send as much as they like, the connection itself 65535 bytes."""
    made = wire.Talk(connection_concurrency=200)
    made.ask(wire.settings(INITIAL_WINDOW_SIZE=WIDE))
    return made


def ask_for(talk, wire, count, body=b""):
    """So many complete calls, streams 1, 3, 5, …"""
    talk.say(b"".join(wire.call(1 + 2 * index, body) for index in range(count)))
    return talk.calls()


class TestSending:
    def test_streams_take_turns(self, wire, talk):
        for call in ask_for(talk, wire, 3):
            call.reply(bytes(100_000))
        assert Counter(one.stream for one in talk.hear() if one.kind == "DATA") == {1: 4}
        talk.say(wire.window_update(0, 6 * 16384))
        assert [one.stream for one in talk.hear()] == [1, 3, 5, 1, 3, 5]

    def test_a_stream_whose_window_is_closed_holds_no_other_up(self, wire, talk):
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=10))
        first, second = ask_for(talk, wire, 2)
        talk.say(wire.window_update(3, 1000))
        first.reply(bytes(100))
        second.reply(bytes(100))
        heard = [str(one) for one in talk.hear()]
        assert heard == [
            "headers 1 200", "data 1 10", "headers 3 200", "data 3 105", "headers 3 0 end",
        ]  # fmt: skip
        assert talk.ask(wire.window_update(1, 95)) == ["data 1 95", "headers 1 0 end"]

    def test_a_window_may_become_negative(self, wire, talk):
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=50))
        (call,) = ask_for(talk, wire, 1)
        call.reply(bytes(100))
        talk.hear()
        assert talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0)) == ["settings ack"]
        assert talk.ask(wire.window_update(1, 50)) == []
        assert talk.ask(wire.window_update(1, 5)) == ["data 1 5"]
        assert talk.ask(wire.settings(INITIAL_WINDOW_SIZE=50)) == [
            "settings ack",
            "data 1 50",
            "headers 1 0 end",
        ]

    def test_a_frame_is_never_longer_than_the_peer_takes(self, wire, talk):
        talk.ask(wire.window_update(0, WIDE - 65535))
        first, second = ask_for(talk, wire, 2)
        first.reply(bytes(40_000))
        assert max(len(one.payload) for one in talk.hear()) == 16384
        talk.ask(wire.settings(MAX_FRAME_SIZE=50_000))
        second.reply(bytes(40_000))
        assert [str(one) for one in talk.hear()] == ["headers 3 200", "data 3 40005", "headers 3 0 end"]

    def test_trailers_wait_behind_their_data_and_leading_headers_for_nothing(self, wire, talk):
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
        (call,) = ask_for(talk, wire, 1)
        call.reply(b"abc")
        assert [str(one) for one in talk.hear()] == ["headers 1 200"]
        assert talk.engine.waiting_bytes == 8
        assert talk.ask(wire.window_update(1, 8)) == ["data 1 8", "headers 1 0 end"]
        assert talk.engine.waiting_bytes == 0

    def test_what_a_reset_stream_wanted_to_send_is_gone(self, wire, talk):
        for call in ask_for(talk, wire, 2):
            call.reply(bytes(100_000))
        talk.hear()
        talk.say(wire.rst(1) + wire.rst(3))
        assert talk.engine.waiting_bytes == 0
        assert talk.ask(wire.window_update(0, 10)) == []

    @pytest.mark.parametrize("streams", [10, 100])
    def test_closed_streams_are_not_looked_at(self, wire, talk, streams):
        """Work is counted, not timed: a turn is a stream taken from the queue of those that may send."""
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0), wire.window_update(0, 2**20))
        turns = Counter()
        ready = talk.engine._ready

        class Counting(type(ready)):
            def popitem(self, last=True):
                turns["taken"] += 1
                return super().popitem(last)

        talk.engine._ready = Counting()
        for call in ask_for(talk, wire, streams):
            call.reply(bytes(5000))
        talk.say(*[wire.window_update(0, 1)] * 100)
        assert turns["taken"] == 0
        talk.say(*[wire.window_update(1, 1)] * 100)
        assert turns["taken"] == 100


class TestReceiving:
    def test_the_connection_is_credited_at_half_its_window(self, wire):
        talk = wire.Talk(connection_window_bytes=100_000)
        talk.say(wire.headers(1))
        assert talk.ask(wire.data(1, wire.message(bytes(2**18))[:49_999])) == []
        assert talk.ask(wire.data(1, b"x")) == ["window 0 50000"]

    def test_padding_counts(self, wire):
        """RFC 9113, 6.1."""
        talk = wire.Talk(connection_window_bytes=65535)
        talk.say(wire.headers(1) + wire.data(1, wire.message(bytes(1000))[:5]))
        for _ in range(127):
            assert talk.ask(wire.data(1, b"x", pad=255)) == []
        assert talk.ask(wire.data(1, b"x", pad=255)) == ["window 0 32901"]

    def test_more_than_the_connections_window_is_the_end(self, wire):
        talk = wire.Talk(connection_window_bytes=70_000, connection_send_buffer_bytes=0)
        talk.say(wire.headers(1))
        assert talk.ask(wire.data(1, wire.message(bytes(2**18))[:70_000])) == []
        assert talk.ask(wire.data(1, b"x")) == ["goaway FLOW_CONTROL_ERROR"]

    def test_more_than_a_streams_window_is_its_end(self, wire):
        talk = wire.Talk(stream_window_bytes=100)
        talk.say(wire.headers(1, wire.block(path="/t.S/Up")))
        assert talk.ask(wire.data(1, wire.message(bytes(95)))) == []
        assert talk.ask(wire.data(1, b"x")) == ["reset 1 FLOW_CONTROL_ERROR"]
        assert not talk.engine.failed

    def test_a_stream_is_credited_when_messages_were_taken(self, wire):
        talk = wire.Talk(stream_window_bytes=100)
        talk.say(wire.headers(1, wire.block(path="/t.S/Up")))
        events = talk.say(wire.data(1, wire.message(bytes(25))), wire.data(1, wire.message(bytes(25))))
        assert talk.hear() == []
        talk.engine.acknowledge(events[0].call, events[0].wire_bytes)
        assert talk.hear() == []
        talk.engine.acknowledge(events[1].call, events[1].wire_bytes)
        assert [str(one) for one in talk.hear()] == ["window 1 60"]

    @pytest.mark.parametrize("path", ["/t.S/Unary", "/t.S/Up"])
    def test_a_message_larger_than_its_streams_window_gets_through(self, wire, path):
        talk = wire.Talk(stream_window_bytes=1000)
        talk.say(wire.headers(1, wire.block(path=path)))
        rest, window = wire.message(bytes(20_000)), 1000
        while rest:
            talk.say(wire.data(1, rest[:window]))
            rest, window = rest[window:], window - len(rest[:window])
            window += sum(one.number for one in talk.hear() if one.stream == 1)
            assert window, "stuck"
        talk.say(wire.data(1, end=True))
        assert len(talk.calls()[0].message if path == "/t.S/Unary" else talk.events[-2].message) == 20_000

    def test_a_peer_has_the_default_windows_until_it_knows_of_smaller_ones(self, wire):
        talk = wire.Talk(greet=False, stream_window_bytes=100, connection_window_bytes=1000)
        talk.say(wire.PREFACE + wire.settings() + wire.call(1, bytes(50_000)) + wire.headers(3))
        assert len(talk.calls()) == 1
        talk.say(wire.settings_ack())
        assert talk.ask(wire.data(3, wire.message(bytes(96))))[-1] == "reset 3 FLOW_CONTROL_ERROR"

    def test_a_peer_that_reads_no_answers_sends_no_more_requests(self, wire):
        talk = wire.Talk(connection_window_bytes=100_000, connection_send_buffer_bytes=30_000)
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
        for call in ask_for(talk, wire, 3, bytes(20_000)):
            call.reply(bytes(20_000))
        assert [str(one) for one in talk.hear() if one.kind == "WINDOW_UPDATE"] == ["window 0 60015"]
        assert talk.ask(wire.call(7, bytes(40_000)), wire.call(9, bytes(20_000))) == []
        assert talk.ask(wire.window_update(1, 30_000)) == ["data 1 16384", "data 1 3621", "headers 1 0 end"]
        assert talk.ask(wire.window_update(3, 30_000))[-1] == "window 0 60010"

    def test_which_a_reset_ends_too(self, wire):
        talk = wire.Talk(connection_window_bytes=70_000, connection_send_buffer_bytes=10)
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
        (call,) = ask_for(talk, wire, 1, bytes(30_000))
        call.reply(bytes(30_000))
        talk.say(wire.call(3, bytes(20_000)))
        assert [str(one) for one in talk.hear()] == ["headers 1 200"]
        assert talk.ask(wire.rst(1)) == ["window 0 50010"]
