"""The checks of sinks pass what keeps the rules, and name the rule that a planted violation breaks."""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from hushar.errors import ConfigurationError, SinkError
from hushar.proto import structs_pb2
from hushar.sinks.compression import read
from hushar.sinks.interface import LogSink, MetricBatch, MetricSink, Segment
from hushar.testing import MemoryLogSink, MemoryMetricSink, check_log_sink, check_metric_sink


class Backed(MemoryLogSink):
    """A right log sink; every instance made by one test delivers to the same dictionary."""

    def __init__(self, segments: dict[str, bytes]) -> None:
        super().__init__()
        self.segments = segments


async def check(kind: type[Backed], **options: Any) -> None:
    segments = {"what/was/there/before.pb": b"before"}
    await check_log_sink(lambda: kind(segments), lambda: segments, **options)


def files_in(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


class TestLogSink:
    async def test_a_right_sink_passes(self):
        await check(Backed)

    async def test_a_right_sink_that_moves_the_file_passes(self, tmp_path: Path):
        class Moves(MemoryLogSink):
            async def deliver(self, segment: Segment) -> None:
                target = tmp_path / segment.key
                target.parent.mkdir(parents=True, exist_ok=True)
                await trio.lowlevel.checkpoint()
                segment.path.rename(target)

        async def read_back() -> Mapping[str, bytes]:
            await trio.lowlevel.checkpoint()
            return files_in(tmp_path)

        await check_log_sink(Moves, read_back)

    async def test_a_right_sink_of_another_format_passes_when_batches_are_compared(self):
        await check(Converts, exact=False)
        await check(Reads, exact=False, compressed=True)
        await check(SkipsEmptyOnes, exact=False, compressed=True)
        await check(OwnSuffix, exact=False, compressed=True)
        with pytest.raises(AssertionError, match="exactly the segment's content"):
            await check(Converts)

    async def test_a_right_broken_sink_passes(self):
        await check(Backed, make_broken_sink=lambda: failing(SinkError("no route")))


def failing(error: Exception) -> MemoryLogSink:
    sink = MemoryLogSink()
    sink.fail_next(1, error)
    return sink


class Converts(Backed):
    """Keeps the batches, not what else is in the segment."""

    async def deliver(self, segment: Segment) -> None:
        await super().deliver(segment)
        logs = structs_pb2.InferenceLogs.FromString(self.segments[segment.key])
        logs.ClearField("segment_info")
        self.segments[segment.key] = logs.SerializeToString()


class Reads(Converts):
    """The same of compressed segments."""

    async def deliver(self, segment: Segment) -> None:
        message = b"".join(read(segment))
        await MemoryLogSink.deliver(self, segment)
        logs = structs_pb2.InferenceLogs.FromString(message)
        logs.ClearField("segment_info")
        self.segments[segment.key] = logs.SerializeToString()


class OwnSuffix(Reads):
    """In its own format it makes no difference how the segment was compressed."""

    async def deliver(self, segment: Segment) -> None:
        await super().deliver(segment)
        content = self.segments.pop(segment.key)
        self.segments[segment.key.partition(".pb")[0] + ".pb"] = content


class SkipsEmptyOnes(Reads):
    async def deliver(self, segment: Segment) -> None:
        if segment.batches:
            await super().deliver(segment)


class Decompresses(Backed):
    async def deliver(self, segment: Segment) -> None:
        message = b"".join(read(segment))
        await super().deliver(segment)
        self.segments[segment.key] = message


class DropsTheSuffix(Backed):
    async def deliver(self, segment: Segment) -> None:
        await super().deliver(segment)
        self.segments[segment.key.removesuffix(".gz")] = self.segments.pop(segment.key)


class LosesEndMarkers(Backed):
    async def deliver(self, segment: Segment) -> None:
        if segment.batches:
            await super().deliver(segment)


class LosesABatch(Converts):
    async def deliver(self, segment: Segment) -> None:
        await super().deliver(segment)
        logs = structs_pb2.InferenceLogs.FromString(self.segments[segment.key])
        del logs.inferenceLogBatches[-1]
        self.segments[segment.key] = logs.SerializeToString()


class Compresses(Backed):
    async def deliver(self, segment: Segment) -> None:
        await super().deliver(segment)
        self.segments[segment.key] = gzip.compress(self.segments[segment.key])


class OwnKey(Backed):
    async def deliver(self, segment: Segment) -> None:
        await super().deliver(segment)
        self.segments[Path(segment.key).name] = self.segments.pop(segment.key)


class NewKeyEveryTime(Backed):
    async def deliver(self, segment: Segment) -> None:
        already = segment.key in self.segments
        await super().deliver(segment)
        if already:
            self.segments[segment.key + ".again"] = self.segments[segment.key]


class Appends(Backed):
    async def deliver(self, segment: Segment) -> None:
        before = self.segments.get(segment.key, b"")
        await super().deliver(segment)
        self.segments[segment.key] = before + self.segments[segment.key]


class ForgetsAfterARestart(Backed):
    """Knows what it delivered itself, but not what the sink before it did."""

    async def deliver(self, segment: Segment) -> None:
        already = segment.key in self.segments and segment.key not in self.attempts
        await super().deliver(segment)
        if already:
            self.segments[segment.key + ".again"] = self.segments[segment.key]


class DeliversLater(Backed):
    """Returns at once and delivers with the next segment."""

    waiting: Segment | None = None

    async def deliver(self, segment: Segment) -> None:
        if self.waiting is not None:
            await super().deliver(self.waiting)
        self.waiting = segment


class OneAtATime(Backed):
    busy = False

    async def deliver(self, segment: Segment) -> None:
        if self.busy:
            raise SinkError("busy")
        self.busy = True
        try:
            await super().deliver(segment)
        finally:
            self.busy = False


class MixesUp(Backed):
    """Keeps the segment under delivery in the sink itself."""

    async def deliver(self, segment: Segment) -> None:
        self.current = segment
        await trio.testing.wait_all_tasks_blocked()
        await super().deliver(replace(self.current, key=segment.key))


class ChangesTheFile(Backed):
    async def deliver(self, segment: Segment) -> None:
        await super().deliver(segment)
        segment.path.write_bytes(b"")


class HidesFailure(Backed):
    async def deliver(self, segment: Segment) -> None:
        if segment.path.exists():
            await super().deliver(segment)


class LeavesHalf(Backed):
    async def deliver(self, segment: Segment) -> None:
        await trio.lowlevel.checkpoint()
        self.segments[segment.key] = b""
        await super().deliver(segment)


class BreaksAfterFailure(Backed):
    broken = False

    async def deliver(self, segment: Segment) -> None:
        if self.broken:
            raise SinkError("still broken")
        try:
            await super().deliver(segment)
        except OSError:
            self.broken = True
            raise


class CannotClose(Backed):
    failed = False

    async def deliver(self, segment: Segment) -> None:
        self.failed = True
        await super().deliver(segment)
        self.failed = False

    async def aclose(self) -> None:
        if self.failed:
            raise RuntimeError("not now")
        await super().aclose()


class HidesCancellation(Backed):
    async def deliver(self, segment: Segment) -> None:
        try:
            await super().deliver(segment)
        except trio.Cancelled as error:
            raise SinkError("cancelled") from error


class SwallowsCancellation(Backed):
    async def deliver(self, segment: Segment) -> None:
        try:
            await super().deliver(segment)
        except trio.Cancelled:
            return


class LosesWhatWasCancelled(Backed):
    async def deliver(self, segment: Segment) -> None:
        try:
            await super().deliver(segment)
        except trio.Cancelled:
            segment.path.unlink()
            raise


class LeavesHalfWhenCancelled(Backed):
    async def deliver(self, segment: Segment) -> None:
        try:
            await super().deliver(segment)
        except trio.Cancelled:
            self.segments[segment.key] = b"half"
            raise


class NoDescription(Backed):
    description = ""


class TwoLines(Backed):
    description = "memory\nof two lines"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Compresses, "exactly the segment's content: after a delivery"),
        (OwnKey, "must store a segment under its key"),
        (Decompresses, "exactly the segment's content: after a delivery with compression gzip"),
        (DropsTheSuffix, "must store a segment under its key: after a delivery with compression gzip"),
        (LosesEndMarkers, "after a delivery of a segment without batches, .* is not there"),
        (NewKeyEveryTime, "exactly one object: after a second delivery by the same sink"),
        (Appends, "exactly the segment's content: after a second delivery"),
        (ForgetsAfterARestart, "exactly one object: after a second delivery by another sink"),
        (DeliversLater, "must return only once the segment is at its destination"),
        (OneAtATime, "must deliver a good segment; it raised SinkError"),
        (MixesUp, "exactly the segment's content: after 5 deliveries at once"),
        (ChangesTheFile, "changes the segment's file"),
        (HidesFailure, "must raise when it did not deliver"),
        (LeavesHalf, "exactly one object: after a delivery that failed"),
        (BreaksAfterFailure, "must deliver a good segment; it raised SinkError"),
        (CannotClose, "aclose must work, also after a failed delivery"),
        (HidesCancellation, "let a cancellation pass through; it turned it into SinkError"),
        (SwallowsCancellation, "let a cancellation pass through; it returned as if"),
        (LosesWhatWasCancelled, "a delivery that was cancelled must not lose the segment"),
        (LeavesHalfWhenCancelled, "exactly the segment's content: after a delivery that was cancelled"),
        (NoDescription, "description must be one line"),
        (TwoLines, "description must be one line"),
    ],
)
async def test_a_broken_log_sink_fails(kind: type[Backed], sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        await check(kind)


async def test_a_lost_batch_fails_also_when_only_batches_are_compared():
    with pytest.raises(AssertionError, match="exactly the segment's content"):
        await check(LosesABatch, exact=False)


async def test_what_is_no_log_sink_fails():
    def make() -> Any:
        return MemoryMetricSink()

    with pytest.raises(AssertionError, match="must return a LogSink; it returns MemoryMetricSink"):
        await check_log_sink(make, dict)


class RefusesToOpen(MemoryLogSink):
    async def open(self) -> None:
        raise SinkError("no route")


class TakesTheFileAndFails(MemoryLogSink):
    async def deliver(self, segment: Segment) -> None:
        segment.path.unlink()
        raise SinkError("no route")


@pytest.mark.parametrize(
    ("sink", "sentence"),
    [
        (RefusesToOpen(), "open must not raise while the destination is down"),
        (MemoryLogSink(), "deliver must raise SinkError when it fails; it returned"),
        (failing(OSError("no route")), "deliver must raise SinkError when it fails; it raised OSError"),
        (TakesTheFileAndFails(), "takes the segment's file away although it failed"),
    ],
)
async def test_a_log_sink_that_takes_an_outage_wrong_fails(sink: LogSink, sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        await check(Backed, make_broken_sink=lambda: sink)


class TestMetricSink:
    async def test_a_right_sink_passes(self):
        def broken() -> MetricSink:
            sink = MemoryMetricSink()
            sink.fail_next(1, SinkError("no route"))
            return sink

        await check_metric_sink(MemoryMetricSink, make_broken_sink=broken)

    async def test_the_sink_is_closed_also_when_it_breaks_a_rule(self):
        sink = NeedsDistributions()
        with pytest.raises(AssertionError):
            await check_metric_sink(lambda: sink)
        assert (sink.opened, sink.closed) == (1, 1)


class NeedsDistributions(MemoryMetricSink):
    async def emit(self, batch: MetricBatch) -> None:
        batch.distributions[0].quantile(0.5)


class NeedsCounters(MemoryMetricSink):
    async def emit(self, batch: MetricBatch) -> None:
        if not batch.distributions:
            batch.counters[0].labels.get("status")


class NeedsTheModel(MemoryMetricSink):
    async def emit(self, batch: MetricBatch) -> None:
        batch.dimensions["ModelId"].lower()


class OneBatchAtATime(MemoryMetricSink):
    busy = False

    async def emit(self, batch: MetricBatch) -> None:
        if self.busy:
            raise SinkError("busy")
        self.busy = True
        try:
            await super().emit(batch)
        finally:
            self.busy = False


class Rescales(MemoryMetricSink):
    async def emit(self, batch: MetricBatch) -> None:
        for distribution in batch.distributions:
            distribution.values[:] /= 1e6


class HidesCancelledEmit(MemoryMetricSink):
    async def emit(self, batch: MetricBatch) -> None:
        try:
            await super().emit(batch)
        except trio.Cancelled as error:
            raise SinkError("cancelled") from error


class BreaksWhenCancelled(MemoryMetricSink):
    broken = False

    async def emit(self, batch: MetricBatch) -> None:
        if self.broken:
            raise SinkError("still broken")
        self.broken = True
        await super().emit(batch)
        self.broken = False


class CannotCloseMetrics(MemoryMetricSink):
    async def aclose(self) -> None:
        raise RuntimeError("not now")


class Undescribed(MemoryMetricSink):
    description = ""


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (NeedsDistributions, "emit must take a batch without distributions; it raised IndexError"),
        (NeedsCounters, "emit must take an empty batch; it raised IndexError"),
        (NeedsTheModel, "emit must take a batch without dimensions; it raised KeyError"),
        (OneBatchAtATime, "emit must take a batch, several at once; it raised SinkError"),
        (Rescales, "emit modifies the batch"),
        (HidesCancelledEmit, "emit must let a cancellation pass through"),
        (BreaksWhenCancelled, "a batch after one that was cancelled|several at once"),
        (CannotCloseMetrics, "aclose must work"),
        (Undescribed, "description must be one line"),
        (MemoryLogSink, "must return a MetricSink; it returns MemoryLogSink"),
    ],
)
async def test_a_broken_metric_sink_fails(kind: type[Any], sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        await check_metric_sink(kind)


class MetricsRefuseToOpen(MemoryMetricSink):
    async def open(self) -> None:
        raise ConfigurationError([])


class MetricsRaiseOSError(MemoryMetricSink):
    async def emit(self, batch: MetricBatch) -> None:
        raise OSError("no route")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (MetricsRefuseToOpen, "open must not raise while the destination is down"),
        (MemoryMetricSink, "emit must raise SinkError when it fails; it returned"),
        (MetricsRaiseOSError, "emit must raise SinkError when it fails; it raised OSError"),
    ],
)
async def test_a_metric_sink_that_takes_an_outage_wrong_fails(kind: type[MetricSink], sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        await check_metric_sink(MemoryMetricSink, make_broken_sink=kind)
