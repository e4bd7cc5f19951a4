"""From what happened in one interval to data of CloudWatch's PutMetricData: pure functions.

Limits are those of the API's reference (PutMetricData, MetricDatum, Dimension). A distribution is sent as
its values and how often each occurred, never as a statistic set: CloudWatch then computes percentiles,
and count, sum, least and greatest value are those of the measurements.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from hushar.plugins import Counter, Distribution, MetricBatch

VALUES_A_DATUM: Final = 150
DIMENSIONS: Final = 30
NAME_LENGTH: Final = 255
VALUE_LENGTH: Final = 1024
"""Of a dimension's value, in characters."""
GREATEST: Final = 2.0**360
"""Values must lie between −2³⁶⁰ and 2³⁶⁰."""

_UNITS: Final = frozenset({"Count", "Microseconds", "Milliseconds", "Seconds", "Bytes", "Percent"})
"""Of those that CloudWatch knows, what hushar has a use for."""
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))
_MODEL_VERSION: Final = "ModelVersion"

Datum = dict[str, Any]
"""One element of MetricData, as the API's JSON has it."""
Key = tuple[str, tuple[tuple[str, str], ...]]
"""What makes two counters the same: name and labels."""


def data_of(batch: MetricBatch, *, high_resolution: bool) -> Iterator[Datum]:
    """All data of the interval: counters and gauges first, then the distributions.

    The time of each is the middle of the interval: of all moments in it the one that is most likely in
    the minute in which most of it happened.
    """
    common: Datum = {"Timestamp": round((batch.start_unix_seconds + batch.end_unix_seconds) / 2, 3)}
    if high_resolution:
        common["StorageResolution"] = 1
    gauges = batch.gauges
    if batch.model_version:
        gauges = (*gauges, Counter(_MODEL_VERSION, 1, {"version": batch.model_version}))
    for counter in (*batch.counters, *gauges):
        if _is_sendable(counter.value):
            yield {
                "MetricName": _clean_name(counter.name),
                "Dimensions": dimensions({**batch.dimensions, **counter.labels}),
                "Unit": _unit_of(counter.name),
                "Value": counter.value,
                **common,
            }
    common["Dimensions"] = dimensions(batch.dimensions)
    for distribution in batch.distributions:
        yield from _distribution_data(distribution, common)


def _distribution_data(distribution: Distribution, common: Datum) -> Iterator[Datum]:
    """As many data as it takes: CloudWatch joins what has the same name, dimensions and minute."""
    values, counts = _distinct(distribution)
    for start in range(0, len(values), VALUES_A_DATUM):
        part = slice(start, start + VALUES_A_DATUM)
        yield {
            "MetricName": _clean_name(distribution.name),
            "Unit": distribution.unit if distribution.unit in _UNITS else "None",
            "Values": values[part],
            "Counts": counts[part],
            **common,
        }


def _distinct(distribution: Distribution) -> tuple[list[float], list[int]]:
    """Each value once, ascending, with how often it occurred; without what the API refuses."""
    values = np.asarray(distribution.values, np.float64)
    counts = np.ones(len(values), np.int64) if distribution.counts is None else distribution.counts
    with np.errstate(invalid="ignore"):
        kept = np.abs(values) < GREATEST
    distinct, places = np.unique(values[kept], return_inverse=True)
    summed = np.zeros(len(distinct), np.int64)
    np.add.at(summed, places, counts[kept])
    return distinct.tolist(), summed.tolist()


def _is_sendable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < GREATEST


def _unit_of(name: str) -> str:
    """Of a counter or gauge: hushar's names end in their unit where they count something else."""
    return next((unit for unit in ("Bytes", "Seconds") if name.endswith(unit)), "Count")


def dimensions(named: Mapping[str, str]) -> list[dict[str, str]]:
    """Name and value of each dimension as the API takes them: the first 30, ASCII, none of them empty.

    What is not printable ASCII is percent-encoded, so that two different model ids stay different.
    """
    cleaned = (
        (_clean_name(name), _clean(value, VALUE_LENGTH)) for name, value in named.items() if value.strip()
    )
    found = [{"Name": name, "Value": value} for name, value in cleaned if name]
    return found[:DIMENSIONS]


def _clean_name(name: str) -> str:
    """Of a metric or a dimension; a colon cannot stand at its beginning."""
    return _clean(name.strip().lstrip(":"), NAME_LENGTH)


def _clean(text: str, length: int) -> str:
    return quote(text, safe=_PRINTABLE, errors="replace")[:length]


def merged(lost: MetricBatch, following: MetricBatch) -> MetricBatch:
    """The following interval with what the lost one counted added: its times and gauges are gone."""
    sums: dict[Key, Counter] = {}
    for counter in (*lost.counters, *following.counters):
        key = (counter.name, tuple(sorted(counter.labels.items())))
        before = sums.get(key)
        sums[key] = counter if before is None else replace(counter, value=before.value + counter.value)
    return replace(following, counters=tuple(sums.values()))
