"""The floors that the server is held to, and what was reached.

A ratio is taken by calls a second; where the load generator's core was the limit on either side, by the
servers' CPU time a call, and the line says so. So it is where a saturated server left its core idle though
the generator had time: it waits for something, as for a timer, and its rate says nothing of its work. Where
that is the server that is held to the floor, the lower of both ratios decides.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_and_load import AIO, HUSHAR, LOGGING, REFERENCE

Sections = Mapping[str, Mapping[str, Any]]
"""Name → what the section has measured."""

LIMITED = 0.95
"""Of a core: a generator that uses more was the limit, not the server."""
BUSY = 0.8
"""Of a core: where a saturated server and the generator both use less, the server waits for something."""
BY_RATE, BY_CPU = "calls a second", "CPU time a call"
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Line:
    """One floor."""

    what: str
    bound: float
    reached: float
    at_most: bool = False
    unit: str = ""
    by: str = ""
    """What decides; empty where there is one figure only."""
    also: str = ""
    """What else was measured."""

    @property
    def holds(self) -> bool:
        """Whether the floor holds."""
        return self.reached <= self.bound if self.at_most else self.reached >= self.bound

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "what": self.what,
            "bound": self.bound,
            "at_most": self.at_most,
            "unit": self.unit,
            "reached": self.reached,
            "by": self.by,
            "also": self.also,
            "holds": self.holds,
        }


def floors(sections: Sections) -> list[Line]:
    """Every floor whose sections were measured, in the order of the issue's table."""
    makers = {
        "throughput": _throughput,
        "connections": _connections,
        "kernel-vs-reference": _stages,
        "logging": _logging,
        "latency": _latency,
        "one-at-a-time": _one_at_a_time,
        "rows": _rows,
        "memory": _memory,
        "start": _start,
        "beside": _beside,
        "overload": _overload,
    }
    return [line for name, make in makers.items() if name in sections for line in make(sections[name])]


def against(measured: Mapping[str, Any], ours: str, theirs: str) -> tuple[float, float, bool]:
    """How many times `theirs` `ours` is: by calls a second, by CPU time a call; whether CPU decides."""
    servers = measured["servers"]
    one, other = servers[ours], servers[theirs]
    by_rate = _median(one["rate"]) / _median(other["rate"])
    by_cpu = _median(other["cpu_us"]) / _median(one["cpu_us"])
    return by_rate, by_cpu, _limited(one, other) or waiting(measured, theirs) is not None


def waiting(measured: Mapping[str, Any], name: str) -> float | None:
    """What a server used of its core, if neither that nor the generator's was busy; else None.

    Also None where one call is made at a time: there, waiting for each other is the point.
    """
    if measured["connections"] * measured["streams"] <= 1:
        return None
    return share_if_waiting(measured["servers"][name])


def share_if_waiting(server: Mapping[str, Sequence[float]]) -> float | None:
    """The same for a server to which many calls were made at a time."""
    share = _median(server["rate"]) * _median(server["cpu_us"]) / 1e6
    return share if max(share, _median(server["generator"])) < BUSY else None


def neither_busy(share: float) -> str:
    """What is said of a server that waits."""
    return f"neither core busy: {100 * share:.0f} %"


def _limited(*servers: Mapping[str, Sequence[float]]) -> bool:
    return max(_median(server["generator"]) for server in servers) >= LIMITED


def _ratio(what: str, measured: Mapping[str, Any], theirs: str, bound: float, *, ours: str = HUSHAR) -> Line:
    by_rate, by_cpu, cpu_decides = against(measured, ours, theirs)
    if waiting(measured, ours) is not None:
        cpu_decides = by_cpu < by_rate
    reached, by, other = (by_cpu, BY_CPU, by_rate) if cpu_decides else (by_rate, BY_RATE, by_cpu)
    also = [f"{other:.3g} by {BY_RATE if cpu_decides else BY_CPU}"]
    if _limited(measured["servers"][ours], measured["servers"][theirs]):
        also.append("the load generator was the limit")
    shares = ((name, waiting(measured, name)) for name in (ours, theirs))
    also += [f"{name} ({neither_busy(share)})" for name, share in shares if share is not None]
    return Line(what, bound, reached, unit="x", by=by, also="; ".join(also))


def _throughput(section: Mapping[str, Any]) -> Iterator[Line]:
    for workload, bound in {"W1": 45, "W2": 40, "W3": 12, "W4": 18}.items():
        measured = section[workload]
        if AIO in measured["servers"]:
            shape = f"{measured['connections']} x {measured['streams']}"
            yield _ratio(f"{workload}, {shape}, against grpc.aio", measured, AIO, bound)


def _connections(section: Mapping[str, Any]) -> Iterator[Line]:
    for workload, bound in {"W1": 14, "W2": 14, "W4": 10}.items():
        if AIO in section[workload]["servers"]:
            yield _ratio(f"{workload}, 100 x 1, against grpc.aio", section[workload], AIO, bound)


def _stages(section: Mapping[str, Any]) -> Iterator[Line]:
    means = section["mean_us"]
    kernel, reference = _median(means[HUSHAR]), _median(means[REFERENCE])
    also = f"{kernel:,.0f} and {reference:,.0f} us"
    yield Line(
        "W3, decode + vectorize, kernel against reference", 40, reference / kernel, unit="x", also=also
    )


def _logging(section: Mapping[str, Any]) -> Iterator[Line]:
    for workload, bound in {"W1": 0.9, "W2": 0.9, "W4": 0.9, "W3": 0.6}.items():
        measured = section[workload]
        yield _ratio(f"{workload}, logging all, against without", measured, HUSHAR, bound, ours=LOGGING)
        lost = max(measured["answered"], measured["accepted"]) - measured["delivered"]
        if workload != "W3":
            what = f"{workload}, logging all, records not delivered"
            yield Line(what, 0, lost, at_most=True, also=f"of {measured['accepted']:,.0f}")
            continue
        uncounted = abs(lost - measured["dropped"])
        also = f"{measured['dropped']:,.0f} of {measured['accepted']:,.0f} dropped and counted"
        yield Line("W3, logging all, records lost and not counted", 0, uncounted, at_most=True, also=also)
        growth, most = measured["rss_growth_bytes"] / MEGABYTE, 2 * measured["queue_bytes"] / MEGABYTE
        yield Line("W3, logging all, RSS above warm-up", most, growth, at_most=True, unit="MB")


def _latency(section: Mapping[str, Any]) -> Iterator[Line]:
    for name, key in (("median", "p50"), ("p99", "p99")):
        ours, theirs = (_median(section["servers"][server][key]) for server in (HUSHAR, AIO))
        what = f"W1 at {section['rate']:,} calls a second, {name} against grpc.aio"
        yield Line(what, 0.5, ours / theirs, at_most=True, unit="x", also=f"{ours:,.0f} and {theirs:,.0f} us")


def _one_at_a_time(section: Mapping[str, Any]) -> Iterator[Line]:
    yield _ratio("W1, one call at a time, against grpc.aio", section["W1"], AIO, 2.5)


def _rows(section: Mapping[str, Any]) -> Iterator[Line]:
    for workload, measured in section.items():
        for key, name in (("cpu_us", "CPU"), ("wall_us", "wall")):
            values = measured["servers"][HUSHAR][key]
            steps = [later / min(values[:at]) for at, later in enumerate(values) if at]
            worst = max(range(len(steps)), key=steps.__getitem__)
            what = f"{workload}, {name} time a row, against the lowest of smaller calls"
            also = f"worst at {measured['rows'][worst + 1]:,} rows"
            yield Line(what, 1.15, steps[worst], at_most=True, unit="x", also=also)


def _memory(section: Mapping[str, Any]) -> Iterator[Line]:
    warm, peak = section["warm_peak_bytes"], max(section["round_peak_bytes"])
    most = max(0.03 * warm, 8 * MEGABYTE) / MEGABYTE
    also = f"{warm / MEGABYTE:,.0f} MB after warm-up"
    yield Line(
        "RSS peak of rounds of mixed sizes, above warm-up",
        most,
        (peak - warm) / MEGABYTE,
        at_most=True,
        unit="MB",
        also=also,
    )
    first, *later = section["one_row_bytes"]
    growth = (max(later) - first) / MEGABYTE
    yield Line("RSS growth under one-row calls at full speed", 1, growth, at_most=True, unit="MB")


def _start(section: Mapping[str, Any]) -> Iterator[Line]:
    taken = section[HUSHAR]
    also = f"{min(taken):.2f} s at best"
    yield Line("from exec to the first right answer", 1.0, _median(taken), at_most=True, unit="s", also=also)


def _beside(section: Mapping[str, Any]) -> Iterator[Line]:
    medians = {name: _median(values) for name, values in section.items() if isinstance(values, list)}
    raised = medians["small_p99_beside_us"] - medians["small_p99_alone_us"]
    what = "p99 of one-row calls beside 10,000-row calls, raised by slices"
    also = f"{raised:,.0f} us, a slice {medians['slice_us']:,.0f} us"
    yield Line(what, 2, raised / medians["slice_us"], at_most=True, also=also)
    speed = medians["large_alone_us"] / medians["large_beside_us"]
    yield Line("speed of 10,000-row calls beside one-row calls, against alone", 0.5, speed, unit="x")


def _overload(section: Mapping[str, Any]) -> Iterator[Line]:
    rounds = zip(section["in_time"], section["capacity"], strict=True)
    share = _median([in_time / capacity for in_time, capacity in rounds])
    what = "three times capacity: answered in time, of capacity"
    also = f"capacity {_median(section['capacity']):,.0f} calls a second"
    yield Line(what, 0.9, share, unit="x", also=also)
    for percent, bound in (("p50", 5), ("p99", 30)):
        refused = [value for value in section[f"refused_{percent}_ms"] if value is not None]
        if refused:
            name = {"p50": "median"}.get(percent, percent)
            what = f"three times capacity: refused after, {name}"
            late = f"the generator was {_median(section['generator_late_p99_ms']):.2g} ms late at p99"
            yield Line(what, bound, _median(refused), at_most=True, unit="ms", also=late)
    growth = section["rss_growth_bytes"] / MEGABYTE
    yield Line("three times capacity: RSS growth", 16, growth, at_most=True, unit="MB")


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)
