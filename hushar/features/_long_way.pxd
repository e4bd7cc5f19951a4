# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A map entry with all that protobuf allows: fields in any order, repeated and merged, arrays in several
pieces, unknown fields. Functions give where they stopped, NULL for what does not decode (_wire.pxd)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from hushar.features._walk cimport (
    COLLECT,
    DOUBLE,
    ELEMENTS,
    FLOAT,
    STRING,
    Feature,
    Item,
    Walk,
    begin_strings,
    collect,
    number_of,
    put_absent,
    put_word,
    settle,
    uncollect,
)
from hushar.features._wire cimport (
    FIXED32,
    FIXED64,
    IN_ARRAY,
    IN_ENTRY,
    IN_VALUE,
    LENGTH,
    VARINT,
    Bytes,
    is_utf8,
    load32,
    load64,
    read_length,
    read_tag,
    read_varint,
    skip_field,
)
from hushar.features._words cimport look_up

cdef struct Value:
    # A DataType as long_entry collects it; of more items than any feature takes only the number is kept.
    int kind  # the field of DataType; 0: none is set
    uint64_t count


cdef inline void put_value(Walk* walk, int index, const Value* value) noexcept nogil:
    """A value as long_entry has collected it, all strings in it checked."""
    cdef const Feature* feature = &walk.features[index]
    cdef int element
    cdef Py_ssize_t unit
    cdef bint good = True
    begin_strings(walk, index)
    walk.seen[index] = walk.stamp
    if feature.collector >= 0:
        uncollect(&walk.collectors[feature.collector], walk.row_number)
    if value.kind == 0:
        put_absent(walk, index)
        return
    element = (value.kind - 1) % ELEMENTS
    if not feature.accepts >> element & 1 or value.count != <uint64_t>feature.units:
        settle(walk, index, False)
        return
    if feature.op == COLLECT:
        # The columns keep the default until the plugin has transformed the cells.
        collect(walk, &walk.collectors[feature.collector], element)
        settle(walk, index, True)
        return
    for unit in range(feature.units):
        if element == STRING:
            good &= put_word(walk, feature, walk.items[unit].text, walk.items[unit].bits, unit) == 1
        else:
            walk.row[feature.start + unit] = number_of(feature, element, walk.items[unit].bits)
    settle(walk, index, good)


cdef inline void push(Walk* walk, Value* value, uint64_t bits, const uint8_t* text) noexcept nogil:
    if value.count < walk.item_limit:
        walk.items[value.count] = Item(bits, text)
    value.count += 1


cdef inline Bytes long_number_field(
    Walk* walk, Value* value, int element, Bytes at, Bytes end
) noexcept nogil:
    """One number of an element type, as its own field or among packed ones."""
    cdef uint64_t bits
    if element == DOUBLE:
        if end - at < 8:
            return NULL
        push(walk, value, load64(at), NULL)
        return at + 8
    if element == FLOAT:
        if end - at < 4:
            return NULL
        push(walk, value, load32(at), NULL)
        return at + 4
    at = read_varint(at, end, &bits)
    if at != NULL:
        push(walk, value, bits, NULL)
    return at


cdef inline uint32_t wire_type_of(int element) noexcept nogil:
    if element == DOUBLE:
        return FIXED64
    if element == FLOAT:
        return FIXED32
    return LENGTH if element == STRING else VARINT


cdef inline Bytes long_array(Walk* walk, Value* value, int element, Bytes at, Bytes end) noexcept nogil:
    """A DoubleArray … StringArray; its values join those that are there."""
    cdef uint32_t tag, length
    cdef Bytes stop
    while at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            return NULL
        if tag == <uint32_t>(1 << 3 | LENGTH):
            at = read_length(at, end, &length)
            if at == NULL:
                return NULL
            stop = at + length
            if element == STRING:
                if not is_utf8(at, length):
                    return NULL
                push(walk, value, length, at)
                at = stop
            while at < stop:
                at = long_number_field(walk, value, element, at, stop)
                if at == NULL:
                    return NULL
        elif tag == (1 << 3 | wire_type_of(element)):
            at = long_number_field(walk, value, element, at, end)
        else:
            at = skip_field(at, end, tag, IN_ARRAY, walk.zero_in_groups)
        if at == NULL:
            return NULL
    return at


cdef inline Bytes long_value(Walk* walk, Value* value, Bytes at, Bytes end) noexcept nogil:
    """A DataType; it is merged into what is there."""
    cdef uint32_t tag, number, length
    cdef int element
    while at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            return NULL
        number = tag >> 3
        element = (<int>number - 1) % ELEMENTS
        if 1 <= number <= 5 and tag & 7 == wire_type_of(element):
            value.kind = number
            value.count = 0
            if element == STRING:
                at = read_length(at, end, &length)
                if at == NULL or not is_utf8(at, length):
                    return NULL
                push(walk, value, length, at)
                at += length
            else:
                at = long_number_field(walk, value, element, at, end)
        elif 6 <= number <= 10 and tag & 7 == LENGTH:
            at = read_length(at, end, &length)
            if at == NULL:
                return NULL
            if value.kind != <int>number:
                value.kind = number
                value.count = 0
            at = long_array(walk, value, element, at, at + length)
        else:
            at = skip_field(at, end, tag, IN_VALUE, walk.zero_in_groups)
        if at == NULL:
            return NULL
    return at


cdef inline bint long_entry(Walk* walk, Bytes at, Bytes end) noexcept nogil:
    """A map entry as protobuf allows it. False: it does not decode."""
    cdef Value value = Value(0, 0)
    cdef Bytes name = at
    cdef uint32_t tag, length, name_length = 0
    cdef bint counts = True
    cdef int index
    walk.strayed = True
    while at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            return False
        if tag == <uint32_t>(1 << 3 | LENGTH):
            at = read_length(at, end, &name_length)
            if at == NULL or not is_utf8(at, name_length):
                return False
            name = at
            at += name_length
        elif tag == <uint32_t>(2 << 3 | LENGTH):
            at = read_length(at, end, &length)
            if at == NULL or long_value(walk, &value, at, at + length) == NULL:
                return False
            at += length
        else:
            # upb puts an entry with something unknown in it among the row's unknown fields.
            counts = False
            at = skip_field(at, end, tag, IN_ENTRY, walk.zero_in_groups)
            if at == NULL:
                return False
    if counts and not walk.checking:
        index = look_up(walk.names, name, name_length, walk.seed)
        if index >= 0:
            put_value(walk, index, &value)
    return True
