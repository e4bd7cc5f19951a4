"""A server that is asked for more than it can do, and a large call beside small ones."""

import numpy as np
from bench import Bench, Section, Serving, say
from large_calls import LargeCalls
from open_loop import OK, Outcome, offer
from processes import peak_bytes, reset_peak, resident_bytes
from serve_and_load import HUSHAR, LARGE_MESSAGES, PATH, BenchmarkError, Running
from workloads import Workload, make, slow

TIMES_CAPACITY = 3.0
DEADLINE_SECONDS = 0.5
CONNECTIONS = 16
SMALL_CALLS_A_SECOND = 500.0
LARGE_ROWS = 10_000
SLICE_ROWS = 1024
"""hushar's default for `batching.max_rows`."""
RARELY = 10.0
"""Calls a second that disturb nobody, so that the same client measures the large calls alone."""
WARM_UP_SECONDS = 0.3
LEAST_SECONDS = 1.0
WARM_UP_CALLS = 5
SLICE_CALLS = 30


def measure_overload(bench: Bench) -> Section:
    """A model so slow that the generator can offer three times what the server can do: what it can do, and
    three times as much, in each round. A shared machine has not the same speed all the time."""
    workload = slow()
    with bench.serving(workload, [HUSHAR]) as serving:
        (server,) = serving.servers
        serving.load(server, bench.warm_up, 4, 25)
        capacities = [serving.load(server, bench.seconds, 4, 25).rate]
        before = resident_bytes(server.pid)
        reset_peak(server.pid)
        outcomes: list[Outcome] = []
        for number in range(bench.rounds):
            if number:
                capacities.append(serving.load(server, bench.seconds, 4, 25).rate)
            outcomes.append(_overload(server, workload, capacities[-1], bench.seconds))
        section: Section = {
            "capacity": [round(capacity) for capacity in capacities],
            "offered": [round(outcome.offered) for outcome in outcomes],
            "deadline_seconds": DEADLINE_SECONDS,
            "in_time": [round(_in_time(outcome), 1) for outcome in outcomes],
            "refused_p50_ms": [_refused(outcome, 50) for outcome in outcomes],
            "refused_p99_ms": [_refused(outcome, 99) for outcome in outcomes],
            "statuses": [_counts(outcome) for outcome in outcomes],
            "generator_late_p99_ms": [round(outcome.late_p99 * 1e3, 2) for outcome in outcomes],
            "rss_growth_bytes": peak_bytes(server.pid) - before,
        }
    say(f"capacity {section['capacity']} calls/s, three times as much offered: in time {section['in_time']}")
    say(f"  refused after {section['refused_p50_ms']} ms (median), {section['refused_p99_ms']} ms (p99)")
    return section


def _overload(server: Running, workload: Workload, capacity: float, seconds: float) -> Outcome:
    timeout = f"{DEADLINE_SECONDS * 1000:.0f}m"
    return offer(
        server.address,
        PATH,
        workload.request,
        capacity * TIMES_CAPACITY,
        seconds,
        warm_up=DEADLINE_SECONDS,
        connections=CONNECTIONS,
        timeout=timeout,
    )


def _in_time(outcome: Outcome) -> float:
    """Calls a second that were answered within their deadline."""
    answered = outcome.latencies.get(OK, np.empty(0))
    return float(np.count_nonzero(answered <= DEADLINE_SECONDS)) / outcome.seconds


def _refused(outcome: Outcome, percent: float) -> float | None:
    refused = outcome.refused
    return round(float(np.percentile(refused, percent)) * 1e3, 2) if len(refused) else None


def _counts(outcome: Outcome) -> dict[str, int]:
    return {status: len(found) for status, found in outcome.latencies.items()}


def measure_beside(bench: Bench) -> Section:
    """Calls of 10,000 rows, one after the other, beside calls of one row (W2)."""
    figures = ("slice_us", "large_alone_us", "large_beside_us", "small_p99_alone_us", "small_p99_beside_us")
    section: Section = {"small_calls_a_second": SMALL_CALLS_A_SECOND, **{name: [] for name in figures}}
    with bench.serving(make("W2"), [HUSHAR], settings=[LARGE_MESSAGES]) as serving:
        (server,) = serving.servers
        large = serving.resized(make("W2", rows=LARGE_ROWS))
        sliced = serving.resized(make("W2", rows=SLICE_ROWS))
        for each in (large, sliced):
            each.load(server, 0, 1, 1, calls=WARM_UP_CALLS)
        for _ in range(bench.rounds):
            small_alone, _ = _mixed(bench, serving, None, SMALL_CALLS_A_SECOND)
            _, large_alone = _mixed(bench, serving, large, RARELY)
            small, beside = _mixed(bench, serving, large, SMALL_CALLS_A_SECOND)
            measured = (
                sliced.load(server, 0, 1, 1, calls=SLICE_CALLS).wall_us,
                large_alone,
                beside,
                small_alone,
                small,
            )
            for name, value in zip(figures, measured, strict=True):
                section[name].append(round(value, 1))
    for name in figures:
        say(f"  {name} {section[name]}")
    return section


def _mixed(bench: Bench, small: Serving, large: Serving | None, rate: float) -> tuple[float, float]:
    """p99 of one-row calls at a rate, and the mean of the large calls made beside them; microseconds."""
    (server,) = small.servers
    calls = LargeCalls(server.address, PATH, large.workload.request) if large is not None else None
    try:
        outcome = offer(
            server.address,
            PATH,
            small.workload.request,
            rate,
            max(bench.seconds, LEAST_SECONDS),
            warm_up=WARM_UP_SECONDS,
            beside=calls,
        )
    finally:
        if calls is not None:
            calls.close()
    if calls is None:
        return outcome.percentile(99) * 1e6, 0.0
    if not calls.taken:
        raise BenchmarkError("no large call was answered in time; try --seconds")
    # The first one finds everything cold.
    return outcome.percentile(99) * 1e6, float(np.mean(calls.taken[1:] or calls.taken)) * 1e6
