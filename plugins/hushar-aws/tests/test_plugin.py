"""The distribution as a whole: its hooks, its settings, its page, and `hushar check` with it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pluggy
import pytest
from pydantic import ValidationError

import hushar_aws
from hushar.plugins import hookspecs
from hushar.plugins.manager import load_registry
from hushar_aws.settings import AwsSettings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "aws.md"
DEMO = ROOT / "hushar" / "demo"


def test_the_hooks_are_hushars():
    manager = pluggy.PluginManager("hushar")
    manager.add_hookspecs(hookspecs)
    manager.register(hushar_aws)
    manager.check_pending()


def test_the_entry_point_brings_everything():
    point = metadata.EntryPoint("aws", "hushar_aws", "hushar")
    registry = load_registry(object(), entry_points=[point])
    assert set(registry.storages) == {"s3"}
    assert set(registry.log_sinks) == {"s3", "kinesis"}
    assert set(registry.metric_sinks) == {"cloudwatch"}
    assert registry.settings == {"aws": AwsSettings}


@pytest.mark.slow
def test_what_is_not_wanted_is_not_imported():
    """The plugin is loaded for every command, also where there is nothing of AWS."""
    code = "import sys, hushar_aws; print({'botocore', 'httpx', 'google_crc32c'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TestSettings:
    def test_the_defaults_are_those_of_the_list(self):
        assert AwsSettings().model_dump() == {
            "region": None,
            "profile": None,
            "connect_seconds": 3,
            "read_seconds": 10,
            "s3_storage_class": None,
            "s3_server_side_encryption": None,
            "s3_kms_key_id": None,
            "s3_multipart_bytes": 64 * 1024 * 1024,
            "s3_checksum": "crc32c",
            "cloudwatch_high_resolution": False,
            "kinesis_partition_key": "request_id",
        }

    @pytest.mark.parametrize(
        "settings",
        [
            {"acces_key": "x"},
            {"region": "eu west"},
            {"region": ""},
            {"profile": ""},
            {"connect_seconds": 0},
            {"read_seconds": float("inf")},
            {"s3_storage_class": "COLD"},
            {"s3_server_side_encryption": "aes"},
            {"s3_kms_key_id": "key"},
            {"s3_kms_key_id": "a\r\nb", "s3_server_side_encryption": "aws:kms"},
            {"s3_multipart_bytes": 5 * 1024 * 1024 - 1},
            {"s3_multipart_bytes": "64MiB"},
            {"s3_checksum": "md5"},
            {"kinesis_partition_key": "row_id"},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, settings):
        with pytest.raises(ValidationError):
            AwsSettings.model_validate(settings)

    def test_every_one_is_in_the_table_of_the_page(self):
        rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        assert [name for name in rows if name in AwsSettings.model_fields] == list(AwsSettings.model_fields)


@pytest.mark.parametrize("name", ["aws.md", "aws-metrics.md", "kinesis.md"])
def test_every_example_of_the_pages_is_valid(name):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(toml|json)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert {language for language, _ in blocks} == {"toml", "json"}
    for language, text in blocks:
        if language == "toml":
            AwsSettings.model_validate(tomllib.loads(text).get("plugins", {}).get("aws", {}))
        else:
            assert json.loads(text)


@pytest.mark.slow
class TestCheck:
    """`hushar check` as a process, with everything at S3."""

    @pytest.fixture
    def check(self, s3, aws_bucket, tmp_path):
        """check(**changes): exit status and messages for the demo's configuration with these changes."""
        for path in DEMO.iterdir():
            s3.upload_file(str(path), aws_bucket, f"models/{path.name}")

        def run(**changes) -> tuple[int, str]:
            configuration = json.loads((DEMO / "service.json").read_text())
            configuration["log"] = {"uri": f"s3://{aws_bucket}/log", "spool_dir": str(tmp_path / "spool")}
            configuration |= changes
            s3.put_object(Bucket=aws_bucket, Key="models/service.json", Body=json.dumps(configuration))
            done = subprocess.run(
                [sys.executable, "-m", "hushar", "check", f"s3://{aws_bucket}/models/service.json"],
                capture_output=True,
                text=True,
                env=os.environ,
                check=False,
            )
            return done.returncode, done.stderr

        return run

    def test_configuration_model_and_vectorization_are_siblings(self, check):
        assert check() == (0, "")

    def test_a_name_that_no_bucket_has(self, check, tmp_path):
        status, said = check(log={"uri": "s3://My_Bucket/log", "spool_dir": str(tmp_path / "spool")})
        assert status == 2
        assert "log.uri: 'My_Bucket' is not the name of a bucket" in said

    def test_a_model_that_is_not_there(self, check, aws_bucket):
        status, said = check(model_path="nothing.onnx")
        assert status == 2
        assert f"model_path: cannot read s3://{aws_bucket}/models/nothing.onnx: NoSuchKey (404)" in said

    def test_no_region(self, check, monkeypatch):
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        status, said = check()
        assert status == 2
        assert "plugins.aws.region: no region" in said

    def test_a_setting_that_is_not_there(self, check):
        status, said = check(plugins={"aws": {"regoin": "eu-west-1"}})
        assert status == 2
        assert "plugins.aws.regoin" in said
        assert "plugins.aws.region" in said
        assert "Traceback" not in said
