"""The Python part of scripts/demo-aws. All but the first talk to the AWS of the environment.

python scripts/demo_aws.py environment URL             shell commands that make URL the environment's AWS
python scripts/demo_aws.py upload BUCKET LOGS SPOOL    two buckets; the demo's files go into the first
python scripts/demo_aws.py objects BUCKET              every object: its size and its key
python scripts/demo_aws.py metrics                     statistics of everything in namespace HusharService
"""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3

from hushar.testing import aws_environment

DEMO = Path(__file__).resolve().parent.parent / "hushar" / "demo"
FOLDER = "penguins"
NAMESPACE = "HusharService"
INDENT = "    "


def main(arguments: Sequence[str]) -> int:
    """Run the part that is named."""
    match arguments:
        case ["environment", url]:
            lines = environment(url)
        case ["upload", bucket, logs, spool]:
            lines = upload(bucket, logs, spool)
        case ["objects", bucket]:
            lines = objects(bucket)
        case ["metrics"]:
            lines = metrics()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    empty = True
    for line in lines:
        print(line if arguments[0] == "environment" else INDENT + line)
        empty = False
    return int(empty)


def environment(url: str, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The difference between `environ` and the same with an AWS that is at `url`."""
    wanted = aws_environment(url, environ)
    for name in sorted(environ.keys() - wanted.keys()):
        yield f"unset {name}"
    for name, value in sorted(wanted.items()):
        if environ.get(name) != value:
            yield f"export {name}={shlex.quote(value)}"


def upload(bucket: str, logs: str, spool: str) -> Iterator[str]:
    """The demo, told to log to the other bucket and to send its metrics to CloudWatch."""
    s3 = boto3.client("s3")
    for name in (bucket, logs):
        s3.create_bucket(Bucket=name)
    service = json.loads((DEMO / "service.json").read_text(encoding="utf-8"))
    service["log"] = {
        "uri": f"s3://{logs}/{FOLDER}",
        "rotate_seconds": 1,
        "compression": "gzip",
        # Beside a configuration in S3 there is no local folder that a relative path could mean.
        "spool_dir": spool,
    }
    service["metrics"] = {"sinks": ["cloudwatch"], "interval_seconds": 5}
    files = {
        name: (DEMO / name).read_bytes()
        for name in (service["model_path"], service["vectorization_instruction_path"])
    }
    files["service.json"] = json.dumps(service, indent=2).encode()
    for name, data in files.items():
        key = f"{FOLDER}/{name}"
        s3.put_object(Bucket=bucket, Key=key, Body=data)
        yield f"{len(data):>8} bytes  s3://{bucket}/{key}"


def objects(bucket: str) -> Iterator[str]:
    """What is in the bucket."""
    for page in boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            yield f"{item['Size']:>8} bytes  {item['Key']}"


def metrics() -> Iterator[str]:
    """A line a metric, over the last hour."""
    cloudwatch = boto3.client("cloudwatch")
    until = datetime.now(UTC) + timedelta(minutes=1)
    yield f"{'':<32}{'samples':>9}{'average':>14}{'maximum':>14}"
    found = False
    for metric in cloudwatch.get_paginator("list_metrics").paginate(Namespace=NAMESPACE).search("Metrics"):
        for point in statistics(cloudwatch, metric, until):
            others = [f"{item['Name']}={item['Value']}" for item in metric["Dimensions"]]
            figures = "".join(f"{point[name]:>14.6g}" for name in ("Average", "Maximum"))
            yield f"{metric['MetricName']:<32}{point['SampleCount']:>9.0f}{figures}  {' '.join(others)}"
            found = True
    if not found:
        raise SystemExit("CloudWatch has no metric of HusharService")


def statistics(cloudwatch: Any, metric: dict[str, Any], until: datetime) -> list[dict[str, Any]]:
    """CloudWatch's own figures of one metric, the whole hour as one point."""
    answer = cloudwatch.get_metric_statistics(
        Namespace=NAMESPACE,
        MetricName=metric["MetricName"],
        Dimensions=metric["Dimensions"],
        StartTime=until - timedelta(hours=1),
        EndTime=until,
        Period=3600,
        Statistics=["SampleCount", "Average", "Maximum"],
    )
    return list(answer["Datapoints"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
