# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of `privacy.Readable`: the same bytes.

Theory of operation. A message is walked once, and where something is not to be logged as it is that is
noted: which rows change their length, and in them which bytes go and what comes in their place. Then the new
message is made of its final size, and filled. Where nothing is noted the message itself is given back.

What becomes of a name is asked in Python once; a table has the answers after that. The name that came after
the last one the time before is the first guess, a hash the second. A name has few places in the table, so
what clients send costs no more than asking again. The GIL is held, but between rows of a large message
others get their turn.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from hushar.features._wire cimport LENGTH
from hushar.features._words cimport hash_of, same
from hushar.inference._fields cimport (
    FIELD_1,
    FIELD_2,
    Span,
    field_at,
    put_bytes,
    put_head,
    varint_size,
)

import os

cdef enum:
    # The numbers of privacy.py.
    KEEP = 0
    EXCLUDE = 1
    PLACES = 2048
    NEAR = 8  # places in which a name may be
    LONGEST = 128  # bytes of a name in the table
    BYTES_A_TURN = 65536

ctypedef struct Known:
    PyObject* name  # owned; NULL: an empty place
    const uint8_t* text
    uint32_t length
    uint16_t follows  # the place of the name that came after this one the last time
    int16_t verdict

ctypedef struct Edit:
    Py_ssize_t start  # in the message
    Py_ssize_t stop
    Py_ssize_t replacement  # which one; -1: none

ctypedef struct Row:
    Py_ssize_t start  # its tag
    Span content
    Py_ssize_t size  # of its content afterwards
    Py_ssize_t edits  # how many are its own


cdef class Edits:
    """What is noted of one message."""

    cdef Edit* edits
    cdef Py_ssize_t count
    cdef Py_ssize_t room
    cdef Row* rows
    cdef Py_ssize_t row_count
    cdef Py_ssize_t row_room
    cdef list replacements

    def __cinit__(self):
        self.replacements = []

    def __dealloc__(self):
        PyMem_Free(self.edits)
        PyMem_Free(self.rows)

    cdef int edit(self, Py_ssize_t start, Py_ssize_t stop, bytes replacement) except -1:
        """Bytes that go; `replacement` may be None."""
        if self.count == self.room:
            self.room = 2 * self.room + 16
            made = PyMem_Realloc(self.edits, self.room * sizeof(Edit))
            if made == NULL:
                raise MemoryError
            self.edits = <Edit*> made
        self.edits[self.count] = Edit(start, stop, -1)
        if replacement is not None:
            self.edits[self.count].replacement = len(self.replacements)
            self.replacements.append(replacement)
        self.count += 1
        return 0

    cdef int row(self, Py_ssize_t start, Span content, Py_ssize_t first) except -1:
        """The row in which all edits from the `first` on are, if there are any."""
        cdef Py_ssize_t index, size = content.size
        cdef Edit* edit
        if first == self.count:
            return 0
        if self.row_count == self.row_room:
            self.row_room = 2 * self.row_room + 4
            made = PyMem_Realloc(self.rows, self.row_room * sizeof(Row))
            if made == NULL:
                raise MemoryError
            self.rows = <Row*> made
        for index in range(first, self.count):
            edit = &self.edits[index]
            size -= edit.stop - edit.start
            if edit.replacement >= 0:
                size += PyBytes_GET_SIZE(self.replacements[edit.replacement])
        self.rows[self.row_count] = Row(start, content, size, self.count - first)
        self.row_count += 1
        return 0

    cdef bytes applied(self, bytes message, uint8_t tag):
        """The message as it is to be; `tag` is that of its rows."""
        cdef const uint8_t* data = <const uint8_t*> PyBytes_AS_STRING(message)
        cdef Py_ssize_t total = PyBytes_GET_SIZE(message), copied = 0, index, left
        cdef const Edit* edit = self.edits
        cdef const Row* row
        cdef uint8_t* to
        cdef bytes made, replacement
        for index in range(self.row_count):
            row = &self.rows[index]
            total += 1 + varint_size(row.size) + row.size - (row.content.start + row.content.size - row.start)
        made = PyBytes_FromStringAndSize(NULL, total)
        to = <uint8_t*> PyBytes_AS_STRING(made)
        for index in range(self.row_count):
            row = &self.rows[index]
            to = put_bytes(to, data + copied, row.start - copied)
            to = put_head(to, tag, row.size)
            copied = row.content.start
            for left in range(row.edits):
                to = put_bytes(to, data + copied, edit.start - copied)
                if edit.replacement >= 0:
                    replacement = self.replacements[edit.replacement]
                    to = put_bytes(
                        to, <const uint8_t*> PyBytes_AS_STRING(replacement), PyBytes_GET_SIZE(replacement)
                    )
                copied = edit.stop
                edit += 1
            to = put_bytes(to, data + copied, row.content.start + row.content.size - copied)
            copied = row.content.start + row.content.size
        put_bytes(to, data + copied, PyBytes_GET_SIZE(message) - copied)
        return made


cdef class Compiled:
    """See `privacy.Readable`."""

    cdef object ask
    cdef object hashed
    cdef uint64_t seed
    cdef Known[PLACES] known
    cdef uint16_t last  # the place of the name that came last
    cdef uint32_t evicted

    def __cinit__(self):
        memset(self.known, 0, sizeof(self.known))

    def __init__(self, verdict, hashed):
        self.ask = verdict
        self.hashed = hashed
        self.seed = int.from_bytes(os.urandom(8))

    def __dealloc__(self):
        cdef int place
        for place in range(PLACES):
            Py_XDECREF(self.known[place].name)

    def redacted(self, bytes message not None, int field, /):
        """See `privacy.Walk`."""
        cdef const uint8_t* data = <const uint8_t*> PyBytes_AS_STRING(message)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(message), at = 0, turn = BYTES_A_TURN, start
        cdef uint64_t tag = 0, of_rows = field << 3 | LENGTH
        cdef Span value
        cdef Edits edits = Edits.__new__(Edits)
        if field < 1 or field > 15:
            raise ValueError("no field with a tag of one byte")
        while at < size:
            start = at
            at = field_at(data, at, size, &tag, &value)
            if at < 0:
                raise cut_short()
            if tag == of_rows:
                self.look_at(data, start, value, edits)
                if at > turn:
                    turn = at + BYTES_A_TURN
                    with nogil:
                        pass
        return edits.applied(message, <uint8_t> of_rows) if edits.row_count else message

    cdef int look_at(self, const uint8_t* data, Py_ssize_t start, Span row, Edits edits) except -1:
        """Note what is to be done in a row, whose tag is at `start`."""
        cdef Py_ssize_t at = row.start, end = at + row.size, first = edits.count, before
        cdef uint64_t tag = 0
        cdef Span entry
        while at < end:
            before = at
            at = field_at(data, at, end, &tag, &entry)
            if at < 0:
                raise cut_short()
            if tag == FIELD_2:
                self.look_at_entry(data, before, entry, edits)
        return edits.row(start, row, first)

    cdef int look_at_entry(self, const uint8_t* data, Py_ssize_t start, Span entry, Edits edits) except -1:
        """Note what is to be done with a map entry, whose tag is at `start`."""
        cdef Py_ssize_t at = entry.start, end = at + entry.size
        cdef uint64_t tag = 0
        cdef Span name = Span(at, 0), value = Span(at, 0)
        cdef bint whole = True
        cdef int verdict
        cdef list values
        cdef bytes content
        if is_usual(data, entry, &name, &value):
            verdict = self.verdict_of(data + name.start, name.size)
            if verdict == KEEP:
                return 0
            content = data[value.start : value.start + value.size]
        else:
            values = []
            while at < end:
                at = field_at(data, at, end, &tag, &value)
                if at < 0:
                    raise cut_short()
                if tag == FIELD_1:
                    name = value
                elif tag == FIELD_2:
                    values.append(data[value.start : value.start + value.size])
                else:
                    whole = False
            verdict = self.verdict_of(data + name.start, name.size)
            if verdict == KEEP:
                return 0
            content = b"".join(values)
        if verdict == EXCLUDE or not whole:
            return edits.edit(start, end, None)
        return edits.edit(start, end, entry_of(data, name, self.hashed(content)))

    cdef int verdict_of(self, const uint8_t* text, Py_ssize_t length) except -1:
        cdef uint16_t place = self.known[self.last].follows
        if not is_known(&self.known[place], text, length):
            if length > LONGEST:
                return self.ask(text[:length])
            place = self.place_of(text, length)
            self.known[self.last].follows = place
        self.last = place
        return self.known[place].verdict

    cdef int place_of(self, const uint8_t* text, Py_ssize_t length) except -1:
        """Where the name is; there it may have come just now."""
        cdef uint64_t first = hash_of(text, length, self.seed), free = first + self.evicted % NEAR
        cdef int way, verdict
        cdef Known* known
        cdef bytes name
        for way in range(NEAR):
            known = &self.known[(first + way) & (PLACES - 1)]
            if is_known(known, text, length):
                return (first + way) & (PLACES - 1)
            if known.name == NULL:
                free = first + way
                break
        else:
            self.evicted += 1
        name = text[:length]
        verdict = self.ask(name)
        # Looked up anew: another thread may have had its turn.
        known = &self.known[free & (PLACES - 1)]
        forgotten = known.name
        Py_INCREF(name)
        known.name, known.text = <PyObject*> name, <const uint8_t*> PyBytes_AS_STRING(name)
        known.length, known.verdict = <uint32_t> length, verdict
        Py_XDECREF(forgotten)
        return free & (PLACES - 1)


cdef inline bint is_known(const Known* known, const uint8_t* text, Py_ssize_t length) noexcept:
    return known.name != NULL and known.length == <uint64_t> length and same(known.text, text, length)


cdef inline bint is_usual(const uint8_t* data, Span entry, Span* name, Span* value) noexcept:
    """Whether an entry is a short key and a value, each once and in this order, as every client writes it."""
    cdef Py_ssize_t at = entry.start, end = at + entry.size
    cdef uint64_t tag = 0
    if end - at < 2 or data[at] != FIELD_1 or data[at + 1] >= 0x80:
        return False
    name.start, name.size = at + 2, data[at + 1]
    at = name.start + name.size
    if at >= end or data[at] != FIELD_2 or field_at(data, at, end, &tag, value) != end:
        # The long way begins anew.
        name.start, name.size = entry.start, 0
        return False
    return True


cdef bytes entry_of(const uint8_t* data, Span name, bytes value):
    """A map entry with its tag."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value), inner, total
    cdef bytes made
    cdef uint8_t* to
    inner = 1 + varint_size(name.size) + name.size + 1 + varint_size(size) + size
    total = 1 + varint_size(inner) + inner
    made = PyBytes_FromStringAndSize(NULL, total)
    to = put_head(<uint8_t*> PyBytes_AS_STRING(made), FIELD_2, inner)
    to = put_bytes(put_head(to, FIELD_1, name.size), data + name.start, name.size)
    put_bytes(put_head(to, FIELD_2, size), <const uint8_t*> PyBytes_AS_STRING(value), size)
    return made


cdef cut_short():
    return ValueError("a message that was decoded is cut short")
