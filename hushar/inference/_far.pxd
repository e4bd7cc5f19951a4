# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Writing to memory that is far from the processor, without fetching it.

Theory of operation. Memory that was written long ago, or was read by a disk since, is in none of the
processor's caches. An ordinary write fetches each line of it first, only to overwrite it: for records of a
kilobyte that takes longer than all else that is done for them. Stores that go past the caches fetch nothing,
but pay for whole lines only. So bytes are put together near, in a few kilobytes that stay in the cache, at
the same place in a line as they will have; whole lines of them are streamed to where they belong, and what
is left of the last line stays near until more comes.

    near    |   head of a line that others have begun, lines | rest
    far     ... others | ........................... streamed | later

Where the processor has no such stores, nothing is near: bytes are written where they belong.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from hushar.inference._fields cimport copy_few

cdef extern from *:
    """
    #include <stddef.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    enum { HUSHAR_STREAMS = 1 };
    /* To whole lines of 64 bytes, from anywhere. */
    static inline void hushar_stream(unsigned char *to, const unsigned char *from, size_t lines)
    {
        __m128i a, b, c, d;
        for (; lines; lines--, to += 64, from += 64) {
            a = _mm_loadu_si128((const __m128i *) from);
            b = _mm_loadu_si128((const __m128i *) from + 1);
            c = _mm_loadu_si128((const __m128i *) from + 2);
            d = _mm_loadu_si128((const __m128i *) from + 3);
            _mm_stream_si128((__m128i *) to, a);
            _mm_stream_si128((__m128i *) to + 1, b);
            _mm_stream_si128((__m128i *) to + 2, c);
            _mm_stream_si128((__m128i *) to + 3, d);
        }
    }
    static inline void hushar_streamed(void) { _mm_sfence(); }
    #else
    enum { HUSHAR_STREAMS = 0 };
    static inline void hushar_stream(unsigned char *to, const unsigned char *from, size_t lines)
    {
        (void) to, (void) from, (void) lines;
    }
    static inline void hushar_streamed(void) {}
    #endif
    """
    const bint STREAMS "HUSHAR_STREAMS"
    void stream "hushar_stream"(uint8_t* to, const uint8_t* data, size_t lines) noexcept nogil
    void streamed "hushar_streamed"() noexcept nogil

cdef enum:
    LINE = 64
    RUN_BYTES = 2048  # with so many near, whole lines are streamed
    LITTLE_BYTES = 512  # what has more comes near not at all
    # After `make_room` there are less than RUN_BYTES. Before the next one, or the next `put_far`, come at most
    # LITTLE_BYTES with it and fields' heads without it: a record's and a row's, or a tail that is copied.
    NEAR_BYTES = RUN_BYTES + LITTLE_BYTES + LINE

ctypedef struct Far:
    uint8_t* place  # where what is near belongs; NULL where nothing is near
    uint8_t* near  # a line, that of `place`
    uint8_t* last  # the caller's, NULL once what was written is no longer there
    uint8_t[NEAR_BYTES + LINE] memory


cdef inline uint8_t* begin_here(Far* far, uint8_t* place) noexcept nogil:
    """For near memory: bytes are written where they belong."""
    far.place = far.last = NULL
    return place


cdef inline uint8_t* begin_far(Far* far, uint8_t* place) noexcept nogil:
    """Where to write what belongs to `place`: with `put_far`, or, up to less than a line, without: see
    NEAR_BYTES."""
    if not STREAMS:
        return begin_here(far, place)
    far.place, far.last = place, NULL
    far.near = far.memory + (-<size_t> far.memory & (LINE - 1))
    return far.near + (<size_t> place & (LINE - 1))


cdef inline uint8_t* flush(Far* far, uint8_t* to) noexcept nogil:
    """Stream the whole lines; where what is left of them ends. One that others have begun is completed."""
    cdef size_t begun = <size_t> far.place & (LINE - 1), lines
    cdef uint8_t* data = far.near
    if to - data < LINE:
        return to
    if begun:
        memcpy(far.place, data + begun, LINE - begun)
        far.place += LINE - begun
        data += LINE
    lines = <size_t> (to - data) // LINE
    stream(far.place, data, lines)
    far.place += lines * LINE
    data += lines * LINE
    copy_few(far.near, data, to - data)
    far.last = NULL
    return far.near + (to - data)


cdef inline uint8_t* make_room(Far* far, uint8_t* to) noexcept nogil:
    """So that there is room for LITTLE_BYTES and a line more."""
    if far.place != NULL and to - far.near >= RUN_BYTES:
        return flush(far, to)
    return to


cdef inline uint8_t* put_long(Far* far, uint8_t* to, const uint8_t* data, size_t size) noexcept nogil:
    """Write more than a line, which is not copied twice; where it ends."""
    cdef size_t head = LINE - (<size_t> to & (LINE - 1)), lines
    memcpy(to, data, head)
    flush(far, to + head)
    data += head
    lines = (size - head) // LINE
    stream(far.place, data, lines)
    far.place += lines * LINE
    size -= head + lines * LINE
    memcpy(far.near, data + lines * LINE, size)
    return far.near + size


cdef inline uint8_t* put_far(Far* far, uint8_t* to, const uint8_t* data, size_t size) noexcept nogil:
    """Write any number of bytes; where they end."""
    if size > LITTLE_BYTES and far.place != NULL:
        return put_long(far, to, data, size)
    to = make_room(far, to)
    copy_few(to, data, size)
    return to + size


cdef inline uint8_t* end_far(Far* far, uint8_t* to) noexcept nogil:
    """All is where it belongs, for whoever reads it next; where that ends. `to`: where it ends near."""
    cdef uint8_t* begin
    if far.place == NULL:
        return to
    to = flush(far, to)
    begin = far.near + (<size_t> far.place & (LINE - 1))
    memcpy(far.place, begin, to - begin)
    streamed()
    return far.place + (to - begin)
