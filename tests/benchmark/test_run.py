"""The benchmark's command runs, on servers that answer rightly, and leaves what it says."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "benchmark" / "run.py"
PACKAGES = {"h2load": "apt-get install nghttp2-client", "taskset": "apt-get install util-linux"}
QUICK = ("--quick", "--without", "tonic", "purerpc", "grpcio threads")

pytestmark = pytest.mark.slow


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(RUN), *arguments], capture_output=True, text=True, check=False, timeout=240
    )


@pytest.fixture(scope="module", autouse=True)
def tools():
    for tool, how in PACKAGES.items():
        if shutil.which(tool) is None:
            pytest.skip(f"needs tool: {tool} ({how})")


def test_sections_are_measured_and_their_results_kept(tmp_path):
    result = run(*QUICK, "--output", str(tmp_path), "one-at-a-time")
    assert result.returncode == 0, result.stderr
    result = run(*QUICK, "--output", str(tmp_path), "profile", "overload")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "results.md")
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["sections"].keys() == {"one-at-a-time", "profile", "overload"}
    measured = found["sections"]["one-at-a-time"]["figures"]["W1"]["servers"]
    assert measured.keys() == {"hushar", "grpc.aio"}
    assert all(rate > 0 for server in measured.values() for rate in server["rate"])
    assert "W1, one call at a time, against grpc.aio" in [line["what"] for line in found["floors"]]
    parts = found["sections"]["profile"]["figures"]["us_a_call"]
    assert {"engine in", "vectorize", "model", "splice", "engine out", "total", "plain"} <= parts.keys()
    page = (tmp_path / "results.md").read_text()
    for section in found["sections"]:
        assert f"## {section}" in page


def test_an_unknown_section_is_an_error_that_names_those_there_are():
    result = run("throughputs")
    assert result.returncode == 2
    assert "unknown section throughputs; there are throughput, connections" in result.stderr


def test_what_means_nothing_is_not_published():
    result = run("--quick", "--publish")
    assert result.returncode == 2
    assert "--publish publishes benchmark/results only" in result.stderr


def test_the_workloads_files_can_be_had(tmp_path):
    result = run("--write", str(tmp_path))
    assert result.returncode == 0, result.stderr
    for line in result.stdout.splitlines():
        assert (Path(line).parent / "request.grpc").is_file()


def test_the_time_of_a_lone_call_is_told_for_caches_as_they_are_and_cold():
    command = [sys.executable, str(RUN.with_name("cold_calls.py")), "0.8"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    lines = re.findall(
        r"^round (\d), (.+): p10 ([\d.]+), p50 ([\d.]+), p90 ([\d.]+) us$", result.stdout, re.M
    )
    assert [(number, state) for number, state, *_ in lines] == [
        (number, state) for number in "12" for state in ("as it is", "cold")
    ]
    for _, _, *micros in lines:
        lowest, median, highest = map(float, micros)
        assert 0 < lowest <= median <= highest


def test_a_section_has_seconds_and_rounds_of_its_own(module, monkeypatch, tmp_path):
    run = module("run")
    seen = []

    def measure(bench):
        seen.append((bench.seconds, bench.rounds))
        return {}

    monkeypatch.setattr(run, "SECTIONS", {"few": run.Part(measure, 1.5, times=3)})
    monkeypatch.setattr(run, "write", lambda output, name, section: seen.append(section["load"]))
    options = argparse.Namespace(
        seconds=2.0, rounds=2, server_core=0, load_core=1, warm_up=0.1, folder=tmp_path
    )
    run._measure("few", options, [], tmp_path)
    assert seen == [(3.0, 6), {"seconds": 3.0, "rounds": 6}]
