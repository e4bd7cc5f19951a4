"""Finds the plugins, asks their hooks once, and merges what they bring into plain dictionaries."""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pluggy

from hushar.errors import ConfigurationError, Problem
from hushar.features.interface import Transformation
from hushar.models.runtime import RuntimeFactory
from hushar.plugins import hookspecs
from hushar.plugins.interface import (
    LogSinkFactory,
    MetricSinkFactory,
    ServiceFactory,
    StorageFactory,
)

if TYPE_CHECKING:
    import click
    from pydantic import BaseModel

T = TypeVar("T")

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
class Named(Generic[T]):
    """A factory, and the plugin that it came from (whose settings it gets)."""

    plugin: str
    factory: T


@dataclass(frozen=True, slots=True)
class Registry:
    """Everything that plugins bring, by name."""

    plugins: tuple[PluginInfo, ...] = ()
    settings: Mapping[str, "type[BaseModel]"] = field(default_factory=dict)
    transformations: Mapping[str, type[Transformation]] = field(default_factory=dict)
    runtimes: Mapping[str, RuntimeFactory] = field(default_factory=dict)
    log_sinks: Mapping[str, Named[LogSinkFactory]] = field(default_factory=dict)
    metric_sinks: Mapping[str, Named[MetricSinkFactory]] = field(default_factory=dict)
    storages: Mapping[str, Named[StorageFactory]] = field(default_factory=dict)
    services: Sequence[Named[ServiceFactory]] = ()
    commands: Mapping[str, "click.Command"] = field(default_factory=dict)


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
    none of ours, a name that two plugins claim.
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
    registry = _merge(manager, origins, problems)
    if problems:
        raise ConfigurationError(problems)
    return registry


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
            "plugins", point.name, f"both {origins[point.name][0]} and {name} install a plugin of this name"
        )
    try:
        manager.register(point.load(), point.name)
    except pluggy.PluginValidationError as error:
        return Problem("plugins", point.name, f"a hook of {name} does not fit: {error}")
    except Exception as error:
        return Problem("plugins", point.name, f"cannot import {point.value} of {name}: {error!r}")
    origins[point.name] = (name, distribution.version if distribution else "")
    return None


def _merge(
    manager: pluggy.PluginManager, origins: Mapping[str, tuple[str, str]], problems: list[Problem]
) -> Registry:
    """Ask every hook of every plugin once."""
    settings: dict[str, type[BaseModel]] = {}
    merged: dict[str, dict[str, Named[Any]]] = {}
    services: list[Named[ServiceFactory]] = []
    adds: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in origins}

    def ask(hook: str, take: Callable[[str, Any], tuple[str, ...]]) -> None:
        # In the order of registration, so that a clash names the first one first.
        for implementation in getattr(manager.hook, f"hushar_{hook}").get_hookimpls():
            plugin = implementation.plugin_name
            try:
                names = take(plugin, implementation.function())
            except Exception as error:
                problems.append(Problem("plugins", plugin, f"hushar_{hook} failed: {error!r}"))
            else:
                adds[plugin][hook] = names

    def take_settings(plugin: str, model: Any) -> tuple[str, ...]:
        settings[plugin] = model
        return tuple(model.model_fields)

    def take_services(plugin: str, factories: Any) -> tuple[str, ...]:
        services.extend(Named(plugin, factory) for factory in factories)
        return tuple(getattr(factory, "__name__", repr(factory)) for factory in factories)

    def take_named(hook: str) -> Callable[[str, Any], tuple[str, ...]]:
        known = merged.setdefault(hook, {})

        def take(plugin: str, brought: Any) -> tuple[str, ...]:
            if hook == "commands":
                brought = {command.name: command for command in brought}
            for name, factory in brought.items():
                if name in known:
                    message = f"both the plugin {known[name].plugin!r} and {plugin!r} bring {name!r}"
                    problems.append(Problem("plugins", f"hushar_{hook}", message))
                else:
                    known[name] = Named(plugin, factory)
            return tuple(sorted(brought))

        return take

    ask("settings", take_settings)
    for hook in ("transformations", "runtimes", "log_sinks", "metric_sinks", "storages", "commands"):
        ask(hook, take_named(hook))
    ask("services", take_services)
    bare = {hook: {name: named.factory for name, named in found.items()} for hook, found in merged.items()}
    return Registry(
        plugins=tuple(PluginInfo(name, *origins[name], adds[name]) for name in origins),
        settings=settings,
        transformations=bare["transformations"],
        runtimes=bare["runtimes"],
        log_sinks=merged["log_sinks"],
        metric_sinks=merged["metric_sinks"],
        storages=merged["storages"],
        services=tuple(services),
        commands=bare["commands"],
    )
