# cython: language_level=3, cdivision=True
"""Reading protobuf's wire format from bytes that nobody vouches for (CONTRACT.md 1, "Decoding, exactly").

Every function takes where it reads and where it must stop, `at <= end`, and gives where it stopped, or
NULL where upb would refuse. Nothing at `end` or beyond it is ever read. No Python object, no GIL.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    /* Numbers are copied out of the wire as they lie there, and the wire is little-endian. */
    #if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "only for little-endian machines; elsewhere the readable reference serves"
    #endif
    #define HUSHAR_LIKELY(x) __builtin_expect(!!(x), 1)
    #define HUSHAR_RARE(x) __builtin_expect(!!(x), 0)
    """
    bint likely "HUSHAR_LIKELY"(bint) noexcept nogil
    bint rare "HUSHAR_RARE"(bint) noexcept nogil

ctypedef const uint8_t* Bytes

cdef enum:
    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    START_GROUP = 3
    END_GROUP = 4
    FIXED32 = 5

cdef enum:
    # A request lies one level deep already: a log row lies deeper in its file than an input row in
    # its request, and must be readable there.
    DEEPEST = 100
    IN_REQUEST = 1
    IN_ROW = 2
    IN_ENTRY = 3
    IN_VALUE = 4
    IN_ARRAY = 5


cdef inline uint64_t load64(const void* at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


cdef inline uint32_t load32(const void* at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline Bytes long_tag(Bytes at, Bytes end, uint32_t* tag) noexcept nogil:
    """A tag or length of up to five bytes and 32 bits."""
    cdef uint64_t value = 0
    cdef int shift = 0
    while shift < 35 and at < end:
        value |= <uint64_t>(at[0] & 0x7F) << shift
        at += 1
        if at[-1] < 0x80:
            if value >> 32:
                return NULL
            tag[0] = <uint32_t>value
            return at
        shift += 7
    return NULL


cdef inline Bytes read_tag(Bytes at, Bytes end, uint32_t* tag) noexcept nogil:
    if likely(at < end and at[0] < 0x80):
        tag[0] = at[0]
        return at + 1
    return long_tag(at, end, tag)


cdef inline Bytes read_length(Bytes at, Bytes end, uint32_t* length) noexcept nogil:
    """A length; that many bytes are there."""
    at = read_tag(at, end, length)
    if rare(at == NULL or <uint64_t>(end - at) < length[0] or length[0] >> 31):
        return NULL
    return at


cdef inline Bytes read_varint(Bytes at, Bytes end, uint64_t* number) noexcept nogil:
    """A varint of up to ten bytes; what goes beyond 64 bits is cut off."""
    cdef uint64_t value = 0
    cdef int shift = 0
    if likely(at < end and at[0] < 0x80):
        number[0] = at[0]
        return at + 1
    while shift < 70 and at < end:
        value |= <uint64_t>(at[0] & 0x7F) << shift
        at += 1
        if at[-1] < 0x80:
            number[0] = value
            return at
        shift += 7
    return NULL


cdef inline Bytes skip_plain(Bytes at, Bytes end, uint32_t wire_type) noexcept nogil:
    """The value of a field that is no group."""
    cdef uint64_t number
    cdef uint32_t length
    if wire_type == VARINT:
        return read_varint(at, end, &number)
    if wire_type == LENGTH:
        at = read_length(at, end, &length)
        if at != NULL:
            at += length
        return at
    if wire_type == FIXED64 and end - at >= 8:
        return at + 8
    if wire_type == FIXED32 and end - at >= 4:
        return at + 4
    return NULL


cdef inline Bytes skip_group(
    Bytes at, Bytes end, uint32_t number, int left, bint zero_in_groups
) noexcept nogil:
    """A group behind its start tag; `left` is how many levels may lie in each other from here."""
    cdef uint32_t[DEEPEST] opened
    cdef uint32_t tag
    cdef int depth = 1
    if left < 1:
        return NULL
    opened[0] = number
    while depth:
        at = read_tag(at, end, &tag)
        if at == NULL or (tag < 8 and not zero_in_groups):
            return NULL
        if tag & 7 == END_GROUP:
            depth -= 1
            if opened[depth] != tag >> 3:
                return NULL
        elif tag & 7 == START_GROUP:
            if depth >= left:
                return NULL
            opened[depth] = tag >> 3
            depth += 1
        else:
            at = skip_plain(at, end, tag & 7)
            if at == NULL:
                return NULL
    return at


cdef inline Bytes skip_field(
    Bytes at, Bytes end, uint32_t tag, int level, bint zero_in_groups
) noexcept nogil:
    """The value of an unknown field behind its tag, in a message at `level`."""
    if tag < 8:
        return NULL
    if tag & 7 == START_GROUP:
        return skip_group(at, end, tag >> 3, DEEPEST - level, zero_in_groups)
    return skip_plain(at, end, tag & 7)


cdef inline bint is_utf8(Bytes at, Py_ssize_t length) noexcept nogil:
    """As RFC 3629 has it: nothing overlong, no surrogates, nothing above U+10FFFF."""
    cdef Bytes end = at + length
    cdef uint8_t first, low, high
    cdef int more
    while at < end:
        if end - at >= 8 and not load64(at) & <uint64_t>0x8080808080808080:
            at += 8
            continue
        first = at[0]
        at += 1
        if first < 0x80:
            continue
        low, high = 0x80, 0xBF
        if first < 0xC2 or first > 0xF4:
            return False
        if first < 0xE0:
            more = 1
        elif first < 0xF0:
            more = 2
            if first == 0xE0:
                low = 0xA0
            elif first == 0xED:
                high = 0x9F
        else:
            more = 3
            if first == 0xF0:
                low = 0x90
            elif first == 0xF4:
                high = 0x8F
        if end - at < more or at[0] < low or at[0] > high:
            return False
        if more > 1 and at[1] & 0xC0 != 0x80:
            return False
        if more > 2 and at[2] & 0xC0 != 0x80:
            return False
        at += more
    return True
