"""The bodies of PutRecords calls, and what their answers say: pure functions."""

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hushar_aws.kinesis_cutting import KinesisRecord

_HEADERS: Final = {
    "X-Amz-Target": "Kinesis_20131202.PutRecords",
    "Content-Type": "application/x-amz-json-1.1",
}


@dataclass(frozen=True, slots=True)
class PutOutcome:
    """What became of the records of one call."""

    delivered: tuple[KinesisRecord, ...]
    failed: tuple[KinesisRecord, ...]
    reason: str = ""
    """The code of the first that failed."""


@dataclass(frozen=True, slots=True)
class PutRecords:
    """One call: POST /."""

    headers: dict[str, str]
    body: bytes
    payload_hash: str


def put_records(stream: str, records: Sequence[KinesisRecord]) -> PutRecords:
    """The call that puts these. Blocks for some milliseconds: five megabytes become seven."""
    entries = []
    for record in records:
        # Gives the interpreter's lock away: calls are served meanwhile.
        time.sleep(0)
        key = json.dumps(record.partition_key).encode()
        entries.append(b'{"Data":"%s","PartitionKey":%s}' % (base64.b64encode(record.data), key))
    body = b'{"StreamName":%s,"Records":[%s]}' % (json.dumps(stream).encode(), b",".join(entries))
    headers = {**_HEADERS, "content-length": str(len(body))}
    return PutRecords(headers, body, hashlib.sha256(body).hexdigest())


def outcome_of(records: Sequence[KinesisRecord], body: bytes) -> PutOutcome:
    """Which of the records the stream has. Raises ValueError if the answer is not one to this call."""
    answer = json.loads(body)
    entries: Any = answer.get("Records") if isinstance(answer, dict) else None
    if not isinstance(entries, list) or len(entries) != len(records):
        raise ValueError("the answer does not have one entry a record")
    codes = [_error_code(entry) for entry in entries]
    pairs = list(zip(records, codes, strict=True))
    return PutOutcome(
        tuple(record for record, code in pairs if not code),
        tuple(record for record, code in pairs if code),
        next((code for code in codes if code), ""),
    )


def _error_code(entry: Any) -> str:
    """Why the record was not taken; empty if it was."""
    known = entry if isinstance(entry, dict) else {}
    code = known.get("ErrorCode") or ("" if known.get("SequenceNumber") else "no sequence number")
    return str(code)
