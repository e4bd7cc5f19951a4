# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Strings of the configuration, found by the bytes that clients send.

Open addressing, at most half full, with a seed of its own. The keys come from the configuration and what
clients send is only looked up, so no client can make probing longer.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc

from hushar.features._wire cimport load32, load64

cdef extern from *:
    """
    static inline uint64_t hushar_mix(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t mix "hushar_mix"(uint64_t a, uint64_t b) noexcept nogil

cdef struct Word:
    const uint8_t* text  # NULL: an empty slot
    uint32_t length
    int32_t position

cdef struct Words:
    Word* slots
    uint64_t mask


cdef inline uint64_t hash_of(const uint8_t* text, Py_ssize_t length, uint64_t seed) noexcept nogil:
    cdef uint64_t state = seed ^ <uint64_t>length
    cdef const uint8_t* end = text + length
    if length >= 8:
        while end - text > 8:
            state = mix(state ^ load64(text), <uint64_t>0x9E3779B97F4A7C15)
            text += 8
        return mix(state ^ load64(end - 8), <uint64_t>0xE7037ED1A0B428DB)
    if length >= 4:
        return mix(state ^ (<uint64_t>load32(text) << 32 | load32(end - 4)), <uint64_t>0xE7037ED1A0B428DB)
    if length:
        state ^= <uint64_t>text[0] << 16 | <uint64_t>text[length >> 1] << 8 | text[length - 1]
    return mix(state, <uint64_t>0xE7037ED1A0B428DB)


cdef inline bint same(const uint8_t* a, const uint8_t* b, Py_ssize_t length) noexcept nogil:
    """Names are short: cheaper than a call of memcmp."""
    cdef Py_ssize_t at = 0
    if length >= 8:
        while at < length - 8:
            if load64(a + at) != load64(b + at):
                return False
            at += 8
        return load64(a + length - 8) == load64(b + length - 8)
    if length >= 4:
        return load32(a) == load32(b) and load32(a + length - 4) == load32(b + length - 4)
    while at < length:
        if a[at] != b[at]:
            return False
        at += 1
    return True


cdef inline int32_t look_up(
    const Words* words, const uint8_t* text, Py_ssize_t length, uint64_t seed
) noexcept nogil:
    """The position of a word, or -1."""
    cdef uint64_t at = hash_of(text, length, seed) & words.mask
    cdef const Word* slot
    while True:
        slot = &words.slots[at]
        if slot.text == NULL:
            return -1
        if slot.length == <uint64_t>length and same(slot.text, text, length):
            return slot.position
        at = (at + 1) & words.mask


cdef inline int make_words(Words* words, list texts, uint64_t seed) except -1:
    """`texts` are bytes that outlive the table, None at the positions of words that UTF-8 cannot spell."""
    cdef uint64_t size = 8, at
    cdef bytes text
    cdef int32_t position
    while size < 2 * <uint64_t>len(texts):
        size *= 2
    words.slots = <Word*>calloc(size, sizeof(Word))
    if words.slots == NULL:
        raise MemoryError
    words.mask = size - 1
    for position in range(len(texts)):
        if texts[position] is None:
            continue
        text = texts[position]
        at = hash_of(<const uint8_t*>PyBytes_AS_STRING(text), len(text), seed) & words.mask
        while words.slots[at].text != NULL:
            at = (at + 1) & words.mask
        words.slots[at] = Word(<const uint8_t*>PyBytes_AS_STRING(text), len(text), position)
    return 0
