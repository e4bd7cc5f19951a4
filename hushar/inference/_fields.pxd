# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""wire.py in C: fields of messages that have been decoded before, and how new ones are written.

Places are offsets; -1 means that the message is not what it should be. Nothing at `end` or beyond it is read.
"""

from libc.stdint cimport uint8_t, uint64_t

from hushar.features._layout cimport Span

# With it comes its check that the machine is little-endian: scores are copied as they lie in memory.
from hushar.features._wire cimport END_GROUP, FIXED32, FIXED64, LENGTH, START_GROUP, VARINT

cdef extern from *:
    """
    #include <string.h>

    /* memcpy, but that most of what is copied here is a few bytes, for which a call takes longer than the copy:
       the first and the last bytes, which may overlap. Nothing outside is read or written. */
    static inline void hushar_copy_few(unsigned char *to, const unsigned char *from, size_t size)
    {
        unsigned char first[16], last[16];
        if (size > 32) {
            memcpy(to, from, size);
        } else if (size >= 16) {
            memcpy(first, from, 16);
            memcpy(last, from + size - 16, 16);
            memcpy(to, first, 16);
            memcpy(to + size - 16, last, 16);
        } else if (size >= 8) {
            memcpy(first, from, 8);
            memcpy(last, from + size - 8, 8);
            memcpy(to, first, 8);
            memcpy(to + size - 8, last, 8);
        } else if (size >= 4) {
            memcpy(first, from, 4);
            memcpy(last, from + size - 4, 4);
            memcpy(to, first, 4);
            memcpy(to + size - 4, last, 4);
        } else if (size) {
            to[0] = from[0];
            to[size / 2] = from[size / 2];
            to[size - 1] = from[size - 1];
        }
    }
    """
    void copy_few "hushar_copy_few"(uint8_t* to, const uint8_t* data, size_t size) noexcept nogil

cdef enum:
    FIELD_1 = 0x0A  # tags of length-delimited fields
    FIELD_2 = 0x12
    FIELD_3 = 0x1A

cdef inline Py_ssize_t varint_at(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, uint64_t* value
) noexcept nogil:
    """Read a varint of up to ten bytes; where it ends, or -1."""
    cdef uint64_t read
    cdef int shift = 7
    if at >= end:
        return -1
    read = data[at]
    at += 1
    if read < 0x80:
        value[0] = read
        return at
    read &= 0x7F
    while at < end and shift < 70:
        read |= <uint64_t> (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            value[0] = read
            return at
        shift += 7
    return -1


cdef inline Py_ssize_t after(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int wire_type
) noexcept nogil:
    """Where the value at `at` ends, a group with all that is nested in it; or -1."""
    cdef uint64_t number = 0
    cdef Py_ssize_t depth = 0
    while True:
        if wire_type == VARINT:
            at = varint_at(data, at, end, &number)
        elif wire_type == FIXED64:
            at += 8
        elif wire_type == FIXED32:
            at += 4
        elif wire_type == LENGTH:
            at = varint_at(data, at, end, &number)
            if at < 0 or number > <uint64_t> (end - at):
                return -1
            at += <Py_ssize_t> number
        elif wire_type == START_GROUP:
            depth += 1
        elif wire_type == END_GROUP and depth:
            depth -= 1
        else:
            return -1
        if at < 0 or at > end:
            return -1
        if depth == 0:
            return at
        at = varint_at(data, at, end, &number)
        if at < 0:
            return -1
        wire_type = number & 7


cdef inline Py_ssize_t field_at(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, uint64_t* tag, Span* value
) noexcept nogil:
    """One field of a message: its tag, and its value's place; where it ends, or -1."""
    cdef uint64_t number = 0
    at = varint_at(data, at, end, tag)
    if at < 0:
        return -1
    if tag[0] & 7 == LENGTH:
        at = varint_at(data, at, end, &number)
        if at < 0 or number > <uint64_t> (end - at):
            return -1
        value.start = at
        value.size = <Py_ssize_t> number
        return at + value.size
    value.start = at
    value.size = 0
    return after(data, at, end, tag[0] & 7)


cdef inline Py_ssize_t varint_size(uint64_t value) noexcept nogil:
    cdef Py_ssize_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef inline uint8_t* put_varint(uint8_t* to, uint64_t value) noexcept nogil:
    while value >= 0x80:
        to[0] = <uint8_t> (value & 0x7F | 0x80)
        to += 1
        value >>= 7
    to[0] = <uint8_t> value
    return to + 1


cdef inline uint8_t* put_bytes(uint8_t* to, const uint8_t* data, Py_ssize_t size) noexcept nogil:
    copy_few(to, data, size)
    return to + size


cdef inline uint8_t* put_head(uint8_t* to, uint8_t tag, Py_ssize_t size) noexcept nogil:
    to[0] = tag
    return put_varint(to + 1, size)
