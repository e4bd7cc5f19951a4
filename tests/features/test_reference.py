"""How requests are decoded, and which of their errors is told. The values are tested in test_vectorize."""

import struct
from typing import ClassVar

import numpy as np
import pytest

from hushar.errors import ErrorKind, InvalidRequest, UndecodableRequest
from hushar.features.interface import ANY, Element, Transformation, Transformed
from hushar.features.plan import compile_plan
from hushar.features.reference import open_request
from hushar.proto.structs_pb2 import InferenceLogs, InferenceRequest

ONE = {"type": "identity", "default_val": [0.0]}
TWO = {"type": "identity", "default_val": [0.0, 0.0]}
WORD = {"type": "one_hot_encoding", "categories": ["a", "b"], "default_val": [0.0, 0.0]}
NARROW = {"type": "standardization32", "mean": 0, "std_dev": 1, "default_val": [0.0]}

FLOAT_ONE = b"\x15" + struct.pack("<f", 1.0)
"""DataType: float_value = 1."""


class TestDecoding:
    """CONTRACT.md 1, "Decoding, exactly"."""

    def refused(self, message):
        with pytest.raises(UndecodableRequest) as caught:
            open_request(message)
        return caught.value

    def test_what_decodes(self, make):
        request = make.request(("r0", {"x": ("float_value", 1.5)}), ("r1", {}))

        assert open_request(request.SerializeToString()) == request
        assert open_request(b"") == InferenceRequest()

    def test_what_does_not_is_one_constant_sentence(self, wire):
        sentences = {
            str(self.refused(message)) for message in (b"\x12", b"\xff", wire.field(1, b"\xff"), b"\x00\x00")
        }

        assert sentences == {"request is not a valid hushar.InferenceRequest"}
        assert self.refused(b"\xff").kind is ErrorKind.INTERNAL

    def test_a_cut_anywhere_is_undecodable(self, make):
        row = ("r", {"x": ("float_array", [1.5, 2.5]), "y": ("string_value", "ab")})
        whole = make.request(row, request_id="").SerializeToString()

        for cut in range(1, len(whole)):
            self.refused(whole[:cut])

    def test_large_messages_decode(self, wire):
        for size in (100, 127, 128, 16_383, 16_384, 3_000_000):
            assert len(open_request(wire.field(1, b"x" * size)).request_id) == size

    @pytest.mark.parametrize("tag", [b"\x95\x00", b"\x95\x80\x80\x80\x00"])
    def test_tags_of_up_to_five_bytes(self, wire, tag):
        message = wire.entry(wire.field(1, b"x"), wire.field(2, tag + FLOAT_ONE[1:]))

        assert wire.features(message) == {"x": ("float_value", 1.0)}

    @pytest.mark.parametrize("tag", [b"\x95\x80\x80\x80\x80\x00", b"\x95\x80\x80\x80\x10"])
    def test_longer_and_larger_tags_are_undecodable(self, wire, tag):
        self.refused(wire.entry(wire.field(1, b"x"), wire.field(2, tag + FLOAT_ONE[1:])))

    def test_lengths_of_up_to_five_bytes(self):
        assert open_request(b"\x0a\x81\x80\x80\x80\x00a").request_id == "a"
        self.refused(b"\x0a\x81\x80\x80\x80\x80\x00a")
        self.refused(b"\x0a\xff\xff\xff\xff\x0fa")

    def test_varints_of_up_to_ten_bytes(self, wire):
        def long(varint):
            return wire.entry(wire.field(1, b"x"), wire.field(2, b"\x20" + varint))

        assert wire.features(long(b"\x85" + b"\x80" * 8 + b"\x00")) == {"x": ("long_value", 5)}
        assert wire.features(long(b"\xff" * 9 + b"\x7f")) == {"x": ("long_value", -1)}
        self.refused(long(b"\x85" + b"\x80" * 9 + b"\x00"))

    @pytest.mark.parametrize("message", [b"\x00\x00", b"\x02\x00", b"\x05\x00\x00\x00\x00"])
    def test_field_number_zero_is_undecodable(self, message):
        self.refused(message)

    @pytest.mark.parametrize("wire_type", [6, 7])
    @pytest.mark.parametrize("number", [1, 2, 9])
    def test_wire_types_six_and_seven_are_undecodable(self, number, wire_type):
        self.refused(bytes([number << 3 | wire_type, 0]))

    def test_groups_are_unknown_fields_if_they_match(self, wire):
        assert open_request(b"\x4b\x08\x01\x4c" + wire.field(1, b"id")).request_id == "id"
        for unmatched in (b"\x4b", b"\x4c", b"\x4b\x54", b"\x4b\x53\x4c\x54"):
            self.refused(unmatched)

    @pytest.mark.parametrize(
        "utf8", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"]
    )
    def test_utf8_is_checked_in_every_string(self, wire, utf8):
        name = wire.field(1, b"x")
        self.refused(wire.field(1, utf8))
        self.refused(wire.field(2, wire.field(1, utf8)))
        self.refused(wire.entry(wire.field(1, utf8), wire.field(2, FLOAT_ONE)))
        self.refused(wire.entry(name, wire.field(2, wire.field(5, utf8))))
        self.refused(wire.entry(name, wire.field(2, wire.field(10, wire.field(1, utf8)))))

    def test_utf8_is_checked_in_values_that_a_later_one_replaces(self, wire):
        name, bad, good = wire.field(1, b"x"), wire.field(2, wire.field(5, b"\xff")), wire.field(2, FLOAT_ONE)
        self.refused(wire.field(1, b"\xff") + wire.field(1, b"id"))
        self.refused(wire.entry(name, bad, good))
        self.refused(wire.field(2, wire.field(2, name + bad) + wire.field(2, name + good)))

    def test_utf8_is_not_checked_in_unknown_fields(self, wire):
        assert open_request(wire.field(9, b"\xff")) is not None
        assert wire.features(
            wire.entry(wire.field(1, b"x"), wire.field(2, FLOAT_ONE + wire.field(12, b"\xff")))
        ) == {"x": ("float_value", 1.0)}

    def test_a_known_number_with_another_wire_type_is_an_unknown_field(self, wire):
        assert open_request(b"\x08\x01").request_id == ""
        varint_as_float = wire.field(2, b"\x10\x01")
        assert wire.features(wire.entry(wire.field(1, b"x"), varint_as_float)) == {"x": (None, None)}

    def test_arrays_may_be_packed_or_not(self, wire):
        one, two = struct.pack("<f", 1.0), struct.pack("<f", 2.0)
        array = wire.field(1, one + two) + b"\x0d" + one

        assert wire.features(wire.entry(wire.field(1, b"x"), wire.field(2, wire.field(7, array)))) == {
            "x": ("float_array", [1.0, 2.0, 1.0])
        }
        self.refused(
            wire.entry(wire.field(1, b"x"), wire.field(2, wire.field(7, wire.field(1, one + two[:3]))))
        )

    def test_a_value_twice_in_an_entry_is_merged(self, wire):
        def array(number):
            return wire.field(2, wire.field(7, wire.field(1, struct.pack("<f", number))))

        name = wire.field(1, b"x")
        assert wire.features(wire.entry(name, array(1.0), array(2.0))) == {"x": ("float_array", [1.0, 2.0])}
        assert wire.features(wire.entry(name, array(1.0), wire.field(2, FLOAT_ONE))) == {
            "x": ("float_value", 1.0)
        }
        assert wire.features(wire.entry(name, wire.field(2, FLOAT_ONE), array(2.0))) == {
            "x": ("float_array", [2.0])
        }

    def test_of_a_key_twice_in_an_entry_the_last_counts(self, wire):
        message = wire.entry(wire.field(1, b"x"), wire.field(2, FLOAT_ONE), wire.field(1, b"y"))

        assert wire.features(message) == {"y": ("float_value", 1.0)}

    def test_of_a_repeated_map_key_the_last_entry_counts(self, wire):
        first = wire.field(2, wire.field(1, b"x") + wire.field(2, b"\x18\x07"))
        last = wire.field(2, wire.field(1, b"x") + wire.field(2, FLOAT_ONE))
        empty = wire.field(2, wire.field(1, b"x"))

        assert wire.features(wire.field(2, first + last)) == {"x": ("float_value", 1.0)}
        assert wire.features(wire.field(2, last + first)) == {"x": ("integer_value", 7)}
        assert wire.features(wire.field(2, last + empty)) == {"x": (None, None)}

    def test_no_key_is_the_empty_key(self, wire):
        assert wire.features(wire.entry(wire.field(2, FLOAT_ONE))) == {"": ("float_value", 1.0)}

    @pytest.mark.parametrize(
        ("varint", "value"),
        [(2**40 + 5, 5), (0xFFFFFFFF, -1), (2**64 - 1, -1), (0x80000000, -(2**31)), (2**63 + 7, 7)],
    )
    def test_int32_is_cut_to_its_low_32_bits(self, wire, varint, value):
        number = wire.varint(varint)
        name = wire.field(1, b"x")

        assert wire.features(wire.entry(name, wire.field(2, b"\x18" + number))) == {
            "x": ("integer_value", value)
        }
        array = wire.field(2, wire.field(8, wire.field(1, number) + b"\x08" + number))
        assert wire.features(wire.entry(name, array)) == {"x": ("integer_array", [value, value])}

    @pytest.mark.parametrize("unknown", [b"\x18\x01", b"\x1a\x01x", b"\x4b\x4c", b"\x08\x01"])
    def test_a_map_entry_with_an_unknown_field_counts_as_absent(self, wire, unknown):
        parts = [wire.field(1, b"x"), wire.field(2, FLOAT_ONE)]
        earlier = wire.field(2, wire.field(1, b"x") + wire.field(2, b"\x18\x07"))

        assert wire.features(wire.entry(*parts, unknown)) == {}
        assert wire.features(wire.entry(unknown, *parts)) == {}
        later = wire.field(2, b"".join(parts) + unknown)
        assert wire.features(wire.field(2, earlier + later)) == {"x": ("integer_value", 7)}

    def test_an_unknown_field_inside_the_value_is_skipped(self, wire):
        value = wire.field(2, b"\x58\x01" + FLOAT_ONE)

        assert wire.features(wire.entry(wire.field(1, b"x"), value)) == {"x": ("float_value", 1.0)}

    @pytest.mark.parametrize("deepest", [99, 98, 1])
    def test_nesting_up_to_what_a_log_can_hold(self, deepest):
        assert open_request(b"\x4b" * deepest + b"\x4c" * deepest) is not None

    @pytest.mark.parametrize("depth", [100, 101, 100_000])
    def test_what_would_not_decode_one_level_deeper_is_undecodable(self, depth):
        self.refused(b"\x4b" * depth + b"\x4c" * depth)

    def test_what_is_accepted_can_be_read_in_a_log(self, wire):
        def row(depth):
            return wire.field(1, b"r") + b"\x4b" * depth + b"\x4c" * depth

        def log(depth):
            return wire.field(1, wire.field(3, row(depth)))

        assert InferenceRequest.FromString(wire.field(2, row(99)))
        self.refused(wire.field(2, row(99)))
        assert open_request(wire.field(2, row(98)))
        assert InferenceLogs.FromString(log(98))


class TestErrors:
    def error(self, implementation, make, plan, *rows):
        result = make.vectorized(implementation(plan), make.request(*rows))
        assert result.matrix.shape == (0, plan.width)
        assert list(result.rows) == [0]
        assert isinstance(result.errors[0], InvalidRequest)
        return str(result.errors[0])

    @pytest.mark.parametrize("kind", [k for e in Element for k in (e.scalar_kind, e.array_kind)])
    def test_a_kind_that_is_not_accepted(self, implementation, make, kind):
        value = "x" if kind.startswith("string") else 1
        row = {"x": (kind, [value] if kind.endswith("array") else value)}
        numeric = "float_value, integer_value, float_array, integer_array"

        if kind not in numeric.split(", "):
            text = self.error(implementation, make, make.plan(x=NARROW), ("r", row))
            assert text == f"feature 'x' of row 'r' (0): does not accept {kind}; accepts {numeric}"
        if not kind.startswith("string"):
            text = self.error(implementation, make, make.plan(x=WORD), ("r", row))
            assert (
                text
                == f"feature 'x' of row 'r' (0): does not accept {kind}; accepts string_value, string_array"
            )

    @pytest.mark.parametrize("value", [("float_array", []), ("float_array", [1, 2]), ("string_array", [])])
    def test_an_array_of_the_wrong_length(self, implementation, make, value):
        kind, values = value
        plural = "" if len(values) == 1 else "s"

        assert self.error(implementation, make, make.plan(x=ONE), {"x": value}) == (
            f"feature 'x' of row 0: {kind} brings {len(values)} value{plural}, expected 1"
        )

    def test_a_scalar_where_several_values_are_expected(self, implementation, make):
        assert self.error(implementation, make, make.plan(x=TWO), {"x": ("double_value", 1)}) == (
            "feature 'x' of row 0: double_value brings 1 value, expected 2"
        )

    def test_a_string_that_is_no_number(self, implementation, make):
        assert self.error(
            implementation, make, make.plan(x=ONE), {}, ("r", {"x": ("string_value", "a\nb")})
        ) == (r"feature 'x' of row 'r' (1): string_value 'a\nb' is not a number")
        assert self.error(implementation, make, make.plan(x=ONE), {"x": ("string_array", ["nan"])}) == (
            "feature 'x' of row 0: string_array[0] 'nan' is not a number"
        )

    def test_the_first_of_several_strings_that_are_no_numbers(self, implementation, make):
        assert self.error(implementation, make, make.plan(x=TWO), {"x": ("string_array", ["1", ""])}) == (
            "feature 'x' of row 0: string_array[1] '' is not a number"
        )
        assert self.error(implementation, make, make.plan(x=TWO), {"x": ("string_array", ["a", "b"])}) == (
            "feature 'x' of row 0: string_array[0] 'a' is not a number"
        )

    def test_the_length_is_told_before_the_values(self, implementation, make):
        assert "brings 2 values" in self.error(
            implementation, make, make.plan(x=ONE), {"x": ("string_array", ["a", "b"])}
        )

    def test_the_first_row_is_told(self, implementation, make):
        kind, parse = {"w": ("float_value", 1)}, {"x": ("string_value", "abc")}
        plan = make.plan(w=WORD, x=ONE, y=ONE)

        assert "feature 'x' of row 'a' (0)" in self.error(
            implementation, make, plan, ("a", parse), ("b", kind)
        )
        assert "feature 'w' of row 'a' (0)" in self.error(
            implementation, make, plan, ("a", kind), ("b", parse)
        )
        assert "feature 'y' of row 2:" in self.error(
            implementation, make, plan, {}, {}, {"y": ("float_array", [])}, {"x": ("string_value", "")}
        )

    def test_in_a_row_the_first_feature_in_feature_order_is_told(self, implementation, make):
        wrong_kind = ("float_value", 1)
        no_number = ("string_value", "abc")
        row = {"b": no_number, "a": no_number, "w": wrong_kind, "v": wrong_kind}
        settings = {"a": ONE, "b": ONE, "v": WORD, "w": WORD}

        for order in ("abvw", "bavw", "vwab", "wvab", "avbw", "wbva"):
            plan = make.plan(**{name: settings[name] for name in order})
            assert self.error(implementation, make, plan, row).startswith(f"feature '{order[0]}' of row 0: ")

    def test_scalars_and_arrays_of_one_type_do_not_hide_each_other(self, implementation, make):
        good, bad = ("string_value", "1"), ("string_array", ["x"])

        assert "row 1: string_array[0] 'x'" in self.error(
            implementation, make, make.plan(x=ONE), {"x": good}, {"x": bad}, {"x": good}
        )

    def test_one_bad_request_does_not_disturb_its_neighbours(self, implementation, make):
        plan = make.plan(x=ONE, w=WORD)
        good = [make.request({"x": ("float_value", i)}, {"w": ("string_value", "b")}) for i in range(3)]
        kind = make.request({"x": ("float_value", 8)}, {"w": ("long_value", 9)})
        parse = make.request(
            {"x": ("float_value", 8)}, {"x": ("string_value", "?")}, {"x": ("string_value", "!")}
        )
        empty = make.request()

        result = make.vectorized(implementation(plan), good[0], kind, empty, good[1], parse, good[2])

        assert list(result.rows) == [2, 0, 0, 2, 0, 2]
        assert result.matrix.tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1], [2, 0, 0], [0, 0, 1]]
        assert result.matrix.flags.c_contiguous
        assert {index: str(error) for index, error in result.errors.items()} == {
            1: "feature 'w' of row 1: does not accept long_value; accepts string_value, string_array",
            4: "feature 'x' of row 1: string_value '?' is not a number",
        }

    def test_an_error_of_each_request_that_has_one(self, implementation, make):
        bad = [make.request(*[{}] * i, {"x": ("string_value", str(i) + "x")}) for i in range(3)]
        result = make.vectorized(implementation(make.plan(x=ONE)), *bad)

        assert [str(result.errors[i]) for i in range(3)] == [
            f"feature 'x' of row {i}: string_value '{i}x' is not a number" for i in range(3)
        ]

    def test_many_bad_rows_are_one_error(self, implementation, make):
        rows = [{"x": ("string_value", f"no {i}")} for i in range(500)]

        assert "row 0: string_value 'no 0'" in self.error(implementation, make, make.plan(x=ONE), *rows)


class Odd(Transformation):
    """Two numbers a value; 1 is unknown, 2 cannot be read."""

    accepts = ANY
    wants: ClassVar[str] = "an odd thing"
    unit = 2

    def transform(self, column):
        numbers = np.array([float(value) for value in column.values], np.float32)
        values = np.stack([numbers, -numbers], axis=1)
        return Transformed(values, unknown=numbers == 1, unparsable=numbers == 2)


class TestPlugins:
    @pytest.fixture
    def plan(self, make):
        document = make.document(x={"type": "odd", "default_val": [10, 11, 20, 21]})
        return compile_plan(document, {"odd": Odd})

    def test_an_unknown_value_takes_the_unit_of_the_default_at_its_position(self, implementation, make, plan):
        rows = [{"x": ("long_array", pair)} for pair in ([5, 6], [1, 5], [5, 1], [1, 1])]

        assert make.vectorized(implementation(plan), make.request(*rows)).matrix.tolist() == [
            [5, -5, 6, -6],
            [10, 11, 5, -5],
            [5, -5, 20, 21],
            [10, 11, 20, 21],
        ]

    def test_a_number_that_cannot_be_read_is_told_in_the_plugins_words(self, implementation, make, plan):
        result = make.vectorized(implementation(plan), make.request({"x": ("long_array", [5, 2])}))

        assert str(result.errors[0]) == "feature 'x' of row 0: long_array[1] 2 is not an odd thing"


def test_the_cause_of_an_undecodable_request_is_kept_for_the_log():
    with pytest.raises(UndecodableRequest) as caught:
        open_request(b"\xff")
    assert caught.value.__cause__ is not None
