"""Header blocks (HPACK, RFC 7541): its own vectors, hpack as an oracle, and bytes that mean nothing."""

import itertools

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.rpc.header_blocks import (
    ENTRY_OVERHEAD,
    STATIC,
    CompressionError,
    encode,
    list_size,
)

FIRST_DYNAMIC = 62
DATE_21 = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
DATE_22 = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
LOCATION = (b"location", b"https://www.example.com")
PRIVATE = (b"cache-control", b"private")
COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
GZIP = (b"content-encoding", b"gzip")
REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
NO_CACHE = (b"cache-control", b"no-cache")
CUSTOM = (b"custom-key", b"custom-value")
SECURE = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), REQUEST[3]]


def status(code):
    return (b":status", code)


REQUESTS = [REQUEST, [*REQUEST, NO_CACHE], [*SECURE, CUSTOM]]
REQUEST_TABLES = [[REQUEST[3]], [NO_CACHE, REQUEST[3]], [CUSTOM, NO_CACHE, REQUEST[3]]]
RESPONSES = [
    [status(b"302"), PRIVATE, DATE_21, LOCATION],
    [status(b"307"), PRIVATE, DATE_21, LOCATION],
    [status(b"200"), PRIVATE, DATE_22, LOCATION, GZIP, COOKIE],
]
RESPONSE_TABLES = [
    [LOCATION, DATE_21, PRIVATE, status(b"302")],
    [status(b"307"), LOCATION, DATE_21, PRIVATE],
    [COOKIE, GZIP, DATE_22],
]


def table_of(decoder):
    """The dynamic table, newest first, read as a peer reads it: by index."""
    entries = []
    try:
        for index in itertools.count(FIRST_DYNAMIC):
            entries += decoder.decode(integer(index, 7, 0x80))
    except CompressionError:
        return entries


def integer(value, bits, pattern=0):
    """An integer behind a pattern of flags, as section 5.1 says."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([pattern | value])
    rest, value = [pattern | most], value - most
    while value >= 128:
        rest.append(value % 128 + 128)
        value //= 128
    return bytes([*rest, value])


def text(data):
    return integer(len(data), 7) + data


def entry(name, value=b"", pattern=0x40):
    """A literal with a new name: 0x40 enters the table, 0 does not, 0x10 never may."""
    return bytes([pattern]) + text(name) + text(value)


class TestVectorsOfTheRFC:
    """Appendix C."""

    @pytest.mark.parametrize(
        ("block", "field", "table"),
        [
            (
                "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
                (b"custom-key", b"custom-header"),
                [(b"custom-key", b"custom-header")],
            ),
            ("040c2f73616d706c652f70617468", (b":path", b"/sample/path"), []),
            ("100870617373776f726406736563726574", (b"password", b"secret"), []),
            ("82", (b":method", b"GET"), []),
        ],
        ids=["C.2.1 indexed", "C.2.2 not indexed", "C.2.3 never indexed", "C.2.4 a reference"],
    )
    def test_c2_forms_of_a_field(self, heads, block, field, table):
        decoder = heads.HeaderDecoder()
        assert decoder.decode(bytes.fromhex(block)) == [field]
        assert table_of(decoder) == table

    @pytest.mark.parametrize(
        ("blocks", "lists", "tables", "table_bytes"),
        [
            (
                [
                    "828684410f7777772e6578616d706c652e636f6d",
                    "828684be58086e6f2d6361636865",
                    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
                ],
                REQUESTS,
                REQUEST_TABLES,
                4096,
            ),
            (
                [
                    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                    "828684be5886a8eb10649cbf",
                    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
                ],
                REQUESTS,
                REQUEST_TABLES,
                4096,
            ),
            (
                [
                    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                    "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                    "4803333037c1c0bf",
                    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d"
                    "4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b20766572"
                    "73696f6e3d31",
                ],
                RESPONSES,
                RESPONSE_TABLES,
                256,
            ),
            (
                [
                    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b"
                    "97c8e9ae82ae43d3",
                    "4883640effc1c0bf",
                    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdf"
                    "cd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                ],
                RESPONSES,
                RESPONSE_TABLES,
                256,
            ),
        ],
        ids=["C.3 requests", "C.4 Huffman", "C.5 responses that evict", "C.6 Huffman"],
    )
    def test_sequences(self, heads, blocks, lists, tables, table_bytes):
        for count in (1, 2, 3):
            decoder = heads.HeaderDecoder(table_bytes)
            got = [decoder.decode(bytes.fromhex(block)) for block in blocks[:count]]
            assert got == lists[:count]
            assert table_of(decoder) == tables[count - 1]

    @pytest.mark.parametrize(
        ("value", "coded"), [(10, "0a"), (1337, "1f9a0a"), (31, "1f00"), (30, "1e"), (2**14, "1fe17f")]
    )
    def test_c1_integers(self, heads, value, coded):
        # Read as the new size of the table, which has five bits for it.
        block = bytes.fromhex(coded)
        block = bytes([block[0] | 0x20]) + block[1:]
        assert heads.HeaderDecoder(value).decode(block) == []
        with pytest.raises(CompressionError):
            heads.HeaderDecoder(value - 1).decode(block)


class TestIntegers:
    """Section 5.1."""

    def test_zeros_may_pad_an_integer(self, heads):
        assert heads.HeaderDecoder().decode(b"\x0f\x80\x80\x00" + text(b"v")) == [(STATIC[14][0], b"v")]

    @pytest.mark.parametrize(
        "rest",
        ["ffffffff7f", "ffffffffff00", "808080808000", "80808080808080808001", "ff" * 1000 + "00"],
    )
    def test_too_large_or_too_long(self, heads, rest):
        for first in (b"\xff", b"\x7f", b"\x0f", b"\x3f", b"\x00\x7f", b"\x00\xff"):
            with pytest.raises(CompressionError):
                heads.HeaderDecoder(2**32).decode(first + bytes.fromhex(rest))

    def test_a_long_string_has_a_long_length(self, heads):
        for length in (126, 127, 128, 255, 20000):
            value = b"v" * length
            assert heads.HeaderDecoder().decode(b"\0" + text(b"n") + text(value)) == [(b"n", value)]
            assert heads.HeaderDecoder().decode(b"\0" + text(value) + text(b"v")) == [(value, b"v")]


@pytest.mark.parametrize(
    "block",
    [
        "80",  # index 0
        "be",  # beyond an empty table
        "ff00",  # the same, at the border of one byte
        "ff80808001",
        "7e",  # a name beyond the table
        "7f0000",
        "0f3000",
        "40",  # nothing behind
        "4001",
        "400161",
        "40016105",
        "40016101",
        "00",
        "ff",
        "0f",
        "7f",
        "8220",  # a size update after a field
        "3fe21f",  # larger than 4096
        "0485ffff",  # a string shorter than its length
        "0482ffff",  # all padding
        "0484ffffffff",  # EOS
        "04811e",  # padding of zeros
    ],
)
def test_a_block_that_cannot_be_decoded(heads, block):
    decoder = heads.HeaderDecoder()
    with pytest.raises(CompressionError):
        # The field before shows that the fault is not in the first byte alone.
        decoder.decode(bytes.fromhex("82") + bytes.fromhex(block))


@pytest.mark.parametrize("more", [b"\x80", b"\xbf", b"\x40\x05a", b"\x3f"])
def test_what_comes_after_good_fields_is_read_as_strictly(heads, more):
    with pytest.raises(CompressionError):
        heads.HeaderDecoder().decode(entry(b"a", b"b") + b"\xbe" + more)


class TestTheDynamicTable:
    """Sections 2.3 and 4."""

    def test_an_entry_counts_32_bytes_beside_its_text(self, heads):
        size = len("namevalue") + ENTRY_OVERHEAD
        fitting = heads.HeaderDecoder(2 * size)
        fitting.decode(entry(b"name", b"value") * 2)
        assert len(table_of(fitting)) == 2
        tight = heads.HeaderDecoder(2 * size - 1)
        tight.decode(entry(b"name", b"value") * 2)
        assert len(table_of(tight)) == 1

    def test_the_oldest_goes_first(self, heads):
        decoder = heads.HeaderDecoder(3 * 33)
        decoder.decode(b"".join(entry(bytes([letter])) for letter in b"abcde"))
        assert table_of(decoder) == [(b"e", b""), (b"d", b""), (b"c", b"")]

    def test_an_entry_larger_than_the_table_empties_it(self, heads):
        decoder = heads.HeaderDecoder(100)
        decoder.decode(entry(b"a") + entry(b"b"))
        assert decoder.decode(entry(b"n", bytes(100))) == [(b"n", bytes(100))]
        assert table_of(decoder) == []
        decoder = heads.HeaderDecoder(100)
        decoder.decode(entry(b"n", bytes(100)) + entry(b"a") + entry(b"b") + entry(b"c") + entry(b"d"))
        assert table_of(decoder) == [(b"d", b""), (b"c", b""), (b"b", b"")]

    def test_a_name_may_be_taken_from_the_entry_that_it_evicts(self, heads):
        # Section 4.4.
        decoder = heads.HeaderDecoder(64)
        decoder.decode(entry(b"long-name", b"x" * 20))
        assert decoder.decode(integer(62, 6, 0x40) + text(b"y" * 20)) == [(b"long-name", b"y" * 20)]
        assert table_of(decoder) == [(b"long-name", b"y" * 20)]

    def test_equal_entries_stand_twice(self, heads):
        decoder = heads.HeaderDecoder()
        decoder.decode(entry(b"a") * 2)
        assert table_of(decoder) == [(b"a", b"")] * 2

    def test_fields_that_are_not_indexed_leave_it_alone(self, heads):
        decoder = heads.HeaderDecoder()
        block = entry(b"a", b"b", 0) + entry(b"c", b"d", 0x10) + b"\x82"
        assert decoder.decode(block) == [(b"a", b"b"), (b"c", b"d"), (b":method", b"GET")]
        assert (decoder.changes, table_of(decoder)) == (0, [])

    def test_a_table_of_no_bytes(self, heads):
        decoder = heads.HeaderDecoder(0)
        assert decoder.decode(entry(b"a", b"b") * 2) == [(b"a", b"b")] * 2
        assert table_of(decoder) == []

    def test_indices_of_more_than_one_byte(self, heads):
        decoder = heads.HeaderDecoder(33 * 200)
        names = [bytes([letter]) for letter in range(200)]
        decoder.decode(b"".join(map(entry, names)))
        assert table_of(decoder) == [(name, b"") for name in reversed(names)]
        field = decoder.decode(integer(FIRST_DYNAMIC + 199, 4) + text(b"v"))
        assert field == [(names[0], b"v")]


class TestSizeUpdates:
    """Section 4.2."""

    def test_a_smaller_table_drops_the_oldest(self, heads):
        decoder = heads.HeaderDecoder()
        decoder.decode(entry(b"a") + entry(b"b") + entry(b"c"))
        assert decoder.decode(integer(66, 5, 0x20)) == []
        assert table_of(decoder) == [(b"c", b""), (b"b", b"")]

    def test_several_may_begin_a_block(self, heads):
        decoder = heads.HeaderDecoder()
        decoder.decode(entry(b"a"))
        block = integer(0, 5, 0x20) + integer(4096, 5, 0x20) + entry(b"b") + b"\xbe"
        assert decoder.decode(block) == [(b"b", b""), (b"b", b"")]
        assert table_of(decoder) == [(b"b", b"")]

    def test_a_table_that_was_made_smaller_may_grow_again(self, heads):
        decoder = heads.HeaderDecoder(100)
        decoder.decode(integer(33, 5, 0x20) + entry(b"a") + entry(b"b"))
        assert table_of(decoder) == [(b"b", b"")]
        decoder = heads.HeaderDecoder(100)
        decoder.decode(integer(33, 5, 0x20) + entry(b"a") + entry(b"b"))
        decoder.decode(integer(100, 5, 0x20) + entry(b"c") + entry(b"d") + entry(b"e"))
        assert table_of(decoder) == [(b"e", b""), (b"d", b""), (b"c", b"")]

    def test_none_is_demanded(self, heads):
        # 4096 bytes is what a peer starts from, and we never announce less.
        assert heads.HeaderDecoder().decode(b"\x82") == [(b":method", b"GET")]

    def test_not_above_what_was_announced(self, heads):
        assert heads.HeaderDecoder(4096).decode(integer(4096, 5, 0x20)) == []
        with pytest.raises(CompressionError):
            heads.HeaderDecoder(4096).decode(integer(4097, 5, 0x20))

    @pytest.mark.parametrize("field", [b"\x82", entry(b"a", b"b"), entry(b"a", b"b", 0)])
    def test_not_after_a_field(self, heads, field):
        with pytest.raises(CompressionError):
            heads.HeaderDecoder().decode(field + b"\x20")


class TestWhatAMemoMayRelyOn:
    """The same bytes mean the same fields as long as `changes` stays."""

    @pytest.mark.parametrize(
        "block",
        [entry(b"a", b"b"), b"\x82" + entry(b"a", b"b"), b"\x20", integer(4096, 5, 0x20)],
        ids=["an entry", "an entry after a reference", "a smaller size", "the size that it has"],
    )
    def test_whatever_may_change_the_table_is_counted(self, heads, block):
        decoder = heads.HeaderDecoder()
        before = decoder.changes
        decoder.decode(block)
        assert decoder.changes > before

    def test_an_entry_too_large_for_the_table_is_counted_as_it_empties_it(self, heads):
        decoder = heads.HeaderDecoder(40)
        decoder.decode(entry(b"a"))
        before = decoder.changes
        decoder.decode(entry(b"a", bytes(40)))
        assert decoder.changes > before

    def test_references_and_plain_literals_change_nothing(self, heads):
        decoder = heads.HeaderDecoder()
        decoder.decode(entry(b"x-tenant", b"alice"))
        before = decoder.changes
        assert decoder.decode(b"\xbe\x82" + entry(b"a", b"b", 0)) == decoder.decode(
            b"\xbe\x82" + entry(b"a", b"b", 0)
        )
        assert decoder.changes == before

    def test_the_same_bytes_after_another_entry_mean_another_field(self, heads):
        # What went wrong in a prototype: "be" was answered from a memo.
        decoder = heads.HeaderDecoder()
        decoder.decode(entry(b"x-tenant", b"alice"))
        assert decoder.decode(b"\xbe") == [(b"x-tenant", b"alice")]
        decoder.decode(entry(b"x-tenant", b"bob"))
        assert decoder.decode(b"\xbe") == [(b"x-tenant", b"bob")]

    def test_literals_are_told_by_place_and_size(self, heads):
        decoder = heads.HeaderDecoder()
        fields = decoder.decode(b"\x82" + entry(b"a", b"bc") + b"\x84" + entry(b"d", b"", 0) + b"\xbe")
        assert [fields[place] for place in decoder.literals] == [(b"a", b"bc"), (b"d", b"")]
        assert decoder.literal_bytes == list_size([(b"a", b"bc"), (b"d", b"")])
        decoder.decode(b"\x82")
        assert (decoder.literals, decoder.literal_bytes) == ([], 0)


NAMES = st.one_of(
    st.sampled_from([name for name, _ in STATIC]),
    st.sampled_from([b"grpc-timeout", b"traceparent", b"x-a", b"x-b", b""]),
    st.binary(max_size=40),
)
VALUES = st.one_of(
    st.sampled_from([value for _, value in STATIC]),
    st.binary(max_size=150),
    st.text(max_size=60).map(str.encode),
)
OPERATIONS = st.lists(
    st.tuples(
        st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8),
        st.booleans(),
        st.none() | st.integers(0, 4096),
    ),
    max_size=12,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(OPERATIONS)
def test_what_another_implementation_encodes_is_decoded(heads, operations):
    """Random header lists, some fields never indexed, with and without Huffman, tables of all sizes."""
    encoder, decoder = hpack.Encoder(), heads.HeaderDecoder()
    for fields, huffman, size in operations:
        if size is not None:
            encoder.header_table_size = size
        headers = [
            hpack.NeverIndexedHeaderTuple(name, value) if sensitive else hpack.HeaderTuple(name, value)
            for name, value, sensitive in fields
        ]
        block = encoder.encode(headers, huffman=huffman)
        assert decoder.decode(block) == [(name, value) for name, value, _ in fields]
        assert table_of(decoder) == list(encoder.header_table.dynamic_entries)


@st.composite
def blocks(draw):
    """Blocks of proper fields and updates, with references that may or may not be in the table."""
    parts = [
        integer(draw(st.integers(0, 4200)), 5, 0x20) for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])))
    ]
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from([0x80, 0x40, 0, 0x10]))
        index = draw(st.one_of(st.integers(0, 66), st.integers(0, 300)))
        bits = {0x80: 7, 0x40: 6, 0: 4, 0x10: 4}[kind]
        part = integer(index, bits, kind)
        if kind != 0x80:
            part += b"" if index else text(draw(st.binary(max_size=30)))
            part += text(draw(st.binary(max_size=130)))
        parts.append(part)
    return b"".join(parts)


def reference_decode(decoder, block):
    try:
        return [tuple(field) for field in decoder.decode(block, raw=True)]
    except hpack.HPACKError:
        return None


def our_decode(decoder, block):
    try:
        return decoder.decode(block)
    except CompressionError:
        return None


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.lists(blocks(), max_size=12))
def test_blocks_mean_what_another_implementation_says(heads, sequence):
    """Also which of them are faults; the first ends a connection."""
    theirs, ours = hpack.Decoder(max_header_list_size=2**30), heads.HeaderDecoder()
    for block in sequence:
        expected = reference_decode(theirs, block)
        assert our_decode(ours, block) == expected
        if expected is None:
            break


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(
    st.one_of(st.binary(max_size=60), blocks()),
    st.integers(0, 2**20),
    st.integers(0, 255),
    st.binary(max_size=4),
)
def test_bytes_that_mean_nothing_are_a_compression_error(heads, block, at, byte, after):
    """Nothing else ever leaves the decoder, and what it accepts another implementation reads alike."""
    mutated = bytearray(block)
    if mutated:
        mutated[at % len(mutated)] = byte
    mutated += after
    ours = our_decode(heads.HeaderDecoder(), bytes(mutated))
    if ours is not None:
        theirs = hpack.Decoder(max_header_list_size=2**30)
        assert reference_decode(theirs, bytes(mutated)) == ours


@pytest.mark.slow
@settings(deadline=None)
@given(blocks())
def test_a_block_cut_short_is_an_error_or_whole_fields(heads, block):
    whole = our_decode(heads.HeaderDecoder(), block)
    for end in range(len(block)):
        part = our_decode(heads.HeaderDecoder(), block[:end])
        if whole is not None and part is not None:
            assert part == whole[: len(part)]


class TestEncoding:
    """Our own blocks refer to no dynamic table."""

    @pytest.mark.slow
    @settings(deadline=None)
    @given(st.lists(st.tuples(NAMES, VALUES), max_size=10))
    def test_equal_fields_are_equal_bytes_at_every_time(self, heads, fields):
        block = encode(fields)
        decoder = heads.HeaderDecoder(0)
        for _ in range(2):
            assert encode(fields) == block
            assert decoder.decode(block) == fields
        assert decoder.changes == 0
        assert reference_decode(hpack.Decoder(max_header_list_size=2**30), block) == fields

    def test_static_fields_are_one_byte(self):
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":status", b"200")]
        assert encode(fields) == b"\x83\x86\x88"

    def test_static_names_are_a_number(self):
        assert encode([(b"content-type", b"a")]) == b"\x0f\x10\x01a"
        assert encode([(b":path", b"/x")]) == b"\x04\x02/x"

    def test_a_static_name_without_value_stays_a_field(self, heads):
        fields = [(b":authority", b""), (b"te", b"")]
        assert heads.HeaderDecoder().decode(encode(fields)) == fields

    def test_long_text(self, heads):
        fields = [(b"n" * 300, b"v" * 70000)]
        assert heads.HeaderDecoder().decode(encode(fields)) == fields


def test_the_static_table_is_that_of_the_rfc():
    theirs = hpack.table.HeaderTable.STATIC_TABLE
    assert tuple(theirs) == STATIC
    assert len(STATIC) == 61


@pytest.mark.parametrize(
    ("fields", "size"), [([], 0), ([(b"", b"")], 32), ([(b"ab", b"cde"), (b"f", b"")], 5 + 1 + 64)]
)
def test_a_lists_size_is_counted_as_the_rfc_counts(fields, size):
    assert list_size(fields) == size
