"""The log sink."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from google.protobuf.json_format import Parse

from hushar.plugins import ConfigurationError, LogSink, PluginContext, SegmentRefused
from hushar.proto import structs_pb2
from hushar.testing import check_log_sink, log_record, segment
from hushar_example.jsonl import Settings, make_sink

CONTEXT = PluginContext(settings=Settings(suffix=".jsonl"), model_id="model")


def sink_for(directory: Path) -> LogSink:
    return make_sink(f"jsonl://{directory}", CONTEXT)


def read_back(directory: Path) -> Mapping[str, bytes]:
    """Every file below the directory, as the segment that it came from, without its SegmentInfo."""
    found = {}
    for path in directory.rglob("*.*"):
        logs = structs_pb2.InferenceLogs()
        for line in path.read_text(encoding="utf-8").splitlines():
            Parse(line, logs.inferenceLogBatches.add())
        key = path.relative_to(directory).as_posix().replace(".jsonl", ".pb")
        found[key] = logs.SerializeToString()
    return found


async def test_it_conforms(tmp_path: Path):
    def broken() -> LogSink:
        """A file is where the directory of the year has to be."""
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "year=2025").touch()
        return sink_for(tmp_path / "broken")

    await check_log_sink(
        lambda: sink_for(tmp_path / "log"),
        lambda: read_back(tmp_path / "log"),
        make_broken_sink=broken,
        exact=False,
        compressed=True,
    )


async def test_a_line_is_a_batch_in_json(tmp_path: Path):
    one = segment(tmp_path, [log_record("r1", features={"age": 2.5}, scores=[0.25]), log_record("r2")])
    sink = sink_for(tmp_path / "log")
    await sink.open()
    await sink.deliver(one)
    await sink.aclose()
    written = tmp_path / "log" / one.key.replace(".pb", ".jsonl")
    first, second = (json.loads(line) for line in written.read_text(encoding="utf-8").splitlines())
    assert first["inference_log_rows"] == [
        {"row_id": "row-1", "features": {"age": {"double_value": 2.5}}, "scores": [0.25]}
    ]
    assert second["request_id"] == "r2"


async def test_a_segment_that_cannot_be_read_is_refused(tmp_path: Path):
    sink = sink_for(tmp_path / "log")
    torn = segment(tmp_path)
    torn.path.write_bytes(torn.path.read_bytes()[:-1])
    with pytest.raises(SegmentRefused, match="is not a log file"):
        await sink.deliver(torn)
    compressed = segment(tmp_path, compression="gzip")
    compressed.path.write_bytes(compressed.path.read_bytes()[:-1])
    with pytest.raises(SegmentRefused, match="is not a log file"):
        await sink.deliver(compressed)


async def test_a_directory_that_cannot_be_made_stops_the_start(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"log\.uri: cannot make the directory"):
        await sink_for(tmp_path / "file" / "log").open()


@pytest.mark.parametrize("uri", ["jsonl://host/log", "jsonl:log", "jsonl:///log?x=1", "jsonl:///log#x"])
def test_a_uri_that_cannot_be_meant_is_refused(uri: str):
    with pytest.raises(ConfigurationError, match=r"log\.uri: .* must be jsonl:// and an absolute path"):
        make_sink(uri, CONTEXT)


def test_a_suffix_is_a_suffix():
    with pytest.raises(ValueError, match="suffix"):
        Settings(suffix="jsonl")
