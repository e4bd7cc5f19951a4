"""gRPC messages: the prefix, wherever DATA is cut, limits, and compression with its bombs."""

import gzip
import itertools
import os
import tracemalloc
import zlib
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hushar.rpc import compiled, messages
from hushar.rpc.messages import (
    ENCODINGS,
    PREFIX_BYTES,
    CorruptMessage,
    MessageReader,
    MessageTooLarge,
    deflate,
    frame_message,
    inflate,
)

LIMIT = 1000


def cut(data, at):
    """The pieces of `data` between the places `at`."""
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


def outcome(pieces, limit=LIMIT):
    """Everything that a reader tells of these pieces: messages, then a fault or what is left."""
    reader = MessageReader(limit)
    messages = []
    try:
        for piece in pieces:
            messages += reader.feed(piece)
            if reader.faulty:
                messages += reader.feed(b"")
    except (CorruptMessage, MessageTooLarge) as fault:
        return messages, type(fault)
    return messages, reader.held


MESSAGES = st.lists(st.tuples(st.sampled_from([0, 1]), st.binary(max_size=60)), max_size=6)
AFTER = st.one_of(
    st.just(b""),
    st.binary(max_size=4),
    st.just(b"\0\0\0\0\x09short"),
    st.just(b"\x02\0\0\0\0"),
    st.just(b"\0\0\0\x03\xe9"),
    st.just(b"\x01\xff\xff\xff\xff" + b"x" * 20),
)


class TestReading:
    def test_a_message_is_what_follows_its_prefix(self):
        assert outcome([b"\0\0\0\0\x03abc"]) == ([(0, b"abc")], 0)
        assert outcome([b"\x01\0\0\0\x03abc"]) == ([(1, b"abc")], 0)

    def test_an_empty_message_is_a_message(self):
        assert outcome([bytes(5)]) == ([(0, b"")], 0)
        assert outcome([bytes(15)]) == ([(0, b"")] * 3, 0)

    def test_no_bytes_are_no_message(self):
        assert outcome([b"", b""]) == ([], 0)

    def test_every_place_to_cut_two_messages(self):
        data = frame_message(b"abcdef") + frame_message(b"", 1) + frame_message(b"gh") + b"\0\0"
        expected = [(0, b"abcdef"), (1, b""), (0, b"gh")], 2
        for first in range(len(data) + 1):
            for second in range(first, len(data) + 1):
                assert outcome(cut(data, [first, second])) == expected

    @settings(deadline=None)
    @given(MESSAGES, AFTER, st.lists(st.integers(0, 2**16), max_size=10))
    def test_bytes_mean_the_same_whole_one_by_one_and_cut_anywhere(self, messages, after, at):
        data = b"".join(frame_message(body, flag) for flag, body in messages) + after
        whole = outcome([data])
        assert whole[0] == messages
        assert outcome(cut(data, at)) == whole
        assert outcome([data[place : place + 1] for place in range(len(data))]) == whole

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.lists(st.integers(0, 2**16), max_size=6))
    def test_so_does_garbage(self, data, at):
        assert outcome(cut(data, at)) == outcome([data])

    def test_what_is_held_is_known(self):
        reader = MessageReader(LIMIT)
        reader.feed(b"\0\0\0")
        assert reader.held == 3
        reader.feed(b"\0\x04ab")
        assert reader.held == PREFIX_BYTES + 2
        reader.feed(b"cd\0")
        assert reader.held == 1


class TestLimits:
    def test_a_message_of_the_limit_is_read(self):
        assert outcome([frame_message(bytes(LIMIT))]) == ([(0, bytes(LIMIT))], 0)

    def test_one_byte_more_is_refused_by_the_prefix_alone(self):
        reader = MessageReader(LIMIT)
        with pytest.raises(MessageTooLarge):
            reader.feed(frame_message(bytes(LIMIT + 1))[:PREFIX_BYTES])

    def test_the_limit_is_that_of_one_message(self):
        data = frame_message(bytes(LIMIT)) * 3
        assert outcome([data]) == ([(0, bytes(LIMIT))] * 3, 0)

    @pytest.mark.parametrize("flag", [2, 3, 128, 255])
    def test_other_flags_than_0_and_1_are_refused(self, flag):
        with pytest.raises(CorruptMessage):
            MessageReader(LIMIT).feed(frame_message(b"a", flag))

    @pytest.mark.parametrize(
        ("bad", "error"), [(frame_message(b"", 2), CorruptMessage), (b"\0\xff\0\0\0", MessageTooLarge)]
    )
    def test_messages_before_a_fault_are_told_first(self, bad, error):
        reader = MessageReader(LIMIT)
        assert reader.feed(frame_message(b"good") + bad) == [(0, b"good")]
        assert reader.faulty
        assert reader.held
        with pytest.raises(error):
            reader.feed(b"")

    def test_tiny_frames_cost_no_more_than_they_hold(self):
        reader = MessageReader(2**20)
        reader.feed(frame_message(bytes(2**20))[:PREFIX_BYTES])
        tracemalloc.start()
        try:
            for _ in range(20_000):
                # Bytes of its own each time, as cut from a read.
                reader.feed(b"%d" % 12345)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert reader.held == 100_000 + PREFIX_BYTES
        assert held < 200_000


class TestCompression:
    @pytest.mark.parametrize("encoding", [name.encode() for name in ENCODINGS])
    @pytest.mark.parametrize("message", [b"", b"a", bytes(100_000), bytes(range(256)) * 10])
    def test_what_was_deflated_is_inflated(self, encoding, message):
        assert inflate(deflate(message, encoding), encoding, len(message)) == message

    def test_the_formats_are_those_that_grpc_names(self):
        assert gzip.decompress(deflate(b"abc" * 100, b"gzip")) == b"abc" * 100
        assert zlib.decompress(deflate(b"abc" * 100, b"deflate")) == b"abc" * 100
        assert inflate(gzip.compress(b"abc" * 100, 9), b"gzip", 300) == b"abc" * 100
        assert inflate(zlib.compress(b"abc" * 100, 9), b"deflate", 300) == b"abc" * 100

    @pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
    def test_the_limit_is_that_of_the_message_inflated(self, encoding):
        data = deflate(bytes(LIMIT), encoding)
        assert inflate(data, encoding, LIMIT) == bytes(LIMIT)
        with pytest.raises(MessageTooLarge):
            inflate(data, encoding, LIMIT - 1)
        with pytest.raises(MessageTooLarge):
            inflate(deflate(b"a", encoding), encoding, 0)
        assert inflate(deflate(b"", encoding), encoding, 0) == b""

    @pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
    def test_a_bomb_never_takes_more_memory_than_the_limit(self, encoding):
        bomb = deflate(bytes(20_000_000), encoding)
        assert len(bomb) < 100_000
        tracemalloc.start()
        try:
            with pytest.raises(MessageTooLarge):
                inflate(bomb, encoding, 50_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1_000_000

    @pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
    def test_what_is_cut_short_is_corrupt(self, encoding):
        data = deflate(b"some text " * 20, encoding)
        for end in range(len(data)):
            with pytest.raises(CorruptMessage):
                inflate(data[:end], encoding, LIMIT)

    @pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
    @pytest.mark.parametrize("more", [b"\0", b"trailing", "another"])
    def test_something_after_the_end_is_corrupt(self, encoding, more):
        # Also a second member of a gzip file: no gRPC library sends one.
        after = deflate(b"more", encoding) if more == "another" else more
        with pytest.raises(CorruptMessage):
            inflate(deflate(b"text", encoding) + after, encoding, LIMIT)

    @pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
    def test_a_wrong_checksum_is_corrupt(self, encoding):
        data = bytearray(deflate(b"text", encoding))
        # gzip's last four bytes are the length, the four before them the checksum.
        data[-5 if encoding == b"gzip" else -1] ^= 1
        with pytest.raises(CorruptMessage):
            inflate(bytes(data), encoding, LIMIT)

    def test_one_format_is_not_the_other(self):
        with pytest.raises(CorruptMessage):
            inflate(deflate(b"text", b"gzip"), b"deflate", LIMIT)
        with pytest.raises(CorruptMessage):
            inflate(deflate(b"text", b"deflate"), b"gzip", LIMIT)

    def test_deflate_without_its_header_is_corrupt(self):
        raw = zlib.compressobj(9, zlib.DEFLATED, -15)
        with pytest.raises(CorruptMessage):
            inflate(raw.compress(b"text") + raw.flush(), b"deflate", LIMIT)

    @settings(deadline=None)
    @given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate"]), st.booleans())
    def test_garbage_is_corrupt_and_nothing_else(self, data, encoding, headed):
        start = deflate(b"", encoding)[: 10 if encoding == b"gzip" else 2] if headed else b""
        try:
            message = inflate(start + data, encoding, LIMIT)
        except (CorruptMessage, MessageTooLarge):
            return
        assert len(message) <= LIMIT


@pytest.fixture(params=["compiled", "readable"])
def gathered(request, twins):
    """What an unfinished message is kept in, in one way."""
    if request.param == "readable":
        return messages.Gathered
    if not twins.is_compiled():
        pytest.skip(twins.NEEDS)
    return compiled.Gathered


class TestGathering:
    @given(sizes=st.lists(st.sampled_from([0, 1, 5, 300, 4095, 4096, 70_000]), max_size=12))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_what_is_taken_is_all_parts_in_their_order(self, gathered, sizes):
        parts = [os.urandom(size) for size in sizes]
        content, whole = gathered(), b"".join(parts)
        for part in parts:
            content.add(part, len(whole))
        assert bytes(content) == content.take() == whole
        assert content.take() == b""

    def test_one_message_comes_after_the_other(self, gathered):
        content = gathered()
        taken = []
        for size in (3, 100_000, 1, 50_000):
            content.add(bytes(size), size)
            taken.append(content.take())
        assert list(map(len, taken)) == [3, 100_000, 1, 50_000]

    def test_what_was_taken_does_not_change(self, gathered):
        content = gathered()
        content.add(b"a" * 5000, 5000)
        taken = content.take()
        content.add(b"b" * 5000, 5000)
        assert taken == b"a" * 5000

    def test_a_message_that_ends_early_is_what_has_come(self, gathered):
        content = gathered()
        content.add(b"abc", 1000)
        assert bytes(content) == b"abc"
        assert content.take() == b"abc"

    def test_what_only_a_prefix_promises_takes_little_room(self, gathered):
        content = gathered()
        tracemalloc.start()
        try:
            content.add(bytes(5000), 2**31)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 100 * 5000

    def test_more_than_the_message_is_an_error_of_the_compiled_one(self, twins):
        if not twins.is_compiled():
            pytest.skip(twins.NEEDS)
        content = compiled.Gathered()
        content.add(b"abc", 5)
        with pytest.raises(ValueError, match="6 bytes of a message of 5"):
            content.add(b"abc", 5)
        with pytest.raises(ValueError, match="of a message of -1"):
            compiled.Gathered().add(b"", -1)
        with pytest.raises(TypeError):
            content.add(None, 5)
        assert content.take() == b"abc"

    def test_large_messages_that_somebody_has_do_not_change(self, gathered):
        """Their memory is used again, but not before."""
        random, held = Random(5), []

        def expected(number, size):
            return bytes([number]) * (size // 2) + bytes([number + 1]) * (size - size // 2)

        for number in range(120):
            size = random.choice((200_000, 300_000, 500_000, 600_000, 3_000_000, 12_000_000))
            whole, content = expected(number, size), gathered()
            for part in (whole[: size // 3], whole[size // 3 :]):
                content.add(part, size)
            # Some are given up.
            if random.random() < 0.9:
                held.append((number, size, content.take()))
            if len(held) > random.randrange(12):
                held.pop(random.randrange(len(held)))
            assert all(message == expected(*about) for *about, message in held)

    def test_they_are_values_as_any_other(self, gathered):
        """Of one length and another, with hashes of their own."""
        seen = set()
        for size in (1_000_000, 1_000_000, 700_000, 999_999, 1_000_000):
            content, expected = gathered(), os.urandom(size)
            content.add(expected, size)
            message = content.take()
            assert (message, len(message), hash(message)) == (expected, size, hash(expected))
            assert message.endswith(expected[-3:])
            seen.add(hash(message))
        assert len(seen) == 5

    def test_the_memory_of_a_large_message_is_used_for_the_next(self, twins):
        if not twins.is_compiled():
            pytest.skip(twins.NEEDS)

        def message(size):
            content = compiled.Gathered()
            content.add(bytes(size), size)
            return content.take()

        # Whatever other tests have left is given up for that, and that for the next.
        message(64 << 20)
        first = message(5_000_000)
        place = id(first)
        second = message(5_000_000)
        assert id(second) != place
        del first
        assert id(message(4_000_000)) == place
        assert id(third := message(2_400_000)) != place
        # No more is kept than that, and nothing while somebody has it.
        many = [message(10_000_000) for _ in range(5)]
        assert [len(each) for each in (second, third, *many)] == [5_000_000, 2_400_000, *[10_000_000] * 5]

    @pytest.mark.parametrize("first", [1, 5000, 130_807, 160_000])
    def test_a_large_message_is_never_held_twice(self, twins, first):
        """Whatever its first part is: how it comes is chance, and a peak of memory must not be."""
        if not twins.is_compiled():
            pytest.skip(twins.NEEDS)
        length, part = 10_628_912, bytes(16_384)
        content, begun = compiled.Gathered(), bytes(first)
        tracemalloc.start()
        try:
            content.add(begun, length)
            for left in range(length - first, 0, -len(part)):
                content.add(part[:left], length)
            message = content.take()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(message) == length
        assert peak < 1.05 * length
