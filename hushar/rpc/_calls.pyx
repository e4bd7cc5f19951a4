# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False
"""The compiled twin of what every call passes through at the server: state, the way in, the way out.

`CallState` is that of streams.py, `EngineState` that of engine_state.py, with their fields in C;
`reply_at_once`, `reply_all`, `fail_all` and `take_complete` are those of fast_ways.py. `take_calls` does what the
loop of the engine does with the frames of usual calls, and leaves everything else to it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyTypeObject
from libc.math cimport INFINITY
from libc.string cimport memcmp, memcpy

from hushar.rpc._hpack cimport RequestHead, Variations

from purerpc import StatusCode

from hushar.rpc.frames import MIN_MAX_FRAME
from hushar.rpc.messages import LARGE_PART, MESSAGE_OVERHEAD, UNKNOWN

cdef extern from "Python.h":
    ctypedef struct PyObject
    PyObject *PyDict_GetItemWithError(object mapping, object key) except? NULL
    Py_ssize_t Py_REFCNT(PyObject *of)
    PyObject *PyTuple_GET_ITEM(object of, Py_ssize_t index)

cdef extern from *:
    """
    #if defined(__linux__)
    #include <stdint.h>
    #include <sys/mman.h>
    #include <unistd.h>
    #endif
    /* Ask for huge pages for a block and what shares its outer pages. Advice: whatever comes of it is right. */
    static void want_huge_pages(char *block, Py_ssize_t size) {
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        uintptr_t start = (uintptr_t)block & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
        (void)madvise((void *)start, (uintptr_t)block + (uintptr_t)size - start, MADV_HUGEPAGE);
    #else
        (void)block;
        (void)size;
    #endif
    }
    """
    void want_huge_pages(char *block, Py_ssize_t size) noexcept nogil

cdef extern from *:
    """
    /* A bytes object that nobody else has becomes one of so many bytes, no more than it was made with, with
       other content. */
    static void hushar_begin_anew(PyObject *block, Py_ssize_t size)
    {
        PyBytesObject *bytes = (PyBytesObject *)block;
        Py_SET_SIZE(bytes, size);
        bytes->ob_sval[size] = 0;
    #if defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    #endif
        bytes->ob_shash = -1;
    #if defined(__GNUC__)
    #pragma GCC diagnostic pop
    #endif
    }
    """
    void begin_anew "hushar_begin_anew"(bytes block, Py_ssize_t size) noexcept

cdef enum:
    DATA = 0
    HEADERS = 1
    WINDOW_UPDATE = 8
    END_STREAM = 0x1
    END_HEADERS = 0x4
    FRAME_HEADER = 9
    PREFIX = 5

cdef long long MAX_WINDOW = 0x7FFFFFFF
cdef object NO_FRAME = 1 << 24
cdef Py_ssize_t LONGEST_BLOCK = MIN_MAX_FRAME
cdef object OK = StatusCode.OK
cdef tuple NOTHING = ()
cdef Py_ssize_t large_part = LARGE_PART
cdef long long message_overhead = MESSAGE_OVERHEAD


# Room is made for so many times what has come, but for all of a message only once such a part of it is there:
# no more than that part is copied, and held twice. What only a prefix promises is address space that nothing
# has touched, or a block that is kept for whoever comes next.
cdef Py_ssize_t ROOM = 64
# A block from this size on is mapped anew each time (hushar/app/memory.py), and to have it cleared 4 KiB at a
# time costs more than to copy it: there huge pages pay.
cdef Py_ssize_t HUGE = 32 << 20
# Blocks of messages of at least KEPT bytes are kept for the next ones, up to so many in all. Given back, a block
# would be free until then, and where something small that stays came to lie in it, the next message would need as
# much memory again; and one from HUGE on would be cleared again.
cdef Py_ssize_t KEPT = 256 << 10
cdef Py_ssize_t MOST_KEPT = 64 << 20
cdef list kept = []         # (a bytes object, which is free if nobody else has it; the size that it was made with)


cdef bytes new_block(Py_ssize_t room, bint is_whole):
    """A bytes object of so many bytes, to be written by whoever has asked for it. `is_whole`: of a message."""
    cdef tuple entry
    cdef bytes block
    cdef Py_ssize_t made_with
    cdef bint may_keep = is_whole and KEPT <= room <= MOST_KEPT
    if may_keep:
        for entry in kept:
            made_with = entry[1]
            if made_with // 2 <= room <= made_with and is_free(entry):
                block = entry[0]
                begin_anew(block, room)
                return block
    block = PyBytes_FromStringAndSize(NULL, room)
    if room >= HUGE:
        want_huge_pages(PyBytes_AS_STRING(block), room)
    if may_keep:
        try:
            keep_block(block, room)
        except MemoryError:
            # The message has its memory.
            pass
    return block


cdef inline bint is_free(tuple entry) noexcept:
    return Py_REFCNT(PyTuple_GET_ITEM(entry, 0)) == 1


cdef int keep_block(bytes block, Py_ssize_t room) except -1:
    """Keep a block, if there is room for it, in the place of free ones if need be."""
    cdef tuple entry
    cdef Py_ssize_t in_use = 0, total = 0, index = 0
    for entry in kept:
        total += <Py_ssize_t> entry[1]
        if not is_free(entry):
            in_use += <Py_ssize_t> entry[1]
    if in_use + room > MOST_KEPT:
        return 0
    kept.append((block, room))
    while total + room > MOST_KEPT:
        entry = kept[index]
        if is_free(entry):
            total -= <Py_ssize_t> entry[1]
            del kept[index]
        else:
            index += 1
    return 0


cdef class Gathered:
    """See messages.py. The parts lie side by side from the first on."""

    cdef bytes _content     # nobody else has it before it is full
    cdef Py_ssize_t _have

    def __bytes__(self):
        return b"" if self._content is None else self._content[:self._have]

    def add(self, bytes data not None, Py_ssize_t length):
        """See messages.py."""
        self.put(<const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), length)

    def take(self):
        """See messages.py."""
        cdef bytes message = self._content
        if message is None or PyBytes_GET_SIZE(message) != self._have:
            message = bytes(self)
        self._content, self._have = None, 0
        return message

    cdef int put(self, const unsigned char *data, Py_ssize_t size, Py_ssize_t length) except -1:
        cdef Py_ssize_t room = 0 if self._content is None else PyBytes_GET_SIZE(self._content)
        cdef Py_ssize_t needed = self._have + size
        cdef bytes larger
        if needed > length:
            raise ValueError(f"{needed} bytes of a message of {length}")
        if needed > room:
            room = length if needed > length // ROOM else min(needed * ROOM, length // ROOM)
            larger = new_block(room, room == length)
            if self._have:
                memcpy(PyBytes_AS_STRING(larger), PyBytes_AS_STRING(self._content), self._have)
            self._content = larger
        if size:
            memcpy(PyBytes_AS_STRING(self._content) + self._have, data, size)
        self._have = needed
        return 0


cdef class CallState:
    """What a server keeps of a call, with its stream; see streams.py."""

    cdef public object id
    cdef public bint receiving
    cdef public bint sending
    cdef public long long send_window
    cdef public long long receive_window
    cdef public object reader
    cdef public object queue
    cdef public long long queued
    cdef public object trailers
    cdef public EngineState connection
    cdef public object head
    cdef public object message
    cdef public double deadline
    cdef public double started
    cdef public bint over
    cdef public bint answered
    cdef public object handler
    cdef public object _request
    cdef public bint compressed
    cdef public long long held
    cdef public bint unusual
    cdef public object leading
    cdef public bint leading_sent
    cdef public object answer_encoding
    cdef public object trailing

    def __init__(self, EngineState connection not None, object stream_id, object head):
        _begin(self, connection, stream_id, head)


cdef inline void _begin(CallState call, EngineState engine, object stream_id, object head) noexcept:
    """Fill a new call; what is not named here is None, 0 or False already."""
    call.id = stream_id
    call.receiving = True
    call.sending = True
    call.send_window = engine._peer_window
    call.receive_window = engine._stream_window
    call.connection = engine
    call.head = head
    call.message = b""
    call.deadline = INFINITY
    call.started = engine._now


cdef class EngineState:
    """What the fast ways read and change of a connection; see engine_state.py."""

    cdef public bint dirty
    cdef public bint failed
    cdef public bint peer_went_away
    cdef public bint _active
    cdef public bint _settings_seen
    cdef public long long last_stream_id
    cdef public long long send_window
    cdef public long long _courtesies
    cdef public long long _credit
    cdef public long long _credit_at
    cdef public long long _data_sent
    cdef public long long _fast_bytes
    cdef public long long _max_frame
    cdef public long long _memo_changes
    cdef public long long _peer_window
    cdef public long long _receive_window
    cdef public long long _stream_window
    cdef public long long _streams_seen
    cdef public double _now
    cdef public object context
    cdef public object limits
    cdef public object _block
    cdef public object _decoder
    cdef public list _events
    cdef public set _lingering
    cdef public dict _memo
    cdef public object _on_output
    cdef public list _out
    cdef public object _ready
    cdef public object _recently_closed
    cdef public object _refusing_after
    cdef public dict _streams
    cdef public list timed
    cdef public list _chunks
    cdef public long long _need
    cdef public long long _skip
    # Of limits, which do not change, and of the head that came last.
    cdef bint knows_limits
    cdef long long places
    cdef long long max_message
    cdef object usual_head
    cdef double usual_timeout
    cdef long long usual_length


cdef struct Pass:
    # What one pass of `take_calls` keeps beside the connection's own state. The objects are borrowed from
    # `_streams` and from the context; nothing in a pass removes them from there but a hook, after which they
    # are forgotten.
    PyObject *call_type
    PyObject *call            # the one that began last, or NULL
    PyObject *budget          # NULL until it is needed
    PyObject *variations      # the connection's, if they are compiled, or NULL
    const unsigned char *block  # what `usual_head` was found by; NULL before the first
    Py_ssize_t block_bytes
    unsigned int call_id
    bint memo_holds
    bint asks                 # there are hooks
    bint budget_changed
    long long calls
    long long held
    double max_calls
    double max_held


def read_at_once(type call_type not None, EngineState engine not None, object data, double now):
    """`receive_data`, where no frame has come in part; None, and nothing done, where one has.

    What is unusual in it goes the general way.
    """
    if (
        type(data) is not bytes or engine.failed or engine._skip or not engine._settings_seen
        or engine._block is not None or len(engine._chunks)
    ):
        return None
    cdef list events = []
    engine._now = now
    engine._events = events
    cdef Py_ssize_t at = _take_calls(call_type, engine, data, 0)
    if at < PyBytes_GET_SIZE(data) and not engine.failed:
        return (<object>engine)._work(data, at)
    engine._need = FRAME_HEADER
    return events


def take_calls(type call_type not None, EngineState engine not None, object data, Py_ssize_t at):
    """Work through frames of usual calls from `at` on; returns where the first is that is left to the loop.

    Usual are HEADERS of a block that the memo holds, DATA that is one whole message and ends its stream or a
    large part of it, and WINDOW_UPDATE that lets nothing go that waits. Whatever may be an error is left alone,
    nothing changed.
    """
    if type(data) is not bytes or at < 0 or engine._block is not None or not engine._settings_seen:
        return at
    return _take_calls(call_type, engine, data, at)


cdef Py_ssize_t _take_calls(type call_type, EngineState engine, bytes data, Py_ssize_t at) except -1:
    cdef Pass now
    cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
    cdef const unsigned char *frame
    cdef Py_ssize_t size
    cdef unsigned int stream_id
    cdef bint taken
    _prepare(&now, engine, call_type)
    try:
        while end - at >= FRAME_HEADER and not engine.failed:
            frame = start + at
            size = frame[0] << 16 | frame[1] << 8 | frame[2]
            stream_id = _word(frame + 5)
            if size > engine._max_frame or size > end - at - FRAME_HEADER or stream_id & 0x80000000U:
                break
            if frame[3] == HEADERS and frame[4] == END_HEADERS:
                taken = _take_headers(&now, engine, stream_id, frame + FRAME_HEADER, size)
            elif frame[3] == DATA and frame[4] == END_STREAM:
                taken = (
                    _take_data(&now, engine, stream_id, frame + FRAME_HEADER, size)
                    or (size >= large_part
                        and _take_part(&now, engine, stream_id, frame + FRAME_HEADER, size, True))
                )
            elif frame[3] == DATA and not frame[4] and size >= large_part:
                taken = _take_part(&now, engine, stream_id, frame + FRAME_HEADER, size, False)
            elif frame[3] == WINDOW_UPDATE and size == 4:
                taken = _take_window_update(engine, stream_id, _word(frame + FRAME_HEADER) & 0x7FFFFFFFU)
            else:
                break
            if not taken:
                break
            at += FRAME_HEADER + size
    finally:
        if now.budget_changed:
            _write_budget(&now)
    return at


cdef inline unsigned int _word(const unsigned char *at) noexcept nogil:
    return <unsigned int>at[0] << 24 | <unsigned int>at[1] << 16 | <unsigned int>at[2] << 8 | at[3]


cdef inline int _prepare(Pass *now, EngineState engine, type call_type) except -1:
    now.call_type = <PyObject *>call_type
    now.call = now.budget = NULL
    now.block = NULL
    now.block_bytes = -1
    now.call_id = 0
    now.budget_changed = False
    now.memo_holds = engine._decoder.changes == engine._memo_changes
    return 0


cdef int _read_budget(Pass *now, EngineState engine) except -1:
    """The server's budget, and what else is looked up once a pass."""
    context = engine.context
    budget = context.budget
    now.calls = budget.calls
    now.held = budget.bytes
    now.max_calls = budget.max_calls
    now.max_held = budget.max_bytes
    if not engine.knows_limits:
        engine.max_message = engine.limits.max_receive_bytes
        engine.places = engine.limits.connection_concurrency
        engine.knows_limits = True
    now.asks = bool(context.before)
    variations = (<object>engine)._variations
    now.variations = <PyObject *>variations if type(variations) is Variations else NULL
    now.budget = <PyObject *>budget
    return 0


cdef int _write_budget(Pass *now) except -1:
    budget = <object>now.budget
    now.budget_changed = False
    budget.calls = now.calls
    budget.bytes = now.held
    return 0


cdef bint _find_head(Pass *now, EngineState engine, const unsigned char *block, Py_ssize_t size) except -1:
    """Whether a block begins a usual call, and the memo holds it or its head varies one that is known.

    Its head is `usual_head`.
    """
    cdef PyObject *found
    if now.block_bytes == size and memcmp(now.block, block, size) == 0:
        return True
    if now.memo_holds:
        found = PyDict_GetItemWithError(engine._memo, PyBytes_FromStringAndSize(<const char *>block, size))
        if found != NULL:
            if found != <PyObject *>engine.usual_head and not _is_usual(engine, <object>found):
                return False
            now.block = block
            now.block_bytes = size
            return True
    return now.variations != NULL and _read_head(now, engine, block, size)


cdef bint _read_head(Pass *now, EngineState engine, const unsigned char *block, Py_ssize_t size) except -1:
    """Decode a block that differs from others by a time-out or a trace's id; see Variations.read."""
    cdef Variations variations = <Variations>now.variations
    cdef RequestHead head = variations.read_block(block, size)
    if head is None:
        return False
    if now.memo_holds and variations._decoder.changes != engine._memo_changes:
        now.memo_holds = False
    # Blocks may mean something else now.
    now.block_bytes = -1
    # It begins a usual call, and is no other's: what is known of the last one is that of this.
    engine.usual_head = head
    engine.usual_timeout = -1.0 if head.timeout is None else <double>head.timeout
    engine.usual_length = -1 if head.content_length is None else min(head.content_length, NO_FRAME)
    return True


cdef bint _is_usual(EngineState engine, object head) except -1:
    """Whether a head, which does not change, begins a usual call; what is to be known of it."""
    if head.refusal is not None or head.http_status is not None or not head.route.collects:
        return False
    timeout = head.timeout
    if timeout is not None and not timeout:
        return False
    length = head.content_length
    engine.usual_head = head
    engine.usual_timeout = -1.0 if timeout is None else timeout
    # A length of more digits is no frame's, whatever it is.
    engine.usual_length = -1 if length is None else min(length, NO_FRAME)
    return True


cdef bint _take_headers(
    Pass *now, EngineState engine, unsigned int stream_id, const unsigned char *block, Py_ssize_t size
) except -1:
    """ServerConnection._block_complete, for a call that may begin and whose message is to come."""
    if (
        stream_id <= engine.last_stream_id or not stream_id & 1
        or engine._refusing_after is not None or engine.peer_went_away
    ):
        return False
    if now.budget == NULL:
        _read_budget(now, engine)
    if (
        len(engine._streams) >= engine.places - <Py_ssize_t>len(engine._lingering)
        or <double>(now.calls + 1) > now.max_calls
        or not _find_head(now, engine, block, size)
    ):
        return False
    number = stream_id
    cdef CallState call = <CallState?>(<PyTypeObject *>now.call_type).tp_new(
        <type>now.call_type, <PyObject *>NOTHING, NULL
    )
    _begin(call, engine, number, engine.usual_head)
    engine._streams[number] = call
    engine.last_stream_id = stream_id
    engine._streams_seen += 1
    engine._active = True
    now.calls += 1
    now.budget_changed = True
    now.call = <PyObject *>call
    now.call_id = stream_id
    if engine.usual_timeout >= 0:
        call.deadline = engine._now + engine.usual_timeout
        engine.timed.append(call)
    if now.asks:
        _ask(now, engine, call)
    return True


cdef int _ask(Pass *now, EngineState engine, CallState call) except -1:
    """Ask the hooks, which see the budget as it is, and may end calls."""
    _write_budget(now)
    now.budget = now.call = NULL
    now.call_id = 0
    (<object>engine)._ask(call)
    # What else is known of this pass stays so: hooks cannot make the engine read.
    _read_budget(now, engine)
    return 0


cdef inline bint _fits(object content_length, Py_ssize_t size) except -1:
    return content_length is None or content_length == size


cdef bint _take_data(
    Pass *now, EngineState engine, unsigned int stream_id, const unsigned char *data, Py_ssize_t size
) except -1:
    """ReceivingConnection._data, for the only message of a call."""
    cdef CallState call
    cdef PyObject *found
    if stream_id == now.call_id and now.call != NULL:
        call = <CallState>now.call
    else:
        found = PyDict_GetItemWithError(engine._streams, stream_id)
        if found == NULL or not isinstance(<object>found, CallState):
            return False
        call = <CallState>found
    if now.budget == NULL:
        _read_budget(now, engine)
    cdef long long length = size - PREFIX
    if (
        length < 0 or data[0] or <long long>_word(data + 1) != length or length > engine.max_message
        or not call.receiving or call.over or call.reader is not None or size > call.receive_window
        or size > engine._receive_window or engine._credit + size >= engine._credit_at
        or <double>(now.held + length) > now.max_held
    ):
        return False
    if call.head is engine.usual_head:
        if engine.usual_length >= 0 and engine.usual_length != size:
            return False
    elif call.head.http_status is not None or not _fits(call.head.content_length, size):
        return False
    call.message = PyBytes_FromStringAndSize(<const char *>data + PREFIX, length)
    engine._events.append(call)
    engine._receive_window -= size
    engine._credit += size
    engine._active = True
    call.receiving = False
    call.held = length
    now.held += length
    now.budget_changed = True
    return True


cdef bint _take_part(
    Pass *now, EngineState engine, unsigned int stream_id, const unsigned char *data, Py_ssize_t size, bint ends
) except -1:
    """ReceivingConnection._some_data, for a large part of the only message of a call."""
    cdef PyObject *found = PyDict_GetItemWithError(engine._streams, stream_id)
    if found == NULL or not isinstance(<object>found, CallState):
        return False
    cdef CallState call = <CallState>found
    head = call.head
    if (
        not call.receiving or call.over or size > call.receive_window or size > engine._receive_window
        or engine._credit + size >= engine._credit_at or head.http_status is not None
    ):
        return False
    if now.budget == NULL:
        _read_budget(now, engine)
    body = call.reader
    cdef long long had = 0
    cdef long long length, have, total, owed, held
    if body is not None:
        length, have, total, owed = body._length, body._have, body.size, body.owed
        had = PREFIX + have
    elif size >= large_part + PREFIX and not data[0] and head.route.collects:
        length, have, total, owed = _word(data + 1), -PREFIX, 0, 0
        if length > engine.max_message:
            return False
    else:
        return False
    content_length = head.content_length
    if ends:
        if length != have + size or body is None or body._flag or body.messages or not head.route.collects:
            return False
        if content_length is not None and content_length != total + size:
            return False
        held = length + message_overhead - had
    elif (
        length <= have + size or owed + size >= <long long>(<object>engine)._credit_stream_at
        or (content_length is not None and content_length < total + size)
    ):
        return False
    else:
        held = size
    if <double>(now.held + held) > now.max_held:
        return False
    cdef Gathered content
    if body is None:
        body = (<object>engine)._body(call)
        content = body._content
        content.put(data + PREFIX, size - PREFIX, length)
        body._length = length
    else:
        content = body._content
        content.put(data, size, length)
    body.size = total + size
    if ends:
        call.message = content.take()
        body._have, body._length, body.messages = 0, UNKNOWN, 1
        call.receiving = False
        engine._events.append(call)
    else:
        body._have = have + size
        body.owed = owed + size
    call.receive_window -= size
    call.held += held
    engine._receive_window -= size
    engine._credit += size
    engine._active = True
    now.held += held
    now.budget_changed = True
    return True


cdef bint _take_window_update(EngineState engine, unsigned int stream_id, unsigned int increment) except -1:
    """ControlFrames._window_update, where nothing waits for a window."""
    cdef PyObject *found
    cdef CallState call
    if (
        engine._courtesies + 1 > 5 + 2 * (engine._streams_seen + 10 * engine._data_sent)
        or engine._credit >= engine._credit_at
        or len(engine._ready)
    ):
        return False
    if stream_id == 0:
        if increment == 0 or engine.send_window + increment > MAX_WINDOW:
            return False
        engine.send_window += increment
    else:
        if stream_id > engine.last_stream_id:
            return False
        found = PyDict_GetItemWithError(engine._streams, stream_id)
        if found != NULL:
            if not isinstance(<object>found, CallState):
                return False
            call = <CallState>found
            if increment == 0 or call.queue is not None or call.send_window + increment > MAX_WINDOW:
                return False
            call.send_window += increment
    engine._courtesies += 1
    return True


cdef inline bint _is_usual_answer(EngineState engine, CallState call, object message) noexcept:
    """Whether a call's answer can be sent at once, whatever the connection's window says."""
    if type(message) is not bytes or call.unusual or call.receiving or call.over:
        return False
    size = PyBytes_GET_SIZE(message) + PREFIX
    return size <= engine._fast_bytes and size <= call.send_window


cdef inline unsigned char *_put_header(
    unsigned char *to, Py_ssize_t size, int kind, int flags, unsigned int stream_id
) noexcept nogil:
    to[0] = <unsigned char>(size >> 16)
    to[1] = <unsigned char>(size >> 8)
    to[2] = <unsigned char>size
    to[3] = <unsigned char>kind
    to[4] = <unsigned char>flags
    return _put_word(to + 5, stream_id)


cdef inline unsigned char *_put_word(unsigned char *to, unsigned int word) noexcept nogil:
    to[0] = <unsigned char>(word >> 24)
    to[1] = <unsigned char>(word >> 16)
    to[2] = <unsigned char>(word >> 8)
    to[3] = <unsigned char>word
    return to + 4


cdef inline unsigned char *_put(unsigned char *to, bytes content) noexcept:
    memcpy(to, PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content))
    return to + PyBytes_GET_SIZE(content)


cdef unsigned char *_put_answer(
    unsigned char *to, unsigned int stream_id, bytes leading, bytes message, bytes trailing
) noexcept:
    """HEADERS, one DATA frame, HEADERS that end the stream."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
    to = _put_header(to, PyBytes_GET_SIZE(leading), HEADERS, END_HEADERS, stream_id)
    to = _put(to, leading)
    to = _put_header(to, size + PREFIX, DATA, 0, stream_id)
    to[0] = 0
    to = _put_word(to + 1, <unsigned int>size)
    to = _put(to, message)
    to = _put_header(to, PyBytes_GET_SIZE(trailing), HEADERS, END_HEADERS | END_STREAM, stream_id)
    return _put(to, trailing)


cdef bytes _make_chunk(list calls, Py_ssize_t first, Py_ssize_t count, Py_ssize_t size):
    """Room for what ends a run of calls; where there is no memory for it they are not over after all."""
    cdef Py_ssize_t at
    try:
        return PyBytes_FromStringAndSize(NULL, size)
    except MemoryError:
        for at in range(first, first + count):
            (<CallState>calls[at]).over = False
        raise


cdef int _give_back(EngineState engine, Py_ssize_t count, long long held) except -1:
    """So many calls are over: what they held of the server's budget is free."""
    engine._active = True
    budget = engine.context.budget
    budget.calls -= count
    budget.bytes -= held
    return 0


cdef int _note_closed(EngineState engine, list closed) except -1:
    """These streams are closed, and there is output to send."""
    engine._recently_closed.extend(closed)
    if not engine.dirty:
        engine.dirty = True
        engine._on_output()
    return 0


cdef Py_ssize_t _run(
    EngineState engine, list calls, list messages, Py_ssize_t first, long long *total
) except -1:
    """How many calls from `first` on are answered by one chunk, and the bytes of their DATA.

    They are marked as over, so that one that comes twice ends the run.
    """
    cdef Py_ssize_t at = first
    cdef Py_ssize_t end = len(calls)
    cdef CallState call
    cdef long long size
    total[0] = 0
    while at < end:
        if not isinstance(calls[at], CallState):
            break
        call = <CallState>calls[at]
        if call.connection is not engine or not _is_usual_answer(engine, call, messages[at]):
            break
        size = PyBytes_GET_SIZE(messages[at]) + PREFIX
        if total[0] + size > engine.send_window:
            break
        total[0] += size
        call.over = True
        at += 1
    return at - first


cdef int _answer(
    EngineState engine, list calls, list messages, Py_ssize_t first, Py_ssize_t count, long long total
) except -1:
    """Answer a run of calls that are marked as over; `total` is the bytes of their DATA."""
    context = engine.context
    cdef bytes leading = context.leading
    cdef bytes trailing = context.trailing
    cdef long long size = total + count * (3 * FRAME_HEADER + len(leading) + len(trailing))
    cdef CallState call
    cdef long long held = 0
    cdef Py_ssize_t at
    cdef bytes chunk = _make_chunk(calls, first, count, size)
    cdef unsigned char *to = <unsigned char *>PyBytes_AS_STRING(chunk)
    for at in range(first, first + count):
        call = <CallState>calls[at]
        to = _put_answer(to, call.id, leading, messages[at], trailing)
        held += call.held
    engine._out.append(chunk)
    engine.send_window -= total
    engine._data_sent += count
    _give_back(engine, count, held)
    cdef bint tells = bool(context.after)
    cdef list closed = []
    cdef object head = None
    cdef object route = None
    cdef Py_ssize_t alike = 0
    for at in range(first, first + count):
        call = <CallState>calls[at]
        if call.head is not head:
            head = call.head
            if head.route is not route:
                if alike:
                    context.count_answered(route, alike)
                route, alike = head.route, 0
        alike += 1
        call.held = 0
        call.answered = True
        if call.handler is None:
            call.message, call.reader = b"", None
        if tells:
            (<object>engine)._tell_hooks(call, OK)
        if call.handler is None:
            call._request = None
        call.sending = False
        closed.append(call.id)
        del engine._streams[call.id]
        if call.handler is not None:
            engine._lingering.add(call)
    if alike:
        context.count_answered(route, alike)
    _note_closed(engine, closed)
    return 0


def reply_at_once(EngineState engine not None, CallState call not None, object message):
    """See fast_ways.py."""
    if not _is_usual_answer(engine, call, message):
        return False
    cdef long long size = PyBytes_GET_SIZE(message) + PREFIX
    if size > engine.send_window:
        return False
    call.over = True
    _answer(engine, [call], [message], 0, 1, size)
    return True


def reply_all(object calls, object messages):
    """See fast_ways.py."""
    cdef list ours = list(calls)
    cdef list theirs = list(messages)
    cdef list refused = None
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t count
    cdef Py_ssize_t end = len(ours)
    cdef long long total
    cdef EngineState engine
    if len(theirs) != end:
        raise ValueError(f"{end} calls and {len(theirs)} messages")
    while at < end:
        count = 0
        if isinstance(ours[at], CallState):
            engine = (<CallState>ours[at]).connection
            if engine is not None and not engine.context.after:
                count = _run(engine, ours, theirs, at, &total)
        if count:
            _answer(engine, ours, theirs, at, count, total)
            at += count
        else:
            if not ours[at].reply(theirs[at]):
                if refused is None:
                    refused = []
                refused.append(at)
            at += 1
    return () if refused is None else tuple(refused)


cdef Py_ssize_t _run_to_fail(EngineState engine, list calls, Py_ssize_t first, object trailing) except -1:
    """How many calls from `first` on, of one connection, can be ended by one chunk of nothing but statuses.

    They are marked as over, so that one that comes twice ends the run.
    """
    cdef Py_ssize_t at = first
    cdef CallState call
    while at < len(calls) and isinstance(calls[at], CallState):
        call = <CallState>calls[at]
        if (
            call.connection is not engine or call.over or call.unusual or call.receiving
            or call.leading is not None or call.queue is not None or call.handler is not None
            or call.head.http_status is not None or (trailing is None and call.trailing is not None)
        ):
            break
        call.over = True
        at += 1
    return at - first


cdef int _fail(
    EngineState engine, list calls, Py_ssize_t first, Py_ssize_t count, object code, bytes block, object trailing
) except -1:
    """End a run of calls that are marked as over; `block` is the header block of each."""
    context = engine.context
    cdef Py_ssize_t size = PyBytes_GET_SIZE(block)
    cdef CallState call
    cdef long long held = 0
    cdef Py_ssize_t at
    cdef bytes chunk = _make_chunk(calls, first, count, count * (FRAME_HEADER + size))
    cdef unsigned char *to = <unsigned char *>PyBytes_AS_STRING(chunk)
    for at in range(first, first + count):
        call = <CallState>calls[at]
        to = _put_header(to, size, HEADERS, END_HEADERS | END_STREAM, call.id)
        to = _put(to, block)
        held += call.held
    engine._out.append(chunk)
    _give_back(engine, count, held)
    clock = context.clock
    cdef double now = engine._now if clock is None else clock()
    cdef list closed = []
    cdef list failed = []
    cdef object route = None
    cdef double started = 0
    cdef Py_ssize_t alike = 0
    for at in range(first, first + count):
        call = <CallState>calls[at]
        if call.head.route is not route or call.started != started:
            if alike:
                failed.append((route, now - started, alike))
            route, started, alike = call.head.route, call.started, 0
        alike += 1
        call.held = 0
        call.answered = True
        call.sending = False
        call.trailing = trailing
        call.message, call.reader, call._request = b"", None, None
        closed.append(call.id)
        del engine._streams[call.id]
    failed.append((route, now - started, alike))
    _note_closed(engine, closed)
    for route, seconds, number in failed:
        context.count_failed(route, code, seconds, number)
    return 0


def fail_all(object calls, object status, object trailing=None):
    """See fast_ways.py."""
    cdef list ours = list(calls)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t count
    cdef EngineState engine
    cdef object context = None
    cdef object block = None
    cdef bint is_ok = status.status_code is OK
    while at < len(ours):
        count = 0
        if isinstance(ours[at], CallState):
            engine = (<CallState>ours[at]).connection
            if engine is not None and engine._fast_bytes >= 0:
                if engine.context is not context:
                    context = engine.context
                    block = None if context.after or is_ok else context.refusal(status, trailing)
                if block is not None and PyBytes_GET_SIZE(<bytes?>block) <= LONGEST_BLOCK:
                    count = _run_to_fail(engine, ours, at, trailing)
        if count:
            _fail(engine, ours, at, count, status.status_code, block, trailing)
            at += count
        else:
            if not ours[at].over:
                if trailing is not None:
                    ours[at].trailing = trailing
                ours[at].fail(status.status_code, status.status_message)
            at += 1


def take_complete(type call_type not None, list events not None, dict complete not None):
    """See fast_ways.py."""
    cdef list others = None
    cdef list known = None
    cdef object last = None
    cdef CallState call
    for event in events:
        if type(event) is call_type:
            call = <CallState?>event
            if call.over:
                continue
            if call.head is not last:
                route = call.head.route
                if route.target is not None:
                    last = call.head
                    known = complete.get(route)
                    if known is None:
                        known = complete[route] = []
            if call.head is last:
                known.append(event)
                continue
        if others is None:
            others = []
        others.append(event)
    return () if others is None else others
