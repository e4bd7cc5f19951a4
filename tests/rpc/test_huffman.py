"""HPACK's Huffman code (RFC 7541, section 5.2 and appendix B), against hpack's encoder as an oracle."""

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.rpc.huffman import BadHuffman

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
SYMBOLS = {
    f"{code:0{length}b}": symbol
    for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
}
EOS = "1" * 30
TEXT = st.text(st.characters(codec="ascii", min_codepoint=0x20, max_codepoint=0x7E), max_size=200)


def bits(data):
    """The code of a string, without padding."""
    return "".join(f"{REQUEST_CODES[byte]:0{REQUEST_CODES_LENGTH[byte]}b}" for byte in data)


def packed(digits):
    """Bits as bytes; their number is a multiple of eight."""
    assert len(digits) % 8 == 0
    return int(f"1{digits}", 2).to_bytes(len(digits) // 8 + 1, "big")[1:]


def meaning(data):
    """What coded bytes mean, by the definition: None where they are no string."""
    text, code = bytearray(), ""
    for bit in "".join(f"{byte:08b}" for byte in data):
        code += bit
        symbol = SYMBOLS.get(code)
        if symbol == 256:
            return None
        if symbol is not None:
            text.append(symbol)
            code = ""
    return bytes(text) if len(code) < 8 and "0" not in code else None


def decoded(decoder, data):
    try:
        return decoder.decode(data)
    except BadHuffman:
        return None


@pytest.fixture(scope="session")
def decoder(heads):
    return heads.HuffmanDecoder()


@pytest.mark.parametrize(
    ("coded", "text"),
    [
        ("f1e3c2e5f23a6ba0ab90f4ff", b"www.example.com"),
        ("a8eb10649cbf", b"no-cache"),
        ("25a849e95ba97d7f", b"custom-key"),
        ("6402", b"302"),
        ("640eff", b"307"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        ("9bd9ab", b"gzip"),
        ("", b""),
    ],
)
def test_the_rfcs_examples(decoder, coded, text):
    assert decoder.decode(bytes.fromhex(coded)) == text


@pytest.mark.parametrize("repeats", [1, 3, 40, 1000])
def test_every_byte_has_its_code(decoder, repeats):
    for byte in range(256):
        text = bytes([byte]) * repeats
        assert decoder.decode(ENCODER.encode(text)) == text


@pytest.mark.slow
@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), TEXT.map(str.encode)))
def test_what_was_encoded_is_decoded(decoder, text):
    assert decoder.decode(ENCODER.encode(text)) == text


def test_a_decoder_does_not_remember_strings(heads):
    decoder = heads.HuffmanDecoder()
    texts = [b"/a.B/C", b"x" * 100, b"", b"\0\xff" * 20, b"x" * 100]
    for _ in range(2):
        assert [decoder.decode(ENCODER.encode(text)) for text in texts] == texts


@pytest.mark.parametrize("characters", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
class TestPadding:
    """For strings of all lengths: short and long ones are decoded in different ways."""

    def test_up_to_seven_ones_are_padding(self, decoder, characters):
        # "a" has five bits, so that all lengths of padding occur.
        for length in range(characters, characters + 8):
            code = bits(b"a" * length)
            data = packed(code + "1" * (-len(code) % 8))
            assert decoder.decode(data) == b"a" * length

    def test_eight_ones_and_more_are_too_long(self, decoder, characters):
        for length in range(characters, characters + 8):
            code = bits(b"a" * length)
            for more in range(8, 64, 8):
                with pytest.raises(BadHuffman):
                    decoder.decode(packed(code + "1" * (-len(code) % 8 + more)))

    def test_a_character_that_ends_in_ones_is_no_padding(self, decoder, characters):
        # "?" is 1111111100, "'" 11111111010, "+" 11111111011: what padding may look like.
        for text in (b"+", b"++", b"?", b"X+", b"\xff", b"Z~"):
            whole = b"a" * characters + text
            assert decoder.decode(ENCODER.encode(whole)) == whole

    def test_zeros_are_no_padding(self, decoder, characters):
        for length in range(characters, characters + 8):
            code = bits(b"a" * length)
            room = -len(code) % 8
            for zero in range(min(room, 4)):
                # Four bits or less are no character.
                padding = "1" * zero + "0" + "1" * (room - zero - 1)
                if len(padding) < 5:
                    with pytest.raises(BadHuffman):
                        decoder.decode(packed(code + padding))

    def test_eos_is_refused_wherever_it_stands(self, decoder, characters):
        code = bits(b"a" * characters)
        for rest in ("", bits(b"a"), bits(b"b" * 30)):
            whole = code + EOS + rest
            with pytest.raises(BadHuffman):
                decoder.decode(packed(whole + "1" * (-len(whole) % 8)))

    def test_a_character_cut_off_is_refused(self, decoder, characters):
        code = bits(b"a" * characters)
        for character in range(256):
            cut = code + bits([character])
            cut = cut[: (len(cut) - 1) // 8 * 8]
            assert decoded(decoder, packed(cut)) == meaning(packed(cut))


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80))
def test_bytes_mean_what_the_definition_says_or_nothing(decoder, data):
    assert decoded(decoder, data) == meaning(data)


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(TEXT, st.integers(0, 2**32), st.sampled_from([b"", b"\xff", b"\x7f", b"\xff\xff\xff\xfc", b"\0"]))
def test_a_string_with_a_wrong_bit_or_something_after_it(decoder, text, bit, after):
    data = bytearray(ENCODER.encode(text.encode()) + after)
    if data:
        data[bit // 8 % len(data)] ^= 1 << bit % 8
    assert decoded(decoder, bytes(data)) == meaning(data)
