"""The benchmark's results as a Markdown page."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grpc
from floors import LIMITED, neither_busy, waiting
from plots import multiples
from serve_and_load import AIO

Table = Iterator[str]

STATUSES = {str(code.value[0]): code.name for code in grpc.StatusCode}
"""By the number as text, as on the wire."""
UNITS = {"bytes": "bytes", "us": "µs"}
"""By the last part of a figure's name."""


def markdown(found: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The page: floors, plots, then every section, then the machine."""
    lines = [
        "# hushar beside others",
        "",
        *_machine(found),
        "",
        "## Floors",
        "",
        *floors_table(found["floors"]),
    ]
    for picture in pictures:
        lines += ["", f"![{picture.removesuffix('.svg')}]({picture})"]
    for name, section in found["sections"].items():
        load = section["load"]
        lines += ["", f"## {name}", ""]
        lines += [
            f"{section['when']}, commit {section['commit']}; "
            f"{load['rounds']} rounds of {load['seconds']:g} s.",
            "",
            *TABLES.get(name, _saturated)(section["figures"]),
        ]
    return "\n".join(lines) + "\n"


def _machine(found: Mapping[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield "Made by `python benchmark/run.py`: servers on one core, load on another, in turns."
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']};"
    yield f"{versions}; kernel: {machine['kernel']}."


def floors_table(floors: Sequence[Mapping[str, Any]]) -> Table:
    """The floors as a Markdown table."""
    yield "| | floor | reached | | by | also |"
    yield "|---|---:|---:|---|---|---|"
    for line in floors:
        sign = "≤" if line["at_most"] else "≥"
        unit = {"x": " ×"}.get(line["unit"], f" {line['unit']}".rstrip())
        holds = "holds" if line["holds"] else "**missed**"
        bound, reached = f"{sign} {_number(line['bound'])}{unit}", f"{_number(line['reached'])}{unit}"
        yield f"| {line['what']} | {bound} | {reached} | {holds} | {line['by']} | {line['also']} |"


def _saturated(section: Mapping[str, Any]) -> Table:
    """Calls a second and CPU time a call of saturated servers."""
    for workload, measured in section.items():
        servers = measured["servers"]
        ratios, by = multiples(measured, list(servers)) if AIO in servers else ({}, "")
        yield f"**{workload}**, {measured['connections']} connections × {measured['streams']} in flight"
        yield ""
        against = f"× grpc.aio, by {by}" if by else ""
        yield f"| server | calls a second | µs of CPU a call | {against} | rounds |"
        yield "|---|---:|---:|---:|---|"
        for name, each in servers.items():
            rounds = _joined(each["rate"])
            ratio = _number(ratios[name]) if ratios else ""
            rate, cpu = _number(statistics.median(each["rate"])), _number(statistics.median(each["cpu_us"]))
            yield f"| {name} | {rate}{_doubt(measured, name)} | {cpu} | {ratio} | {rounds} |"
        yield ""


def _doubt(measured: Mapping[str, Any], name: str) -> str:
    """Why a rate does not say what the server can do; empty where it does."""
    if statistics.median(measured["servers"][name]["generator"]) >= LIMITED:
        return " (generator's limit)"
    share = waiting(measured, name)
    return "" if share is None else f" ({neither_busy(share)})"


def _logging(section: Mapping[str, Any]) -> Table:
    yield from _saturated(section)
    yield "| | records | delivered | dropped, counted | RSS above warm-up |"
    yield "|---|---:|---:|---:|---:|"
    for workload, measured in section.items():
        numbers = " | ".join(f"{measured[key]:,.0f}" for key in ("accepted", "delivered", "dropped"))
        yield f"| {workload} | {numbers} | {measured['rss_growth_bytes'] / 1e6:,.0f} MB |"


def _latency(section: Mapping[str, Any]) -> Table:
    names = ("p50", "p90", "p99", "p99.9")
    yield f"W1 at {section['rate']:,} calls a second, µs; medians of the rounds"
    yield ""
    yield f"| server | {' | '.join(names)} | generator late, p99 |"
    yield f"|---|{'---:|' * (len(names) + 1)}"
    for server, each in section["servers"].items():
        cells = " | ".join(_number(statistics.median(each[name])) for name in (*names, "late_p99"))
        yield f"| {server} | {cells} |"
    yield ""
    yield "W1 at rising rates, µs"
    yield ""
    yield f"| server | calls a second | {' | '.join(names)} |"
    yield f"|---|{'---:|' * (len(names) + 1)}"
    for server, points in section["rising"].items():
        for point in points:
            cells = " | ".join(_number(point[name]) for name in names)
            yield f"| {server} | {point['rate']:,} | {cells} |"


def _rows(section: Mapping[str, Any]) -> Table:
    for workload, measured in section.items():
        yield f"**{workload}**, µs a row, one call at a time"
        yield ""
        yield f"| server | | {' | '.join(f'{rows:,} rows' for rows in measured['rows'])} |"
        yield f"|---|---|{'---:|' * len(measured['rows'])}"
        for server, each in measured["servers"].items():
            for key, name in (("cpu_us", "CPU"), ("wall_us", "wall")):
                yield f"| {server} | {name} | {' | '.join(map(_number, each[key]))} |"
        yield ""


def _start(section: Mapping[str, Any]) -> Table:
    yield "| server | at best | median | starts |"
    yield "|---|---:|---:|---|"
    for name, taken in section.items():
        each = " · ".join(f"{seconds:.2f}" for seconds in taken)
        yield f"| {name} | {min(taken):.2f} s | {statistics.median(taken):.2f} s | {each} |"


def _profile(section: Mapping[str, Any]) -> Table:
    yield from section["lines"]


def _kernel(section: Mapping[str, Any]) -> Table:
    yield f"W3, µs a matrix: {' + '.join(section['stages'])}"
    yield ""
    yield "| server | median | rounds |"
    yield "|---|---:|---|"
    for server, each in section["mean_us"].items():
        yield f"| {server} | {_number(statistics.median(each))} | {_joined(each)} |"


def _overload(section: Mapping[str, Any]) -> Table:
    statuses = dict.fromkeys(status for counts in section["statuses"] for status in counts)
    yield from _figures(
        {
            "capacity, calls a second": section["capacity"],
            "offered, calls a second": section["offered"],
            f"answered within {section['deadline_seconds']:g} s, calls a second": section["in_time"],
            "refused after, median, ms": section["refused_p50_ms"],
            "refused after, p99, ms": section["refused_p99_ms"],
            **{
                f"calls: {STATUSES.get(status, status)}": [
                    each.get(status, 0) for each in section["statuses"]
                ]
                for status in statuses
            },
            "generator late, p99, ms": section["generator_late_p99_ms"],
            "RSS growth in all rounds, MB": [section["rss_growth_bytes"] / 1e6],
        }
    )


def _plain(section: Mapping[str, Any]) -> Table:
    """Figures by name."""
    yield from _figures(
        {_title(name): value if isinstance(value, list) else [value] for name, value in section.items()}
    )


def _title(name: str) -> str:
    """`slice_us` for people."""
    *words, last = name.split("_")
    return f"{' '.join(words)}, {UNITS[last]}" if last in UNITS else name.replace("_", " ")


def _figures(found: Mapping[str, Sequence[float | None]]) -> Table:
    """A line for each name."""
    yield "| | rounds |"
    yield "|---|---|"
    for name, values in found.items():
        yield f"| {name} | {_joined(values)} |"


def _joined(values: Sequence[float | None]) -> str:
    return " · ".join("–" if value is None else _number(value) for value in values)


TABLES: Mapping[str, Callable[[Mapping[str, Any]], Table]] = {
    "logging": _logging,
    "latency": _latency,
    "rows": _rows,
    "start": _start,
    "profile": _profile,
    "memory": _plain,
    "kernel-vs-reference": _kernel,
    "beside": _plain,
    "overload": _overload,
}


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
