"""What a user reads after a mistake in the service configuration, word for word."""

import pytest

WRONG_VALUES = {
    # types
    "text for an integer": ({"port_number": "abc"}, 'port_number: expected an integer, got "abc"'),
    "a number in quotes": (
        {"port_number": "8279"},
        'port_number: expected an integer, got "8279": write it without quotes',
    ),
    "a boolean for an integer": ({"port_number": True}, "port_number: expected an integer, got true"),
    "a fraction for an integer": ({"port_number": 80.5}, "port_number: expected an integer, got 80.5"),
    "a whole float for an integer": ({"port_number": 80.0}, "port_number: expected an integer, got 80.0"),
    "a boolean for a number": (
        {"log": {"sample_rate": True}},
        "log.sample_rate: expected a number, got true",
    ),
    "a number for text": ({"model_id": 5}, 'model_id: expected a string, got 5: write "5"'),
    "a boolean for text": ({"host": False}, "host: expected a string, got false"),
    "a number for a boolean": ({"model": {"warmup": 1}}, "model.warmup: expected true or false, got 1"),
    "text for a list": (
        {"metrics": {"sinks": "stderr"}},
        'metrics.sinks: expected a list, got "stderr": write ["stderr"]',
    ),
    "a number in a list": (
        {"plugins": {"block": ["a", 5]}},
        'plugins.block[1]: expected a string, got 5: write "5"',
    ),
    "a list for an object": (
        {"metrics": {"dimensions": ["a"]}},
        'metrics.dimensions: expected an object of keys, got ["a"]',
    ),
    "a number in an object": (
        {"model": {"session_config": {"session.x": 1}}},
        'model.session_config.session.x: expected a string, got 1: write "1"',
    ),
    "a number in an object of objects": (
        {"model": {"provider_options": {"CUDA": {"device_id": 0}}}},
        'model.provider_options.CUDA.device_id: expected a string, got 0: write "0"',
    ),
    "a section that is a number": ({"log": 3}, "log: expected a section of keys, got 3"),
    "a section that is a list": ({"log": [{}]}, "log: expected a section of keys, got [{}]"),
    "a level that the compression does not have": (
        {"log": {"compression": "gzip", "compression_level": 10}},
        'log.compression_level: must be from 0 to 9 where log.compression is "gzip", got 10',
    ),
    "hashes without a key": ({"log": {"hash": ["user"]}}, "log.hash: log.hash needs log.hash_key_file"),
    "buckets that do not ascend": (
        {"metrics": {"buckets": [0.1, 0.1]}},
        "metrics.buckets: must ascend, got 0.1 before 0.1",
    ),
    "no buckets": ({"metrics": {"buckets": []}}, "metrics.buckets: must not be empty"),
    # units
    "bytes with a suffix": (
        {"log": {"rotate_bytes": "64MiB"}},
        'log.rotate_bytes: expected an integer, got "64MiB": values have no unit suffix, write 67108864',
    ),
    "bytes with a decimal suffix": (
        {"log": {"queue_bytes": "1.5 GB"}},
        'log.queue_bytes: expected an integer, got "1.5 GB": values have no unit suffix, write 1500000000',
    ),
    "bytes with an unknown suffix": (
        {"log": {"queue_bytes": "3 pages"}},
        'log.queue_bytes: expected an integer, got "3 pages": values have no unit suffix',
    ),
    "milliseconds": (
        {"log": {"fsync_seconds": "250ms"}},
        'log.fsync_seconds: expected a number, got "250ms": values have no unit suffix, write 0.25',
    ),
    # ranges
    "a port above all ports": ({"port_number": 70000}, "port_number: must be at most 65535, got 70000"),
    "a negative port": ({"port_number": -1}, "port_number: must be at least 0, got -1"),
    "no calls at all": (
        {"connection_concurrency": 0},
        "connection_concurrency: must be at least 1, got 0",
    ),
    "a rate above one": ({"log": {"sample_rate": 1.5}}, "log.sample_rate: must be at most 1, got 1.5"),
    "no time between attempts": (
        {"log": {"refused_retry_seconds": 0}},
        "log.refused_retry_seconds: must be greater than 0, got 0",
    ),
    "a segment that is too small": (
        {"log": {"rotate_bytes": 65535}},
        "log.rotate_bytes: must be at least 65536, got 65535",
    ),
    "a segment that no protobuf reader would take": (
        {"log": {"rotate_bytes": 2**30 + 1}},
        "log.rotate_bytes: must be at most 1073741824, got 1073741825",
    ),
    "a segment that is open for longer than a day": (
        {"log": {"rotate_seconds": 86401}},
        "log.rotate_seconds: must be at most 86400, got 86401",
    ),
    "a message that no window holds": (
        {"server": {"max_receive_bytes": 2**31 - 1}},
        "server.max_receive_bytes: must be at most 2147418111, got 2147483647",
    ),
    "a window that is smaller than every connection's first": (
        {"http2": {"connection_window_bytes": 65534}},
        "http2.connection_window_bytes: must be at least 65535, got 65534",
    ),
    "frames that are smaller than all must take": (
        {"http2": {"max_frame_bytes": 16383}},
        "http2.max_frame_bytes: must be at least 16384, got 16383",
    ),
    "no connection at all": (
        {"server": {"max_connections": 0}},
        "server.max_connections: must be at least 1, got 0",
    ),
    "a negative rate": ({"http2": {"reset_rate": -1}}, "http2.reset_rate: must be at least 0, got -1"),
    "an interval below a second": (
        {"metrics": {"interval_seconds": 0.5}},
        "metrics.interval_seconds: must be at least 1, got 0.5",
    ),
    "an endless drain": (
        {"server": {"drain_seconds": float("inf")}},
        "server.drain_seconds: expected a finite number, got Infinity",
    ),
    "no number for a rate": (
        {"log": {"sample_rate": float("nan")}},
        "log.sample_rate: expected a finite number, got NaN",
    ),
    "a choice that is none": (
        {"batching": {"offload": "maybe"}},
        'batching.offload: expected "auto", "always" or "never", got "maybe"',
    ),
    "an encoding that is unknown": (
        {"server": {"compression": ["gzip", "zstd"]}},
        'server.compression[1]: expected "gzip" or "deflate", got "zstd"',
    ),
    "an encoding twice": (
        {"server": {"compression": ["gzip", "gzip"]}},
        "server.compression: 'gzip' stands twice",
    ),
    "a version of TLS that is not spoken": (
        {"tls": {"min_version": "1.1"}},
        'tls.min_version: expected "1.2" or "1.3", got "1.1"',
    ),
    "a number for a version of TLS": (
        {"tls": {"min_version": 1.2}},
        'tls.min_version: expected "1.2" or "1.3", got 1.2',
    ),
    # texts
    "an empty model id": ({"model_id": ""}, "model_id: must not be empty"),
    "a blank model id": ({"model_id": " "}, "model_id: must not be empty"),
    "a line break in the model id": (
        {"model_id": "a\nb"},
        "model_id: must not hold control characters, got U+000A",
    ),
    "a terminal's escape in the model id": (
        {"model_id": "a\x9bm"},
        "model_id: must not hold control characters, got U+009B",
    ),
    "an empty path": ({"model_path": ""}, "model_path: must not be empty"),
    "a path that is too long for a socket": (
        {"server": {"unix_socket": "/" + "x" * 107}},
        "server.unix_socket: a unix socket's path has at most 107 bytes, got 108",
    ),
    "a NUL in a path": ({"model_path": "m\0"}, "model_path: a path holds no NUL character"),
    "a short digest": (
        {"model": {"sha256": "abc"}},
        "model.sha256: expected 64 hexadecimal digits, got 3 characters",
    ),
    "a digest with other letters": (
        {"model": {"sha256": "g" * 64}},
        "model.sha256: expected 64 hexadecimal digits, got others among its 64 characters",
    ),
    "a sink twice": ({"metrics": {"sinks": ["a", "b", "a"]}}, "metrics.sinks: 'a' stands twice"),
    "the dimension that is always sent": (
        {"metrics": {"dimensions": {"ModelId": "x"}}},
        "metrics.dimensions: ModelId is always sent and cannot be set",
    ),
    "an empty dimension": (
        {"metrics": {"dimensions": {"Stage": ""}}},
        "metrics.dimensions: names and values must not be empty",
    ),
    # one key against another
    "a certificate without its key": (
        {"tls": {"certificate": "c.pem"}},
        "tls.certificate: tls.certificate and tls.key are given both or not at all",
    ),
    "a key without its certificate": (
        {"tls": {"key": "k.pem"}},
        "tls.key: tls.certificate and tls.key are given both or not at all",
    ),
    "an authority for clients without a certificate": (
        {"tls": {"client_ca": "ca.pem"}},
        "tls.client_ca: tls.client_ca needs tls.certificate and tls.key",
    ),
    "names of clients without an authority": (
        {"tls": {"certificate": "c.pem", "key": "k.pem", "client_names": ["a"]}},
        "tls.client_names: tls.client_names needs tls.client_ca",
    ),
    "nobody who is let in": (
        {"tls": {"certificate": "c.pem", "key": "k.pem", "client_ca": "ca.pem", "client_names": []}},
        "tls.client_names: must not be empty",
    ),
    "a spool that holds no segment": (
        {"log": {"spool_max_bytes": 1000}},
        "log.spool_max_bytes: log.spool_max_bytes (1000) must be at least log.rotate_bytes (67108864), "
        "the size of one segment",
    ),
    "a segment that fits no spool": (
        {"log": {"rotate_bytes": 131072, "spool_max_bytes": 65536}},
        "log.spool_max_bytes: log.spool_max_bytes (65536) must be at least log.rotate_bytes (131072), "
        "the size of one segment",
    ),
    "a first back-off above the longest": (
        {"log": {"retry_min_seconds": 60}},
        "log.retry_min_seconds: log.retry_max_seconds (30) must be at least log.retry_min_seconds (60)",
    ),
    # paths and URIs
    "a file URI with too few slashes": (
        {"model_path": "file://models/m.onnx"},
        "model_path: 'models' is read as a host; a file URI has three slashes, file:///path",
    ),
    "a spool in a bucket": (
        {"log": {"spool_dir": "s3://bucket/spool"}},
        "log.spool_dir: expected a local path, got s3://bucket/spool",
    ),
    # keys
    "a required key that is null": ({"model_path": None}, "model_path: required key is missing"),
    "a misspelt key": ({"prot": 80}, "prot: unknown key, did you mean 'port_number'?"),
    "the option's name": ({"port": 80}, "port: unknown key, did you mean 'port_number'?"),
    "a hyphen in a key": ({"log-level": "info"}, "log-level: unknown key, did you mean 'log_level'?"),
    "a section's key outside of it": (
        {"rotate_bytes": 65536},
        "rotate_bytes: unknown key, did you mean 'log.rotate_bytes'?",
    ),
    "a key of two sections": (
        {"workers": 2},
        "workers: unknown key, did you mean 'log.workers' or 'metrics.workers'?",
    ),
    "a key in the wrong section": (
        {"server": {"sample_rate": 1}},
        "server.sample_rate: unknown key, did you mean 'log.sample_rate'?",
    ),
    "a key much like another section's": (
        {"batching": {"rotate_bites": 65536}},
        "batching.rotate_bites: unknown key, did you mean 'log.rotate_bytes'?",
    ),
    "a misspelt section": ({"sever": {}}, "sever: unknown key, did you mean 'server'?"),
    "a dotted key": (
        {"log.uri": "x"},
        "log.uri: unknown key, the keys of a section stand inside it: 'uri' in 'log'",
    ),
    "a key like no other": ({"zzz": 1}, "zzz: unknown key"),
    "a key that would garble the terminal": ({"z\x1b[2J\n": 1}, "z\\x1b[2J\\n: unknown key"),
    "a misspelt key of the plugins": (
        {"plugins": {"alow": ["aws"]}},
        "plugins.alow: unknown key, did you mean 'plugins.allow'?",
    ),
    "a plugin without a section": (
        {"plugins": {"aws": "eu-west-1"}},
        'plugins.aws: expected a section with the settings of a plugin, got "eu-west-1"',
    ),
}


@pytest.mark.parametrize(("values", "line"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_mistake_in_the_file(mistakes, values, line):
    assert mistakes(values) == [f"service.json: {line}"]


DOCUMENTS = {
    "JSON that ends too early": (
        "service.json",
        '{\n "model_id": "m",\n',
        "not valid JSON: line 3, column 1: expecting property name enclosed in double quotes",
    ),
    "JSON without a colon": (
        "service.json",
        '{\n "model_id" "m"}',
        "not valid JSON: line 2, column 13: expecting ':' delimiter",
    ),
    "JSON that is a list": ("service.json", "[1]", "expected an object of keys, got [1]"),
    "JSON that is empty": ("service.json", " \n", "the file is empty"),
    "JSON nested without end": ("service.json", "[" * 100_000, "not valid JSON: nested too deeply"),
    "an endless integer": (
        "service.json",
        '{"port_number": ' + "9" * 5000 + "}",
        "not valid JSON: an integer has too many digits",
    ),
    "bytes that are not UTF-8": (
        "service.json",
        b'{\n"model_id": "\xc3\xa4\xff"}',
        "not UTF-8: line 2, column 15: byte 0xff",
    ),
    "TOML without a value": (
        "service.toml",
        'model_id = "m"\nport_number =\n',
        "not valid TOML: line 2, column 14: invalid value",
    ),
    "TOML that ends too early": (
        "service.toml",
        "a = [1,\n",
        "not valid TOML: line 2, column 1: invalid value",
    ),
    "a TOML key twice": (
        "service.toml",
        'model_id = "m"\nmodel_id = "n"\n[log]\n',
        "not valid TOML: line 2, column 15: duplicate key model_id",
    ),
    "a TOML section twice": (
        "service.toml",
        "[log]\n[log]\n",
        "not valid TOML: line 2, column 5: duplicate key [log]",
    ),
    "a date that does not exist": (
        "service.toml",
        "a = 2024-02-31\n",
        "not valid TOML: line 1, column 5: invalid date or datetime",
    ),
    "an endless integer in TOML": (
        "service.toml",
        "port_number = " + "9" * 5000,
        "not valid TOML: a number or a date cannot be read",
    ),
    "a suffix that says nothing": (
        "service.yaml",
        "model_id: m\n",
        "expected a file name that ends in .json or .toml",
    ),
}


@pytest.mark.parametrize(("uri", "text", "message"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_mistake_in_the_document(mistakes, uri, text, message):
    assert mistakes(text, uri) == [f"{uri}: {message}"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("port_number", "must be at most 65535, got a number with thousands of digits"),
        ("log.sample_rate", "expected a number, got a number with thousands of digits"),
    ],
)
def test_number_in_hexadecimal_that_python_does_not_print(mistakes, key, message):
    text = f'model_path = "m"\nmodel_id = "m"\nvectorization_instruction_path = "v"\n{key} = 0x{"f" * 20_000}'
    assert mistakes(text, "service.toml") == [f"service.toml: {key}: {message}"]


def test_json_key_twice(mistakes):
    text = (
        '{"model_path": "m",\n "vectorization_instruction_path": "v",\n'
        ' "model_id": "m",\n "log": {"uri": "a", "uri": "b"},\n "model_id": "n"}'
    )
    assert mistakes(text) == [
        "service.json: log.uri: duplicate key at line 4, column 22 (first at line 4, column 10)",
        "service.json: model_id: duplicate key at line 5, column 2 (first at line 3, column 2)",
    ]


VARIABLES = {
    "a wrong type": ("HUSHAR_PORT", "eighty", 'HUSHAR_PORT: expected an integer, got "eighty"'),
    "a number out of range": (
        "HUSHAR_LOG__SAMPLE_RATE",
        "7",
        "HUSHAR_LOG__SAMPLE_RATE: must be at most 1, got 7",
    ),
    "an item of the wrong type": (
        "HUSHAR_METRICS__SINKS",
        "[1]",
        'HUSHAR_METRICS__SINKS[0]: expected a string, got 1: write "1"',
    ),
    "an unknown key of a section": ("HUSHAR_LOG__NOPE", "1", "HUSHAR_LOG__NOPE: unknown key"),
    "a misspelt key": (
        "HUSHAR_LOG__WORKER",
        "1",
        "HUSHAR_LOG__WORKER: unknown key, did you mean 'HUSHAR_LOG__WORKERS'?",
    ),
    "a key in lower case": (
        "HUSHAR_log__workers",
        "1",
        "HUSHAR_log__workers: unknown key, did you mean 'HUSHAR_LOG__WORKERS'?",
    ),
    "a part of a value": (
        "HUSHAR_METRICS__DIMENSIONS__STAGE",
        "x",
        "HUSHAR_METRICS__DIMENSIONS__STAGE: unknown key, HUSHAR_METRICS__DIMENSIONS is set as a whole",
    ),
    "a plugin without a key": (
        "HUSHAR_PLUGINS__AWS",
        "x",
        "HUSHAR_PLUGINS__AWS: unknown key, a plugin's is HUSHAR_PLUGINS__NAME__KEY",
    ),
    "JSON with a key twice": (
        "HUSHAR_METRICS__DIMENSIONS",
        '{"a": "x", "a": "y"}',
        "HUSHAR_METRICS__DIMENSIONS: duplicate key 'a' in its JSON",
    ),
}


@pytest.mark.parametrize(("name", "value", "line"), VARIABLES.values(), ids=VARIABLES)
def test_mistake_in_the_environment(mistakes, name, value, line):
    assert mistakes(environ={name: value}) == [f"environment: {line}"]


ARGUMENTS = {
    "a wrong type": ("log.rotate_bytes=many", '--set log.rotate_bytes: expected an integer, got "many"'),
    "no value": ("log.rotate_bytes", '--set: expected section.key=value, got "log.rotate_bytes"'),
    "no key": ("=5", '--set: expected section.key=value, got "=5"'),
    "a section": ("log={}", "--set log: is a section, its keys are set as log.key=value"),
    "a misspelt key": (
        "log.rotate_byts=1",
        "--set log.rotate_byts: unknown key, did you mean 'log.rotate_bytes'?",
    ),
    "a part of a value": (
        "metrics.dimensions.Stage=x",
        "--set metrics.dimensions.Stage: unknown key, 'metrics.dimensions' is set as a whole",
    ),
    "a plugin without a key": (
        "plugins.aws=x",
        "--set plugins.aws: unknown key, a plugin's is plugins.NAME.key",
    ),
}


@pytest.mark.parametrize(("argument", "line"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_mistake_in_set(mistakes, argument, line):
    assert mistakes(overrides=[argument]) == [f"command line: {line}"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"port_number": "abc"}, '--port: expected an integer, got "abc"'),
        ({"port_number": 70000}, "--port: must be at most 65535, got 70000"),
        ({"log_format": "xml"}, '--log-format: expected "text" or "json", got "xml"'),
        ({"metrics.sinks": ("stderr", "")}, "--metrics-sink[1]: must not be empty"),
    ],
)
def test_mistake_in_an_option(mistakes, options, line):
    assert mistakes(options=options) == [f"command line: {line}"]


def test_all_mistakes_of_all_layers_are_told_at_once(mistakes):
    lines = mistakes(
        '{"model_path": "", "prot": 1, "log": {"workers": 0, "rotate_bytes": 1}}',
        environ={"HUSHAR_LOG__NOPE": "1", "HUSHAR_LOG__SAMPLE_RATE": "2"},
        overrides=["x", "metrics.workers=0"],
    )
    assert lines == [
        "service.json: prot: unknown key, did you mean 'port_number'?",
        "environment: HUSHAR_LOG__NOPE: unknown key",
        'command line: --set: expected section.key=value, got "x"',
        "service.json: model_path: must not be empty",
        "service.json: model_id: required key is missing",
        "service.json: vectorization_instruction_path: required key is missing",
        "service.json: log.workers: must be at least 1, got 0",
        "environment: HUSHAR_LOG__SAMPLE_RATE: must be at most 1, got 2",
        "service.json: log.rotate_bytes: must be at least 65536, got 1",
        "command line: --set metrics.workers: must be at least 1, got 0",
    ]


def test_what_an_unreadable_file_lacks_is_not_guessed(mistakes):
    lines = mistakes("{", environ={"HUSHAR_PORT": "x"})
    assert [line.partition(":")[0] for line in lines] == ["service.json", "environment"]
