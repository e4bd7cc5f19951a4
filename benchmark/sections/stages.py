"""The kernel beside the reference: what decode and vectorize take, by the servers' own metrics."""

import statistics

from bench import Bench, Section, say
from serve_and_load import HUSHAR, REFERENCE, server_metrics
from workloads import make

STAGES = ("DecodeTime", "VectorizationTime")


def measure(bench: Bench) -> Section:
    """W3, one call at a time, so that every matrix is one call's; microseconds a matrix."""
    found: dict[str, list[float]] = {HUSHAR: [], REFERENCE: []}
    workload = make("W3")
    for _ in range(bench.rounds):
        with bench.serving(workload, [HUSHAR, REFERENCE]) as serving:
            for server in serving.servers:
                serving.load(server, bench.seconds, 1, 1)
            for server in serving.servers:
                means = server_metrics(server.stop()).means
                found[server.name].append(round(sum(means[stage] for stage in STAGES), 2))
    for name, each in found.items():
        say(f"{name}: decode + vectorize of W3 {statistics.median(each):,.1f} us")
    return {"stages": list(STAGES), "mean_us": found}
