"""The plots of the benchmark's results, as SVG: the same figures make the same files."""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from floors import BY_CPU, BY_RATE, Sections, against, waiting
from serve_and_load import AIO, HUSHAR, LOGGING, PURERPC, REFERENCE, THREADS, TONIC

COLOURS = {
    HUSHAR: "#00796b",
    LOGGING: "#4db6ac",
    REFERENCE: "#b2dfdb",
    TONIC: "#b5651d",
    AIO: "#5c6bc0",
    THREADS: "#9fa8da",
    PURERPC: "#9e9e9e",
}
FIRST_SCREEN = (HUSHAR, TONIC, THREADS, AIO, PURERPC)


def draw(figures: Sections, folder: Path) -> list[str]:
    """Draw what was measured into `folder`; the files' names. None without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - in the group `bench` only
    except ImportError:
        return []
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "hushar", "font.size": 9, "axes.titlesize": 10})
    makers: Mapping[str, Callable[[Sections], Any]] = {
        "first-screen": _first_screen,
        "throughput": _throughput,
        "latency": _latency,
        "rows": _rows,
    }
    drawn = []
    for name, make in makers.items():
        with suppress(KeyError):  # what it shows was not measured
            _save(make(figures), folder / f"{name}.svg")
            drawn.append(f"{name}.svg")
    return drawn


def _save(canvas: Any, target: Path) -> None:
    from matplotlib import pyplot  # noqa: PLC0415

    canvas.savefig(target, metadata={"Date": None})
    pyplot.close(canvas)
    # matplotlib leaves blanks at ends of lines.
    text = re.sub(r"[ \t]+$", "", target.read_text(encoding="utf-8"), flags=re.M)
    target.write_text(text, encoding="utf-8")


def _subplots(rows: int, columns: int, width: float, height: float) -> tuple[Any, Sequence[Any]]:
    from matplotlib import pyplot  # noqa: PLC0415

    canvas, axes = pyplot.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return canvas, list(axes.flat)


def short(value: float) -> str:
    """A number in about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bars(axis: Any, values: Mapping[str, float], *, unit: str = "", named: bool = True) -> None:
    """Horizontal bars, the first on top."""
    names = list(values)[::-1]
    bars = axis.barh(names, [values[name] for name in names], color=[COLOURS[name] for name in names])
    axis.bar_label(bars, labels=[f"{short(values[name])}{unit}" for name in names], padding=3)
    axis.set_xlim(0, max(values.values()) * 1.3)
    axis.xaxis.set_visible(False)
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(left=False)
    if not named:
        axis.set_yticklabels([])


def multiples(measured: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, float], str]:
    """Each server as a multiple of grpc.aio, all by the same measure, and which that is."""
    found = {name: against(measured, name, AIO) for name in names if name in measured["servers"]}
    by_cpu = any(each[2] or waiting(measured, name) is not None for name, each in found.items())
    # What hushar waits for is not to be left out.
    by_cpu = by_cpu and (HUSHAR not in found or waiting(measured, HUSHAR) is None)
    return {name: each[1 if by_cpu else 0] for name, each in found.items()}, BY_CPU if by_cpu else BY_RATE


def _first_screen(figures: Sections) -> Any:
    section = figures["throughput"]
    canvas, axes = _subplots(1, len(section), 9, 2.1)
    for at, (axis, (workload, measured)) in enumerate(zip(axes, section.items(), strict=True)):
        values, by = multiples(measured, FIRST_SCREEN)
        _bars(axis, values, unit=" ×", named=not at)
        axis.set_title(f"{workload}: {by}", loc="left")
    canvas.supxlabel("one core, as multiples of grpc.aio + onnxruntime with the same work to do", fontsize=9)
    return canvas


def _throughput(figures: Sections) -> Any:
    panels = [
        (
            f"{workload}, {measured['connections']} connections × {measured['streams']} in flight",
            measured,
        )
        for section in (figures["throughput"], figures.get("connections", {}))
        for workload, measured in section.items()
    ]
    canvas, axes = _subplots(len(panels), 2, 9, 1.6 * len(panels))
    for at, (title, measured) in enumerate(panels):
        servers = {name: measured["servers"][name] for name in COLOURS if name in measured["servers"]}
        for side, key, unit in ((0, "rate", "calls a second"), (1, "cpu_us", "µs of CPU a call")):
            axis = axes[2 * at + side]
            values = {name: statistics.median(each[key]) for name, each in servers.items()}
            _bars(axis, values, named=not side)
            axis.set_title(f"{title}: {unit}" if not side else unit, loc="left")
    return canvas


def _latency(figures: Sections) -> Any:
    section = figures["latency"]
    if not any(section["rising"].values()):
        raise KeyError("no server was measured at any rate")
    canvas, axes = _subplots(1, 2, 9, 3.4)
    for axis, key, title in ((axes[0], "p50", "median"), (axes[1], "p99", "p99")):
        for name, points in section["rising"].items():
            rates, values = [point["rate"] for point in points], [point[key] for point in points]
            axis.plot(rates, values, color=COLOURS[name], marker="o", markersize=3, label=name)
        axis.set(xscale="log", yscale="log", xlabel="calls a second offered", ylabel="µs")
        axis.set_title(f"W1, latency, {title}", loc="left")
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend(frameon=False)
    return canvas


def _rows(figures: Sections) -> Any:
    section = figures["rows"]
    canvas, axes = _subplots(len(section), 2, 9, 3 * len(section))
    panels = [(workload, key) for workload in section for key in ("cpu_us", "wall_us")]
    for axis, (workload, key) in zip(axes, panels, strict=True):
        measured = section[workload]
        for name, values in measured["servers"].items():
            axis.plot(
                measured["rows"], values[key], color=COLOURS[name], marker="o", markersize=3, label=name
            )
        axis.set(xscale="log", yscale="log", xlabel="rows a call", ylabel="µs a row")
        axis.set_title(f"{workload}, {'CPU' if key == 'cpu_us' else 'wall'} time a row", loc="left")
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend(frameon=False)
    return canvas
