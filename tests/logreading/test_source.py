import os
from pathlib import Path

import pytest

from hushar.errors import ConfigurationError, StorageError
from hushar.logreading.partitions import Window
from hushar.logreading.source import LogFile, TornLog, log_files, read_batches
from hushar.logreading.times import parse_time
from hushar.proto.structs_pb2 import InferenceLogs

EVERYTHING = Window()


def names(files):
    return [file.path.name for file in files]


def local(path):
    """The file as one that is named itself."""
    return LogFile(str(path), None, 0, path=path)


def batches_of(path):
    return read_batches(local(path))


def test_a_folder_gives_its_logs_in_the_order_of_time(write_log, tmp_path):
    write_log("log/year=2026/month=01/day=02/hour=00/mi=00/zz_1767312000000000.pb")
    write_log("log/year=2025/month=12/day=31/hour=23/mi=59/aa_1767225599000000.pb")
    write_log("log/year=2026/month=01/day=02/hour=00/mi=00/aa_1767312000000001.pb")
    write_log("log/joined_1767225600000000.pb")
    write_log("log/year=2026/month=01/day=01/hour=12/mi=00/named.pb")
    assert names(log_files([str(tmp_path / "log")], EVERYTHING)) == [
        "aa_1767225599000000.pb",
        "joined_1767225600000000.pb",
        "named.pb",
        "zz_1767312000000000.pb",
        "aa_1767312000000001.pb",
    ]


def test_a_file_without_a_time_in_its_name_goes_by_its_last_change(write_log, tmp_path):
    for name, seconds in (("b.pb", 100), ("a.pb", 200), ("c_150000000.pb", 999)):
        os.utime(write_log(name), (seconds, seconds))
    assert names(log_files([str(tmp_path)], EVERYTHING)) == ["b.pb", "c_150000000.pb", "a.pb"]


def test_several_sources_are_one_log_and_a_file_counts_once(write_log, tmp_path):
    first = write_log("a/x_1.pb")
    third = write_log("a/x_3.pb")
    second = write_log("b/x_2.pb")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    sources = [str(third), str(tmp_path / "b"), str(tmp_path / "link"), str(tmp_path / "a"), str(third)]
    files = log_files(sources, EVERYTHING)
    assert [file.path.resolve() for file in files] == [first, second, third]


def test_a_spool_and_deliveries_under_way_are_not_looked_at(write_log, tmp_path):
    write_log("log/.spool/open_1.pb")
    write_log("log/year=2026/.x_2.pb")
    write_log("log/year=2026/x_3.pb.tmp")
    write_log("log/x_4.pb")
    assert names(log_files([str(tmp_path / "log")], EVERYTHING)) == ["x_4.pb"]


def test_what_is_named_itself_is_looked_at(write_log, tmp_path):
    spooled = write_log("log/.spool/open.segment")
    hidden = write_log("log/.spool/.other_7.pb")
    assert {file.path for file in log_files([str(spooled), str(hidden)], EVERYTHING)} == {spooled, hidden}
    write_log("log/.spool/x_3.pb")
    assert names(log_files([str(tmp_path / "log/.spool")], EVERYTHING)) == ["x_3.pb"]


def test_partitions_outside_of_the_window_are_not_read(write_log, tmp_path):
    for day in range(1, 8):
        write_log(f"log/year=2026/month=01/day={day:02}/hour=00/mi=00/x_{day}.pb")
    write_log("log/year=2025/month=12/day=31/hour=23/mi=59/x_0.pb")
    write_log("log/elsewhere_9.pb")
    window = Window(
        since=parse_time("2026-01-04", now_unix_micros=0), until=parse_time("2026-01-05", now_unix_micros=0)
    )
    assert names(log_files([str(tmp_path / "log")], window)) == [
        "x_3.pb",
        "x_4.pb",
        "x_5.pb",
        "elsewhere_9.pb",
    ]
    month = tmp_path / "log/year=2026/month=01"
    assert names(log_files([str(month)], window)) == ["x_3.pb", "x_4.pb", "x_5.pb"]
    old = month / "day=01/hour=00/mi=00/x_1.pb"
    assert [file.path for file in log_files([str(old)], window)] == [old]


def test_a_folder_without_logs_is_an_empty_log(tmp_path):
    assert log_files([str(tmp_path)], EVERYTHING) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent", "^absent: No such file or directory$"),
        ("", "the empty name"),
        (
            "s3://bucket/log",
            r"^s3://bucket/log: logs at s3:// cannot be read here$",
        ),
        (
            "file://host/log",
            "^file://host/log: 'host' is read as a host; a file URI has three slashes, file:///path$",
        ),
        ("file:///absent", "^file:///absent: /absent: No such file or directory$"),
        ("x.pb/y", "^x.pb/y: Not a directory$"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(source, message, write_log, tmp_path, monkeypatch):
    write_log("x.pb")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        log_files(["x.pb", source], EVERYTHING)


def test_every_source_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        log_files(["one", "gopher://two"], EVERYTHING)
    assert [problem.file for problem in caught.value.problems] == ["one", "gopher://two"]


def test_a_file_that_goes_away_meanwhile_is_listed_and_then_missed(write_log, tmp_path, batch):
    write_log("log/a.pb", batch("a"))
    (tmp_path / "log/gone.pb").symlink_to(tmp_path / "nowhere")
    gone, there = log_files([str(tmp_path / "log")], EVERYTHING)
    with pytest.raises(StorageError, match=r"gone\.pb: cannot be read: No such file"):
        list(read_batches(gone))
    assert list(read_batches(there)) == [batch("a")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(write_log, tmp_path):
    path = write_log("log/folder/a.pb")
    path.chmod(0)
    with pytest.raises(ConfigurationError, match=f"{path}: Permission denied"):
        log_files([str(path)], EVERYTHING)
    path.parent.chmod(0)
    try:
        with pytest.raises(ConfigurationError, match=f"{path.parent}: Permission denied"):
            log_files([str(tmp_path / "log")], EVERYTHING)
    finally:
        path.parent.chmod(0o700)


def test_the_batches_of_a_file_are_what_was_written(write_log, batch):
    batches = [batch(f"q{index}", received=index) for index in range(5)]
    assert list(batches_of(write_log("x.pb", *batches))) == batches


def test_a_file_larger_than_a_chunk_is_read(write_log, batch):
    batches = [batch(str(index) * 300_000) for index in range(9)]
    assert list(batches_of(write_log("x.pb", *batches))) == batches


def test_a_torn_file_is_read_up_to_the_tear(write_log, batch):
    path = write_log("x.pb", batch("a"), batch("b"))
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    batches = batches_of(path)
    assert next(batches) == batch("a")
    with pytest.raises(TornLog, match=f"{path}: torn at byte {len(data) // 2}: the last record is not whole"):
        next(batches)


def test_a_record_that_is_no_batch_is_a_tear(write_log, batch):
    path = write_log("x.pb", batch("a"))
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\x0a\x01\xff" + path.read_bytes())
    batches = batches_of(path)
    next(batches)
    with pytest.raises(TornLog, match=f"torn at byte {size}: this record is damaged"):
        next(batches)


def test_what_is_appended_meanwhile_is_not_read(write_log, batch):
    path = write_log("x.pb", batch("a"))
    batches = batches_of(path)
    assert next(batches) == batch("a")
    with path.open("ab") as file:
        file.write(InferenceLogs(inferenceLogBatches=[batch("b")]).SerializeToString())
    assert list(batches) == []


def test_a_pipe_can_be_read(batch, tmp_path):
    reading, writing = os.pipe()
    data = InferenceLogs(inferenceLogBatches=[batch("a"), batch("b")]).SerializeToString()
    os.write(writing, data)
    os.close(writing)
    try:
        assert list(batches_of(Path(f"/dev/fd/{reading}"))) == [batch("a"), batch("b")]
    finally:
        os.close(reading)


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(StorageError, match=f"{tmp_path / 'gone.pb'}: cannot be read: No such file"):
        list(batches_of(tmp_path / "gone.pb"))
