# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -ffp-contract=off
"""Serialized requests to the float32 matrix in one walk: the compiled twin of reference.py.

Theory of operation. A `Program` is a plan in C: an op-code, parameters and a place in the row for each
feature. `Program.vectorize` goes once through the bytes of each part. A row begins as a copy of the
defaults; each map entry is looked up (where the feature that followed the last one in the row before
is the first guess, a hash table the second) and its value is transformed straight into the feature's
columns. Nothing is built in between, and no Python object is touched, so the GIL is free.

Two ways lead through a map entry. `short_entry` takes those that every client writes: a key, a value,
and in it one field, each once and in this order. Where it meets anything else it gives up and the entry
is read again by `long_entry`, which knows all that protobuf allows: fields in any order, repeated and
merged, arrays in several pieces, unknown fields. A feature's columns are always written as a whole, so
what was written before is replaced.

What decodes is decided by `_wire.pxd`. A bad value is only marked, since a later entry may replace it;
at the end of its row the first marked feature is the part's fault, and the rest of the message is read
without writing, because a message that does not decode has another error. Python puts faults into words.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from hushar.features._layout cimport Head, Row
from hushar.features._message cimport (
    BAD_VALUE,
    DONE,
    FAILED_BEFORE,
    MISCOUNTED,
    UNDECODABLE,
    Part,
    count_rows_of,
    walk_part,
    walk_parts,
)
from hushar.features._walk cimport (
    COLLECT,
    DOUBLE,
    ELEMENTS,
    EMBEDDING,
    FLOAT,
    IDENTITY,
    LINEAR32,
    LINEAR64,
    LONG,
    NO_ROUTE,
    ONE_HOT,
    STRING,
    Cells,
    Collector,
    Feature,
    Item,
    Walk,
    begin_row,
    note,
    put_numbers,
    put_strings,
)
from hushar.features._wire cimport is_utf8
from hushar.features._words cimport Words, make_words

import numpy

# Looked up once: every batch makes a matrix, also that of one row.
cdef object new_matrix = numpy.empty
cdef object FLOAT32 = numpy.dtype(numpy.float32)

cdef enum:
    # Below this the walk is over before another thread would have been woken.
    BYTES_WITH_GIL = 8192


cdef class Scratch:
    """The memory of one walk."""

    cdef Walk walk

    def __cinit__(self, Program program):
        cdef Walk* walk = &self.walk
        cdef int index
        memset(walk, 0, sizeof(Walk))
        walk.features = program.features
        walk.feature_count = program.feature_count
        walk.names = &program.names
        walk.seed = program.seed
        walk.row_default = program.row_default
        walk.width = program.width
        walk.zero_in_groups = program.zero_in_groups
        walk.item_limit = program.item_limit
        walk.collector_count = program.collector_count
        walk.came_after = <uint32_t*>malloc((walk.feature_count + 1) * sizeof(uint32_t))
        walk.nothing = <uint32_t*>malloc((walk.feature_count + 1) * sizeof(uint32_t))
        walk.bad = <uint8_t*>calloc(walk.feature_count + 1, 1)
        walk.seen = <uint16_t*>calloc(walk.feature_count + 1, sizeof(uint16_t))
        walk.unknown = <uint32_t*>calloc(walk.feature_count + 1, sizeof(uint32_t))
        walk.part_lacking = <int64_t*>calloc(2 * walk.feature_count + 1, sizeof(int64_t))
        walk.lacking = <int64_t*>calloc(2 * walk.feature_count + 1, sizeof(int64_t))
        walk.items = <Item*>calloc(walk.item_limit + 1, sizeof(Item))
        walk.collectors = <Collector*>calloc(walk.collector_count + 1, sizeof(Collector))
        if walk.came_after == NULL or walk.nothing == NULL or walk.bad == NULL or walk.items == NULL:
            raise MemoryError
        if walk.collectors == NULL or walk.seen == NULL or walk.unknown == NULL:
            raise MemoryError
        if walk.part_lacking == NULL or walk.lacking == NULL:
            raise MemoryError
        for index in range(walk.feature_count):
            # A last one is followed by itself: a guess may be wrong, but not out of range.
            walk.came_after[index] = min(index + 1, walk.feature_count - 1)
            walk.nothing[index] = walk.feature_count
            if walk.features[index].collector >= 0:
                walk.collectors[walk.features[index].collector].units = walk.features[index].units
        walk.came_after[walk.feature_count] = 0
        walk.nothing[walk.feature_count] = walk.feature_count
        walk.route_end = NO_ROUTE
        note(walk, True)

    def __dealloc__(self):
        self.forget()
        free(self.walk.came_after)
        free(self.walk.nothing)
        free(self.walk.bad)
        free(self.walk.seen)
        free(self.walk.unknown)
        free(self.walk.part_lacking)
        free(self.walk.lacking)
        free(self.walk.items)
        free(self.walk.collectors)

    cdef void forget(self) noexcept:
        """Free what the last call left."""
        cdef int collector, element
        cdef Cells* cells
        if self.walk.collectors != NULL:
            for collector in range(self.walk.collector_count):
                for element in range(ELEMENTS):
                    cells = &self.walk.collectors[collector].cells[element]
                    free(cells.rows)
                    free(cells.items)
                    memset(cells, 0, sizeof(Cells))
        Py_XDECREF(self.walk.failure)
        self.walk.failure = NULL
        self.walk.no_memory = False
        self.walk.lacking_of = NULL
        self.walk.rows = NULL
        self.walk.has_field_3 = False
        if self.walk.lacks:
            memset(self.walk.lacking, 0, 2 * self.walk.feature_count * sizeof(int64_t))
            self.walk.lacks = False

    cdef int complain(self) except -1:
        """Raise what stopped the walk."""
        if self.walk.failure != NULL:
            raise <object>self.walk.failure
        if self.walk.no_memory:
            raise MemoryError
        return 0

    cdef list collected(self):
        """What was collected for plugins: `(collector, element, rows, values)` of each that has cells.

        `rows` is int64 `(cells,)`, `values` as numpy has the element type, `(cells · units,)`.
        """
        cdef int collector, element
        cdef Cells* cells
        found = []
        for collector in range(self.walk.collector_count):
            for element in range(ELEMENTS):
                cells = &self.walk.collectors[collector].cells[element]
                if cells.count:
                    rows = numpy.frombuffer((<char*>cells.rows)[: cells.count * sizeof(int64_t)], numpy.int64)
                    values = values_of(cells, self.walk.collectors[collector].units, element)
                    found.append((collector, element, rows, values))
        return found


cdef object values_of(Cells* cells, Py_ssize_t units, int element):
    cdef Py_ssize_t count = cells.count * units, at
    cdef Item* item
    if element == STRING:
        values = numpy.empty(count, object)
        for at in range(count):
            item = &cells.items[at]
            values[at] = PyUnicode_DecodeUTF8(<const char*>item.text, <Py_ssize_t>item.bits, NULL)
        return values
    words = numpy.frombuffer((<char*>cells.items)[: count * sizeof(Item)], numpy.uint64)[::2]
    if element == DOUBLE:
        return words.copy().view(numpy.float64)
    if element == LONG:
        return words.copy().view(numpy.int64)
    low = words.astype(numpy.uint32)
    return low.view(numpy.float32 if element == FLOAT else numpy.int32)


cdef class Program:
    """A plan as the kernel runs it. Immutable but for where names are expected; any thread may use it.

    `features` are tuples as kernel.py makes them; `row_default` is float32 of the plan's width.
    """

    cdef Feature* features
    cdef int feature_count
    cdef Words names
    cdef uint64_t seed
    cdef const float* row_default
    cdef Py_ssize_t width
    cdef bint zero_in_groups
    cdef uint64_t item_limit
    cdef int collector_count
    cdef int64_t* counts  # missing, unknown, unparsable: each by feature; only with the GIL
    cdef list kept
    cdef list scratches

    def __init__(self, list features, const float[::1] row_default, uint64_t seed, bint zero_in_groups):
        cdef int index
        cdef Py_ssize_t columns = 0
        if self.features != NULL:
            raise RuntimeError("a Program is made once")
        self.kept = [features, row_default]
        self.scratches = []
        self.seed = seed
        self.zero_in_groups = zero_in_groups
        self.width = len(row_default)
        self.row_default = &row_default[0] if self.width else NULL
        # One more, whose name nothing equals, so that there is always one to guess.
        self.features = <Feature*>calloc(len(features) + 1, sizeof(Feature))
        if self.features == NULL:
            raise MemoryError
        self.features[len(features)].length = 0xFFFFFFFF
        self.feature_count = len(features)
        self.counts = <int64_t*>calloc(3 * len(features) + 1, sizeof(int64_t))
        if self.counts == NULL:
            raise MemoryError
        for index in range(self.feature_count):
            self._plan(&self.features[index], features[index])
            if self.features[index].start != columns:
                raise ValueError("features must lie side by side")
            columns += self.features[index].units * self.features[index].unit
        if columns != self.width:
            raise ValueError("the features must fill the row")
        make_words(&self.names, [feature[0] for feature in features], seed)

    cdef int _plan(self, Feature* feature, tuple given) except -1:
        cdef const float[:, ::1] vectors
        cdef bytes name
        given_name, feature.op, feature.accepts, feature.start = given[:4]
        feature.units, feature.unit, parameters = given[4:]
        if feature.op < IDENTITY or feature.op > COLLECT or feature.units < 1 or feature.unit < 1:
            raise ValueError("no such operation")
        feature.collector = -1
        feature.length = 0xFFFFFFFF
        if given_name is not None:
            name = given_name
            feature.name = <const uint8_t*>PyBytes_AS_STRING(name)
            feature.length = len(name)
        self.item_limit = max(self.item_limit, <uint64_t>feature.units)
        if feature.op == COLLECT:
            feature.collector = self.collector_count
            self.collector_count += 1
        elif feature.op == LINEAR32:
            feature.offset32, feature.scale32 = parameters
        elif feature.op == LINEAR64:
            feature.offset64, feature.scale64 = parameters
        elif feature.op == ONE_HOT:
            if len(parameters) != feature.unit:
                raise ValueError("a one-hot unit is as wide as there are words")
            make_words(&feature.words, parameters, self.seed)
        elif feature.op == EMBEDDING:
            words, table = parameters
            vectors = table
            if vectors.shape[0] < len(words) or vectors.shape[1] != feature.unit:
                raise ValueError("a word has no vector of its own")
            self.kept.append(vectors)
            feature.vectors = &vectors[0, 0]
            make_words(&feature.words, words, self.seed)
        return 0

    def __dealloc__(self):
        cdef int index
        if self.features != NULL:
            for index in range(self.feature_count):
                free(self.features[index].words.slots)
        free(self.features)
        free(self.names.slots)
        free(self.counts)

    cdef Scratch _take(self):
        """Memory that no other walk uses now."""
        try:
            return self.scratches.pop()
        except IndexError:
            return Scratch(self)

    cdef _give(self, Scratch scratch):
        scratch.forget()
        self.scratches.append(scratch)

    def decodes(self, bytes message not None):
        """Whether all of a message decodes."""
        cdef Scratch scratch = self._take()
        cdef Walk* walk = &scratch.walk
        cdef Part part
        memset(&part, 0, sizeof(Part))
        part.message = <const uint8_t*>PyBytes_AS_STRING(message)
        part.size = PyBytes_GET_SIZE(message)
        part.whole = True
        if part.size > BYTES_WITH_GIL:
            with nogil:
                walk_part(walk, &part)
        else:
            walk_part(walk, &part)
        self._give(scratch)
        return part.outcome != UNDECODABLE

    def add(self, const int64_t[:, ::1] lacking):
        """See counts.Tally."""
        cdef Py_ssize_t index
        if lacking.shape[0] != 2 or lacking.shape[1] != self.feature_count:
            raise ValueError("missing and unknown, by feature")
        for index in range(self.feature_count):
            self.counts[index] += lacking[0, index]
            self.counts[self.feature_count + index] += lacking[1, index]

    def add_unparsable(self, Py_ssize_t position):
        """See counts.Tally."""
        if position < 0 or position >= self.feature_count:
            raise ValueError("no such feature")
        self.counts[2 * self.feature_count + position] += 1

    def table(self):
        """What has been counted: int64 `(3, features)`."""
        counts = (<char*>self.counts)[: 3 * self.feature_count * sizeof(int64_t)]
        return numpy.frombuffer(counts, numpy.int64).reshape(3, self.feature_count)

    def vectorize(self, parts, rows, bint counted):
        """Walk parts that are bytes, or Readings of kernel.py; the next `rows[i]` rows of part i.

        Gives the matrix, what went wrong `[(index, outcome, feature, row of the call, its bytes)]`,
        the cells of plugins' features (Scratch.collected), what is to be counted, and where all is (`_layout.pxd`:
        the rows, the heads of the parts; None where something went wrong or a row has a field 3). The matrix has the rows
        of the parts where nothing went wrong, and where there are plugins' features also those of the parts
        with a bad value. What the rows lack is counted here if that is wanted; but where there are plugins'
        features, and a row lacks any, it is given, int64 `(parts, 2, features)`: a plugin may refuse some.
        """
        # Lists of our own: nobody else changes them while the GIL is free.
        cdef list held = list(parts)
        cdef Py_ssize_t count = len(held), size = 0, total = 0
        cdef Scratch scratch
        cdef Walk* walk
        cdef Py_buffer matrix
        cdef list faults = []
        cdef bytes places
        lacking = None
        if len(rows) != count:
            raise ValueError("as many numbers of rows as parts")
        cdef Part* table = <Part*>calloc(count + 1, sizeof(Part))
        if table == NULL:
            raise MemoryError
        try:
            messages = self._open(held, list(rows), table, &size, &total)
            made = new_matrix((total, self.width), FLOAT32)
            places = PyBytes_FromStringAndSize(NULL, total * sizeof(Row))
            # Cheaper than a typed memoryview; an array made like this is C-contiguous.
            PyObject_GetBuffer(made, &matrix, PyBUF_WRITABLE)
            try:
                scratch = self._take()
                walk = &scratch.walk
                walk.rows = <Row*>PyBytes_AS_STRING(places)
                if self.collector_count:
                    lacking = self._lacking_of(walk, count)
                if size > BYTES_WITH_GIL:
                    with nogil:
                        walk_parts(walk, table, count, <float*>matrix.buf)
                else:
                    walk_parts(walk, table, count, <float*>matrix.buf)
            finally:
                PyBuffer_Release(&matrix)
            scratch.complain()
            cells = scratch.collected() if self.collector_count else ()
            used = self._close(held, table, faults)
            if not walk.lacks or not counted:
                lacking = None
            elif lacking is None:
                self._count(walk)
            layout = None if faults or walk.has_field_3 else (places, heads_of(table, count))
            self._give(scratch)
            return (made if used == total else made[:used]), faults, cells, lacking, layout
        finally:
            free(table)

    def fill_column(
        self, int position, float[:, ::1] matrix, int element, const uint8_t[::1] values,
        const int64_t[::1] offsets, const uint8_t[::1] present,
    ):
        """Write the values of a feature, of an accepted element type, into the rows that have them.

        `values` are the bytes of `(rows, units)` numbers, or of all strings; for these `offsets` is int64
        `(rows · units + 1,)`, else None. `present` is `(rows,)`, or None: all have them. Gives the first
        value that is no number, counted row after row, or -1; and how many strings are unknown.
        """
        cdef Py_ssize_t rows = matrix.shape[0], bad, size
        cdef const Feature* feature
        cdef const uint8_t* data
        cdef const uint8_t* there = NULL
        cdef float* first
        if position < 0 or position >= self.feature_count or matrix.shape[1] != self.width:
            raise ValueError("no such feature, or not its matrix")
        feature = &self.features[position]
        if feature.op == COLLECT or element < 0 or element >= ELEMENTS or not feature.accepts >> element & 1:
            raise ValueError("the feature does not take these values")
        if present is not None:
            if present.shape[0] != rows:
                raise ValueError("presence of other than the matrix's rows")
            there = &present[0] if rows else NULL
        if element == STRING:
            if offsets is None or offsets.shape[0] != rows * feature.units + 1:
                raise ValueError("offsets of other than the matrix's rows")
        elif values.shape[0] != rows * feature.units * (8 if element == DOUBLE or element == LONG else 4):
            raise ValueError("values of other than the matrix's rows")
        if not rows or not self.width:
            return -1, 0
        first = &matrix[0, 0]
        size = values.shape[0]
        data = &values[0] if size else <const uint8_t*>&first
        cdef Scratch scratch = self._take()
        cdef Walk* walk = &scratch.walk
        begin_row(walk)
        with nogil:
            if element == STRING:
                bad = put_strings(walk, feature, first, rows, data, size, &offsets[0], there)
            else:
                bad = put_numbers(walk, feature, first, rows, element, data, there)
        scratch.complain()
        unknown = walk.unknown[position]
        self._give(scratch)
        return bad, unknown

    cdef object _lacking_of(self, Walk* walk, Py_ssize_t count):
        """Where the walk is to put what each part lacks."""
        lacking = numpy.zeros((count, 2, self.feature_count), numpy.int64)
        cdef int64_t[:, :, ::1] view = lacking
        if count:
            walk.lacking_of = &view[0, 0, 0]
        return lacking

    cdef void _count(self, const Walk* walk) noexcept:
        cdef Py_ssize_t index
        for index in range(2 * self.feature_count):
            self.counts[index] += walk.lacking[index]

    cdef list _open(self, list parts, list rows, Part* table, Py_ssize_t* size, Py_ssize_t* total):
        """Where each part is read. Gives the messages, to be kept alive while they are read."""
        cdef Py_ssize_t index
        cdef bytes message
        cdef list messages = []
        for index in range(len(parts)):
            part = parts[index]
            table[index].rows = rows[index]
            if table[index].rows < 0:
                raise ValueError("a negative number of rows")
            if isinstance(part, bytes):
                message = part
                table[index].whole = True
            elif part.error is not None:
                message = b""
                table[index].rows = 0
                table[index].outcome = FAILED_BEFORE
            else:
                message = part.message
                if message is None:
                    raise TypeError("a Reading of no bytes")
                table[index].at = part.at
                if table[index].at < 0 or table[index].at > len(message):
                    raise ValueError("reading goes on inside of the message")
                messages.append(message)
            table[index].message = <const uint8_t*>PyBytes_AS_STRING(message)
            table[index].size = PyBytes_GET_SIZE(message)
            # More rows than bytes are a mistake that the walk will find; the sum must not overflow of it.
            table[index].rows = min(table[index].rows, table[index].size + 1)
            size[0] += table[index].size - table[index].at
            total[0] += table[index].rows
        return messages

    cdef Py_ssize_t _close(self, list parts, Part* table, list faults) except -1:
        """Note how far Readings were read, and the faults. Gives how many rows of the matrix are used."""
        cdef Py_ssize_t index, used = 0, first
        cdef Part* part
        for index in range(len(parts)):
            part = &table[index]
            first = 0
            if part.outcome == FAILED_BEFORE:
                faults.append((index, part.outcome, 0, 0, b""))
                continue
            if not part.whole:
                first = parts[index].row
                parts[index].at = part.at
                parts[index].row = first + part.rows
            if part.outcome == MISCOUNTED:
                raise ValueError(f"part {index} has other than {part.rows} rows")
            if part.outcome == DONE or (part.outcome == BAD_VALUE and self.collector_count):
                used += part.rows
            if part.outcome == BAD_VALUE:
                row = (<const char*>part.message)[part.row_start : part.row_end]
                faults.append((index, part.outcome, part.feature, first + part.row, row))
            elif part.outcome == UNDECODABLE:
                faults.append((index, part.outcome, 0, 0, b""))
        return used


cdef bytes heads_of(const Part* table, Py_ssize_t count):
    """The parts' heads behind one another."""
    cdef Py_ssize_t index
    cdef bytes heads = PyBytes_FromStringAndSize(NULL, count * sizeof(Head))
    for index in range(count):
        memcpy(PyBytes_AS_STRING(heads) + index * sizeof(Head), &table[index].head, sizeof(Head))
    return heads


def count_rows(messages):
    """See counting.py."""
    cdef bytes message
    cdef list counts = []
    for message in messages:
        if message is None:
            raise TypeError("expected bytes")
        counts.append(count_rows_of(<const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message)))
    return counts


def strings_are_utf8(bytes data not None, const int64_t[::1] offsets):
    """Whether each string `data[offsets[i]:offsets[i + 1]]` is UTF-8.

    Raises ValueError: an offset is not inside of the data, or below the one before.
    """
    cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), index
    cdef int64_t start, stop
    cdef bint inside = True, good = True
    with nogil:
        for index in range(offsets.shape[0] - 1):
            start, stop = offsets[index], offsets[index + 1]
            if start < 0 or stop < start or stop > size:
                inside = False
                break
            if not is_utf8(text + start, stop - start):
                good = False
                break
    if not inside:
        raise ValueError("offsets must be ascending and inside of the data")
    return good
