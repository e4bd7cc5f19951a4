"""The layers of a service configuration: every key in every layer, their order, paths, warnings."""

import json
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.config import examine_service
from hushar.config.hints import KEYS
from hushar.storage.interface import Blob

SAMPLES = {
    "model_path": "/models/m.onnx",
    "model_id": "another",
    "vectorization_instruction_path": "s3://bucket/v.json",
    "port_number": 0,
    "connection_concurrency": 7,
    "host": "::",
    "log_format": "json",
    "kernel": "reference",
    "log_level": "debug",
    "server.unix_socket": "/run/hushar.sock",
    "server.reuse_port": True,
    "server.drain_seconds": 1.5,
    "server.max_connections": 1,
    "server.max_connections_per_address": 256,
    "server.max_in_flight": 100,
    "server.max_in_flight_bytes": 1,
    "server.max_receive_bytes": 2**31 - 1 - 65536,
    "server.max_send_bytes": 2**31 - 1,
    "server.max_header_bytes": 8192,
    "server.max_header_fields": 50,
    "server.compression": ["gzip"],
    "server.compression_min_bytes": 0,
    "server.handshake_seconds": 0.5,
    "server.idle_seconds": 60,
    "server.keepalive_seconds": 30,
    "server.keepalive_timeout_seconds": 5,
    "server.max_connection_age_seconds": 1800,
    "server.max_connection_age_grace_seconds": 0,
    "server.reflection": False,
    "http2.stream_window_bytes": 65535,
    "http2.connection_window_bytes": 2**31 - 1,
    "http2.max_frame_bytes": 16384,
    "http2.stream_send_buffer_bytes": 1,
    "http2.connection_send_buffer_bytes": 1,
    "http2.write_stall_seconds": 1,
    "http2.max_continuation_frames": 1,
    "http2.max_settings_entries": 1,
    "http2.max_settings_frames": 1,
    "http2.max_queued_control_frames": 1,
    "http2.max_empty_frames": 1,
    "http2.ping_strikes": 0,
    "http2.ping_min_seconds": 0,
    "http2.reset_burst": 1,
    "http2.reset_rate": 0,
    "http2.glitch_burst": 1,
    "http2.glitch_rate": 0.5,
    "tls.certificate": "/etc/c.pem",
    "tls.key": "/etc/k.pem",
    "tls.client_ca": "/etc/ca.pem",
    "tls.client_names": ["client.example"],
    "tls.min_version": "1.3",
    "tls.reload_seconds": 0.5,
    "auth.token_file": "/etc/tokens",
    "auth.exempt": [],
    "model.runtime": "other",
    "model.output": "scores",
    "model.providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "model.provider_options": {"CUDAExecutionProvider": {"device_id": "0"}},
    "model.optimization": "basic",
    "model.session_config": {"session.use_env_allocators": "1"},
    "model.sha256": "0f" * 32,
    "model.warmup": False,
    "model.intra_op_threads": 0,
    "model.inter_op_threads": 2,
    "model.arena_extend": "next_power_of_two",
    "batching.max_rows": 1,
    "batching.max_call_rows": 10,
    "batching.max_queue_rows": 20,
    "batching.max_queue_bytes": 1000,
    "batching.max_queue_seconds": 0.5,
    "batching.inference_concurrency": 2,
    "batching.offload": "never",
    "log.uri": "/var/log/hushar",
    "log.workers": 3,
    "log.sample_rate": 0.25,
    "log.queue_bytes": 1000,
    "log.acknowledge": "spooled",
    "log.fsync": "segment",
    "log.fsync_seconds": 2,
    "log.rotate_bytes": 65536,
    "log.rotate_seconds": 1,
    "log.spool_dir": "/var/spool/hushar",
    "log.spool_max_bytes": 100_000_000,
    "log.spool_max_age_seconds": 86400,
    "log.spool_min_free_bytes": 0,
    "log.max_attempts": 1,
    "log.retry_min_seconds": 0.1,
    "log.retry_max_seconds": 1,
    "log.refused_retry_seconds": 5,
    "log.drain_seconds": 0,
    "log.compression": "gzip",
    "log.compression_level": 9,
    "log.exclude": ["email*"],
    "log.hash": ["user"],
    "log.hash_key_file": "/key",
    "metrics.sinks": [],
    "metrics.workers": 2,
    "metrics.interval_seconds": 1,
    "metrics.queue_values": 1,
    "metrics.namespace": "Ours",
    "metrics.dimensions": {"Stage": "test"},
    "metrics.buckets": [0.5, 1],
    "admin.host": "::1",
    "admin.port": 0,
    "plugins.allow": ["aws"],
    "plugins.block": ["aws"],
}
"""A value other than the default for every key."""
TOGETHER = {
    "log.compression_level": {"log.compression": "gzip"},
    "log.hash": {"log.hash_key_file": "/key"},
    "tls.certificate": {"tls.key": "/k"},
    "tls.key": {"tls.certificate": "/c"},
    "tls.client_ca": {"tls.certificate": "/c", "tls.key": "/k"},
    "tls.client_names": {"tls.certificate": "/c", "tls.key": "/k", "tls.client_ca": "/ca"},
}


def tree(dotted_values):
    """Nested objects from dotted keys."""
    made = {}
    for dotted, value in dotted_values.items():
        *sections, name = dotted.split(".")
        reduce(lambda node, section: node.setdefault(section, {}), sections, made)[name] = value
    return made


def value_at(configuration, dotted):
    """The value of a key, with lists in place of tuples, as documents have them."""
    value = reduce(getattr, dotted.split("."), configuration)
    return list(value) if isinstance(value, tuple) else value


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def test_there_is_a_sample_of_every_key():
    assert set(SAMPLES) == {key.dotted for key in KEYS.values()}


@pytest.mark.parametrize("dotted", SAMPLES)
def test_key_in_the_file(load, dotted):
    values = tree({dotted: SAMPLES[dotted]} | TOGETHER.get(dotted, {}))
    assert value_at(load(values).configuration, dotted) == SAMPLES[dotted]


@pytest.mark.parametrize("dotted", SAMPLES)
def test_key_in_the_environment(load, dotted):
    name = "HUSHAR_" + dotted.replace(".", "__").upper()
    loaded = load(tree(TOGETHER.get(dotted, {})), environ={name: as_text(SAMPLES[dotted])})
    assert value_at(loaded.configuration, dotted) == SAMPLES[dotted]
    assert loaded.warnings == ()


@pytest.mark.parametrize("dotted", SAMPLES)
def test_key_by_set(load, dotted):
    override = f"{dotted}={as_text(SAMPLES[dotted])}"
    loaded = load(tree(TOGETHER.get(dotted, {})), overrides=[override])
    assert value_at(loaded.configuration, dotted) == SAMPLES[dotted]


@pytest.mark.parametrize("dotted", [key.dotted for key in KEYS.values() if not key.field.is_required()])
def test_null_is_the_default(load, dotted):
    default = value_at(load().configuration, dotted)
    assert value_at(load(tree({dotted: None})).configuration, dotted) == default


@settings(deadline=None)
@given(number=st.integers(0, 65535))
def test_port_is_the_same_from_every_layer(number):
    required = {"model_path": "m", "model_id": "m", "vectorization_instruction_path": "v"}

    def port(values=(), **layers):
        given = {"options": {}, "overrides": [], "environ": {}} | layers
        blob = Blob("s.json", json.dumps(required | dict(values)).encode())
        return examine_service(blob, directory="/", **given).loaded.configuration.port_number

    assert port({"port_number": number}) == number
    assert port(environ={"HUSHAR_PORT": str(number)}) == number
    assert port(environ={"HUSHAR_PORT_NUMBER": str(number)}) == number
    assert port(options={"port_number": number}) == number
    assert port(options={"port_number": str(number)}) == number
    assert port(overrides=[f"port_number={number}"]) == number


@settings(deadline=None)
@given(
    key=st.sampled_from(sorted(KEYS)),
    text=st.text(alphabet=st.characters(exclude_categories=[]), max_size=20),
)
def test_any_text_for_any_key_is_taken_or_refused_in_one_line_each(key, text):
    name = ".".join(key)
    required = b'{"model_path": "m", "model_id": "m", "vectorization_instruction_path": "v"}'
    examined = examine_service(
        Blob("s.json", required), options={}, overrides=[f"{name}={text}"], environ={}, directory="/"
    )
    for problem in examined.problems:
        assert name in problem.key
        assert str(problem).isprintable()


def test_json_and_toml_say_the_same(load):
    text = """
        model_path = "m.onnx"
        model_id = "m"
        vectorization_instruction_path = "v.json"
        [log]
        uri = "logs"
        sample_rate = 0.5
        [plugins.aws]
        region = "eu-west-1"
    """
    values = {"log": {"uri": "logs", "sample_rate": 0.5}, "plugins": {"aws": {"region": "eu-west-1"}}}
    assert load(text, "service.toml").configuration == load(values).configuration


def test_stronger_layers_win(load):
    layers = {
        "values": {"port_number": 1, "host": "file", "log_level": "error", "log": {"workers": 2}},
        "environ": {"HUSHAR_PORT": "2", "HUSHAR_HOST": "environment", "HUSHAR_LOG_LEVEL": "warning"},
        "options": {"port_number": 3, "host": "option", "log_format": None, "metrics.sinks": ()},
        "overrides": ["port_number=4", "port_number=5"],
    }
    configuration = load(**layers).configuration
    assert configuration.port_number == 5
    assert configuration.host == "option"
    assert configuration.log_level == "warning"
    assert configuration.log.workers == 2
    assert configuration.log_format == "text"
    assert configuration.metrics.sinks == ("stderr",)


def test_stronger_layer_replaces_lists_and_objects_as_a_whole(load):
    values = {"metrics": {"sinks": ["a", "b"], "dimensions": {"A": "1"}}}
    overrides = ['metrics.sinks=["c"]', 'metrics.dimensions={"B": "2"}']
    metrics = load(values, overrides=overrides).configuration.metrics
    assert metrics.sinks == ("c",)
    assert metrics.dimensions == {"B": "2"}


def test_null_in_a_stronger_layer_takes_a_key_back_to_its_default(load):
    values = {"log": {"spool_max_age_seconds": 5, "rotate_bytes": 65536}}
    overrides = ["log.spool_max_age_seconds=null", "log.rotate_bytes=null"]
    log = load(values, overrides=overrides).configuration.log
    assert log.spool_max_age_seconds is None
    assert log.rotate_bytes == 64 * 2**20


def test_value_that_is_replaced_is_not_looked_at(load):
    assert load({"port_number": "abc"}, overrides=["port_number=1"]).configuration.port_number == 1


def test_text_that_looks_like_json_stays_text_where_text_is_meant(load):
    assert load(overrides=["model_id=1.0"]).configuration.model_id == "1.0"
    assert load(environ={"HUSHAR_MODEL_ID": "null"}).configuration.model_id == "null"
    assert load(overrides=["model_id=a=b"]).configuration.model_id == "a=b"


def test_paths_are_relative_to_where_they_are_written(load):
    values = {"log": {"uri": "logs"}, "tls": {"certificate": "../c.pem", "key": "file:///k%20y.pem"}}
    loaded = load(
        values,
        "conf/service.json",
        environ={"HUSHAR_LOG__SPOOL_DIR": "spool"},
        overrides=["vectorization_instruction_path=./v.json"],
    )
    configuration = loaded.configuration
    assert configuration.model_path == "/somewhere/conf/m.onnx"
    assert configuration.vectorization_instruction_path == "/somewhere/v.json"
    assert configuration.log.uri == "/somewhere/conf/logs"
    assert configuration.log.spool_dir == "/somewhere/spool"
    assert configuration.tls.certificate == "/somewhere/conf/../c.pem"
    assert configuration.tls.key == "/k y.pem"


@pytest.mark.parametrize("uri", ["/etc/hushar/service.json", "file:///etc/hushar/service.json"])
def test_paths_of_a_file_elsewhere(load, uri):
    assert load(None, uri).configuration.model_path == "/etc/hushar/m.onnx"


def test_uris_are_kept(load):
    values = {"model_path": "s3://b/m.onnx", "log": {"uri": "kinesis://stream"}}
    configuration = load(values | {"vectorization_instruction_path": "file:///v.json"}).configuration
    assert configuration.model_path == "s3://b/m.onnx"
    assert configuration.vectorization_instruction_path == "file:///v.json"
    assert configuration.log.uri == "kinesis://stream"


def test_configuration_in_a_bucket_names_its_neighbours(load):
    values = {"model_path": "../models/m.onnx", "log": {"uri": "/var/log", "spool_dir": "/spool"}}
    configuration = load(values, "s3://bucket/conf/service.json").configuration
    assert configuration.model_path == "s3://bucket/models/m.onnx"
    assert configuration.vectorization_instruction_path == "s3://bucket/conf/v.json"
    assert configuration.log.uri == "/var/log"
    assert configuration.log.spool_dir == "/spool"


def test_configuration_in_a_bucket_needs_absolute_local_paths(mistakes):
    values = {
        "model_path": "../../m.onnx",
        "log": {"spool_dir": "spool"},
        "tls": {"certificate": "c.pem", "key": "k.pem"},
    }
    file = "s3://bucket/conf/service.json"
    must = "must be absolute, because the configuration is at s3://"
    assert mistakes(values, file) == [
        f"{file}: model_path: ../../m.onnx leads out of s3://bucket",
        f"{file}: log.spool_dir: {must}",
        f"{file}: tls.certificate: {must}",
        f"{file}: tls.key: {must}",
    ]


def test_local_paths_from_elsewhere_are_fine_with_a_configuration_in_a_bucket(load):
    loaded = load(None, "s3://bucket/service.json", options={"log.spool_dir": "spool"})
    assert loaded.configuration.log.spool_dir == "/somewhere/spool"


def test_kubernetes_variables_of_a_service_named_hushar(load):
    environ = {
        "HUSHAR_PORT": "tcp://10.0.0.1:8279",
        "HUSHAR_SERVICE_HOST": "10.0.0.1",
        "HUSHAR_SERVICE_PORT_GRPC": "8279",
        "HUSHAR_PORT_8279_TCP_ADDR": "10.0.0.1",
        "PATH": "/bin",
    }
    loaded = load(environ=environ)
    assert loaded.configuration.port_number == 8279
    assert loaded.warnings == (
        "environment: ignored, because Kubernetes sets them itself: HUSHAR_PORT, "
        "HUSHAR_PORT_8279_TCP_ADDR, HUSHAR_SERVICE_HOST, HUSHAR_SERVICE_PORT_GRPC",
    )


def test_unknown_variable_without_a_section_is_a_warning(load):
    assert load(environ={"HUSHAR_LOG_URI": "x", "HUSHAR_ZZZ": "1"}).warnings == (
        "environment: HUSHAR_LOG_URI: unknown variable, ignored, did you mean 'HUSHAR_LOG__URI'?",
        "environment: HUSHAR_ZZZ: unknown variable, ignored",
    )


def test_problem_found_later_names_where_the_value_was_written(load):
    loaded = load(
        {"model_path": "m"}, overrides=["log.uri=foo://x"], environ={"HUSHAR_METRICS__SINKS": '["x"]'}
    )
    assert str(loaded.problem("model_path", "is gone")) == "service.json: model_path: is gone"
    assert str(loaded.problem("log.uri", "no")) == "command line: --set log.uri: no"
    assert str(loaded.problem("metrics.sinks", "no")) == "environment: HUSHAR_METRICS__SINKS: no"
    assert str(loaded.problem("model.runtime", "no")) == "service.json: model.runtime: no"


def test_without_a_file():
    examined = examine_service(None, options={}, overrides=["model_id=m"], environ={}, directory="/")
    assert examined.loaded is None
    assert [str(problem) for problem in examined.problems] == [
        "configuration: model_path: required key is missing",
        "configuration: vectorization_instruction_path: required key is missing",
    ]


@pytest.fixture
def examine(blob):
    def run(values):
        return examine_service(blob(values), options={}, overrides=[], environ={}, directory="/somewhere")

    return run


def test_what_is_right_is_kept_for_further_checks(examine):
    examined = examine(
        {
            "model_path": "m.onnx",
            "model_id": "m",
            "vectorization_instruction_path": "v.json",
            "port_number": -1,
            "nonsense": 1,
            "tls": {"key": "k.pem"},
            "log": {"uri": "logs", "rotate_bytes": 1, "spool_max_bytes": 70000, "spool_dir": "s3://b/x"},
            "metrics": {"sinks": ["a", 5]},
        }
    )
    configuration = examined.loaded.configuration
    assert configuration.model_path == "/somewhere/m.onnx"
    assert configuration.port_number == 8279
    assert configuration.tls.key is None
    assert configuration.log.uri == "/somewhere/logs"
    assert configuration.log.spool_dir is None
    assert configuration.metrics.sinks == ("stderr",)
    assert [problem.key for problem in examined.problems] == [
        "nonsense",
        "log.spool_dir",
        "port_number",
        "tls.key",
        "log.rotate_bytes",
        "metrics.sinks[1]",
    ]
    assert str(examined.loaded.problem("log.uri", "no")) == "service.json: log.uri: no"


@pytest.mark.parametrize("model_id", [None, "", 5])
def test_nothing_to_look_at_without_a_required_key(examine, model_id):
    values = {"model_path": "m", "model_id": model_id, "vectorization_instruction_path": "v"}
    examined = examine(values)
    assert examined.loaded is None
    assert [problem.key for problem in examined.problems] == ["model_id"]
