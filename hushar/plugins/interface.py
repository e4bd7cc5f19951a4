"""What plugins' factories are given, and what they return."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hushar.rpc.server_context import After, Before
from hushar.sinks.interface import LogSink, MetricSink
from hushar.storage.interface import Storage


@dataclass(frozen=True, slots=True)
class PluginContext:
    """What a factory may know of the server that it is part of."""

    settings: Any = None
    """The validated `plugins.NAME` of the plugin that the factory came from: an instance of what its
    `hushar_settings` returned; None if it has none."""
    model_id: str | None = None
    """None while only the configuration is being read."""


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """What a further gRPC service may use."""

    settings: Any
    model_id: str
    model_version: str
    score: Callable[[bytes], Awaitable[bytes]]
    """A serialized InferenceRequest in, a serialized InferenceResponse out, through the same batches
    as everyone's calls. Raises RequestError."""


LogSinkFactory = Callable[[str, PluginContext], LogSink]
MetricSinkFactory = Callable[[PluginContext], MetricSink]
StorageFactory = Callable[[PluginContext], Storage]
ServiceFactory = Callable[[ServiceContext], Any]
"""Returns a purerpc.Service or purerpc.Servicer."""
Hooks = tuple[Before | None, After | None]
"""Plain functions, or None for neither: `before(request)` is called before a call is begun and may raise
purerpc.RpcFailedError to refuse it; `after(request, code, seconds)` when a call is over."""
InterceptorFactory = Callable[[PluginContext], Hooks]
