"""hashing and the hash below it: values of the original C++ code, mmh3 and scikit-learn."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.plugins import Element
from hushar_transforms.murmur3 import murmur3_32, murmur3_32_of_int64

SEEDS = st.integers(0, 2**32 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)


class TestMurmur3:
    @pytest.mark.parametrize(
        ("data", "seed", "expected"),
        [
            # The table of test vectors at https://en.wikipedia.org/wiki/MurmurHash.
            (b"", 0x00000000, 0x00000000),
            (b"", 0x00000001, 0x514E28B7),
            (b"", 0xFFFFFFFF, 0x81F16F39),
            (b"test", 0x00000000, 0xBA6BD213),
            (b"test", 0x9747B28C, 0x704B81DC),
            (b"Hello, world!", 0x00000000, 0xC0363E43),
            (b"Hello, world!", 0x9747B28C, 0x24884CBA),
            (b"The quick brown fox jumps over the lazy dog", 0x00000000, 0x2E4FF723),
            (b"The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
            # scikit-learn's tests of murmurhash3_32.
            (b"foo", 0, 4138058784),
            (b"foo", 42, 2972666014),
            ("हुशार".encode(), 0, 20398372),
        ],
    )
    def test_known_values(self, data: bytes, seed: int, expected: int):
        assert murmur3_32(data, seed) == expected

    def test_known_values_of_integers(self):
        """By mmh3.hash(struct.pack("<q", value), seed, signed=False)."""
        values = np.array([0, 1, -1, 42, 2**63 - 1, -(2**63)], np.int64)
        assert murmur3_32_of_int64(values).tolist() == [
            1669671676,
            1392991556,
            1651860712,
            1871679806,
            2188461247,
            1366273829,
        ]
        assert murmur3_32_of_int64(values, 7)[3] == 1588153452

    @given(st.lists(INT64, max_size=4), SEEDS)
    def test_integers_are_hashed_as_their_eight_bytes(self, values: list[int], seed: int):
        hashes = murmur3_32_of_int64(np.array(values, np.int64), seed)
        assert hashes.tolist() == [murmur3_32(struct.pack("<q", value), seed) for value in values]


class TestHashing:
    @pytest.mark.parametrize(
        ("word", "column", "sign"),
        [("dog", 5, -1), ("cat", 7, 1), ("snake", 3, -1), ("bird", 1, -1)],
    )
    def test_column_and_sign_are_those_of_scikit_learns_feature_hasher(self, transformed, word, column, sign):
        """FeatureHasher(n_features=8, input_type="string").transform([[word]])."""
        expected = np.zeros((1, 8), np.float32)
        expected[0, column] = sign
        result = transformed("hashing", Element.STRING, [word], buckets=8, signed=True)
        assert result.values.tolist() == expected.tolist()

    def test_a_number_of_buckets_that_divides_nothing(self, transformed):
        """FeatureHasher(n_features=5, input_type="string", alternate_sign=False)."""
        words = ["dog", "cat", "snake", "bird", "Adélie"]
        result = transformed("hashing", Element.STRING, words, buckets=5)
        assert result.values.argmax(axis=1).tolist() == [3, 4, 0, 4, 3]

    def test_the_smallest_hash_has_a_bucket_too(self, transformed):
        """A hash of -2**31 has no absolute value in 32 bits; scikit-learn's column is 2**31 mod n."""
        value = 2841062569
        assert murmur3_32(struct.pack("<q", value)) == 2**31
        result = transformed("hashing", Element.LONG, [value], buckets=7, signed=True)
        assert result.values.tolist() == [[0, 0, -1, 0, 0, 0, 0]]

    def test_the_same_integer_has_the_same_bucket_in_both_kinds(self, transformed):
        values = [0, -1, 7, 2**31 - 1]
        one = transformed("hashing", Element.INTEGER, values, buckets=100)
        other = transformed("hashing", Element.LONG, values, buckets=100)
        assert one.values.tolist() == other.values.tolist()

    def test_another_seed_is_another_hash(self, transformed):
        words = [str(i) for i in range(20)]
        one = transformed("hashing", Element.STRING, words, buckets=100)
        other = transformed("hashing", Element.STRING, words, buckets=100, seed=1)
        assert one.values.tolist() != other.values.tolist()

    @given(st.text(), st.integers(1, 50), SEEDS, st.booleans())
    def test_every_string_has_exactly_one_place(self, transformed, text, buckets, seed, signed):
        (row,) = transformed(
            "hashing", Element.STRING, [text], buckets=buckets, seed=seed, signed=signed
        ).values
        assert np.count_nonzero(row) == 1
        assert abs(row).sum() == 1
        assert signed or row.min() >= 0

    def test_parameters_that_make_no_sense_are_refused(self, refusal):
        assert "buckets" in refusal("hashing")
        assert "buckets" in refusal("hashing", buckets=0)
        assert "buckets" in refusal("hashing", buckets=2**20 + 1)
        assert "buckets" in refusal("hashing", buckets="8")
        assert "seed" in refusal("hashing", buckets=8, seed=-1)
        assert "seed" in refusal("hashing", buckets=8, seed=2**32)
        assert "signed" in refusal("hashing", buckets=8, signed="no")
