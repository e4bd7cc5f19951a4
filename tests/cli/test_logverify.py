"""`hushar logs verify` on folders of segments, from which something was taken."""

import gzip

import pytest

from hushar.cli import logsources
from hushar.logreading.source import log_files
from hushar.proto.structs_pb2 import InferenceLogBatch, InferenceLogs, SegmentInfo

DAY_ONE = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000_000


def segment(number, batches, total, instance="host-1", worker=1):
    opened = DAY_ONE + number * HOUR
    rows = [
        InferenceLogBatch(request_id=f"{number}-{index}", received_unix_micros=opened + index)
        for index in range(batches)
    ]
    info = SegmentInfo(instance=instance, worker=worker, segment=number, batches=batches, total_batches=total)
    return InferenceLogs(inferenceLogBatches=rows, segment_info=[info]).SerializeToString()


@pytest.fixture
def logs(tmp_path):
    """Four segments of 1, 2, 3 and 4 batches, an hour each, and the end."""
    made = {}
    total = 0
    for number, batches in enumerate((1, 2, 3, 4, 0), start=1):
        total += batches
        opened = DAY_ONE + min(number, 4) * HOUR
        made[number] = (
            tmp_path / f"logs/year=2026/month=01/day=01/hour={min(number, 4):02}/mi=00/s{number}_{opened}.pb"
        )
        made[number].parent.mkdir(parents=True, exist_ok=True)
        made[number].write_bytes(segment(number, batches, total))
    return made


@pytest.fixture
def verify(hushar, tmp_path):
    def run(*arguments):
        return hushar("logs", "verify", *(arguments or [tmp_path / "logs"]))

    return run


def test_a_whole_log_is_complete(verify, logs):
    ran = verify()
    assert (ran.status, ran.out, ran.err) == (0, "complete: 10 batches\n", "")


def test_a_compressed_log_is_complete(verify, logs):
    for path in logs.values():
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert verify().out == "complete: 10 batches\n"


@pytest.mark.parametrize(
    ("taken", "lines"),
    [
        ([2], ["host-1 worker 1: segment 2 missing: 2 batches", "incomplete: 2 of 10 batches missing"]),
        ([2, 3], ["host-1 worker 1: segments 2-3 missing: 5 batches", "incomplete: 5 of 10 batches missing"]),
        ([1], ["host-1 worker 1: segment 1 missing: 1 batch", "incomplete: 1 of 10 batches missing"]),
        ([4], ["host-1 worker 1: segment 4 missing: 4 batches", "incomplete: 4 of 10 batches missing"]),
        (
            [1, 3],
            [
                "host-1 worker 1: segment 1 missing: 1 batch",
                "host-1 worker 1: segment 3 missing: 3 batches",
                "incomplete: 4 of 10 batches missing",
            ],
        ),
    ],
)
def test_a_segment_that_was_taken_is_missed(verify, logs, taken, lines):
    for number in taken:
        logs[number].unlink()
    ran = verify()
    assert (ran.status, ran.out.splitlines(), ran.err) == (1, lines, "")


def test_copies_are_no_gap_and_count_once(verify, logs, tmp_path):
    (tmp_path / "logs/copy.pb").write_bytes(logs[2].read_bytes() + logs[3].read_bytes() * 2)
    assert verify().out == "complete: 10 batches\n"


def test_joined_segments_are_what_they_were_joined_from(verify, logs, tmp_path):
    (tmp_path / "logs/joined.pb").write_bytes(b"".join(path.read_bytes() for path in logs.values()))
    parsed = InferenceLogs.FromString((tmp_path / "logs/joined.pb").read_bytes())
    for path in logs.values():
        path.unlink()
    assert verify().out == "complete: 10 batches\n"
    (tmp_path / "logs/joined.pb").write_bytes(parsed.SerializeToString())
    assert verify().out == "complete: 10 batches\n"


def test_a_torn_segment_is_named_and_its_batches_are_missed(verify, logs):
    logs[3].write_bytes(logs[3].read_bytes()[:40])
    ran = verify()
    assert ran.status == 1
    assert ran.out.splitlines() == [
        f"host-1 worker 1: segment 3 is not whole: 1 batch missing in {logs[3]}",
        "incomplete: 1 of 10 batches missing",
    ]
    (torn,) = ran.err.splitlines()
    assert torn.startswith(f"{logs[3]}: torn at byte ")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_log_of_one_segment_is_not_complete_wherever_it_is_cut(verify, tmp_path, suffix):
    path = tmp_path / f"logs/only_{DAY_ONE}.pb{suffix}"
    path.parent.mkdir()
    whole = segment(1, 3, 3)
    stored = gzip.compress(whole) if suffix else whole
    for length in range(len(stored)):
        path.write_bytes(stored[:length])
        ran = verify()
        last = ran.out.splitlines()[-1]
        if ran.status == 0:
            # Nothing but the end of the compression is missing.
            assert suffix
            assert length >= len(stored) - 10
            assert last == "complete: 3 batches"
        else:
            assert (ran.status, last[:12]) == (1, "incomplete: "), length
            assert ran.out.startswith(f"{path}: no SegmentInfo behind ")
    path.write_bytes(stored)
    assert verify().out == "complete: 3 batches\n"


def test_what_is_no_log_is_not_complete(verify, tmp_path):
    (tmp_path / "passwd").write_bytes(b"root:x:0:0:root:/root:/bin/sh")
    ran = verify(tmp_path / "passwd")
    assert ran.status == 1
    assert ran.out.splitlines()[-1] == "incomplete: 1 of 1 batches missing"


def test_a_log_without_its_end_may_still_be_written(verify, logs):
    logs[5].unlink()
    ran = verify()
    assert (ran.status, ran.out) == (0, "complete: 10 batches\n")
    assert ran.err == (
        "host-1 worker 1: no end after segment 4: it runs, or was killed; "
        "later segments would not be missed\n"
    )


def test_a_window_judges_its_own_time(verify, logs, tmp_path):
    logs[2].unlink()
    source = tmp_path / "logs"
    assert verify(source, "--since", "2026-01-01T03:30").out == "complete: 4 batches\n"
    assert verify(source, "--until", "2026-01-01T01:00").out == "complete: 0 batches\n"
    ran = verify(source, "--since", "2026-01-01T02:00", "--until", "2026-01-01T03:00:01")
    assert (ran.status, ran.out.splitlines()[-1]) == (1, "incomplete: 2 of 5 batches missing")


def test_a_folder_of_a_day_need_not_hold_the_first_segment(verify, logs, tmp_path, monkeypatch):
    day = tmp_path / "logs/year=2026/month=01/day=01"
    logs[1].unlink()
    assert verify(day).out == "complete: 9 batches\n"
    assert verify(day / "hour=03").out == "complete: 3 batches\n"
    monkeypatch.chdir(day / "hour=03")
    assert verify(".").out == "complete: 3 batches\n"


def test_logs_of_other_servers_have_nothing_to_verify(verify, tmp_path):
    path = tmp_path / "logs/x.pb"
    path.parent.mkdir()
    path.write_bytes(InferenceLogs(inferenceLogBatches=[{}, {}]).SerializeToString())
    ran = verify()
    assert (ran.status, ran.out) == (0, "complete: 0 batches\n")
    assert ran.err.startswith("2 batches are in no numbered segment, as in logs of other servers")


def test_what_is_delivered_while_it_is_listed_is_no_gap(verify, logs, tmp_path, monkeypatch):
    """Segment 2 comes into its folder after that was listed, segment 4 and the end after the first look."""
    late = {number: logs[number].read_bytes() for number in (2, 4)}
    for number in late:
        logs[number].unlink()
    looks = []

    def list_and_deliver(*arguments):
        files = log_files(*arguments)
        looks.append(len(files))
        if len(looks) < 3:
            number = (2, 4)[len(looks) - 1]
            logs[number].write_bytes(late[number])
        return files

    monkeypatch.setattr(logsources, "log_files", list_and_deliver)
    assert verify().out == "complete: 10 batches\n"
    assert looks == [3, 4, 5]


def test_a_file_that_cannot_be_read_is_not_complete(verify, logs, tmp_path):
    (tmp_path / "logs/gone.pb").symlink_to(tmp_path / "nowhere")
    ran = verify()
    assert ran.status == 1
    assert ran.out.splitlines() == [
        f"{tmp_path / 'logs/gone.pb'}: not read, so nobody knows what is missing",
        "incomplete: 0 of 10 batches missing",
    ]
    assert "gone.pb: cannot be read" in ran.err


def test_what_a_segment_says_cannot_steer_the_terminal(verify, logs, tmp_path):
    data = segment(2, 1, 2, instance="\x1b[2J\n")
    (tmp_path / "logs/x_1.pb").write_bytes(data)
    assert r"\x1b[2J\n worker 1: segment 1 missing: 1 batch" in verify().out


def test_a_folder_without_logs_is_told(verify, logs, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = verify(tmp_path / "empty")
    assert (ran.status, ran.out, ran.err) == (0, "complete: 0 batches\n", "there are no log files\n")
    ran = verify(tmp_path / "logs", "--since", "2027-01-01")
    assert (ran.status, ran.out) == (0, "complete: 0 batches\n")
    assert ran.err == "there are no log files of that time\n"
    assert verify().err == ""


@pytest.mark.parametrize("arguments", [["absent"], [".", "--since", "soon"], ["nowhere://x"], []])
def test_a_mistake_is_told(hushar, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    ran = hushar("logs", "verify", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert "Traceback" not in ran.err
