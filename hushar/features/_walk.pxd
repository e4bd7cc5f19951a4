# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What a walk through messages has at hand, and how one value gets into the matrix."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from hushar.features._decimal cimport NO_NUMBER, READ, Verdict, is_midway, nearest_beside, read_decimal
from hushar.features._layout cimport Row, Span
from hushar.features._wire cimport Bytes, is_utf8, likely, load32, load64, rare
from hushar.features._words cimport Words, look_up

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* text, char** end, PyObject* overflow) except? -1.0

# Op-codes; kernel.py has the same numbers.
cdef enum:
    IDENTITY = 0
    LINEAR32 = 1
    LINEAR64 = 2
    ONE_HOT = 3
    EMBEDDING = 4
    COLLECT = 5  # a plugin's: the values become numpy columns

# Element types in the order of the fields of DataType: its fields 1 to 5 hold one, 6 to 10 several.
cdef enum:
    DOUBLE = 0
    FLOAT = 1
    INTEGER = 2
    LONG = 3
    STRING = 4
    ELEMENTS = 5

cdef enum:
    LONG_NUMBER = 512
    NO_ROUTE = 0xFFFFFFFF
    NOTED_ROWS = 64

cdef struct Feature:
    const uint8_t* name
    uint32_t length
    int op
    uint32_t accepts  # one bit an element type
    int collector  # -1: none
    Py_ssize_t units
    Py_ssize_t unit
    Py_ssize_t start
    float offset32
    float scale32
    double offset64
    double scale64
    Words words
    const float* vectors  # EMBEDDING: (words, unit)

cdef struct Item:
    # One value: the bits of a double, float or (sign-extended) integer, or the length of a string.
    uint64_t bits
    const uint8_t* text

cdef struct Cells:
    # Values for a plugin's feature, of one element type: reference._Cells.
    int64_t* rows
    Item* items
    Py_ssize_t count
    Py_ssize_t room

cdef struct Collector:
    Cells[5] cells
    Py_ssize_t units

cdef struct Walk:
    # What one walk uses; no two threads share one.
    const Feature* features
    int feature_count
    const Words* names
    uint64_t seed
    const float* row_default
    Py_ssize_t width
    bint zero_in_groups
    uint32_t* came_after  # which feature came after feature i in the row before; [feature_count]: first
    uint32_t* nothing  # in its place: after no feature comes any
    uint32_t* follows  # one of these two: which feature is expected
    uint32_t last
    float* row  # where the row goes
    int64_t row_number
    Bytes message  # that is walked
    Row* rows  # by row_number, where it lies in its message; NULL while all that is asked is what decodes
    Span id  # of this row
    bint has_field_3  # a row has one
    bint checking  # nothing is written
    uint8_t* bad  # by feature, in this row
    int bad_count
    # What is counted (counts.py). In this row: which features it has (those with its stamp, never 0), and how
    # many unknown strings each has. Of a part: missing, then unknown, by feature.
    bint noting  # which features a row has; else only whether it went the route
    bint strayed  # from the route, in this row
    uint32_t route_end
    int left  # complete rows until a route is looked for
    uint16_t* seen
    uint16_t stamp
    bint was_seen  # before the last feature was found
    uint32_t* unknown
    bint has_unknown
    int64_t* part_lacking
    bint part_lacks
    int64_t* lacking  # of all parts
    bint lacks
    int64_t* lacking_of  # of each part, where that is asked for; else NULL
    Item* items
    uint64_t item_limit
    Collector* collectors
    int collector_count
    bint no_memory
    PyObject* failure  # of long_number; owned


# ---- one value into its columns ----------------------------------------------------------------


cdef inline void long_number(
    Walk* walk, const uint8_t* text, Py_ssize_t length, float* number
) noexcept with gil:
    """A number that the short way of _decimal.pxd left open: by its float64, or if it is long in Python."""
    cdef char[LONG_NUMBER] copy
    cdef double wide
    try:
        if length < LONG_NUMBER:
            memcpy(copy, text, length)
            copy[length] = 0
            wide = PyOS_string_to_double(copy, NULL, NULL)
            number[0] = nearest_beside(text, length, wide) if is_midway(wide) else <float>wide
            return
        from hushar.features.numbers import nearest_number

        number[0] = nearest_number(text[:length].decode("ascii"))
    except BaseException as error:
        if walk.failure == NULL:
            Py_INCREF(error)
            walk.failure = <PyObject*>error


cdef inline float number_of(const Feature* feature, int element, uint64_t bits) noexcept nogil:
    """A number, transformed. The feature takes this element type."""
    cdef float narrow
    cdef double wide
    cdef uint32_t low = <uint32_t>bits
    if element == FLOAT:
        memcpy(&narrow, &low, 4)
        return (narrow - feature.offset32) / feature.scale32 if feature.op == LINEAR32 else narrow
    if element == INTEGER:
        narrow = <float><int32_t>low
        return (narrow - feature.offset32) / feature.scale32 if feature.op == LINEAR32 else narrow
    if element == LONG:
        if feature.op == IDENTITY:
            return <float><int64_t>bits
        wide = <double><int64_t>bits
    else:
        memcpy(&wide, &bits, 8)
        if feature.op == IDENTITY:
            return <float>wide
    return <float>((wide - feature.offset64) / feature.scale64)


cdef inline int put_word(
    Walk* walk, const Feature* feature, const uint8_t* text, Py_ssize_t length, Py_ssize_t unit
) noexcept nogil:
    """A string into the feature's unit of that number. 1: done; 0: it is no number; -1: it is no UTF-8."""
    cdef float* columns = walk.row + feature.start + unit * feature.unit
    cdef const float* source
    cdef int32_t position
    cdef Verdict verdict
    if feature.op == IDENTITY:
        verdict = read_decimal(text, length, columns)
        if verdict == READ:
            return 1
        if verdict == NO_NUMBER:
            return 0 if is_utf8(text, length) else -1
        long_number(walk, text, length, columns)
        return 1
    position = look_up(&feature.words, text, length, walk.seed)
    if position < 0:
        if not is_utf8(text, length):
            return -1
        walk.unknown[feature - walk.features] += 1
        walk.has_unknown = True
        source = walk.row_default + feature.start + unit * feature.unit
    elif feature.op == ONE_HOT:
        memset(columns, 0, feature.unit * sizeof(float))
        columns[position] = 1.0
        return 1
    else:
        source = feature.vectors + position * feature.unit
    memcpy(columns, source, feature.unit * sizeof(float))
    return 1


cdef inline void settle(Walk* walk, int feature, bint good) noexcept nogil:
    """What the feature's value in this row is now, whatever an entry before said."""
    if likely(good):
        if rare(walk.bad_count):
            walk.bad_count -= walk.bad[feature]
            walk.bad[feature] = 0
    else:
        walk.bad_count += 1 - walk.bad[feature]
        walk.bad[feature] = 1


cdef inline void begin_strings(Walk* walk, int feature) noexcept nogil:
    """Forget the strings that an entry before had for the feature in this row."""
    if rare(walk.has_unknown):
        walk.unknown[feature] = 0


cdef inline void put_absent(Walk* walk, int index) noexcept nogil:
    cdef const Feature* feature = &walk.features[index]
    memcpy(
        walk.row + feature.start, walk.row_default + feature.start,
        feature.units * feature.unit * sizeof(float),
    )
    settle(walk, index, True)
    begin_strings(walk, index)
    walk.seen[index] = 0
    walk.strayed = True


cdef inline void note(Walk* walk, bint noting) noexcept nogil:
    """From now on each feature of a row is noted, or none is.

    Where the next feature is expected rightly there is no look at this: so nothing is expected while noting.
    """
    walk.noting = noting
    walk.follows = walk.nothing if noting else walk.came_after


# ---- what a row lacks ----------------------------------------------------------------------------


# To note every feature of every row costs a kernel as fast as this some percent. So where rows are alike, as
# they are in most requests, only this is looked at: whether a row has all features in the order of the row
# before, the route, each as clients write it. Then nothing is missing. Where a row has not, it is walked once
# more, noting, and so are the next ones, until it is worth while to look for a route again.


cdef inline void begin_row(Walk* walk) noexcept nogil:
    walk.stamp += 1
    if rare(walk.stamp == 0):
        memset(walk.seen, 0, walk.feature_count * sizeof(uint16_t))
        walk.stamp = 1
    walk.strayed = False
    if rare(walk.has_unknown):
        memset(walk.unknown, 0, walk.feature_count * sizeof(uint32_t))
        walk.has_unknown = False


cdef inline bint went_the_route(Walk* walk) noexcept nogil:
    """Whether the row, while nothing was noted, has all features. If not it has to be walked again."""
    if likely(not walk.strayed and walk.last == walk.route_end):
        return True
    note(walk, True)
    walk.left = NOTED_ROWS
    return False


cdef inline void look_for_route(Walk* walk) noexcept nogil:
    """After a complete row: whether what follows what leads once through all features.

    A row that goes this way and stops at its end has all of them, however often it went round.
    """
    cdef uint32_t at = walk.feature_count
    cdef int index
    walk.left = NOTED_ROWS
    for index in range(walk.feature_count):
        at = walk.came_after[at]
        if walk.seen[at] != walk.stamp:
            return
        walk.seen[at] = 0
    walk.route_end = at
    note(walk, False)


cdef inline void count_row(Walk* walk) noexcept nogil:
    """Add what the row lacks to what its part does."""
    cdef int index
    cdef int64_t* lacking = walk.part_lacking
    cdef uint16_t absent = 0
    if walk.noting:
        for index in range(walk.feature_count):
            absent |= walk.seen[index] ^ walk.stamp
        if not absent:
            walk.left -= 1
            if walk.left <= 0 and walk.feature_count:
                look_for_route(walk)
    if likely(not absent and not walk.has_unknown):
        return
    walk.part_lacks = True
    if absent:
        for index in range(walk.feature_count):
            lacking[index] += walk.seen[index] != walk.stamp
    if walk.has_unknown:
        lacking += walk.feature_count
        for index in range(walk.feature_count):
            lacking[index] += walk.unknown[index]


cdef inline void close_part(Walk* walk, Py_ssize_t part, bint good) noexcept nogil:
    """Add what a part lacks, if it is good, to what all do."""
    cdef int index
    cdef int64_t* to = walk.lacking
    if likely(not walk.part_lacks):
        return
    if good:
        walk.lacks = True
        if walk.lacking_of != NULL:
            to = walk.lacking_of + part * 2 * walk.feature_count
        for index in range(2 * walk.feature_count):
            to[index] += walk.part_lacking[index]
    memset(walk.part_lacking, 0, 2 * walk.feature_count * sizeof(int64_t))
    walk.part_lacks = False


# ---- values for plugins ------------------------------------------------------------------------


cdef inline int grow(Cells* cells, Py_ssize_t units) noexcept nogil:
    cdef Py_ssize_t room = 2 * cells.room if cells.room else 16
    cdef void* rows = realloc(cells.rows, room * sizeof(int64_t))
    if rows == NULL:
        return -1
    cells.rows = <int64_t*>rows
    cdef void* items = realloc(cells.items, room * units * sizeof(Item))
    if items == NULL:
        return -1
    cells.items = <Item*>items
    cells.room = room
    return 0


cdef inline void collect(Walk* walk, Collector* collector, int element) noexcept nogil:
    """Take the walk's items as the cell of the row."""
    cdef Cells* cells = &collector.cells[element]
    if cells.count == cells.room and grow(cells, collector.units):
        walk.no_memory = True
        return
    cells.rows[cells.count] = walk.row_number
    memcpy(cells.items + cells.count * collector.units, walk.items, collector.units * sizeof(Item))
    cells.count += 1


cdef inline void uncollect(Collector* collector, int64_t row) noexcept nogil:
    """Drop the cells of this row and of those after it."""
    cdef int element
    for element in range(ELEMENTS):
        while collector.cells[element].count and \
                collector.cells[element].rows[collector.cells[element].count - 1] >= row:
            collector.cells[element].count -= 1


# ---- whole columns ---------------------------------------------------------------------------


cdef inline Py_ssize_t put_numbers(
    Walk* walk, const Feature* feature, float* matrix, Py_ssize_t rows, int element,
    const uint8_t* values, const uint8_t* present,
) noexcept nogil:
    """A column of numbers of an accepted type, `units` a row. Gives -1: none of them is bad."""
    cdef Py_ssize_t size = 8 if element == DOUBLE or element == LONG else 4
    cdef Py_ssize_t row, unit
    cdef float* columns
    cdef uint64_t bits
    for row in range(rows):
        if present == NULL or present[row]:
            columns = matrix + row * walk.width + feature.start
            for unit in range(feature.units):
                bits = load64(values + unit * 8) if size == 8 else load32(values + unit * 4)
                columns[unit] = number_of(feature, element, bits)
        values += feature.units * size
    return -1


cdef inline Py_ssize_t put_strings(
    Walk* walk, const Feature* feature, float* matrix, Py_ssize_t rows,
    const uint8_t* data, Py_ssize_t size, const int64_t* offsets, const uint8_t* present,
) noexcept nogil:
    """A column of strings, `units` a row. Gives the first (row · units + unit) that is no number, or -1."""
    cdef Py_ssize_t row, unit, bad = -1
    cdef int64_t start, stop
    for row in range(rows):
        if present == NULL or present[row]:
            walk.row = matrix + row * walk.width
            for unit in range(feature.units):
                start, stop = offsets[unit], offsets[unit + 1]
                if start < 0 or stop < start or stop > size:
                    return row * feature.units + unit
                if put_word(walk, feature, data + start, stop - start, unit) != 1 and bad < 0:
                    bad = row * feature.units + unit
        offsets += feature.units
    return bad
