"""Where each microsecond of a W1 call goes, on the real server under load.

A second server runs with a stop-watch at the seams between its parts (`servers/timed_hushar.py`); what the
watch itself costs is known by the first, which has none.
"""

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import Bench, Section, say
from serve_and_load import HUSHAR, SERVERS, BenchmarkError, Load, check_answer, expected_scores, load, running
from workloads import make

TIMED = "hushar, timed"
LOAD = (4, 25)
BATCHES = "batcher"
WRITE_SECONDS = 10.0
POLL_SECONDS = 0.01
PARTS: Mapping[str, str] = {
    "sockets: epoll": "asking which sockets are ready (system call)",
    "sockets: recv": "receiving (system call)",
    "sockets: send": "sending (system call)",
    "engine in": "HTTP/2 and gRPC, bytes to calls",
    "reader of all sockets": "which connection, which method",
    "batcher": "admission, joining, answering",
    "batcher: metrics": "summing up the measurements",
    "vectorize": "counting rows, protobuf bytes to matrix",
    "scorer": "from one stage to the next",
    "model": "onnxruntime",
    "splice": "scores to responses",
    "engine out": "responses to HTTP/2 frames",
}
REST = "trio, and what else is between"


def measure(bench: Bench) -> Section:
    """Microseconds a call of every part, medians of the rounds, and the table of them."""
    workload = make("W1")
    service = workload.write(bench.folder / workload.name)
    figures = bench.folder / "figures.json"
    expected = expected_scores(workload)
    timed = [sys.executable, str(SERVERS / "timed_hushar.py"), str(service), "--figures", str(figures)]
    plain = [sys.executable, "-m", "hushar", "serve", str(service), "--port", "0"]
    rounds: list[dict[str, float]] = []
    with (
        running(HUSHAR, plain, bench.server_core) as server,
        running(TIMED, timed, bench.server_core) as watched,
    ):
        how = Load(bench.seconds, *LOAD, bench.load_core)
        size = check_answer(server, workload, expected)
        check_answer(watched, workload, expected)
        for number in range(bench.rounds + 1):
            without = load(server, service.parent / "request.grpc", size, how)
            os.kill(watched.pid, signal.SIGUSR1)
            found = load(watched, service.parent / "request.grpc", size, how)
            counted = _counted(watched.pid, figures)
            if number:
                rounds.append(_per_call(counted, found.calls, without.cpu_us))
    names = sorted({name for each in rounds for name in each}, key=_place)
    medians = {name: statistics.median([each.get(name, 0.0) for each in rounds]) for name in names}
    section: Section = {"us_a_call": {name: round(value, 4) for name, value in medians.items()}}
    section["lines"] = list(_table(medians))
    for line in section["lines"]:
        say(f"  {line}")
    return section


def _counted(pid: int, file: Path) -> dict[str, Any]:
    """What the server's stop-watch shows."""
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    deadline = time.monotonic() + WRITE_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            raise BenchmarkError("the timed server does not say what it has counted")
        time.sleep(POLL_SECONDS)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _per_call(counted: Mapping[str, Any], calls: int, plain_us: float) -> dict[str, float]:
    """Microseconds a call: each part, what no part covers, and all, with the watch and without."""
    if not calls:
        raise BenchmarkError("the timed server answered no call; try --seconds")
    parts = {part: seconds / calls * 1e6 for part, seconds in counted["seconds"].items()}
    total = counted["cpu_seconds"] / calls * 1e6
    return {
        **parts,
        REST: total - sum(parts.values()),
        "total": total,
        "plain": plain_us,
        "calls a batch": calls / max(counted["uses"].get(BATCHES, 0), 1),
    }


def _place(name: str) -> int:
    order = [*PARTS, REST, "total", "plain", "calls a batch"]
    return order.index(name) if name in order else len(order)


def _table(medians: Mapping[str, float]) -> Iterator[str]:
    """The table as Markdown: each part, its share, and what it is."""
    total = medians["total"]
    connections, streams = LOAD
    joined = f"{medians['calls a batch']:.0f} calls a batch"
    yield f"W1, {connections} connections × {streams} calls in flight, {joined}"
    yield ""
    yield "| part | µs a call | share | what it is |"
    yield "|---|---:|---:|---|"
    for name, what in {**PARTS, REST: "tasks, timers, the garbage collector"}.items():
        if name in medians:
            yield f"| {name} | {medians[name]:.2f} | {medians[name] / total:.0%} | {what} |"
    yield f"| all | {total:.2f} | 100% | CPU time of the server with the stop-watch |"
    yield f"| | {medians['plain']:.2f} | | CPU time of the server without |"
