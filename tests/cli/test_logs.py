import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard
from google.protobuf.json_format import ParseDict

from hushar.proto.structs_pb2 import DataType, InferenceLogBatch, InferenceLogRow, InferenceLogs

DAY_ONE = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000_000


def make_batch(request_id, received=DAY_ONE, model_id="m"):
    features = {"b": DataType(float_value=0.1), "a": DataType(long_value=2**60)}
    row = InferenceLogRow(row_id="r", features=features, scores=[0.1, 2])
    return InferenceLogBatch(
        request_id=request_id,
        model_id=model_id,
        inference_log_rows=[row],
        received_unix_micros=received,
        model_version="v",
    )


def write(path: Path, *batches):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(InferenceLogs(inferenceLogBatches=batches).SerializeToString())
    return path


@pytest.fixture
def logs(tmp_path):
    """Two files, an hour each, four calls of two models."""
    partition = tmp_path / "logs/year=2026/month=01/day=01"
    second = [make_batch("q2", DAY_ONE + HOUR), make_batch("q3", DAY_ONE + HOUR + 1, "n")]
    write(partition / f"hour=01/mi=00/a_{DAY_ONE + HOUR}.pb", *second)
    write(partition / f"hour=00/mi=00/b_{DAY_ONE}.pb", make_batch("q0"), make_batch("q1", DAY_ONE + 1, "n"))
    return tmp_path / "logs"


def request_ids(ran):
    assert (ran.status, ran.err) == (0, "")
    return [json.loads(line)["request_id"] for line in ran.out.splitlines()]


def test_each_call_is_a_line_of_protobufs_json_with_the_names_of_the_proto_file(hushar, tmp_path):
    batch = make_batch("q")
    ran = hushar("logs", "cat", write(tmp_path / "x.pb", batch))
    assert ran.status == 0
    [line] = ran.out.splitlines()
    assert json.loads(line) == {
        "request_id": "q",
        "model_id": "m",
        "inference_log_rows": [
            {
                "row_id": "r",
                "features": {"a": {"long_value": str(2**60)}, "b": {"float_value": 0.1}},
                "scores": [0.1, 2.0],
            }
        ],
        "received_unix_micros": str(DAY_ONE),
        "model_version": "v",
    }
    assert line.index('"a"') < line.index('"b"')
    assert ParseDict(json.loads(line), InferenceLogBatch()) == batch


def test_a_line_is_a_line_whatever_the_text_in_it(hushar, tmp_path):
    text = "a\nb\r\x85\u2028ü"
    ran = hushar("logs", "cat", write(tmp_path / "x.pb", make_batch(text)))
    assert request_ids(ran) == [text]


def test_a_folder_is_printed_in_the_order_of_time(hushar, logs):
    assert request_ids(hushar("logs", "cat", logs)) == ["q0", "q1", "q2", "q3"]
    assert request_ids(hushar("logs", "cat", logs.as_uri())) == ["q0", "q1", "q2", "q3"]


def test_several_files_are_printed_in_the_order_of_time(hushar, logs):
    files = sorted(logs.rglob("*.pb"), reverse=True)
    assert request_ids(hushar("logs", "cat", *files)) == ["q0", "q1", "q2", "q3"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--since", "2026-01-01T00:00:00.000001"], ["q1", "q2", "q3"]),
        (["--since", "2026-01-01T01:00:00Z"], ["q2", "q3"]),
        (["--until", "2026-01-01T02:00:00.000001+01:00"], ["q0", "q1", "q2"]),
        (["--until", "2026-01-01"], []),
        (["--since", "2026-01-01T00:00:00.000001", "--until", "2026-01-01T01:00"], ["q1"]),
        (["--since", "2026-01-02T01:00:00.000001"], []),
        (["--since", "1s"], []),
        (["--until", "1s"], ["q0", "q1", "q2", "q3"]),
        (["--model-id", "n"], ["q1", "q3"]),
        (["--model-id", "other"], []),
        (["--limit", "3"], ["q0", "q1", "q2"]),
        (["--limit", "9"], ["q0", "q1", "q2", "q3"]),
        (["--limit", "0"], []),
        (["--model-id", "n", "--limit", "1"], ["q1"]),
    ],
)
def test_options_choose_calls(hushar, logs, options, expected):
    assert request_ids(hushar("logs", "cat", logs, *options)) == expected


def test_an_age_counts_from_now(hushar, tmp_path):
    now = time.time_ns() // 1000
    old, new = make_batch("old", now - 2 * HOUR), make_batch("new", now - HOUR // 2)
    path = write(tmp_path / "x.pb", old, new)
    assert request_ids(hushar("logs", "cat", path, "--since", "1h")) == ["new"]
    assert request_ids(hushar("logs", "cat", path, "--until", "60m")) == ["old"]


def test_a_torn_file_is_printed_up_to_the_tear_wherever_it_is(hushar, tmp_path):
    path = write(tmp_path / "x.pb", make_batch("q0"), make_batch("q1"))
    data = path.read_bytes()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        ran = hushar("logs", "cat", path)
        assert ran.status == 0
        whole = cut // (len(data) // 2)
        assert [json.loads(line)["request_id"] for line in ran.out.splitlines()] == ["q0", "q1"][:whole]
        if cut % (len(data) // 2):
            [message] = ran.err.splitlines()
            assert str(path) in message
            assert "torn" in message
        else:
            assert ran.err == ""


def test_after_a_torn_file_the_next_is_printed(hushar, logs):
    first = min(logs.rglob("*.pb"))
    first.write_bytes(first.read_bytes()[:-1])
    ran = hushar("logs", "cat", logs)
    assert [json.loads(line)["request_id"] for line in ran.out.splitlines()] == ["q0", "q2", "q3"]
    assert (ran.status, ran.err.count("\n")) == (0, 1)


def test_a_tear_behind_the_limit_is_not_met(hushar, logs):
    first = min(logs.rglob("*.pb"))
    first.write_bytes(first.read_bytes()[:-1])
    assert request_ids(hushar("logs", "cat", logs, "--limit", "1")) == ["q0"]


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_compressed_files_are_printed_like_others(hushar, logs, suffix, compress):
    path = min(logs.rglob("*.pb"))
    path.with_name(path.name + suffix).write_bytes(compress(path.read_bytes()))
    path.unlink()
    assert request_ids(hushar("logs", "cat", logs)) == ["q0", "q1", "q2", "q3"]
    path = path.with_name(path.name + suffix)
    path.write_bytes(path.read_bytes()[:-1])
    ran = hushar("logs", "cat", path)
    assert ran.status == 0
    [message] = ran.err.splitlines()
    assert str(path) in message
    assert "torn" in message


def test_unknown_fields_do_not_matter(hushar, tmp_path):
    path = write(tmp_path / "x.pb", make_batch("q"))
    batch = make_batch("q").SerializeToString() + b"\xfa\x06\x03abc"
    path.write_bytes(b"\x92\x01\x01x" + b"\x0a" + bytes([len(batch)]) + batch + b"\x98\x06\x01")
    assert request_ids(hushar("logs", "cat", path)) == ["q"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent: No such file or directory\n"),
        (["gopher://x"], "gopher://x: nothing installed reads gopher://; a plugin may be missing\n"),
        ([".", "--since", "soon"], "--since: 'soon' is no time: expected ISO 8601"),
        ([".", "--until", "7w"], "--until: '7w' is no time"),
        ([".", "--since", "1h", "--until", "2h"], "--since: '1h' is later than --until '2h'\n"),
        ([".", "--limit", "-1"], "Invalid value for '--limit'"),
        ([], "Missing argument 'SOURCE...'"),
    ],
)
def test_a_mistake_is_told_and_nothing_printed(hushar, logs, monkeypatch, arguments, message):
    monkeypatch.chdir(logs)
    ran = hushar("logs", "cat", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_a_good_source_beside_a_missing_one_is_not_printed(hushar, logs):
    assert hushar("logs", "cat", logs, "absent").out == ""


def test_no_logs_are_no_lines(hushar, tmp_path):
    assert request_ids(hushar("logs", "cat", tmp_path)) == []


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    path = write(tmp_path / "x.pb", *(make_batch("q" * 1000) for _ in range(2000)))
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "hushar", "logs", "cat", str(path)]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert os.read(reading, 100)
        os.close(reading)
        _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full (Linux)")
@pytest.mark.parametrize("arguments", [["cat"], ["cat", "--limit", "1"], ["verify"]])
def test_output_that_takes_nothing_is_told_in_one_line(logs, arguments):
    command = [sys.executable, "-m", "hushar", "logs", *arguments, str(logs)]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == b"standard output: No space left on device"
    assert b"Traceback" not in ran.stderr


@pytest.mark.slow
def test_closed_streams_are_no_crash(tmp_path):
    path = write(tmp_path / "x.pb", make_batch("q"))
    path.write_bytes(path.read_bytes() + b"\x0a")  # torn: there is something to tell
    command = f'"{sys.executable}" -m hushar logs cat "{path}"'
    ran = subprocess.run(["sh", "-c", f"{command} 2>&-"], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout.count(b"\n")) == (0, 1)
    ran = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, b"standard output: closed\n")
