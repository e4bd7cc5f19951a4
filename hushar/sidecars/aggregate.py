"""From the measurements of batches to what happened in one interval.

Names are public (CONTRACT.md 5, docs/metrics.md). Times are in microseconds.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from hushar.records import BatchMetrics, Timings
from hushar.sidecars.durations import Durations
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
FOLDED_AT_ONCE: Final = 256
"""Batches that are kept as they came."""


class Aggregate:
    """One interval, of all workers. What it takes in is also counted in `durations`, if there are any."""

    def __init__(self, durations: Durations | None = None) -> None:
        self._durations = durations
        names = (*(name for name, _ in PER_BATCH), QUEUE_TIME, TOTAL_TIME, BATCH_ROWS)
        self._histograms = {name: Histogram() for name in names}
        self._requests: dict[str, int] = {}
        self._rows = 0
        self._batches = 0
        self._waiting: list[BatchMetrics] = []

    def add(self, metrics: BatchMetrics) -> None:
        """One batch more. What is asked of many at once costs a fraction of what it costs for each."""
        self._waiting.append(metrics)
        if len(self._waiting) >= FOLDED_AT_ONCE:
            self.fold()

    def fold(self) -> None:
        """From the list into the histograms and counts; for whoever reads `durations`."""
        waiting, self._waiting = self._waiting, []
        self._extend(QUEUE_TIME, [pair for metrics in waiting for pair in metrics.queue_us])
        answered = [pair for metrics in waiting for pair in metrics.answered_us]
        self._extend(TOTAL_TIME, answered)
        self._count(OK, sum([calls for _, calls in answered]))
        for metrics in waiting:
            for status, calls in metrics.failed.items():
                self._count(status, calls)
        timed = [metrics for metrics in waiting if metrics.timings is not None]
        if self._durations is not None:
            self._durations.add(timed, answered)
        if not timed:
            return
        rows = [metrics.rows for metrics in timed]
        self._batches += len(timed)
        self._rows += sum(rows)
        self._histograms[BATCH_ROWS].extend(rows)
        columns = dict(
            zip(Timings._fields, zip(*[metrics.timings for metrics in timed], strict=True), strict=True)
        )
        for name, field in PER_BATCH:
            self._histograms[name].extend(columns[field])

    def _extend(self, name: str, pairs: Sequence[tuple[float, int]]) -> None:
        if pairs:
            values, calls = zip(*pairs, strict=True)
            self._histograms[name].extend(values, calls)

    def _count(self, status: str, calls: int) -> None:
        if calls:
            self._requests[status] = self._requests.get(status, 0) + calls

    def distributions(self) -> tuple[Distribution, ...]:
        """Those that have a value."""
        self.fold()
        found = (
            histogram.distribution(name, COUNT if name == BATCH_ROWS else MICROSECONDS)
            for name, histogram in self._histograms.items()
        )
        return tuple(distribution for distribution in found if distribution is not None)

    def counters(self) -> tuple[Counter, ...]:
        """Those that are not 0."""
        self.fold()
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


def added(counters: Iterable[Counter]) -> tuple[Counter, ...]:
    """One counter for each name and labels: the sum of those that have them."""
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], Counter] = {}
    for counter in counters:
        key = (counter.name, tuple(sorted(counter.labels.items())))
        value = counter.value + (sums[key].value if key in sums else 0.0)
        sums[key] = Counter(counter.name, value, counter.labels)
    return tuple(sums.values())
