"""CONTRACT.md 1, "Decoding, exactly", at every byte: protobuf's upb says what decodes and what it holds."""

import itertools
import struct

import pytest
from kernelkit import mutation, plans, requests, schema
from kernelkit.requests import Maker
from kernelkit.wire import (
    EGROUP,
    I32,
    I64,
    LEN,
    NOT_UTF8,
    SGROUP,
    VARINT,
    field,
    groups,
    overlong,
    tag,
    varint,
)

FLOAT = tag(2, I32) + struct.pack("<f", 3)
ENTRY = field(1, "f") + field(2, FLOAT)
STRINGS = field(10, field(1, "1") + field(1, "zwei"))
INTEGERS = field(8, field(1, varint(300) + varint(-1)) + tag(1, VARINT) + varint(7))

LEVELS = {
    "request": lambda inner: inner + field(2, field(2, ENTRY)) + inner,
    "row": lambda inner: field(2, inner + field(2, ENTRY) + inner),
    "entry": lambda inner: (
        field(2, field(2, field(1, "f") + inner + field(2, FLOAT))) + field(2, field(2, ENTRY))
    ),
    "other entry": lambda inner: field(
        2, field(2, ENTRY) + field(2, field(1, "o") + field(2, FLOAT) + inner)
    ),
    "value": lambda inner: field(2, field(2, field(1, "f") + field(2, inner + FLOAT + inner))),
    "other value": lambda inner: field(
        2, field(2, field(1, "o") + field(2, FLOAT + inner)) + field(2, ENTRY)
    ),
    "doubles": lambda inner: _array(6, inner, tag(1, I64) + bytes(8)),
    "floats": lambda inner: _array(7, inner, tag(1, I32) + bytes(4)),
    "integers": lambda inner: _array(8, inner, tag(1, VARINT) + b"\7"),
    "longs": lambda inner: _array(9, inner, field(1, b"\7")),
    "strings": lambda inner: _array(10, inner, field(1, "7")),
    "strings of another": lambda inner: field(2, field(2, field(1, "o") + field(2, field(10, inner)))),
    "group": lambda inner: tag(9, SGROUP) + inner + tag(9, EGROUP) + field(2, field(2, ENTRY)),
    "group in a row": lambda inner: field(2, tag(2, SGROUP) + inner + tag(2, EGROUP) + field(2, ENTRY)),
}
"""Where a fragment can stand: each message is fine without it."""


def _array(number, inner, value):
    return field(2, field(2, field(1, "f") + field(2, field(number, inner + value + inner))))


@pytest.fixture(scope="module")
def two():
    """Features `f`, one number, and `g`, three."""
    return plans.setup_of(
        {
            "f": {"type": "identity", "default_val": [-1.5]},
            "g": {"type": "identity", "default_val": [-1, -2, -3]},
            "w": {"type": "embedding", "embeddings": {"a": [1], "é": [2]}, "default_val": [9, 8]},
        }
    )


def dense():
    """A short request with a field of nearly every sort."""
    values = [
        ("f", tag(1, I64) + struct.pack("<d", 0.1)),
        ("g", INTEGERS),
        ("w", field(10, field(1, "é") + field(1, "x"))),
        ("o", STRINGS),
        ("f", FLOAT),
    ]
    entries = b"".join(field(2, field(1, name) + field(2, value)) for name, value in values)
    unknown = tag(15, SGROUP) + b"\x08\x01" + tag(15, EGROUP)
    return field(1, "q") + field(2, field(1, "r") + unknown + entries) + tag(9, VARINT) + overlong(5, 3)


def fragments():
    """Pieces that may or may not stand in a message: every tag byte with values of many lengths."""
    for number, wire_type in itertools.product((0, 1, 2, 3, 4, 5, 7, 10, 11, 15), range(8)):
        if number < 16:
            for value in (
                b"",
                b"\0",
                b"\1",
                b"\2\0\0",
                b"\x80\0",
                bytes(4),
                bytes(8),
                b"\3\x0a\1x",
                b"\2\x08\1",
            ):
                yield bytes((number << 3 | wire_type,)) + value


@pytest.mark.parametrize("level", LEVELS)
class TestFragments:
    def test_each_field_of_each_wire_type(self, agree, two, level):
        agree(two, [LEVELS[level](fragment) for fragment in fragments()])

    def test_tags_lengths_and_varints_of_each_size(self, agree, two, level):
        made = []
        for size in range(1, 12):
            for last in (0x00, 0x01, 0x07, 0x08, 0x0F, 0x10, 0x7F):
                number = bytearray(overlong(9 << 3, size))
                number[-1] |= last
                made += [
                    bytes(number) + b"\1",
                    tag(9, VARINT) + bytes(number),
                    bytes([number[0] | LEN, *number[1:]]) + b"\0",
                    tag(9, LEN) + bytes((*overlong(0, size)[:-1], last)),
                    tag(9, LEN) + overlong(2, size) + b"\xff\xff",
                    tag(9, SGROUP) + bytes([number[0] | EGROUP, *number[1:]]),
                ]
        agree(two, [LEVELS[level](fragment) for fragment in made])

    def test_nesting_up_to_the_limit_and_beyond(self, agree, two, level):
        made = []
        for depth in range(88, 104):
            made += [groups(depth), groups(depth, 1), groups(depth, 2000), groups(1) + groups(depth)]
            made += [tag(9, SGROUP) * depth, tag(9, SGROUP) * depth + tag(9, EGROUP) * (depth - 1)]
        outcomes = agree(two, [LEVELS[level](fragment) for fragment in made])
        assert {outcome.error is None for outcome in outcomes} == {True, False}

    def test_groups_that_do_not_match(self, agree, two, level):
        begin, end = tag(9, SGROUP), tag(9, EGROUP)
        made = [
            begin, end, begin + end, begin + end + end, begin + begin + end, begin + tag(8, EGROUP),
            begin + tag(1, SGROUP) + end + tag(1, EGROUP),
            overlong(9 << 3 | SGROUP, 5) + overlong(9 << 3 | EGROUP, 4),
            begin + b"\0\0" + end, begin + tag(0, SGROUP) + tag(0, EGROUP) + end, begin + b"\x0e" + end,
            begin + b"\x0f" + end, begin + field(1, b"\xff") + end, begin + tag(1, LEN) + b"\5" + end,
            begin + tag(1, I64) + end, begin + tag(1, I32) + bytes(4) + end, tag(0, SGROUP) + tag(0, EGROUP),
            tag(2**29 - 1, SGROUP) + tag(2**29 - 1, EGROUP), tag(2**29 - 1, SGROUP) + tag(2**28 - 1, EGROUP),
        ]  # fmt: skip
        agree(two, [LEVELS[level](fragment) for fragment in made])

    def test_lengths_beyond_the_end(self, agree, two, level):
        sizes = (1, 2, 5, 100, 2**14, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**35 - 1, 2**63, 2**64 - 1)
        made = [tag(number, LEN) + varint(size) for number in (1, 2, 9, 10) for size in sizes]
        made += [fragment + b"x" for fragment in made]
        agree(two, [LEVELS[level](fragment) for fragment in made])


STRINGS_AT = {
    "request_id": lambda text: field(1, text) + field(2, field(2, ENTRY)),
    "a replaced request_id": lambda text: field(1, text) + field(2, field(2, ENTRY)) + field(1, "q"),
    "row_id": lambda text: field(2, field(2, ENTRY) + field(1, text)),
    "a replaced row_id": lambda text: field(2, field(1, text) + field(2, ENTRY) + field(1, "r")),
    "key": lambda text: field(2, field(2, field(1, text) + field(2, FLOAT)) + field(2, ENTRY)),
    "a replaced key": lambda text: field(2, field(2, field(1, text) + field(2, FLOAT) + field(1, "f"))),
    "the key of an absent entry": lambda text: field(
        2, field(2, ENTRY) + field(2, field(1, text) + b"\x18\1")
    ),
    "value": lambda text: field(2, field(2, field(1, "f") + field(2, field(5, text)))),
    "a replaced value": lambda text: field(2, field(2, field(1, "f") + field(2, field(5, text) + FLOAT))),
    "a value in a replaced entry": lambda text: field(
        2, field(2, field(1, "f") + field(2, field(5, text))) + field(2, ENTRY)
    ),
    "a value of an absent entry": lambda text: field(
        2, field(2, ENTRY) + field(2, field(1, "f") + field(2, field(5, text)) + b"\x18\1")
    ),
    "a value that nobody asked for": lambda text: field(
        2, field(2, field(1, "o") + field(2, field(5, text)))
    ),
    "a value of an array": lambda text: field(
        2, field(2, field(1, "w") + field(2, field(10, field(1, text) * 2)))
    ),
    "an array of a replaced value": lambda text: field(
        2, field(2, field(1, "f") + field(2, field(10, field(1, text)) + FLOAT))
    ),
    "an array that nobody asked for": lambda text: field(
        2, field(2, field(1, "o") + field(2, field(10, field(1, "x") + field(1, text))))
    ),
    "a feature after a refused one": lambda text: field(
        2,
        field(2, field(1, "f") + field(2, field(5, "no number")))
        + field(2, field(1, "o") + field(2, field(5, text))),
    ),
    "the row after a refused one": lambda text: (
        field(2, field(2, field(1, "f") + field(2, field(5, "no number")))) + field(2, field(1, text))
    ),
}
NO_STRINGS_AT = {
    "an unknown field of the request": lambda text: field(9, text) + field(2, field(2, ENTRY)),
    "an unknown field of a row": lambda text: field(2, field(2, ENTRY) + field(9, text)),
    "an unknown field of an entry": lambda text: field(
        2, field(2, ENTRY) + field(2, field(1, "o") + field(9, text))
    ),
    "an unknown field of a value": lambda text: field(
        2, field(2, field(1, "f") + field(2, FLOAT + field(11, text)))
    ),
    "an unknown field of an array": lambda text: _array(7, field(2, text), tag(1, I32) + bytes(4)),
    "a group": lambda text: tag(9, SGROUP) + field(1, text) + tag(9, EGROUP) + field(2, field(2, ENTRY)),
    "field 3 of a row": lambda text: field(2, field(2, ENTRY) + field(3, text)),
}


def encoded(prefix, sequences):
    return [prefix + bytes(sequence) for sequence in sequences]


class TestUtf8:
    @pytest.mark.parametrize("place", STRINGS_AT)
    def test_it_is_checked_in_every_string(self, agree, two, place):
        made = agree(two, [STRINGS_AT[place](text) for text in NOT_UTF8])
        assert {type(outcome.error).__name__ for outcome in made} == {"UndecodableRequest"}
        agree(two, [STRINGS_AT[place](text) for text in ("", "x", "é", "नमस्ते", "😀" * 20, "\0", "a" * 200)])

    @pytest.mark.parametrize("place", NO_STRINGS_AT)
    def test_it_is_not_checked_in_unknown_fields(self, agree, two, place):
        made = agree(two, [NO_STRINGS_AT[place](text) for text in NOT_UTF8])
        assert {outcome.error for outcome in made} == {None}

    def test_all_sequences_of_two_bytes_and_the_edges_of_longer_ones(self, make, simple):
        """Python's strict decoder is the definition of UTF-8 here, as RFC 3629 has it."""
        edges = (0x7F, 0x80, 0xBF, 0xC0)
        texts = encoded(b"", itertools.product(range(256), repeat=2))
        texts += encoded(b"abcdefg", itertools.product(range(0xE0, 0xF0), range(0x70, 0xD0), edges))
        texts += encoded(b"", itertools.product(range(0xF0, 0x100), range(0x70, 0xD0, 3), edges, edges))
        vectorizer = make(simple)
        messages = [field(1, text) for text in texts]
        errors = vectorizer.vectorize(messages, vectorizer.count(messages)).errors
        assert {i for i, text in enumerate(texts) if not is_utf8(text)} == set(errors)

    def test_wherever_in_a_long_string_it_is(self, make, simple):
        vectorizer = make(simple)
        texts = []
        for size, bad in itertools.product(
            range(40), (b"\xff", b"\xe2\x82\xac", b"\xc3", b"\xf0\x9f\x98\x80", b"\x80")
        ):
            texts += [b"a" * size + bad, b"a" * size + bad + b"b" * 17, "é".encode() * size + bad]
        messages = [field(2, field(1, text)) for text in texts]
        errors = vectorizer.vectorize(messages, vectorizer.count(messages)).errors
        assert {i for i, text in enumerate(texts) if not is_utf8(text)} == set(errors)


def is_utf8(text):
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.slow
class TestDamage:
    def test_a_cut_anywhere(self, agree, two, everything):
        agree(two, [dense()[:at] for at in range(len(dense()) + 1)])

    def test_a_cut_anywhere_in_odd_requests(self, agree, everything, rng):
        for _ in range(6):
            message = Maker(rng, everything, odd=0.15).row()[:700]
            agree(everything, [field(2, message[:at]) for at in range(len(message))])

    def test_every_byte_replaced_by_every_other(self, agree, two):
        message = dense()
        assert schema.decoded(message) is not None
        agree(
            two,
            [
                message[:at] + bytes((b,)) + message[at + 1 :]
                for at in range(len(message))
                for b in range(256)
            ],
        )

    def test_every_byte_doubled_or_left_out(self, agree, two):
        message = dense()
        for size in (1, 2, 3, 7):
            agree(two, [message[:at] + message[at + size :] for at in range(len(message))])
            agree(two, [message[: at + size] + message[at:] for at in range(len(message))])

    def test_random_damage(self, agree, rng):
        for _ in range(15):
            setup = plans.setup(rng)
            whole = [requests.any_request(rng, setup) for _ in range(15)]
            agree(setup, whole)
            agree(setup, [mutation.mutated(rng, rng.choice(whole), rng.choice(whole)) for _ in range(60)])

    def test_noise(self, agree, two, rng):
        agree(two, [rng.randbytes(rng.randint(0, 12)) for _ in range(2000)])
        alphabet = b"\x0a\x12\x0a\x12\x01\x02\x03\x15\x1a\x08\x0b\x0c\x00\x80\x66"
        agree(two, [bytes(rng.choices(alphabet, k=rng.randint(0, 30))) for _ in range(4000)])
