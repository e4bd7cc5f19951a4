"""The figures as text: for one run a list, for a sweep a table."""

from collections.abc import Iterator, Sequence

from hushar.bench.recording import PERCENTILES
from hushar.bench.runs import RunResult
from hushar.bench.sweeping import Outcome
from hushar.texts import printable


def as_text(outcome: Outcome) -> str:
    """Lines for a terminal."""
    lines = [*(_sweep(outcome) if outcome.is_sweep else _run(outcome.runs[0])), *_bounds(outcome)]
    return "".join(f"{line}\n" for line in lines)


def seconds(value: float | None) -> str:
    """A time for people, with three digits: `312 µs`, `1.24 ms`, `2.50 s`; `-` for none."""
    if value is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size or unit == "µs":
            number = value / size
            decimals = 0 if number >= 100 else 1 if number >= 10 else 2
            return f"{number:.{decimals}f} {unit}"
    raise AssertionError("not reached")


def _run(run: RunResult) -> Iterator[str]:
    connections = "1 connection" if run.connections == 1 else f"{run.connections} connections"
    yield f"{run.load} on {connections}, {run.seconds:.1f} s" + (" (ended early)" if run.interrupted else "")
    yield ""
    left_out = f" ({run.unsent} never sent)" if run.unsent else ""
    yield from _columns(
        [
            ("calls a second (OK)", f"{run.calls_per_second:,.1f}"),
            ("sent", f"{run.sent:,}{left_out}"),
            *((code, f"{count:,}{_said(run, code)}") for code, count in run.statuses.items()),
        ]
    )
    yield ""
    latency = run.latency
    yield from _columns(
        [
            ("latency min", seconds(latency.least)),
            ("mean", seconds(latency.mean)),
            *((name, seconds(latency.percentile(share))) for name, share in PERCENTILES.items()),
            ("max", seconds(latency.greatest)),
        ]
    )
    if run.server_stages:
        yield ""
        yield "server, mean of a matrix:"
        yield from _columns([(printable(name), seconds(mean)) for name, mean in run.server_stages.items()])
    yield from _limited(run)


def _said(run: RunResult, code: str) -> str:
    message = run.messages.get(code)
    return f"  {printable(message)}" if message else ""


def _limited(run: RunResult) -> Iterator[str]:
    if run.limited:
        yield ""
        yield f"limited by the generator: {'; '.join(run.limits)}"


def _sweep(outcome: Outcome) -> Iterator[str]:
    heads = ["rate", "answered", "p50", "p99", "p99.9", "errors", ""]
    lines = [heads]
    for run in outcome.runs:
        broke = run is outcome.runs[-1] and bool(outcome.broke)
        percentiles = [seconds(run.latency.percentile(share)) for share in (0.5, 0.99, 0.999)]
        errors = "-" if run.error_rate is None else f"{run.error_rate:.2%}"
        cells = [f"{run.load.rate:,g}", f"{run.calls_per_second:,.1f}", *percentiles, errors]
        lines.append([*cells, "broke" if broke else ""])
    yield from _table(lines)
    yield ""
    if outcome.broke:
        yield f"broke: {outcome.broke}"
    if outcome.highest_rate is None:
        yield "no rate was held"
    else:
        yield f"highest rate that was held: {outcome.highest_rate:,g} calls a second"
    last = outcome.runs[-1]
    if "generator" not in outcome.broke:
        yield from _limited(last)


def _bounds(outcome: Outcome) -> Iterator[str]:
    if outcome.bounds:
        yield ""
    for bound in outcome.bounds:
        yield f"{'held' if bound.held else 'missed'}: {bound.name} {bound.limit:g} ({bound.figure})"


def _columns(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        yield f"  {name.rjust(width)}  {value}"


def _table(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
