"""The compiled twins do what the readable modules do, to the last attribute; which of them is used."""

import importlib
import subprocess
import sys

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.rpc import header_blocks, huffman, request_head
from hushar.rpc.server_context import Route

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


@pytest.fixture(scope="module")
def compiled():
    """The module hushar.rpc._hpack."""
    try:
        return importlib.import_module("hushar.rpc._hpack")
    except ImportError as error:
        pytest.skip(
            f"needs tool: hushar.rpc._hpack, which pip install -e . builds with a C compiler ({error})"
        )


def integer(value, bits, pattern):
    most = (1 << bits) - 1
    if value < most:
        return bytes([pattern | value])
    rest, value = [pattern | most], value - most
    while value >= 128:
        rest.append(value % 128 + 128)
        value //= 128
    return bytes([*rest, value])


@st.composite
def strings(draw):
    """A string's bytes: plain or coded, now and then with a length that is not its own."""
    data = draw(
        st.one_of(
            st.sampled_from(
                [b"", b"grpc-timeout", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
            ),
            st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=80).map(
                str.encode
            ),
            st.binary(max_size=40),
            st.binary(min_size=120, max_size=700),
        )
    )
    coded = draw(st.booleans())
    if coded:
        data = HUFFMAN.encode(data)
        wrong = draw(st.sampled_from([None] * 12 + [b"\xff", b"\xff\xff\xff\xff", b"\0", b"\xfe"]))
        if wrong is not None:
            data += wrong
    length = len(data) + draw(st.sampled_from([0] * 30 + [1, -1, 100, 2**31, 2**32 - 200, 2**40]))
    return integer(max(0, length), 7, 0x80 if coded else 0) + data


@st.composite
def blocks(draw):
    """Fields and size updates in any order, with indices inside and outside of the table."""
    parts = [
        integer(draw(st.integers(0, 4200)), 5, 0x20) for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2])))
    ]
    for _ in range(draw(st.integers(0, 10))):
        kind, bits = draw(st.sampled_from([(0x80, 7), (0x80, 7), (0x40, 6), (0x40, 6), (0, 4), (0x10, 4)]))
        index = draw(
            st.one_of(st.integers(1, 64), st.sampled_from([0, 15, 62, 63, 70, 127, 200, 2**32, 2**64]))
        )
        part = integer(index, bits, kind)
        if kind != 0x80:
            part += (b"" if index else draw(strings())) + draw(strings())
        parts.append(part)
    if draw(st.sampled_from([False] * 15 + [True])):
        parts.append(integer(100, 5, 0x20))
    return b"".join(parts)


@st.composite
def mutated(draw):
    """A block with a byte changed, cut off or added."""
    block = bytearray(draw(blocks()))
    at = draw(st.integers(0, 2000))
    match draw(st.sampled_from(["not at all", "not at all", "changed", "cut", "added"])):
        case "changed" if block:
            block[at % len(block)] = draw(st.integers(0, 255))
        case "cut":
            del block[at % (len(block) + 1) :]
        case "added":
            block[at % (len(block) + 1) : 0] = draw(st.binary(max_size=6))
    return bytes(block)


def outcome(decoder, block):
    """What a block does to a decoder; None for the fields where it cannot be decoded."""
    try:
        fields = decoder.decode(block)
    except header_blocks.CompressionError:
        fields = None
    return fields, decoder.changes, decoder.literals, decoder.literal_bytes


def entries(decoder):
    """The dynamic table, newest first."""
    found = []
    while (fields := outcome(decoder, integer(62 + len(found), 7, 0x80))[0]) is not None:
        found += fields
    return found


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(mutated(), max_size=10), st.sampled_from([4096, 0, 100, 1000, 2**20]))
def test_decoders_agree_on_every_sequence_of_blocks(compiled, sequence, table_bytes):
    ours = compiled.HeaderDecoder(table_bytes)
    readable = header_blocks.HeaderDecoder(table_bytes)
    for block in sequence:
        expected = outcome(readable, block)
        assert outcome(ours, block) == expected
        assert entries(ours) == entries(readable)
        if expected[0] is None:
            break


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(mutated(), max_size=10), st.sampled_from([4096, 0, 100, 1000]))
def test_reading_a_block_at_once_is_decoding_it_or_changes_nothing(compiled, sequence, table_bytes):
    first = header_blocks.encode([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/")])
    first += header_blocks.encode([(b"content-type", b"application/grpc"), (b"te", b"trailers")])
    readable = header_blocks.HeaderDecoder(table_bytes)
    ours = compiled.HeaderDecoder(table_bytes)

    def find(_):
        head = request_head.parse_head(known, compiled.RequestHead)
        head.route = Route("/", collects=True)
        return head

    made = compiled.Variations(ours, find, max_fields=99, max_bytes=9999)
    known = ours.decode(b"\x3f\xe1\x1f"[: 3 if table_bytes == 4096 else 0] + first)
    made.head(ours.decode(b"\x83\x86\x84" + b"\x00\x01a\x01b"))
    before = ours.changes
    for block in sequence:
        # After what the known head begins with, so that some are read at once.
        whole = b"\x83\x86\x84" + block
        expected = outcome(readable, whole)
        head = made.read(whole)
        if head is None:
            assert ours.changes == before
            assert outcome(ours, whole)[0] == expected[0]
        else:
            assert [*known[: head.pseudo], *head.fields] == expected[0]
        before = ours.changes
        assert entries(ours) == entries(readable)
        if expected[0] is None:
            break


@pytest.mark.slow
def test_decoders_agree_over_a_long_connection(compiled):
    """Thousands of entries come and go."""
    encoder = hpack.Encoder()
    ours, readable = compiled.HeaderDecoder(), header_blocks.HeaderDecoder()
    for number in range(3000):
        if number % 500 == 499:
            encoder.header_table_size = (number * 7) % 4097
        fields = [
            (b":method", b"POST"),
            (b"user-agent", b"x"),
            (b"x-%d" % (number % 7), b"%d" % (number // 3)),
        ]
        block = encoder.encode(fields, huffman=bool(number & 1))
        assert ours.decode(block) == readable.decode(block) == fields
    assert entries(ours) == entries(readable)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=40).map(HUFFMAN.encode)), st.binary(max_size=5))
def test_huffman_decoders_agree_on_all_bytes(compiled, data, more):
    decoders = compiled.HuffmanDecoder(), huffman.HuffmanDecoder()
    results = []
    for decoder in decoders:
        try:
            results.append(decoder.decode(data + more))
        except huffman.BadHuffman:
            results.append(None)
    assert results[0] == results[1]


@pytest.mark.slow
def test_every_two_bytes_mean_the_same(compiled):
    decoders = compiled.HuffmanDecoder(), huffman.HuffmanDecoder()
    for number in range(65_536):
        results = []
        for decoder in decoders:
            try:
                results.append(decoder.decode(number.to_bytes(2, "big")))
            except huffman.BadHuffman:
                results.append(None)
        assert results[0] == results[1]


@pytest.mark.parametrize("data", [None, "text", bytearray(b"\x82"), memoryview(b"\x82"), 5])
def test_only_bytes_are_decoded(compiled, data):
    with pytest.raises(TypeError):
        compiled.HeaderDecoder().decode(data)
    with pytest.raises(TypeError):
        compiled.HuffmanDecoder().decode(data)


def test_a_head_has_all_attributes_of_the_readable_one(compiled):
    readable, ours = request_head.RequestHead(), compiled.RequestHead()
    for name in request_head.RequestHead.__slots__:
        assert getattr(ours, name) == getattr(readable, name)
        setattr(ours, name, getattr(readable, name))
    with pytest.raises(AttributeError):
        ours.other = 1


def test_no_reference_is_lost_or_kept(compiled):
    """Entries that have left the table are free again; those of the static table stay."""
    field = header_blocks.STATIC[3]
    before = sys.getrefcount(field), sys.getrefcount(field[0])
    decoder = compiled.HeaderDecoder()
    for number in range(1000):
        decoder.decode(b"\x84" + integer(4, 6, 0x40) + b"\x02/x" + integer(4, 4, 0) + b"\x02/y")
        if number % 300 == 299:
            decoder.decode(b"\x20")
    del decoder
    after = sys.getrefcount(field), sys.getrefcount(field[0])
    assert after == before


PROGRAM = """
import sys
if sys.argv[1:]:
    sys.modules["hushar.rpc._hpack"] = None
from hushar.rpc import Server, compiled
print(compiled.HeaderDecoder.__module__, compiled.RequestHead.__module__, compiled.Variations.__module__)
"""


@pytest.mark.slow
def test_the_twins_serve_where_they_are_built(compiled):
    line = [sys.executable, "-c", PROGRAM]
    assert printed(line) == ["hushar.rpc._hpack"] * 3


@pytest.mark.slow
def test_the_readable_modules_serve_where_they_are_not():
    names = ["hushar.rpc.header_blocks", "hushar.rpc.request_head", "hushar.rpc.variations"]
    assert printed([sys.executable, "-c", PROGRAM, "without"]) == names


def printed(line):
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
