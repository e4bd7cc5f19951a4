"""What a plugin needs, in one place: `from hushar.plugins import hookimpl, Transformation, …`."""

from hushar.errors import (
    ConfigurationError,
    HusharError,
    Problem,
    RequestError,
    SegmentRefused,
    SinkError,
    SinkRefused,
    StorageError,
)
from hushar.features.interface import (
    ANY,
    NUMBERS,
    STRINGS,
    Column,
    Element,
    Float32,
    Float64,
    Transformation,
    TransformationParameters,
    Transformed,
)
from hushar.models.runtime import ModelError, ModelSettings, Runtime, RuntimeFactory, TensorSpec
from hushar.plugins.hookspecs import hookimpl
from hushar.plugins.interface import (
    LogSinkFactory,
    MetricSinkFactory,
    PluginContext,
    ServiceContext,
    ServiceFactory,
    StorageFactory,
)
from hushar.sinks.interface import Counter, Distribution, LogSink, MetricBatch, MetricSink, Segment
from hushar.storage.interface import Blob, Storage

__all__ = [
    "ANY",
    "NUMBERS",
    "STRINGS",
    "Blob",
    "Column",
    "ConfigurationError",
    "Counter",
    "Distribution",
    "Element",
    "Float32",
    "Float64",
    "HusharError",
    "LogSink",
    "LogSinkFactory",
    "MetricBatch",
    "MetricSink",
    "MetricSinkFactory",
    "ModelError",
    "ModelSettings",
    "PluginContext",
    "Problem",
    "RequestError",
    "Runtime",
    "RuntimeFactory",
    "Segment",
    "SegmentRefused",
    "ServiceContext",
    "ServiceFactory",
    "SinkError",
    "SinkRefused",
    "Storage",
    "StorageError",
    "StorageFactory",
    "TensorSpec",
    "Transformation",
    "TransformationParameters",
    "Transformed",
    "hookimpl",
]
