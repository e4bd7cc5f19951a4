"""Control frames and the limits on what a peer may provoke (RFC 9113, 6 and 10.5; RPC.md, Floods)."""

import pytest

pytestmark = pytest.mark.usefixtures("way")

CALM = "goaway ENHANCE_YOUR_CALM"


def until_calm(talk, say, most):
    """How often it can be said before the connection ends with ENHANCE_YOUR_CALM."""
    for count in range(most + 1):
        talk.say(say(count))
        if talk.engine.failed:
            assert str(talk.hear()[-1]) == CALM
            return count
    return None


class TestPing:
    def test_the_answer_goes_before_all_else(self, wire):
        """RFC 9113, 6.7: a higher priority than any other frame."""
        talk = wire.Talk()
        said = wire.headers(1, wire.block(path="/x"), end=True) + wire.ping()
        assert talk.ask(said) == ["ping ack", "headers 1 200/12 end"]

    def test_but_not_before_our_settings(self, wire):
        talk = wire.Talk(greet=False)
        talk.say(wire.PREFACE + wire.settings() + wire.ping())
        assert [str(one) for one in talk.hear()] == [
            "settings",
            "window 0 16711681",
            "ping ack",
            "settings ack",
        ]

    def test_it_brings_back_what_was_sent(self, wire):
        talk = wire.Talk()
        talk.say(wire.ping(b"abcdefgh") + wire.ping(b"ABCDEFGH"))
        assert [one.payload for one in talk.hear()] == [b"abcdefgh", b"ABCDEFGH"]

    def test_too_many_are_the_end(self, wire):
        talk = wire.Talk()
        assert until_calm(talk, lambda _: wire.ping(), 100) == 3
        assert talk.events[-1].reason == "too_many_pings"

    def test_calls_explain_pings(self, wire):
        """grpc-go measures the line's bandwidth with them."""
        talk = wire.Talk()

        def call_and_ping(count):
            return wire.call(1 + 2 * count, path="/x") + wire.ping()

        assert until_calm(talk, call_and_ping, 50) is None

    def test_ours_is_answered_once(self, wire):
        talk = wire.Talk()
        talk.engine.send_ping(b"12345678")
        assert [str(one) for one in talk.hear()] == ["ping"]
        (event,) = talk.say(wire.ping(ack=True), wire.ping(ack=True))
        assert event.data == b"12345678"

    def test_answers_to_nothing_are_counted(self, wire):
        assert until_calm(wire.Talk(), lambda _: wire.ping(ack=True), 1000) == 105


class TestSettings:
    def test_many_frames_are_the_end(self, wire):
        talk = wire.Talk()
        assert until_calm(talk, lambda _: wire.settings(), 100) == 19
        # The first of the twenty was the client's own.

    def test_not_if_they_take_their_time(self, wire):
        talk = wire.Talk()
        for _ in range(100):
            talk.now += 1
            assert talk.ask(wire.settings()) == ["settings ack"]

    def test_many_entries_are_the_end(self, wire):
        assert wire.Talk().ask(wire.settings(*[(4, 1)] * 33)) == [CALM]
        assert wire.Talk().ask(wire.settings(*[(4, 1)] * 32)) == ["settings ack"]

    def test_the_acknowledgement_is_told_once(self, wire):
        talk = wire.Talk()
        assert talk.engine.settings_acknowledged
        assert talk.say(wire.settings_ack()) == []

    def test_acknowledgements_of_nothing_are_counted(self, wire):
        assert until_calm(wire.Talk(), lambda _: wire.settings_ack(), 1000) == 105

    def test_a_window_that_becomes_too_large_is_the_end(self, wire):
        """RFC 9113, 6.9.2."""
        talk = wire.Talk()
        talk.say(wire.headers(1), wire.window_update(1, 2**31 - 1 - 65535))
        assert talk.ask(wire.settings(INITIAL_WINDOW_SIZE=65536)) == ["goaway FLOW_CONTROL_ERROR"]


class TestControlFramesThatNobodyReads:
    def test_they_are_limited(self, wire):
        talk = wire.Talk(max_queued_control_frames=10, ping_strikes=1000)
        assert until_calm(talk, lambda _: wire.ping(), 100) == 10

    def test_also_those_that_the_driver_has_taken_and_its_socket_has_not(self, wire):
        talk = wire.Talk(max_queued_control_frames=10, ping_strikes=1000)
        unsent = 0

        def ping(_):
            nonlocal unsent
            unsent += len(talk.engine.data_to_send())
            talk.engine.unsent = unsent
            return wire.ping()

        assert until_calm(talk, ping, 100) == 10

    def test_not_those_that_are_sent(self, wire):
        talk = wire.Talk(max_queued_control_frames=10, ping_strikes=1000)

        def ping(_):
            # The socket is always a few frames behind.
            talk.engine.data_to_send()
            talk.engine.unsent = 5 * 17
            return wire.ping()

        assert until_calm(talk, ping, 200) is None
        assert len(talk.engine._control_ends) <= 11


class TestCourtesies:
    """PRIORITY, WINDOW_UPDATE and the like: 5 + 2 × (streams + 10 × DATA sent), and a burst of 100."""

    @pytest.mark.parametrize(
        "kind",
        [
            "priority",
            "window_update of the connection",
            "window_update of a closed stream",
            "unknown",
            "goaway",
        ],
    )
    def test_they_are_counted(self, wire, kind):
        talk = wire.Talk()
        talk.say(wire.call(1, path="/x"))
        said = {
            "priority": wire.priority(1),
            "window_update of the connection": wire.window_update(0, 1),
            "window_update of a closed stream": wire.window_update(1, 1),
            "unknown": wire.frame(0x20, 0, 1, b"x"),
            "goaway": wire.goaway(),
        }[kind]
        assert until_calm(talk, lambda _: said, 1000) == 107 + (kind == "goaway")

    def test_data_explains_them(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1))
        talk.calls()[0].reply(b"abc")
        assert until_calm(talk, lambda _: wire.window_update(0, 1), 1000) == 105 + 2 * (1 + 10)

    def test_long_frames_explain_more(self, wire):
        """A peer that takes long frames credits them in pieces."""
        talk = wire.Talk()
        talk.say(wire.settings(MAX_FRAME_SIZE=65535), wire.call(1))
        talk.calls()[0].reply(bytes(4 * 16384 - 10))
        assert [str(one) for one in talk.hear()][2:] == ["data 1 65531", "headers 1 0 end"]
        assert until_calm(talk, lambda _: wire.window_update(0, 1), 1000) == 105 + 2 * (1 + 10 * 4)

    def test_a_connection_that_lives_long_keeps_its_allowance(self, wire):
        talk = wire.Talk()
        for index in range(500):
            talk.say(wire.call(1 + 2 * index) + wire.window_update(0, 1) + wire.window_update(0, 1))
            talk.calls()[-1].reply(b"")
        assert not talk.engine.failed


class TestStreamErrors:
    def test_many_are_the_end(self, wire):
        """Resets that a peer makes us send (CVE-2025-8671)."""
        talk = wire.Talk()

        def provoke(count):
            return wire.headers(1 + 2 * count) + wire.window_update(1 + 2 * count, 0)

        assert until_calm(talk, provoke, 1000) == 100

    def test_ten_a_second_are_not(self, wire):
        talk = wire.Talk()
        for count in range(300):
            talk.now += 0.1
            talk.say(wire.headers(1 + 2 * count) + wire.window_update(1 + 2 * count, 0))
        assert not talk.engine.failed

    def test_resets_of_the_clients_are_limited(self, wire):
        """CVE-2023-44487."""
        talk = wire.Talk()

        def begin_and_reset(count):
            return wire.call(1 + 2 * count) + wire.rst(1 + 2 * count)

        assert until_calm(talk, begin_and_reset, 2000) == 1000
        assert talk.budget.calls == 0

    def test_resets_of_streams_that_are_over_count_too(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1, path="/x"))
        assert until_calm(talk, lambda _: wire.rst(1), 2000) == 1000

    def test_not_the_polite_ones_after_an_early_end(self, wire):
        """grpc-go answers RST_STREAM NO_ERROR, which follows trailers that came early, with another."""
        talk = wire.Talk()

        def refused(count):
            return wire.headers(1 + 2 * count, wire.block(path="/x")) + wire.rst(1 + 2 * count, "NO_ERROR")

        assert until_calm(talk, refused, 3000) is None

    def test_an_idle_stream_is_not_reset(self, wire):
        """RFC 9113, 6.4: RST_STREAM must not be sent for it."""
        assert wire.Talk().ask(wire.frame("PRIORITY", 0, 5, b"\0")) == ["goaway FRAME_SIZE_ERROR"]
        assert wire.Talk().ask(wire.priority(5, 5)) == ["goaway PROTOCOL_ERROR"]

    def test_nor_is_a_closed_one_for_a_window_update(self, wire):
        """RFC 9113, 5.1: a peer may not know yet that it is closed."""
        talk = wire.Talk()
        talk.ask(wire.call(1, path="/x"))
        assert talk.ask(wire.window_update(1, 0), wire.window_update(1, 2**31 - 1)) == []


class TestEmptyFrames:
    @pytest.mark.parametrize("pad", [None, 0, 9])
    def test_they_are_limited(self, wire, pad):
        talk = wire.Talk()
        talk.say(wire.headers(1))
        assert until_calm(talk, lambda _: wire.data(1, pad=pad), 1000) == 100

    def test_also_on_a_stream_that_we_have_reset(self, wire):
        talk = wire.Talk()
        talk.say(wire.headers(1) + wire.window_update(1, 0))
        assert until_calm(talk, lambda _: wire.data(1), 1000) == 100


def test_a_peers_goaway_is_told_and_its_calls_go_on(wire):
    talk = wire.Talk()
    talk.say(wire.call(1))
    (event,) = talk.say(wire.goaway(7, 2))
    assert (event.last_stream_id, event.code) == (7, 2)
    talk.calls()[0].reply(b"x")
    assert [str(one) for one in talk.hear()] == ["headers 1 200", "data 1 6", "headers 1 0 end"]
    assert talk.ask(wire.call(3)) == ["reset 3 REFUSED_STREAM"]
