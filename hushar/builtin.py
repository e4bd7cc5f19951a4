"""The built-in parts, registered through the same hooks as everyone's plugins."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hushar.features.interface import Transformation
from hushar.features.transformations import BUILTIN
from hushar.models import onnx
from hushar.models.runtime import RuntimeFactory
from hushar.plugins.hookspecs import hookimpl
from hushar.plugins.interface import (
    LogSinkFactory,
    MetricSinkFactory,
    PluginContext,
    ServiceFactory,
    StorageFactory,
)
from hushar.sinks.interface import LogSink, MetricSink
from hushar.sinks.local import LocalLogSink
from hushar.sinks.stderr import StderrMetricSink
from hushar.storage.interface import Storage
from hushar.storage.local import LocalStorage
from hushar.uris import local_path


def _local_log_sink(uri: str, context: PluginContext) -> LogSink:  # noqa: ARG001 - a factory's signature
    return LocalLogSink(Path(local_path(uri)))


def _stderr_metric_sink(context: PluginContext) -> MetricSink:  # noqa: ARG001 - a factory's signature
    return StderrMetricSink()


def _local_storage(context: PluginContext) -> Storage:  # noqa: ARG001 - a factory's signature
    return LocalStorage()


@hookimpl
def hushar_transformations() -> Mapping[str, type[Transformation]]:
    """The seven of CONTRACT.md 2."""
    return BUILTIN


@hookimpl
def hushar_runtimes() -> Mapping[str, RuntimeFactory]:
    """Onnxruntime."""
    return {"onnxruntime": onnx.load}


@hookimpl
def hushar_log_sinks() -> Mapping[str, LogSinkFactory]:
    """The local disk."""
    return {"file": _local_log_sink}


@hookimpl
def hushar_metric_sinks() -> Mapping[str, MetricSinkFactory]:
    """JSON lines on stderr."""
    return {"stderr": _stderr_metric_sink}


@hookimpl
def hushar_storages() -> Mapping[str, StorageFactory]:
    """The local disk."""
    return {"file": _local_storage}


@hookimpl
def hushar_services() -> Sequence[ServiceFactory]:
    """None yet: hushar.Hushar itself is wired by the application."""
    return ()
