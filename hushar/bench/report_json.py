"""The figures as JSON: the names are those of SETTINGS.md of the project, and public."""

import json
import math
from collections.abc import Mapping
from typing import Any

from hushar.bench.recording import PERCENTILES, Histogram
from hushar.bench.runs import RunResult
from hushar.bench.sweeping import Outcome


def as_json(outcome: Outcome) -> str:
    """One JSON document, with a line feed at its end. What was not measured is null."""
    document = {
        "runs": [run_document(run) for run in outcome.runs],
        "bounds": [
            {"name": bound.name, "limit": bound.limit, "value": _number(bound.value), "held": bound.held}
            for bound in outcome.bounds
        ],
        "sweep": {"highest_rate": outcome.highest_rate} if outcome.is_sweep else None,
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def run_document(run: RunResult) -> dict[str, Any]:
    """One run."""
    document: dict[str, Any] = {
        "mode": run.load.mode,
        "rate": run.load.rate,
        "concurrency": run.load.concurrency,
        "seconds": run.seconds,
        "connections": run.connections,
        "sent": run.sent,
        "unsent": run.unsent,
        "cut_short": run.cut_short,
        "calls_per_second": run.calls_per_second,
        "statuses": dict(run.statuses),
        "messages": dict(run.messages),
        "latency_seconds": latency_document(run.latency),
        "generator": {
            "limited": run.limited,
            "late_p99_seconds": run.late_p99_seconds,
            "cpu_share": run.cpu_share,
            "reasons": list(run.limits),
        },
        "interrupted": run.interrupted,
    }
    if run.server_stages is not None:
        document["server_stages_seconds"] = dict(run.server_stages)
    return document


def latency_document(latency: Histogram) -> Mapping[str, float | None]:
    """Minimum, mean, percentiles and maximum in seconds."""
    return {
        "min": _number(latency.least),
        "mean": _number(latency.mean),
        **{name: _number(latency.percentile(share)) for name, share in PERCENTILES.items()},
        "max": _number(latency.greatest),
    }


def _number(value: float | None) -> float | None:
    """JSON has no infinities and no NaN."""
    return value if value is not None and math.isfinite(value) else None
