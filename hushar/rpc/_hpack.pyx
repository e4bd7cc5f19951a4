# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The compiled twin of header_blocks.HeaderDecoder, huffman.HuffmanDecoder, request_head.RequestHead and
variations.Variations.

They are described there; here is what differs. No index is used before it is compared with the length of
what it points into, and no length from a block before it is compared with what is left of the block.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

cdef extern from "Python.h":
    int PyList_SetSlice(list changed, Py_ssize_t start, Py_ssize_t end, void *by) except -1

from hushar.rpc.header_blocks import DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD, STATIC, CompressionError
from hushar.rpc.huffman import LENGTHS, BadHuffman
from hushar.rpc.request_head import PARSED

# --- Huffman's code (RFC 7541, appendix B)

cdef enum:
    EOS = 256
    LONGEST = 30
    AT_ONCE = 12  # bits that one look-up takes: up to two characters of the usual ones
    MAX_PADDING = 7
    MOST_FROM_A_BYTE = 2  # characters: the shortest codes have five bits
    SHORT = 250  # coded bytes that are decoded on the stack

cdef uint32_t STEPS[1 << AT_ONCE]
"""By the next bits: first character | second << 8 | bits of the first << 16 | bits of both << 24; 0 where the
first has more bits. With one character only both counts are its own."""
cdef uint32_t FIRST_CODE[LONGEST + 1]
cdef uint32_t CODES_OF[LONGEST + 1]
cdef uint32_t FIRST_PLACE[LONGEST + 1]
"""The code is canonical: those of a length are numbers in a row, and so are their places in SYMBOLS."""
cdef uint32_t SYMBOLS[EOS + 1]


cdef int build_code() except -1:
    """Fill the tables above from the code's lengths."""
    cdef uint32_t place = 0, code = 0, length, one, two, at, taken
    cdef uint32_t first_of[1 << AT_ONCE]
    memset(CODES_OF, 0, sizeof(CODES_OF))
    memset(STEPS, 0, sizeof(STEPS))
    memset(first_of, 0, sizeof(first_of))
    for length in range(1, LONGEST + 1):
        code <<= 1
        FIRST_CODE[length] = code
        FIRST_PLACE[length] = place
        for one in range(EOS + 1):
            if <uint32_t>LENGTHS[one] != length:
                continue
            SYMBOLS[place] = one
            place += 1
            CODES_OF[length] += 1
            if length <= AT_ONCE:
                for at in range(1 << (AT_ONCE - length)):
                    first_of[code << (AT_ONCE - length) | at] = one | length << 16 | length << 24
            code += 1
    for at in range(1 << AT_ONCE):
        one = first_of[at]
        if one == 0:
            continue
        taken = one >> 16 & 0xFF
        # What is behind the first character, with zeros where the bits end.
        two = first_of[at << taken & ((1 << AT_ONCE) - 1)]
        if two and taken + (two >> 24) <= AT_ONCE:
            one += (two & 0xFF) << 8 | (two >> 24) << 24
        STEPS[at] = one
    return 0


cdef Py_ssize_t unpack(const uint8_t *data, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Decode `size` bytes into `out`, which has room for two of each and two more; the number of characters.

    -1 for what is no string.
    """
    cdef const uint8_t *end = data + size
    cdef uint8_t *start = out
    cdef uint64_t bits = 0  # the next ones, from the highest on; zeros behind the last
    cdef int have = 0, length
    cdef uint32_t step, code
    while True:
        while have <= 56 and data < end:
            bits |= <uint64_t>data[0] << (56 - have)
            data += 1
            have += 8
        step = STEPS[bits >> (64 - AT_ONCE)]
        length = step >> 24
        if step and length <= have:
            out[0] = step & 0xFF
            out[1] = step >> 8 & 0xFF
            out += 1 + (length > <int>(step >> 16 & 0xFF))
        else:
            length = step >> 16 & 0xFF
            if not step:
                for length in range(AT_ONCE + 1, LONGEST + 1):
                    code = bits >> (64 - length)
                    if code - FIRST_CODE[length] < CODES_OF[length]:
                        step = SYMBOLS[FIRST_PLACE[length] + code - FIRST_CODE[length]]
                        break
                else:
                    return -1
            if length > have:
                # No character is left: fewer than eight bits, all of them ones.
                if have > MAX_PADDING or (have and ~bits >> (64 - have)):
                    return -1
                return out - start
            if length > AT_ONCE and step == EOS:
                return -1
            out[0] = step & 0xFF
            out += 1
        bits <<= length
        have -= length


cdef bytes unhuffman(const uint8_t *data, Py_ssize_t size):
    """The string behind coded bytes; None for what is no string."""
    cdef uint8_t small[MOST_FROM_A_BYTE * SHORT + 2]
    cdef uint8_t *out = small
    cdef Py_ssize_t length
    if size > SHORT:
        out = <uint8_t *>PyMem_Malloc(MOST_FROM_A_BYTE * size + 2)
        if out is NULL:
            raise MemoryError
    try:
        length = unpack(data, size, out)
        return None if length < 0 else PyBytes_FromStringAndSize(<char *>out, length)
    finally:
        if out is not small:
            PyMem_Free(out)


cdef class HuffmanDecoder:
    """See huffman.HuffmanDecoder."""

    def decode(self, bytes data not None):
        """The string behind Huffman-coded `data`. Raises BadHuffman."""
        text = unhuffman(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        if text is None:
            raise BadHuffman("EOS in a string, or bad padding")
        return text


# --- Header blocks

cdef enum:
    STATIC_FIELDS = 61
    OVERHEAD = 32
    KEEP_DROPPED = 64  # entries that have left the table before their places are given back
    INDEXED_MASK = 0x3F
    MARKED = 64  # fields of a block: more have no varied head

cdef uint64_t MAX_INTEGER = <uint64_t>1 << 32
cdef tuple FIELDS_OF_STATIC = STATIC


cdef inline Py_ssize_t size_of(tuple field) noexcept:
    """What an entry, or a field of a list, counts. All tuples here are pairs of bytes."""
    return (
        PyBytes_GET_SIZE(<object>PyTuple_GET_ITEM(field, 0))
        + PyBytes_GET_SIZE(<object>PyTuple_GET_ITEM(field, 1))
        + OVERHEAD
    )


@cython.final
cdef class HeaderDecoder:
    """See header_blocks.HeaderDecoder."""

    def __init__(self, max_table_bytes=DEFAULT_TABLE_BYTES):
        """See header_blocks.HeaderDecoder."""
        self.changes = 0
        self.literals = []
        self.literal_bytes = 0
        self._allowed = self._limit = self._room = max_table_bytes
        self._table = []
        self._oldest = self._dropped = 0

    def decode(self, bytes block not None):
        """The fields of a block in wire order. Raises CompressionError, and cannot be used after that."""
        cdef list fields
        self.literals = []
        fields = self.fields_of(<const uint8_t *>PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block), True)
        self.drop()
        return fields

    cdef list fields_of(self, const uint8_t *block, Py_ssize_t size, bint listing):
        """What `decode` gives; the table is not tidied up yet, so that it can be made what it was."""
        cdef list fields = []
        self._listing = listing
        self._marks = 0
        self.literal_bytes = 0
        self._at = block
        self._end = block + size
        cdef uint8_t byte
        while self._at < self._end:
            byte = self._at[0]
            if byte & 0x80:
                fields.append(self.field_at(self.integer(0x7F)))
            elif byte & 0x40:
                self.literal(INDEXED_MASK, fields)
            elif byte & 0x20 == 0:
                self.literal(0x0F, fields)
            elif PyList_GET_SIZE(fields):
                raise CompressionError("a size update after a field")
            else:
                self.resize()
        return fields

    cdef tuple field_at(self, uint64_t index):
        """The entry of an index."""
        cdef Py_ssize_t entries
        if index == 0:
            raise CompressionError("index 0")
        if index <= STATIC_FIELDS:
            return <tuple>PyTuple_GET_ITEM(FIELDS_OF_STATIC, index - 1)
        index -= STATIC_FIELDS + 1
        entries = PyList_GET_SIZE(self._table)
        if index >= <uint64_t>(entries - self._oldest):
            raise CompressionError("an index beyond the table")
        return <tuple>PyList_GET_ITEM(self._table, entries - 1 - <Py_ssize_t>index)

    cdef int64_t integer(self, unsigned int mask) except -1:
        """An integer with a prefix of as many bits as `mask` has (section 5.1); there is a byte for it."""
        cdef uint64_t value = self._at[0] & mask
        cdef int shift = 0
        cdef uint8_t byte
        self._at += 1
        if value < mask:
            return value
        while True:
            if self._at >= self._end:
                raise CompressionError("an integer beyond the block")
            byte = self._at[0]
            self._at += 1
            value += <uint64_t>(byte & 0x7F) << shift
            if value > MAX_INTEGER or shift > 28:
                raise CompressionError("an integer too large")
            if byte < 0x80:
                return value
            shift += 7

    cdef bytes string(self):
        """A string, plain or by Huffman's code (section 5.2)."""
        cdef bint coded
        cdef int64_t length
        cdef const uint8_t *data
        if self._at >= self._end:
            raise CompressionError("a string beyond the block")
        coded = self._at[0] & 0x80
        length = self.integer(0x7F)
        data = self._at
        if length > self._end - data:
            raise CompressionError("a string beyond the block")
        self._at = data + length
        if not coded:
            return PyBytes_FromStringAndSize(<const char *>data, length)
        text = unhuffman(data, length)
        if text is None:
            raise CompressionError("EOS in a string, or bad padding")
        return text

    cdef int literal(self, unsigned int mask, list fields) except -1:
        """Read a literal field, whose index of a name has as many bits as `mask`."""
        cdef bytes name
        cdef tuple field
        cdef Py_ssize_t size
        cdef int64_t index = self.integer(mask)
        if index:
            name = <bytes>PyTuple_GET_ITEM(self.field_at(index), 0)
        else:
            name = self.string()
        field = (name, self.string())
        size = size_of(field)
        if self._listing:
            self.literals.append(PyList_GET_SIZE(fields))
        if PyList_GET_SIZE(fields) < MARKED:
            self._marks |= <uint64_t>1 << PyList_GET_SIZE(fields)
        self.literal_bytes += size
        fields.append(field)
        if mask == INDEXED_MASK:
            self.changes += 1
            self.make_room(self._room - size)
            if self._room >= 0:
                self._table.append(field)
            else:
                # Larger than the table, which it has emptied.
                self._room = self._limit
        return 0

    cdef int make_room(self, int64_t room) except -1:
        """Drop the oldest entries until there is room; `room` is what is left without that, as a rule."""
        cdef Py_ssize_t entries = PyList_GET_SIZE(self._table)
        while room < 0 and self._oldest < entries:
            room += size_of(<tuple>PyList_GET_ITEM(self._table, self._oldest))
            self._oldest += 1
        self._room = room
        return 0

    cdef int drop(self) except -1:
        """Let go of the entries that have left the table."""
        while self._dropped < self._oldest:
            self._table[self._dropped] = None
            self._dropped += 1
        if self._oldest > KEEP_DROPPED and 2 * self._oldest > PyList_GET_SIZE(self._table):
            del self._table[: self._oldest]
            self._oldest = self._dropped = 0
        return 0

    cdef State state(self):
        """What the table is now."""
        cdef State state
        state.changes = self.changes
        state.entries = PyList_GET_SIZE(self._table)
        state.oldest = self._oldest
        state.limit = self._limit
        state.room = self._room
        return state

    cdef int restore(self, const State *state) except -1:
        """Make the table what it was, if nothing has been dropped since."""
        self.changes = state.changes
        del self._table[state.entries :]
        self._oldest = state.oldest
        self._limit = state.limit
        self._room = state.room
        return 0

    cdef int resize(self) except -1:
        """A size update (section 4.2)."""
        cdef int64_t limit = self.integer(0x1F)
        if limit > self._allowed:
            raise CompressionError("a table larger than announced")
        self.changes += 1
        self.make_room(self._room + limit - self._limit)
        self._limit = limit
        return 0


# --- Heads

@cython.final
@cython.freelist(256)
cdef class RequestHead:
    """See request_head.RequestHead."""

    def __init__(self):
        self.scheme = self.path = b""
        self.fields = ()
        self.accept = NOTHING_ACCEPTED


cdef object NOTHING_ACCEPTED = frozenset()
cdef frozenset NOT_TEXT = PARSED
cdef uint8_t IN_NAMES[256]
"""Whether a byte may stand in a name (RFC 9113, section 8.2.1), but for the colon of a pseudo-header's."""


cdef void build_names() noexcept:
    cdef int byte
    for byte in range(256):
        IN_NAMES[byte] = 0x20 < byte < 0x7F and not c"A" <= byte <= c"Z" and byte != c":"


cdef inline bint equal(bytes one, bytes other) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(one)
    return one is other or (
        size == PyBytes_GET_SIZE(other)
        and memcmp(PyBytes_AS_STRING(one), PyBytes_AS_STRING(other), size) == 0
    )


cdef inline bint same_field(tuple one, tuple other) noexcept:
    return one is other or (
        equal(<bytes>PyTuple_GET_ITEM(one, 0), <bytes>PyTuple_GET_ITEM(other, 0))
        and equal(<bytes>PyTuple_GET_ITEM(one, 1), <bytes>PyTuple_GET_ITEM(other, 1))
    )


cdef inline bint is_timeout(bytes name) noexcept:
    return PyBytes_GET_SIZE(name) == 12 and memcmp(PyBytes_AS_STRING(name), b"grpc-timeout", 12) == 0


cdef bint is_text(bytes name) except -1:
    """See request_head.is_text."""
    cdef const char *text = PyBytes_AS_STRING(name)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name), at
    if size == 0 or (size >= 5 and memcmp(text, b"grpc-", 5) == 0):
        return False
    if size >= 4 and memcmp(text + size - 4, b"-bin", 4) == 0:
        return False
    for at in range(size):
        if not IN_NAMES[<uint8_t>text[at]]:
            return False
    return name not in NOT_TEXT


cdef bint is_value(bytes value) noexcept:
    """See request_head.is_value."""
    cdef const char *text = PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    if size == 0:
        return True
    if text[0] == c" " or text[0] == c"\t" or text[size - 1] == c" " or text[size - 1] == c"\t":
        return False
    return (
        memchr(text, 0, size) is NULL
        and memchr(text, c"\r", size) is NULL
        and memchr(text, c"\n", size) is NULL
    )


cdef double seconds_of(bytes value) noexcept:
    """See status.parse_timeout; -1 for what is no time-out."""
    cdef const char *text = PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value), at
    cdef long count = 0
    if size < 2 or size > 9:
        return -1.0
    for at in range(size - 1):
        if not c"0" <= text[at] <= c"9":
            return -1.0
        count = 10 * count + (text[at] - c"0")
    if text[size - 1] == c"n":
        return count * 1e-9
    if text[size - 1] == c"u":
        return count * 1e-6
    if text[size - 1] == c"m":
        return count * 1e-3
    if text[size - 1] == c"S":
        return <double>count
    if text[size - 1] == c"M":
        return count * 60.0
    if text[size - 1] == c"H":
        return count * 3600.0
    return -1.0


cdef enum:
    MOST_KNOWN = 8  # heads that a connection's blocks are compared with, one after the other


cdef inline bint is_zero(object timeout) except -1:
    return timeout is not None and <double>timeout == 0


@cython.final
cdef class Known:
    """A head that may be varied, and all of its fields, the pseudo-headers too."""

    cdef RequestHead head
    cdef list fields
    cdef bint collects
    """Its route's, if it has one."""
    cdef bytes text
    """A name that was found to be of a client's own text."""


@cython.final
cdef class Variations:
    """See variations.Variations. What is compared there list by list is compared field by field here, and
    several heads are known: a client may call several methods in turns."""

    def __init__(self, HeaderDecoder decoder not None, find, *, max_fields, max_bytes):
        """See variations.Variations."""
        self._decoder = decoder
        self._find = find
        self._max_fields = max_fields
        self._max_bytes = max_bytes
        self._known = []
        self._like = self._next = 0
        self._changes = -1

    def head(self, list fields not None):
        """The head of the block that the decoder has read last; None where it takes the general way."""
        cdef uint64_t marks = self._decoder._marks
        cdef RequestHead head = self.varied(fields, marks, False)
        if head is None and self.learn(fields, self._decoder.literals):
            head = self.varied(fields, marks, False)
        return head

    def read(self, bytes block not None):
        """Decode a block that begins a usual call, if its head can be varied; else None, nothing changed."""
        return self.read_block(<const uint8_t *>PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block))

    cdef RequestHead read_block(self, const uint8_t *block, Py_ssize_t size):
        """See `read`."""
        cdef HeaderDecoder decoder = self._decoder
        cdef State before
        cdef RequestHead head = None
        if (
            self._changes == decoder.changes
            and PyBytes_GET_SIZE(self._block) == size
            and memcmp(PyBytes_AS_STRING(self._block), block, size) == 0
        ):
            return self._head
        if PyList_GET_SIZE(self._known) == 0:
            return None
        before = decoder.state()
        try:
            head = self.varied(decoder.fields_of(block, size, False), decoder._marks, True)
        except CompressionError:
            # The general way finds it too, and ends the connection.
            pass
        if head is None or not (<Known>self._known[self._like]).collects or is_zero(head.timeout):
            decoder.restore(&before)
            return None
        decoder.drop()
        if decoder.changes == before.changes:
            self._block = PyBytes_FromStringAndSize(<const char *>block, size)
            self._changes = decoder.changes
            self._head = head
        return head

    cdef RequestHead varied(self, list fields, uint64_t marks, bint owned):
        """The head of fields that are, but for what may be new, those of a known one.

        `marks`: which of them were literals. Fields that are `owned` may be used up.
        """
        cdef Py_ssize_t count = PyList_GET_SIZE(self._known), tried, place
        cdef RequestHead head
        if (
            marks == 0
            or PyList_GET_SIZE(fields) > MARKED
            or PyList_GET_SIZE(fields) > self._max_fields
            or self._decoder.literal_bytes > self._max_bytes
        ):
            return None
        place = self._like
        for tried in range(count):
            head = vary(<Known>PyList_GET_ITEM(self._known, place), fields, marks, self._max_bytes, owned)
            if head is not None:
                self._like = place
                return head
            place = place + 1 if place + 1 < count else 0
        return None

    cdef bint learn(self, list fields, list literals) except -1:
        """Find the head of what was no literal, if it is one that may be varied."""
        cdef list indexed
        cdef RequestHead head
        cdef Known known
        if not literals or PyList_GET_SIZE(fields) > MARKED:
            return False
        for place in literals:
            name = (<tuple>fields[place])[0]
            if not is_timeout(name) and not is_text(name):
                return False
        indexed = fields.copy()
        for place in reversed(literals):
            del indexed[place]
        if indexed == self._without:
            return False
        for known in self._known:
            if known.fields == indexed:
                # What was added to it was not to be had this way.
                return False
        head = self._find(tuple(indexed))
        if head is None or head.refusal is not None or head.http_status is not None:
            self._without = indexed
            return False
        known = Known.__new__(Known)
        known.head = head
        known.fields = indexed
        known.collects = getattr(head.route, "collects", False)
        if PyList_GET_SIZE(self._known) < MOST_KNOWN:
            self._like = PyList_GET_SIZE(self._known)
            self._known.append(known)
        else:
            self._like = self._next
            self._known[self._next] = known
            self._next = (self._next + 1) % MOST_KNOWN
        return True


cdef RequestHead vary(Known known, list fields, uint64_t marks, Py_ssize_t max_bytes, bint owned):
    """The head, if all known fields are there in their order, and the rest may be new; see `varied`."""
    cdef RequestHead head = known.head
    cdef list last = known.fields
    cdef Py_ssize_t at = 0, end = PyList_GET_SIZE(last), place, size = head.size
    cdef tuple field
    cdef bytes name, value
    cdef double seconds
    timeout = head.timeout
    for place in range(PyList_GET_SIZE(fields)):
        field = <tuple>PyList_GET_ITEM(fields, place)
        if at < end and PyList_GET_ITEM(last, at) == PyList_GET_ITEM(fields, place):
            at += 1
            continue
        if at < end and same_field(field, <tuple>PyList_GET_ITEM(last, at)):
            # The entry that the table holds now: the next time they are one object.
            last[at] = field
            at += 1
            continue
        if not marks >> place & 1 or place < head.pseudo:
            return None
        name = <bytes>PyTuple_GET_ITEM(field, 0)
        value = <bytes>PyTuple_GET_ITEM(field, 1)
        if is_timeout(name):
            seconds = seconds_of(value)
            if timeout is not None or seconds < 0:
                return None
            timeout = seconds
        elif not (name is known.text or is_text(name)) or not is_value(value):
            return None
        else:
            known.text = name
        size += size_of(field)
    if at < end or size > max_bytes:
        return None
    if size == head.size:
        return head
    if owned:
        PyList_SetSlice(fields, 0, head.pseudo, NULL)
    else:
        fields = fields[head.pseudo :]
    return like(head, fields, timeout, size)


cdef RequestHead like(RequestHead known, list fields, object timeout, Py_ssize_t size):
    """A head that says the same but for these."""
    cdef RequestHead head = RequestHead.__new__(RequestHead)
    head.scheme = known.scheme
    head.path = known.path
    head.authority = known.authority
    head.fields = fields
    head.content_length = known.content_length
    head.timeout = timeout
    head.encoding = known.encoding
    head.accept = known.accept
    head.pseudo = known.pseudo
    head.size = size
    head.route = known.route
    return head


build_code()
build_names()
assert len(STATIC) == STATIC_FIELDS and ENTRY_OVERHEAD == OVERHEAD
