"""The metric sink that needs nothing: one summary an interval on stderr, as a line of JSON."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import trio

from hushar.errors import SinkError
from hushar.sinks.interface import Counter, Distribution, MetricBatch, MetricSink

_QUANTILES: Mapping[str, float] = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


class StderrMetricSink(MetricSink):
    """Writes one line for each interval in which something happened."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """`stream`: None is `sys.stderr`, whatever that is when something is written."""
        self._stream = stream

    @property
    def description(self) -> str:
        """For the banner."""
        return "stderr"

    async def emit(self, batch: MetricBatch) -> None:
        """Write the line, with one write. Raises SinkError."""
        summary = summarize(batch)
        if not (summary["distributions"] or summary["counters"] or any(g.value for g in batch.gauges)):
            return
        line = json.dumps(summary, allow_nan=False)
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
    Counters that stand at 0 are left out, gauges are not.
    """
    return {
        "metrics": batch.namespace,
        "dimensions": dict(batch.dimensions),
        "model_version": batch.model_version,
        "interval_seconds": round(batch.end_unix_seconds - batch.start_unix_seconds, 3),
        "time": _iso(batch.end_unix_seconds),
        "distributions": {
            distribution.name: _summarize_distribution(distribution) for distribution in batch.distributions
        },
        "counters": _by_name(counter for counter in batch.counters if counter.value),
        "gauges": _by_name(batch.gauges),
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


def _by_name(counters: Iterable[Counter]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for counter in counters:
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
