"""What a server says: responses, statuses, GOAWAYs (RPC.md; gRPC's PROTOCOL-HTTP2.md, Responses)."""

import gzip
import zlib

import pytest
from purerpc import Status, StatusCode

pytestmark = pytest.mark.usefixtures("way")

OK = Status(StatusCode.OK)


@pytest.fixture
def talk(wire):
    return wire.Talk(max_send_bytes=1000, compression_min_bytes=100)


def one_call(talk, wire, body=b"", *fields, stream=1, path="/t.S/Unary"):
    talk.say(wire.call(stream, body, *fields, path=path))
    return talk.calls()[-1]


def shortly(talk):
    return [str(one) for one in talk.hear()]


class TestReplies:
    def test_headers_message_and_trailers(self, wire, talk):
        for stream in (1, 3):
            # The first block of a connection is another one than those after it.
            one_call(talk, wire, stream=stream).reply(b"abc")
            leading, message, trailers = talk.hear()
            assert leading.fields == (
                (":status", "200"),
                ("content-type", "application/grpc"),
                ("grpc-accept-encoding", "identity,gzip,deflate"),
            )
            assert message.payload == wire.message(b"abc")
            assert trailers.fields == (("grpc-status", "0"),)
            assert trailers.ends

    def test_the_dynamic_table_is_given_up_once(self, wire, talk):
        """RFC 7541, 4.2: a decoder whose limit shrinks must be told; hpack insists."""
        talk.ask(wire.settings(HEADER_TABLE_SIZE=0))
        talk.decoder.max_allowed_table_size = 0
        for stream in (1, 3):
            one_call(talk, wire, stream=stream).reply(b"")
        heads = [one for one in talk.hear() if one.kind == "HEADERS"]
        assert [one.payload[:1] == b"\x20" for one in heads] == [True, False, False, False]

    def test_nothing_happens_once_it_is_over(self, wire, talk):
        call = one_call(talk, wire)
        call.reply(b"first")
        talk.hear()
        call.reply(b"second")
        call.fail(StatusCode.INTERNAL, "third")
        talk.engine.send_leading(call)
        assert talk.engine.send_message(call, b"fourth") is False
        talk.engine.expire(call)
        assert talk.hear() == []
        assert call.answered
        assert not call.cancelled

    @pytest.mark.parametrize("first", [True, False], ids=["first answer", "later answer"])
    def test_a_message_above_the_limit_is_not_sent(self, wire, talk, first):
        if not first:
            one_call(talk, wire).reply(bytes(1000))
            assert shortly(talk)[-1] == "headers 1 0 end"
        one_call(talk, wire, stream=3).reply(bytes(1001))
        assert shortly(talk) == ["headers 3 200/8 end"]

    def test_metadata_goes_with_it(self, wire, talk):
        call = one_call(talk, wire)
        call.request.set_leading_metadata([("x-l", "a"), ("l-bin", b"\0\1")])
        call.request.set_trailing_metadata([("x-t", "b")])
        call.reply(b"")
        leading, _, trailers = talk.hear()
        assert leading.fields[3:] == (("x-l", "a"), ("l-bin", "AAE"))
        assert trailers.fields == (("grpc-status", "0"), ("x-t", "b"))

    def test_a_stream_of_messages(self, wire, talk):
        call = one_call(talk, wire, path="/t.S/Down")
        engine = talk.engine
        engine.send_leading(call)
        assert shortly(talk) == ["headers 1 200"]
        with pytest.raises(RuntimeError):
            call.request.set_leading_metadata([("x-l", "late")])
        assert engine.send_message(call, b"a") is True
        assert engine.send_message(call, b"bc") is True
        engine.end_call(call, OK)
        assert shortly(talk) == ["data 1 6", "data 1 7", "headers 1 0 end"]

    def test_a_block_larger_than_a_frame_is_sent_in_several(self, wire, talk):
        """RFC 9113, 6.2 and 6.10; never longer than what every peer takes."""
        talk.ask(wire.settings(MAX_FRAME_SIZE=65535))
        call = one_call(talk, wire)
        call.request.set_leading_metadata([("x-large", "v" * 40_000)])
        engine = talk.engine
        engine.send_leading(call)
        sizes = []
        output = engine.data_to_send()
        at = 0
        while at < len(output):
            sizes.append(int.from_bytes(output[at : at + 3], "big"))
            at += 9 + sizes[-1]
        assert sizes[:2] == [16384, 16384]
        assert len(sizes) == 3
        (leading,) = talk.read(output)
        assert leading.get("x-large") == "v" * 40_000


class TestStatuses:
    def test_trailers_only(self, wire, talk):
        call = one_call(talk, wire)
        call.request.set_leading_metadata([("x-l", "a")])
        call.request.set_trailing_metadata([("x-t", "b")])
        call.fail(StatusCode.NOT_FOUND, "nö 100%")
        (only,) = talk.hear()
        assert only.ends
        assert only.fields[:2] == ((":status", "200"), ("content-type", "application/grpc"))
        assert only.fields[3:] == (
            ("x-l", "a"), ("grpc-status", "5"), ("grpc-message", "n%C3%B6 100%25"), ("x-t", "b"),
        )  # fmt: skip

    def test_without_a_text_there_is_no_message(self, wire, talk):
        one_call(talk, wire).fail(StatusCode.ABORTED)
        assert talk.hear()[0].get("grpc-message") is None

    def test_an_early_end_tells_the_client_to_stop(self, wire, talk):
        talk.say(wire.headers(1, wire.block(path="/t.S/Up")))
        talk.engine.end_call(talk.events[-1].call, Status(StatusCode.ABORTED, "enough"))
        assert shortly(talk) == ["headers 1 200/10 end", "reset 1 NO_ERROR"]
        assert talk.ask(wire.data(1, b"late"), wire.headers(1, b"", end=True)) == []

    def test_every_call_can_be_ended_at_once(self, wire, talk):
        talk.say(wire.call(1) + wire.headers(3))
        talk.engine.end_all(Status(StatusCode.UNAVAILABLE, "bye"))
        assert shortly(talk) == ["headers 1 200/14 end", "headers 3 200/14 end", "reset 3 NO_ERROR"]
        assert talk.budget.calls == 0


class TestCompression:
    GZIP = (("grpc-encoding", "gzip"), ("grpc-accept-encoding", "deflate,gzip"))

    @pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
    def test_an_answer_is_compressed_as_its_request_was(self, wire, talk, encoding, wbits):
        compressed = gzip.compress(b"x" * 200) if encoding == "gzip" else zlib.compress(b"x" * 200)
        block = wire.block(("grpc-encoding", encoding), ("grpc-accept-encoding", "deflate,gzip"))
        talk.say(wire.headers(1, block) + wire.data(1, wire.message(compressed, 1), end=True))
        (call,) = talk.calls()
        assert call.message == b"x" * 200
        call.reply(b"y" * 500)
        leading, message, _ = talk.hear()
        assert leading.get("grpc-encoding") == encoding
        assert message.payload[0] == 1
        assert zlib.decompress(message.payload[5:], wbits) == b"y" * 500

    def test_not_if_it_is_short(self, wire, talk):
        talk.say(wire.headers(1, wire.block(*self.GZIP)))
        talk.say(wire.data(1, wire.message(gzip.compress(b"x"), 1), end=True))
        talk.calls()[0].reply(bytes(99))
        assert talk.hear()[1].payload == wire.message(bytes(99))

    def test_not_if_the_request_was_not(self, wire, talk):
        one_call(talk, wire, b"plain", *self.GZIP).reply(bytes(500))
        leading, message, _ = talk.hear()
        assert leading.get("grpc-encoding") is None
        assert message.payload == wire.message(bytes(500))

    def test_not_if_the_client_does_not_accept_it(self, wire, talk):
        talk.say(wire.headers(1, wire.block(("grpc-encoding", "gzip"), ("grpc-accept-encoding", "deflate"))))
        talk.say(wire.data(1, wire.message(gzip.compress(b"x"), 1), end=True))
        talk.calls()[0].reply(bytes(500))
        assert talk.hear()[1].payload == wire.message(bytes(500))

    def test_an_encoding_is_announced_before_it_is_used(self, wire, talk):
        """The first compressed request may come when the answer has begun without an encoding."""
        talk.say(wire.headers(1, wire.block(*self.GZIP, path="/t.S/Stream")))
        call = talk.events[-1].call
        talk.engine.send_message(call, bytes(500))
        talk.say(wire.data(1, wire.message(gzip.compress(b"x"), 1)))
        talk.engine.send_message(call, bytes(500))
        leading, *messages = talk.hear()
        assert leading.get("grpc-encoding") is None
        assert [one.payload for one in messages] == [wire.message(bytes(500))] * 2


class TestDeadlines:
    def test_before_anything_was_sent(self, wire, talk):
        call = one_call(talk, wire)
        talk.engine.expire(call)
        assert shortly(talk) == ["headers 1 200/4 end"]
        assert call.cancelled

    def test_while_the_request_is_still_coming(self, wire, talk):
        talk.say(wire.headers(1, wire.block(("grpc-timeout", "1S"))))
        (call,) = talk.engine.timed
        talk.engine.expire(call)
        assert shortly(talk) == ["headers 1 200/4 end", "reset 1 NO_ERROR"]

    def test_between_messages(self, wire, talk):
        call = one_call(talk, wire, path="/t.S/Down")
        talk.engine.send_message(call, b"a")
        talk.engine.expire(call)
        assert shortly(talk) == ["headers 1 200", "data 1 6", "headers 1 4 end"]

    def test_what_waits_for_a_window_is_not_waited_for(self, wire, talk):
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=3))
        call = one_call(talk, wire, path="/t.S/Down")
        talk.engine.send_message(call, b"abc")
        talk.engine.expire(call)
        assert shortly(talk) == ["headers 1 200", "data 1 3", "reset 1 CANCEL"]
        assert talk.engine.open_streams == 0
        assert talk.ask(wire.window_update(1, 100)) == []

    def test_not_after_the_answer(self, wire, talk):
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=3))
        call = one_call(talk, wire)
        call.reply(b"abc")
        talk.engine.expire(call)
        assert not call.cancelled
        assert talk.ask(wire.window_update(1, 100))[-1] == "headers 1 0 end"


class TestWhatIsNoGrpc:
    @pytest.mark.parametrize(
        ("fields", "method", "status"),
        [((("content-type", "text/html"),), "POST", "415"), ((), "GET", "415"),
         ((("content-type", "application/grpc"),), "GET", "405")],
    )  # fmt: skip
    def test_it_gets_a_whole_answer(self, wire, talk, fields, method, status):
        block = b"".join(
            wire.literal(*field)
            for field in (
                (":method", method),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "h"),
                *fields,
            )
        )
        talk.say(wire.headers(1, block) + wire.data(1, b"anything", end=True))
        head, body, end = talk.hear()
        assert head.get(":status") == status
        assert head.get("content-length") == str(len(body.payload))
        assert str(end) == "data 1 0 end"
        assert talk.budget.calls == 0

    @pytest.mark.parametrize("content_type", ["text/html", "application/grpc"])
    def test_that_to_head_has_no_content(self, wire, talk, content_type):
        """RFC 9110, section 9.3.2."""
        block = b"".join(
            wire.literal(*field)
            for field in (
                (":method", "HEAD"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "h"),
                ("content-type", content_type),
            )
        )
        talk.say(wire.headers(1, block, end=True))
        (head,) = talk.hear()
        assert head.flags & 1
        assert head.get(":status") == ("415" if content_type == "text/html" else "405")
        assert talk.budget.calls == 0

    def test_a_body_without_an_end_is_not_waited_for(self, wire):
        talk = wire.Talk(max_receive_bytes=1000)
        talk.say(wire.headers(1, wire.block(method="GET")))
        assert talk.ask(wire.data(1, bytes(1001))) == [
            "headers 1 415", "data 1 48", "data 1 0 end", "reset 1 NO_ERROR",
        ]  # fmt: skip
        assert talk.budget.bytes == 0


class TestGoingAway:
    def test_calls_begun_between_the_two_are_served(self, wire, talk):
        engine = talk.engine
        engine.go_away()
        talk.say(wire.call(1))
        engine.refuse_new()
        first, second = talk.hear()
        assert (first.number, first.code) == (2**31 - 1, "NO_ERROR")
        assert (second.number, second.code) == (1, "NO_ERROR")
        talk.calls()[0].reply(b"")
        assert shortly(talk)[-1] == "headers 1 0 end"

    def test_each_is_said_once_and_in_order(self, wire, talk):
        engine = talk.engine
        for _ in range(2):
            engine.go_away()
        for _ in range(2):
            engine.refuse_new()
        engine.go_away()
        assert [one.number for one in talk.hear()] == [2**31 - 1, 0]
        assert engine.refusing

    def test_a_stream_above_the_last_is_ignored_and_decoded(self, wire, talk):
        talk.say(wire.call(1))
        talk.engine.refuse_new()
        talk.hear()
        later = wire.block() + wire.literal("x-a", "b", 0x40)
        said = (
            wire.headers(3, later), wire.data(3, b"x"), wire.headers(3, b"\xbe", end=True),
            wire.window_update(3, 9), wire.rst(3),
        )  # fmt: skip
        assert talk.ask(*said) == []
        assert talk.events[-1] is talk.calls()[0]
        assert not talk.engine.failed

    def test_an_error_after_it_does_not_speak_of_more_streams(self, wire, talk):
        """RFC 9113, 6.8: the last stream's id must not grow."""
        talk.say(wire.call(1))
        talk.engine.refuse_new()
        talk.say(wire.headers(3), wire.window_update(0, 0))
        assert [one.number for one in talk.hear()] == [1, 1]


class TestHandlersThatLinger:
    """CVE-2025-8671: a stream's place is free when its handler has ended, not before."""

    def test_they_keep_their_place(self, wire):
        talk = wire.Talk(connection_concurrency=2)
        call = one_call(talk, wire)
        call.handler = object()
        talk.say(wire.rst(1))
        assert (talk.engine.open_streams, talk.engine.lingering) == (0, 1)
        assert talk.ask(wire.headers(3) + wire.headers(5)) == ["reset 5 REFUSED_STREAM"]
        talk.engine.handler_ended(call)
        assert talk.engine.lingering == 0
        assert talk.ask(wire.headers(7)) == []

    def test_a_handler_may_end_before_its_answer_is_sent(self, wire, talk):
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
        call = one_call(talk, wire)
        call.handler = object()
        call.reply(b"abc")
        talk.engine.handler_ended(call)
        assert talk.engine.lingering == 0
        talk.say(wire.window_update(1, 100))
        assert (talk.engine.open_streams, talk.engine.lingering) == (0, 0)

    def test_one_that_began_when_its_call_was_over_frees_no_other_place(self, wire, talk):
        talk.say(wire.call(1) + wire.rst(1))
        (call,) = talk.calls()
        call.handler = object()
        talk.engine.handler_ended(call)
        assert talk.engine.lingering == 0


class TestHooks:
    def test_each_call_is_told_of_once(self, wire):
        told = []
        now = [10.0]
        talk = wire.Talk(
            after=[lambda request, code, seconds: told.append((request.method_name, code, seconds))],
            clock=lambda: now[0],
        )
        talk.now = 10.0
        talk.say(wire.call(1) + wire.call(3) + wire.call(5, path="/t.S/None") + wire.call(7) + wire.call(9))
        first, second, third, fourth = talk.calls()
        now[0] = 12.5
        first.reply(b"")
        second.fail(StatusCode.NOT_FOUND)
        talk.engine.expire(third)
        talk.say(wire.rst(9))
        fourth.reply(b"late")
        assert told == [
            ("None", StatusCode.UNIMPLEMENTED, 0.0), ("Unary", StatusCode.OK, 2.5),
            ("Unary", StatusCode.NOT_FOUND, 2.5), ("Unary", StatusCode.DEADLINE_EXCEEDED, 2.5),
            ("Unary", StatusCode.CANCELLED, 2.5),
        ]  # fmt: skip

    def test_without_a_clock_time_is_when_bytes_last_came(self, wire):
        told = []
        talk = wire.Talk(after=[lambda request, code, seconds: told.append(seconds)])
        talk.say(wire.call(1))
        talk.now += 3
        talk.say(wire.ping())
        talk.calls()[0].reply(b"")
        assert told == [3]

    def test_what_is_no_grpc_is_no_call(self, wire):
        told = []
        talk = wire.Talk(after=[lambda *all_of_it: told.append(all_of_it)])
        talk.say(wire.headers(1, wire.block(method="GET"), end=True))
        assert told == []

    def test_one_that_fails_harms_nobody(self, wire, caplog):
        told = []

        def broken(request, code, seconds):
            raise ValueError("hunter2")

        talk = wire.Talk(after=[broken, lambda *rest: told.append(rest)])
        one_call(talk, wire).reply(b"")
        assert shortly(talk)[-1] == "headers 1 0 end"
        assert len(told) == 1
        assert "hunter2" in caplog.text
