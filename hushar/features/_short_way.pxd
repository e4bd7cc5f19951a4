# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A map entry as every client writes it: a key, a value, and in it one field, each once and in this order.

What is anything else is left to the long way, which reads the entry again. A feature's columns are always
written as a whole, so it does no harm that some may have been written before.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from hushar.features._long_way cimport long_entry
from hushar.features._walk cimport (
    COLLECT,
    DOUBLE,
    FLOAT,
    IDENTITY,
    INTEGER,
    LONG,
    NO_ROUTE,
    STRING,
    Feature,
    Walk,
    begin_strings,
    number_of,
    put_absent,
    put_word,
    settle,
)
from hushar.features._wire cimport (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Bytes,
    is_utf8,
    likely,
    load32,
    load64,
    rare,
    read_length,
    read_varint,
)
from hushar.features._words cimport look_up, same

cdef enum:
    NO_FEATURE = -1
    UNDECODABLE_NAME = -2

# What the short way says of a value.
cdef enum:
    BROKEN = -1  # it does not decode
    TAKEN = 0
    UNUSUAL = 1  # the long way must look at it


cdef inline int find(Walk* walk, const uint8_t* name, uint32_t length) noexcept nogil:
    """The feature of that name, NO_FEATURE, or UNDECODABLE_NAME."""
    cdef uint32_t guess = walk.follows[walk.last]
    # What equals a name of the configuration is UTF-8.
    if likely(is_named(walk, guess, name, length)):
        walk.last = guess
        return guess
    return find_otherwise(walk, name, length)


cdef inline bint is_named(Walk* walk, uint32_t index, const uint8_t* name, uint32_t length) noexcept nogil:
    cdef const Feature* feature = &walk.features[index]
    return feature.length == length and same(feature.name, name, length)


cdef inline int find_otherwise(Walk* walk, const uint8_t* name, uint32_t length) noexcept nogil:
    """The same where nothing was expected, or another one."""
    cdef int32_t index = walk.came_after[walk.last]
    if not walk.noting or not is_named(walk, index, name, length):
        index = look_up(walk.names, name, length, walk.seed)
        if index < 0:
            return NO_FEATURE if is_utf8(name, length) else UNDECODABLE_NAME
        walk.came_after[walk.last] = index
        walk.route_end = NO_ROUTE
    walk.last = index
    walk.was_seen = walk.seen[index] == walk.stamp
    walk.seen[index] = walk.stamp
    return index


cdef inline int short_number(Walk* walk, int index, int element, uint64_t bits) noexcept nogil:
    cdef const Feature* feature
    if index < 0:
        return TAKEN
    feature = &walk.features[index]
    if rare(feature.units != 1 or not feature.accepts >> element & 1):
        settle(walk, index, False)
        return TAKEN
    walk.row[feature.start] = number_of(feature, element, bits)
    settle(walk, index, True)
    return TAKEN


cdef inline int short_string(Walk* walk, int index, Bytes at, Bytes end) noexcept nogil:
    cdef const Feature* feature
    cdef int put
    if index < 0:
        return TAKEN if is_utf8(at, end - at) else BROKEN
    feature = &walk.features[index]
    if feature.units != 1 or not feature.accepts >> STRING & 1:
        settle(walk, index, False)
        return TAKEN if is_utf8(at, end - at) else BROKEN
    begin_strings(walk, index)
    put = put_word(walk, feature, at, end - at, 0)
    if put < 0:
        return BROKEN
    settle(walk, index, put)
    return TAKEN


cdef inline int short_strings(Walk* walk, int index, Bytes at, Bytes end) noexcept nogil:
    """The fields of a StringArray."""
    cdef const Feature* feature = NULL
    cdef Py_ssize_t units = 0, unit = 0
    cdef uint32_t length
    cdef int put
    cdef bint good = True
    if index >= 0:
        feature = &walk.features[index]
        units = feature.units if feature.accepts >> STRING & 1 else 0
        begin_strings(walk, index)
    while at < end:
        if at[0] != <uint8_t>(1 << 3 | LENGTH):
            return UNUSUAL
        at = read_length(at + 1, end, &length)
        if at == NULL:
            return BROKEN
        if unit < units:
            put = put_word(walk, feature, at, length, unit)
            if put < 0:
                return BROKEN
            good &= put
        elif not is_utf8(at, length):
            return BROKEN
        unit += 1
        at += length
    if index >= 0:
        settle(walk, index, good and units > 0 and unit == units)
    return TAKEN


cdef inline int short_doubles(Walk* walk, int index, Bytes at, Bytes end) noexcept nogil:
    """Packed doubles."""
    cdef const Feature* feature
    cdef float* columns
    cdef double offset, scale, number
    cdef Py_ssize_t count = (end - at) // 8, unit
    if (end - at) % 8:
        return BROKEN
    if index < 0:
        return TAKEN
    feature = &walk.features[index]
    if count != feature.units or not feature.accepts >> DOUBLE & 1:
        settle(walk, index, False)
        return TAKEN
    columns = walk.row + feature.start
    if feature.op == IDENTITY:
        for unit in range(count):
            memcpy(&number, at + 8 * unit, 8)
            columns[unit] = <float>number
    else:
        offset, scale = feature.offset64, feature.scale64
        for unit in range(count):
            memcpy(&number, at + 8 * unit, 8)
            columns[unit] = <float>((number - offset) / scale)
    settle(walk, index, True)
    return TAKEN


cdef inline int short_floats(Walk* walk, int index, Bytes at, Bytes end) noexcept nogil:
    """Packed floats."""
    cdef const Feature* feature
    cdef float* columns
    cdef float offset, scale, number
    cdef Py_ssize_t count = (end - at) // 4, unit
    if (end - at) % 4:
        return BROKEN
    if index < 0:
        return TAKEN
    feature = &walk.features[index]
    if count != feature.units or not feature.accepts >> FLOAT & 1:
        settle(walk, index, False)
        return TAKEN
    columns = walk.row + feature.start
    if feature.op == IDENTITY:
        memcpy(columns, at, 4 * count)
    else:
        offset, scale = feature.offset32, feature.scale32
        for unit in range(count):
            memcpy(&number, at + 4 * unit, 4)
            columns[unit] = (number - offset) / scale
    settle(walk, index, True)
    return TAKEN


cdef inline int short_varints(Walk* walk, int index, int element, Bytes at, Bytes end) noexcept nogil:
    """Packed int32 or int64."""
    cdef const Feature* feature = NULL
    cdef Py_ssize_t units = 0, unit = 0
    cdef uint64_t bits
    if index >= 0:
        feature = &walk.features[index]
        units = feature.units if feature.accepts >> element & 1 else 0
    while at < end:
        at = read_varint(at, end, &bits)
        if at == NULL:
            return BROKEN
        if unit < units:
            walk.row[feature.start + unit] = number_of(feature, element, bits)
        unit += 1
    if index >= 0:
        settle(walk, index, units > 0 and unit == units)
    return TAKEN


cdef inline int short_array(Walk* walk, int index, int element, Bytes at, Bytes end) noexcept nogil:
    """An array message that is all of its DataType; numbers in one packed piece."""
    cdef uint32_t length
    if element == STRING:
        return short_strings(walk, index, at, end)
    if at == end or at[0] != <uint8_t>(1 << 3 | LENGTH):
        return UNUSUAL
    at = read_length(at + 1, end, &length)
    if at == NULL:
        return BROKEN
    if at + length != end:
        return UNUSUAL
    if element == DOUBLE:
        return short_doubles(walk, index, at, end)
    if element == FLOAT:
        return short_floats(walk, index, at, end)
    return short_varints(walk, index, element, at, end)


cdef inline int short_value(Walk* walk, int index, Bytes at, Bytes end) noexcept nogil:
    """A DataType that is one field."""
    cdef uint32_t tag, length
    cdef uint64_t bits
    if at == end:
        if index >= 0:
            put_absent(walk, index)
        return TAKEN
    tag = at[0]
    at += 1
    if tag == (2 << 3 | FIXED32):
        if rare(end - at != 4):
            return UNUSUAL
        return short_number(walk, index, FLOAT, load32(at))
    if tag == (1 << 3 | FIXED64):
        if end - at != 8:
            return UNUSUAL
        return short_number(walk, index, DOUBLE, load64(at))
    if tag == (3 << 3 | VARINT) or tag == (4 << 3 | VARINT):
        at = read_varint(at, end, &bits)
        if at == NULL:
            return BROKEN
        if at != end:
            return UNUSUAL
        return short_number(walk, index, INTEGER if tag >> 3 == 3 else LONG, bits)
    if tag & 7 != LENGTH or tag < (5 << 3) or tag > (10 << 3 | LENGTH):
        return UNUSUAL
    at = read_length(at, end, &length)
    if at == NULL:
        return BROKEN
    if at + length != end:
        return UNUSUAL
    if tag == (5 << 3 | LENGTH):
        return short_string(walk, index, at, end)
    return short_array(walk, index, (tag >> 3) - 6, at, end)


cdef inline bint short_entry(Walk* walk, Bytes at, Bytes end) noexcept nogil:
    """A map entry. False: it does not decode."""
    cdef Bytes start = at
    cdef uint32_t name_length, length
    cdef int index, outcome
    if at == end or at[0] != <uint8_t>(1 << 3 | LENGTH):
        return long_entry(walk, start, end)
    at = read_length(at + 1, end, &name_length)
    if rare(at == NULL):
        return False
    if rare(end - at - name_length < 2 or at[name_length] != <uint8_t>(2 << 3 | LENGTH)):
        return long_entry(walk, start, end)
    index = find(walk, at, name_length)
    if rare(index == UNDECODABLE_NAME):
        return False
    at = read_length(at + name_length + 1, end, &length)
    if rare(at == NULL):
        return False
    if rare(at + length != end or (index >= 0 and walk.features[index].op == COLLECT)):
        return read_again(walk, index, start, end)
    outcome = short_value(walk, NO_FEATURE if walk.checking else index, at, end)
    if rare(outcome == UNUSUAL):
        return read_again(walk, index, start, end)
    return outcome == TAKEN


cdef inline bint read_again(Walk* walk, int index, Bytes at, Bytes end) noexcept nogil:
    """An entry, by the long way, after its feature has been noted: it may not be that one's after all."""
    if index >= 0 and walk.noting and not walk.was_seen:
        walk.seen[index] = 0
    return long_entry(walk, at, end)
