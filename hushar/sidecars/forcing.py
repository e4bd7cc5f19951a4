"""Forcing to the disk what a worker has appended, `fsync_seconds` after that and beside the appending.

A segment that is closed before that is forced as it is closed, but for its name: an fsync of its directory is
one more turn of the file system's journal, for which the next segment would have to wait. The names of all
that were closed meanwhile are forced at once.
"""

import logging
import math
from collections.abc import Callable

import trio

from hushar.sidecars.spool import SegmentWriter
from hushar.sidecars.threads import RunInThread
from hushar.sidecars.throttle import Throttle

logger = logging.getLogger(__name__)


class Forcing:
    """What of one worker's segments is not known to be on the disk yet, and since when.

    `run` is there for `fsync = "interval"` alone; without it nothing is forced here.
    """

    def __init__(self, writer: SegmentWriter, seconds: float, run_in_thread: RunInThread) -> None:
        self._writer = writer
        self._seconds = seconds
        self._run_in_thread = run_in_thread
        self.lock = trio.Lock()
        """Held while the open segment is forced or closed: its file must stay open meanwhile."""
        self._content, self._names = _Unforced(), _Unforced()
        self._throttle = Throttle(trio.current_time)

    def appended(self, now: float) -> None:
        """Something was appended to the open segment."""
        self._content.note(now)

    def closed(self, *, named: bool) -> None:
        """The open segment is closed, and its content forced. `named`: its name is too, or need not be."""
        if not named:
            self._names.note(min(self._content.since, trio.current_time()))
        self._content.since = math.inf

    def given_up(self) -> None:
        """The open segment was left to the next start: it is the system's to write it."""
        self._content.since = math.inf

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Force what is as old as that, for ever."""
        task_status.started()
        while True:
            # What comes while this sleeps is due no sooner.
            since = min(self._content.since, self._names.since, trio.current_time())
            await trio.sleep_until(since + self._seconds)
            now = trio.current_time()
            if self._names.since + self._seconds <= now:
                await self.force_names()
            if self._content.since + self._seconds <= now:
                async with self.lock:
                    await self._force(self._content, self._writer.sync)

    async def force_names(self) -> None:
        """Force the names of closed segments, if one is not known to be on the disk."""
        if self._names.since < math.inf:
            await self._force(self._names, self._writer.sync_names)

    async def _force(self, unforced: "_Unforced", sync: Callable[[], None]) -> None:
        # Before the call: what comes meanwhile is for the next one.
        unforced.since, begun, done = math.inf, trio.current_time(), False
        try:
            await self._run_in_thread(sync)
            done = True
        except OSError as error:
            if self._throttle.due():
                logger.warning("log: fsync of a segment: %s", error)
        finally:
            # Also where it was not even begun: there was no thread to be had, or the worker ends.
            if not done:
                unforced.note(begun)


class _Unforced:
    """Since when something is not known to be on the disk; infinity where all of it is."""

    def __init__(self) -> None:
        self.since = math.inf

    def note(self, since: float) -> None:
        """There is something, since then."""
        self.since = min(self.since, since)
