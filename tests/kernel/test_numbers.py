"""Numbers of every kind, and numbers in strings: rounded once, bit for bit."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernelkit import oracle, plans, values
from kernelkit.running import bits, checked
from kernelkit.wire import field, varint

N = 64


@pytest.fixture(scope="module")
def identity():
    return plans.setup_of({"f": {"type": "identity", "default_val": [0] * N}})


def array(number, content):
    return field(2, field(2, field(1, "f") + field(2, field(number, content))))


def parsed(make, identity, texts):
    """The float32 of each string; what is no number is None."""
    vectorizer = make(identity)
    found = []
    for start in range(0, len(texts), N):
        piece = texts[start : start + N]
        message = array(10, b"".join(field(1, text) for text in [*piece, *["0"] * (N - len(piece))]))
        result = checked(vectorizer, [message], [1])
        assert not result.errors, f"{result.errors}"
        found += result.matrix[0, : len(piece)].tolist()
    return np.array(found, np.float32)


def expect(make, identity, texts):
    wanted = np.array([oracle.parsed(text) for text in texts], np.float32)
    made = parsed(make, identity, texts)
    wrong = [
        (text, str(a), str(b))
        for text, a, b, same in zip(texts, made, wanted, bits(made) == bits(wanted), strict=True)
        if not same
    ]
    assert not wrong, wrong[:3]


@pytest.mark.slow
class TestStrings:
    def test_numbers_that_are_hard_to_round(self, make, identity, rng):
        expect(make, identity, [values.number_text(rng) for _ in range(6000)])

    def test_plain_numbers_and_extremes(self, make, identity):
        expect(
            make, identity, [*values.PLAIN, "1" * 5000, "0." + "0" * 5000 + "1", "1" + "0" * 5000 + "e-5000"]
        )

    def test_all_exponents(self, make, identity):
        mantissas = (
            "1",
            "9.999999999",
            "3.40282356779733661637539395458142568447",
            "1.17549435",
            "7.0064923216240853546186479164495e",
        )
        texts = [f"{m.rstrip('e')}e{exponent}" for m in mantissas for exponent in range(-70, 60)]
        texts += [f"{10**19 - 1}e{exponent}" for exponent in range(-70, 40)]
        texts += [f"0.{'0' * zeros}123456789e{zeros}" for zeros in range(60)]
        expect(make, identity, texts)

    def test_midpoints_and_their_neighbours(self, make, identity, rng):
        """The digits of a midpoint between two float32, and a digit more or less far behind."""
        texts = []
        for _ in range(400):
            exact = format(abs(values.Decimal(values.midpoint(rng))), "f")
            exact += "" if "." in exact else ".0"
            texts += [exact, exact + "0" * 300, exact + "1", exact + "0" * 200 + "1", "-" + exact]
            last = next((i for i in range(len(exact) - 1, -1, -1) if exact[i] in "123456789"), None)
            if last is not None:
                below = (
                    exact[:last] + str(int(exact[last]) - 1) + exact[last + 1 :].replace("0", "9") + "9" * 90
                )
                texts.append(below)
        expect(make, identity, texts)

    def test_midpoints_in_other_spellings(self, make, identity, rng):
        """With exponents, leading zeros, and about as long as what the kernel decides by itself."""
        texts = []
        for _ in range(400):
            _, digits, exponent = values.Decimal(values.midpoint(rng)).as_tuple()
            whole = "".join(map(str, digits))
            for more in ("", "1", "0" * 140, "0" * 140 + "1"):
                texts += [f"{whole}{more}e{exponent - len(more)}", f"-{whole}{more}E{exponent - len(more)}"]
            below = str(int(whole) * 10**150 - 1)
            texts += [
                f"+000{below}e{exponent - 150}",
                f"{below[0]}.{below[1:]}e{exponent - 151 + len(below)}",
            ]
            point = exponent + len(whole)
            texts += [f".{whole}e+{point:07}" if point >= 0 else f".{whole}e{point}", f"{whole}.e{exponent}"]
            for length in (510, 511, 512, 513):
                zeros = length - len(whole) - len("1e-00400")
                texts.append(f"{whole}{'0' * zeros}1e{exponent - zeros - 1:06}")
                assert len(texts[-1]) == length
        expect(make, identity, texts)

    @settings(deadline=None, max_examples=50, derandomize=True)
    @given(
        texts=st.lists(
            st.from_regex(
                r"\A[+-]?([0-9]{1,25}(\.[0-9]{0,25})?|\.[0-9]{1,25})([eE][+-]?[0-9]{1,3})?\Z", fullmatch=True
            ),
            min_size=1,
            max_size=N,
        )
    )
    def test_anything_that_matches(self, make, identity, texts):
        texts = [text for text in texts if text.isascii()]
        expect(make, identity, texts)

    def test_what_is_no_number_fails_the_request(self, agree, simple):
        texts = values.NO_NUMBERS
        made = agree(simple, [field(2, field(2, field(1, "f") + field(2, field(5, text)))) for text in texts])
        assert [str(outcome.error)[:26] for outcome in made] == ["feature 'f' of row 0: stri"] * len(texts)

    def test_of_short_strings_exactly_those_that_match(self, agree, simple):
        """All strings of up to four of these characters."""
        alphabet = "1.eE+-0 "
        texts = [""]
        for _ in range(4):
            texts += {text + character for text in texts for character in alphabet} - set(texts)
        made = agree(simple, [field(2, field(2, field(1, "f") + field(2, field(5, text)))) for text in texts])
        assert {outcome.error is None for outcome in made} == {True, False}

    @pytest.mark.parametrize(
        "text",
        [
            "1e" + "9" * 200_000, "1e-" + "9" * 200_000, "9" * 200_000, "0." + "0" * 200_000 + "1",
            "0" * 200_000 + "e" + "0" * 200_000, "1" * 200_000 + "e-200000", "1" * 200_000 + "x",
            "1e" + "1" * 200_000 + "x", "-0." + "0" * 100_000 + "1" + "0" * 100_000 + "e100001",
        ],
        ids=range(9),
    )  # fmt: skip
    def test_very_long_strings_come_to_an_end(self, agree, simple, text):
        """Not measured: with work that grows faster than its length this would not come to an end."""
        agree(simple, [field(2, field(2, field(1, "f") + field(2, field(5, text))))])


class TestNumbers:
    def test_integers_are_rounded_once(self, make, identity, rng):
        vectorizer = make(identity)
        for number, maker in ((8, values.int32), (9, values.int64)):
            for _ in range(60):
                given_values = [maker(rng) for _ in range(N)]
                content = field(1, b"".join(varint(value) for value in given_values))
                made = checked(vectorizer, [array(number, content)], [1]).matrix[0]
                wanted = [oracle.nearest32(oracle.Fraction(abs(value)), value < 0) for value in given_values]
                assert bits(made).tolist() == bits(np.array(wanted, np.float32)).tolist()

    def test_doubles_are_rounded_to_the_nearest(self, make, identity, rng):
        vectorizer = make(identity)
        for _ in range(100):
            given_values = np.array([values.double(rng) for _ in range(N)])
            made = checked(vectorizer, [array(6, field(1, given_values.tobytes()))], [1]).matrix[0]
            with np.errstate(over="ignore", under="ignore"):
                wanted = given_values.astype(np.float32)
            assert bits(made).tolist() == bits(wanted).tolist()

    def test_nans_and_infinities_pass_through(self, make, identity, rng):
        vectorizer = make(identity)
        patterns = [0x7F800000, 0xFF800000, 0x7F800001, 0xFFC00001, 0x80000000, 1, 0x807FFFFF, 0x7FFFFFFF] * 8
        made = checked(vectorizer, [array(7, field(1, struct.pack(f"<{N}I", *patterns)))], [1]).matrix[0]
        assert bits(made).tolist() == bits(np.array(patterns, np.uint32).view(np.float32)).tolist()


PARAMETERS = [
    (-3e38, 3e38), (0, 1e-45), (1e38, 3e38), (0.1, 0.3), (-0.0, 1), (-1, 16777217), (1e-40, 2e-40), (-7, -3),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), PARAMETERS)
def test_the_formulas_hold_for_all_numbers(agree, rng, low, high):
    features = {}
    for size in ("32", "64"):
        features[f"m{size}"] = {
            "type": f"min_max_scaling{size}",
            "min": low,
            "max": high,
            "default_val": [0] * N,
        }
        features[f"s{size}"] = {
            "type": f"standardization{size}",
            "mean": low,
            "std_dev": abs(high),
            "default_val": [0] * N,
        }
    setup = plans.setup_of(features)
    messages = []
    for _ in range(12):
        floats = field(7, field(1, b"".join(values.float32_bits(rng) for _ in range(N))))
        doubles = field(6, field(1, b"".join(values.float64_bits(rng) for _ in range(N))))
        integers = field(8, field(1, b"".join(varint(values.int32(rng)) for _ in range(N))))
        longs = field(9, field(1, b"".join(varint(values.int64(rng)) for _ in range(N))))
        for pair in ((floats, doubles), (integers, longs)):
            entries = [field(2, field(1, name) + field(2, pair[name.endswith("64")])) for name in features]
            messages.append(field(2, b"".join(entries)))
    assert all(outcome.error is None for outcome in agree(setup, messages))
