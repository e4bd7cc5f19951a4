cdef class Draft:
    cdef readonly object memory
    cdef public Py_ssize_t size, limit, full_at
    cdef readonly Py_ssize_t begin, at, records
    cdef object own
    cdef char* data
    cdef Py_ssize_t length
    cdef bint writable
    cdef Py_ssize_t* ends
    cdef Py_ssize_t* counts
    cdef Py_ssize_t many, room, told_records, told_at
    cpdef book(self, Py_ssize_t records, Py_ssize_t size)
    cdef int grow(self) except -1
    cdef char* place(self, Py_ssize_t size) noexcept
    cdef Py_ssize_t begins(self, Py_ssize_t batch) noexcept
