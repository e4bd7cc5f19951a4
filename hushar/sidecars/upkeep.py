"""The upkeep of the spool: what has to go is deleted, and what was removed is made anew.

One instance of each serves all workers.
"""

import logging
from collections.abc import Callable

import trio

from hushar.errors import ConfigurationError
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.segment import StoredSegment
from hushar.sidecars.spool import SpoolLock, discard
from hushar.sidecars.threads import RunInThread
from hushar.sidecars.throttle import Throttle

logger = logging.getLogger(__name__)


class Janitor:
    """Deletes closed segments that have to go."""

    def __init__(self, ledger: Ledger, run_in_thread: RunInThread, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._run_in_thread = run_in_thread
        self._throttle = {reason: Throttle(clock) for reason in DropReason}

    async def drop(self, stored: StoredSegment, reason: DropReason) -> None:
        """Delete a segment that the caller has taken from the ledger, and count its records."""
        try:
            # Shielded: a file that is gone, or is about to go, must be counted as such.
            with trio.CancelScope(shield=True):
                await self._run_in_thread(discard, stored)
        except OSError as error:
            logger.warning("log: %s: cannot be deleted: %s", stored.segment.path, error)
        except BaseException:
            # No thread to be had: the file is there still, and its turn comes.
            self._ledger.give_back(stored)
            raise
        self._ledger.drop(stored, reason)
        self.warn(stored.segment.batches, reason)

    def warn(self, records: int, reason: DropReason, error: Exception | None = None) -> None:
        """Say now and then that records are being lost, and why."""
        if lost := self._throttle[reason].due(records):
            detail = f" ({error})" if error is not None else ""
            logger.warning("log: %d records dropped: %s%s", lost, reason.value, detail)


class SpoolKeeper:
    """Makes the spool's directory anew when it is removed under way."""

    def __init__(self, lock: SpoolLock, run_in_thread: RunInThread) -> None:
        self._lock = lock
        self._run_in_thread = run_in_thread
        self._restoring = trio.Lock()
        self._throttle = Throttle(trio.current_time)

    async def restore(self) -> bool:
        """Whether the directory is there (again), and this process's."""
        async with self._restoring:
            try:
                await self._run_in_thread(self._lock.regain)
            except ConfigurationError as error:
                if self._throttle.due():
                    logger.warning("log: the spool was removed: %s", error)
                return False
        return True
