"""The client's engine, spoken to by frames by hand and by the server's engine, without a socket."""

import gzip
import struct

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from purerpc import StatusCode

from hushar.rpc.client_engine import ClientConnection
from hushar.rpc.limits import Limits
from hushar.rpc.request_block import request_block, timeout_field
from hushar.rpc.server_context import Route, ServerContext
from hushar.rpc.server_engine import ServerConnection

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
OK = [(":status", "200"), ("content-type", "application/grpc")]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BLOCK = request_block("http", "h", "/t.S/Unary", user_agent="test")
LIMITS = Limits(max_header_bytes=65536, max_receive_bytes=1 << 20)


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def settings(*entries):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in entries))


def prefixed(data, flag=0):
    return struct.pack(">BI", flag, len(data)) + data


def reset(stream, code):
    return frame(RST, 0, stream, struct.pack(">I", code))


class Server:
    """The other end: an encoder, a decoder, and a client's engine that has been greeted."""

    def __init__(self, *entries, limits=LIMITS):
        self.now = 0.0
        self.client = ClientConnection(limits, lambda: None)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.ended = []
        self.say(settings(*entries))

    def say(self, *frames):
        return self.client.receive_data(b"".join(frames), self.now)

    def heard(self):
        """[(kind, flags, stream, payload)] of what the client has sent."""
        self.client.dirty = False
        data = self.client.data_to_send().removeprefix(PREFACE)
        frames = []
        while data:
            head, flags, stream = struct.unpack_from(">IBI", data)
            frames.append((head & 0xFF, flags, stream, data[9 : 9 + (head >> 8)]))
            data = data[9 + (head >> 8) :]
        return frames

    def kinds(self):
        return [kind for kind, *_ in self.heard()]

    def call(self, message=b"question"):
        return self.client.begin_unary(BLOCK, message, self.ended.append)

    def stream(self, on_change=None):
        return self.client.begin(BLOCK, self.ended.append, on_change)

    def fields(self, stream, *fields, end=False):
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self.encoder.encode(list(fields)))

    def answer(self, stream, message=b"answer", *trailing):
        return b"".join(
            [
                self.fields(stream, *OK),
                frame(DATA, 0, stream, prefixed(message)),
                self.fields(stream, ("grpc-status", "0"), *trailing, end=True),
            ]
        )


def code(call):
    return call.status.status_code.name


class TestCalling:
    def test_a_connection_begins_with_the_preface_and_settings_that_forbid_pushes(self):
        data = ClientConnection(LIMITS, lambda: None).data_to_send()
        assert data.startswith(PREFACE)
        head, flags, stream = struct.unpack_from(">IBI", data, len(PREFACE))
        assert (head & 0xFF, flags, stream) == (SETTINGS, 0, 0)
        body = data[len(PREFACE) + 9 :][: head >> 8]
        assert (2, 0) in struct.iter_unpack(">HI", body)

    def test_a_unary_call_is_a_header_block_and_one_data_frame_that_ends_the_request(self):
        server = Server()
        call = server.call(b"abc")
        sent = server.heard()[-2:]
        assert [each[:3] for each in sent] == [(HEADERS, END_HEADERS, 1), (DATA, END_STREAM, 1)]
        assert sent[1][3] == prefixed(b"abc")
        assert dict(server.decoder.decode(sent[0][3])) == {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/t.S/Unary",
            ":authority": "h",
            "te": "trailers",
            "content-type": "application/grpc",
            "grpc-accept-encoding": "identity,deflate,gzip",
            "user-agent": "test",
        }
        assert not call.over

    def test_calls_have_odd_ids_that_grow(self):
        server = Server()
        assert [server.call().id for _ in range(3)] == [1, 3, 5]

    def test_a_time_out_is_one_more_field(self):
        decoded = hpack.Decoder().decode(BLOCK + timeout_field(b"99999999m"))
        assert decoded[-1] == ("grpc-timeout", "99999999m")

    def test_the_last_id_can_be_used_and_no_more(self):
        server = Server()
        server.client.last_stream_id = 2**31 - 3
        assert server.client.can_begin
        assert server.call().id == 2**31 - 1
        assert not server.client.can_begin
        assert not server.client.usable

    def test_a_header_block_above_the_frame_size_continues(self):
        server = Server()
        block = request_block("http", "h", "/p", [(b"big", b"x" * 40_000)])
        server.client.begin_unary(block, b"", server.ended.append)
        sent = server.heard()
        parts = [each for each in sent if each[0] in (HEADERS, CONTINUATION)]
        assert [(kind, flags & END_HEADERS) for kind, flags, *_ in parts] == [
            (HEADERS, 0),
            (CONTINUATION, 0),
            (CONTINUATION, END_HEADERS),
        ]
        assert b"".join(each[3] for each in parts) == b"\x20" + block
        assert sent[-1][:3] == (DATA, END_STREAM, 1)

    def test_a_server_may_shrink_the_table_that_is_not_used(self):
        server = Server((1, 0))
        server.decoder.max_allowed_table_size = 0
        for _ in range(2):
            server.call()
        blocks = [payload for kind, *_, payload in server.heard() if kind == HEADERS]
        assert [dict(server.decoder.decode(block))[":path"] for block in blocks] == ["/t.S/Unary"] * 2

    def test_a_large_request_waits_for_windows_and_fits_frames(self):
        server = Server()
        message = bytes(range(256)) * 600
        server.call(message)
        sent = [each for each in server.heard() if each[0] == DATA]
        assert sum(len(payload) for *_, payload in sent) == 65535
        assert max(len(payload) for *_, payload in sent) <= 16384
        server.say(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 20)))
        assert DATA not in server.kinds()
        server.say(frame(WINDOW, 0, 1, struct.pack(">I", 1 << 20)))
        rest = server.heard()
        assert rest[-1][1] == END_STREAM
        assert b"".join(payload for *_, payload in sent + rest) == prefixed(message)

    def test_a_larger_initial_window_also_holds_for_calls_under_way(self):
        server = Server((4, 10))
        server.call(b"x" * 100)
        assert [len(payload) for kind, *_, payload in server.heard() if kind == DATA] == [10]
        server.say(settings((4, 1000)))
        assert sum(len(payload) for kind, *_, payload in server.heard() if kind == DATA) == 95

    def test_several_messages_and_the_end_of_a_request(self):
        server = Server()
        call = server.stream()
        server.client.send_message(call, b"1")
        server.client.send_message(call, b"2")
        server.client.end(call)
        server.client.end(call)
        server.client.send_message(call, b"3")
        data = [each for each in server.heard() if each[0] == DATA]
        assert b"".join(payload for *_, payload in data) == prefixed(b"1") + prefixed(b"2")
        assert [flags for _, flags, *_ in data] == [0, 0, END_STREAM]

    def test_a_cancelled_call_is_reset_and_what_still_comes_is_ignored(self):
        server = Server()
        call, other = server.call(), server.call()
        server.heard()
        server.client.cancel(call)
        server.client.cancel(call)
        assert server.heard() == [(RST, 0, 1, struct.pack(">I", 8))]
        assert (code(call), server.ended) == ("CANCELLED", [call])
        server.say(server.answer(1), server.answer(3))
        assert other.messages[0][0] == b"answer"
        assert not server.client.failed

    def test_any_number_of_calls_can_be_given_up_at_once(self):
        server = Server()
        calls = [server.call() for _ in range(3000)]
        for call in calls:
            server.client.cancel(call)
        assert server.kinds().count(RST) == 3000


class TestConcurrency:
    def test_as_many_calls_as_the_server_allows_and_no_more(self):
        server = Server((3, 2))
        server.call()
        assert server.client.can_begin
        server.call()
        assert not server.client.can_begin
        assert server.client.usable
        server.say(server.answer(1))
        assert server.client.can_begin

    def test_the_limit_may_change_and_calls_above_it_go_on(self):
        server = Server((3, 2))
        calls = [server.call(), server.call()]
        server.say(settings((3, 0)))
        server.say(server.answer(1), server.answer(3))
        assert [code(call) for call in calls] == ["OK", "OK"]
        assert not server.client.can_begin
        server.say(settings((3, 1)))
        assert server.client.can_begin


class TestAnswers:
    def test_leading_metadata_message_and_trailing_metadata(self):
        server = Server()
        call = server.call()
        server.say(
            server.fields(1, *OK, ("x", "a")),
            frame(DATA, 0, 1, prefixed(b"answer")),
            server.fields(1, ("grpc-status", "0"), ("y", "b"), end=True),
        )
        assert server.ended == [call]
        assert (code(call), call.messages[0][0], call.lost) == ("OK", b"answer", False)
        assert (b"x", b"a") in call.leading
        assert (b"y", b"b") in call.trailing
        assert server.client.open_streams == 0

    @given(st.integers(0, 2**32))
    def test_any_cut_of_the_bytes_gives_the_same_answers(self, seed):
        server = Server()
        calls = [server.call(), server.call()]
        data = server.answer(1, b"x" * 300) + server.answer(3, b"y")
        at = 0
        while at < len(data):
            seed, step = divmod(seed, 97)
            seed = seed or 8191
            server.say(data[at : at + step + 1])
            at += step + 1
        assert [call.messages[0][0] for call in calls] == [b"x" * 300, b"y"]

    def test_trailers_only(self):
        server = Server()
        call = server.call()
        server.say(server.fields(1, *OK, ("grpc-status", "5"), ("grpc-message", "no%20%C3%A4"), end=True))
        assert (code(call), call.status.status_message) == ("NOT_FOUND", "no ä")
        assert call.leading is None

    def test_informational_headers_are_no_answer(self):
        server = Server()
        call = server.call()
        server.say(server.fields(1, (":status", "103"), ("link", "x")))
        assert call.leading is None
        server.say(server.answer(1))
        assert code(call) == "OK"

    def test_a_message_may_be_split_over_frames_with_padding_and_empty_ones(self):
        server = Server()
        call = server.call()
        data = prefixed(b"answer")
        server.say(
            server.fields(1, *OK),
            frame(DATA, PADDED, 1, bytes((3,)) + data[:3] + bytes(3)),
            frame(DATA, 0, 1),
            frame(DATA, 0, 1, data[3:7]),
            frame(DATA, 0, 1, data[7:]),
            server.fields(1, ("grpc-status", "0"), end=True),
        )
        assert call.messages[0][0] == b"answer"

    def test_a_message_that_is_compressed_is_inflated(self):
        server = Server()
        call = server.call()
        server.say(
            server.fields(1, *OK, ("grpc-encoding", "gzip")),
            frame(DATA, 0, 1, prefixed(gzip.compress(b"answer"), 1)),
            server.fields(1, ("grpc-status", "0"), end=True),
        )
        assert call.messages[0][0] == b"answer"

    @pytest.mark.parametrize(
        ("encoding", "data", "expected"),
        [
            ("snappy", prefixed(b"x", 1), "INTERNAL"),
            ("identity", prefixed(b"x", 1), "INTERNAL"),
            ("gzip", prefixed(b"no gzip", 1), "INTERNAL"),
            ("gzip", prefixed(b"x", 2), "INTERNAL"),
            ("gzip", prefixed(gzip.compress(bytes(2 << 20)), 1), "RESOURCE_EXHAUSTED"),
            ("gzip", struct.pack(">BI", 0, 2 << 20), "RESOURCE_EXHAUSTED"),
        ],
    )
    def test_a_message_that_cannot_be_had_ends_the_call_alone(self, encoding, data, expected):
        server = Server()
        call, other = server.call(), server.call()
        server.say(server.fields(1, *OK, ("grpc-encoding", encoding)), frame(DATA, 0, 1, data))
        assert code(call) == expected
        assert server.heard()[-1] == (RST, 0, 1, struct.pack(">I", 8))
        server.say(server.answer(3))
        assert code(other) == "OK"

    def test_two_messages_to_a_unary_call_are_none(self):
        server = Server()
        call = server.call()
        server.say(server.fields(1, *OK), frame(DATA, 0, 1, prefixed(b"1") + prefixed(b"2")))
        assert code(call) == "UNIMPLEMENTED"
        assert server.kinds()[-1] == RST

    def test_messages_of_a_stream_come_one_by_one_and_open_the_window_when_taken(self):
        changes = []
        server = Server()
        call = server.stream(lambda: changes.append(len(call.messages)))
        server.say(server.fields(1, *OK), frame(DATA, 0, 1, prefixed(b"1") + prefixed(b"22")))
        assert changes == [0, 1, 2]
        server.heard()
        assert server.client.take(call) == b"1"
        assert server.heard() == [(WINDOW, 0, 1, struct.pack(">I", 13))]
        assert server.client.take(call) == b"22"
        assert server.heard() == []

    def test_an_answer_that_was_cut_short_is_internal(self):
        server = Server()
        call = server.call()
        server.say(
            server.fields(1, *OK),
            frame(DATA, 0, 1, prefixed(b"answer")[:-1]),
            server.fields(1, ("grpc-status", "0"), end=True),
        )
        assert code(call) == "INTERNAL"

    def test_the_status_may_come_before_the_request_is_sent(self):
        server = Server()
        call = server.call(b"x" * 100_000)
        server.heard()
        server.say(server.fields(1, *OK, ("grpc-status", "8"), end=True))
        assert code(call) == "RESOURCE_EXHAUSTED"
        assert server.heard() == [(RST, 0, 1, struct.pack(">I", 0))]
        assert server.client.waiting_bytes == 0

    def test_answers_that_are_equal_blocks_of_a_table_that_changes_are_not_confused(self):
        server = Server()
        texts = []
        for stream, name in enumerate(["alice", "bob", "alice", "bob", "carol"]):
            call = server.call()
            server.say(server.answer(2 * stream + 1, b"", ("x-name", name)))
            texts.append(dict(call.trailing)[b"x-name"])
        assert texts == [b"alice", b"bob", b"alice", b"bob", b"carol"]


class TestHttp:
    @pytest.mark.parametrize(
        ("http", "expected"),
        [
            ("400", "INTERNAL"),
            ("401", "UNAUTHENTICATED"),
            ("403", "PERMISSION_DENIED"),
            ("404", "UNIMPLEMENTED"),
            ("429", "UNAVAILABLE"),
            ("431", "INTERNAL"),
            ("502", "UNAVAILABLE"),
            ("503", "UNAVAILABLE"),
            ("504", "UNAVAILABLE"),
            ("418", "UNKNOWN"),
            ("302", "UNKNOWN"),
        ],
    )
    @pytest.mark.parametrize("with_body", [False, True])
    def test_an_http_status_without_grpc_status(self, http, expected, with_body):
        server = Server()
        call = server.call()
        server.say(server.fields(1, (":status", http), ("content-type", "text/html"), end=not with_body))
        if with_body:
            server.say(frame(DATA, END_STREAM, 1, b"<html>"))
        assert code(call) == expected
        assert http in call.status.status_message
        assert not server.client.failed

    def test_a_grpc_status_counts_whatever_the_http_status(self):
        server = Server()
        call = server.call()
        server.say(server.fields(1, (":status", "405"), ("grpc-status", "13"), end=True))
        assert code(call) == "INTERNAL"

    @pytest.mark.parametrize("content_type", ["text/html", "application/grpcfoo", "application/grpc-web"])
    def test_what_is_no_grpc_is_unknown(self, content_type):
        server = Server()
        call = server.call()
        server.say(server.fields(1, (":status", "200"), ("content-type", content_type)))
        assert code(call) == "UNKNOWN"

    def test_trailers_without_a_status_are_unknown(self):
        server = Server()
        call = server.call()
        server.say(server.fields(1, *OK), server.fields(1, ("x", "y"), end=True))
        assert code(call) == "UNKNOWN"

    def test_an_end_without_trailers_is_unknown(self):
        server = Server()
        call = server.call()
        server.say(server.fields(1, *OK), frame(DATA, END_STREAM, 1, prefixed(b"answer")))
        assert code(call) == "UNKNOWN"

    @pytest.mark.parametrize("status", ["17", "999", "x", "-1", "9" * 5000, ""])
    def test_a_grpc_status_that_is_none_is_unknown(self, status):
        server = Server()
        call = server.call()
        server.say(server.fields(1, *OK, ("grpc-status", status), end=True))
        assert code(call) == "UNKNOWN"

    @pytest.mark.parametrize(
        "fields",
        [
            [("content-type", "application/grpc")],
            [(":status", "20"), OK[1]],
            [(":status", "2x0"), OK[1]],
            [*OK, (":status", "200")],
            [*OK, (":path", "/")],
            [*OK, ("Upper", "x")],
            [*OK, ("connection", "close")],
            [*OK, ("x", "a\r\nb")],
            [*OK, ("", "x")],
        ],
    )
    @pytest.mark.parametrize("end", [False, True])
    def test_a_malformed_block_is_a_stream_error(self, fields, end):
        server = Server()
        call, other = server.call(), server.call()
        server.say(server.fields(1, *fields, end=end))
        assert code(call) == "INTERNAL"
        assert server.heard()[-1] == (RST, 0, 1, struct.pack(">I", 1))
        server.say(server.answer(3))
        assert code(other) == "OK"

    def test_pseudo_headers_in_trailers_are_a_stream_error(self):
        server = Server()
        call = server.call()
        server.say(server.fields(1, *OK), server.fields(1, *OK, ("grpc-status", "0"), end=True))
        assert code(call) == "INTERNAL"

    def test_a_second_block_that_does_not_end_the_answer_is_a_stream_error(self):
        server = Server()
        call = server.call()
        server.say(server.fields(1, *OK), server.fields(1, ("grpc-status", "0")))
        assert code(call) == "INTERNAL"

    def test_data_before_headers_is_a_stream_error(self):
        server = Server()
        call = server.call()
        server.say(frame(DATA, 0, 1, prefixed(b"x")))
        assert code(call) == "INTERNAL"
        assert server.heard()[-1] == (RST, 0, 1, struct.pack(">I", 1))

    def test_more_metadata_than_the_limit_ends_the_call(self):
        server = Server(limits=Limits(max_header_bytes=1000))
        call, other = server.call(), server.call()
        server.say(server.fields(1, *OK, ("x", "y" * 1000)))
        assert code(call) == "RESOURCE_EXHAUSTED"
        server.say(server.answer(3))
        assert code(other) == "OK"


class TestResets:
    @pytest.mark.parametrize(
        ("number", "expected"),
        [
            (0, "INTERNAL"),
            (1, "INTERNAL"),
            (2, "INTERNAL"),
            (3, "INTERNAL"),
            (4, "INTERNAL"),
            (6, "INTERNAL"),
            (7, "UNAVAILABLE"),
            (8, "CANCELLED"),
            (9, "INTERNAL"),
            (10, "INTERNAL"),
            (11, "RESOURCE_EXHAUSTED"),
            (12, "PERMISSION_DENIED"),
            (77, "INTERNAL"),
        ],
    )
    def test_the_code_of_a_reset_is_a_status(self, number, expected):
        server = Server()
        call, other = server.call(), server.call()
        server.say(reset(1, number), server.answer(3))
        assert (code(call), code(other)) == (expected, "OK")
        assert call.unprocessed == (number == 7)

    def test_a_reset_of_a_call_that_is_over_is_nothing(self):
        server = Server()
        call = server.call()
        server.say(server.answer(1), reset(1, 2))
        assert code(call) == "OK"
        assert not server.client.failed

    def test_more_data_than_the_window_is_a_stream_error(self):
        server = Server(limits=Limits(stream_window_bytes=65535, max_receive_bytes=100_000))
        server.say(frame(SETTINGS, 1))
        call = server.stream()
        server.say(server.fields(1, *OK), *[frame(DATA, 0, 1, prefixed(b"x" * 9995)) for _ in range(7)])
        assert code(call) == "INTERNAL"
        assert server.heard()[-1] == (RST, 0, 1, struct.pack(">I", 3))


class TestGoAway:
    def go_away(self, last, number=0, text=b""):
        return frame(GOAWAY, 0, 0, struct.pack(">II", last, number) + text)

    def test_calls_up_to_the_last_go_on_and_the_others_were_not_begun(self):
        server = Server()
        first, second = server.call(), server.call()
        server.say(self.go_away(1, 0, b"bye"))
        assert not first.over
        assert (code(second), second.unprocessed) == ("UNAVAILABLE", True)
        assert "bye" in second.status.status_message
        assert not server.client.usable
        assert not server.client.failed
        server.say(server.answer(1))
        assert code(first) == "OK"

    def test_a_drain_in_two_steps(self):
        server = Server()
        first, second = server.call(), server.call()
        server.say(self.go_away(2**31 - 1), frame(PING, 0, 0, b"12345678"))
        assert not server.client.usable
        assert (PING, 1, 0, b"12345678") in server.heard()
        assert not second.over
        server.say(self.go_away(1))
        assert second.unprocessed
        server.say(server.answer(1))
        assert code(first) == "OK"


class TestTheEndOfAConnection:
    def test_calls_of_a_lost_connection_are_unavailable(self):
        server = Server()
        call = server.call()
        server.client.sent_through = 1
        server.client.lost_because("the cable was cut")
        assert (code(call), call.status.status_message) == ("UNAVAILABLE", "the cable was cut")
        assert (call.lost, call.unprocessed) == (True, False)

    def test_calls_that_had_not_left_may_be_sent_again(self):
        server = Server()
        sent, kept = server.call(), server.call()
        server.client.sent_through = 1
        server.client.lost_because("the cable was cut")
        assert (sent.unprocessed, kept.unprocessed) == (False, True)

    @pytest.mark.parametrize(
        "data",
        [
            frame(PING, 0, 0, b"short"),
            frame(PING, 0, 1, b"12345678"),
            frame(HEADERS, END_HEADERS, 1, b"\x80"),
            frame(HEADERS, END_HEADERS, 0, b"\x88"),
            frame(HEADERS, END_HEADERS, 2, b"\x88"),
            frame(HEADERS, END_HEADERS, 99, b"\x88"),
            frame(DATA, 0, 0, b"x"),
            frame(DATA, 0, 2, b"x"),
            frame(DATA, 0, 99, b"x"),
            frame(PUSH, END_HEADERS, 1, struct.pack(">I", 2) + b"\x88"),
            frame(CONTINUATION, END_HEADERS, 1, b"\x88"),
            frame(HEADERS, 0, 1, b"\x88") + frame(PING, 0, 0, b"12345678"),
            frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 1)),
            frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)),
            frame(SETTINGS, 0, 0, b"12345"),
            frame(SETTINGS, 0, 1),
            frame(WINDOW, 0, 0, bytes(4)),
            frame(WINDOW, 0, 2, struct.pack(">I", 1)),
            frame(GOAWAY, 0, 1, bytes(8)),
            frame(GOAWAY, 0, 0, bytes(7)),
            frame(RST, 0, 99, bytes(4)),
            frame(RST, 0, 2, bytes(4)),
            frame(RST, 0, 1, bytes(5)),
        ],
    )
    def test_a_server_that_breaks_the_protocol_ends_the_connection_and_its_calls(self, data):
        server = Server()
        call = server.call()
        server.say(data)
        assert server.client.failed
        assert code(call) == "UNAVAILABLE"
        assert call.lost
        assert "does not keep to the protocol" in call.status.status_message
        assert server.kinds()[-1] == GOAWAY

    @pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
    def test_what_is_no_http2_is_not_waited_for(self, data):
        client = ClientConnection(LIMITS, lambda: None)
        client.receive_data(data, 0.0)
        assert client.failed
        assert not client.greeted


class TestCourtesy:
    def test_pings_are_answered_however_many(self):
        server = Server()
        server.heard()
        for number in range(500):
            server.now += 0.001
            server.say(frame(PING, 0, 0, struct.pack(">Q", number)))
            assert server.heard() == [(PING, 1, 0, struct.pack(">Q", number))]

    def test_pings_that_are_not_sent_are_not_collected_for_ever(self):
        server = Server()
        call = server.call()
        server.say(*[frame(PING, 0, 0, bytes(8))] * 1100)
        assert server.client.failed
        assert call.over

    def test_window_updates_and_priorities_are_not_counted(self):
        server = Server()
        call = server.call()
        for _ in range(1000):
            server.say(frame(WINDOW, 0, 0, struct.pack(">I", 1)), frame(PRIORITY, 0, 1, bytes(5)))
        server.say(frame(0xBE, 0, 0, b"unknown"), server.answer(1))
        assert code(call) == "OK"

    def test_settings_are_acknowledged(self):
        server = Server()
        server.heard()
        server.say(settings((3, 7), (99, 1)))
        assert server.heard() == [(SETTINGS, 1, 0, b"")]


class TestWithTheServersEngine:
    @pytest.fixture
    def pair(self):
        """pair(answer): a client, and what carries bytes between it and a server until both are silent."""

        def make(answer, **limits):
            client = ClientConnection(LIMITS, lambda: None)
            route = Route(path="/t.S/Unary", collects=True, target=object())
            context = ServerContext(Limits(**limits), {b"/t.S/Unary": route})
            server = ServerConnection(context, lambda: None)

            def carry():
                while True:
                    client.dirty = server.dirty = False
                    there, back = client.data_to_send(), server.data_to_send()
                    if not there and not back:
                        return
                    for call in [each for each in server.receive_data(there, 0.0) if hasattr(each, "reply")]:
                        answer(call)
                    client.receive_data(back, 0.0)

            carry()
            return client, carry

        return make

    @given(st.lists(st.binary(max_size=3000), max_size=30))
    def test_every_call_gets_its_own_answer(self, messages):
        client = ClientConnection(LIMITS, lambda: None)
        route = Route(path="/t.S/Unary", collects=True, target=object())
        server = ServerConnection(ServerContext(Limits(), {b"/t.S/Unary": route}), lambda: None)
        calls = [client.begin_unary(BLOCK, message, lambda _: None) for message in messages]
        while there := client.data_to_send():
            for event in server.receive_data(there, 0.0):
                if hasattr(event, "reply"):
                    event.reply(event.message + b"!")
            client.receive_data(server.data_to_send(), 0.0)
        assert [(code(call), call.messages[0][0]) for call in calls] == [
            ("OK", message + b"!") for message in messages
        ]

    def test_megabytes_go_through_both_windows(self, pair):
        client, carry = pair(lambda call: call.reply(call.message))
        message = bytes(range(256)) * 4000
        call = client.begin_unary(BLOCK, message, lambda _: None)
        carry()
        assert call.messages[0][0] == message

    def test_a_failure_comes_as_it_was_said(self, pair):
        client, carry = pair(lambda call: call.fail(StatusCode.ABORTED, "100 % ä"))
        call = client.begin_unary(BLOCK, b"", lambda _: None)
        carry()
        assert (code(call), call.status.status_message) == ("ABORTED", "100 % ä")

    def test_a_method_that_is_not_there(self, pair):
        client, carry = pair(lambda call: None)
        call = client.begin_unary(request_block("http", "h", "/t.S/Nothing"), b"", lambda _: None)
        carry()
        assert code(call) == "UNIMPLEMENTED"
