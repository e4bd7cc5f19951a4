"""The metric sink that needs nothing: one summary an interval on stderr, as a line of JSON or as text."""

import json
import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import trio

from hushar.errors import SinkError
from hushar.sinks.interface import Counter, Distribution, MetricBatch, MetricSink

Form = Literal["json", "text"]

_QUANTILES: Mapping[str, float] = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


class StderrMetricSink(MetricSink):
    """Writes one line for each interval in which something happened."""

    def __init__(self, stream: TextIO | None = None, form: Form = "json") -> None:
        """`stream`: None is `sys.stderr`, whatever that is when something is written."""
        self._stream = stream
        self._form = form

    @property
    def description(self) -> str:
        """For the banner."""
        return "stderr"

    async def emit(self, batch: MetricBatch) -> None:
        """Write the line, with one write. Raises SinkError."""
        summary = summarize(batch)
        if not summary["distributions"] and not summary["counters"]:
            return
        line = json.dumps(summary, allow_nan=False) if self._form == "json" else as_text(summary)
        try:
            # A reader that stalls stalls a thread; what is abandoned there is one line.
            await trio.to_thread.run_sync(self._write, line + "\n", abandon_on_cancel=True)
        except (OSError, ValueError) as error:
            # ValueError: the stream is closed.
            raise SinkError(f"stderr: {error}") from error

    def _write(self, line: str) -> None:
        stream = self._stream if self._stream is not None else sys.stderr
        stream.write(line)
        stream.flush()


def summarize(batch: MetricBatch) -> dict[str, Any]:
    """The batch as JSON: count, mean, p50, p90, p99 and max of each distribution; counters by name.

    A counter with labels is an object: label value → number (values of several labels joined by `,`).
    Counters that stand at 0 are left out.
    """
    return {
        "metrics": batch.namespace,
        "dimensions": dict(batch.dimensions),
        "interval_seconds": round(batch.end_unix_seconds - batch.start_unix_seconds, 3),
        "time": _iso(batch.end_unix_seconds),
        "distributions": {
            distribution.name: _summarize_distribution(distribution) for distribution in batch.distributions
        },
        "counters": _summarize_counters(batch.counters),
    }


def _iso(unix_seconds: float) -> str:
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _summarize_distribution(distribution: Distribution) -> dict[str, Any]:
    return {
        "unit": distribution.unit,
        "count": distribution.count,
        "mean": _short(distribution.mean),
        **{name: _short(distribution.quantile(q)) for name, q in _QUANTILES.items()},
        "max": _short(distribution.maximum),
    }


def _summarize_counters(counters: tuple[Counter, ...]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for counter in counters:
        if not counter.value:
            continue
        if counter.labels:
            summary.setdefault(counter.name, {})[",".join(counter.labels.values())] = _short(counter.value)
        else:
            summary[counter.name] = _short(counter.value)
    return summary


def _short(value: float) -> float | int | None:
    """Three decimals are a nanosecond; whole numbers are written as such, what JSON has not as null."""
    if not math.isfinite(value):
        return None
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def as_text(summary: Mapping[str, Any]) -> str:
    """The same summary for a person: one line, values separated by blanks."""
    dimensions = " ".join(f"{name}={value}" for name, value in summary["dimensions"].items())
    parts = [f"{summary['time']} metrics {summary['metrics']} {dimensions} {summary['interval_seconds']} s"]
    for name, values in summary["distributions"].items():
        unit = " µs" if values["unit"] == "Microseconds" else ""
        numbers = " ".join(f"{key}={value}" for key, value in values.items() if key != "unit")
        parts.append(f"{name}{unit} {numbers}")
    for name, value in summary["counters"].items():
        labelled = value.items() if isinstance(value, dict) else ()
        numbers = " ".join(f"{label}={number}" for label, number in labelled) or value
        parts.append(f"{name} {numbers}")
    return " | ".join(parts)
