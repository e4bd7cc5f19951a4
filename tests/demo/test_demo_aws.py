"""The Python part of scripts/demo-aws: what it puts there can be served, what is there is shown."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from hushar.testing import aws_environment

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "demo_aws.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("demo_aws", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_environment_is_what_the_fixtures_give(script):
    environ = {"PATH": os.environ["PATH"], "AWS_PROFILE": "production", "AWS_SESSION_TOKEN": "it's"}
    url = "http://127.0.0.1:1"
    lines = [*script.environment(url, environ), "env -0"]
    ended = subprocess.run(["sh", "-c", "\n".join(lines)], env=environ, capture_output=True, check=True)
    after = dict(item.split("=", 1) for item in ended.stdout.decode().split("\0") if item)
    assert {name: after.get(name) for name in aws_environment(url, {})} == aws_environment(url, {})
    assert {"AWS_PROFILE", "AWS_SESSION_TOKEN"}.isdisjoint(after)


@pytest.mark.slow
def test_what_is_uploaded_can_be_served_and_what_is_there_is_shown(script, aws_server, tmp_path, capsys):
    assert script.main(["upload", "demo", "demo-logs", str(tmp_path / "spool")]) == 0
    body = boto3.client("s3").get_object(Bucket="demo", Key="penguins/service.json")["Body"].read()
    assert json.loads(body)["metrics"]["sinks"] == ["cloudwatch"]
    command = [sys.executable, "-m", "hushar", "check", "s3://demo/penguins/service.json"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert script.main(["objects", "demo"]) == 0
    assert "penguins/model.onnx" in capsys.readouterr().out
    # Nothing was logged or measured: the demo would fail.
    assert script.main(["objects", "demo-logs"]) == 1
    with pytest.raises(SystemExit, match="no metric of HusharService"):
        script.main(["metrics"])
    datum = {
        "MetricName": "Rows",
        "StatisticValues": {"SampleCount": 2, "Sum": 6, "Minimum": 2, "Maximum": 4},
    }
    boto3.client("cloudwatch").put_metric_data(Namespace="HusharService", MetricData=[datum])
    assert script.main(["metrics"]) == 0
    assert "Rows" in capsys.readouterr().out


def test_other_arguments_are_answered_with_the_usage(script, capsys):
    assert script.main(["upload"]) == 2
    assert "demo_aws.py upload" in capsys.readouterr().err
