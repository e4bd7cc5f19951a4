# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rows and whole messages: the walk itself."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

from hushar.features._layout cimport Head, Row
from hushar.features._short_way cimport short_entry
from hushar.features._walk cimport Walk, begin_row, close_part, count_row, uncollect, went_the_route
from hushar.features._wire cimport (
    IN_REQUEST,
    IN_ROW,
    LENGTH,
    Bytes,
    is_utf8,
    likely,
    rare,
    read_length,
    read_tag,
    skip_field,
)

# What became of a part; kernel.py has the same numbers.
cdef enum:
    DONE = 0
    UNDECODABLE = 1
    BAD_VALUE = 2
    MISCOUNTED = 3
    FAILED_BEFORE = 4

cdef struct Part:
    const uint8_t* message
    Py_ssize_t size
    Py_ssize_t at  # where to go on reading, and where it ended
    Py_ssize_t rows
    bint whole
    int outcome
    Head head
    # A bad value: its feature, its row among the part's rows, and that row's bytes.
    int feature
    Py_ssize_t row
    Py_ssize_t row_start
    Py_ssize_t row_end


cdef inline bint walk_row(Walk* walk, Bytes at, Bytes end) noexcept nogil:
    """An InputRow. False: it does not decode."""
    cdef uint32_t tag, length
    walk.last = walk.feature_count
    walk.id.start = walk.id.size = 0
    while at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            return False
        if likely(tag == (2 << 3 | LENGTH)):
            at = read_length(at, end, &length)
            if rare(at == NULL or not short_entry(walk, at, at + length)):
                return False
            at += length
        elif tag == (1 << 3 | LENGTH):
            at = read_length(at, end, &length)
            if at == NULL or not is_utf8(at, length):
                return False
            walk.id.start, walk.id.size = at - walk.message, length
            at += length
        else:
            walk.has_field_3 = walk.has_field_3 or tag >> 3 == 3
            at = skip_field(at, end, tag, IN_ROW, walk.zero_in_groups)
            if at == NULL:
                return False
    return True


cdef inline void note_fault(Walk* walk, Part* part, Py_ssize_t row, Bytes start, Bytes end) noexcept nogil:
    """The first marked feature is what the part's error is about."""
    part.outcome = BAD_VALUE
    part.feature = 0
    while not walk.bad[part.feature]:
        part.feature += 1
    part.row = row
    part.row_start = start - part.message
    part.row_end = end - part.message
    memset(walk.bad, 0, walk.feature_count)
    walk.bad_count = 0


cdef inline void note_row(Walk* walk, Bytes at, Py_ssize_t size) noexcept nogil:
    """Where a row is that has been walked."""
    cdef Row* row = &walk.rows[walk.row_number]
    row.whole.start, row.whole.size = at - walk.message, size
    row.id = walk.id
    row.kept = size


cdef inline Py_ssize_t walk_part(Walk* walk, Part* part) noexcept nogil:
    """The next rows of a message. Gives how many of them were written; sets what became of the part.

    A whole message is read to its end; else reading stops before the row after the last one asked for.
    """
    cdef Bytes at = part.message + part.at
    cdef Bytes end = part.message + part.size
    cdef Bytes before
    cdef uint32_t tag, length
    cdef Py_ssize_t rows = 0
    part.outcome = DONE
    part.head.has_id = False
    walk.checking = False
    walk.message = part.message
    while at < end:
        before = at
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (2 << 3 | LENGTH):
            at = read_length(at, end, &length)
            if at == NULL:
                break
            if rows == part.rows and not walk.checking:
                if not part.whole:
                    part.at = part.head.end = before - part.message
                    return rows
                part.outcome = MISCOUNTED
                walk.checking = True
            if not walk.checking:
                memcpy(walk.row, walk.row_default, walk.width * sizeof(float))
                begin_row(walk)
            if not walk_row(walk, at, at + length):
                at = NULL
                break
            if rare(walk.bad_count):
                note_fault(walk, part, rows, at, at + length)
                walk.checking = True
            elif not walk.checking and not walk.noting and rare(not went_the_route(walk)):
                begin_row(walk)
                walk_row(walk, at, at + length)
            if not walk.checking:
                note_row(walk, at, length)
                count_row(walk)
                rows += 1
                walk.row += walk.width
                walk.row_number += 1
            at += length
        elif tag == (1 << 3 | LENGTH):
            at = read_length(at, end, &length)
            if at == NULL:
                break
            if not is_utf8(at, length):
                at = NULL
                break
            part.head.has_id = True
            part.head.id.start, part.head.id.size = at - part.message, length
            at += length
        else:
            at = skip_field(at, end, tag, IN_REQUEST, walk.zero_in_groups)
            if at == NULL:
                break
    if at == NULL:
        part.outcome = UNDECODABLE
        # Marks of the row that was being read.
        memset(walk.bad, 0, walk.feature_count)
        walk.bad_count = 0
    elif part.outcome == DONE and rows != part.rows:
        part.outcome = MISCOUNTED
    part.at = part.head.end = part.size
    return rows


cdef inline void walk_parts(Walk* walk, Part* parts, Py_ssize_t count, float* matrix) noexcept nogil:
    """Fill the matrix. The rows of a part that has an error are written over by the next part's, except
    where plugins' cells point at the rows of a bad value's part: there they stay (kernel.py)."""
    cdef Py_ssize_t index
    cdef int collector
    cdef int64_t row = 0
    for index in range(count):
        walk.row = matrix + row * walk.width
        walk.row_number = row
        if rare(parts[index].outcome == FAILED_BEFORE):
            continue
        walk_part(walk, &parts[index])
        close_part(walk, index, parts[index].outcome == DONE)
        if likely(parts[index].outcome == DONE):
            row += parts[index].rows
        elif parts[index].outcome == BAD_VALUE and walk.collector_count:
            row += parts[index].rows
        else:
            for collector in range(walk.collector_count):
                uncollect(&walk.collectors[collector], row)


cdef extern from *:
    """
    #if defined(__GNUC__)
    #define hushar_prefetch(place) __builtin_prefetch(place)
    #else
    #define hushar_prefetch(place) ((void)(place))
    #endif
    """
    void hushar_prefetch(const void* place) noexcept nogil


cdef enum:
    AHEAD = 8


cdef inline Py_ssize_t count_rows_of(const uint8_t* message, Py_ssize_t size) noexcept nogil:
    """counting.py in C. Of a large message each row's first bytes are a cache miss, and where the next row is
    stands in them; so the processor is told before where it is likely to be, since rows are much alike."""
    cdef Bytes at = message
    cdef Bytes end = message + size
    cdef Bytes before
    cdef uint32_t tag
    cdef Py_ssize_t rows = 0
    while at < end:
        before = at
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        at = skip_field(at, end, tag, IN_REQUEST, True)
        if at == NULL:
            break
        if (end - at) // AHEAD > at - before:
            hushar_prefetch(at + AHEAD * (at - before))
        rows += tag == (2 << 3 | LENGTH)
    return rows
