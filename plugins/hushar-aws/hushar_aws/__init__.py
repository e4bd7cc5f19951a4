"""AWS for hushar, found by the entry point `aws`: S3, CloudWatch and Kinesis.

What talks to AWS is imported when it is wanted: botocore and httpx take longer to import than many a
command of hushar takes to run, and the plugin is loaded for all of them.
"""

from collections.abc import Mapping

from pydantic import BaseModel

from hushar.plugins import (
    LogSink,
    LogSinkFactory,
    MetricSink,
    MetricSinkFactory,
    PluginContext,
    Storage,
    StorageFactory,
    hookimpl,
)
from hushar_aws.settings import AwsSettings


@hookimpl
def hushar_settings() -> type[BaseModel]:
    """`plugins.aws`."""
    return AwsSettings


@hookimpl
def hushar_storages() -> Mapping[str, StorageFactory]:
    """S3."""
    return {"s3": _s3_storage}


@hookimpl
def hushar_log_sinks() -> Mapping[str, LogSinkFactory]:
    """S3 and Kinesis Data Streams."""
    return {"kinesis": _kinesis_log_sink, "s3": _s3_log_sink}


@hookimpl
def hushar_metric_sinks() -> Mapping[str, MetricSinkFactory]:
    """CloudWatch."""
    return {"cloudwatch": _cloudwatch_sink}


def _s3_storage(context: PluginContext) -> Storage:
    from hushar_aws.s3_storage import s3_storage  # noqa: PLC0415

    return s3_storage(context)


def _s3_log_sink(uri: str, context: PluginContext) -> LogSink:
    from hushar_aws.s3_log_sink import s3_log_sink  # noqa: PLC0415

    return s3_log_sink(uri, context)


def _kinesis_log_sink(uri: str, context: PluginContext) -> LogSink:
    from hushar_aws.kinesis import kinesis_sink  # noqa: PLC0415

    return kinesis_sink(uri, context)


def _cloudwatch_sink(context: PluginContext) -> MetricSink:
    from hushar_aws.cloudwatch import cloudwatch_sink  # noqa: PLC0415

    return cloudwatch_sink(context)
