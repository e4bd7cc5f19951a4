"""Responses and log records, assembled from the request's own bytes and the scores.

Theory of operation. Fields 1 and 2 of an input row are fields 1 and 2 of a log row, so the bytes of
an input row followed by one packed `scores` field *are* the log row: nothing is decoded and encoded
again, and what this version of the schema does not know (unknown fields) is kept. Two traps
(CONTRACT.md 1): a field 3 inside an input row would be read as scores, so it is left out; and a log
row lies one level deeper in its file than an input row in its request, which is checked when the
request is decoded (`hushar.features`).

Sans-IO. Every message that comes here has been decoded by protobuf already, so the walk below meets
only well-formed fields; it looks at tags and lengths, never at values. A field with a known number
but another wire type is an unknown field, as protobuf has it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_VARINT, _FIXED64, _LENGTH, _START_GROUP, _END_GROUP, _FIXED32 = range(6)

# Tags are (number << 3) | wire type; all of ours but `received` are length-delimited.
_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_FIELD_3 = b"\x1a"
_RECEIVED_UNIX_MICROS = b"\x80\x01"  # field 16, varint
_MODEL_VERSION = b"\x8a\x01"  # field 17, length-delimited


@dataclass(frozen=True, slots=True)
class RequestParts:
    """Where the pieces of a request are that answers and log records are made from."""

    request_id: bytes
    row_ids: tuple[bytes, ...]
    log_rows: tuple[bytes, ...]
    """The bytes of each input row without its fields 3: a log row that has no scores yet."""


def split_request(message: bytes) -> RequestParts:
    """Cut a serialized InferenceRequest, already known to decode, into its parts."""
    request_id = b""
    row_ids: list[bytes] = []
    log_rows: list[bytes] = []
    for number, wire_type, _, start, end in _fields(message, 0, len(message)):
        if wire_type != _LENGTH:
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
    out = [_text(_FIELD_1, parts.request_id)]
    for row_id, packed in zip(parts.row_ids, _packed(_FIELD_2, scores), strict=True):
        row = _text(_FIELD_1, row_id) + packed
        out.append(_FIELD_2 + _varint(len(row)) + row)
    return b"".join(out)


def log_record(
    parts: RequestParts,
    scores: NDArray[np.float32],
    *,
    model_id: bytes,
    model_version: bytes,
    received_unix_micros: int,
) -> bytes:
    """One InferenceLogBatch with the tag and length that make it a field of InferenceLogs.

    `scores` as for `response`; `model_id` and `model_version` are UTF-8.
    """
    out = [_text(_FIELD_1, parts.request_id), _text(_FIELD_2, model_id)]
    for log_row, packed in zip(parts.log_rows, _packed(_FIELD_3, scores), strict=True):
        out.append(_FIELD_3 + _varint(len(log_row) + len(packed)))
        out.append(log_row)
        out.append(packed)
    if received_unix_micros:
        out.append(_RECEIVED_UNIX_MICROS + _varint(received_unix_micros))
    out.append(_text(_MODEL_VERSION, model_version))
    batch = b"".join(out)
    return _FIELD_1 + _varint(len(batch)) + batch


def _packed(tag: bytes, scores: NDArray[np.float32]) -> Sequence[bytes]:
    """For each row its scores as a packed repeated float field; empty where there are none."""
    rows, columns = scores.shape
    if not columns:
        return [b""] * rows
    head = tag + _varint(4 * columns)
    data = scores.astype("<f4", copy=False).tobytes()
    step = 4 * columns
    return [head + data[at : at + step] for at in range(0, rows * step, step)]


def _split_row(message: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """The row's id, and the row without its fields 3."""
    row_id = b""
    kept: list[bytes] = []
    kept_from = start
    for number, wire_type, field_start, value_start, value_end in _fields(message, start, end):
        if number == 1 and wire_type == _LENGTH:
            row_id = message[value_start:value_end]
        elif number == 3:
            kept.append(message[kept_from:field_start])
            kept_from = value_end
    kept.append(message[kept_from:end])
    return row_id, b"".join(kept)


def _fields(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Each field of a message: number, wire type, where it starts, where its value starts and ends.

    A group's value ends after its end tag.
    """
    while at < end:
        start = at
        tag, at = _read_varint(message, at)
        wire_type = tag & 7
        if wire_type == _LENGTH:
            length, at = _read_varint(message, at)
            value_end = at + length
        else:
            value_end = _skip(message, at, tag)
        yield tag >> 3, wire_type, start, at, value_end
        at = value_end


def _skip(message: bytes, at: int, tag: int) -> int:
    """Where the value at `at` ends; groups are skipped with all that is nested in them."""
    wire_type = tag & 7
    if wire_type == _VARINT:
        return _read_varint(message, at)[1]
    if wire_type == _FIXED64:
        return at + 8
    if wire_type == _FIXED32:
        return at + 4
    if wire_type == _LENGTH:
        length, at = _read_varint(message, at)
        return at + length
    if wire_type != _START_GROUP:
        raise ValueError(f"wire type {wire_type} in a message that protobuf has decoded")
    while True:
        inner, at = _read_varint(message, at)
        if inner & 7 == _END_GROUP:
            return at
        at = _skip(message, at, inner)


def _text(tag: bytes, value: bytes) -> bytes:
    """A string field; nothing where it is empty, as proto3 has it."""
    return tag + _varint(len(value)) + value if value else b""


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    byte = message[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value = byte & 0x7F
    shift = 7
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
