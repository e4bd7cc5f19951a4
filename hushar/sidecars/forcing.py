"""Forcing to the disk what a worker has appended, `fsync_seconds` after that and beside the appending.

A segment that is closed before that is forced as it is closed, but for its name: an fsync of its directory is
one more turn of the file system's journal, for which the next segment would have to wait. The names of all
that were closed meanwhile are forced at once.
"""

import logging
import math

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
        self._content_since = self._names_since = math.inf
        self._throttle = Throttle(trio.current_time)

    def appended(self, now: float) -> None:
        """Something was appended to the open segment."""
        self._content_since = min(self._content_since, now)

    def closed(self, *, named: bool) -> None:
        """The open segment is closed, and its content forced. `named`: its name is too, or need not be."""
        if not named:
            self._names_since = min(self._names_since, self._content_since, trio.current_time())
        self._content_since = math.inf

    def given_up(self) -> None:
        """The open segment was left to the next start: it is the system's to write it."""
        self._content_since = math.inf

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Force what is as old as that, for ever."""
        task_status.started()
        while True:
            # What comes while this sleeps is due no sooner.
            since = min(self._content_since, self._names_since, trio.current_time())
            await trio.sleep_until(since + self._seconds)
            now = trio.current_time()
            if self._names_since + self._seconds <= now:
                await self.force_names()
            if self._content_since + self._seconds <= now:
                await self._force_content()

    async def force_names(self) -> None:
        """Force the names of closed segments, if one is not known to be on the disk."""
        if self._names_since == math.inf:
            return
        # Before the call: what is closed meanwhile is for the next one.
        self._names_since, now = math.inf, trio.current_time()
        try:
            await self._run_in_thread(self._writer.sync_names)
        except BaseException as error:
            # Also where it was not even begun: there was no thread to be had, or the worker ends.
            self._names_since = min(self._names_since, now)
            self._warn(error)

    async def _force_content(self) -> None:
        async with self.lock:
            self._content_since, now = math.inf, trio.current_time()
            try:
                await self._run_in_thread(self._writer.sync)
            except BaseException as error:
                self._content_since = min(self._content_since, now)
                self._warn(error)

    def _warn(self, error: BaseException) -> None:
        """Say it, or raise what is no fault of the disk."""
        if not isinstance(error, OSError):
            raise error
        if self._throttle.due():
            logger.warning("log: fsync of a segment: %s", error)
