"""What an unknown key may have meant."""

import pytest

from hushar.config.hints import is_plugin_key, suggestions


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (["prot"], ["port_number"]),
        (["port"], ["port_number"]),
        (["server", "port"], ["admin.port"]),
        (["log_uri"], ["log.uri"]),
        (["spool_dir"], ["log.spool_dir"]),
        (["LOG_LEVEL"], ["log_level"]),
        (["drain_seconds"], ["server.drain_seconds", "log.drain_seconds"]),
        (["log", "worker"], ["log.workers"]),
        (["log", "Rotate-Bytes"], ["log.rotate_bytes"]),
        (["model", "model_path"], ["model_path"]),
        (["metrics", "sink"], ["metrics.sinks"]),
        (["zzz"], []),
        (["log", "zzz"], []),
        (["nowhere", "rotate_byte"], ["log.rotate_bytes"]),
    ],
)
def test_suggestions(path, expected):
    assert suggestions(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("plugins", "aws", "region"), True),
        (("plugins", "aws"), False),
        (("plugins", "aws", ""), False),
        (("plugins", "allow", "x"), False),
        (("log", "uri", "x"), False),
    ],
)
def test_plugin_keys(path, expected):
    assert is_plugin_key(path) is expected
