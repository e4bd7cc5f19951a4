"""The admin port of an application: opened as soon as the configuration is read, closed last of all.

What it tells is gathered here from the parts of the server, whenever it is asked, in the event loop and
without letting it go: so the figures of one answer agree.
"""

import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

import trio

import hushar
from hushar.admin.failures import FailedCalls
from hushar.admin.messages import RecentMessages
from hushar.admin.reading import (
    UNKNOWN,
    FeatureCounts,
    Glance,
    Method,
    Queue,
    Reading,
    Served,
    Sink,
    Source,
    State,
)
from hushar.app.banner import is_loopback
from hushar.app.messages import configure_messages
from hushar.app.preparing import Prepared
from hushar.app.sidecars import Sidecars
from hushar.config.loading import Loaded
from hushar.errors import ConfigurationError, Problem
from hushar.features.vectorize import Vectorizer
from hushar.inference.batcher import Batcher
from hushar.rpc import Server
from hushar.rpc.listeners import bind
from hushar.services import native
from hushar.sidecars.durations import Durations
from hushar.sidecars.log import LogSidecar
from hushar.texts import printable

if TYPE_CHECKING:
    from hushar.admin.port import AdminPort

log = logging.getLogger("hushar")

_UNTOLD: Final = frozenset(("columns",))
"""Facts of the banner that would fill the status page."""


class Administration:
    """The admin port, if there is to be one (`admin.port`); without, nothing happens in here."""

    def __init__(self, nursery: trio.Nursery, stream: TextIO) -> None:
        self._nursery = nursery
        self._stream = stream
        self._port: AdminPort | None = None
        self._messages = RecentMessages()
        self.address: str | None = None
        """`HOST:PORT`, once it is open."""

    @property
    def is_open(self) -> bool:
        """Whether somebody may ask."""
        return self._port is not None

    async def open(self, loaded: Loaded) -> None:
        """Bind and answer, from now on. Raises ConfigurationError."""
        configuration = loaded.configuration
        admin = configuration.admin
        if admin.port is None:
            return
        # A web server and a metrics library, in every process that has no use for them.
        from hushar.admin.port import AdminPort  # noqa: PLC0415
        from hushar.admin.serving import serve  # noqa: PLC0415

        try:
            listeners, port = await bind(admin.host, admin.port)
        except OSError as error:
            raise ConfigurationError([_cannot_bind(error, loaded)]) from error
        host = f"[{admin.host}]" if ":" in admin.host else admin.host
        self.address = f"{host}:{port}"
        self._port = AdminPort(self._messages, is_local=is_loopback(admin.host))
        await self._nursery.start(_guarded, serve, self._port.app, listeners)
        await self._nursery.start(_guarded, self._port.watch)
        configure_messages(configuration.log_format, configuration.log_level, self._stream)
        self.hear_messages()
        log.info("admin port: http://%s", self.address)

    def hear_messages(self) -> None:
        """Keep what is logged for the status page; again whenever the handlers were set anew."""
        if self.is_open:
            log.addHandler(self._messages)

    def ready(self, facts: Mapping[str, Any], parts: "Parts") -> None:
        """Calls are served from now on, by these parts."""
        if self._port is not None:
            told = {name: value for name, value in facts.items() if name not in _UNTOLD}
            self._port.source = Source(told, parts.read, parts.glance)
            self._port.state = State.READY

    def draining(self) -> None:
        """The end has begun."""
        if self._port is not None:
            self._port.state = State.DRAINING


@asynccontextmanager
async def administration(stream: TextIO) -> AsyncIterator[Administration]:
    """The outermost block of a server. ConfigurationErrors leave it as they are, one for all."""
    with flat_errors(lambda problem: problem):
        async with trio.open_nursery() as nursery:
            opened = Administration(nursery, stream)
            try:
                yield opened
            finally:
                log.removeHandler(opened._messages)
            nursery.cancel_scope.cancel()


async def _guarded(
    run: Callable[..., Awaitable[None]],
    *args: Any,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a task of the admin port's: its failing must not be the server's."""
    try:
        await run(*args, task_status=task_status)
    except Exception:
        log.exception("the admin port has failed")


def _cannot_bind(error: OSError, loaded: Loaded) -> Problem:
    admin = loaded.configuration.admin
    place = f"{admin.host}:{admin.port}"
    if error.errno == errno.EADDRINUSE:
        return loaded.problem("admin.port", f"{place} is already in use")
    if error.errno in (errno.EACCES, errno.EPERM):
        return loaded.problem("admin.port", f"not allowed to bind {place}")
    return loaded.problem("admin.host", f"cannot bind {place}: {error.strerror or error}")


@contextmanager
def flat_errors(locate: Callable[[Problem], Problem]) -> Iterator[None]:
    """Take ConfigurationErrors out of the groups that nurseries put around them; `locate` is asked about
    each of their problems. An interrupt, too, leaves as it is."""
    found: list[Problem] = []
    interrupted = False
    try:
        yield
    except* ConfigurationError as group:
        for error in _leaves(group):
            found += error.problems
    except* KeyboardInterrupt:
        interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    if found:
        raise ConfigurationError(map(locate, found))


def _leaves(group: BaseExceptionGroup[ConfigurationError]) -> Iterator[ConfigurationError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@dataclass(frozen=True, slots=True)
class Parts:
    """What the figures come from."""

    prepared: Prepared
    server: Server
    batcher: Batcher
    sidecars: Sidecars
    vectorizer: Vectorizer
    durations: Durations
    failed: FailedCalls

    def read(self) -> Reading:
        """Everything, now."""
        self.sidecars.metrics.catch_up()
        statistics = self.batcher.statistics()
        metrics = self.sidecars.metrics.statistics()
        return Reading(
            served=self._served(),
            methods=tuple(self._methods()),
            answered=self.durations.answered(),
            failed=self.failed.read(),
            stages=self.durations.stages(),
            rows=statistics.rows,
            batches=statistics.batches,
            queue=self._queue(),
            shed={**statistics.shed, **self.server.refused()},
            features=dict(self._features()),
            log=None if self.sidecars.log is None else self.sidecars.log.statistics(),
            sinks=tuple(self._sinks(self.sidecars.log)),
            metrics_queued=metrics.queued_values,
            metrics_dropped=metrics.dropped_values,
        )

    def glance(self) -> Glance:
        """What can be had at next to no cost."""
        self.sidecars.metrics.catch_up()
        return Glance(
            self.durations.answered(),
            self.failed.count,
            self.batcher.statistics().rows,
            self.durations.stages(),
            self._queue(),
        )

    def _served(self) -> Served:
        served = self.prepared.served
        runtime = served.runtime
        return Served(
            model=served.model_id,
            version=served.version,
            runtime=f"{runtime.name} {runtime.version}",
            kernel=self.vectorizer.name,
            hushar=hushar.__version__,
        )

    def _methods(self) -> Iterator[Method]:
        for path, counts in self.server.calls().items():
            _, service, method = path.split("/") if path else ("", UNKNOWN, UNKNOWN)
            handled = {code.name: calls for code, calls in counts.ended.items()}
            yield Method(service, method, counts.in_flight, handled)

    def _queue(self) -> Queue:
        statistics = self.batcher.statistics()
        return Queue(self.server.in_flight, statistics.waiting_calls, statistics.waiting_rows)

    def _features(self) -> Iterator[tuple[str, FeatureCounts]]:
        for feature, counts in self.vectorizer.feature_counts().items():
            yield feature, FeatureCounts(*counts)

    def _sinks(self, logging_: LogSidecar | None) -> Iterator[Sink]:
        """Each under a name of its own: Prometheus takes no scrape with the same labels twice."""
        taken = None
        if logging_ is not None:
            now = logging_.statistics()
            taken = printable(now.sink)
            yield Sink(taken, now.sink_up, now.sink_errors)
        metrics = self.sidecars.metrics.statistics()
        for name, errors in metrics.sink_errors.items():
            told = printable(name)
            yield Sink(f"{told} (metrics)" if told == taken else told, metrics.sinks_up[name], errors)


def note_failures(server: Server, failed: FailedCalls) -> None:
    """Have calls of the scoring service counted that are not answered OK."""

    def note(path: str, code: Any, seconds: float, calls: int) -> None:
        if path == native.PATH:
            failed.note(code.name, seconds, calls)

    server.on_failure = note
