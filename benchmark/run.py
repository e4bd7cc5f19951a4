"""Load the server with the workloads W1–W4 and print calls per second.

    python benchmark/run.py                                  hushar, all workloads
    python benchmark/run.py W1 W3 --compare purerpc          beside stock purerpc, in turns
    python benchmark/run.py W2 --write DIRECTORY             write the workload's files, load nothing

The server runs on one core and the load generator (h2load) on another. With --compare all servers are
started before the first round and loaded in turns, so that what else happens on the machine happens to
all of them. See docs/benchmark.md.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from serve_and_load import (
    BenchmarkError,
    Load,
    Running,
    check_answer,
    check_tools,
    commands,
    expected_scores,
    load,
    running,
)
from workloads import WORKLOADS, Workload, make

WARM_UP_SECONDS = 1.0


def main() -> int:
    """Run what the command line asks for. Status 2: something is missing or answers wrongly."""
    options = _options()
    workloads = [make(name) for name in options.workloads or WORKLOADS]
    if options.write is not None:
        for workload in workloads:
            print(workload.write(options.write / workload.name))
        return 0
    try:
        check_tools()
        with tempfile.TemporaryDirectory() as directory:
            results = [measure(workload, Path(directory, workload.name), options) for workload in workloads]
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    if options.output is not None:
        options.output.write_text(json.dumps(_document(options, results), indent=2) + "\n")
    return 0


def measure(workload: Workload, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds of one workload; prints them, returns name → calls per second of each round."""
    service = workload.write(directory)
    expected = expected_scores(workload)
    known = commands(service)
    print(f"{workload.name}: {workload.summary}, {len(workload.request):,} bytes a request")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running(name, known[name], options.server_core))
            for name in dict.fromkeys(("hushar", *options.compare))
        ]
        rates: dict[str, list[float]] = {server.name: [] for server in servers}
        for number in range(options.rounds + 1):
            for server in servers:
                # Round 0 is not counted: it warms up caches, arenas and the interpreter.
                seconds = options.seconds if number else WARM_UP_SECONDS
                how = Load(seconds, options.connections, options.streams, options.load_core)
                rate = _one(server, workload, expected, directory / "request.grpc", how)
                if number and not rate:
                    raise BenchmarkError(f"{server.name} answered no call in {seconds:g} s; try --seconds")
                if number:
                    rates[server.name].append(rate)
    _print(rates)
    return {"workload": workload.name, "calls_per_second": rates}


def _one(
    server: Running, workload: Workload, expected: NDArray[np.float32], request: Path, how: Load
) -> float:
    """One load between two checks of a real answer."""
    size = check_answer(server, workload, expected)
    rate = load(server, request, size, how)
    check_answer(server, workload, expected)
    return rate


def _print(rates: dict[str, list[float]]) -> None:
    ours = statistics.median(rates["hushar"])
    for name, each in rates.items():
        median = statistics.median(each)
        ratio = "" if name == "hushar" else f"   hushar is {ours / median:.2f} x"
        rounds = "  ".join(f"{rate:10,.0f}" for rate in each)
        print(f"  {name:9}{median:10,.0f} calls/s{ratio:22}   rounds: {rounds}", flush=True)


def _document(options: argparse.Namespace, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a result means nothing without: the machine, the versions, the load."""
    return {
        "machine": {"cpu": _cpu(), "system": platform.platform(), "python": platform.python_version()},
        "load": {name: getattr(options, name) for name in ("seconds", "rounds", "connections", "streams")},
        "results": list(results),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    # Not `choices`: with `nargs="*"` argparse would check the empty list against them.
    add("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (all)")
    add("--compare", nargs="+", default=[], choices=["purerpc", "grpc.aio"], help="measure these too")
    add("--seconds", type=float, default=5.0, help="of each load (%(default)s)")
    add("--rounds", type=int, default=3, help="loads of each server (%(default)s)")
    add("--connections", type=int, default=4, help="(%(default)s)")
    add("--streams", type=int, default=25, help="calls in flight a connection (%(default)s)")
    add("--server-core", type=int, default=0, help="(%(default)s)")
    add("--load-core", type=int, default=1, help="(%(default)s)")
    add("--output", type=Path, metavar="FILE.json", help="write all figures there, with the machine")
    add("--write", type=Path, metavar="DIRECTORY", help="write the workloads' files and stop")
    options = parser.parse_args()
    unknown = [name for name in options.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"unknown workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
