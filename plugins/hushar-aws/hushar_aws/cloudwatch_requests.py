"""From data to the bodies of PutMetricData calls, within the API's limits: pure functions.

The protocol is AWS JSON 1.0, one of the three that the service's model lists (botocore: CBOR, JSON, query)
and the one of them that is compact, exact and understood by AWS and by moto's server alike.
"""

import gzip
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from hushar_aws.cloudwatch_data import Datum

DATA_A_CALL: Final = 1000
BYTES_A_CALL: Final = 1_000_000
"""Before compression, which is on the safe side of "1 MB"."""
COMPRESSED_FROM: Final = 10_240
"""Bytes: below, compression is not worth it; botocore's own threshold."""

_HEADERS: Final = {
    "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData",
    "Content-Type": "application/x-amz-json-1.0",
    "x-amzn-query-mode": "true",
}


@dataclass(frozen=True, slots=True)
class PutMetricData:
    """One call: POST /."""

    headers: dict[str, str]
    body: bytes


def requests_of(namespace: str, data: Iterable[Datum], *, compress: bool = True) -> Iterator[PutMetricData]:
    """As few calls as the limits allow; none for no data. Blocks for some milliseconds a call.

    The same data give the same calls, so that one that failed can be made again alone.
    """
    head = b'{"Namespace":%s,"MetricData":[' % json.dumps(namespace).encode()
    size = len(head)
    pieces: list[bytes] = []
    for datum in data:
        # One at a time, and the interpreter's lock given away in between: calls are served meanwhile.
        time.sleep(0)
        piece = json.dumps(datum, separators=(",", ":")).encode()
        if len(pieces) == DATA_A_CALL or (pieces and size + len(piece) + 2 > BYTES_A_CALL):
            yield _request(head, pieces, compress=compress)
            pieces, size = [], len(head)
        pieces.append(piece)
        size += len(piece) + 1
    if pieces:
        yield _request(head, pieces, compress=compress)


def _request(head: bytes, pieces: list[bytes], *, compress: bool) -> PutMetricData:
    body = head + b",".join(pieces) + b"]}"
    if not compress or len(body) < COMPRESSED_FROM:
        return PutMetricData(dict(_HEADERS), body)
    return PutMetricData({**_HEADERS, "Content-Encoding": "gzip"}, gzip.compress(body, 6, mtime=0))
