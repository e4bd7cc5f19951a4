"""The benchmark's own clients: what they offer, what they count, when a call's time begins."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.slow

PATH = "/hushar.Hushar/InferenceService"


@pytest.fixture
def server(module):
    """An echo server's address."""
    script = module("serve_and_load").SERVERS / "echo_hushar.py"
    command = [sys.executable, str(script), "--kind", "raw"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "listening on" in line:
                break
        yield line.split()[-1]
        process.kill()


def test_an_open_loop_offers_its_rate_and_counts_every_answer(module, server):
    outcome = module("open_loop").offer(server, PATH, b"0123456789", 500, 0.4, warm_up=0.2)
    assert outcome.count() == 200
    assert outcome.latencies.keys() == {"0"}
    assert 0 < outcome.percentile(50) <= outcome.percentile(99)


def test_the_load_has_its_core_and_is_to_leave_on_time(module, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda *which: asked.append(which))
    serve_and_load = module("serve_and_load")
    monkeypatch.setattr(serve_and_load, "ask_for_short_slices", lambda: asked.append("short"))
    serve_and_load.load_from(3)
    assert asked == [(0, {3}), "short"]


def test_other_statuses_are_no_answers(module, server):
    outcome = module("open_loop").offer(server, "/no.Such/Method", b"", 500, 0.2, connections=2)
    assert (outcome.count(), outcome.count("12"), len(outcome.refused)) == (0, 100, 100)
    assert np.isnan(outcome.percentile(50))


def test_more_than_the_connection_window_is_sent_as_it_opens(module, server):
    message = bytes(16_000)
    outcome = module("open_loop").offer(server, PATH, message, 2_000, 0.2, connections=1)
    assert outcome.count() == 400


def test_a_message_that_does_not_fit_a_frame_is_refused(module, server):
    with pytest.raises(ValueError, match="does not fit one frame"):
        module("open_loop").offer(server, PATH, bytes(16_384), 1, 1)


def test_large_calls_are_made_one_after_the_other_beside_small_ones(module, server):
    calls = module("large_calls").LargeCalls(server, PATH, bytes(1_000_000))
    try:
        outcome = module("open_loop").offer(server, PATH, b"0123456789", 200, 0.5, beside=calls)
    finally:
        calls.close()
    assert outcome.count() == 100
    assert len(calls.taken) > 1


def test_cpu_time_of_another_process_is_known_to_less_than_a_tick(module):
    processes = module("processes")
    before = time.process_time(), processes.cpu_seconds(os.getpid())
    while time.process_time() - before[0] < 0.02:
        pass
    seen = processes.cpu_seconds(os.getpid()) - before[1]
    assert seen == pytest.approx(time.process_time() - before[0], abs=0.005)


def test_the_peak_of_memory_begins_anew(module):
    processes = module("processes")
    large = bytearray(os.urandom(1)) * 50_000_000
    del large
    high = processes.peak_bytes(os.getpid())
    processes.reset_peak(os.getpid())
    assert processes.peak_bytes(os.getpid()) < high


def test_a_call_whose_deadline_is_over_was_not_refused(module):
    latencies = {"0": [0.1], "4": [0.5, 0.5], "8": [0.001], "refused stream": [0.002], "unanswered": [5.0]}
    found = module("open_loop").Outcome(
        10.0, 1.0, {key: np.array(each) for key, each in latencies.items()}, 0.0
    )
    assert sorted(found.refused) == [0.001, 0.002]
