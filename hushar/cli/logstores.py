"""The storages of plugins, for commands that read logs: blocking calls, answered by a loop in a thread."""

import logging
import os
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple

import trio

from hushar import builtin
from hushar.config.from_environment import environment_layer
from hushar.config.layers import as_tree
from hushar.config.plugin_settings import validate_plugin_settings
from hushar.errors import ConfigurationError, HusharError, Problem
from hushar.logreading.stores import StoredObject
from hushar.nearest import did_you_mean
from hushar.plugins.calling import Named, blaming, call_factory, checked
from hushar.plugins.interface import PluginContext, StorageFactory
from hushar.plugins.manager import Registry, load_registry
from hushar.storage.interface import Blob, Storage
from hushar.uris import scheme_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_AHEAD: Final = 8
"""Objects that are read ahead at most, …"""
_AHEAD_BYTES: Final = 32 << 20
"""… and of how many bytes, together with the one that is asked for."""
_CLOSE_SECONDS: Final = 5
"""For every storage together, when the command is done or interrupted."""


@dataclass(slots=True)
class _Ahead:
    """An object that is read before somebody asks for it."""

    arrived: trio.Event = field(default_factory=trio.Event)
    data: bytes = b""
    error: HusharError | None = None


def _installed() -> Registry:
    return load_registry(builtin)


class PluginStores:
    """A `hushar.logreading.stores.Store` over every storage that is installed. A context manager.

    Nothing is loaded and no thread runs before the first call. The settings of a plugin are those of the
    environment (`HUSHAR_PLUGINS__NAME__KEY`) and its defaults: there is no configuration file here.
    """

    def __init__(self, load: Callable[[], Registry] = _installed) -> None:
        self._load = load
        self._registry: Registry | None = None
        self._storages: dict[str, tuple[Named[StorageFactory], Storage]] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread: threading.Thread | None = None
        self._stop = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._order: list[StoredObject] = []
        self._places: dict[str, int] = {}
        self._ahead: dict[str, _Ahead] = {}

    def __enter__(self) -> "PluginStores":
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is None or self._thread is None:
            return
        self._token.run_sync_soon(self._stop.set)
        self._thread.join(2 * _CLOSE_SECONDS)

    def visit(self, uri: str, after: str | None, take: Callable[[StoredObject], bool]) -> None:
        """As `Store.visit`; the whole visit is one task of the event loop, and `take` runs in it."""
        self._run(self._visit, uri, after, take)

    def expect(self, objects: Sequence[StoredObject]) -> None:
        """As `Store.expect`: small objects are read ahead, several at a time, while others are looked at."""
        self._order = list(objects)
        self._places = {entry.uri: place for place, entry in enumerate(objects)}

    def read(self, uri: str) -> bytes:
        """As `Store.read`."""
        return self._run(self._read, uri)

    async def _visit(self, uri: str, after: str | None, take: Callable[[StoredObject], bool]) -> None:
        named, storage = self._storage(uri)
        with blaming(named):
            entries = storage.entries(uri, after=after)
            try:
                async for entry in entries:
                    if not take(entry):
                        return
            finally:
                close = getattr(entries, "aclose", None)
                if close is not None:
                    await close()

    async def _read(self, uri: str) -> bytes:
        await self._read_ahead(uri)
        ahead = self._ahead.pop(uri, None)
        if ahead is None:
            return await self._fetch(uri)
        await ahead.arrived.wait()
        if ahead.error is not None:
            raise ahead.error
        return ahead.data

    async def _read_ahead(self, uri: str) -> None:
        """Begin with the objects behind this one, as far as they are few and small."""
        place = self._places.get(uri)
        if place is None or self._nursery is None:
            return
        wanted: list[str] = []
        size = 0
        for entry in self._order[place : place + 1 + _AHEAD]:
            size += entry.size_bytes
            if size > _AHEAD_BYTES:
                break
            wanted.append(entry.uri)
        # Who jumps to another place does not come back for these.
        self._ahead = {each: ahead for each, ahead in self._ahead.items() if each in wanted}
        for each in wanted:
            if each not in self._ahead:
                self._ahead[each] = await self._nursery.start(self._fetch_ahead, each)

    async def _fetch_ahead(self, uri: str, *, task_status: "trio.TaskStatus[_Ahead]") -> None:
        ahead = _Ahead()
        task_status.started(ahead)
        try:
            ahead.data = await self._fetch(uri)
        except HusharError as error:
            ahead.error = error
        ahead.arrived.set()

    async def _fetch(self, uri: str) -> bytes:
        named, storage = self._storage(uri)
        with blaming(named):
            return checked(named, await storage.read(uri), Blob).data

    def _storage(self, uri: str) -> tuple[Named[StorageFactory], Storage]:
        """The storage of a URI's scheme, made once. Raises ConfigurationError."""
        scheme = scheme_of(uri)
        if scheme in self._storages:
            return self._storages[scheme]
        if self._registry is None:
            self._registry = self._load()
        named = self._registry.storages.get(scheme)
        if named is None:
            hint = did_you_mean(scheme, self._registry.storages)
            text = f"nothing installed reads {scheme}://{hint}; a plugin may be missing"
            raise ConfigurationError([Problem(uri, "", text)])
        context = PluginContext(_settings(self._registry, named.plugin))
        made = named, call_factory(named, Storage, context)
        self._storages[scheme] = made
        return made

    def _run(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        if self._token is None:
            ready: queue.SimpleQueue[trio.lowlevel.TrioToken] = queue.SimpleQueue()
            self._thread = threading.Thread(
                target=trio.run, args=(self._serve, ready), name="hushar storages", daemon=True
            )
            self._thread.start()
            self._token = ready.get()
        return trio.from_thread.run(function, *args, trio_token=self._token)

    async def _serve(self, ready: "queue.SimpleQueue[trio.lowlevel.TrioToken]") -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            ready.put(trio.lowlevel.current_trio_token())
            await self._stop.wait()
            nursery.cancel_scope.cancel()
        with trio.move_on_after(_CLOSE_SECONDS):
            for named, storage in self._storages.values():
                try:
                    await storage.aclose()
                except Exception:
                    # What was read was read.
                    logger.debug("plugin %s: %s: aclose", named.plugin, named.place, exc_info=True)


def _settings(registry: Registry, plugin: str) -> Any:
    """The validated settings of a plugin; None if it has none. Raises ConfigurationError."""
    model = registry.settings.get(plugin)
    if model is None:
        return None
    layer = environment_layer(os.environ, str(Path.cwd()))
    place = ("plugins", plugin)
    given = as_tree(setting for setting in layer.settings if setting.path[:2] == place)
    section = given.get("plugins", {}).get(plugin, {})
    settings = validate_plugin_settings(plugin, section, model, "environment")
    if isinstance(settings, list):
        raise ConfigurationError(settings)
    return settings
