"""Frames, header blocks, and the two kinds of errors (RFC 9113, 4 and 5.4)."""

import pytest

from hushar.rpc import events as ev

pytestmark = pytest.mark.usefixtures("way")


class TestFrameSizes:
    @pytest.mark.parametrize(
        "kind", ["SETTINGS", "HEADERS", "CONTINUATION", "PING", "RST_STREAM", "PUSH_PROMISE"]
    )
    def test_what_concerns_the_connection_is_its_end(self, wire, kind):
        """RFC 9113, 4.2."""
        talk = wire.Talk()
        talk.say(wire.headers(1))
        assert talk.ask(wire.frame(kind, 4, 1, length=2**20 + 1)) == ["goaway FRAME_SIZE_ERROR"]

    @pytest.mark.parametrize("kind", ["DATA", "PRIORITY"])
    def test_what_concerns_a_stream_is_the_streams_end(self, wire, kind):
        talk = wire.Talk()
        talk.say(wire.headers(1))
        heard = talk.ask(wire.frame(kind, 0, 1, bytes(2**20 + 1)) + wire.ping())
        assert heard == ["ping ack", "reset 1 FRAME_SIZE_ERROR"]

    @pytest.mark.parametrize("stream", [0, 3])
    def test_there_must_be_such_a_stream(self, wire, stream):
        talk = wire.Talk()
        talk.say(wire.headers(1))
        assert talk.ask(wire.frame("DATA", 0, stream, length=2**20 + 1)) == ["goaway FRAME_SIZE_ERROR"]

    def test_its_bytes_count_in_the_window(self, wire):
        talk = wire.Talk(connection_window_bytes=2**20)
        talk.say(wire.headers(1))
        assert talk.ask(wire.frame("DATA", 0, 1, length=2**20 + 1)) == ["goaway FLOW_CONTROL_ERROR"]

    def test_a_priority_that_does_not_fit(self, wire):
        assert wire.Talk().ask(wire.frame("HEADERS", 0x24, 1, b"abc")) == ["goaway FRAME_SIZE_ERROR"]

    @pytest.mark.parametrize("kind", ["DATA", "HEADERS"])
    def test_padding_without_its_length(self, wire, kind):
        talk = wire.Talk()
        talk.say(wire.headers(1))
        assert talk.ask(wire.frame(kind, 8, 1)) == ["goaway FRAME_SIZE_ERROR"]


class TestHeaderBlocks:
    def test_nine_continuations_are_too_many(self, wire):
        said = wire.headers(1, b"", whole=False)
        for _ in range(8):
            said += wire.continuation(1, b"", whole=False)
        talk = wire.Talk()
        assert talk.ask(said) == []
        assert talk.ask(wire.continuation(1, b"", whole=False)) == ["goaway ENHANCE_YOUR_CALM"]

    @pytest.mark.parametrize("whole", [False, True], ids=["in pieces", "in one frame"])
    def test_a_block_far_too_long_is_not_even_decoded(self, wire, whole):
        talk = wire.Talk(max_header_bytes=1000)
        block = b"\x83" * 4001
        if whole:
            said = wire.headers(1, block)
        else:
            said = wire.headers(1, block[:3000], whole=False) + wire.continuation(1, block[3000:])
        assert talk.ask(said) == ["goaway ENHANCE_YOUR_CALM"]

    def test_a_small_block_with_a_giant_list_is_the_end(self, wire):
        talk = wire.Talk(max_header_bytes=1000)
        bomb = wire.literal("x", "y" * 900, 0x40) + b"\xbe" * 5
        assert talk.ask(wire.headers(1, wire.block() + bomb)) == ["goaway ENHANCE_YOUR_CALM"]

    def test_a_list_too_large_costs_the_call_alone(self, wire):
        """RPC.md: up to four times `max_header_bytes`."""
        talk = wire.Talk(max_header_bytes=1000)
        heard = talk.ask(wire.call(1, b"", ("x-large", "y" * 3000)))
        assert heard == ["headers 1 200/8 end", "reset 1 NO_ERROR"]

    @pytest.mark.parametrize("whole", [True, False])
    def test_a_stream_that_depends_on_itself_never_begins(self, wire, whole):
        talk = wire.Talk()
        block = wire.block()
        if whole:
            said = wire.headers(1, block, depends=1)
        else:
            said = wire.headers(1, block[:9], depends=1, whole=False) + wire.continuation(1, block[9:])
        assert talk.ask(said) == ["reset 1 PROTOCOL_ERROR"]
        assert talk.events[1:] == []
        assert talk.ask(said) == []

    def test_its_block_enters_the_table_all_the_same(self, wire):
        """RFC 9113, 4.3."""
        talk = wire.Talk()
        talk.say(wire.headers(1, wire.block() + wire.literal("x-a", "b", 0x40), depends=1))
        talk.say(wire.headers(3, wire.block() + b"\xbe") + wire.data(3, wire.message(), end=True))
        assert talk.calls()[0].request.custom_metadata == (("x-a", "b"),)


class TestErrors:
    def test_goaway_is_the_last_frame_and_the_failure_the_last_event(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1) + wire.headers(3))
        talk.calls()[0].reply(bytes(70_000))
        events = talk.say(wire.window_update(1, 10) + wire.window_update(0, 0) + wire.ping() + wire.call(5))
        assert [type(event) for event in events] == [ev.CallAborted, ev.CallAborted, ev.ConnectionFailed]
        heard = talk.hear()
        assert str(heard[-1]) == "goaway PROTOCOL_ERROR"
        assert heard[-1].number == 3
        assert talk.budget.calls == 0

    def test_nothing_is_said_after_it(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1), wire.headers(3, wire.block(path="/t.S/Stream")))
        (call,) = talk.calls()
        talk.ask(wire.window_update(0, 0))
        engine = talk.engine
        call.reply(b"late")
        engine.send_message(call, b"late")
        engine.send_leading(call)
        engine.expire(call)
        engine.acknowledge(call, 10)
        engine.send_ping(b"12345678")
        engine.go_away()
        engine.refuse_new()
        engine.fail(2, "again")
        assert talk.ask(wire.ping()) == []

    def test_a_lost_connection_ends_its_calls(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1) + wire.headers(3))
        events = talk.engine.lost()
        assert [event.call.id for event in events] == [1, 3]
        assert all(event.call.cancelled for event in events)
        assert (talk.budget.calls, talk.engine.data_to_send()) == (0, b"")

    def test_output_is_announced_once_until_it_is_taken(self, wire):
        talk = wire.Talk()
        before = talk.outputs
        talk.say(wire.ping() + wire.settings() + wire.call(1, path="/x"))
        assert talk.outputs == before + 1
        talk.hear()
        talk.say(wire.ping())
        assert talk.outputs == before + 2


@pytest.mark.parametrize("first", [b"PING", b"HEADERS", b"SETTINGS ACK", b"unknown"])
def test_the_first_frame_is_settings(wire, first):
    """RFC 9113, 3.4."""
    said = {
        b"PING": wire.ping(), b"HEADERS": wire.headers(1), b"SETTINGS ACK": wire.settings_ack(),
        b"unknown": wire.frame(0x20),
    }[first]  # fmt: skip
    assert wire.Talk(greet=False).ask(wire.PREFACE + said)[-1] == "goaway PROTOCOL_ERROR"
