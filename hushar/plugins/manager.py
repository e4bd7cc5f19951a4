"""Finds the plugins, asks their hooks once, and merges what they bring into plain dictionaries."""

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

from hushar.errors import ConfigurationError, Problem
from hushar.features.interface import Transformation
from hushar.models.runtime import RuntimeFactory
from hushar.plugins import hookspecs
from hushar.plugins.answers import answer_problems
from hushar.plugins.calling import FILE, Named, fault
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

_NAMED_HOOKS = ("transformations", "runtimes", "log_sinks", "metric_sinks", "storages", "commands")

BUILTIN = "hushar"
"""The name of the built-in parts among the plugins; it can be blocked like any other."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """An installed plugin, and what it adds: for `hushar plugins`."""

    name: str
    distribution: str
    version: str
    adds: Mapping[str, tuple[str, ...]]
    """Hook without `hushar_` (`transformations`, `log_sinks`, …) → names."""


@dataclass(frozen=True, slots=True)
class Registry:
    """Everything that plugins bring, by name."""

    plugins: tuple[PluginInfo, ...] = ()
    settings: Mapping[str, "type[BaseModel]"] = field(default_factory=dict)
    transformations: Mapping[str, Named[type[Transformation]]] = field(default_factory=dict)
    runtimes: Mapping[str, Named[RuntimeFactory]] = field(default_factory=dict)
    log_sinks: Mapping[str, Named[LogSinkFactory]] = field(default_factory=dict)
    metric_sinks: Mapping[str, Named[MetricSinkFactory]] = field(default_factory=dict)
    storages: Mapping[str, Named[StorageFactory]] = field(default_factory=dict)
    services: Sequence[Named[ServiceFactory]] = ()
    interceptors: Sequence[Named[InterceptorFactory]] = ()
    commands: Mapping[str, "click.Command"] = field(default_factory=dict)

    @property
    def transformation_classes(self) -> dict[str, type[Transformation]]:
        """The transformations alone, by `type`, as `hushar.features.plan` takes them."""
        return {name: named.factory for name, named in self.transformations.items()}


def load_registry(
    builtin: object,
    *,
    allow: Sequence[str] | None = None,
    block: Sequence[str] = (),
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
) -> Registry:
    """The registry of the built-in parts and of every installed plugin that is not kept out.

    `allow` (None: all) and `block` are names of entry points; `entry_points` defaults to those of
    the group `hushar`. Raises ConfigurationError: a plugin that cannot be imported, a hook that is
    none of ours, one that raises or returns something else, a name that two plugins claim.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    origins: dict[str, tuple[str, str]] = {}
    problems: list[Problem] = []
    if BUILTIN not in block:
        manager.register(builtin, BUILTIN)
        origins[BUILTIN] = ("hushar", importlib.metadata.version("hushar"))
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=hookspecs.PROJECT)
    for point in sorted(entry_points, key=lambda point: point.name):
        if point.name in block or (allow is not None and point.name not in allow):
            continue
        problem = _register(manager, point, origins)
        if problem is not None:
            problems.append(problem)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        problems.append(Problem(FILE, _name_in(manager, error), f"a hook that hushar has not: {error}"))
        raise ConfigurationError(problems) from error
    merge = _Merge(manager, origins)
    registry = merge.registry()
    problems += merge.problems
    if problems:
        raise ConfigurationError(problems)
    return registry


def _name_in(manager: pluggy.PluginManager, error: pluggy.PluginValidationError) -> str:
    return manager.get_name(error.plugin) or "unknown"


def _register(
    manager: pluggy.PluginManager,
    point: importlib.metadata.EntryPoint,
    origins: dict[str, tuple[str, str]],
) -> Problem | None:
    """Import a plugin and register it; a Problem instead of an exception."""
    distribution = point.dist
    name = distribution.name if distribution else "unknown"
    if point.name in origins:
        return Problem(
            FILE, point.name, f"both {origins[point.name][0]} and {name} install a plugin of this name"
        )
    try:
        manager.register(point.load(), point.name)
    except pluggy.PluginValidationError as error:
        return Problem(FILE, point.name, f"a hook of {name} does not fit: {error}")
    except Exception as error:
        return fault(point.name, f"cannot import {point.value} of {name}", error)
    origins[point.name] = (name, distribution.version if distribution else "")
    return None


class _Merge:
    """Asks every hook of every plugin once, and keeps what they bring by name."""

    def __init__(self, manager: pluggy.PluginManager, origins: Mapping[str, tuple[str, str]]) -> None:
        self.problems: list[Problem] = []
        self._manager = manager
        self._origins = origins
        self._adds: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in origins}

    def registry(self) -> Registry:
        """Everything; only to be used if there are no problems."""
        settings = dict(self._ask("settings"))
        named = {hook: self._named(hook) for hook in _NAMED_HOOKS}
        return Registry(
            plugins=tuple(PluginInfo(name, *self._origins[name], self._adds[name]) for name in self._origins),
            settings=settings,
            transformations=named["transformations"],
            runtimes=named["runtimes"],
            log_sinks=named["log_sinks"],
            metric_sinks=named["metric_sinks"],
            storages=named["storages"],
            services=self._listed("services"),
            interceptors=self._listed("interceptors"),
            commands={name: each.factory for name, each in named["commands"].items()},
        )

    def _listed(self, hook: str) -> tuple[Named[Any], ...]:
        """What a hook brings without a name."""
        return tuple(
            Named(plugin, f"hushar_{hook}", _name_of(factory), factory)
            for plugin, factories in self._ask(hook)
            for factory in factories
        )

    def _named(self, hook: str) -> dict[str, Named[Any]]:
        """What a hook brings by name; a name that is taken is a problem that names both plugins."""
        taken: dict[str, Named[Any]] = {}
        if hook == "commands":
            taken = {
                name: Named(BUILTIN, "hushar_commands", name, None) for name in hookspecs.BUILTIN_COMMANDS
            }
        found: dict[str, Named[Any]] = {}
        for plugin, brought in self._ask(hook):
            for name, factory in _by_name(hook, brought).items():
                other = found.get(name) or taken.get(name)
                if other is None:
                    found[name] = Named(plugin, f"hushar_{hook}", name, factory)
                    continue
                message = f"both the plugin {other.plugin!r} and {plugin!r} bring {name!r}"
                self.problems.append(Problem(FILE, f"hushar_{hook}", message))
        return found

    def _ask(self, hook: str) -> Iterator[tuple[str, Any]]:
        """Each plugin's answer, in the order of registration, so that a clash names the first one first."""
        for implementation in getattr(self._manager.hook, f"hushar_{hook}").get_hookimpls():
            plugin = implementation.plugin_name
            try:
                brought = implementation.function()
                mistakes = list(answer_problems(hook, brought))
            except Exception as error:
                self.problems.append(fault(plugin, f"hushar_{hook}", error))
                continue
            self.problems += [Problem(FILE, plugin, f"hushar_{hook}: {mistake}") for mistake in mistakes]
            if not mistakes:
                self._adds[plugin][hook] = _names_of(hook, brought)
                yield plugin, brought


def _by_name(hook: str, brought: Any) -> Mapping[str, Any]:
    return {command.name: command for command in brought} if hook == "commands" else brought


def _name_of(factory: Any) -> str:
    return getattr(factory, "__name__", type(factory).__name__)


def _names_of(hook: str, brought: Any) -> tuple[str, ...]:
    """What `hushar plugins` says that a hook brought."""
    if hook == "settings":
        return tuple(brought.model_fields)
    if hook in ("services", "interceptors"):
        return tuple(_name_of(factory) for factory in brought)
    return tuple(sorted(_by_name(hook, brought)))
