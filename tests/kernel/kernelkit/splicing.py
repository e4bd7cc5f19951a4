"""What responses and log records must be, by protobuf: serialized by it, or read back by it."""

import ctypes

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet

from hushar.drafts import Draft, ReadableDraft
from hushar.inference import splice
from hushar.records import each_record
from kernelkit import schema
from kernelkit.running import bits, part_sizes

SPECIAL = np.array([0, 1 << 31, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFFC12345, 1], np.uint32).view(
    np.float32
)
RECEIVED = (0, 1, 127, 128, 1_700_000_000_000_000, 2**63 - 1)


def twins():
    """The implementations of splicing by name: the readable one, and the compiled one where it is built."""
    compiled = splice.choose("cython")
    return {"readable": splice.READABLE} | ({} if compiled is splice.READABLE else {"compiled": compiled})


def draft_types():
    """The implementations of drafts by name, likewise."""
    return {"readable": ReadableDraft} | ({} if Draft is ReadableDraft else {"compiled": Draft})


def with_drafts():
    """(a splice, a type of draft) by their names: those that go together. Compiled code writes into compiled
    drafts only."""
    return {
        f"{name} splice, {draft_name} draft": (each, draft_type)
        for name, each in twins().items()
        for draft_name, draft_type in draft_types().items()
        if (name, draft_name) != ("compiled", "readable")
    }


def in_slices(implementation, message, scores, log, sizes, privacy=None):
    """A call's response and records, spliced in slices of so many rows."""
    slices = splice.Slices(message, implementation, logged=log is not None, privacy=privacy)
    start = 0
    for size in sizes:
        slices.add(scores[start : start + size])
        start += size
    (response,), records = slices.finish(log)
    return response, records


def scores_for(random, rows, columns):
    """Random scores (rows, columns): ordinary ones, infinities, quiet NaNs with payloads, -0."""
    made = np.array([[random.uniform(-9, 9) for _ in range(columns)] for _ in range(rows)], np.float32)
    made = made.reshape(rows, columns)
    for _ in range(made.size // 8):
        made[random.randrange(rows), random.randrange(columns)] = random.choice(SPECIAL)
    return made


def logged(random, messages):
    """What a log record has besides rows and scores."""
    model_id, version = random.choice(
        (
            (b"model", b"0123abcd"),
            (b"", b""),
            ("modèle".encode() * 30, b"v"),
            (b"m" * random.randint(0, 40), b"v" * random.randint(0, 300)),
        )
    )
    # Calls that came together, or most of them, or each alone.
    changing = random.choice((0.0, 0.2, 1.0))
    received = [random.choice(RECEIVED)]
    while len(received) < len(messages):
        same = received[-1]
        received.append(random.choice(RECEIVED) if random.random() < changing else same)
    return splice.Logged(model_id, version, received[: len(messages)])


def response(request, scores):
    """The response's bytes, by protobuf."""
    outputs = [
        schema.CLASSES["OutputRow"](row_id=row.row_id, scores=own.tolist())
        for row, own in zip(request.inputs, scores, strict=True)
    ]
    return schema.Response(request_id=request.request_id, outputs=outputs).SerializeToString()


def canonical(message):
    """The request as protobuf itself serializes it, without unknown fields, map keys sorted."""
    request = schema.decoded(message)
    request.DiscardUnknownFields()
    return request.SerializeToString(deterministic=True)


def record(message, scores, log, index):
    """The log record of a canonical request, by protobuf: one InferenceLogs."""
    request = schema.decoded(message)
    logs = schema.Logs()
    batch = logs.inferenceLogBatches.add(
        request_id=request.request_id,
        model_id=log.model_id.decode(),
        model_version=log.model_version.decode(),
    )
    batch.received_unix_micros = log.received[index]
    for row, own in zip(request.inputs, scores, strict=True):
        made = batch.inference_log_rows.add(row_id=row.row_id, scores=own.tolist())
        for name, value in row.features.items():
            made.features[name].CopyFrom(value)
    return logs.SerializeToString(deterministic=True)


def unknown_of(message):
    """The unknown fields of a message: (number, wire type, content); a group's content likewise."""
    return [_content(field) for field in UnknownFieldSet(message)]


def _content(field):
    data = [_content(each) for each in field.data] if field.wire_type == 3 else field.data
    return field.field_number, field.wire_type, data


def _features(row):
    """Each feature's bytes, its unknown fields included."""
    return {name: value.SerializeToString(deterministic=True) for name, value in row.features.items()}


def record_problem(message, scores, log, index, made):
    """What is wrong with the log record of a request, or None."""
    request = schema.decoded(message)
    try:
        logs = schema.Logs.FromString(made)
    except schema.DecodeError:
        return "the record is no InferenceLogs"
    if len(logs.inferenceLogBatches) != 1 or unknown_of(logs):
        return f"{len(logs.inferenceLogBatches)} batches, unknown fields {unknown_of(logs)}"
    batch = logs.inferenceLogBatches[0]
    about = (
        batch.request_id,
        batch.model_id.encode(),
        batch.model_version.encode(),
        batch.received_unix_micros,
    )
    if about != (request.request_id, log.model_id, log.model_version, log.received[index]) or unknown_of(
        batch
    ):
        return f"the batch says {about}, unknown fields {unknown_of(batch)}"
    if len(batch.inference_log_rows) != len(request.inputs):
        return f"{len(batch.inference_log_rows)} rows"
    for number, (ours, theirs) in enumerate(zip(batch.inference_log_rows, request.inputs, strict=True)):
        if ours.row_id != theirs.row_id or _features(ours) != _features(theirs):
            return f"row {number} is {ours}"
        if not np.array_equal(bits(np.array(ours.scores, np.float32)), bits(scores[number])):
            return f"the scores of row {number} are {ours.scores}"
        if unknown_of(ours) != [each for each in unknown_of(theirs) if each[0] != 3]:
            return f"the unknown fields of row {number} are {unknown_of(ours)}"
    return None


def _made(implementation, messages, rows, scores, log):
    """Responses and records, one for each message."""
    responses, pieces = implementation.whole(messages, rows, scores, log)
    return responses, each_record(pieces, len(messages) if log else 0)


def memory_of(content):
    """Memory with that content that ends where it does: the sanitizer sees a step beyond it."""
    memory = memoryview((ctypes.c_ubyte * len(content))()).cast("B")
    memory[:] = content
    return memory


def draft_problem(implementation, draft_type, arguments, *, before, more):
    """What is wrong with records that are spliced into a draft, or None.

    `arguments`: of `spliced`, without a draft. The draft begins after `before` bytes of its memory, and has
    room for `more` bytes than the records have; with less than none they have no room.
    """
    responses, pieces = implementation.whole(*arguments)
    content = b"".join(pieces)
    room = max(0, len(content) + more)
    around = (bytes(range(251)) * ((before + room) // 251 + 1))[: before + room]
    memory = memory_of(around)
    draft = draft_type(memory, before)
    draft.size = unset = 2**40
    made_responses, made = implementation.whole(*arguments, draft)
    shown = f"{len(content)} bytes of records with {before} before and room for {room}"
    if made_responses != responses:
        return f"{shown}: other responses"
    if bool(pieces) and (made[0] is draft) != (len(content) <= room):
        return f"{shown}: the draft is {'not ' * (made[0] is not draft)}used"
    if draft.size != (len(content) if draft in made else unset):
        return f"{shown}: the draft has {draft.size}"
    if [bytes(piece) for piece in made] != pieces:
        return f"{shown}: other records"
    end = before + len(content) * (draft in made)
    if bytes(memory) != around[:before] + content[: end - before] + around[end:]:
        return f"{shown}: something else was written over"
    if (draft.at, draft.records, draft.batches) != (before, 0, 0):
        return f"{shown}: it was taken, by nobody"
    return None


def drafts_problem(random, messages, rows, scores, log, *, readable):
    """What is wrong with the records of some of the messages, spliced into drafts; or None."""
    ends = np.cumsum([0, *rows])
    for name, (implementation, draft_type) in with_drafts().items():
        if not readable and implementation is splice.READABLE:
            continue
        for count in (random.randint(1, 5), random.randint(1, len(messages) + 1)):
            start = random.randrange(len(messages) + 1)
            part = slice(start, start + count)
            own = log and splice.Logged(log.model_id, log.model_version, log.received[part])
            own_scores = scores[ends[start] : ends[min(start + count, len(messages))]]
            wrong = draft_problem(
                implementation,
                draft_type,
                (messages[part], rows[part], own_scores, own),
                before=random.choice((0, 1, random.randint(0, 5000))),
                more=random.choice((0, 0, -1, 1, 300)),
            )
            if wrong is not None:
                shown = [message.hex() for message in messages[part]]
                return f"{name}: messages {start} and {count - 1} more: {wrong}\n{shown[:5]}"
    return None


def problem(random, messages, *, readable=True):
    """What is wrong with the responses and records of messages that decode, made in one pass; or None.

    Without `readable` compiled code only is run, and nothing compared.
    """
    implementations = twins()
    if not readable:
        implementations.pop("readable")
    requests = [schema.decoded(message) for message in messages]
    rows = [len(request.inputs) for request in requests]
    scores = scores_for(random, sum(rows), random.choice((0, 1, 1, 2, 5, 40)))
    log = random.choice((None, logged(random, messages), logged(random, messages)))
    made = {name: _made(each, messages, rows, scores, log) for name, each in implementations.items()}
    ends = np.cumsum([0, *rows])
    for name, (responses, records) in made.items():
        for index in range(0, len(messages), 5):
            own = scores[ends[index] : ends[index + 1]]
            sizes = [size for size in part_sizes(random, rows[index]) if size]
            alone = (
                splice.Logged(log.model_id, log.model_version, log.received[index : index + 1])
                if log
                else None
            )
            sliced = in_slices(implementations[name], messages[index], own, alone, sizes)
            if sliced != (responses[index], records[index : index + 1]):
                return f"{name}: {messages[index].hex()}\nin slices of {sizes}: {sliced}"
    wrong = drafts_problem(random, messages, rows, scores, log, readable=readable)
    if wrong is not None:
        return wrong
    if not readable:
        return None
    for name, (responses, records) in made.items():
        if len(responses) != len(messages) or len(records) != (len(messages) if log else 0):
            return f"{name}: {len(responses)} responses, {len(records)} records of {len(messages)} messages"
        for index, message in enumerate(messages):
            own = scores[ends[index] : ends[index + 1]]
            if responses[index] != response(requests[index], own):
                return f"{name}: {message.hex()}\nscores {own.tolist()}\nresponse {responses[index].hex()}"
            if log is None:
                continue
            wrong = record_problem(message, own, log, index, records[index])
            if wrong is not None:
                return f"{name}: {message.hex()}\nrecord {records[index].hex()}: {wrong}"
    if len({(tuple(responses), tuple(records)) for responses, records in made.values()}) != 1:
        return "the twins differ"
    return None


def of_anything(run, *arguments):
    """What a function of splicing makes of any bytes: its result, or that it raised ValueError."""
    try:
        return run(*arguments)
    except ValueError:
        return "ValueError"
