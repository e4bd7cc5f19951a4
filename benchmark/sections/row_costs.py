"""What a row costs in calls of 1 to 10,000 rows, one call at a time."""

import statistics

from bench import Bench, Section, say
from serve_and_load import AIO, HUSHAR, LARGE_MESSAGES, TONIC, Loaded
from workloads import make

ROWS = (1, 10, 100, 1_000, 10_000)
WORKLOADS = {
    "W1": (HUSHAR, TONIC, AIO),
    "W2": (HUSHAR, TONIC, AIO),
    # 10,000 rows of these would take grpc.aio seconds a call.
    "W3": (HUSHAR, TONIC),
    "W4": (HUSHAR, TONIC),
}
"""Name → the servers that are measured."""
FEWEST_CALLS = 4


def measure(bench: Bench) -> Section:
    """CPU and wall time a row, in microseconds; sizes and servers in turns."""
    return {workload: _measure(bench, workload) for workload in WORKLOADS}


def _measure(bench: Bench, name: str) -> Section:
    names = bench.has(*WORKLOADS[name])
    found: dict[str, dict[int, list[Loaded]]] = {server: {rows: [] for rows in ROWS} for server in names}
    with bench.serving(make(name), names, settings=[LARGE_MESSAGES]) as first:
        sized = {rows: first.resized(make(name, rows=rows)) for rows in ROWS}
        for number in range(bench.rounds + 1):
            for server in first.servers:
                for rows in ROWS:
                    before = found[server.name][rows]
                    calls = FEWEST_CALLS
                    if before:
                        # As many as fit the time, by what a call took the round before.
                        calls = max(calls, int(bench.seconds / len(ROWS) * before[-1].rate))
                    loaded = sized[rows].load(server, 0, 1, 1, calls=calls)
                    found[server.name][rows] = [*before, loaded] if number > 1 else [loaded]
    section: Section = {"rows": list(ROWS), "servers": {}}
    for server_name, by_rows in found.items():
        section["servers"][server_name] = {
            "cpu_us": [_median([each.cpu_us / rows for each in by_rows[rows]]) for rows in ROWS],
            "wall_us": [_median([each.wall_us / rows for each in by_rows[rows]]) for rows in ROWS],
        }
        say(f"{name}: {server_name}, us of CPU a row: {section['servers'][server_name]['cpu_us']}")
    return section


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 4)
