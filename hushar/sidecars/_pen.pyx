# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The thread of a `hushar.sidecars.pen.Pen`: it writes without ever holding the GIL.

Theory of operation. `begin` books the writes and lets go of a lock on which the thread waits; the thread
makes them one after the other, and says through a descriptor that it is done. Whoever waits for that asks
`end` what has become of them. The two are never at work on the books at the same time.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    WAIT_LOCK,
)
from libc.errno cimport EINTR, EIO, ENOENT, ENOSPC, errno
from libc.stdint cimport int64_t, uint64_t
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport write

cdef extern from "sys/statvfs.h" nogil:
    cdef struct statvfs:
        unsigned long f_frsize
        unsigned long f_bavail
    int fstatvfs(int descriptor, statvfs* found)

cdef enum:
    MOST = 64  # as `appending.MOST_STEPS`

cdef struct Step:
    int descriptor
    const char* data
    Py_ssize_t size


cdef class Thread:
    """One job at a time. `run` is the thread's; all else is for whoever started it."""

    cdef Step steps[MOST]
    cdef Py_buffer views[MOST]
    cdef int count, file, done, error
    cdef bint at_work, ending
    cdef int64_t min_free, written
    cdef PyThread_type_lock wanted

    def __cinit__(self, int done):
        """`done`: where a number of 8 bytes is written after each job."""
        self.done = done
        self.wanted = PyThread_allocate_lock()
        if self.wanted == NULL:
            raise MemoryError
        PyThread_acquire_lock(self.wanted, WAIT_LOCK)

    def __dealloc__(self):
        self.release()
        if self.wanted != NULL:
            PyThread_free_lock(self.wanted)

    def run(self):
        """Work until `stop`."""
        with nogil:
            while True:
                PyThread_acquire_lock(self.wanted, WAIT_LOCK)
                if self.ending:
                    break
                self.work()
                self.tell()

    def begin(self, int file, int64_t min_free, steps):
        """See `Pen.write`: begin with it. `steps` are at most MOST."""
        if self.at_work or self.ending:
            raise ValueError("the pen writes, or has ended")
        self.file, self.min_free = file, min_free
        self.written, self.error = 0, 0
        try:
            for descriptor, data in steps:
                self.add(descriptor, data)
        except BaseException:
            # Or they would be written with the next job.
            self.release()
            raise
        self.at_work = True
        PyThread_release_lock(self.wanted)

    def end(self):
        """The bytes that were written, and the errno of what went wrong: for when the thread is done."""
        self.at_work = False
        self.release()
        return self.written, self.error

    def stop(self):
        """`run` returns. Not while it writes."""
        self.ending = True
        PyThread_release_lock(self.wanted)

    cdef int add(self, int descriptor, data) except -1:
        if self.count == MOST:
            raise ValueError(f"more than {MOST} writes at once")
        PyObject_GetBuffer(data, &self.views[self.count], PyBUF_SIMPLE)
        self.steps[self.count].descriptor = descriptor
        self.steps[self.count].data = <const char*> self.views[self.count].buf
        self.steps[self.count].size = self.views[self.count].len
        self.count += 1
        return 0

    cdef void release(self) noexcept:
        cdef int index
        for index in range(self.count):
            PyBuffer_Release(&self.views[index])
        self.count = 0

    cdef void work(self) noexcept nogil:
        cdef struct_stat file
        cdef Step* step
        cdef Py_ssize_t done
        cdef int index
        if fstat(self.file, &file) != 0:
            self.error = errno
        elif file.st_nlink == 0:
            self.error = ENOENT
        elif self.is_short():
            self.error = ENOSPC
        for index in range(self.count):
            step = &self.steps[index]
            while step.size > 0 and self.error == 0:
                done = write(step.descriptor, step.data, step.size)
                if done > 0:
                    step.data += done
                    step.size -= done
                    self.written += done
                elif done == 0:
                    # Nothing that a file does; trying for ever would be worse.
                    self.error = EIO
                elif errno != EINTR:
                    self.error = errno

    cdef bint is_short(self) noexcept nogil:
        """Whether the file system would have less than the least free space left."""
        cdef statvfs found
        cdef int64_t size = 0
        cdef int index
        if self.min_free == 0:
            return False
        if fstatvfs(self.file, &found) != 0:
            self.error = errno
            return False
        for index in range(self.count):
            size += self.steps[index].size
        # No sum that could be too large: the least may be any number.
        return <int64_t> found.f_bavail * <int64_t> found.f_frsize - size < self.min_free

    cdef void tell(self) noexcept nogil:
        cdef uint64_t one = 1
        while write(self.done, &one, sizeof(one)) < 0 and errno == EINTR:
            pass
