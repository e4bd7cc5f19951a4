"""The requests that are sent: from a configuration, from JSON, from inference logs. A bounded pool of them.

Everything is read, drawn and serialized before the first call; the calls take the requests in turn.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from hushar.bench.rows import random_rows
from hushar.client.jsonrows import rows_from_json
from hushar.client.kindsfile import vectorization_file
from hushar.config.vectorization import parse_vectorization
from hushar.errors import ConfigurationError, Problem
from hushar.features.interface import Transformation
from hushar.features.plan import Plan, compile_plan
from hushar.logreading.partitions import Window
from hushar.logreading.source import LogFile, TornLog, log_files, read_batches
from hushar.logreading.stores import Store
from hushar.proto.structs_pb2 import InferenceLogRow, InferenceRequest, InputRow
from hushar.uris import local_path

MOST_CALLS: Final = 4096
MOST_BYTES: Final = 64 << 20
"""Of a pool."""
_MOST_RANDOM_VALUES: Final = 200_000
"""Values of random rows that are drawn: half a second's work."""
MOST_MESSAGE_BYTES: Final = 64 << 20
"""Of one request; no server takes more."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read, as configurations want it."""

    uri: str
    data: bytes


def plan_of(config: str, registry: Mapping[str, type[Transformation]]) -> Plan:
    """The plan of a vectorization configuration, or of the one that a service configuration names.

    `registry` has the transformations by type. Raises ConfigurationError.
    """
    try:
        path = vectorization_file(Path(local_path(config)))
    except ValueError as error:
        raise ConfigurationError([Problem(config, "", str(error))]) from None
    return compile_plan(parse_vectorization(_Read(str(path), path.read_bytes())), registry)


def random_requests(plan: Plan, rows: int, seed: int | None) -> list[bytes]:
    """Requests of so many random rows each. The same for the same seed; None: others each time."""
    random = np.random.default_rng(seed)
    values = rows * sum(feature.units for feature in plan.features)
    calls = max(1, min(MOST_CALLS, _MOST_RANDOM_VALUES // values))
    return requests_of(random_rows(plan, calls * rows, random), rows)


def json_requests(file: str, data: bytes, kinds: Mapping[str, str], rows: int) -> list[bytes]:
    """Requests of the rows in a JSON document, in turn. Raises BadRows, a ConfigurationError."""
    return _some(requests_of(rows_from_json(data, source=file, kinds=kinds), rows), file)


def log_requests(
    sources: Sequence[str], rows: int, tell: Callable[[str], None], store: Store | None = None
) -> list[bytes]:
    """Requests of logged rows, without their scores; as many as the pool holds.

    `tell` is told of a torn file, whose whole records are taken. `store` reads what is not on a local disk.
    Raises ConfigurationError, StorageError.
    """
    files = log_files(sources, Window(), store)
    logged = islice(_logged(files, tell), MOST_CALLS * rows)
    return _some(requests_of(_while_small(logged), rows), " ".join(sources))


def requests_of(rows: Iterable[InputRow], rows_a_call: int) -> list[bytes]:
    """Serialized InferenceRequests, of `rows_a_call` rows each.

    The last takes as many of the first rows as it lacks. No rows: no requests.
    """
    all_rows = list(rows)
    if not all_rows:
        return []
    calls = min(MOST_CALLS, -(-len(all_rows) // rows_a_call))
    digits = len(str(calls - 1))
    requests: list[bytes] = []
    size = 0
    for call in range(calls):
        picked = [all_rows[at % len(all_rows)] for at in range(call * rows_a_call, (call + 1) * rows_a_call)]
        request = InferenceRequest(request_id=f"bench-{call:0{digits}d}", inputs=picked)
        message = request.SerializeToString(deterministic=True)
        size += len(message)
        if requests and size > MOST_BYTES:
            break
        requests.append(message)
    if len(requests[0]) > MOST_MESSAGE_BYTES:
        text = f"a call of {rows_a_call} rows has {len(requests[0])} bytes, more than a server takes"
        raise ConfigurationError([Problem("", "--rows", text)])
    return requests


def _some(requests: list[bytes], source: str) -> list[bytes]:
    if not requests:
        raise ConfigurationError([Problem(source, "", "there are no rows")])
    return requests


def _while_small(rows: Iterator[InputRow]) -> Iterator[InputRow]:
    """Rows until they fill the pool."""
    size = 0
    for row in rows:
        size += row.ByteSize()
        yield row
        if size > MOST_BYTES:
            return


def _logged(files: Iterable[LogFile], tell: Callable[[str], None]) -> Iterator[InputRow]:
    for file in files:
        try:
            with closing(read_batches(file)) as batches:
                for batch in batches:
                    yield from map(_input_row, batch.inference_log_rows)
        except TornLog as torn:
            tell(str(torn))


def _input_row(row: InferenceLogRow) -> InputRow:
    """What was sent: fields 1 and 2 of a log row are those of an input row."""
    row.ClearField("scores")
    return InputRow.FromString(row.SerializeToString())
