"""One nursery tree; the order of shutdown is the order of nesting.

    signals
      └─ sidecars                  end when their channels are closed and drained
           └─ serving              the batcher
                └─ listeners       accept loops and connections

A signal drains the listeners; with them the inner block ends, then the batcher, then the sending ends
of the channels are closed, and the sidecars flush and return.
"""

import dataclasses
import errno
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TextIO

import trio

from hushar.app import signals, tls, tokens
from hushar.app.banner import announce, warnings_of
from hushar.app.endpoint import Endpoint, make_endpoint
from hushar.app.memory import keep_freed_memory
from hushar.app.messages import configure_messages
from hushar.app.preparing import Prepared
from hushar.app.reloading import Kept, Reloader
from hushar.app.sidecars import Sidecars, make_sidecars
from hushar.errors import ConfigurationError, Problem
from hushar.features.vectorize import make_vectorizer
from hushar.inference.admission import BatcherLimits
from hushar.inference.answering import Answering
from hushar.inference.batcher import Batcher
from hushar.inference.scoring import Scorer
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
    for warning in warnings_of(prepared):
        log.warning("%s", warning)
    keep_freed_memory(prepared.source.environ)
    with _configuration_errors(prepared):
        sidecars = make_sidecars(
            prepared, gauges=[lambda: _gauges(endpoint.server, batcher)], totals=[lambda: _totals(batcher)]
        )
        batcher = _make_batcher(prepared, sidecars)
        if configuration.model.warmup:
            await trio.to_thread.run_sync(batcher.rehearse)
        endpoint = make_endpoint(prepared, batcher)
        reloader = _make_reloader(prepared, endpoint)
        async with trio.open_nursery() as outermost:
            # Before the port is open: from then on a signal must drain.
            await outermost.start(signals.obey, endpoint.drain, reloader.look)
            await outermost.start(reloader.run)
            async with sidecars.running(), trio.open_nursery() as serving:
                await serving.start(batcher.run)
                async with _listening(endpoint.server, prepared) as address:
                    announce(prepared, address, stream)
                # Every call has been answered; what the batcher still holds nobody waits for.
                serving.cancel_scope.cancel()
            outermost.cancel_scope.cancel()
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
    statistics = batcher.statistics()
    yield Counter("QueuedCalls", statistics.waiting_calls, {})
    yield Counter("QueuedRows", statistics.waiting_rows, {})


def _totals(batcher: Batcher) -> Iterator[Counter]:
    """What has been counted since the start."""
    for reason, calls in batcher.statistics().shed.items():
        yield Counter("Shed", calls, {"reason": reason})


def _make_batcher(prepared: Prepared, sidecars: Sidecars) -> Batcher:
    configuration = prepared.configuration
    batching = configuration.batching
    vectorizer = make_vectorizer(prepared.plan, configuration.kernel)
    scorer = Scorer(
        vectorizer,
        prepared.served,
        logged=sidecars.log is not None,
        max_answer_bytes=configuration.server.max_send_bytes,
    )
    answering = Answering(
        native.refuse,
        native.reply_all,
        sidecars.metrics.outlet,
        sidecars.log.outlet if sidecars.log else None,
        when_spooled=configuration.log.acknowledge == "spooled",
    )
    names = [field.name for field in dataclasses.fields(BatcherLimits)]
    limits = BatcherLimits(**{name: getattr(batching, name) for name in names})
    return Batcher(
        scorer, limits, answering, offload=batching.offload, concurrency=batching.inference_concurrency
    )


def _make_reloader(prepared: Prepared, endpoint: Endpoint) -> Reloader:
    """What is made of files that may change while the server runs."""
    section, token_file = prepared.configuration.tls, prepared.configuration.auth.token_file
    kept: list[Kept[Any]] = []
    if prepared.ssl_context is not None:
        paths = tls.files_of(section).values()
        kept.append(
            Kept(
                "the certificates",
                paths,
                lambda: tls.make_context(section),
                endpoint.server.replace_ssl_context,
            )
        )
    if endpoint.tokens is not None:
        path = str(token_file)
        kept.append(Kept("the tokens", [path], lambda: tokens.read_tokens(path), endpoint.tokens.replace))
    return Reloader(kept, section.reload_seconds)


@asynccontextmanager
async def _listening(server: Server, prepared: Prepared) -> AsyncIterator[str]:
    """Serve; the block runs when the port is open, and the whole ends when the server has drained."""
    configuration = prepared.configuration
    async with trio.open_nursery() as listeners:
        try:
            port = await listeners.start(server.serve_async)
        except OSError as error:
            raise _cannot_bind(error, prepared) from error
        host = f"[{configuration.host}]" if ":" in configuration.host else configuration.host
        yield f"{host}:{port}"


def _cannot_bind(error: OSError, prepared: Prepared) -> ConfigurationError:
    configuration = prepared.configuration
    path = configuration.server.unix_socket
    place = f"{configuration.host}:{configuration.port_number}"
    key, message = "host", f"cannot bind {place}: {error.strerror or error}"
    if path is not None and error.filename == path:
        key, message = "server.unix_socket", f"cannot bind {path}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            message = f"{path} is already in use"
    elif error.errno == errno.EADDRINUSE:
        key, message = "port_number", f"{place} is already in use"
    elif error.errno in (errno.EACCES, errno.EPERM):
        key, message = "port_number", f"not allowed to bind {place}"
    return ConfigurationError([prepared.loaded.problem(key, message)])
