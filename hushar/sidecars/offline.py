"""Delivering what a server has left in its spool, without the server: `hushar logs deliver`.

One pass over what is there, the oldest first, then over `dead-letter`: a sink that is down is waited for
a little, not for ever. What is not delivered stays where it was.
"""

import enum
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import trio

from hushar.errors import ConfigurationError, Problem
from hushar.sidecars.circuit import Circuit
from hushar.sidecars.compressing import Compressing
from hushar.sidecars.delivery import GuardedSink, Outcome
from hushar.sidecars.recovery import Recovered, dead_letters, recover
from hushar.sidecars.retry import jittered_delays
from hushar.sidecars.segment import FileOperations, StoredSegment
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import (
    DEAD_LETTER,
    SpoolLock,
    discard,
    set_aside,
)
from hushar.sidecars.threads import RunInThread, own_threads
from hushar.sidecars.throttle import Throttle
from hushar.sinks.interface import LogSink

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 5
"""Outages in a row after which the sink is given up."""


@dataclass(slots=True)
class Amount:
    """Of segments."""

    segments: int = 0
    records: int = 0
    size_bytes: int = 0

    def add(self, stored: StoredSegment) -> None:
        """One more."""
        self.segments += 1
        self.records += stored.segment.batches
        self.size_bytes += stored.segment.size_bytes


@dataclass(frozen=True, slots=True)
class Pass:
    """What came of it all."""

    delivered: Amount
    left: Amount
    """In the spool, `dead-letter` included."""
    torn_records: int
    """Cut off while looking the spool through."""


class _Fate(enum.Enum):
    DELIVERED = enum.auto()
    LEFT = enum.auto()
    GIVEN_UP = enum.auto()
    """The sink takes nothing."""


async def deliver_left(
    settings: LogSettings,
    sink: LogSink,
    spool_dir: Path,
    *,
    random: Random | None = None,
    run_in_thread: RunInThread | None = None,
) -> Pass:
    """Deliver everything in the spool once.

    Raises ConfigurationError if the spool is a server's right now, or cannot be read or written to, or the
    sink cannot be opened.
    """
    run_in_thread = run_in_thread or own_threads(1)
    if not await run_in_thread(_is_there, spool_dir):
        return Pass(Amount(), Amount(), 0)
    guarded = GuardedSink(sink, settings, Circuit(random or Random()), trio.current_time)  # noqa: S311
    async with AsyncExitStack() as stack:
        # First: a server that holds the spool is no reason to trouble the sink.
        lock = await run_in_thread(SpoolLock.acquire, spool_dir)
        stack.callback(lock.release)
        await guarded.open()
        stack.push_async_callback(guarded.aclose)
        recovered = await run_in_thread(_found, spool_dir)
        offline = _Offline(settings, guarded, run_in_thread, random or Random())  # noqa: S311
        delivered = await offline.deliver_all([*recovered.segments, *dead_letters(spool_dir)])
        left = await run_in_thread(_left, spool_dir)
    return Pass(delivered, left, recovered.torn_records)


def _is_there(spool_dir: Path) -> bool:
    try:
        return spool_dir.exists()
    except OSError as error:
        raise _unreadable(spool_dir, error) from error


def _found(spool_dir: Path) -> Recovered:
    try:
        return recover(spool_dir)
    except OSError as error:
        raise _unreadable(spool_dir, error) from error


def _unreadable(spool_dir: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError([Problem("", "log.spool_dir", f"{spool_dir} cannot be read: {error.strerror}")])


def _left(spool_dir: Path) -> Amount:
    found = _found(spool_dir)
    # How many records are in what cannot be read, nobody knows.
    left = Amount(segments=found.unreadable)
    for stored in (*found.segments, *dead_letters(spool_dir)):
        left.add(stored)
    return left


class _Offline:
    """The attempts of one pass."""

    def __init__(
        self, settings: LogSettings, sink: GuardedSink, run_in_thread: RunInThread, random: Random
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._run_in_thread = run_in_thread
        self._random = random
        self._files = FileOperations()
        self._compressing = Compressing(settings, self._files, run_in_thread)
        self._uncompressed = Throttle(trio.current_time)

    async def deliver_all(self, segments: Sequence[StoredSegment]) -> Amount:
        """In their order, until the sink is given up; what was delivered."""
        delivered = Amount()
        for stored in segments:
            fate = await self._deliver(stored)
            if fate is _Fate.GIVEN_UP:
                break
            if fate is _Fate.DELIVERED:
                delivered.add(stored)
        return delivered

    async def _deliver(self, stored: StoredSegment) -> _Fate:
        is_dead = stored.segment.path.parent.name == DEAD_LETTER
        stored = stored if is_dead else await self._compressed(stored)
        delays = jittered_delays(
            self._random, self._settings.retry_min_seconds, self._settings.retry_max_seconds
        )
        outages = refusals = 0
        while True:
            attempt = await self._sink.deliver(stored)
            if attempt.outcome is Outcome.DELIVERED:
                await self._forget(stored)
                return _Fate.DELIVERED
            if attempt.outcome is Outcome.REFUSED:
                return _Fate.GIVEN_UP
            if attempt.outcome is Outcome.SEGMENT_REFUSED:
                refusals += 1
                if is_dead and attempt.rest is None:
                    return _Fate.LEFT
                if attempt.rest is not None or refusals >= self._settings.max_attempts:
                    await self._set_aside(stored, attempt.rest)
                    return _Fate.LEFT
            else:
                outages += 1
                if outages >= ATTEMPTS:
                    return _Fate.GIVEN_UP
            await trio.sleep(next(delays))

    async def _compressed(self, stored: StoredSegment) -> StoredSegment:
        if not self._compressing.is_due(stored):
            return stored
        try:
            return await self._compressing(stored)
        except OSError as error:
            if failures := self._uncompressed.due():
                logger.warning("log: %d segments are delivered uncompressed: %s", failures, error)
            return stored

    async def _forget(self, stored: StoredSegment) -> None:
        try:
            await self._run_in_thread(discard, stored)
        except OSError as error:
            # It counts as left: delivering it again overwrites the same object.
            logger.warning("log: %s: cannot be deleted: %s", stored.segment.path, error)

    async def _set_aside(self, stored: StoredSegment, rest: tuple[bytes, int] | None) -> None:
        try:
            await self._run_in_thread(set_aside, stored, rest, self._files)
        except OSError as error:
            logger.warning("log: %s: cannot be set aside: %s", stored.segment.path, error)
