"""Time-outs, status messages and metadata as gRPC writes them (PROTOCOL-HTTP2.md)."""

import base64
import contextlib
import math
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from purerpc import StatusCode

from hushar.rpc.status import (
    MESSAGE_BYTES,
    BadMetadata,
    BadTimeout,
    code_of_http_status,
    code_of_reset,
    decode_binary,
    decode_message,
    encode_message,
    encode_metadata,
    format_timeout,
    parse_timeout,
)


class TestTimeouts:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (b"1H", 3600),
            (b"2M", 120),
            (b"3S", 3),
            (b"4m", 0.004),
            (b"5u", 0.000005),
            (b"6n", 0.000000006),
            (b"0n", 0),
            (b"00000000H", 0),
            (b"00000001S", 1),
            (b"99999999H", 99999999 * 3600),
            (b"99999999n", 0.099999999),
        ],
    )
    def test_up_to_eight_digits_and_a_unit(self, value, seconds):
        assert parse_timeout(value) == pytest.approx(seconds, rel=1e-12)

    @pytest.mark.parametrize(
        "value",
        [
            *(b"", b"S", b"1", b"12345678", b"100000000S", b"99999999999H", b"-1S", b"+1S", b"1.5S", b"1 S"),
            *(b" 1S", b"1S ", b"1s", b"1h", b"1D", b"1SS", b"1_0S", b"0x1S", b"1S\n", b"\xb9S", b"1\xc2\xb5"),
            *(b"S1", b"infS", b"nanS", b"\0S", b"1\0"),
        ],
    )
    def test_all_else_is_refused(self, value):
        with pytest.raises(BadTimeout):
            parse_timeout(value)

    @settings(deadline=None)
    @given(st.binary(max_size=12))
    def test_nothing_but_its_own_error_escapes(self, value):
        try:
            seconds = parse_timeout(value)
        except BadTimeout:
            assert not re.fullmatch(rb"[0-9]{1,8}[HMSmun]", value)
        else:
            assert re.fullmatch(rb"[0-9]{1,8}[HMSmun]", value)
            assert 0 <= seconds < 4e11

    @settings(deadline=None)
    @given(st.floats(1e-9, 3.5e11))
    @example(0.1)
    @example(1.0)
    @example(0.09999999900000001)
    @example(99999999.0)
    def test_what_was_written_is_read_never_shorter_and_hardly_longer(self, seconds):
        value = format_timeout(seconds)
        assert len(value) <= 9
        assert seconds * (1 - 1e-12) <= parse_timeout(value) <= seconds * (1 + 1e-4) + 1e-9

    @pytest.mark.parametrize(
        ("seconds", "value"),
        [
            (0, b"0n"),
            (-1, b"0n"),
            (1e-12, b"1n"),
            (0.05, b"50000000n"),
            (0.5, b"500000u"),
            (60, b"60000000u"),
            (1000, b"1000000m"),
            (1e30, b"99999999H"),
            (math.inf, b"99999999H"),
        ],
    )
    def test_the_finest_unit_that_eight_digits_can_hold(self, seconds, value):
        assert format_timeout(seconds) == value


class TestMessages:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("", b""),
            ("plain: text, it's ~OK!", b"plain: text, it's ~OK!"),
            ("50%", b"50%25"),
            ("a\nb\t\r\0\x7f", b"a%0Ab%09%0D%00%7F"),
            ("ä€😀", b"%C3%A4%E2%82%AC%F0%9F%98%80"),
            ("a\ud800b", b"a?b"),
            (" between blanks ", b"%20between blanks%20"),
            ("  ", b"%20%20"),
        ],
    )
    def test_all_but_printable_ascii_is_percent_encoded(self, text, value):
        assert encode_message(text) == value

    @settings(deadline=None)
    @given(st.text(max_size=400))
    def test_a_message_can_be_a_fields_value_and_is_read_back(self, text):
        value = encode_message(text)
        assert all(0x20 <= byte < 0x7F for byte in value)
        assert value.strip(b" ") == value
        if len(text.encode()) <= MESSAGE_BYTES:
            assert decode_message(value) == text
            assert unquote_to_bytes(value).decode() == text

    @pytest.mark.parametrize("character", ["a", "ä", "€", "😀", "%", " "])
    @pytest.mark.parametrize("shift", range(5))
    def test_a_long_one_is_cut_between_characters(self, character, shift):
        text = "x" * shift + character * MESSAGE_BYTES
        got = decode_message(encode_message(text))
        assert text.startswith(got)
        assert MESSAGE_BYTES - 3 <= len(got.encode()) <= MESSAGE_BYTES

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (b"", ""),
            (b"%", "%"),
            (b"%4", "%4"),
            (b"%zz%41", "%zzA"),
            (b"%c3%a4%C3%A4", "ää"),
            (b"%25%32%35", "%25"),
            (b"%ff", "�"),
            (b"caf\xc3\xa9", "café"),
            (b"\xff", "�"),
        ],
    )
    def test_what_is_not_properly_encoded_stays(self, value, text):
        assert decode_message(value) == text

    @settings(deadline=None)
    @given(st.binary(max_size=100))
    def test_any_bytes_are_read(self, value):
        assert isinstance(decode_message(value), str)


class TestBinaryValues:
    @pytest.mark.parametrize(
        ("value", "decoded"),
        [
            (b"", [b""]),
            (b"YQ==", [b"a"]),
            (b"YQ", [b"a"]),
            (b"YWI=", [b"ab"]),
            (b"YWI", [b"ab"]),
            (b"YWJj", [b"abc"]),
            (b"+/8=", [b"\xfb\xff"]),
            (b"YQ,YWI=,YWJj", [b"a", b"ab", b"abc"]),
            (b"YQ==, YQ ,\tYQ", [b"a"] * 3),
            (b",", [b"", b""]),
            (b"YQ,,YQ", [b"a", b"", b"a"]),
        ],
    )
    def test_base64_padded_or_not_split_at_commas(self, value, decoded):
        assert decode_binary(value) == decoded

    @pytest.mark.parametrize(
        "value",
        [
            b"!",
            b"Y",
            b"YWJjZ",
            b"-_8=",
            b"YQ==YQ==",
            b"=",
            b"YQ====",
            b"Y=Q=",
            b"YQ\n",
            b"Y Q",
            b"\xff\xff",
            b"YQ,!",
        ],
    )
    def test_what_is_no_base64_is_refused(self, value):
        with pytest.raises(BadMetadata):
            decode_binary(value)

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.booleans())
    def test_what_was_encoded_is_decoded(self, values, padded):
        parts = [base64.b64encode(value) for value in values]
        assert decode_binary(b",".join(part if padded else part.rstrip(b"=") for part in parts)) == values

    @settings(deadline=None)
    @given(st.binary(max_size=30))
    def test_nothing_but_its_own_error_escapes(self, value):
        with contextlib.suppress(BadMetadata):
            decode_binary(value)


class TestMetadata:
    def test_pairs_keep_their_order_and_duplicates(self):
        pairs = [("b", "1"), ("a", "2"), ("b", "3")]
        assert encode_metadata(pairs) == [(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]

    def test_names_are_lower_case_on_the_wire(self):
        assert encode_metadata([("X-Trace", "A")]) == [(b"x-trace", b"A")]

    def test_binary_values_are_base64_without_padding(self):
        pairs = [("a-bin", b"a"), ("b-bin", "ä"), ("c-bin", bytearray(b"\xff")), ("d-bin", b"")]
        assert encode_metadata(pairs) == [
            (b"a-bin", b"YQ"),
            (b"b-bin", b"w6Q"),
            (b"c-bin", b"/w"),
            (b"d-bin", b""),
        ]

    def test_text_may_be_bytes_and_loses_blanks_at_its_ends(self):
        assert encode_metadata([("a", b" x y "), ("b", "")]) == [(b"a", b"x y"), (b"b", b"")]

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "",
                ":path",
                "grpc-status",
                "Grpc-Timeout",
                "a b",
                "ä",
                "a\n",
                "a:b",
                "content-type",
                "te",
                "Host",
            ),
            *(
                "connection",
                "transfer-encoding",
                "content-length",
                "keep-alive",
                "upgrade",
                "proxy-connection",
            ),
        ],
    )
    def test_names_that_would_break_the_call_are_refused(self, name):
        with pytest.raises(BadMetadata, match="is no name for metadata"):
            encode_metadata([(name, "x")])

    @pytest.mark.parametrize("value", ["ä", "\n", "a\0", "a\r\nx-evil: 1", b"\xff", "\t", "\x7f", "\ud800"])
    def test_values_that_ascii_metadata_cannot_hold_are_refused(self, value):
        with pytest.raises(BadMetadata, match="'x-a' has characters"):
            encode_metadata([("x-a", value)])

    @pytest.mark.parametrize("name", ["a", "a-bin"])
    def test_values_that_are_no_text_are_refused(self, name):
        with pytest.raises(BadMetadata, match="neither text nor bytes"):
            encode_metadata([(name, 1)])


CODES = {
    "INTERNAL": (400, 431),
    "UNAUTHENTICATED": (401,),
    "PERMISSION_DENIED": (403,),
    "UNIMPLEMENTED": (404,),
    "UNAVAILABLE": (429, 502, 503, 504),
    "UNKNOWN": (0, 200, 302, 418, 500, 600),
}


@pytest.mark.parametrize(("code", "statuses"), CODES.items())
def test_a_client_makes_a_status_of_an_http_status(code, statuses):
    assert {code_of_http_status(status) for status in statuses} == {StatusCode[code]}


@pytest.mark.parametrize("reset", [*range(14), 99])
def test_a_client_makes_a_status_of_a_reset(reset):
    named = {7: "UNAVAILABLE", 8: "CANCELLED", 0xB: "RESOURCE_EXHAUSTED", 0xC: "PERMISSION_DENIED"}
    assert code_of_reset(reset) is StatusCode[named.get(reset, "INTERNAL")]
