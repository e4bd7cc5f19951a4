"""A served model that logs to Kinesis and measures to CloudWatch: a process, moto's server, a stock boto3."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

import hushar
from hushar.proto import structs_pb2
from hushar.testing import aws_environment
from hushar.testing.faults import THROTTLING, Refuse

DEMO = Path(hushar.__file__).parent / "demo"
HUSHAR = (sys.executable, "-m", "hushar")


@pytest.fixture
def served(aws_server, tmp_path) -> Callable[..., dict[str, Any]]:
    """served(ARGUMENTS…): serves while `hushar` runs with these ("{address}" is the server's), then ends it
    by SIGTERM. Gives what the metric sink on standard error wrote."""
    aws_server.create_stream("log", shards=2)
    environment = aws_environment(aws_server.url)
    options = ["--port", "0", "--log-uri", "kinesis://log", "--spool-dir", str(tmp_path / "spool")]
    sinks = ["--metrics-sink", "cloudwatch", "--metrics-sink", "stderr"]
    compressed = ["--set", "log.compression=gzip"]

    def serve(*arguments: str) -> dict[str, Any]:
        with subprocess.Popen(
            [*HUSHAR, "serve", "--demo", *options, *sinks, *compressed],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                address = _address(process)
                command = [argument.format(address=address) for argument in arguments]
                subprocess.run(
                    [*HUSHAR, *command], env=environment, check=True, capture_output=True, timeout=60
                )
                process.send_signal(signal.SIGTERM)
                text = process.stderr.read()
                assert process.wait(30) == 0, text
            finally:
                process.kill()
        (line,) = [json.loads(line) for line in text.splitlines() if line.startswith('{"metrics"')]
        return line

    return serve


def _address(process: Any) -> str:
    lines = []
    for line in process.stderr:
        lines.append(line)
        if (found := re.match(r"listening on (\S+)", line)) is not None:
            return found[1]
    raise AssertionError("".join(lines))


def stream_messages() -> list[structs_pb2.InferenceLogs]:
    client = boto3.client("kinesis")
    found = []
    for shard in client.list_shards(StreamName="log")["Shards"]:
        position = client.get_shard_iterator(
            StreamName="log", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found += client.get_records(ShardIterator=position)["Records"]
    return [structs_pb2.InferenceLogs.FromString(record["Data"]) for record in found]


def cloudwatch(name: str, *statistics: str) -> dict[str, Any]:
    now = time.time()
    points = boto3.client("cloudwatch").get_metric_statistics(
        Namespace="HusharService",
        MetricName=name,
        Dimensions=[{"Name": "ModelId", "Value": "penguins"}],
        StartTime=now - 3600,
        EndTime=now + 60,
        Period=7200,
        Statistics=list(statistics),
    )["Datapoints"]
    return points[0] if points else {}


@pytest.mark.slow
def test_every_call_is_in_the_stream_and_cloudwatch_says_what_standard_error_says(served, tmp_path):
    configuration = str(DEMO / "service.json")
    line = served("bench", "{address}", "--config", configuration, "--rate", "300", "--seconds", "2")
    calls = line["counters"]["Requests"]["OK"]
    assert calls > 100
    assert list((tmp_path / "spool").rglob("*.pb*")) == []

    messages = stream_messages()
    ids = Counter(batch.request_id for message in messages for batch in message.inferenceLogBatches)
    assert ids.total() == len(ids) == calls == line["counters"]["LogRecordsDelivered"]
    infos = {info.segment: info for message in messages for info in message.segment_info}
    assert sum(info.batches for info in infos.values()) == calls
    assert {info.total_batches for info in infos.values() if info.segment == max(infos)} == {calls}

    assert cloudwatch("Requests", "Sum")["Sum"] == calls
    for name, told in line["distributions"].items():
        point = cloudwatch(name, "SampleCount", "Average", "Maximum")
        assert point["SampleCount"] == told["count"]
        assert point["Average"] == pytest.approx(told["mean"], rel=1e-3, abs=1e-3)
        assert point["Maximum"] == pytest.approx(told["max"], abs=1e-3)
        assert point["Unit"] == told["unit"]


@pytest.mark.slow
def test_a_row_that_no_kinesis_record_can_hold_is_set_aside_and_the_others_are_delivered(served, tmp_path):
    rows = [
        {"row_id": name, "features": {"year": {"integer_value": 2007}, "note": {"string_value": "x" * size}}}
        for name, size in (("first", 10), ("large", 1_200_000), ("last", 1_000_000))
    ]
    tmp_path.joinpath("rows.json").write_text(json.dumps(rows))
    line = served("call", "{address}", "--json", str(tmp_path / "rows.json"), "--request-id", "request")
    assert line["counters"]["LogRecordsDeadLettered"] == 1

    batches = [batch for message in stream_messages() for batch in message.inferenceLogBatches]
    assert {batch.request_id for batch in batches} == {"request"}
    assert sorted(row.row_id for batch in batches for row in batch.inference_log_rows) == ["first", "last"]
    (left,) = (tmp_path / "spool" / "dead-letter").iterdir()
    (batch,) = structs_pb2.InferenceLogs.FromString(left.read_bytes()).inferenceLogBatches
    assert batch.request_id == "request"
    assert [(row.row_id, len(row.scores)) for row in batch.inference_log_rows] == [("large", 3)]


@pytest.mark.slow
def test_no_call_is_missing_in_cloudwatch_after_it_was_throttled(faulty_aws):
    """Intervals of a second, and attempts that take longer: times are lost, counts are not."""
    sinks = ["--metrics-sink", "cloudwatch", "--set", "metrics.interval_seconds=1"]
    command = [*HUSHAR, "serve", "--demo", "--port", "0", *sinks]
    environment = aws_environment(faulty_aws.url)
    throttling = faulty_aws.inject(THROTTLING, operation="PutMetricData", times=9)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            bench = ["bench", _address(process), "--config", str(DEMO / "service.json"), "--rate", "200"]
            said = subprocess.run(
                [*HUSHAR, *bench, "--seconds", "6", "--warmup-seconds", "0", "--output", "-"],
                env=environment,
                check=True,
                capture_output=True,
                timeout=60,
            ).stdout
            calls = json.loads(said[said.index(b"{") :])["runs"][0]["statuses"]["OK"]
            for _ in range(300):
                if throttling.hits == 9 and cloudwatch("Requests", "Sum").get("Sum") == calls:
                    break
                time.sleep(0.1)
        finally:
            process.terminate()
            process.stderr.read()
    assert throttling.hits == 9
    assert cloudwatch("Requests", "Sum")["Sum"] == calls


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_delivery_loses_nothing(aws_server, faulty_aws, tmp_path):
    """The stream takes one call of each segment, then nothing; the server is killed and started again."""
    grpc = pytest.importorskip("grpc", reason="needs tool: grpcio")
    aws_server.create_stream("log", shards=2)
    options = ["--port", "0", "--log-uri", "kinesis://log", "--spool-dir", str(tmp_path / "spool")]
    settings = ["--set", "log.acknowledge=spooled", "--set", "log.rotate_bytes=12000000"]
    command = [*HUSHAR, "serve", "--demo", *options, *settings]
    environment = aws_environment(faulty_aws.url)
    refusing = faulty_aws.inject(Refuse(503, "ServiceUnavailable"), operation="PutRecords", skip=1)

    answered = set()
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            with grpc.insecure_channel(_address(process)) as channel:
                call = channel.unary_unary("/hushar.Hushar/InferenceService")
                for i in range(60):
                    request = service_request(f"request-{i}", note_bytes=500_000)
                    answered.add(
                        structs_pb2.InferenceResponse.FromString(call(request, timeout=20)).request_id
                    )
                    if refusing.hits > 2 and i > 30:
                        break
            for _ in range(1000):
                if refusing.hits >= 3:
                    break
                time.sleep(0.05)
        finally:
            process.kill()
    assert stream_messages()
    refusing.stop()
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            _address(process)
            process.send_signal(signal.SIGTERM)
            text = process.stderr.read()
            assert process.wait(30) == 0, text
        finally:
            process.kill()
    assert list((tmp_path / "spool").rglob("*.pb*")) == []
    found = Counter(
        batch.request_id for message in stream_messages() for batch in message.inferenceLogBatches
    )
    assert found.keys() == answered
    assert set(found.values()) <= {1, 2}


def service_request(request_id: str, *, note_bytes: int) -> bytes:
    row = structs_pb2.InputRow(row_id="row")
    row.features["year"].integer_value = 2007
    row.features["note"].string_value = "x" * note_bytes
    return structs_pb2.InferenceRequest(request_id=request_id, inputs=[row]).SerializeToString()
