"""Numbers, and strings that are numbers, nearly are, or are none, where implementations go wrong."""

import math
import struct
from decimal import Decimal

INT32 = (0, 1, -1, 7, -8, 127, 128, 2**24 + 1, -(2**24) - 3, 2**31 - 1, -(2**31), 33_554_435)
INT64 = (
    0, 1, -1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**60 + 2**36, 2**60 + 2**36 + 1,
    2**60 + 2**36 - 1, 2**60 + 3 * 2**36, 2**62 + 2**38 + 1, -(2**60) - 2**36 - 1, 2**24 + 1, 16_777_217,
    2**63 - 2**38, 2**63 - 2**39,
)  # fmt: skip
"""Among them those that rounding through float64 gets wrong."""
DOUBLES = (
    0.0, -0.0, 1.0, -1.5, 0.1, 1e-45, 7e-46, 7.1e-46, 1e-320, 3.4028234663852886e38, 3.4028235677973366e38,
    3.402823567797336e38, 3.5e38, -1e308, 1.1754943508222875e-38, 1.1754942807573643e-38, 16777217.0,
    2.0**-150, 2.0**-149 * 1.5, math.inf, -math.inf, 5e-324,
)  # fmt: skip
NO_NUMBERS = (
    "", "nan", "NaN", "inf", "-inf", "infinity", "1_000", " 1", "1 ", "1\n", "\t1", "0x10", "0b1", "1e",
    "1e+", "e5", ".", "+", "-", "+-1", "--1", "1-", "1,5", "1.2.3", "..1", "1e5.", "1e5e5", "١", "१२", "１",
    "1２", "1e१", "²", "\u00a01", "1\u2009", "\0", "1\0", "1f", "1d", "1L", "None", "true", "−1", "1e−5",
    "0x1p3", "1.e", ".e1", "+.", "1__0",
)  # fmt: skip
PLAIN = (
    "0", "-0", "+0", "00", "1", "-1", "1.", ".5", "-.5", "+.5e+05", "1.e3", "007", "1E5", "1e05", "1e-05",
    "0.1", "16777217", "16777216.999999999999999999", "123456789123456789", "3.4028235e38", "1e39",
    "-1e39", "1e-46", "1e99999999999999999999", "-1e99999999999999999999", "1e-99999999999999999999",
    "-1e-99999999999999999999", "0e99999999999999999999", "-0e-99999999999999999999", "0.0000e5",
    "1e000000000000000000000000000000000005", "1e-000000000000000000000000000000000005", "1e2147483648",
    "1e-2147483649", "1e9223372036854775808", "1e-9223372036854775809", "1e18446744073709551617",
    "1e4294967297", "0e2147483648",
)  # fmt: skip
WORDS = (
    "", "a", "b", "red", "Red", "rouge é", "नमस्ते", "x" * 300, "with space", "1", "日本語", "\0", "a\0", "😀",
    "ab", "ba", "y" * 127, "y" * 128, "z" * 7, "z" * 8, "z" * 9, "\u0301e", "é", "e\u0301",
)  # fmt: skip


def float32(number):
    """The float of `number` rounded to binary32 (through binary64; for making inputs only)."""
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)


def float32_bits(random):
    """Four bytes of a float32: all classes, signalling NaNs and NaN payloads too."""
    chance = random.random()
    if chance < 0.5:
        return struct.pack("<f", random.randint(-4000, 4000) / 8)
    if chance < 0.7:
        return random.randbytes(4)
    if chance < 0.8:
        return random.choice(
            (b"\0\0\0\x80", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\1\0\x80\x7f", b"\1\0\xc0\xff")
        )
    return struct.pack("<f", float32(double(random)))


def float64_bits(random):
    """Eight bytes of a float64: all classes."""
    chance = random.random()
    if chance < 0.1:
        return random.randbytes(8)
    if chance < 0.15:
        return struct.pack("<Q", random.choice((0x7FF8 << 48, 0xFFF0 << 48 | 1, 0x7FF0 << 48 | 1 << 51 | 77)))
    return struct.pack("<d", double(random))


def double(random):
    """A float64 that is no NaN; sometimes midway between two float32, or next to it."""
    chance = random.random()
    if chance < 0.3:
        return random.choice(DOUBLES)
    if chance < 0.5:
        middle = midpoint(random)
        return random.choice((middle, math.nextafter(middle, math.inf), math.nextafter(middle, -math.inf)))
    return random.uniform(-1, 1) * 10.0 ** random.randint(-46, 39)


def int32(random):
    """An int32."""
    return random.choice(INT32) if random.random() < 0.5 else random.getrandbits(32) - 2**31


def int64(random):
    """An int64; sometimes near to a midpoint between two float32."""
    chance = random.random()
    if chance < 0.4:
        return random.choice(INT64)
    if chance < 0.7:
        size = random.randint(26, 62)
        number = (random.getrandbits(24) | 1 << 23) << (size - 23) | 1 << (size - 24)
        number += random.choice((-1, 0, 1))
        return random.choice((1, -1)) * min(number, 2**63 - 1)
    return random.getrandbits(64) - 2**63


def midpoint(random):
    """A float64 exactly between two neighbouring float32, the subnormal ones and infinity included."""
    bits = random.choice((random.getrandbits(31), random.getrandbits(23), random.getrandbits(4), 0x7F7FFFFF))
    if bits >= 0x7F800000:
        bits &= 0x3FFFFFFF
    low = struct.unpack("<f", struct.pack("<I", bits))[0]
    high = 2.0**128 if bits == 0x7F7FFFFF else struct.unpack("<f", struct.pack("<I", bits + 1))[0]
    return (low + high) / 2 * random.choice((1, -1))


def _written(random, number):
    """The exact decimal digits of a float, plain or with an exponent."""
    text = format(Decimal(number), "f")
    if random.random() < 0.5:
        return text
    sign, digits, exponent = Decimal(number).as_tuple()
    shift = random.randint(-60, 60)
    figures = "".join(map(str, digits))
    if shift < 0:
        figures += "0" * -shift
    elif shift:
        figures = figures[:-shift] + "." + figures[-shift:].rjust(shift, "0")
    return f"{'-' if sign else ''}{figures}e{exponent + shift}"


def _nudged(random, text):
    """The same number, or one that is a little larger or smaller in size: digits far behind."""
    mantissa, e, exponent = text.partition("e")
    if "." not in mantissa:
        mantissa += "."
    match random.randrange(4):
        case 0:
            return mantissa + e + exponent
        case 1:
            return mantissa + "0" * random.choice((0, 1, 20, 130, 900)) + "1" + e + exponent
        case 2:
            return mantissa + "0" * random.choice((1, 20, 130, 900)) + e + exponent
        case _:
            digits = mantissa.rstrip("0.") if "." in mantissa else mantissa
            at = max((i for i, c in enumerate(digits) if c in "123456789"), default=None)
            if at is None:
                return text
            tail = "".join("9" if c == "0" else c for c in mantissa[at + 1 :]) or ""
            return (
                mantissa[:at]
                + str(int(mantissa[at]) - 1)
                + tail
                + "9" * random.choice((1, 30, 200))
                + e
                + exponent
            )


def number_text(random):
    """A decimal number, most of them hard to round."""
    match random.randrange(8):
        case 0 | 1:
            return random.choice(PLAIN)
        case 2 | 3:
            return _nudged(random, _written(random, midpoint(random)))
        case 4:
            return f"{random.uniform(-1, 1) * 10.0 ** random.randint(-50, 40)!r}"
        case 5:
            digits = "".join(
                random.choices("0123456789", k=random.choice((1, 9, 10, 17, 18, 19, 20, 21, 40, 200)))
            )
            at = random.randint(0, len(digits))
            point = digits[:at] + "." + digits[at:] if random.random() < 0.7 else digits
            exponent = random.choice(("", "e0", f"e{random.randint(-60, 60)}", f"E+{random.randint(0, 40)}"))
            return random.choice(("", "+", "-")) + point + exponent
        case 6:
            # A large exponent and as many zeros, so that together they are nothing special.
            zeros = random.choice((1, 30, 400, 4300, 6000))
            near = random.randint(-45, 40)
            if random.random() < 0.5:
                return f"0.{'0' * zeros}{random.randint(1, 999)}e{zeros + near}"
            return f"{random.randint(1, 999)}{'0' * zeros}e{near - zeros}"
        case _:
            return _nudged(random, f"{random.randint(0, 2**25)}")


def text(random):
    """Any string: a number, nearly one, a word, or noise."""
    match random.randrange(6):
        case 0 | 1:
            return number_text(random)
        case 2:
            return random.choice(NO_NUMBERS)
        case 3:
            return "".join(random.choices("0123456789+-.eE_ x", k=random.randint(0, 8)))
        case _:
            return random.choice(WORDS)
