"""The fakes keep what they are given, fail when told to, and pass the checks of their interfaces."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from hushar.errors import SegmentRefused, SinkError, StorageError
from hushar.proto import structs_pb2
from hushar.sinks.interface import MetricBatch
from hushar.testing import (
    MemoryLogSink,
    MemoryMetricSink,
    MemoryStorage,
    check_log_sink,
    check_metric_sink,
    check_storage,
    log_record,
    segment,
)

BATCH = MetricBatch("HusharService", {}, 0.0, 60.0, (), ())


async def test_the_fakes_conform():
    sink = MemoryLogSink()
    await check_log_sink(lambda: sink, lambda: sink.segments)
    await check_metric_sink(MemoryMetricSink)
    storage = MemoryStorage()

    def write(name: str, data: bytes) -> str:
        storage.contents[name] = data
        return name

    await check_storage(lambda: storage, write)


async def test_a_memory_log_sink_keeps_segments_by_key_and_shows_their_batches(tmp_path: Path):
    sink = MemoryLogSink()
    one = segment(tmp_path, [log_record("a"), log_record("b")])
    two = segment(tmp_path, [log_record("c")])
    await sink.deliver(one)
    await sink.deliver(two)
    assert sink.segments == {one.key: one.path.read_bytes(), two.key: two.path.read_bytes()}
    assert [batch.request_id for batch in sink.batches] == ["a", "b", "c"]


async def test_a_memory_log_sink_fails_as_often_as_it_is_told(tmp_path: Path):
    sink = MemoryLogSink()
    sink.fail_next(2, SinkError("no route"))
    sink.fail_next(1, SegmentRefused("too large"))
    one = segment(tmp_path)
    for error in (SinkError, SinkError, SegmentRefused):
        with pytest.raises(error):
            await sink.deliver(one)
    assert sink.segments == {}
    await sink.deliver(one)
    assert list(sink.segments) == [one.key]
    assert sink.attempts == [one.key] * 4


async def test_sinks_count_opening_and_closing():
    for sink in (MemoryLogSink(), MemoryMetricSink()):
        await sink.open()
        await sink.aclose()
        assert (sink.opened, sink.closed, sink.description) == (1, 1, "memory")


async def test_a_memory_metric_sink_keeps_batches_and_fails_when_told():
    sink = MemoryMetricSink()
    sink.fail_next(1, SinkError("no route"))
    with pytest.raises(SinkError, match="no route"):
        await sink.emit(BATCH)
    await sink.emit(BATCH)
    assert sink.batches == [BATCH]


async def test_a_memory_storage_reads_what_is_in_it():
    storage = MemoryStorage({"s3://bucket/model": b"bytes"})
    blob = await storage.read("s3://bucket/model")
    assert (blob.uri, blob.data, blob.path) == ("s3://bucket/model", b"bytes", None)
    with pytest.raises(StorageError, match="s3://bucket/other cannot be read"):
        await storage.read("s3://bucket/other")


async def test_a_memory_storage_lists_what_is_below_a_folder():
    storage = MemoryStorage(
        {f"mem://{name}": b"x" * size for size, name in enumerate(["a", "l/b", "l/a", "la"])}
    )
    found = [(entry.uri, entry.size_bytes) async for entry in storage.entries("mem://l")]
    assert found == [("mem://l/a", 2), ("mem://l/b", 1)]
    assert [entry.uri async for entry in storage.entries("mem://l", after="mem://l/a")] == ["mem://l/b"]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_a_memory_sink_knows_the_batches_of_compressed_segments(tmp_path: Path, compression):
    sink = MemoryLogSink()
    await sink.deliver(segment(tmp_path, [log_record("a"), log_record("b")], compression=compression))
    assert [batch.request_id for batch in sink.batches] == ["a", "b"]


class TestSegment:
    def test_it_is_a_valid_log_file_with_its_segment_info(self, tmp_path: Path):
        records = [log_record("a", features={"age": 2.5, "city": "Pune"}, scores=(0.25,)), log_record("b")]
        one = segment(tmp_path, records)
        logs = structs_pb2.InferenceLogs.FromString(one.path.read_bytes())
        assert [batch.request_id for batch in logs.inferenceLogBatches] == ["a", "b"]
        row = logs.inferenceLogBatches[0].inference_log_rows[0]
        assert row.features["age"].double_value == 2.5
        assert row.features["city"].string_value == "Pune"
        assert list(row.scores) == [0.25]
        assert [(info.batches, info.total_batches) for info in logs.segment_info] == [(2, 2)]
        assert (one.batches, one.size_bytes) == (2, one.path.stat().st_size)

    def test_its_key_has_the_parts_of_the_time_of_opening_and_the_name(self, tmp_path: Path):
        name = uuid.UUID("7f1c0f4e-0d5b-4b5c-9a55-0d9f0a4cfa11")
        one = segment(tmp_path, [], name=name, opened_unix_micros=1_609_459_199_000_001)
        assert one.key == f"year=2020/month=12/day=31/hour=23/mi=59/{name}_1609459199000001.pb"

    def test_two_segments_never_share_a_key(self, tmp_path: Path):
        assert segment(tmp_path).key != segment(tmp_path).key


@pytest.mark.slow
def test_importing_the_checks_does_not_import_a_test_framework():
    """A suite that is not pytest's can use them, and so can an environment without onnx."""
    program = "import sys, hushar.testing; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()).isdisjoint({"pytest", "hypothesis", "onnx", "onnxruntime"})
