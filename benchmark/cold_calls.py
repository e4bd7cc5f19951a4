"""What a lone W1 call takes of hushar's own time, with the processor's caches as they are and cold.

    python benchmark/cold_calls.py [SECONDS]

At low load the processor has done something else between two calls, and what a call touches has to come from
memory. That and the system's own wake-up are most of a call's latency, and vary on a machine that is shared.
So here the caches are made cold before each pass over the sockets, and only the pass is timed, from its
beginning until the answer is with the system.
"""

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from open_loop import offer
from serve_and_load import PATH, SERVERS, BenchmarkError, load_from, running
from workloads import make

RATE = 500.0
SECONDS = 5.0
SIZES: Mapping[str, int] = {"as it is": 0, "cold": 6 << 20}
"""Bytes that are written before each pass: none, and more than a processor's second cache holds."""
ROUNDS = 2
SERVER_CORE, LOAD_CORE = 0, 1
_SAID = re.compile(r"^cold: (.*)$", re.MULTILINE)


def main() -> None:
    """Print a line for each state of the caches and round."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    workload = make("W1")
    load_from(LOAD_CORE)
    with tempfile.TemporaryDirectory() as folder:
        service = workload.write(Path(folder))
        for number in range(ROUNDS):
            for state, size in SIZES.items():
                found = measure(service, workload.request, size, seconds)
                figures = ", ".join(f"{name} {micros:.1f}" for name, micros in found.items())
                print(f"round {number + 1}, {state}: {figures} us", flush=True)


def measure(service: Path, request: bytes, size: int, seconds: float) -> Mapping[str, float]:
    """Microseconds of a pass by percentile. Raises BenchmarkError."""
    command = [sys.executable, str(SERVERS / "cold_hushar.py"), str(service), "--bytes", str(size)]
    with running("hushar", command, SERVER_CORE) as server:
        outcome = offer(server.address, PATH, request, RATE, seconds)
        said = _SAID.search(server.stop())
    if said is None or not outcome.count():
        raise BenchmarkError("the server has said nothing of its passes, or answered nothing")
    found: Mapping[str, float] = json.loads(said[1])
    return found


if __name__ == "__main__":
    main()
