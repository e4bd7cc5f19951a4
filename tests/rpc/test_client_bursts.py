"""The engine for bursts: what it sends, and that it takes every answer as the ordinary engine does."""

import struct
from itertools import pairwise

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from purerpc import StatusCode

from hushar.rpc.client_bursts import MAX_STREAMS, BurstConnection, prepare
from hushar.rpc.client_engine import ClientConnection
from hushar.rpc.limits import Limits
from hushar.rpc.request_block import request_block

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW = range(9)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
BLOCK = request_block("http", "h", "/t.S/Unary", user_agent="test")
LIMITS = Limits(max_header_bytes=65536, max_receive_bytes=1 << 20)
REQUEST = prepare(BLOCK, b"question")


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def settings(*entries):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in entries))


def prefixed(data, flag=0):
    return struct.pack(">BI", flag, len(data)) + data


class Server:
    """The other end: an encoder and a client's engine that has been greeted."""

    def __init__(self, *entries):
        self.client = BurstConnection(LIMITS, lambda: None)
        self.encoder = hpack.Encoder()
        self.say(settings(*entries))
        self.heard()

    def say(self, *frames):
        self.client.receive_data(b"".join(frames), 0.0)

    def heard(self):
        """[(kind, flags, stream, payload)] of what the client has sent."""
        self.client.dirty = False
        data = self.client.data_to_send()
        data = data[24:] if data.startswith(b"PRI") else data
        frames = []
        while data:
            head, flags, stream = struct.unpack_from(">IBI", data)
            frames.append((head & 0xFF, flags, stream, data[9 : 9 + (head >> 8)]))
            data = data[9 + (head >> 8) :]
        return frames

    def begin(self, *tags, request=REQUEST):
        self.client.begin_many([request] * len(tags), list(tags))

    def fields(self, stream, *fields, end=False):
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self.encoder.encode(list(fields)))

    def leading(self, stream):
        return self.fields(stream, (":status", "200"), ("content-type", "application/grpc"))

    def answer(self, stream, message=b"answer"):
        return b"".join(
            [
                self.leading(stream),
                frame(DATA, 0, stream, prefixed(message)),
                self.fields(stream, ("grpc-status", "0"), end=True),
            ]
        )

    def failure(self, stream, status=8, message="no room"):
        fields = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", str(status)),
            ("grpc-message", message),
        ]
        return self.fields(stream, *fields, end=True)

    def taken(self):
        """The tags of calls that ended with OK, and {tag: (code, unprocessed)} of the others."""
        answered, self.client.answered = self.client.answered, []
        others, self.client.unanswered = self.client.unanswered, []
        return answered, {
            call.owner: (call.status.status_code.name, call.unprocessed, call.lost) for call in others
        }

    def warm(self):
        """Have the client know what answers look like: after two, hpack's encoder writes no new entries."""
        for _ in range(3):
            self.begin("warm")
            self.say(self.answer(self.client.last_stream_id))
        assert self.taken()[0] == ["warm"] * 3
        self.heard()


def test_calls_are_sent_as_the_ordinary_engine_sends_them():
    server = Server()
    server.begin("a", "b", "c")
    burst = server.heard()
    ordinary = ClientConnection(LIMITS, lambda: None)
    ordinary.receive_data(settings(), 0.0)
    ordinary.data_to_send()
    for _ in range(3):
        ordinary.begin_unary(BLOCK, b"question", lambda _: None)
    server.client = ordinary
    assert server.heard() == burst
    assert [stream for _, _, stream, _ in burst] == [1, 1, 3, 3, 5, 5]


def test_tags_of_answered_calls_come_back_in_the_order_of_the_answers():
    server = Server()
    server.warm()
    server.begin(*"abcd")
    ids = [stream for kind, _, stream, _ in server.heard() if kind == HEADERS]
    server.say(server.answer(ids[2]), server.answer(ids[0]), server.answer(ids[3]), server.answer(ids[1]))
    assert server.taken() == (["c", "a", "d", "b"], {})
    assert server.client.open_streams == 0


def test_usual_answers_make_no_call_objects(monkeypatch):
    server = Server()
    server.warm()
    server.begin(*range(50))
    ids = [stream for kind, _, stream, _ in server.heard() if kind == HEADERS]
    monkeypatch.setattr("hushar.rpc.client_bursts.ClientCall", None)
    server.say(*(server.answer(stream, b"x" * (index % 7)) for index, stream in enumerate(ids)))
    assert server.taken() == (list(range(50)), {})


def test_the_connection_s_window_is_given_back_for_what_was_recognized():
    server = Server()
    server.warm()
    for _ in range(400):
        server.begin("a")
        server.say(server.answer(server.client.last_stream_id, bytes(50_000)))
    assert len(server.taken()[0]) == 400
    assert any(kind == WINDOW and stream == 0 for kind, _, stream, _ in server.heard())


def test_a_server_that_overruns_the_connection_s_window_loses_it():
    server = Server()
    server.warm()
    server.client._receive_window = 100
    server.client._credit = -(10**9)
    server.begin("a")
    server.say(server.answer(server.client.last_stream_id, bytes(200)))
    assert server.client.failed


def test_a_status_other_than_ok_is_told_with_the_call():
    server = Server()
    server.warm()
    server.begin("a", "b")
    last = server.client.last_stream_id
    server.say(server.failure(last - 2), server.answer(last))
    [call] = server.client.unanswered
    assert (call.owner, call.status.status_code, call.status.status_message) == (
        "a",
        StatusCode.RESOURCE_EXHAUSTED,
        "no room",
    )
    assert server.client.answered == ["b"]


def test_ok_without_a_message_is_not_ok():
    server = Server()
    server.warm()
    server.begin("a")
    stream = server.client.last_stream_id
    server.say(server.leading(stream), server.fields(stream, ("grpc-status", "0"), end=True))
    assert server.taken() == ([], {"a": ("UNIMPLEMENTED", False, False)})


@pytest.mark.parametrize("cut", range(1, 60))
def test_an_answer_may_come_in_two_pieces(cut):
    server = Server()
    server.warm()
    server.begin("a", "b")
    last = server.client.last_stream_id
    data = server.answer(last - 2) + server.answer(last)
    server.say(data[:cut])
    server.say(data[cut:])
    assert server.taken() == (["a", "b"], {})


def test_a_reset_a_goaway_and_a_lost_connection_end_calls():
    server = Server()
    server.warm()
    server.begin(*"abcd")
    last = server.client.last_stream_id
    server.say(frame(RST, 0, last - 6, struct.pack(">I", 7)))
    assert server.taken() == ([], {"a": ("UNAVAILABLE", True, False)})
    server.say(frame(GOAWAY, 0, 0, struct.pack(">II", last - 2, 0)))
    assert server.taken() == ([], {"d": ("UNAVAILABLE", True, True)})
    assert server.client.free == 0
    server.client.sent_through = last
    server.client.lost_because("gone")
    lost = ("UNAVAILABLE", False, True)
    assert server.taken() == ([], {"b": lost, "c": lost})


def test_calls_that_no_byte_has_left_of_were_not_begun():
    server = Server()
    server.warm()
    server.client.sent_through = server.client.last_stream_id
    server.begin("a")
    server.client.lost_because("gone")
    assert server.taken() == ([], {"a": ("UNAVAILABLE", True, True)})


def test_the_server_s_limit_of_streams_is_kept():
    server = Server((3, 5))
    assert server.client.free == 5
    server.begin(*"abc")
    assert server.client.free == 2
    server.say(settings((3, 2)))
    assert server.client.free == 0
    assert not server.client.can_begin
    server.say(settings((3, 2**31 - 1)))
    assert server.client.free == MAX_STREAMS - 3


def test_no_ids_are_begun_that_there_are_not():
    server = Server()
    server.warm()
    server.client.last_stream_id = 2**31 - 1 - 2 * MAX_STREAMS
    assert server.client.free == 0
    assert not server.client.usable


@pytest.mark.parametrize(
    ("entries", "size"),
    [([(4, 100)], 200), ([], 20_000), ([], 70_000)],
    ids=["stream", "frame", "connection"],
)
def test_what_does_not_fit_the_server_s_windows_waits_for_them(entries, size):
    server = Server(*entries)
    server.warm()
    message = bytes(range(256)) * (size // 256 + 1)
    server.begin("a", request=prepare(BLOCK, message))
    stream = server.client.last_stream_id
    data = b""
    for _ in range(1000):
        frames = [each for each in server.heard() if each[0] == DATA]
        data += b"".join(payload for _, _, _, payload in frames)
        if frames and frames[-1][1] & END_STREAM:
            break
        server.say(*(frame(WINDOW, 0, each, struct.pack(">I", 5000)) for each in (0, stream)))
    assert data == prefixed(message)
    server.say(server.answer(stream))
    assert server.taken() == (["a"], {})


def test_calls_expire_oldest_first_and_late_answers_are_ignored():
    server = Server()
    server.warm()
    server.begin(1.0, 2.0, 3.0)
    last = server.client.last_stream_id
    server.heard()
    assert server.client.expire(2.0) == [1.0, 2.0]
    assert [(kind, stream) for kind, _, stream, _ in server.heard()] == [(RST, last - 4), (RST, last - 2)]
    server.say(server.answer(last - 4), server.answer(last - 2), server.answer(last))
    assert server.taken() == ([3.0], {})


def test_calls_that_wait_for_a_window_expire_too():
    server = Server((4, 10))
    server.begin(1.0, 2.0, request=prepare(BLOCK, bytes(100)))
    assert server.client.expire(1.0) == [1.0]
    assert server.taken() == ([], {})
    assert server.client.open_streams == 1


def test_a_header_block_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="16385 bytes is too large"):
        prepare(bytes(16385), b"")


def test_header_blocks_that_change_are_learned_again():
    server = Server()
    server.warm()
    for index in range(20):
        server.begin(index)
        stream = server.client.last_stream_id
        server.say(
            server.fields(
                stream, (":status", "200"), ("content-type", "application/grpc"), ("x", str(index))
            ),
            frame(DATA, 0, stream, prefixed(b"a")),
            server.fields(stream, ("grpc-status", "0"), end=True),
        )
    assert server.taken() == (list(range(20)), {})


class Ordinary:
    """The same calls by ordinary ClientCalls."""

    def __init__(self, count):
        self.client = ClientConnection(LIMITS, lambda: None)
        self.answered, self.others = [], {}
        self.client.receive_data(settings(), 0.0)
        for tag in range(count):
            self.client.begin_unary(BLOCK, b"question", self.note, tag)

    def note(self, call):
        name = call.status.status_code.name
        if name == "OK" and call.messages:
            self.answered.append(call.owner)
        else:
            self.others[call.owner] = ("UNIMPLEMENTED" if name == "OK" else name, call.unprocessed, call.lost)


EVENTS = [
    "answer",
    "answer",
    "answer",
    "long",
    "failure",
    "reset",
    "padded",
    "split",
    "empty",
    "window",
    "ping",
]


def conversation(events):
    """The bytes of a server for calls 0 … on streams 1, 3, …, one event a call."""
    encoder = Server()
    said = []
    for index, event in enumerate(events):
        stream = 2 * index + 1
        match event:
            case "answer":
                said.append(encoder.answer(stream))
            case "long":
                said.append(encoder.answer(stream, bytes(700)))
            case "failure":
                said.append(encoder.failure(stream))
            case "reset":
                said.append(frame(RST, 0, stream, struct.pack(">I", 2)))
            case "padded":
                body = b"\x03" + prefixed(b"padded") + bytes(3)
                said += [encoder.leading(stream), frame(DATA, PADDED, stream, body)]
                said.append(encoder.fields(stream, ("grpc-status", "0"), end=True))
            case "split":
                body = prefixed(b"split")
                said += [encoder.leading(stream), frame(DATA, 0, stream, body[:4])]
                said += [frame(DATA, 0, stream, body[4:])]
                said.append(encoder.fields(stream, ("grpc-status", "0"), end=True))
            case "empty":
                said += [encoder.leading(stream), encoder.fields(stream, ("grpc-status", "0"), end=True)]
            case "window":
                said += [frame(WINDOW, 0, stream, struct.pack(">I", 5)), encoder.answer(stream)]
            case "ping":
                said += [frame(PING, 0, 0, bytes(8)), encoder.answer(stream)]
    return b"".join(said)


@given(
    st.lists(st.sampled_from(EVENTS), min_size=1, max_size=30),
    st.lists(st.integers(0, 4000), max_size=12),
    st.booleans(),
)
def test_every_conversation_ends_as_with_the_ordinary_engine(events, cuts, lost):
    data = conversation(events)
    count = len(events) + 2
    ordinary, server = Ordinary(count), Server()
    server.begin(*range(count))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, stop in pairwise(places):
        ordinary.client.receive_data(data[start:stop], 0.0)
        server.say(data[start:stop])
    if lost:
        ordinary.client.lost_because("gone")
        server.client.lost_because("gone")
    assert server.taken() == (ordinary.answered, ordinary.others)
    assert server.client.open_streams == ordinary.client.open_streams
    assert server.client._receive_window == ordinary.client._receive_window
    assert server.client.failed is ordinary.client.failed


@given(st.binary(max_size=300), st.integers(0, 400))
def test_whatever_follows_the_two_engines_agree(noise, cut):
    data = conversation(["answer", "answer", "answer"])
    data = data[: max(0, len(data) - cut)] + noise
    ordinary, server = Ordinary(4), Server()
    server.begin(*range(4))
    ordinary.client.receive_data(data, 0.0)
    server.say(data)
    assert server.taken() == (ordinary.answered, ordinary.others)
    assert server.client.failed is ordinary.client.failed
