"""CONTRACT.md 1, "Decoding, exactly": what is read, byte for byte, and what is refused as undecodable."""

import random
import struct

import pytest

UNDECODABLE = "request is not a valid hushar.InferenceRequest"
ANYTHING = 2
"""The column of the feature `anything` among the scores."""
DEFAULT = -1.5
"""Its default."""


def one(client, message):
    """The score of `anything` in the first row of a call with raw bytes."""
    return client.answer(message).outputs[0].scores[ANYTHING]


@pytest.fixture
def row_of(wire):
    """row_of(entry bytes…): a request with one row of these map entries."""
    return lambda *entries: wire.field(2, b"".join(wire.field(2, entry) for entry in entries))


@pytest.fixture
def entry(wire):
    """entry(DataType's bytes, name): a map entry's bytes."""
    return lambda value, name="anything": wire.field(1, name) + wire.field(2, value)


@pytest.fixture
def float_value(wire):
    """The bytes of a DataType with a float_value."""
    return lambda number: wire.tag(2, wire.I32) + struct.pack("<f", number)


def test_of_a_repeated_map_key_the_last_one_wins(client, row_of, entry, float_value):
    assert one(client, row_of(entry(float_value(1)), entry(float_value(2)))) == 2
    assert one(client, row_of(entry(float_value(1)), entry(b""))) == DEFAULT
    # Nothing is left of the first one, not even a value that would be refused.
    bad = b"\x2a\x01x"
    assert one(client, row_of(entry(bad), entry(float_value(2)))) == 2


def test_unknown_fields_are_skipped_wherever_they_are(client, wire, float_value):
    unknown = b"".join(
        [
            wire.field(900, b"\xff\xfe no text"),
            wire.tag(15, wire.VARINT) + wire.varint(-1),
            wire.tag(16, wire.I64) + bytes(8),
            wire.tag(17, wire.I32) + bytes(4),
            wire.tag(18, wire.SGROUP) + wire.field(1, "x") + wire.tag(18, wire.EGROUP),
        ]
    )
    value = unknown + float_value(3) + unknown
    row = unknown + wire.field(2, wire.field(1, "anything") + wire.field(2, value)) + unknown
    assert one(client, unknown + wire.field(2, row) + unknown) == 3


def test_a_map_entry_that_holds_an_unknown_field_counts_as_absent(
    client, wire, messages, row_of, entry, float_value
):
    odd = entry(float_value(3)) + wire.tag(3, wire.VARINT) + b"\1"
    message = row_of(odd)
    assert not messages.Request.FromString(message).inputs[0].features  # as in upb
    assert one(client, message) == DEFAULT
    assert one(client, row_of(entry(float_value(4)), odd)) == 4


def test_a_known_number_with_another_wire_type_is_an_unknown_field(client, wire, row_of, entry, float_value):
    row = wire.tag(1, wire.VARINT) + b"\5" + wire.field(2, entry(float_value(3)))
    answer = client.answer(wire.field(2, row))
    assert (answer.outputs[0].row_id, answer.outputs[0].scores[ANYTHING]) == ("", 3)
    as_double_in_four_bytes = wire.tag(1, wire.I32) + bytes(4)
    assert one(client, row_of(entry(as_double_in_four_bytes))) == DEFAULT
    assert client.raw(wire.tag(2, wire.I64) + bytes(8)) == b""


def test_a_value_twice_in_an_entry_is_merged(client, wire, row_of, float_value):
    def pair(*values):
        parts = [wire.field(2, value) for value in values]
        return row_of(wire.field(1, "pair") + b"".join(parts))

    def array(number):
        return wire.field(7, wire.field(1, struct.pack("<f", number)))

    assert list(client.answer(pair(array(1), array(2))).outputs[0].scores[3:5]) == [1, 2]
    assert list(client.answer(pair(array(1) + array(2))).outputs[0].scores[3:5]) == [1, 2]
    doubles = wire.field(6, wire.field(1, struct.pack("<2d", 3, 4)))
    assert list(client.answer(pair(array(1), doubles)).outputs[0].scores[3:5]) == [3, 4]
    last = wire.field(1, "anything") + wire.field(2, float_value(1)) + wire.field(2, b"\x18\x07")
    assert one(client, row_of(last)) == 7


def test_packed_and_unpacked_values_of_an_array_are_read_in_their_order(client, wire, row_of, entry):
    number = wire.tag(1, wire.I32)
    values = (
        number + struct.pack("<f", 1) + wire.field(1, struct.pack("<f", 2)) + number + struct.pack("<f", 3)
    )
    answer = client.answer(row_of(entry(wire.field(7, values), "narrows")))
    assert list(answer.outputs[0].scores[6:9]) == pytest.approx([(v - 0.1) / 0.7 for v in (1, 2, 3)])


def test_an_entry_without_a_key_is_that_of_the_empty_name(client, wire, row_of, float_value):
    assert one(client, row_of(wire.field(2, float_value(3)))) == DEFAULT


def test_an_int32_is_cut_to_its_low_32_bits(client, wire, row_of, entry):
    integer = wire.tag(3, wire.VARINT)
    assert one(client, row_of(entry(integer + wire.varint(2**32 + 5)))) == 5
    assert one(client, row_of(entry(integer + wire.varint(2**31)))) == -(2.0**31)
    assert one(client, row_of(entry(integer + wire.varint(-1)))) == -1
    assert one(client, row_of(entry(wire.tag(4, wire.VARINT) + wire.varint(2**32 + 5)))) == 2.0**32


def overlong_cases(wire):
    value = struct.pack("<f", 3)
    good = wire.tag(2, wire.I32) + value
    named = wire.field(1, "anything")
    plain = wire.field(2, named + wire.field(2, good))
    return {
        "a tag of five bytes": (
            wire.field(2, wire.field(2, named + wire.field(2, wire.overlong(21, 5) + value))),
            True,
        ),
        "a tag of six bytes": (
            wire.field(2, wire.field(2, named + wire.field(2, wire.overlong(21, 6) + value))),
            False,
        ),
        "a length of five bytes": (b"\x12" + wire.overlong(len(plain), 5) + plain, True),
        "a length of six bytes": (b"\x12" + wire.overlong(len(plain), 6) + plain, False),
        "a varint of ten bytes": (wire.field(2, plain) + b"\x78" + wire.overlong(1, 10), True),
        "a varint of eleven bytes": (wire.field(2, plain) + b"\x78" + wire.overlong(1, 11), False),
        "field number zero": (wire.field(2, plain) + b"\x00\x01", False),
        "wire type six": (wire.field(2, plain) + b"\x7e\x01", False),
        "wire type seven": (wire.field(2, plain) + b"\x7f\x01", False),
        "a group that is not closed": (wire.field(2, plain) + b"\x7b", False),
        "a group closed as another": (wire.field(2, plain) + b"\x7b\x84\x01", False),
        "an end of no group": (wire.field(2, plain) + b"\x7c", False),
        "a cut in a tag": (wire.field(2, plain) + b"\x80", False),
        "a cut in a varint": (wire.field(2, plain) + b"\x78\x80", False),
        "a cut in a fixed32": (wire.field(2, plain) + b"\x7d\0\0\0", False),
        "a cut in a fixed64": (wire.field(2, plain) + b"\x79" + bytes(7), False),
        "a cut in a string": (wire.field(2, plain) + b"\x0a\x02x", False),
        "a length beyond the end": (b"\x12" + wire.varint(len(plain) + 1) + plain, False),
        "an inner length beyond the outer end": (wire.field(2, b"\x12\x10" + named), False),
        "a request in text": (b'{"inputs": []}', False),
        "no text as row_id": (wire.field(2, wire.field(1, b"\xff") + plain), False),
        "no text as request_id": (wire.field(1, b"\xc0\x80") + wire.field(2, plain), False),
        "no text as a name": (wire.field(2, plain + wire.field(2, wire.field(1, b"\xed\xa0\x80"))), False),
        "no text as a value": (
            wire.field(2, plain + wire.field(2, named + wire.field(2, b"\x2a\x01\xff"))),
            False,
        ),
        "no text in a feature that nobody asked for": (
            wire.field(2, plain + wire.field(2, wire.field(1, "nobody") + wire.field(2, b"\x2a\x01\xff"))),
            False,
        ),
        "no text in an array that nobody asked for": (
            wire.field(2, plain + wire.field(2, wire.field(1, "n") + wire.field(2, b"\x52\x03\x0a\x01\xff"))),
            False,
        ),
        "no text in a value that a later one replaces": (
            wire.field(2, wire.field(2, named + wire.field(2, b"\x2a\x01\xff")) + plain),
            False,
        ),
        "no text in an unknown field": (wire.field(2, plain) + wire.field(900, b"\xff"), True),
        "the deepest nesting in the request": (wire.field(2, plain) + wire.groups(99), True),
        "a level too deep in the request": (wire.field(2, plain) + wire.groups(100), False),
        "the deepest nesting in a row": (wire.field(2, plain + wire.groups(98)), True),
        "a row that would be too deep in a log": (wire.field(2, plain + wire.groups(99)), False),
        "the deepest nesting in a value": (
            wire.field(2, plain + wire.field(2, wire.field(1, "n") + wire.field(2, wire.groups(96)))),
            True,
        ),
        "a value that would be too deep in a log": (
            wire.field(2, plain + wire.field(2, wire.field(1, "n") + wire.field(2, wire.groups(97)))),
            False,
        ),
    }


def test_what_decodes_is_what_protobuf_decodes_and_the_rest_gets_one_constant_sentence(
    client, wire, messages
):
    for name, (message, fine) in overlong_cases(wire).items():
        assert messages.decodes(message) == fine, name
        if fine:
            assert one(client, message) == 3, name
        else:
            assert client.status(message) == ("INTERNAL", UNDECODABLE), name


def mutations(random_bits, message):
    """The message with bits turned, bytes cut out, doubled or replaced."""
    data = bytearray(message)
    for _ in range(random_bits.choice([1, 1, 2, 5])):
        at = random_bits.randrange(len(data))
        match random_bits.randrange(4):
            case 0:
                data[at] ^= 1 << random_bits.randrange(8)
            case 1:
                del data[at : at + random_bits.randint(1, 3)]
            case 2:
                data[at:at] = data[at : at + random_bits.randint(1, 30)]
            case _:
                data[at] = random_bits.choice([0, 1, 2, 8, 0x0A, 0x12, 0x7F, 0x80, 0xFF])
        if not data:
            return b""
    return bytes(data)


def test_damaged_requests_are_answered_as_protobuf_and_the_contract_read_them(
    client, everything, messages, oracle, randomness
):
    random_bits = random.Random(4)
    rows = randomness.Rows(random_bits, oracle)
    seen = set()
    for _ in range(1500):
        sent = [(f"row {i}", rows.row(everything)) for i in range(2)]
        message = mutations(random_bits, client.request(sent, "q").SerializeToString())
        expected = expected_of(message, everything, messages, oracle)
        seen.add(expected[0])
        if expected[0] == "OK":
            answer = client.answer(message)
            assert [oracle.bits(row.scores) for row in answer.outputs] == expected[1], message
        else:
            code, details = client.status(message)
            assert (code, details[: len(expected[1])]) == expected, message
    assert seen == {"OK", "INTERNAL", "INVALID_ARGUMENT"}


def expected_of(message, configuration, messages, oracle):
    """("OK", each row's bits), or the status and how its sentence begins."""
    if not messages.decodes(message):
        return "INTERNAL", UNDECODABLE
    vectors = []
    for index, row in enumerate(messages.Request.FromString(message).inputs):
        try:
            vectors.append(oracle.bits(oracle.row_vector(configuration, messages.features_of(row))))
        except oracle.Refused as refused:
            where = f" of row '{row.row_id}' ({index})" if row.row_id else ""
            return "INVALID_ARGUMENT", f"feature '{refused.feature}'{where}"
    return "OK", vectors
