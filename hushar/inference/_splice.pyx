# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of `splice.spliced`: the same bytes, in one pass over a batch.

Theory of operation. First every message is walked, without the GIL: where its ids are, where its rows
begin and end, how many bytes of each row stay without its fields 3, and so how long its response and its
record will be. What the vectorizer has found of that on its way (`_layout.pxd`) is not looked for again.
Then the bytes objects are made, each of its final size: one for each response, one for all records. Then they are filled, again without the GIL: nobody else knows of them yet.

The walk checks every tag and length against the end of what it is in. A message that does not fit what the
caller says of it, or what a layout says, is a ValueError, and nothing outside of it is read. Records that have
room in the log's draft are filled in there: no object is made for them.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint64_t

from hushar._drafts cimport Draft
from hushar.features._layout cimport Head, Row
from hushar.inference._far cimport Far, begin_far, begin_here, end_far, make_room, put_far
from hushar.inference._fields cimport (
    FIELD_1,
    FIELD_2,
    FIELD_3,
    Span,
    field_at,
    put_bytes,
    put_head,
    put_varint,
    varint_size,
)

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

# `received_unix_micros` (16, varint) and `model_version` (17, length-delimited) have tags of two bytes.

ctypedef struct Item:
    const uint8_t* data
    Py_ssize_t size
    Py_ssize_t rows
    Py_ssize_t at   # where its walk begins, and then where it has ended
    bint is_part    # only these rows of it, without what is before and after them
    bint has_id
    Span id
    Py_ssize_t response_size
    Py_ssize_t batch_size   # of the InferenceLogBatch, without its own tag and length
    uint64_t received
    Py_ssize_t tail_size    # of its record: what stands behind the rows
    uint8_t* response

ctypedef struct Constant:
    bint logged
    const uint8_t* model_id
    Py_ssize_t model_id_size
    const uint8_t* version
    Py_ssize_t version_size
    Py_ssize_t packed     # bytes of a row's scores
    Py_ssize_t packed_field  # with tag and length; 0 where a row has none


def spliced(messages, rows, scores, log, draft=None, layout=None):
    """See `hushar.inference.splice.spliced`."""
    cdef list the_messages = messages if type(messages) is list else list(messages)
    cdef list the_rows = rows if type(rows) is list else list(rows)
    cdef Py_buffer view
    PyObject_GetBuffer(scores, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    try:
        if view.ndim != 2 or view.format[0] != c"f" or view.format[1] != 0:
            raise ValueError("scores must be C-contiguous float32 of rank 2")
        return spliced_buffer(the_messages, the_rows, &view, log, draft, layout)
    finally:
        PyBuffer_Release(&view)


def spliced_part(bytes message not None, Py_ssize_t at, Py_ssize_t rows, scores, bint logged, layout=None):
    """See `hushar.inference.splice.spliced_part`."""
    cdef Py_buffer view
    cdef Constant constant
    cdef Item item
    cdef Row* table = NULL
    cdef const Row* found
    PyObject_GetBuffer(scores, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    try:
        if view.ndim != 2 or view.format[0] != c"f" or view.format[1] != 0:
            raise ValueError("scores must be C-contiguous float32 of rank 2")
        if rows < 0 or view.shape[0] != rows or at < 0:
            raise ValueError(f"{rows} rows, {view.shape[0]} rows of scores")
        set_packed(&constant, view.shape[1])
        constant.logged = logged
        item.data, item.size = <const uint8_t*> PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message)
        item.rows, item.at, item.is_part = rows, at, True
        found = locate(&item, 1, rows, layout, &table, &constant, &at)
        if at >= 0:
            raise ValueError(f"the message is cut short or does not have {rows} rows more")
        responses, records = make(&item, 1, found, &constant, <const uint8_t*> view.buf, None)
        request_id = PyBytes_FromStringAndSize(<char*> item.data + item.id.start, item.id.size) \
            if item.has_id else None
        return responses[0], records, request_id, item.at
    finally:
        PyMem_Free(table)
        PyBuffer_Release(&view)


cdef void set_packed(Constant* constant, Py_ssize_t columns) noexcept:
    constant.packed = 4 * columns
    constant.packed_field = 1 + varint_size(constant.packed) + constant.packed if columns else 0


cdef Row* new_table(Py_ssize_t rows) except NULL:
    cdef Row* table = NULL
    if rows < PY_SSIZE_T_MAX // <Py_ssize_t> sizeof(Row):
        table = <Row*> PyMem_Malloc((rows or 1) * sizeof(Row))
    if table == NULL:
        raise MemoryError
    return table


cdef const Row* locate(
    Item* items,
    Py_ssize_t count,
    Py_ssize_t rows,
    layout,
    Row** table,
    const Constant* constant,
    Py_ssize_t* wrong,
) except NULL:
    """Where the rows are, by the layout or else in a `table` that is made, and all sizes. `wrong`: the index of
    the first message that is not what the caller says, or -1."""
    cdef const Row* found
    if layout is not None:
        found = rows_of(layout, rows, count, items)
        wrong[0] = first_wrong(items, count, found, NULL, constant)
        return found
    table[0] = new_table(rows)
    with nogil:
        wrong[0] = first_wrong(items, count, NULL, table[0], constant)
    return table[0]


cdef const Row* rows_of(layout, Py_ssize_t rows, Py_ssize_t count, Item* items) except NULL:
    """What a layout says of the first parts, or for a part of a message of the last one, since that stands behind
    those that were vectorized with it; the heads go into `items`."""
    cdef bytes places, heads
    cdef Py_ssize_t index, first_row, first
    cdef const Head* head
    places, heads = layout
    if places is None or heads is None:
        raise TypeError("a layout is of bytes")
    first_row = PyBytes_GET_SIZE(places) // <Py_ssize_t> sizeof(Row) - rows
    first = PyBytes_GET_SIZE(heads) // <Py_ssize_t> sizeof(Head) - count
    if first_row < 0 or first < 0:
        raise ValueError(f"a layout of fewer than {count} messages with {rows} rows")
    if count == 0 or not items.is_part:
        first_row = first = 0
    head = <const Head*> PyBytes_AS_STRING(heads) + first
    for index in range(count):
        items[index].has_id, items[index].id = head[index].has_id, head[index].id
        items[index].at = head[index].end
    return <const Row*> PyBytes_AS_STRING(places) + first_row


cdef spliced_buffer(list messages, list rows, Py_buffer* scores, log, draft, layout):
    cdef Py_ssize_t count = len(messages), total = scores.shape[0], left = total, index, wanted
    cdef Constant constant
    cdef Item* items
    cdef Row* table = NULL
    cdef const Row* found
    cdef bytes message, model_id, version
    cdef list received = None
    constant.logged = log is not None
    set_packed(&constant, scores.shape[1])
    if constant.logged:
        model_id, version = log.model_id, log.model_version
        received = log.received if type(log.received) is list else list(log.received)
        constant.model_id = <const uint8_t*> PyBytes_AS_STRING(model_id)
        constant.model_id_size = len(model_id)
        constant.version = <const uint8_t*> PyBytes_AS_STRING(version)
        constant.version_size = len(version)
        if len(received) != count:
            raise ValueError(f"{count} messages, {len(received)} times of arrival")
    if len(rows) != count:
        raise ValueError(f"{count} messages, {len(rows)} numbers of rows")
    items = <Item*> PyMem_Malloc((count or 1) * sizeof(Item))
    try:
        if items == NULL:
            raise MemoryError
        for index in range(count):
            message = <bytes?> messages[index]
            wanted = rows[index]
            if wanted < 0 or wanted > left:
                raise ValueError(f"{count} messages, more rows in them than the {total} rows of scores")
            left -= wanted
            items[index].data = <const uint8_t*> PyBytes_AS_STRING(message)
            items[index].size = PyBytes_GET_SIZE(message)
            items[index].rows = wanted
            items[index].at, items[index].is_part = 0, False
            if not constant.logged:
                continue
            if index and received[index] is received[index - 1]:
                # Calls that came together.
                items[index].received = items[index - 1].received
                items[index].tail_size = items[index - 1].tail_size
            else:
                items[index].received = <uint64_t> <long long> received[index]
                items[index].tail_size = tail_size(items[index].received, &constant)
        if left:
            raise ValueError(f"{count} messages, {total - left} rows in them, {total} rows of scores")
        found = locate(items, count, total, layout, &table, &constant, &index)
        if index >= 0:
            raise ValueError(f"message {index} is cut short or does not have {items[index].rows} rows")
        responses, records = make(items, count, found, &constant, <const uint8_t*> scores.buf, draft)
        return responses, [records] if constant.logged and count else []
    finally:
        PyMem_Free(items)
        PyMem_Free(table)


cdef make(
    Item* items, Py_ssize_t count, const Row* table, const Constant* constant, const uint8_t* scores, draft
):
    """Make the bytes objects and fill them; the records are `draft` if that has room."""
    cdef list responses = []
    cdef bytes made, records = b""
    cdef Py_ssize_t index, total = 0
    cdef uint8_t* place = NULL
    cdef uint8_t* near = NULL
    if constant.logged:
        for index in range(count):
            total += record_size(&items[index])
        if draft is not None and count:
            place = <uint8_t*> (<Draft?> draft).place(total)
        if place == NULL:
            # One object for all: the records of a batch stay together.
            records = PyBytes_FromStringAndSize(NULL, total)
            near = <uint8_t*> PyBytes_AS_STRING(records)
    for index in range(count):
        made = PyBytes_FromStringAndSize(NULL, items[index].response_size)
        items[index].response = <uint8_t*> PyBytes_AS_STRING(made)
        responses.append(made)
    with nogil:
        fill_responses(items, count, table, constant, scores)
        if constant.logged:
            fill_records(items, count, table, constant, scores, near, place)
    if place == NULL:
        return responses, records
    (<Draft> draft).size = total
    return responses, draft


cdef inline Py_ssize_t record_size(const Item* item) noexcept nogil:
    if item.is_part:
        return item.batch_size
    return 1 + varint_size(item.batch_size) + item.batch_size


cdef inline Py_ssize_t tail_size(uint64_t received, const Constant* constant) noexcept nogil:
    cdef Py_ssize_t size = 2 + varint_size(received) if received else 0
    return size + 1 + text_size(constant.version_size) if constant.version_size else size


# The walk. It knows a row by its tag alone.


cdef bint measure_row(const uint8_t* data, Row* row) noexcept nogil:
    """Find a row's id, and how much of it stays."""
    cdef Py_ssize_t at = row.whole.start, end = at + row.whole.size, start
    cdef uint64_t tag = 0
    cdef Span value
    row.id.start = row.id.size = 0
    row.kept = row.whole.size
    while at < end:
        if data[at] == FIELD_2 and at + 1 < end and data[at + 1] < 0x80:
            # Most fields: a map entry of less than 128 bytes.
            at += 2 + data[at + 1]
            if at > end:
                return False
            continue
        start = at
        at = field_at(data, at, end, &tag, &value)
        if at < 0:
            return False
        if tag == FIELD_1:
            row.id = value
        elif tag >> 3 == 3:
            row.kept -= at - start
    return True


cdef inline void add_row(Item* item, const Row* row, const Constant* constant) noexcept nogil:
    cdef Py_ssize_t size = text_size(row.id.size) + constant.packed_field
    item.response_size += 1 + varint_size(size) + size
    size = row.kept + constant.packed_field
    item.batch_size += 1 + varint_size(size) + size


cdef inline void add_ends(Item* item, const Constant* constant) noexcept nogil:
    """What stands before and after the rows."""
    cdef Py_ssize_t size
    if item.is_part:
        return
    size = text_size(item.id.size)
    item.response_size += size
    if constant.logged:
        item.batch_size += size + text_size(constant.model_id_size) + item.tail_size


cdef bint measure(Item* item, Row* table, const Constant* constant) noexcept nogil:
    """Walk one message; False if it is not what the caller says."""
    cdef const uint8_t* data = item.data
    cdef Py_ssize_t at = item.at, rows = 0
    cdef uint64_t tag = 0
    cdef Span value
    cdef Row* row
    item.id.start = item.id.size = 0
    item.has_id = False
    item.response_size = item.batch_size = 0
    while at < item.size:
        if item.is_part and rows and rows == item.rows:
            break
        at = field_at(data, at, item.size, &tag, &value)
        if at < 0:
            return False
        if tag == FIELD_1:
            item.id, item.has_id = value, True
        elif tag == FIELD_2:
            if rows == item.rows:
                return False
            row = &table[rows]
            row.whole = value
            if not measure_row(data, row):
                return False
            add_row(item, row, constant)
            rows += 1
    item.at = at
    add_ends(item, constant)
    return rows == item.rows


# What a layout says is looked at, not walked.


cdef inline bint lies_in(const Span* inner, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    return begin <= inner.start <= end and 0 <= inner.size <= end - inner.start


cdef bint check(Item* item, const Row* table, const Constant* constant) noexcept nogil:
    """As `measure`, of what is known already; False if that cannot be of this message."""
    cdef Py_ssize_t index, begin = 0
    cdef const Row* row
    item.response_size = item.batch_size = 0
    if not item.has_id:
        item.id.start = item.id.size = 0
    if not lies_in(&item.id, 0, item.size) or item.at < 0 or item.at > item.size:
        return False
    for index in range(item.rows):
        row = &table[index]
        if not lies_in(&row.whole, begin, item.size) or row.kept != row.whole.size:
            return False
        begin = row.whole.start + row.whole.size
        # A row without an id has an empty one at the beginning of the message.
        if (row.id.start or row.id.size) and not lies_in(&row.id, row.whole.start, begin):
            return False
        add_row(item, row, constant)
    add_ends(item, constant)
    return True


cdef Py_ssize_t first_wrong(
    Item* items, Py_ssize_t count, const Row* known, Row* table, const Constant* constant
) noexcept nogil:
    """Look at all messages by what is `known`, or, where that is NULL, walk them and fill the `table`; the index of
    the first that is not what the caller says, or -1."""
    cdef Py_ssize_t index, row = 0
    cdef bint right
    for index in range(count):
        right = check(&items[index], known + row, constant) if known != NULL \
            else measure(&items[index], table + row, constant)
        if not right:
            return index
        row += items[index].rows
    return -1


# Writing: all sizes are known, so there is always room.


cdef inline Py_ssize_t text_size(Py_ssize_t size) noexcept nogil:
    """Of a string field with a tag of one byte; nothing where it is empty, as proto3 has it."""
    return 1 + varint_size(size) + size if size else 0


cdef inline uint8_t* put_text(uint8_t* to, uint8_t tag, const uint8_t* data, Py_ssize_t size) noexcept nogil:
    if size == 0:
        return to
    return put_bytes(put_head(to, tag, size), data, size)


cdef inline uint8_t* put_scores(
    uint8_t* to, uint8_t tag, const Constant* constant, const uint8_t* scores
) noexcept nogil:
    if constant.packed == 0:
        return to
    return put_bytes(put_head(to, tag, constant.packed), scores, constant.packed)


cdef void fill_response(
    const Item* item, const Row* table, const Constant* constant, const uint8_t* scores
) noexcept nogil:
    cdef const Row* row
    cdef Py_ssize_t index
    cdef uint8_t* to = item.response
    if not item.is_part:
        to = put_text(to, FIELD_1, item.data + item.id.start, item.id.size)
    for index in range(item.rows):
        row = &table[index]
        to = put_head(to, FIELD_2, text_size(row.id.size) + constant.packed_field)
        to = put_text(to, FIELD_1, item.data + row.id.start, row.id.size)
        to = put_scores(to, FIELD_2, constant, scores)
        scores += constant.packed


cdef inline uint8_t* put_far_text(
    Far* far, uint8_t* to, uint8_t tag, const uint8_t* data, Py_ssize_t size
) noexcept nogil:
    if size == 0:
        return to
    return put_far(far, put_head(to, tag, size), data, size)


cdef uint8_t* fill_record(
    Far* far,
    uint8_t* to,
    const Item* item,
    const Row* table,
    const Constant* constant,
    const uint8_t* scores,
    bint ends_alike,
) noexcept nogil:
    """Where the record ends, which is `far.last` while its tail is there to be copied. `ends_alike`: as the one
    before it."""
    cdef const Row* row
    cdef Py_ssize_t index
    # The record before may be nothing but heads.
    to = make_room(far, to)
    if not item.is_part:
        to = put_head(to, FIELD_1, item.batch_size)
        to = put_far_text(far, to, FIELD_1, item.data + item.id.start, item.id.size)
        to = put_far_text(far, to, FIELD_2, constant.model_id, constant.model_id_size)
    for index in range(item.rows):
        row = &table[index]
        # Nothing but a head may be left of it.
        to = make_room(far, to)
        to = put_head(to, FIELD_3, row.kept + constant.packed_field)
        if row.kept == row.whole.size:
            to = put_far(far, to, item.data + row.whole.start, row.kept)
        else:
            to = put_without_fields_3(far, to, item.data, row)
        to = put_far_text(far, to, FIELD_3, scores, constant.packed)
        scores += constant.packed
    if item.is_part:
        return to
    to = make_room(far, to)
    if ends_alike and far.last != NULL:
        to = put_bytes(to, far.last - item.tail_size, item.tail_size)
    else:
        far.last = to
        to = put_tail(far, to, item, constant)
    if far.last != NULL:
        far.last = to
    return to


cdef inline uint8_t* put_tail(Far* far, uint8_t* to, const Item* item, const Constant* constant) noexcept nogil:
    if item.received:
        to[0], to[1] = 0x80, 0x01
        to = put_varint(to + 2, item.received)
    if constant.version_size:
        to[0], to[1] = 0x8A, 0x01
        to = put_far(far, put_varint(to + 2, constant.version_size), constant.version, constant.version_size)
    return to


cdef uint8_t* put_without_fields_3(Far* far, uint8_t* to, const uint8_t* data, const Row* row) noexcept nogil:
    """Walk a row again, which was walked once without an error, and copy its other fields."""
    cdef Py_ssize_t at = row.whole.start, end = at + row.whole.size, start
    cdef uint64_t tag = 0
    cdef Span value
    while at < end:
        start = at
        at = field_at(data, at, end, &tag, &value)
        if at < 0:
            break
        if tag >> 3 != 3:
            to = put_far(far, to, data + start, at - start)
    return to


cdef void fill_responses(
    const Item* items, Py_ssize_t count, const Row* table, const Constant* constant, const uint8_t* scores
) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(count):
        fill_response(&items[index], table, constant, scores)
        table += items[index].rows
        scores += items[index].rows * constant.packed


cdef void fill_records(
    const Item* items,
    Py_ssize_t count,
    const Row* table,
    const Constant* constant,
    const uint8_t* scores,
    uint8_t* near,
    uint8_t* place,
) noexcept nogil:
    """One behind the other: to `near`, or, where that is NULL, to `place`, which is far."""
    cdef Far far
    cdef Py_ssize_t index
    cdef uint8_t* to = begin_here(&far, near) if near != NULL else begin_far(&far, place)
    cdef bint ends_alike = False
    for index in range(count):
        ends_alike = index > 0 and items[index].received == items[index - 1].received
        to = fill_record(&far, to, &items[index], table, constant, scores, ends_alike)
        table += items[index].rows
        scores += items[index].rows * constant.packed
    end_far(&far, to)
