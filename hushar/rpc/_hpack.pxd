# What `_calls.pyx` uses of it, and the fields that are laid out with that.

from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef struct State:
    Py_ssize_t changes
    Py_ssize_t entries
    Py_ssize_t oldest
    int64_t limit
    int64_t room


cdef class HeaderDecoder:
    cdef readonly Py_ssize_t changes
    cdef readonly list literals
    cdef readonly Py_ssize_t literal_bytes
    cdef uint64_t _marks
    """Bits of the last block's first 64 fields: whether they were literals."""
    cdef bint _listing
    """Whether `literals` is filled."""
    cdef int64_t _allowed, _limit, _room
    cdef list _table
    """The dynamic table, the newest entry last; those before `_oldest` have left it."""
    cdef Py_ssize_t _oldest
    cdef Py_ssize_t _dropped
    """So many of these are None already: what a block drops is kept until all of it is read."""
    # What is left of the block that is being read.
    cdef const uint8_t *_at
    cdef const uint8_t *_end

    cdef list fields_of(self, const uint8_t *block, Py_ssize_t size, bint listing)
    cdef tuple field_at(self, uint64_t index)
    cdef int64_t integer(self, unsigned int mask) except -1
    cdef bytes string(self)
    cdef int literal(self, unsigned int mask, list fields) except -1
    cdef int make_room(self, int64_t room) except -1
    cdef int drop(self) except -1
    cdef State state(self)
    cdef int restore(self, const State *state) except -1
    cdef int resize(self) except -1


cdef class RequestHead:
    cdef public object scheme, path, authority, fields, content_length, timeout, encoding, accept
    cdef public object http_status, refusal, route
    cdef public Py_ssize_t pseudo, size
    cdef public bint bodiless


cdef class Variations:
    cdef HeaderDecoder _decoder
    cdef object _find
    cdef Py_ssize_t _max_fields, _max_bytes
    cdef list _known
    cdef Py_ssize_t _like
    """Which of them the last block was like."""
    cdef Py_ssize_t _next
    """Which of them the next one takes the place of."""
    cdef list _without
    """Fields for which no head was found, the last time."""
    # A block whose reading changed nothing: it may come again.
    cdef bytes _block
    cdef Py_ssize_t _changes
    cdef RequestHead _head

    cdef RequestHead read_block(self, const uint8_t *block, Py_ssize_t size)
    cdef RequestHead varied(self, list fields, uint64_t marks, bint owned)
    cdef bint learn(self, list fields, list literals) except -1
