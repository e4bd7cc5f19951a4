"""Latency: at one rate beside grpc.aio, over rising rates, and one call at a time."""

import statistics
from collections.abc import Sequence

from bench import Bench, Section, Serving, columns, say, say_rates
from open_loop import Outcome, offer
from serve_and_load import AIO, HUSHAR, PATH, PURERPC, THREADS, TONIC, BenchmarkError, Running
from workloads import make

SHARE = 0.2
"""Of grpc.aio's saturated rate."""
SHARES = (0.2, 0.5, 0.8)
"""Of each server's own rate where that is low."""
RATES = (1_000, 3_000, 6_000, 10_000, 15_000, 20_000, 30_000)
MOST_OF_OWN_RATE = 0.9
WARM_UP_SECONDS = 0.3
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}


def measure(bench: Bench) -> Section:
    """W1: the same offered rate in turns, then each server at rising rates."""
    with bench.serving(make("W1"), bench.has(HUSHAR, TONIC, AIO, PURERPC)) as serving:
        saturated = {
            server.name: serving.load(server, max(bench.warm_up, bench.seconds / 2), 4, 25).rate
            for server in serving.servers
        }
        rate = round(saturated[AIO] * SHARE)
        say(f"W1 at {rate} calls/s, {SHARE:.0%} of grpc.aio's rate")
        found = serving.in_turns(lambda server, seconds: _offer(serving, server, rate, seconds))
        section: Section = {
            "saturated": {name: round(each) for name, each in saturated.items()},
            "rate": rate,
            "servers": {name: _rounds(outcomes) for name, outcomes in found.items()},
            "rising": {server.name: _rising(bench, serving, server, saturated) for server in serving.servers},
        }
    for name, each in section["servers"].items():
        medians = ", ".join(f"{key} {statistics.median(each[key]):,.0f} us" for key in PERCENTILES)
        say(f"  {name:20}{medians}")
    return section


def _offer(serving: Serving, server: Running, rate: float, seconds: float) -> Outcome:
    found = offer(server.address, PATH, serving.workload.request, rate, seconds, warm_up=WARM_UP_SECONDS)
    if not found.count():
        raise BenchmarkError(f"{server.name} answered no call at {rate:,.0f} calls a second; try --seconds")
    return found


def _rising(bench: Bench, serving: Serving, server: Running, saturated: dict[str, float]) -> list[Section]:
    """One server at rising rates, as far as it and the generator go."""
    own = saturated[server.name]
    rates = sorted(
        {*(round(own * share) for share in SHARES if own < RATES[2]), *RATES, saturated[AIO] * SHARE}
    )
    points: list[Section] = []
    for rate in rates:
        if rate > own * MOST_OF_OWN_RATE:
            break
        outcome = _offer(serving, server, rate, bench.seconds / 2)
        if outcome.limited:
            break
        points.append({"rate": round(rate), **_percentiles(outcome)})
    return points


def _percentiles(outcome: Outcome) -> dict[str, float]:
    """In microseconds."""
    return {name: round(outcome.percentile(percent) * 1e6, 1) for name, percent in PERCENTILES.items()}


def _rounds(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    each = [_percentiles(outcome) for outcome in outcomes]
    found = {name: [one[name] for one in each] for name in PERCENTILES}
    return {**found, "late_p99": [round(outcome.late_p99 * 1e6, 1) for outcome in outcomes]}


def measure_one_at_a_time(bench: Bench) -> Section:
    """W1 on one connection, the next call when the last is answered."""
    with bench.serving(make("W1"), bench.has(HUSHAR, TONIC, THREADS, AIO, PURERPC)) as serving:
        found = serving.saturated(1, 1)
    section: Section = {
        "W1": {
            "connections": 1,
            "streams": 1,
            "servers": {name: columns(rounds) for name, rounds in found.items()},
        }
    }
    say_rates("W1, one call at a time", section["W1"]["servers"])
    return section
