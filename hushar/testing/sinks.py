"""The rules of `LogSink` and `MetricSink` (hushar/sinks/interface.py), checked on an implementation."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hushar.errors import SinkError
from hushar.proto import structs_pb2
from hushar.sinks.compression import SUFFIXES
from hushar.sinks.interface import Counter, Distribution, LogSink, MetricBatch, MetricSink, Segment
from hushar.testing._rules import at_once, cancelled, rule
from hushar.testing.fakes import OPENED_UNIX_MICROS, log_record, message_in, segment

AT_ONCE = 5
MICROS_A_DAY = 86_400_000_000

ReadBack = Callable[[], Mapping[str, bytes] | Awaitable[Mapping[str, bytes]]]
"""Key → content of every object at the destination: bytes of one InferenceLogs message each."""


@dataclass(frozen=True, slots=True)
class _Bench:
    """A sink under check, and what the checks need to look at it."""

    make_sink: Callable[[], LogSink]
    read_back: ReadBack
    directory: Path
    exact: bool
    before: frozenset[str]
    """What lay at the destination before the check."""
    known: dict[str, bytes] = field(default_factory=dict)
    """What the check has delivered: key → content."""

    async def delivered(self) -> dict[str, bytes]:
        """What the check has put there."""
        found = await _read(self.read_back)
        return {self.name(key): content for key, content in found.items() if key not in self.before}

    def name(self, key: str) -> str:
        """What tells one object from another: in another format the compression is no part of its key."""
        return key if self.exact else re.sub(r"\.pb\.(gz|zst)$", ".pb", key)

    def same(self, key: str, content: bytes, given: bytes) -> bool:
        """Whether an object holds what the segment held."""
        if self.exact:
            return content == given
        return _batches(content) == _batches(message_in(key, given))


async def check_log_sink(
    make_sink: Callable[[], LogSink],
    read_back: ReadBack,
    *,
    make_broken_sink: Callable[[], LogSink] | None = None,
    exact: bool = True,
    compressed: bool | None = None,
) -> None:
    """Check that what `make_sink` makes keeps the rules of a LogSink.

    `make_sink` is called more than once, always for the same destination, as restarts would.
    `read_back()`, a plain or a coroutine function, gives what lies there: key → content.
    `make_broken_sink` makes one whose destination is down. `exact=False` is for sinks that store
    another format: the batches that `read_back` gives are compared then, not the bytes. `compressed`:
    whether compressed segments are delivered too (None: where `exact`); in another format the batches of one
    must be there uncompressed, under its key with or without the compression's suffix.
    """
    with TemporaryDirectory() as directory:
        before = frozenset(await _read(read_back))
        bench = _Bench(make_sink, read_back, Path(directory), exact, before)
        sink = make_sink()
        _check_description(sink, LogSink)
        await sink.open()
        try:
            await _check_delivery(bench, sink)
            if exact if compressed is None else compressed:
                await _check_compressed(bench, sink)
            await _check_end_marker(bench, sink)
            await _check_again(bench, sink, "the same sink")
            await _check_at_once(bench, sink)
            await _check_cancelled_delivery(bench, sink)
            await _check_failure(bench, sink)
            await _check_delivery(bench, sink)
        finally:
            await _close(sink)
        await _check_restart(bench)
        if make_broken_sink is not None:
            await _check_broken_log_sink(make_broken_sink(), segment(bench.directory))


async def _read(read_back: ReadBack) -> dict[str, bytes]:
    found = read_back()
    return dict(await found if inspect.isawaitable(found) else found)


def _batches(content: bytes) -> list[structs_pb2.InferenceLogBatch]:
    return list(structs_pb2.InferenceLogs.FromString(content).inferenceLogBatches)


def _check_description(sink: LogSink | MetricSink, kind: type[LogSink | MetricSink]) -> None:
    rule(
        isinstance(sink, kind),
        f"a sink factory must return a {kind.__name__}; it returns {type(sink).__name__}",
    )
    rule(
        isinstance(sink.description, str) and bool(sink.description) and "\n" not in sink.description,
        f"description must be one line that says where the sink writes; it is {sink.description!r}",
    )


async def _close(sink: LogSink | MetricSink) -> None:
    try:
        await sink.aclose()
    except Exception as error:
        raise AssertionError(
            f"aclose must work, also after a failed delivery; it raised {error!r}"
        ) from error


def _put_back(delivered: Segment, content: bytes) -> None:
    """The segment as a crash between delivery and deletion leaves it: its file is (still) there."""
    delivered.path.write_bytes(content)


async def _deliver(sink: LogSink, one: Segment, content: bytes) -> None:
    """Deliver a segment, which must work, and look whether its file is untouched (or moved away)."""
    try:
        await sink.deliver(one)
    except Exception as error:
        raise AssertionError(f"deliver must deliver a good segment; it raised {error!r}") from error
    rule(
        not one.path.exists() or one.path.read_bytes() == content,
        "deliver changes the segment's file: it may move it away, but not change it",
    )


async def _expect(bench: _Bench, new: Mapping[str, bytes], after: str) -> None:
    """Look at the destination: exactly what was there and what is new, each with its own content."""
    bench.known.update(new)
    expected = {bench.name(key): (key, content) for key, content in bench.known.items()}
    found = await bench.delivered()
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    rule(
        not missing or not extra,
        f"deliver must store a segment under its key: after {after}, {_list(extra)} instead of "
        f"{_list(missing)}",
    )
    rule(
        not missing,
        f"deliver must return only once the segment is at its destination: after {after}, "
        f"{_list(missing)} is not there",
    )
    rule(
        not extra,
        f"one segment must leave exactly one object: after {after}, {_list(extra)} is there as well",
    )
    for name, (key, content) in expected.items():
        rule(
            bench.same(key, found[name], content),
            f"deliver must store exactly the segment's content: after {after}, {name} holds "
            f"{len(found[name])} other bytes than the {len(content)} of its segment",
        )


def _list(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))


async def _check_delivery(bench: _Bench, sink: LogSink) -> None:
    one = segment(bench.directory)
    content = one.path.read_bytes()
    await _deliver(sink, one, content)
    await _expect(bench, {one.key: content}, "a delivery")


async def _check_compressed(bench: _Bench, sink: LogSink) -> None:
    """The bytes of a compressed file are delivered as they are, under a key that says so."""
    for compression in SUFFIXES:
        one = segment(bench.directory, compression=compression)
        content = one.path.read_bytes()
        await _deliver(sink, one, content)
        await _expect(bench, {one.key: content}, f"a delivery with compression {compression}")


async def _check_end_marker(bench: _Bench, sink: LogSink) -> None:
    """A segment without batches counts too: it says how many there are in all. In another format it may
    be nothing."""
    one = segment(bench.directory, [])
    content = one.path.read_bytes()
    await _deliver(sink, one, content)
    nothing = not bench.exact and bench.name(one.key) not in await bench.delivered()
    await _expect(bench, {} if nothing else {one.key: content}, "a delivery of a segment without batches")


async def _check_again(bench: _Bench, sink: LogSink, by: str) -> None:
    """Deliver everything again that was delivered: nothing may change at the destination."""
    compressions = {suffix: compression for compression, suffix in SUFFIXES.items()}
    for key, content in bench.known.items():
        path = bench.directory / key.rpartition("/")[2]
        batches = len(_batches(message_in(key, content)))
        compression = compressions[key.rpartition(".pb")[2]]
        again = Segment(path, key, len(content), batches, OPENED_UNIX_MICROS, compression)
        _put_back(again, content)
        await _deliver(sink, again, content)
    await _expect(bench, {}, f"a second delivery by {by}")


async def _check_at_once(bench: _Bench, sink: LogSink) -> None:
    """Several workers share a sink: deliveries overlap, also of segments of other days."""
    many = [
        segment(
            bench.directory,
            [log_record(f"request-{i}-{j}") for j in range(i + 1)],
            opened_unix_micros=OPENED_UNIX_MICROS + i * MICROS_A_DAY,
        )
        for i in range(AT_ONCE)
    ]
    contents = {one.key: one.path.read_bytes() for one in many}
    await at_once([partial(_deliver, sink, one, contents[one.key]) for one in many])
    await _expect(bench, contents, f"{AT_ONCE} deliveries at once")


async def _check_cancelled_delivery(bench: _Bench, sink: LogSink) -> None:
    one = segment(bench.directory)
    content = one.path.read_bytes()
    try:
        came_out = await cancelled(partial(sink.deliver, one))
    except Exception as error:
        raise AssertionError(
            f"deliver must let a cancellation pass through; it turned it into {error!r}"
        ) from error
    found = await bench.delivered()
    rule(
        bench.name(one.key) in found or came_out,
        "deliver must let a cancellation pass through; it returned as if the segment were delivered, "
        "and it is not",
    )
    rule(
        bench.name(one.key) in found or one.path.exists(),
        "a delivery that was cancelled must not lose the segment",
    )
    if not came_out or bench.name(one.key) in found:
        await _expect(bench, {one.key: content}, "a delivery that was cancelled")
    _put_back(one, content)
    await _deliver(sink, one, content)
    await _expect(bench, {one.key: content}, "a delivery that was cancelled and tried again")


async def _check_failure(bench: _Bench, sink: LogSink) -> None:
    """A delivery that cannot work, for the segment's file is gone, must raise and leave nothing behind."""
    lost = segment(bench.directory)
    lost.path.unlink()
    try:
        await sink.deliver(lost)
    except Exception:
        await _expect(bench, {}, "a delivery that failed")
    else:
        raise AssertionError(
            "deliver must raise when it did not deliver: the segment's file was gone, and it returned"
        )


async def _check_restart(bench: _Bench) -> None:
    """Another sink for the same destination; it is closed right after a delivery that failed."""
    sink = bench.make_sink()
    await sink.open()
    try:
        await _check_again(bench, sink, "another sink, as after a restart")
        await _check_failure(bench, sink)
    finally:
        await _close(sink)


async def _check_broken_log_sink(sink: LogSink, one: Segment) -> None:
    await _check_broken(sink, partial(sink.deliver, one), "deliver")
    rule(one.path.exists(), "deliver takes the segment's file away although it failed: the segment is lost")


async def _check_broken(sink: LogSink | MetricSink, call: Callable[[], Awaitable[None]], name: str) -> None:
    try:
        await sink.open()
    except Exception as error:
        raise AssertionError(
            "open must not raise while the destination is down, for the server serves and spools; it raised "
            f"{error!r}"
        ) from error
    try:
        await call()
    except SinkError:
        pass
    except Exception as error:
        raise AssertionError(f"{name} must raise SinkError when it fails; it raised {error!r}") from error
    else:
        raise AssertionError(f"{name} must raise SinkError when it fails; it returned")
    finally:
        await _close(sink)


async def check_metric_sink(
    make_sink: Callable[[], MetricSink], *, make_broken_sink: Callable[[], MetricSink] | None = None
) -> None:
    """Check that what `make_sink` makes keeps the rules of a MetricSink.

    `make_broken_sink` makes one whose destination is down.
    """
    sink = make_sink()
    _check_description(sink, MetricSink)
    await sink.open()
    try:
        full = _metric_batch()
        await _emit(sink, full, "a batch")
        await _emit(sink, replace(full, distributions=()), "a batch without distributions")
        await _emit(sink, replace(full, distributions=(), counters=()), "an empty batch")
        await _emit(sink, replace(full, dimensions={}), "a batch without dimensions")
        await at_once([partial(_emit, sink, full, "a batch, several at once") for _ in range(AT_ONCE)])
        try:
            await cancelled(partial(sink.emit, full))
        except Exception as error:
            raise AssertionError(
                f"emit must let a cancellation pass through; it turned it into {error!r}"
            ) from error
        await _emit(sink, full, "a batch after one that was cancelled")
    finally:
        await _close(sink)
    if make_broken_sink is not None:
        broken = make_broken_sink()
        await _check_broken(broken, partial(broken.emit, _metric_batch()), "emit")


async def _emit(sink: MetricSink, batch: MetricBatch, what: str) -> None:
    given = deepcopy(batch)
    try:
        await sink.emit(batch)
    except Exception as error:
        raise AssertionError(f"emit must take {what}; it raised {error!r}") from error
    rule(
        _plain(batch) == _plain(given),
        "emit modifies the batch: the same one goes to every metric sink",
    )


def _plain(batch: MetricBatch) -> object:
    """The batch in a form that `==` compares by value."""
    return (
        dict(batch.dimensions),
        [
            (d.name, d.unit, d.values.tolist(), None if d.counts is None else d.counts.tolist())
            for d in batch.distributions
        ],
        [(c.name, c.value, dict(c.labels)) for c in batch.counters],
    )


def _metric_batch() -> MetricBatch:
    """Two distributions and two counters, as an interval of a served model gives."""
    return MetricBatch(
        namespace="HusharService",
        dimensions={"ModelId": "model"},
        start_unix_seconds=OPENED_UNIX_MICROS / 1e6,
        end_unix_seconds=OPENED_UNIX_MICROS / 1e6 + 60,
        distributions=(
            Distribution("InferenceTime", "Microseconds", np.array([8.5, 9.0, 9.0, 1234.5])),
            Distribution("BatchRows", "Count", np.array([1.0, 32.0]), counts=np.array([3, 1])),
        ),
        counters=(
            Counter("Requests", 4.0, {"status": "OK"}),
            Counter("LogRecordsDropped", 0.0, {}),
        ),
    )
