"""What `transport.py` has measured, as a document, a Markdown page and a plot; the floors it is held to."""

import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import commit, machine, today, versions

Figures = dict[str, dict[str, list[float]]]
"""Figure → server → one number a round."""

TITLES = {
    "echo 4x25": "Echo, 4 connections × 25 calls in flight, calls/s",
    "echo 100x1": "Echo, 100 connections × 1 call in flight, calls/s",
    "W1 4x25": "W1, 4 connections × 25 calls in flight, calls/s",
    "W1 100x1": "W1, 100 connections × 1 call in flight, calls/s",
    "latency": "One call at a time, median, µs, by a client that is a socket",
    "latency, grpcio": "One call at a time, median, µs, by grpcio's client (most of it is the client's)",
    "headers": "Echo, raw, 4 × 25: calls a second of the server's CPU time",
    "idle memory": "Idle connections, resident KB each",
    "idle CPU": "Idle connections, CPU seconds a second, all together",
}
COUNTED = ("echo 4x25", "echo 100x1", "W1 4x25", "W1 100x1")
"""Figures that are calls per second: they are plotted, and for each there is the CPU time of a call."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What a ratio of two servers' medians has to reach, or a figure itself where there is no second."""

    figure: str
    server: str
    than: str | None
    bound: float
    at_most: bool = False

    @property
    def what(self) -> str:
        """In words."""
        sign = "≤" if self.at_most else "≥"
        compared = f" ÷ {self.than}" if self.than else ""
        return f"{self.figure}: {self.server}{compared} {sign} {self.bound:g}"


FLOORS = (
    Floor("W1 4x25", "hushar serve", "purerpc", 15),
    Floor("W1 4x25", "hushar serve", "grpc.aio", 12),
    Floor("W1 100x1", "hushar serve", "grpc.aio", 9),
    Floor("echo 4x25", "ours, raw", "purerpc", 25),
    Floor("echo 4x25", "ours", "purerpc", 8),
    Floor("echo 100x1", "ours, raw", "grpc.aio", 14),
    Floor("headers", "other headers", "same headers", 0.6),
    Floor("latency", "ours, raw", "grpc.aio", 0.4, at_most=True),
    Floor("idle memory", "ours, raw", None, 50, at_most=True),
    Floor("idle CPU", "ours, raw", None, 0.3, at_most=True),
)


def document(figures: Figures, *, seconds: float, rounds: int, idle: int) -> dict[str, Any]:
    """All rounds, and what they mean nothing without: the machine, the versions, the load, the commit."""
    return {
        "when": today(),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "load": {"seconds": seconds, "rounds": rounds, "idle_connections": idle},
        "figures": figures,
        "ratios": list(ratios(figures)),
    }


def ratios(figures: Mapping[str, Mapping[str, list[float]]]) -> Iterator[dict[str, Any]]:
    """Each floor whose figures were measured, with what was reached."""
    for floor in FLOORS:
        measured = figures.get(floor.figure, {})
        if floor.server not in measured or (floor.than is not None and floor.than not in measured):
            continue
        reached = statistics.median(measured[floor.server])
        if floor.than is not None:
            reached /= statistics.median(measured[floor.than])
        holds = reached <= floor.bound if floor.at_most else reached >= floor.bound
        yield {
            "floor": floor.what,
            "reached": round(reached, 3),
            "by_cpu_time": _by_cpu_time(floor, figures),
            "holds": holds,
        }


def _by_cpu_time(floor: Floor, figures: Mapping[str, Mapping[str, list[float]]]) -> float | None:
    """The same ratio by the servers' CPU time of a call; None where that was not counted."""
    spent = figures.get(f"{floor.figure}, CPU", {})
    if floor.than not in spent or floor.server not in spent:
        return None
    return round(statistics.median(spent[floor.than]) / statistics.median(spent[floor.server]), 3)


def markdown(found: Mapping[str, Any], *, picture: str | None) -> str:
    """The page: floors, then every figure, then the machine."""
    lines = ["# The transport beside others", "", *_facts(found), ""]
    if picture is not None:
        lines += [f"![Calls per second of each server]({picture})", ""]
    lines += ["| floor | reached | by CPU time of a call | |", "|---|---:|---:|---|"]
    for ratio in found["ratios"]:
        by_cpu_time = "" if ratio["by_cpu_time"] is None else f"{ratio['by_cpu_time']:.3g}"
        holds = "holds" if ratio["holds"] else "missed"
        lines.append(f"| {ratio['floor']} | {ratio['reached']:.3g} | {by_cpu_time} | {holds} |")
    for figure, servers in found["figures"].items():
        lines += ["", f"## {title(figure)}", "", "| server | median | rounds |", "|---|---:|---|"]
        for server, values in servers.items():
            rounds = " · ".join(map(_number, values))
            lines.append(f"| {server} | {_number(statistics.median(values))} | {rounds} |")
    return "\n".join(lines) + "\n"


def title(figure: str) -> str:
    """A figure in words."""
    counted = figure.removesuffix(", CPU")
    if counted != figure:
        return f"{counted}: µs of the server's CPU time a call"
    return TITLES[figure]


def _facts(found: Mapping[str, Any]) -> Iterator[str]:
    machine, how = found["machine"], found["load"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield f"Measured {found['when']} at commit {found['commit']} by `python benchmark/transport.py`:"
    yield f"{how['rounds']} rounds of {how['seconds']:g} s, server on one core, load on another,"
    yield f"{how['idle_connections']:,} idle connections. {machine['cpu']}, {machine['cores']} cores,"
    yield f"{machine['system']}, Python {machine['python']}; {versions}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(found: Mapping[str, Any], target: Path) -> bool:
    """Draw the figures of COUNTED; False without matplotlib, or where none was measured."""
    figures = [figure for figure in COUNTED if figure in found["figures"]]
    try:
        import matplotlib as mpl  # noqa: PLC0415 - in the group `bench` only
    except ImportError:
        return False
    if not figures:
        return False
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "transport"
    from matplotlib import pyplot  # noqa: PLC0415

    canvas, axes = pyplot.subplots(len(figures), 1, figsize=(8, 2.1 * len(figures)), squeeze=False)
    for axis, figure in zip(axes[:, 0], figures, strict=True):
        servers = found["figures"][figure]
        names = list(servers)[::-1]
        medians = [statistics.median(servers[name]) for name in names]
        colours = ["tab:red" if name.startswith(("ours", "hushar")) else "tab:gray" for name in names]
        bars = axis.barh(names, medians, color=colours)
        axis.bar_label(bars, labels=[f"{value:,.0f}" for value in medians], padding=3)
        axis.set_title(TITLES[figure], loc="left", fontsize=10)
        axis.set_xlim(0, max(medians) * 1.15)
        axis.spines[["top", "right"]].set_visible(False)
    canvas.tight_layout()
    canvas.savefig(target, metadata={"Date": None})
    pyplot.close(canvas)
    # matplotlib leaves blanks at ends of lines.
    target.write_text(
        re.sub(r"[ \t]+$", "", target.read_text(encoding="utf-8"), flags=re.M), encoding="utf-8"
    )
    return True
