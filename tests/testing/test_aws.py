"""moto's server, its environment and the fixtures, with a stock boto3 as the client."""

import os
import subprocess
import sys

import pytest

from hushar.testing.aws import MotoServer, aws_environment
from hushar.testing.faults import SLOW_DOWN, LoseAnswer

boto3 = pytest.importorskip("boto3", reason="needs tool: boto3 (hushar[testing])")
pytest.importorskip("moto", reason="needs tool: moto (hushar[testing])")


class TestEnvironment:
    def test_nothing_of_another_aws_is_left(self):
        before = {
            "PATH": "/bin",
            "AWS_PROFILE": "production",
            "AWS_ENDPOINT_URL_S3": "https://elsewhere",
            "AWS_ROLE_ARN": "arn:aws:iam::1:role/x",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.2/",
            "aws_session_token": "T",
        }
        after = aws_environment("http://127.0.0.1:1", before)
        assert before.keys() & after.keys() == {"PATH"}
        assert after["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
        assert after["AWS_EC2_METADATA_DISABLED"] == "true"
        assert after["AWS_CONFIG_FILE"] == after["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull


@pytest.mark.slow
class TestFixtures:
    def test_a_stock_client_reaches_the_fake_services(self, aws_server, aws_bucket):
        boto3.client("s3").put_object(Bucket=aws_bucket, Key="a/b", Body=b"content")
        assert boto3.client("s3").get_object(Bucket=aws_bucket, Key="a/b")["Body"].read() == b"content"
        aws_server.create_stream("a-stream", shards=2)
        assert boto3.client("kinesis").list_streams()["StreamNames"] == ["a-stream"]
        cloudwatch = boto3.client("cloudwatch")
        cloudwatch.put_metric_data(Namespace="N", MetricData=[{"MetricName": "M", "Value": 1.0}])
        (metric,) = cloudwatch.list_metrics(Namespace="N")["Metrics"]
        assert metric["MetricName"] == "M"

    def test_every_test_begins_with_nothing(self, aws_server):
        assert boto3.client("s3").list_buckets()["Buckets"] == []
        assert boto3.client("kinesis").list_streams()["StreamNames"] == []

    def test_what_cannot_be_made_is_said(self, aws_server):
        with pytest.raises(RuntimeError, match=r"moto: PUT /No: 400"):
            aws_server.create_bucket("No")

    def test_faults_reach_a_stock_client_and_it_overcomes_them(self, faulty_aws, aws_bucket):
        faulty_aws.inject(SLOW_DOWN, operation="PutObject", times=1)
        faulty_aws.inject(LoseAnswer(), operation="PutObject", times=1)
        s3 = boto3.client("s3")
        s3.put_object(Bucket=aws_bucket, Key="key", Body=b"x" * 100_000)
        assert faulty_aws.count(operation="PutObject") == 3
        assert [item["Key"] for item in s3.list_objects_v2(Bucket=aws_bucket)["Contents"]] == ["key"]

    def test_the_environment_is_given_back(self, request):
        before = dict(os.environ)
        request.getfixturevalue("faulty_aws")
        assert os.environ["AWS_ACCESS_KEY_ID"].startswith("AKIAFAKE")
        request.getfixturevalue("monkeypatch").undo()
        assert dict(os.environ) == before


@pytest.mark.slow
class TestProcesses:
    def test_a_server_ends_with_the_process_that_started_it(self, tmp_path):
        program = (
            "import os, signal; from hushar.testing.aws import MotoServer\n"
            "moto = MotoServer().__enter__(); print(moto.url, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert killed.stdout.startswith("http://127.0.0.1:"), killed.stderr

        orphan = MotoServer()
        orphan._port = int(killed.stdout.rpartition(":")[2])
        for _ in range(1000):
            try:
                orphan.reset()
            except OSError:
                return
        raise AssertionError("it is still there")

    def test_without_moto_the_error_says_what_to_install(self, tmp_path):
        (tmp_path / "moto.py").write_text("raise ImportError('No module named moto')")
        program = "from hushar.testing import MotoServer\nMotoServer().__enter__()"
        environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", program]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        assert "RuntimeError: moto's server does not start: No module named moto; pip install" in ended.stderr

    @pytest.mark.parametrize("module", ["hushar.testing", "hushar.testing.aws", "hushar.testing.proxy"])
    def test_the_fakes_need_neither_moto_nor_pytest(self, module):
        program = f"import sys, {module}; print(*sys.modules)"
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert set(result.stdout.split()).isdisjoint({"moto", "boto3", "botocore", "pytest", "_pytest"})
