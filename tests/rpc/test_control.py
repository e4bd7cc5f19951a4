"""Control frames and the limits on what a peer may provoke (RFC 9113, 6 and 10.5; RPC.md, Floods)."""

import gzip
import zlib
from random import Random

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

    def test_one_a_stream_is_free_once_that_is_over(self, wire):
        talk = wire.Talk()
        talk.say(wire.call(1, path="/x"))
        assert until_calm(talk, lambda _: wire.rst(1), 2000) == 1001

    @pytest.mark.parametrize("timeout", ["20m", "5m", "2m", "1S", "1M"])
    @pytest.mark.parametrize("early", [-0.5, 0.0, 0.05])
    def test_nor_does_one_count_where_the_clients_own_timer_comes_first(self, wire, timeout, early):
        """grpc-core resets the stream at each deadline; its timer began before the call came."""
        talk = wire.Talk(connection_concurrency=10_000)
        calls = [wire.call(1 + 2 * count, b"", ("grpc-timeout", timeout)) for count in range(3000)]
        talk.say(b"".join(calls))
        seconds = talk.calls()[0].head.timeout
        talk.now += seconds * (1 - early)
        if early < 0:
            for call in talk.calls():
                talk.engine.expire(call)
        talk.say(b"".join(wire.rst(1 + 2 * count) for count in range(3000)))
        assert not talk.engine.failed
        assert all(call.over for call in talk.calls())
        assert talk.budget.calls == 0

    @pytest.mark.parametrize(
        ("timeout", "lived"), [("1M", 0.5), ("1S", 0.85), ("20m", 0.0), ("20m", 0.008), ("1m", 0)]
    )
    def test_but_it_does_where_the_deadline_is_far(self, wire, timeout, lived):
        talk = wire.Talk(connection_concurrency=10_000)
        talk.say(*(wire.call(1 + 2 * count, b"", ("grpc-timeout", timeout)) for count in range(2000)))
        talk.now += lived
        assert until_calm(talk, lambda count: wire.rst(1 + 2 * count), 1999) == 1000

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


class TestCrumbs:
    """DATA of a few bytes a frame costs as much as DATA of 16 KiB."""

    @pytest.mark.parametrize("pad", [None, 200])
    @pytest.mark.parametrize("path", ["/t.S/Unary", "/t.S/Up"])
    @pytest.mark.parametrize("size", [1, 63])
    def test_they_are_limited(self, wire, path, size, pad):
        talk = wire.Talk()
        talk.say(wire.headers(1, wire.block(path=path)) + wire.data(1, b"\0\0\x3f\xff\xff"))
        assert until_calm(talk, lambda _: wire.data(1, bytes(size), pad=pad), 2000) == 1000

    def test_a_hundred_a_second_are_not_too_many(self, wire):
        talk = wire.Talk()
        talk.say(wire.headers(1, wire.block(path="/t.S/Up")) + wire.data(1, b"\0\0\x3f\xff\xff"))
        for _ in range(3000):
            talk.now += 0.01
            talk.say(wire.data(1, b"x"))
        assert not talk.engine.failed

    @pytest.mark.parametrize("sizes", [[1], [1, 1, 1, 2], [2, 2, 1]])
    def test_not_even_messages_of_no_bytes_are_an_excuse(self, wire, sizes):
        talk = wire.Talk()
        talk.say(wire.headers(1, wire.block(path="/t.S/Up")))
        said = b"".join(wire.data(1, bytes(size)) for size in sizes)
        assert until_calm(talk, lambda _: said, 4000) is not None

    @pytest.mark.parametrize(
        "parts", [[b"\0\0\0\0\0"], [b"\0\0\0\0\x03", b"abc"], [b"\0\0\0\0\1x\0\0\0\0\1", b"y"]]
    )
    def test_messages_that_are_small_and_whole_are_never_counted(self, wire, parts):
        """Nor is a prefix that comes by itself."""
        talk = wire.Talk()
        talk.say(wire.headers(1, wire.block(path="/t.S/Stream")))
        said = b"".join(wire.data(1, part) for part in parts)
        assert until_calm(talk, lambda _: said, 5000) is None

    def test_nor_is_what_is_left_of_a_window_between_large_frames(self, wire):
        talk = wire.Talk()
        for call in range(50):
            stream = 1 + 2 * call
            length = 100 * (10_000 + 7)
            talk.say(wire.headers(stream) + wire.data(stream, b"\0" + length.to_bytes(4, "big")))
            for _ in range(99):
                talk.say(wire.data(stream, bytes(10_000)) + wire.data(stream, bytes(7)))
            talk.say(wire.data(stream, bytes(10_000)) + wire.data(stream, bytes(7), end=True))
            talk.calls()[-1].reply(b"")
            assert not talk.engine.failed
        assert len(talk.calls()) == 50

    def test_a_stream_for_each_does_not_help(self, wire):
        talk = wire.Talk()

        def three(count):
            stream = 1 + 2 * count
            body = b"".join(wire.data(stream, b"\0") for _ in range(4)) + wire.data(stream, b"\0", end=True)
            return wire.headers(stream) + body + wire.rst(stream)

        assert until_calm(talk, three, 1000) == 1000 // 3

    def test_also_of_what_is_no_grpc(self, wire):
        talk = wire.Talk()
        talk.say(wire.headers(1, wire.block(method="GET")))
        assert until_calm(talk, lambda _: wire.data(1, b"x"), 2000) == 1001

    def test_also_on_a_stream_that_we_have_reset(self, wire):
        talk = wire.Talk()
        talk.say(wire.headers(1) + wire.window_update(1, 0))
        assert until_calm(talk, lambda _: wire.data(1, b"1234"), 2000) == 1000

    def test_but_not_the_messages_that_were_under_way_there(self, wire):
        talk = wire.Talk()
        talk.say(wire.headers(1) + wire.window_update(1, 0))
        assert until_calm(talk, lambda _: wire.data(1, wire.message()), 5000) is None

    def test_also_behind_an_answer_that_waits_for_a_window(self, wire):
        talk = wire.Talk()
        talk.say(wire.settings(INITIAL_WINDOW_SIZE=0) + wire.headers(1, wire.block(path="/t.S/Up")))
        call = talk.events[-1].call
        call.connection.reply(call, b"early")
        assert until_calm(talk, lambda _: wire.data(1, b"x"), 2000) == 1000


class TestBombs:
    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    @pytest.mark.parametrize("path", ["/t.S/Unary", "/t.S/Up"])
    @pytest.mark.parametrize("harm", ["too large", "cut short", "broken"])
    def test_a_few_are_the_end(self, wire, encoding, path, harm):
        """4 KB that grow to 4 MiB before they are refused."""
        pack = gzip.compress if encoding == "gzip" else zlib.compress
        size = 4 * 1024 * 1024
        bomb = pack(bytes(size + 5000)) if harm == "too large" else pack(bytes(size))
        bomb = {"cut short": bomb[:-4], "broken": bomb[:-1] + b"\x55"}.get(harm, bomb)
        talk = wire.Talk()

        def call(count):
            head = wire.block(("grpc-encoding", encoding), path=path)
            stream = 1 + 2 * count
            return wire.headers(stream, head) + wire.data(stream, wire.message(bomb, 1), end=True)

        assert until_calm(talk, call, 100) == 3

    def test_one_that_is_large_itself_is_one_fault(self, wire):
        random = Random(1)
        large = gzip.compress(random.randbytes(90_000) + bytes(20_000))
        talk = wire.Talk(max_receive_bytes=100_000)

        def call(count):
            head = wire.block(("grpc-encoding", "gzip"))
            stream = 1 + 2 * count
            return wire.headers(stream, head) + wire.data(stream, wire.message(large, 1), end=True)

        assert until_calm(talk, call, 1000) == 100

    def test_what_can_be_inflated_is_never_counted(self, wire):
        zeros = gzip.compress(bytes(100_000))
        talk = wire.Talk()
        for count in range(1000):
            head = wire.block(("grpc-encoding", "gzip"))
            stream = 1 + 2 * count
            talk.say(wire.headers(stream, head) + wire.data(stream, wire.message(zeros, 1), end=True))
            talk.calls()[-1].reply(b"")
        assert not talk.engine.failed


def test_a_peers_goaway_is_told_and_its_calls_go_on(wire):
    talk = wire.Talk()
    talk.say(wire.call(1))
    (event,) = talk.say(wire.goaway(7, 2))
    assert (event.last_stream_id, event.code) == (7, 2)
    talk.calls()[0].reply(b"x")
    assert [str(one) for one in talk.hear()] == ["headers 1 200", "data 1 6", "headers 1 0 end"]
    assert talk.ask(wire.call(3)) == ["reset 3 REFUSED_STREAM"]
