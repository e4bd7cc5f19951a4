"""Calls a second of saturated servers, and what a call costs them."""

from bench import Bench, Section, columns, say_rates
from serve_and_load import AIO, HUSHAR, LOGGING, PURERPC, REFERENCE, THREADS, TONIC
from workloads import make

FEW = {"W1": (4, 25), "W2": (4, 25), "W3": (2, 4), "W4": (4, 25)}
"""Workload → connections, calls in flight on each."""
MANY = {"W1": (100, 1), "W2": (100, 1), "W4": (100, 1)}
NOT_LOGGED = ("W3",)
"""Its log is hundreds of megabytes a second: what the disk does afterwards would fall on others."""


def measure_few(bench: Bench) -> Section:
    """All servers, few connections with many calls in flight."""
    return _measure(bench, FEW, bench.has(HUSHAR, REFERENCE, LOGGING, TONIC, THREADS, AIO, PURERPC))


def measure_many(bench: Bench) -> Section:
    """All servers, many connections with one call in flight each."""
    return _measure(bench, MANY, bench.has(HUSHAR, REFERENCE, TONIC, THREADS, AIO, PURERPC))


def _measure(bench: Bench, loads: dict[str, tuple[int, int]], names: list[str]) -> Section:
    section: Section = {}
    for workload, (connections, streams) in loads.items():
        measured = [name for name in names if name != LOGGING or workload not in NOT_LOGGED]
        log = bench.folder / f"{workload}-log"
        with bench.serving(make(workload), measured, log=log) as serving:
            found = serving.saturated(connections, streams)
        section[workload] = {
            "connections": connections,
            "streams": streams,
            "servers": {name: columns(rounds) for name, rounds in found.items()},
        }
        title = f"{workload}, {connections} x {streams}"
        say_rates(title, section[workload]["servers"], saturated=True)
    return section
