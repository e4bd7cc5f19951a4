"""From the measurements of batches to what happened in one interval.

Names are public (CONTRACT.md 5, docs/metrics.md). Times are in microseconds.
"""

from collections.abc import Iterable
from typing import Final

from hushar.records import BatchMetrics
from hushar.sidecars.histogram import Histogram
from hushar.sinks.interface import Counter, Distribution

MICROSECONDS: Final = "Microseconds"
COUNT: Final = "Count"

PER_BATCH: Final[tuple[tuple[str, str], ...]] = (
    ("VectorizationTime", "vectorization_us"),
    ("ToTensorTime", "to_tensor_us"),
    ("InferenceTime", "inference_us"),
    ("DecodeTime", "decode_us"),
    ("EncodeTime", "encode_us"),
)
"""Metric → field of Timings: one value a batch whose rows reached the model."""
QUEUE_TIME: Final = "QueueTime"
TOTAL_TIME: Final = "TotalTime"
BATCH_ROWS: Final = "BatchRows"
OK: Final = "OK"


class Aggregate:
    """One interval, of all workers."""

    def __init__(self) -> None:
        names = (*(name for name, _ in PER_BATCH), QUEUE_TIME, TOTAL_TIME, BATCH_ROWS)
        self._histograms = {name: Histogram() for name in names}
        self._requests: dict[str, int] = {}
        self._rows = 0
        self._batches = 0

    def add(self, metrics: BatchMetrics) -> None:
        """One batch more."""
        histograms = self._histograms
        histograms[QUEUE_TIME].extend(metrics.queue_us)
        histograms[TOTAL_TIME].extend(metrics.answered_us)
        self._count(OK, len(metrics.answered_us))
        for status in metrics.failed:
            self._count(status, 1)
        if metrics.timings is None:
            return
        self._batches += 1
        self._rows += metrics.rows
        histograms[BATCH_ROWS].add(metrics.rows)
        for name, field in PER_BATCH:
            histograms[name].add(getattr(metrics.timings, field))

    def _count(self, status: str, calls: int) -> None:
        if calls:
            self._requests[status] = self._requests.get(status, 0) + calls

    def distributions(self) -> tuple[Distribution, ...]:
        """Those that have a value."""
        found = (
            histogram.distribution(name, COUNT if name == BATCH_ROWS else MICROSECONDS)
            for name, histogram in self._histograms.items()
        )
        return tuple(distribution for distribution in found if distribution is not None)

    def counters(self) -> tuple[Counter, ...]:
        """Those that are not 0."""
        counters = [
            Counter("Requests", calls, {"status": status}) for status, calls in self._requests.items()
        ]
        if self._batches:
            counters += [Counter("Rows", self._rows, {}), Counter("Batches", self._batches, {})]
        return tuple(counters)


class Deltas:
    """Turns running totals into what was added since they were last looked at."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def since_last(self, totals: Iterable[Counter]) -> tuple[Counter, ...]:
        """The counters that have grown, by how much."""
        grown = []
        for total in totals:
            key = (total.name, tuple(sorted(total.labels.items())))
            delta = total.value - self._before.get(key, 0.0)
            self._before[key] = total.value
            if delta:
                grown.append(Counter(total.name, delta, total.labels))
        return tuple(grown)
