"""Responses and log records, assembled from the request's own bytes and the scores.

Theory of operation. Fields 1 and 2 of an input row are fields 1 and 2 of a log row, so the bytes of
an input row followed by one packed `scores` field *are* the log row: nothing is decoded and encoded
again, and what this version of the schema does not know (unknown fields) is kept. Two traps
(CONTRACT.md 1): a field 3 inside an input row would be read as scores, so it is left out; and a log
row lies one level deeper in its file than an input row in its request, which is checked when the
request is decoded (`hushar.features`).

Sans-IO. Every message that comes here has been decoded already, so the walk below meets only
well-formed fields; it looks at tags and lengths, never at values. What is cut short all the same is a
ValueError, and nothing outside of a message is read. A field with a known number but another wire type
is an unknown field, as protobuf has it.

This module is the readable implementation; `_splice.pyx` is its compiled twin: the same `spliced`, byte
for byte. Which of them runs is decided in `choose`.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hushar.drafts import Draft
from hushar.errors import AnswerTooLarge
from hushar.features.results import Layout
from hushar.inference.privacy import Privacy
from hushar.inference.wire import FIELD_1, FIELD_2, FIELD_3, LENGTH, MASK64, delimited, fields, text, varint

try:
    from hushar.inference import _splice
except ImportError:
    # Not built: no compiler was there.
    _splice = None  # type: ignore[assignment]

_RECEIVED_UNIX_MICROS = b"\x80\x01"  # field 16, varint
_MODEL_VERSION = b"\x8a\x01"  # field 17, length-delimited


class Logged(NamedTuple):
    """What the log records of a batch hold beside rows and scores."""

    model_id: bytes
    """UTF-8."""
    model_version: bytes
    """UTF-8."""
    received: Sequence[int]
    """When each of the batch's messages arrived, in microseconds since the epoch."""


Spliced = tuple[list[bytes], list[bytes | Draft]]
"""Responses, one for each message; and the log records of the same, laid end to end in one piece (no piece
where nothing is logged, or there are no messages)."""

Part = tuple[bytes, bytes, bytes | None, int]
"""Of some rows of a message: the `outputs` of its response, the rows of its log record, the request id if
one stands among or before them, and where the next rows begin."""


@dataclass(frozen=True, slots=True)
class Splice:
    """An implementation: see `spliced` and `spliced_part`."""

    whole: Callable[
        [Sequence[bytes], Sequence[int], NDArray[np.float32], Logged | None, Draft | None, Layout | None],
        Spliced,
    ]
    part: Callable[[bytes, int, int, NDArray[np.float32], bool, Layout | None], Part]


@dataclass(frozen=True, slots=True)
class RequestParts:
    """Where the pieces of a request are that answers and log records are made from."""

    request_id: bytes
    row_ids: tuple[bytes, ...]
    log_rows: tuple[bytes, ...]
    """The bytes of each input row without its fields 3: a log row that has no scores yet."""


def choose(vectorizer: str) -> Splice:
    """The implementation that goes with a vectorizer's name: the readable one with "reference", else the
    compiled one where it was built."""
    if vectorizer == "reference" or _splice is None or sys.byteorder != "little":
        return READABLE
    return Splice(_splice.spliced, _splice.spliced_part)


def spliced(  # noqa: PLR0917 - a layout goes from one door to another
    messages: Sequence[bytes],
    rows: Sequence[int],
    scores: NDArray[np.float32],
    log: Logged | None,
    draft: Draft | None = None,
    layout: Layout | None = None,  # noqa: ARG001 - the twin need not look again
) -> Spliced:
    """Responses and log records of whole calls, in one pass; the records in `draft` if there is room.

    `layout`: what the vectorizer says of them, who may have read more parts behind them. This readable
    implementation looks for itself.

    `rows[i]` rows of `scores`, C-contiguous float32 `(sum(rows), scores a row)`, belong to `messages[i]`,
    a serialized InferenceRequest that is known to decode. Raises ValueError where that does not fit.
    """
    _check(rows, scores)
    if len(rows) != len(messages):
        raise ValueError(f"{len(messages)} messages, {len(rows)} numbers of rows")
    if log is not None and len(log.received) != len(messages):
        raise ValueError(f"{len(messages)} messages, {len(log.received)} times of arrival")
    responses: list[bytes] = []
    records: list[bytes] = []
    start = 0
    for index, message in enumerate(messages):
        parts = split_request(message)
        if len(parts.row_ids) != rows[index]:
            raise ValueError(f"message {index} has {len(parts.row_ids)} rows, not {rows[index]}")
        own = scores[start : start + rows[index]]
        start += rows[index]
        responses.append(response(parts, own))
        if log is not None:
            records.append(log_record(parts, own, log, log.received[index]))
    return responses, [_laid(b"".join(records), draft)] if records else []


def _laid(records: bytes, draft: Draft | None) -> bytes | Draft:
    if draft is None or draft.memory.readonly or len(records) > len(draft.memory) - draft.at:
        return records
    draft.memory[draft.at : draft.at + len(records)] = records
    draft.size = len(records)
    return draft


def spliced_part(  # noqa: PLR0917
    message: bytes,
    at: int,
    rows: int,
    scores: NDArray[np.float32],
    logged: bool,
    layout: Layout | None = None,  # noqa: ARG001 - the twin need not look again
) -> Part:
    """The next `rows` rows of a message that is spliced in several parts, from the offset `at` on.

    `layout`: as for `spliced`; these rows are the last part in it.
    `scores` as for `spliced`. With `rows` 0 the message has to hold no more of them: what stands behind the
    last one is looked at. Raises ValueError where that does not fit.
    """
    _check([rows], scores)
    request_id = None
    outputs: list[bytes] = []
    log_rows: list[bytes] = []
    answers, records = _packed(FIELD_2, scores), _packed(FIELD_3, scores)
    for number, wire_type, _, start, end in fields(message, at, len(message)):
        at = end
        if wire_type == LENGTH and number == 1:
            request_id = message[start:end]
        elif wire_type == LENGTH and number == 2:
            if len(outputs) == rows:
                raise ValueError("the message has more rows")
            row_id, log_row = _split_row(message, start, end)
            log_rows.append(delimited(FIELD_3, log_row + records[len(outputs)]))
            outputs.append(delimited(FIELD_2, text(FIELD_1, row_id) + answers[len(outputs)]))
        if rows and len(outputs) == rows:
            break
    if len(outputs) != rows:
        raise ValueError(f"the message has not {rows} rows more")
    return b"".join(outputs), b"".join(log_rows) if logged else b"", request_id, at


READABLE: Final = Splice(spliced, spliced_part)


class Slices:
    """The answer of a call whose scores come slice after slice; and its log record.

    A slice is spliced right after it was vectorized, while its bytes are still near the processor.
    """

    def __init__(
        self,
        message: bytes,
        splice: Splice,
        *,
        logged: bool,
        most: float = math.inf,
        privacy: Privacy | None = None,
    ) -> None:
        """`most`: bytes of an answer. `privacy`: what of the rows is logged, where that is not all."""
        self.size = 0
        """Bytes of the answer and of the log record, as far as they are made."""
        self._most = most
        self._answer_size = 0
        self._message = message
        self._splice = splice
        self._logged = logged
        self._privacy = privacy
        self._at = 0
        self._walks = False
        self._columns: int | None = None
        self._request_id = b""
        self._outputs: list[bytes] = []
        self._log_rows: list[bytes] = []

    def add(self, scores: NDArray[np.float32], layout: Layout | None = None) -> None:
        """The scores of the next rows. `layout`: as for `spliced_part`.

        Raises:
            ValueError: there are no more, or their scores a row are not as many as before.
            AnswerTooLarge: they make the answer so.
        """
        if self._columns not in (None, scores.shape[1]):
            raise ValueError(f"{scores.shape[1]} scores a row after {self._columns}")
        self._columns = scores.shape[1]
        if layout is None:
            # It ends behind the last row and not, as the vectorizer does, before the next one: what is
            # between them would not be looked at.
            self._walks = True
        outputs, log_rows, request_id, self._at = self._splice.part(
            self._message, self._at, len(scores), scores, self._logged, None if self._walks else layout
        )
        if self._privacy is not None:
            log_rows = self._privacy.in_log_rows(log_rows)
        self._outputs.append(outputs)
        self._log_rows.append(log_rows)
        if request_id is not None:
            self._request_id = request_id
        self._answer_size += len(outputs)
        self.size += len(outputs) + len(log_rows)
        self._check_size(0)

    def _check_size(self, more: int) -> None:
        if self._answer_size + more > self._most:
            raise AnswerTooLarge(int(self._most))

    def finish(self, log: Logged | None) -> Spliced:
        """The response and the record as `spliced` has them.

        Raises:
            ValueError: rows are left.
            AnswerTooLarge: what stands behind the last row makes the answer so.
        """
        self.add(np.empty((0, self._columns or 0), np.float32))
        request_id = text(FIELD_1, self._request_id)
        self._check_size(len(request_id))
        response = b"".join([request_id, *self._outputs])
        self._outputs.clear()
        if log is None:
            return [response], []
        return [response], [_log_batch(self._request_id, self._log_rows, log, log.received[0])]


def _check(rows: Sequence[int], scores: NDArray[np.float32]) -> None:
    if scores.dtype != np.float32 or scores.ndim != 2 or not scores.flags.c_contiguous:
        raise ValueError("scores must be C-contiguous float32 of rank 2")
    if min(rows, default=0) < 0 or sum(rows) != len(scores):
        raise ValueError(f"{sum(rows)} rows, {len(scores)} rows of scores")


def split_request(message: bytes) -> RequestParts:
    """Cut a serialized InferenceRequest, already known to decode, into its parts."""
    request_id = b""
    row_ids: list[bytes] = []
    log_rows: list[bytes] = []
    for number, wire_type, _, start, end in fields(message, 0, len(message)):
        if wire_type != LENGTH:
            continue
        if number == 1:
            request_id = message[start:end]
        elif number == 2:
            row_id, log_row = _split_row(message, start, end)
            row_ids.append(row_id)
            log_rows.append(log_row)
    return RequestParts(request_id, tuple(row_ids), tuple(log_rows))


def response(parts: RequestParts, scores: NDArray[np.float32]) -> bytes:
    """The InferenceResponse exactly as protobuf serializes it.

    `scores` is C-contiguous float32 `(rows, scores a row)`, one row for each of `parts.row_ids`.
    """
    out = [text(FIELD_1, parts.request_id)]
    for row_id, packed in zip(parts.row_ids, _packed(FIELD_2, scores), strict=True):
        out.append(delimited(FIELD_2, text(FIELD_1, row_id) + packed))
    return b"".join(out)


def log_record(parts: RequestParts, scores: NDArray[np.float32], log: Logged, received: int) -> bytes:
    """One InferenceLogBatch with the tag and length that make it a field of InferenceLogs.

    `scores` as for `response`; `received` in microseconds since the epoch.
    """
    rows = [
        delimited(FIELD_3, log_row + packed)
        for log_row, packed in zip(parts.log_rows, _packed(FIELD_3, scores), strict=True)
    ]
    return _log_batch(parts.request_id, rows, log, received)


def _log_batch(request_id: bytes, rows: Sequence[bytes], log: Logged, received: int) -> bytes:
    """`rows` are fields 3, with tags and lengths."""
    out = [text(FIELD_1, request_id), text(FIELD_2, log.model_id), *rows]
    if received:
        out.append(_RECEIVED_UNIX_MICROS + varint(received & MASK64))
    out.append(text(_MODEL_VERSION, log.model_version))
    head = FIELD_1 + varint(sum(map(len, out)))
    return b"".join([head, *out])


def _packed(tag: bytes, scores: NDArray[np.float32]) -> Sequence[bytes]:
    """For each row its scores as a packed repeated float field; empty where there are none."""
    rows, columns = scores.shape
    if not columns:
        return [b""] * rows
    head = tag + varint(4 * columns)
    data = scores.astype("<f4", copy=False).tobytes()
    step = 4 * columns
    return [head + data[at : at + step] for at in range(0, rows * step, step)]


def _split_row(message: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """The row's id, and the row without its fields 3."""
    row_id = b""
    kept: list[bytes] = []
    kept_from = start
    for number, wire_type, field_start, value_start, value_end in fields(message, start, end):
        if number == 1 and wire_type == LENGTH:
            row_id = message[value_start:value_end]
        elif number == 3:
            kept.append(message[kept_from:field_start])
            kept_from = value_end
    kept.append(message[kept_from:end])
    return row_id, b"".join(kept)
