"""A reading in Prometheus' formats, by prometheus_client's own exposition. Names: docs/metrics.md."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest as plain
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from hushar.admin.reading import Method, Reading
from hushar.sidecars.durations import Buckets
from hushar.sidecars.ledger import DropReason

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_OPENMETRICS_TYPE: Final = "application/openmetrics-text"
_NOT_AT_ALL: Final = re.compile(r"q\s*=\s*0(\.0*)?")


def expose(reading: Reading | None, accept: str) -> tuple[bytes, str]:
    """The text, and its content type: OpenMetrics where `accept`, the request's header, asks for it, else
    text 0.0.4. Without a reading (the server is still starting) there are no metrics."""
    collector = _Reading(reading)
    if _wants_openmetrics(accept):
        return openmetrics(collector), OPENMETRICS  # type: ignore[no-untyped-call]
    return plain(collector), PLAIN


def _wants_openmetrics(accept: str) -> bool:
    for entry in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        refused = any(_NOT_AT_ALL.fullmatch(part) for part in parameters)
        if kind == _OPENMETRICS_TYPE and not refused:
            return True
    return False


class _Reading(Collector):
    """What prometheus_client asks for families of metrics."""

    def __init__(self, reading: Reading | None) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        return families(self._reading) if self._reading is not None else iter(())


def families(reading: Reading) -> Iterator[Metric]:
    """Every metric family, in the order of SETTINGS.md of the project."""
    yield from _grpc(reading.methods)
    yield _durations(reading)
    stages = Metric("hushar_stage_duration_seconds", "One value a matrix and stage.", "histogram")
    for stage, buckets in reading.stages.items():
        _add_histogram(stages, {"stage": stage}, buckets)
    yield stages
    yield _counter("hushar_rows", "Rows that have been through the model.", reading.rows)
    yield _counter("hushar_batches", "Matrices that have been through the model.", reading.batches)
    yield _gauge("hushar_in_flight", "Calls that have arrived and are not over.", reading.queue.in_flight)
    yield _gauge("hushar_queue_rows", "Rows that wait for their matrix.", reading.queue.rows)
    shed = Metric("hushar_shed", "Calls refused because too much was under way, by limit.", "counter")
    for reason, calls in reading.shed.items():
        shed.add_sample("hushar_shed_total", {"reason": reason}, calls)
    yield shed
    yield _features(reading)
    yield from _log(reading)
    yield from _sinks(reading)
    served = reading.served
    info = Metric("hushar_info", "What is served.", "gauge")
    names = ("model", "version", "runtime", "kernel", "hushar")
    info.add_sample("hushar_info", {name: getattr(served, name) for name in names}, 1)
    yield info


def _counter(name: str, text: str, value: float) -> Metric:
    family = Metric(name, text, "counter")
    family.add_sample(f"{name}_total", {}, value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    family = Metric(name, text, "gauge")
    family.add_sample(name, {}, value)
    return family


def _grpc(methods: Sequence[Method]) -> Iterator[Metric]:
    started = Metric("grpc_server_started", "Calls begun, by method.", "counter")
    handled = Metric("grpc_server_handled", "Calls that are over, by method and status.", "counter")
    for method in methods:
        labels = {"grpc_service": method.service, "grpc_method": method.method}
        started.add_sample("grpc_server_started_total", labels, method.started)
        # From the start, so that its rate is right from the first call on.
        for code, calls in {"OK": 0, **method.handled}.items():
            handled.add_sample("grpc_server_handled_total", {**labels, "grpc_code": code}, calls)
    yield started
    yield handled


def _durations(reading: Reading) -> Metric:
    text = "From the arrival of a call of the scoring service to its end."
    family = Metric("hushar_request_duration_seconds", text, "histogram")
    labels = {"model": reading.served.model, "version": reading.served.version}
    for code, buckets in {"OK": reading.answered, **reading.failed}.items():
        _add_histogram(family, {**labels, "code": code}, buckets)
    return family


def _add_histogram(family: Metric, labels: Mapping[str, str], buckets: Buckets) -> None:
    below = 0
    for bound, count in zip((*buckets.bounds, float("inf")), buckets.counts, strict=True):
        below += count
        text = floatToGoString(bound)  # type: ignore[no-untyped-call]
        family.add_sample(f"{family.name}_bucket", {**labels, "le": text}, below)
    family.add_sample(f"{family.name}_count", dict(labels), below)
    family.add_sample(f"{family.name}_sum", dict(labels), buckets.seconds)


def _features(reading: Reading) -> Metric:
    family = Metric("hushar_feature_values", "Values that were not as expected, by feature.", "counter")
    for feature, counts in reading.features.items():
        for outcome in ("missing", "defaulted", "unknown", "unparsable"):
            labels = {"feature": feature, "outcome": outcome}
            family.add_sample("hushar_feature_values_total", labels, getattr(counts, outcome))
    return family


def _log(reading: Reading) -> Iterator[Metric]:
    """Where nothing is logged everything is 0: then accepted = delivered + … holds too."""
    log = reading.log
    dropped = dict.fromkeys(DropReason, 0) if log is None else log.dropped_records
    outcomes = {
        "accepted": log.accepted_records if log else 0,
        "delivered": log.delivered_records if log else 0,
        "dead_lettered": log.dead_lettered_records if log else 0,
    }
    records = Metric("hushar_log_records", "Log records (calls), by what became of them.", "counter")
    for outcome, count in outcomes.items():
        records.add_sample("hushar_log_records_total", {"outcome": outcome}, count)
    for reason, count in dropped.items():
        labels = {"outcome": "dropped", "reason": reason.value}
        records.add_sample("hushar_log_records_total", labels, count)
    yield records
    spooled = log.spooled_records if log else 0
    yield _gauge("hushar_log_spooled_records", "Log records in the channel or the spool.", spooled)
    yield _gauge("hushar_log_spool_bytes", "Bytes of the spool.", log.spool_bytes if log else 0)
    oldest = log.oldest_seconds if log else 0
    yield _gauge("hushar_log_oldest_seconds", "Age of the oldest segment in the spool.", oldest)


def _sinks(reading: Reading) -> Iterator[Metric]:
    errors = Metric("hushar_sink_errors", "Failed attempts to deliver, by sink and reason.", "counter")
    up = Metric("hushar_sink_up", "Whether the last attempt to deliver succeeded.", "gauge")
    for sink in reading.sinks:
        for reason, count in sink.errors.items():
            errors.add_sample("hushar_sink_errors_total", {"sink": sink.name, "reason": reason}, count)
        up.add_sample("hushar_sink_up", {"sink": sink.name}, int(sink.up))
    yield errors
    yield up
