"""The status as JSON: what the page shows, and whoever would rather not read /metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hushar.admin.history import History
from hushar.admin.reading import Reading, Source, State

_MOST_FEATURES: Final = 20
"""Features with the most values that were not as expected; a page with all would be no use."""


def status(
    state: State,
    uptime_seconds: float,
    messages: Sequence[Mapping[str, Any]],
    source: Source | None,
    history: History,
) -> Mapping[str, Any]:
    """Values that JSON can have. No feature's value, nothing secret. Before there is anything to read:
    state and messages only."""
    found: dict[str, Any] = {
        "state": state.value,
        "uptime_seconds": round(uptime_seconds, 1),
        "messages": messages,
    }
    if source is None:
        return found
    reading = source.read()
    return {
        **found,
        "served": source.facts,
        "recent": history.recent(),
        "history": history.series(),
        "methods": [
            {
                "method": f"{method.service}/{method.method}",
                "started": method.started,
                "in_flight": method.in_flight,
                "handled": method.handled,
            }
            for method in reading.methods
        ],
        "rows": reading.rows,
        "batches": reading.batches,
        "queue": {
            "in_flight": reading.queue.in_flight,
            "calls": reading.queue.calls,
            "rows": reading.queue.rows,
            "shed": reading.shed,
        },
        "log": _log(reading),
        "metrics": {"queued_values": reading.metrics_queued, "dropped_values": reading.metrics_dropped},
        "sinks": [{"name": sink.name, "up": sink.up, "errors": sink.errors} for sink in reading.sinks],
        "features": _features(reading),
    }


def _log(reading: Reading) -> Mapping[str, Any] | None:
    log = reading.log
    if log is None:
        return None
    return {
        "accepted": log.accepted_records,
        "delivered": log.delivered_records,
        "spooled": log.spooled_records,
        "dropped": {reason.value: count for reason, count in log.dropped_records.items()},
        "dead_lettered": log.dead_lettered_records,
        "queued_bytes": log.queued_bytes,
        "spool_bytes": log.spool_bytes,
        "oldest_seconds": round(log.oldest_seconds, 1),
        "dead_letter_segments": log.dead_letter_segments,
        "crashes": log.crashes,
    }


def _features(reading: Reading) -> Sequence[Mapping[str, Any]]:
    """Those with something to tell, the worst first."""
    named = [(counts.defaulted + counts.unparsable, name) for name, counts in reading.features.items()]
    worst = sorted(((bad, name) for bad, name in named if bad), key=lambda each: (-each[0], each[1]))
    return [
        {
            "feature": name,
            "missing": reading.features[name].missing,
            "unknown": reading.features[name].unknown,
            "unparsable": reading.features[name].unparsable,
        }
        for _, name in worst[:_MOST_FEATURES]
    ]
