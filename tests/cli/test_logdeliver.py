"""`hushar logs deliver`: the configuration of `serve`, its spool, and what it says of it."""

import json
import os

import pytest

from hushar.sidecars.spool import SegmentWriter, SpoolLock, dead_letter
from hushar.testing import log_record


@pytest.fixture
def configuration(tmp_path):
    """A service configuration whose model is not there: none is needed."""
    path = tmp_path / "service.json"
    path.write_text(
        json.dumps(
            {
                "model_path": "gone.onnx",
                "model_id": "m",
                "vectorization_instruction_path": "gone.json",
                "log": {"uri": "logs"},
            }
        )
    )
    return path


@pytest.fixture
def leave():
    """Leave a segment of one record in a spool: closed, or open, or a dead letter."""

    def left(spool, *, opened=False, dead=False):
        SpoolLock.acquire(spool).release()
        writer = SegmentWriter(spool, "old", 1)
        writer.append([log_record()])
        if opened:
            writer.abandon()
            return
        stored = writer.close(sync=False)
        if dead:
            dead_letter(stored)

    return left


def delivered(directory):
    return [path for path in directory.rglob("*.pb") if ".spool" not in path.parts]


def test_what_is_left_is_delivered_and_the_last_line_says_so(hushar, configuration, tmp_path, leave):
    leave(tmp_path / "logs/.spool")
    leave(tmp_path / "logs/.spool", dead=True)
    ran = hushar("logs", "deliver", configuration)
    assert (ran.status, ran.err) == (0, "")
    first, last = ran.out.splitlines()
    assert first.startswith("2 segments (2 records, ")
    assert first.endswith(f" delivered to {tmp_path / 'logs'}")
    assert last == f"nothing left in {tmp_path / 'logs/.spool'}"
    assert len(delivered(tmp_path / "logs")) == 2


def test_options_are_those_of_serve(hushar, configuration, tmp_path, leave):
    spool = tmp_path / "elsewhere"
    leave(spool, opened=True)
    ran = hushar(
        "logs", "deliver", configuration, "--log-uri", tmp_path / "other", "--spool-dir", spool,
        "--set", "log.compression=gzip",
    )  # fmt: skip
    assert ran.status == 0
    assert len(list((tmp_path / "other").rglob("*.pb.gz"))) == 1
    assert not (tmp_path / "logs").exists()


def test_what_cannot_be_delivered_is_counted_on_the_last_line(hushar, configuration, tmp_path, leave):
    leave(tmp_path / "spool")
    (tmp_path / "logs").mkdir()
    # Where the year's folder has to be.
    for year in range(2020, 2100):
        (tmp_path / f"logs/year={year}").touch()
    ran = hushar(
        "logs", "deliver", configuration, "--spool-dir", tmp_path / "spool",
        "--set", "log.retry_min_seconds=0.001", "--set", "log.retry_max_seconds=0.001",
    )  # fmt: skip
    assert ran.status == 1
    last = ran.out.splitlines()[-1]
    assert last.startswith("1 segments (1 records, ")
    assert last.endswith(f" left in {tmp_path / 'spool'}")
    assert "delivery failed" in ran.err
    assert len(list((tmp_path / "spool").glob("*.pb"))) == 1


def test_while_a_server_holds_the_spool_it_refuses(hushar, configuration, tmp_path, leave):
    spool = tmp_path / "logs/.spool"
    leave(spool)
    lock = SpoolLock.acquire(spool)
    ran = hushar("logs", "deliver", configuration)
    lock.release()
    assert (ran.status, ran.out) == (2, "")
    assert f"log.spool_dir: {spool} is in use by process {os.getpid()}" in ran.err
    assert str(configuration) in ran.err
    assert delivered(tmp_path / "logs") == []


def test_a_spool_that_never_was_has_nothing_left(hushar, configuration, tmp_path):
    ran = hushar("logs", "deliver", configuration)
    assert ran.status == 0
    assert ran.out.splitlines()[-1] == f"nothing left in {tmp_path / 'logs/.spool'}"
    assert not (tmp_path / "logs").exists()


def test_without_a_log_there_is_nowhere_to_deliver_to(hushar, tmp_path):
    path = tmp_path / "service.json"
    path.write_text('{"model_path": "m", "model_id": "m", "vectorization_instruction_path": "v"}')
    ran = hushar("logs", "deliver", path)
    assert ran.status == 2
    assert "log.uri: not set" in ran.err
    ran = hushar("logs", "deliver", path, "--log-uri", "gopher://x")
    assert ran.status == 2
    assert "gopher" in ran.err


def test_it_stands_in_the_help(hushar):
    assert "deliver" in hushar("logs", "--help").out
