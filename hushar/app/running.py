"""One nursery tree; the order of shutdown is the order of nesting.

    admin port                     answers from before the model is read until all the others have ended
      └─ signals
           └─ sidecars             end when their channels are closed and drained
                └─ serving         the batcher
                     └─ listeners  accept loops and connections

A signal drains the listeners; with them the inner block ends, then the batcher, then the sending ends
of the channels are closed, and the sidecars flush and return.
"""

import dataclasses
import errno
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TextIO

import trio

from hushar.admin.failures import FailedCalls
from hushar.app import signals, tls, tokens
from hushar.app.administration import Administration, Parts, administration, flat_errors, note_failures
from hushar.app.banner import announce, facts, warnings_of
from hushar.app.endpoint import Endpoint, make_endpoint
from hushar.app.memory import keep_freed_memory, settled
from hushar.app.messages import configure_messages
from hushar.app.preparing import Prepared, Source, prepare
from hushar.app.privacy import make_privacy
from hushar.app.reloading import Kept, Reloader
from hushar.app.sidecars import Sidecars, make_sidecars
from hushar.errors import ConfigurationError, Problem
from hushar.features.vectorize import Vectorizer, make_vectorizer
from hushar.inference.admission import BatcherLimits
from hushar.inference.answering import Answering
from hushar.inference.batcher import Batcher
from hushar.inference.scoring import Scorer
from hushar.rpc import Server
from hushar.services import native
from hushar.sidecars.durations import Durations
from hushar.sinks.interface import Counter

log = logging.getLogger("hushar")


async def run(source: Source, *, stream: TextIO) -> bool:
    """Prepare and serve; the admin port is open while the model is still being read. See `serve`."""
    async with administration(stream) as admin:
        over = await _serve(await prepare(source, configured=admin.open), admin, stream)
    return over  # noqa: RET504 - to mypy an `async with` may swallow exceptions


async def serve(prepared: Prepared, *, stream: TextIO) -> bool:
    """Serve until SIGTERM or SIGINT, then drain and return; a second signal ends the process.

    Returns whether nothing is at work any more: a model that outlasted the drain still is, in a
    thread that cannot be stopped. Everything is flushed all the same.
    The banner and all messages go to `stream`. Raises ConfigurationError for what can only be found
    out by starting: a port in use, a spool that another server holds, a sink that cannot be opened.
    """
    async with administration(stream) as admin:
        await admin.open(prepared.loaded)
        over = await _serve(prepared, admin, stream)
    return over  # noqa: RET504 - to mypy an `async with` may swallow exceptions


async def _serve(prepared: Prepared, admin: Administration, stream: TextIO) -> bool:
    configuration = prepared.configuration
    configure_messages(configuration.log_format, configuration.log_level, stream)
    admin.hear_messages()
    for warning in warnings_of(prepared):
        log.warning("%s", warning)
    keep_freed_memory(prepared.source.environ)
    with flat_errors(partial(_located, prepared)):
        parts, endpoint = _assemble(prepared, counted=admin.is_open)
        if configuration.model.warmup:
            await trio.to_thread.run_sync(parts.batcher.rehearse)
        with settled():
            await _run(parts, endpoint, admin, stream)
    log.info("stopped")
    return not parts.batcher.thread_at_work


def _assemble(prepared: Prepared, *, counted: bool) -> tuple[Parts, Endpoint]:
    """All parts of the server; nothing of them runs yet. `counted`: also what only the admin port tells."""
    buckets = prepared.configuration.metrics.buckets
    durations, failed = Durations(buckets), FailedCalls(buckets)
    sidecars = make_sidecars(
        prepared,
        gauges=[lambda: _gauges(endpoint.server, batcher)],
        totals=[lambda: _totals(batcher)],
        durations=durations if counted else None,
    )
    vectorizer = make_vectorizer(prepared.plan, prepared.configuration.kernel)
    batcher = _make_batcher(prepared, sidecars, vectorizer)
    endpoint = make_endpoint(prepared, batcher)
    if counted:
        note_failures(endpoint.server, failed)
    return Parts(prepared, endpoint.server, batcher, sidecars, vectorizer, durations, failed), endpoint


async def _run(parts: Parts, endpoint: Endpoint, admin: Administration, stream: TextIO) -> None:
    """From the first signal that is heard to the last flush."""
    prepared = parts.prepared
    reloader = _make_reloader(prepared, endpoint)

    def stop() -> None:
        admin.draining()
        endpoint.drain()

    async with trio.open_nursery() as outermost:
        # Before the port is open: from then on a signal must drain.
        await outermost.start(signals.obey, stop, reloader.look)
        await outermost.start(reloader.run)
        async with parts.sidecars.running(), trio.open_nursery() as serving:
            await serving.start(parts.batcher.run)
            async with _listening(endpoint.server, prepared) as address:
                admin.ready(facts(prepared, address, admin.address), parts)
                announce(prepared, address, stream, admin.address)
            # Every call has been answered; what the batcher still holds nobody waits for.
            serving.cancel_scope.cancel()
        outermost.cancel_scope.cancel()


def _located(prepared: Prepared, problem: Problem) -> Problem:
    """A sink knows the key that is at fault but not the file."""
    return problem if problem.file else prepared.loaded.problem(problem.key, problem.message)


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


def _make_batcher(prepared: Prepared, sidecars: Sidecars, vectorizer: Vectorizer) -> Batcher:
    configuration = prepared.configuration
    batching = configuration.batching
    scorer = Scorer(
        vectorizer,
        prepared.served,
        logged=sidecars.log is not None,
        max_answer_bytes=configuration.server.max_send_bytes,
        privacy=make_privacy(configuration.log, prepared.hash_key, readable=vectorizer.name == "reference"),
    )
    log_outlet = sidecars.log.outlet if sidecars.log is not None else None
    answering = Answering(
        native.refuse,
        native.reply_all,
        sidecars.metrics.outlet,
        log_outlet,
        log_outlet,
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
