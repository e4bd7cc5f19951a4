"""From a configuration to everything that a server is made of, with every problem found on the way.

What can be decided before the first request is decided here: the configuration against itself and
against the model. A problem does not hide the others: each step goes as far as it can, and what was
found is raised together at the end.
"""

import dataclasses
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import trio

from hushar import builtin
from hushar.app.messages import configure_messages
from hushar.app.privacy import read_hash_key
from hushar.app.reading import no_such_scheme, read_configuration, read_from
from hushar.app.tls import make_context
from hushar.app.tokens import read_tokens
from hushar.config.loading import Loaded, examine_service
from hushar.config.service import ServiceConfiguration, validate_plugin_settings
from hushar.config.vectorization import examine_vectorization
from hushar.errors import ConfigurationError, Problem, StorageError
from hushar.features.plan import Plan, check_width, compile_plan
from hushar.features.vectorize import kernel_problem
from hushar.models.runtime import ModelError, ModelSettings, Runtime
from hushar.models.served import ServedModel, check_sha256, model_version, warm_up
from hushar.nearest import did_you_mean
from hushar.plugins.calling import FILE, Named, blaming, call_factory, checked, fault
from hushar.plugins.interface import PluginContext
from hushar.plugins.manager import Registry, load_registry
from hushar.sinks.interface import LogSink, MetricSink
from hushar.sinks.local import unusable
from hushar.storage.interface import Blob
from hushar.uris import scheme_of

P = ParamSpec("P")
T = TypeVar("T")
SinkT = TypeVar("SinkT", LogSink, MetricSink)

PREFIX_BYTES: Final = 5
"""Before each message of gRPC."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the settings come from."""

    uri: str
    """Of the service configuration: a path or a URI."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Key → value, of command-line options of their own."""
    overrides: Sequence[str] = ()
    """`--set` arguments, `section.key=value`."""
    environ: Mapping[str, str] = field(default_factory=dict)
    directory: str = "."
    """The working directory: paths on the command line and in the environment are relative to it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is needed to serve; nothing of it runs yet."""

    source: Source
    loaded: Loaded
    registry: Registry
    plugin_settings: Mapping[str, Any]
    plan: Plan
    served: ServedModel
    log_sink: LogSink | None
    metric_sinks: Mapping[str, MetricSink]
    ssl_context: ssl.SSLContext | None
    tokens: frozenset[str] | None
    """Of `auth.token_file`."""
    hash_key: bytes | None = field(repr=False)
    """Of `log.hash_key_file`."""

    @property
    def configuration(self) -> ServiceConfiguration:
        """The service configuration."""
        return self.loaded.configuration


@dataclass(frozen=True, slots=True)
class PreparedLog:
    """What is needed to deliver what a server has left in its spool."""

    source: Source
    loaded: Loaded
    log_sink: LogSink

    @property
    def configuration(self) -> ServiceConfiguration:
        """The service configuration."""
        return self.loaded.configuration


Configured = Callable[[Loaded], Awaitable[None]]


async def prepare(source: Source, configured: Configured | None = None) -> Prepared:
    """Read, check and load everything. Raises ConfigurationError with all problems.

    `configured` is awaited as soon as the configuration is read, before the model is, unless it has mistakes.
    """
    return await (await _begin(source, configured)).run(source)


async def prepare_log(source: Source) -> PreparedLog:
    """What delivering logs needs of all that `prepare` does: no model is loaded, none need be there.

    Raises ConfigurationError, also where the configuration names no log.
    """
    preparation = await _begin(source)
    return await preparation.run_log(source)


async def _begin(source: Source, configured: Configured | None = None) -> "_Preparation":
    """Read the configuration and load the plugins."""
    blob = await read_configuration(source.uri)
    examined = examine_service(
        blob,
        options=source.options,
        overrides=source.overrides,
        environ=source.environ,
        directory=source.directory,
    )
    if examined.loaded is None:
        raise ConfigurationError(examined.problems)
    configuration = examined.loaded.configuration
    if configuration.log_level == "debug":
        # What is said before the server starts: the tracebacks of plugins that fail.
        configure_messages(configuration.log_format, configuration.log_level, sys.stderr)
    if configured is not None and not examined.problems:
        await configured(examined.loaded)
    plugins = configuration.plugins
    try:
        registry = load_registry(builtin, allow=plugins.allow, block=plugins.block)
    except ConfigurationError as error:
        raise ConfigurationError([*examined.problems, *error.problems]) from error
    return _Preparation(examined.loaded, registry, examined.problems)


async def _checked_sink(
    named: Named[Callable[P, SinkT]], kind: type[Any], *args: P.args, **kwargs: P.kwargs
) -> SinkT:
    """A sink that says of itself that it can be opened. Raises ConfigurationError."""
    sink = call_factory(named, kind, *args, **kwargs)
    with blaming(named):
        checked(named, sink.description, str)
        await sink.check()
    return sink


class _Preparation:
    """One run of `prepare`: the steps, and the problems that they found."""

    def __init__(self, loaded: Loaded, registry: Registry, problems: Sequence[Problem]) -> None:
        self._loaded = loaded
        self._configuration = loaded.configuration
        self._registry = registry
        self._problems = list(problems)
        self._settings: dict[str, Any] = {}
        self._unusable: set[str] = set()

    async def run(self, source: Source) -> Prepared:
        """Take every step. Raises ConfigurationError with what all of them found."""
        configuration = self._configuration
        self._read_plugin_settings()
        unfit = kernel_problem(configuration.kernel)
        if unfit is not None:
            self._problem("kernel", unfit)
        if configuration.log.spool_dir is not None:
            unfit = unusable(Path(configuration.log.spool_dir))
            if unfit is not None:
                self._problem("log.spool_dir", unfit)
        model_blob = await self._read("model_path", configuration.model_path)
        vectorization_blob = await self._read(
            "vectorization_instruction_path", configuration.vectorization_instruction_path
        )
        plan = self._plan(vectorization_blob) if vectorization_blob else None
        runtime = await self._runtime(model_blob)
        if plan and runtime:
            await self._fit(plan, runtime)
        log_sink = await self._log_sink()
        metric_sinks = await self._metric_sinks()
        tls, token_file = configuration.tls, configuration.auth.token_file
        ssl_context = await self._read_files(tls.certificate, lambda: make_context(tls))
        tokens = await self._read_files(token_file, lambda: read_tokens(str(token_file)))
        key_file = configuration.log.hash_key_file
        hash_key = await self._read_files(key_file, lambda: read_hash_key(str(key_file)))
        self._check_windows()
        if self._problems or not (plan and runtime and model_blob and vectorization_blob):
            raise ConfigurationError(self._problems)
        version = model_version(model_blob.data, vectorization_blob.data)
        return Prepared(
            source=source,
            loaded=self._loaded,
            registry=self._registry,
            plugin_settings=self._settings,
            plan=plan,
            served=ServedModel(runtime, configuration.model_id, version),
            log_sink=log_sink,
            metric_sinks=metric_sinks,
            ssl_context=ssl_context,
            tokens=tokens,
            hash_key=hash_key,
        )

    async def run_log(self, source: Source) -> PreparedLog:
        """The steps that lead to the log's sink. Raises ConfigurationError."""
        self._read_plugin_settings()
        if self._configuration.log.uri is None:
            self._problem("log.uri", "not set: there is nowhere to deliver to")
        log_sink = await self._log_sink()
        if self._problems or log_sink is None:
            raise ConfigurationError(self._problems)
        return PreparedLog(source, self._loaded, log_sink)

    def _problem(self, key: str, message: str) -> None:
        self._problems.append(self._loaded.problem(key, message))

    def _context(self, plugin: str) -> PluginContext:
        return PluginContext(self._settings.get(plugin), self._configuration.model_id)

    def _read_plugin_settings(self) -> None:
        """`plugins.NAME` of every plugin against the model that the plugin declares."""
        given = self._configuration.plugins.settings
        names = {plugin.name for plugin in self._registry.plugins}
        for name in self._configuration.plugins.allow or ():
            if name not in names and name not in self._configuration.plugins.block:
                hint = did_you_mean(name, names)
                self._problem("plugins.allow", f"no plugin {name!r} is installed{hint}")
        for name in given:
            if name not in names:
                hint = did_you_mean(name, names)
                kept_out = name in self._configuration.plugins.block
                what = "this plugin is blocked" if kept_out else f"no plugin of this name is loaded{hint}"
                self._problem(f"plugins.{name}", what)
            elif name not in self._registry.settings:
                self._problem(f"plugins.{name}", "this plugin has no settings")
        for name, model in self._registry.settings.items():
            try:
                settings = validate_plugin_settings(name, given.get(name, {}), model, self._loaded.file)
            except Exception as error:  # a validator of the plugin's
                settings = [fault(name, "hushar_settings", error)]
            if isinstance(settings, list):
                self._problems.extend(settings)
                # Its factories count on settings that are right.
                self._unusable.add(name)
            else:
                self._settings[name] = settings

    async def _read(self, key: str, uri: str) -> Blob | None:
        """The bytes behind a URI of the configuration."""
        scheme = scheme_of(uri)
        named = self._registry.storages.get(scheme)
        if named is None:
            self._problem(key, no_such_scheme(uri, scheme, self._registry.storages))
            return None
        if named.plugin in self._unusable:
            return None
        try:
            return await read_from(named, self._context(named.plugin), uri)
        except StorageError as error:
            self._problem(key, str(error))
        except ConfigurationError as error:
            self._unlocated(error)
        return None

    def _plan(self, blob: Blob) -> Plan | None:
        examined = examine_vectorization(blob)
        self._problems.extend(examined.problems)
        if examined.document is None:
            return None
        try:
            classes = self._registry.transformation_classes
            plan = compile_plan(examined.document, classes, fault=self._transformation_fault)
        except ConfigurationError as error:
            self._problems.extend(error.problems)
            return None
        # What is wrong with the file may be what its width hangs on.
        return None if examined.problems else plan

    def _transformation_fault(self, name: str, key: str, error: Exception) -> Problem:
        named = self._registry.transformations[name]
        return fault(named.plugin, f"{named.place}: {key}", error)

    async def _runtime(self, blob: Blob | None) -> Runtime | None:
        """The model; also without its file it is said whether there is such a runtime."""
        settings = self._configuration.model
        problem = check_sha256(blob.data, settings.sha256) if blob else None
        if problem is not None:
            self._problem("model.sha256", problem)
        named = self._registry.runtimes.get(settings.runtime)
        if named is None:
            known = ", ".join(sorted(self._registry.runtimes))
            hint = did_you_mean(settings.runtime, self._registry.runtimes)
            self._problem("model.runtime", f"unknown runtime {settings.runtime!r}{hint}; installed: {known}")
            return None
        if blob is None:
            return None
        names = [each.name for each in dataclasses.fields(ModelSettings)]
        passed = ModelSettings(**{name: getattr(settings, name) for name in names})
        try:
            runtime = await trio.to_thread.run_sync(call_factory, named, Runtime, blob, passed)
        except ModelError as error:
            self._problem(error.key, str(error))
            return None
        except ConfigurationError as error:
            self._unlocated(error)
            return None
        missing = [name for name in Runtime.__annotations__ if not hasattr(runtime, name)]
        if missing:
            message = f"{named.place}: the runtime has no {', '.join(missing)}"
            self._problems.append(Problem(FILE, named.plugin, message))
        return None if missing else runtime

    async def _fit(self, plan: Plan, runtime: Runtime) -> None:
        """The vectorization against the model: widths, and a row of defaults through the model."""
        problem = check_width(plan, runtime.width, model_uri=self._configuration.model_path)
        if problem is not None:
            self._problems.append(problem)
            return
        if self._configuration.model.warmup:
            try:
                await trio.to_thread.run_sync(warm_up, runtime, plan.row_default)
            except ModelError as error:
                self._problem(error.key, str(error))

    async def _log_sink(self) -> LogSink | None:
        uri = self._configuration.log.uri
        if uri is None:
            return None
        scheme = scheme_of(uri)
        named = self._registry.log_sinks.get(scheme)
        if named is None:
            self._problem("log.uri", no_such_scheme(uri, scheme, self._registry.log_sinks))
            return None
        if named.plugin in self._unusable:
            return None
        try:
            return await _checked_sink(named, LogSink, uri, self._context(named.plugin))
        except ConfigurationError as error:
            self._unlocated(error)
            return None

    def _unlocated(self, error: ConfigurationError) -> None:
        """Take problems of a plugin's, which knows the key at fault but not the file."""
        for problem in error.problems:
            known = problem if problem.file else self._loaded.problem(problem.key, problem.message)
            self._problems.append(known)

    async def _metric_sinks(self) -> dict[str, MetricSink]:
        sinks: dict[str, MetricSink] = {}
        known = self._registry.metric_sinks
        for name in self._configuration.metrics.sinks:
            named = known.get(name)
            if named is None:
                hint = did_you_mean(name, known)
                installed = ", ".join(sorted(known))
                self._problem("metrics.sinks", f"unknown metric sink {name!r}{hint}; installed: {installed}")
                continue
            if named.plugin in self._unusable:
                continue
            try:
                sinks[name] = await _checked_sink(named, MetricSink, self._context(named.plugin))
            except ConfigurationError as error:
                self._unlocated(error)
        return sinks

    async def _read_files(self, key: str | None, make: Callable[[], T]) -> T | None:
        """What `make` reads, in a thread; None if `key`, which says that there is any, is not set."""
        if key is None:
            return None
        try:
            return await trio.to_thread.run_sync(make)
        except ConfigurationError as error:
            self._unlocated(error)
            return None

    def _check_windows(self) -> None:
        """A window that a message does not fit would hold that message up for ever."""
        window = self._configuration.http2.stream_window_bytes
        largest = self._configuration.server.max_receive_bytes
        if window is not None and window < largest + PREFIX_BYTES:
            message = f"must be above server.max_receive_bytes ({largest}) by {PREFIX_BYTES}, got {window}"
            self._problem("http2.stream_window_bytes", message)
