"""MurmurHash3_x86_32, the 32-bit hash of Austin Appleby (public domain), for bytes and for int64.

The same function as `mmh3.hash` and scikit-learn's `murmurhash3_32`. All arithmetic is modulo 2**32.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

MASK = 0xFFFFFFFF
C1, C2 = 0xCC9E2D51, 0x1B873593
ADDEND = 0xE6546B64
FINAL1, FINAL2 = 0x85EBCA6B, 0xC2B2AE35


def murmur3_32(data: bytes, seed: int = 0) -> int:
    """The hash of `data`, 0 ≤ hash < 2**32; `0 <= seed < 2**32`. Time is linear in the length."""
    h = seed
    whole = len(data) & ~3
    for (block,) in struct.iter_unpack("<I", memoryview(data)[:whole]):
        k = block * C1 & MASK
        h ^= (k << 15 | k >> 17) * C2 & MASK
        h = ((h << 13 | h >> 19) & MASK) * 5 + ADDEND & MASK
    if whole < len(data):
        k = int.from_bytes(data[whole:], "little") * C1 & MASK
        h ^= (k << 15 | k >> 17) * C2 & MASK
    h ^= len(data)
    h = (h ^ h >> 16) * FINAL1 & MASK
    h = (h ^ h >> 13) * FINAL2 & MASK
    return h ^ h >> 16


def murmur3_32_of_int64(values: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint32]:
    """The hash of each value's eight bytes, two's complement, least significant first. Shape `(n,)`."""
    blocks: NDArray[np.uint32] = values.astype("<i8").view("<u4").astype(np.uint32).reshape(-1, 2)
    h = np.full(len(values), seed, np.uint32)
    for k in blocks.T:
        h ^= _rotated(k * np.uint32(C1), 15) * np.uint32(C2)
        h = _rotated(h, 13) * np.uint32(5) + np.uint32(ADDEND)
    h ^= np.uint32(8)
    h = (h ^ h >> np.uint32(16)) * np.uint32(FINAL1)
    h = (h ^ h >> np.uint32(13)) * np.uint32(FINAL2)
    return h ^ h >> np.uint32(16)


def _rotated(values: NDArray[np.uint32], left: int) -> NDArray[Any]:
    return values << np.uint32(left) | values >> np.uint32(32 - left)
