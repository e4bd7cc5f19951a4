"""One nursery tree; the order of shutdown is the order of nesting.

    signals
      └─ sidecars                  end when their channels are closed and drained
           └─ serving              the batcher
                └─ listeners       accept loops and connections

A signal drains the listeners; with them the inner block ends, then the batcher, then the sending ends
of the channels are closed, and the sidecars flush and return.
"""

import errno
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TextIO

import purerpc
import trio

from hushar.app.banner import announce
from hushar.app.messages import configure_messages
from hushar.app.preparing import Prepared
from hushar.app.sidecars import Sidecars, make_sidecars
from hushar.errors import ConfigurationError, Problem
from hushar.features.vectorize import make_vectorizer
from hushar.inference.batcher import Batcher, BatcherLimits
from hushar.inference.placement import Placement
from hushar.inference.scoring import Scorer
from hushar.plugins.interface import ServiceContext
from hushar.rpc import Server
from hushar.services import native
from hushar.sinks.interface import Counter

log = logging.getLogger("hushar")


async def serve(prepared: Prepared, *, stream: TextIO) -> bool:
    """Serve until SIGTERM or SIGINT, then drain and return; a second signal ends the process.

    Returns whether nothing is at work any more: a model that outlasted the drain still is, in a
    thread that cannot be stopped. Everything is flushed all the same.
    The banner and all messages go to `stream`. Raises ConfigurationError for what can only be found
    out by starting: a port in use, a spool that another server holds, a sink that cannot be opened.
    """
    configuration = prepared.configuration
    configure_messages(configuration.log_format, configuration.log_level, stream)
    for warning in prepared.loaded.warnings:
        log.warning("%s", warning)
    with _configuration_errors(prepared):
        sidecars = make_sidecars(prepared, [lambda: _gauges(server, batcher)])
        batcher = _make_batcher(prepared, sidecars)
        server = _make_server(prepared, batcher)
        async with trio.open_nursery() as signals:
            async with sidecars.running(), trio.open_nursery() as serving:
                await serving.start(batcher.run)
                # Before the port is open: from then on a signal must drain.
                await signals.start(_drain_on_signal, server)
                async with _listening(server, prepared) as address:
                    announce(prepared, address, stream)
                # Every call has been answered; what the batcher still holds nobody waits for.
                serving.cancel_scope.cancel()
            signals.cancel_scope.cancel()
    log.info("stopped")
    return not batcher.thread_at_work


@contextmanager
def _configuration_errors(prepared: Prepared) -> Iterator[None]:
    """Take ConfigurationErrors out of the groups that nurseries put around them.

    A sink knows the key that is at fault but not the file; that is added here.
    """
    found: list[Problem] = []
    try:
        yield
    except* ConfigurationError as group:
        for error in _leaves(group):
            found += error.problems
    if found:
        raise ConfigurationError(
            problem if problem.file else prepared.loaded.problem(problem.key, problem.message)
            for problem in found
        )


def _leaves(group: BaseExceptionGroup[ConfigurationError]) -> Iterator[ConfigurationError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _gauges(server: Server, batcher: Batcher) -> Iterator[Counter]:
    """What an operator wants to know of this moment."""
    yield Counter("InFlight", server.in_flight, {})
    yield Counter("QueuedCalls", batcher.statistics().waiting_calls, {})


def _make_batcher(prepared: Prepared, sidecars: Sidecars) -> Batcher:
    batching = prepared.configuration.batching
    logged = sidecars.log is not None
    scorer = Scorer(
        make_vectorizer(prepared.plan), prepared.served, max_rows=batching.max_rows, logged=logged
    )
    return Batcher(
        scorer,
        BatcherLimits(batching.max_rows, batching.max_call_rows),
        Placement(batching.offload),
        refuse=native.refuse,
        metrics=sidecars.metrics.outlet,
        log_outlet=sidecars.log.outlet if sidecars.log else None,
        answer_when_spooled=prepared.configuration.log.acknowledge == "spooled",
    )


def _make_server(prepared: Prepared, batcher: Batcher) -> Server:
    configuration = prepared.configuration
    server = Server(
        configuration.port_number,
        prepared.ssl_context,
        host=configuration.host,
        connection_concurrency=configuration.connection_concurrency,
        drain_seconds=configuration.server.drain_seconds,
    )
    native.add_native_service(server, batcher)

    async def score(message: bytes) -> bytes:
        return await native.score(batcher, message)

    names = {native.PATH.split("/")[1]: "hushar"}
    for named in prepared.registry.services:
        context = ServiceContext(
            prepared.plugin_settings.get(named.plugin),
            prepared.served.model_id,
            prepared.served.version,
            score,
        )
        made = named.factory(context)
        service = made.service if isinstance(made, purerpc.Servicer) else made
        if service.name in names:
            other = names[service.name]
            message = f"both {other!r} and {named.plugin!r} bring the service {service.name!r}"
            raise ConfigurationError([Problem("plugins", "hushar_services", message)])
        names[service.name] = named.plugin
        server.add_service(service)
    return server


@asynccontextmanager
async def _listening(server: Server, prepared: Prepared) -> AsyncIterator[str]:
    """Serve; the block runs when the port is open, and the whole ends when the server has drained."""
    configuration = prepared.configuration
    async with trio.open_nursery() as listeners:
        try:
            port = await listeners.start(server.serve_async)
        except OSError as error:
            raise _cannot_bind(error, configuration.host, configuration.port_number, prepared) from error
        host = f"[{configuration.host}]" if ":" in configuration.host else configuration.host
        yield f"{host}:{port}"


def _cannot_bind(error: OSError, host: str, port: int, prepared: Prepared) -> ConfigurationError:
    key, message = "host", f"cannot bind {host}:{port}: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        key, message = "port_number", f"{host}:{port} is already in use"
    elif error.errno in (errno.EACCES, errno.EPERM):
        key, message = "port_number", f"not allowed to bind {host}:{port}"
    return ConfigurationError([prepared.loaded.problem(key, message)])


async def _drain_on_signal(
    server: Server, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """The first signal drains; the second ends the process at once, spool intact."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        first = True
        async for number in received:
            name = signal.Signals(number).name
            if not first:
                log.warning("%s again: leaving at once", name)
                sys.stderr.flush()
                os._exit(1)
            first = False
            log.info("%s: draining", name)
            server.drain()
