import io
import json

import pytest

from hushar.cli.logcat import Selection, json_line, print_batches
from hushar.cli.logprogress import ReadingProgress
from hushar.logreading.partitions import Window
from hushar.logreading.source import LogFile
from hushar.proto.structs_pb2 import InferenceLogBatch, InferenceLogs


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "x.pb"
    batches = [
        InferenceLogBatch(request_id=name, received_unix_micros=time) for time, name in enumerate("abc")
    ]
    file.write_bytes(InferenceLogs(inferenceLogBatches=batches).SerializeToString())
    return file


def printed(files, selection):
    stream = io.BytesIO()
    progress = ReadingProgress(0, shown=False)
    files = [LogFile(str(path), None, 0, path=path) for path in files]
    readable = print_batches(files, selection, stream, progress)
    return [json.loads(line)["request_id"] for line in stream.getvalue().splitlines()], readable


def test_the_limit_is_one_for_all_files(path):
    assert printed([path, path], Selection(Window(), limit=4)) == (["a", "b", "c", "a"], True)


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_printed(path, tmp_path, capsys):
    assert printed([tmp_path / "gone.pb", path], Selection(Window())) == (["a", "b", "c"], False)
    assert capsys.readouterr().err == f"{tmp_path / 'gone.pb'}: cannot be read: No such file or directory\n"


def test_a_batch_without_a_time_was_received_at_the_beginning(path):
    assert printed([path], Selection(Window(since=0, until=1))) == (["a"], True)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 3.4028234663852886e38])
def test_a_line_is_json_whatever_the_score(score):
    batch = InferenceLogBatch(inference_log_rows=[{"scores": [score]}, {}])
    line = json_line(batch)
    assert json.loads(line, parse_constant=pytest.fail)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
