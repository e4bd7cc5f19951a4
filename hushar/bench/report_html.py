"""The figures as one HTML file that loads nothing: tables, and plots as inline SVG."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Final

import numpy as np

from hushar.bench import svg
from hushar.bench.recording import PERCENTILES, RELATIVE_ERROR
from hushar.bench.report_table import seconds
from hushar.bench.runs import RunResult
from hushar.bench.sweeping import Outcome

_BARS: Final = 60
_CURVE_POINTS: Final = 400
_SHARES: Final = (
    (0.0, "0"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
)
_NINES: Final = 4.5
"""The end of the axis of percentiles: 10^-4.5 of the calls are slower."""

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6470;--rule:#dde2e8;--paper:#fff;
--a:#00796b;--b:#c2410c;--c:#5b21b6;--bad:#b91c1c}
@media(prefers-color-scheme:dark){:root{--ink:#e7ebf0;--dim:#9aa5b1;--rule:#333b45;--paper:#14181d;
--a:#4db6ac;--b:#fb923c;--c:#a78bfa;--bad:#f87171}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:54rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.5rem;border-top:1px solid var(--rule);padding-top:1rem}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid var(--rule)}
td.n,th.n{text-align:right}.scroll{overflow-x:auto}.bad{color:var(--bad);font-weight:600}
.note{color:var(--dim);font-size:.85rem}
figure{margin:1.5rem 0}figcaption{font-weight:600;margin-bottom:.3rem}svg{width:100%;height:auto}
.grid{stroke:var(--rule);stroke-width:1}.tick{font-size:11px;fill:var(--dim)}
.axis{font-size:12px;fill:var(--ink)}.middle{text-anchor:middle}.end{text-anchor:end}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.a{stroke:var(--a)}.b{stroke:var(--b)}.c{stroke:var(--c)}
.dot{fill:var(--paper);stroke-width:2}.bar{stroke:none}.bar.a{fill:var(--a)}.bar.b{fill:var(--bad)}
"""


def as_html(outcome: Outcome, title: str, facts: Sequence[tuple[str, str]]) -> str:
    """The whole file. `facts` are pairs for its head: what was asked for, when, of which server."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        _pairs(facts),
        *_verdict(outcome),
    ]
    if outcome.is_sweep:
        parts += _sweep(outcome)
    for run in outcome.runs:
        parts += _run(run)
    parts.append(
        '<p class="note">Latencies are counted from the moment for which a call was meant.'
        f" Percentiles are within {RELATIVE_ERROR:.1%}.</p></body></html>"
    )
    return "\n".join(parts) + "\n"


def _verdict(outcome: Outcome) -> Iterator[str]:
    if outcome.bounds:
        rows = [
            [
                bound.name,
                f"{bound.limit:g}",
                bound.figure,
                "held" if bound.held else '<span class="bad">missed</span>',
            ]
            for bound in outcome.bounds
        ]
        escaped = [[*map(escape, row[:3]), row[3]] for row in rows]
        yield _table(["bound", "limit", "value", ""], escaped, numbers=range(1, 3))
    if outcome.interrupted:
        yield "<p>The run was ended early: these are the figures until then.</p>"


def _sweep(outcome: Outcome) -> Iterator[str]:
    yield "<h2>Sweep</h2>"
    if outcome.highest_rate is None:
        yield '<p class="bad">No rate was held.</p>'
    else:
        yield f"<p>Highest rate that was held: <b>{outcome.highest_rate:,g}</b> calls a second.</p>"
    if outcome.broke:
        yield f"<p>Broke: {escape(outcome.broke)}.</p>"
    measured = [run for run in outcome.runs if run.latency.count]
    if measured:
        yield _latency_against_rate(measured)
    heads = ["rate", "answered", "p50", "p99", "p99.9", "errors"]
    rows = []
    for run in outcome.runs:
        times = [seconds(run.latency.percentile(share)) for share in (0.5, 0.99, 0.999)]
        errors = "-" if run.error_rate is None else f"{run.error_rate:.2%}"
        rows.append([f"{run.load.rate:,g}", f"{run.calls_per_second:,.1f}", *times, errors])
    yield _table(heads, [[*map(escape, row)] for row in rows], numbers=range(6))


def _latency_against_rate(runs: Sequence[RunResult]) -> str:
    curves = []
    for name, share, style in (("p50", 0.5, "a"), ("p99", 0.99, "b"), ("p99.9", 0.999, "c")):
        points = [(run.load.rate or 0.0, run.latency.percentile(share) or 0.0) for run in runs]
        curves.append(svg.Curve(name, points, style, dots=True))
    values = [value for curve in curves for _, value in curve.points]
    x = svg.linear_axis(max(run.load.rate or 0.0 for run in runs), "offered, calls a second")
    y = svg.time_axis(min(values), max(values), "latency")
    return svg.line_plot("Latency against rate", x, y, curves)


def _run(run: RunResult) -> Iterator[str]:
    yield f"<h2>{escape(str(run.load))}</h2>"
    if run.limited:
        reasons = escape("; ".join(run.limits))
        yield f'<p class="bad">Limited by the generator: {reasons}.</p>'
    facts = [
        ("calls a second (OK)", f"{run.calls_per_second:,.1f}"),
        ("seconds measured", f"{run.seconds:.1f}"),
        ("connections", f"{run.connections}"),
        ("sent", f"{run.sent:,}" + (f" ({run.unsent:,} never sent)" if run.unsent else "")),
    ]
    yield _pairs(facts)
    statuses = [[code, f"{count:,}", run.messages.get(code, "")] for code, count in run.statuses.items()]
    yield _table(["status", "calls", ""], [[*map(escape, row)] for row in statuses], numbers=[1])
    latency = run.latency
    names = ["min", "mean", *PERCENTILES, "max"]
    values = [latency.least, latency.mean, *map(latency.percentile, PERCENTILES.values()), latency.greatest]
    yield _table(names, [[escape(seconds(value)) for value in values]], numbers=range(len(names)))
    if run.server_stages:
        stages = run.server_stages
        cells = [escape(seconds(mean)) for mean in stages.values()]
        yield "<p>Stages at the server, mean of a matrix:</p>"
        yield _table(list(stages), [cells], numbers=range(len(cells)))
    if latency.count:
        yield _percentile_curve(run)
        yield _histogram(run)
    yield _over_time(run)


def _percentile_curve(run: RunResult) -> str:
    values, shares = run.latency.curve()
    if len(values) > _CURVE_POINTS:
        # The tail is what the plot is for: points are left out where there are many, below p90.
        keep = np.unique(np.concatenate([np.linspace(0, len(values) - 1, _CURVE_POINTS).astype(int),
                                         np.flatnonzero(shares > 0.99)]))  # fmt: skip
        values, shares = values[keep], shares[keep]
    end = 1 - 10.0**-_NINES
    points = [
        (-np.log10(1 - min(share, end)), value)
        for share, value in zip(shares.tolist(), values.tolist(), strict=True)
    ]
    points.insert(0, (0.0, float(values[0])))
    ticks = [(float(-np.log10(1 - share)), text) for share, text in _SHARES]
    x = svg.Axis(0.0, _NINES, "share of the calls that are not slower", ticks)
    y = svg.time_axis(float(values[0]), float(values[-1]), "latency")
    return svg.line_plot("Latency by percentile", x, y, [svg.Curve("latency", points, "a")])


def _histogram(run: RunResult) -> str:
    edges, counts = run.latency.bars(_BARS)
    x = svg.time_axis(float(edges[0]), float(edges[-1]), "latency")
    y = svg.linear_axis(float(counts.max()), "calls")
    return svg.bar_plot("Histogram of latencies", x, y, edges.tolist(), [("a", counts.tolist())])


def _over_time(run: RunResult) -> str:
    slots = len(run.ok_slots)
    edges = [min(index * run.slot_seconds, max(run.seconds, 1e-9)) for index in range(slots + 1)]
    # The last slot may be a short one.
    widths = [max(right - left, 1e-9) for left, right in pairwise(edges)]
    ok = [count / width for count, width in zip(run.ok_slots.tolist(), widths, strict=True)]
    failed = [count / width for count, width in zip(run.failed_slots.tolist(), widths, strict=True)]
    highest = max((good + bad for good, bad in zip(ok, failed, strict=True)), default=0.0)
    x = svg.linear_axis(edges[-1], "seconds")
    y = svg.linear_axis(max(highest, 1.0), "calls a second")
    return svg.bar_plot("Calls a second over time (red: not OK)", x, y, edges, [("a", ok), ("b", failed)])


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in pairs)
    return f'<div class="scroll"><table>{rows}</table></div>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int]) -> str:
    """`rows` are HTML, `heads` are not; `numbers` are the columns that stand at the right."""
    right = set(numbers)
    style = ['class="n"' if index in right else "" for index in range(len(heads))]
    head = "".join(f"<th {style[index]}>{escape(text)}</th>" for index, text in enumerate(heads))
    body = "".join(
        f"<tr>{''.join(f'<td {style[index]}>{cell}</td>' for index, cell in enumerate(row))}</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
