"""Model and configuration from a store that fails: for a moment, and for good."""

import json
from contextlib import closing

import pytest
from promisekit.calling import Load
from promisekit.stores import client

from hushar.testing.faults import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    NO_SUCH_BUCKET,
    SLOW_DOWN,
    LoseAnswer,
    Reset,
    Truncate,
)

IDENTITY = {"type": "identity", "default_val": [0.0]}
VECTORIZATION = {"feature_transformations": {"x": IDENTITY}, "feature_order": ["x"]}


@pytest.fixture
def configuration(aws, model):
    """The URI of a service configuration beside its files, all in S3."""
    service = {
        "model_path": "model.onnx",
        "model_id": "tested",
        "vectorization_instruction_path": "vectorization.json",
        "metrics": {"sinks": []},
        "plugins": {"aws": {"read_seconds": 5}},
    }
    files = {
        "model.onnx": model,
        "vectorization.json": json.dumps(VECTORIZATION).encode(),
        "service.json": json.dumps(service).encode(),
    }
    with closing(client(aws.moto.url, "s3")) as s3:
        for name, data in files.items():
            s3.put_object(Bucket=aws.bucket, Key=f"served/{name}", Body=data)
    return f"s3://{aws.bucket}/served/service.json"


def test_faults_that_pass_do_not_stop_a_start(configuration, aws, servers):
    # At most two a file: a request is tried three times.
    for name, fault in [
        ("service.json", SLOW_DOWN),
        ("model.onnx", Truncate()),
        ("model.onnx", INTERNAL_ERROR),
        ("vectorization.json", Reset("after")),
        ("vectorization.json", LoseAnswer()),
    ]:
        aws.proxy.inject(fault, key=f"served/{name}", times=1)
    server = servers.start(servers.workspace(), config=[configuration])
    with Load(lambda: server.address, limit=50) as load:
        load.finish()
    assert len(load.answered) == 50
    assert server.terminate() == 0
    assert aws.proxy.count(operation="GetObject") >= 3 + 5


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param("service.json", ACCESS_DENIED, id="configuration forbidden"),
        pytest.param("service.json", Truncate(), id="configuration cut"),
        pytest.param("model.onnx", NO_SUCH_BUCKET, id="no bucket"),
        pytest.param("model.onnx", INTERNAL_ERROR, id="500"),
        pytest.param("model.onnx", Truncate(), id="model cut"),
    ],
)
def test_faults_that_stay_are_one_message_that_names_the_file(
    name, fault, configuration, aws, servers, forker
):
    aws.proxy.inject(fault, key=f"served/{name}")
    ended = servers.workspace().fork(forker, "serve", configuration, "--port", "0")
    assert ended.returncode in (1, 2)
    assert f"s3://{aws.bucket}/served/{name}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "listening" not in ended.stderr
