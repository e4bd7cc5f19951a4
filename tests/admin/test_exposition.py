"""What /metrics says, read by Prometheus' own parsers."""

import math
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from hushar.admin.exposition import OPENMETRICS, PLAIN, expose

NAMES = {
    "grpc_server_started": ("counter", {"grpc_service", "grpc_method"}),
    "grpc_server_handled": ("counter", {"grpc_service", "grpc_method", "grpc_code"}),
    "hushar_request_duration_seconds": ("histogram", {"model", "version", "code"}),
    "hushar_stage_duration_seconds": ("histogram", {"stage"}),
    "hushar_rows": ("counter", set()),
    "hushar_batches": ("counter", set()),
    "hushar_in_flight": ("gauge", set()),
    "hushar_queue_rows": ("gauge", set()),
    "hushar_shed": ("counter", {"reason"}),
    "hushar_feature_values": ("counter", {"feature", "outcome"}),
    "hushar_log_records": ("counter", {"outcome", "reason"}),
    "hushar_log_spooled_records": ("gauge", set()),
    "hushar_log_spool_bytes": ("gauge", set()),
    "hushar_log_oldest_seconds": ("gauge", set()),
    "hushar_sink_errors": ("counter", {"sink", "reason"}),
    "hushar_sink_up": ("gauge", {"sink"}),
    "hushar_info": ("gauge", {"model", "version", "runtime", "kernel", "hushar"}),
}
"""SETTINGS.md of the project: these names are public."""

BOTH = pytest.mark.parametrize(
    ("accept", "parse", "content_type"),
    [("", parse_plain, PLAIN), ("application/openmetrics-text", parse_openmetrics, OPENMETRICS)],
    ids=["text", "openmetrics"],
)


def samples(reading, name, accept="", parse=parse_plain):
    """Labels, as a frozenset of pairs → value, of one sample name."""
    text, _ = expose(reading, accept)
    return {
        frozenset(sample.labels.items()): sample.value
        for family in parse(text.decode())
        for sample in family.samples
        if sample.name == name
    }


def of(**labels):
    return frozenset(labels.items())


@BOTH
def test_every_public_name_is_there_with_its_type_and_labels_and_no_other(
    reading, accept, parse, content_type
):
    text, kind = expose(reading, accept)
    assert kind == content_type
    families = {family.name: family for family in parse(text.decode())}
    assert families.keys() == NAMES.keys()
    for name, (metric_type, labels) in NAMES.items():
        family = families[name]
        assert family.type == metric_type
        assert family.documentation
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == labels
        assert all(math.isfinite(sample.value) for sample in family.samples)
        endings = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_count", "_sum"}}
        assert {sample.name.removeprefix(name) for sample in family.samples} == endings[metric_type]


@BOTH
def test_the_figures_are_those_of_the_reading(reading, accept, parse, content_type):
    def value(name, **labels):
        return samples(reading, name, accept, parse)[of(**labels)]

    service = {"grpc_service": "hushar.Hushar", "grpc_method": "InferenceService"}
    assert value("grpc_server_started_total", **service) == 45
    assert value("grpc_server_handled_total", **service, grpc_code="OK") == 40
    assert value("grpc_server_handled_total", **service, grpc_code="INVALID_ARGUMENT") == 3
    unknown = {"grpc_service": "unknown", "grpc_method": "unknown"}
    assert value("grpc_server_handled_total", **unknown, grpc_code="UNIMPLEMENTED") == 4
    assert (value("hushar_rows_total"), value("hushar_batches_total")) == (77, 11)
    assert (value("hushar_in_flight"), value("hushar_queue_rows")) == (2, 5)
    assert value("hushar_shed_total", reason="queue_seconds") == 7
    assert value("hushar_feature_values_total", feature='odd "name"\\\n', outcome="defaulted") == 6
    assert value("hushar_feature_values_total", feature='odd "name"\\\n', outcome="unparsable") == 1
    assert value("hushar_log_spooled_records") == 20
    assert value("hushar_sink_up", sink="s3://bucket/logs") == 0
    assert value("hushar_sink_up", sink="stderr") == 1
    assert value("hushar_sink_errors_total", sink="s3://bucket/logs", reason="error") == 3
    info = {"model": "penguins", "version": "0123456789ab", "runtime": "onnxruntime 1.20"}
    assert value("hushar_info", **info, kernel="cython", hushar="0.1.0") == 1


@BOTH
def test_buckets_are_cumulative(reading, accept, parse, content_type):
    labels = {"model": "penguins", "version": "0123456789ab", "code": "OK"}
    name = "hushar_request_duration_seconds"
    found = samples(reading, f"{name}_bucket", accept, parse)
    cumulative = {bound: found[of(**labels, le=bound)] for bound in ("0.0001", "0.001", "0.01", "+Inf")}
    assert cumulative == {"0.0001": 10, "0.001": 30, "0.01": 39, "+Inf": 40}
    assert samples(reading, f"{name}_count", accept, parse)[of(**labels)] == 40
    assert samples(reading, f"{name}_sum", accept, parse)[of(**labels)] == 1.5


@pytest.mark.parametrize("logged", [True, False])
def test_accepted_is_the_sum_of_what_became_of_it(reading, without_log, logged):
    told = reading if logged else without_log
    found = samples(told, "hushar_log_records_total")
    accepted = found.pop(of(outcome="accepted"))
    (spooled,) = samples(told, "hushar_log_spooled_records").values()
    assert accepted == sum(found.values()) + spooled
    assert accepted == (100 if logged else 0)
    reasons = {dict(labels).get("reason") for labels in found if dict(labels)["outcome"] == "dropped"}
    assert reasons == {"queue_full", "spool_full", "too_old", "disk_full", "torn"}


@BOTH
def test_every_name_is_there_also_where_nothing_is_logged(without_log, accept, parse, content_type):
    text, _ = expose(without_log, accept)
    assert {family.name for family in parse(text.decode())} == NAMES.keys()


@BOTH
def test_before_there_is_anything_to_read_there_are_no_metrics(accept, parse, content_type):
    text, kind = expose(None, accept)
    assert (list(parse(text.decode())), kind) == ([], content_type)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4", PLAIN),
        ("text/plain; version=1.0.0", PLAIN),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ("Application/OpenMetrics-Text", OPENMETRICS),
        ("application/openmetrics-text;q=0, text/plain", PLAIN),
        ("application/openmetrics-text; q=0.000", PLAIN),
        ("application/openmetrics-text; q=0.001", OPENMETRICS),
        (
            "application/openmetrics-text;version=2;q=0, application/openmetrics-text;version=1.0.0",
            OPENMETRICS,
        ),
        ("application/openmetrics-text-like", PLAIN),
        (";;;,,q=;=", PLAIN),
        (
            # Prometheus 3
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;"
            "version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;"
            "q=0.3,*/*;q=0.2",
            OPENMETRICS,
        ),
    ],
)
def test_the_format_is_the_one_asked_for(reading, accept, content_type):
    assert expose(reading, accept)[1] == content_type


def test_the_documentation_has_every_name_and_label():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    table = page.partition("\n## Prometheus\n")[2]
    for name, (metric_type, labels) in NAMES.items():
        written = f"`{name}_total`" if metric_type == "counter" else f"`{name}`"
        (line,) = [
            line for line in table.splitlines() if line.startswith("|") and written in line.split("|")[1]
        ]
        assert metric_type in line
        assert {label for label in labels if f"`{label}`" not in line} == set()
