"""`hushar logs` and `hushar bench --log` with logs in S3: what is there, and how little is asked for."""

import gzip
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from hushar.bench.sources import log_requests
from hushar.cli.logstores import PluginStores
from hushar.cli.root import main
from hushar.proto.structs_pb2 import (
    DataType,
    InferenceLogBatch,
    InferenceLogRow,
    InferenceLogs,
    InferenceRequest,
    SegmentInfo,
)

START = datetime(2025, 12, 20, tzinfo=UTC)
DAYS = 30


@pytest.fixture
def hushar(monkeypatch, capfdbinary):
    """Runs `hushar ARGUMENTS…`: exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hushar", *map(str, arguments)])
        status = main()
        sys.stdout.flush()
        captured = capfdbinary.readouterr()
        return status, captured.out.decode(), captured.err.decode()

    return run


@pytest.fixture
def logs(s3, aws_bucket):
    """A segment of two calls a day, every third compressed; the keys in the order of time."""
    keys = []
    for number in range(1, DAYS + 1):
        opened = START + timedelta(days=number - 1, hours=5)
        micros = int(opened.timestamp()) * 1_000_000
        row = InferenceLogRow(row_id="r", features={"age": DataType(float_value=number)}, scores=[0.5])
        batches = [
            InferenceLogBatch(
                request_id=f"{number}-{index}", received_unix_micros=micros, inference_log_rows=[row]
            )
            for index in range(2)
        ]
        info = SegmentInfo(instance="i", worker=1, segment=number, batches=2, total_batches=2 * number)
        data = InferenceLogs(inferenceLogBatches=batches, segment_info=[info]).SerializeToString()
        key = f"a log/year={opened:%Y}/month={opened:%m}/day={opened:%d}/hour=05/mi=00/ü_{micros}.pb"
        if number % 3 == 0:
            key, data = key + ".gz", gzip.compress(data)
        s3.put_object(Bucket=aws_bucket, Key=key, Body=data)
        keys.append(key)
    return keys


@pytest.fixture
def source(aws_bucket, logs):
    return f"s3://{aws_bucket}/a log"


def test_every_call_is_printed_in_the_order_of_time(hushar, source):
    status, out, err = hushar("logs", "cat", source)
    assert (status, err) == (0, "")
    ids = [json.loads(line)["request_id"] for line in out.splitlines()]
    assert ids == [f"{number}-{index}" for number in range(1, DAYS + 1) for index in range(2)]


def test_only_the_days_of_the_window_are_read(hushar, source, aws_bucket, s3, logs):
    """What was read of the others would be told: they are damaged."""
    for key in [*logs[:8], *logs[13:]]:
        s3.put_object(Bucket=aws_bucket, Key=key, Body=b"\xff")
    status, out, err = hushar("logs", "cat", source, "--since", "2025-12-30", "--until", "2025-12-31")
    assert (status, err) == (0, "")
    assert [json.loads(line)["request_id"] for line in out.splitlines()] == ["11-0", "11-1"]


def test_an_object_and_a_whole_bucket_are_sources_too(hushar, source, aws_bucket, logs):
    status, out, _ = hushar("logs", "cat", f"s3://{aws_bucket}/{logs[2]}")
    assert (status, len(out.splitlines())) == (0, 2)
    status, out, _ = hushar("logs", "cat", f"s3://{aws_bucket}", "--limit", "3")
    assert (status, len(out.splitlines())) == (0, 3)


def test_what_is_missing_is_told(hushar, source, aws_bucket, s3, logs):
    status, out, _ = hushar("logs", "verify", source)
    assert (status, out) == (0, "complete: 60 batches\n")
    s3.delete_object(Bucket=aws_bucket, Key=logs[20])
    status, out, _ = hushar("logs", "verify", source)
    assert (status, out) == (
        1,
        "i worker 1: segment 21 missing: 2 batches\nincomplete: 2 of 60 batches missing\n",
    )


def test_a_table_is_made(hushar, source, tmp_path):
    config = tmp_path / "v.json"
    transformation = {"type": "min_max_scaling32", "min": 0, "max": 1, "default_val": [0]}
    config.write_text(
        json.dumps({"feature_order": ["age"], "feature_transformations": {"age": transformation}})
    )
    output = tmp_path / "t.csv"
    status, out, err = hushar("logs", "convert", source, "--output", output, "--config", config)
    assert (status, out, err) == (0, "60 rows\n", "")
    ages = [line.rpartition(",")[2] for line in output.read_text().splitlines()[1:]]
    assert ages == [str(float(number)) for number in range(1, DAYS + 1) for _ in range(2)]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://{}/absent", "s3://{}/absent: there is nothing of this name\n"),
        ("s3://absent-bucket/x", "cannot list s3://absent-bucket/x: NoSuchBucket"),
    ],
)
@pytest.mark.parametrize("command", ["cat", "verify"])
def test_what_is_not_there_is_a_mistake(hushar, aws_bucket, command, uri, message):
    status, out, err = hushar("logs", command, uri.format(aws_bucket))
    assert (status, out) == (2, "")
    assert err.startswith(message.format(aws_bucket))
    assert err.count("\n") == 1


def test_the_rows_of_a_log_are_replayed(source):
    with PluginStores() as stores:
        requests = log_requests([source], 1, pytest.fail, stores)
    ages = [InferenceRequest.FromString(each).inputs[0].features["age"].float_value for each in requests]
    assert ages == [number for number in range(1, DAYS + 1) for _ in range(2)]
