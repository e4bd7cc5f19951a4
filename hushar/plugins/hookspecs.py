"""Every hook that hushar calls. All are called once, at start; none during a request.

A hook returns a mapping from a name to a factory (or a list); hushar merges what all plugins return,
and two plugins that claim one name are an error at start that names both. So is a hook, or a factory,
that raises what its interface does not have, or returns something else. The built-in parts come
through the same hooks (`hushar.builtin`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

from hushar.features.interface import Transformation
from hushar.models.runtime import RuntimeFactory
from hushar.plugins.interface import (
    InterceptorFactory,
    LogSinkFactory,
    MetricSinkFactory,
    ServiceFactory,
    StorageFactory,
)

if TYPE_CHECKING:
    import click
    from pydantic import BaseModel

PROJECT = "hushar"
"""pluggy's project name and the entry-point group."""

BUILTIN_COMMANDS = frozenset({"bench", "call", "check", "logs", "plugins", "schema", "serve", "version"})
"""Names of commands that no plugin can have."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def hushar_settings() -> "type[BaseModel]":
    """The settings of the plugin: what may stand in the section `plugins.NAME` of the configuration.

    Called at start, before every other hook of the plugin. Returns a pydantic model with
    `extra="forbid"`; a value that it refuses is a configuration error. NAME is the entry point's
    name. The instance is handed to the plugin's factories as `context.settings`.
    """
    raise NotImplementedError


@hookspec
def hushar_transformations() -> Mapping[str, type[Transformation]]:
    """Transformations by `type`, as the vectorization configuration names them.

    Called at start. Returns classes derived from Transformation; an exception stops the start.
    """
    raise NotImplementedError


@hookspec
def hushar_runtimes() -> Mapping[str, RuntimeFactory]:
    """Model runtimes by name, as `model.runtime` names them.

    Called at start. Returns factories `(blob, settings) -> Runtime`; a factory raises ModelError
    for a model that it cannot load.
    """
    raise NotImplementedError


@hookspec
def hushar_log_sinks() -> Mapping[str, LogSinkFactory]:
    """Log sinks by the URI scheme of `log.uri` (`s3`, `kinesis`; a plain path is `file`).

    Called at start. Returns factories `(uri, context) -> LogSink` that do no I/O; a factory raises
    ConfigurationError for a URI that cannot be meant.
    """
    raise NotImplementedError


@hookspec
def hushar_metric_sinks() -> Mapping[str, MetricSinkFactory]:
    """Metric sinks by name, as `metrics.sinks` names them.

    Called at start. Returns factories `(context) -> MetricSink` that do no I/O.
    """
    raise NotImplementedError


@hookspec
def hushar_storages() -> Mapping[str, StorageFactory]:
    """Storages by URI scheme: where configurations and models are read from.

    Called at start. Returns factories `(context) -> Storage` that do no I/O. The storage may be
    asked for the configuration itself: `context.model_id` is None then.
    """
    raise NotImplementedError


@hookspec
def hushar_services() -> Sequence[ServiceFactory]:
    """Further gRPC services beside `hushar.Hushar`.

    Called at start. Returns factories `(context) -> purerpc.Service` (or Servicer); they are
    called once the model is loaded. Two services of one name are an error at start.
    """
    raise NotImplementedError


@hookspec
def hushar_interceptors() -> Sequence[InterceptorFactory]:
    """Plain functions around every call of every service: authentication, accounting, audit.

    Called at start. Returns factories `(context) -> (before, after)`; each of the two may be None.
    `before(request)` runs before the call is begun, and raises purerpc.RpcFailedError to refuse it;
    `after(request, code, seconds)` runs when it is over. Both run in the event loop, for every call.
    """
    raise NotImplementedError


@hookspec
def hushar_commands() -> "Sequence[click.Command]":
    """Further commands of the `hushar` command line.

    Called when the command line starts. Returns click commands; a name that is taken is an error.
    """
    raise NotImplementedError
