# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of `hushar.drafts.Draft`: what is done for each batch is one call."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Realloc

from hushar.records import Records


cdef class Draft:
    """See `hushar.drafts.Draft`."""

    def __init__(self, memory, Py_ssize_t begin=0, Py_ssize_t full_at=0):
        if self.memory is not None:
            raise TypeError("a draft is made once")
        cdef Py_buffer view
        # A view of its own, which nobody else can let go of: so its bytes stay where they are.
        own = memoryview(memory)
        if own.format != "B" or own.strides != (1,):
            raise ValueError("a draft is of contiguous bytes")
        if begin < 0 or begin > own.nbytes:
            raise ValueError(f"a draft does not begin at {begin} of {own.nbytes} bytes")
        self.own, self.memory = own, memoryview(own)
        PyObject_GetBuffer(own, &view, PyBUF_SIMPLE)
        self.data, self.length, self.writable = <char*> view.buf, view.len, not view.readonly
        PyBuffer_Release(&view)
        self.begin = self.at = self.told_at = begin
        self.full_at = full_at

    def __dealloc__(self):
        PyMem_Free(self.ends)
        PyMem_Free(self.counts)

    def __bytes__(self):
        return bytes(self.memory[self.at : self.at + self.size])

    @property
    def batches(self):
        """See `hushar.drafts.Draft`."""
        return self.many

    def take(self, Py_ssize_t records, /):
        """See `hushar.drafts.Draft`."""
        if self.at >= self.full_at or self.size > self.limit - self.at:
            return False
        self.book(records, self.size)
        return True

    cpdef book(self, Py_ssize_t records, Py_ssize_t size):
        """See `hushar.drafts.Draft`."""
        if size < 0 or size > self.length - self.at:
            raise ValueError(f"{size} bytes at {self.at} of {self.length}")
        if self.many == self.room:
            self.grow()
        self.at += size
        self.records += records
        self.ends[self.many] = self.at
        self.counts[self.many] = records
        self.many += 1

    cdef int grow(self) except -1:
        cdef Py_ssize_t room = 2 * self.room or 256
        cdef void* made = PyMem_Realloc(self.ends, room * sizeof(Py_ssize_t))
        if made == NULL:
            raise MemoryError
        self.ends = <Py_ssize_t*> made
        made = PyMem_Realloc(self.counts, room * sizeof(Py_ssize_t))
        if made == NULL:
            raise MemoryError
        self.counts = <Py_ssize_t*> made
        self.room = room

    cdef char* place(self, Py_ssize_t size) noexcept:
        """Where so many bytes may be written; NULL if there is no room for them."""
        if not self.writable or size > self.length - self.at:
            return NULL
        return self.data + self.at

    def news(self):
        """See `hushar.drafts.Draft`."""
        records, size = self.records - self.told_records, self.at - self.told_at
        self.told_records, self.told_at = self.records, self.at
        return records, size

    cdef Py_ssize_t begins(self, Py_ssize_t batch) noexcept:
        return self.ends[batch - 1] if batch else self.begin

    def run(self, Py_ssize_t first, Py_ssize_t room, /):
        """See `hushar.drafts.Draft`."""
        cdef Py_ssize_t stop, begin
        if first < 0 or first >= self.many:
            raise IndexError(f"batches {first} to {<object> first + 1} of {self.many}")
        begin, stop = self.begins(first), first + 1
        while stop < self.many and self.ends[stop - 1] - begin < room:
            stop += 1
        return stop

    def between(self, Py_ssize_t first, Py_ssize_t stop, /):
        """See `hushar.drafts.Draft`."""
        cdef Py_ssize_t records = 0, index
        if first < 0 or first >= stop or stop > self.many:
            raise IndexError(f"batches {first} to {stop} of {self.many}")
        for index in range(first, stop):
            records += self.counts[index]
        return Records(self.memory[self.begins(first) : self.ends[stop - 1]], records)
