"""The second half of the log pipeline: from the spool to the sink, and out of the spool.

Each worker has a deliverer of its own, which brings that worker's closed segments to the sink in their
order, and tries again for as long as it takes. What a sink raises is judged in one place, GuardedSink.
"""

import enum
import logging
from collections.abc import Callable, Iterator
from random import Random

import trio

from hushar.errors import ConfigurationError, SegmentRefused, SinkError, SinkRefused
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.retry import jittered_delays
from hushar.sidecars.segment import StoredSegment
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import dead_letter, discard
from hushar.sidecars.threads import RunInThread
from hushar.sidecars.throttle import Throttle
from hushar.sidecars.writing import Janitor
from hushar.sinks.interface import LogSink

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""How long a sink may take to let go of what it holds, once nothing is delivered any more."""


class Outcome(enum.Enum):
    """What an attempt to deliver a segment came to. The values name the errors in the statistics."""

    DELIVERED = "delivered"
    ERROR = "error"
    """A time-out, an outage: try again soon."""
    UNEXPECTED = "unexpected"
    """An exception that a sink should not raise: as ERROR, with its traceback in the log."""
    REFUSED = "refused"
    """Everything is refused until someone acts: try again slowly."""
    SEGMENT_REFUSED = "segment_refused"
    """This segment is refused: try it a few times."""


class GuardedSink:
    """A sink whose every exception has become an Outcome, a count and, now and then, a line.

    A sink that could not be opened at the start is opened before its first delivery.
    """

    def __init__(self, sink: LogSink, clock: Callable[[], float]) -> None:
        self._sink = sink
        self._is_open = False
        self._opening = trio.Lock()
        self._throttle = Throttle(clock)
        self.up = True
        """Whether the last attempt succeeded."""
        self.errors = {outcome.value: 0 for outcome in Outcome if outcome is not Outcome.DELIVERED}

    @property
    def description(self) -> str:
        """The sink's."""
        return self._sink.description

    async def open(self) -> None:
        """Open the sink. Raises ConfigurationError; any other failure is an outage, met later."""
        try:
            await self._sink.open()
            self._is_open = True
        except ConfigurationError:
            raise
        except Exception as error:
            self._failed(_judge(error), error)

    async def deliver(self, stored: StoredSegment) -> Outcome:
        """One attempt."""
        try:
            async with self._opening:
                if not self._is_open:
                    await self._sink.open()
                    self._is_open = True
            await self._sink.deliver(stored.segment)
        except Exception as error:
            outcome = _judge(error)
            self._failed(outcome, error)
            return outcome
        if not self.up:
            logger.info("log: %s takes segments again", self.description)
        self.up = True
        return Outcome.DELIVERED

    def _failed(self, outcome: Outcome, error: Exception) -> None:
        self.errors[outcome.value] += 1
        # A sink that refuses one segment works.
        self.up = outcome is Outcome.SEGMENT_REFUSED
        if failures := self._throttle.due():
            traceback = error if outcome is Outcome.UNEXPECTED else None
            logger.warning(
                "log: %s: delivery failed (%s, %d times): %s",
                self.description,
                outcome.value,
                failures,
                error or type(error).__name__,
                exc_info=traceback,
            )

    async def aclose(self) -> None:
        """Close the sink, in bounded time, also while being cancelled."""
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            try:
                await self._sink.aclose()
            except Exception as error:
                logger.warning("log: %s: closing: %s", self.description, error, exc_info=error)


def _judge(error: Exception) -> Outcome:
    """The one table from what a sink raises to what is done about it."""
    if isinstance(error, SegmentRefused):
        return Outcome.SEGMENT_REFUSED
    if isinstance(error, (SinkRefused, ConfigurationError)):
        return Outcome.REFUSED
    if isinstance(error, SinkError):
        return Outcome.ERROR
    return Outcome.UNEXPECTED


class Deliverer:
    """One worker's delivering half."""

    def __init__(
        self,
        lane: int,
        sink: GuardedSink,
        settings: LogSettings,
        *,
        ledger: Ledger,
        janitor: Janitor,
        run_in_thread: RunInThread,
        random: Random,
    ) -> None:
        self._lane = lane
        self._sink = sink
        self._settings = settings
        self._ledger = ledger
        self._janitor = janitor
        self._run_in_thread = run_in_thread
        self._random = random
        self._news = trio.Event()
        self._finishing = trio.Event()

    def wake(self) -> None:
        """There is a closed segment."""
        self._news.set()

    def finish(self) -> None:
        """No more segments will be closed: deliver what there is and return."""
        self._finishing.set()
        self._news.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver in order until `finish`, and then until nothing is left."""
        task_status.started()
        refused: StoredSegment | None = None
        refusals = 0
        delays = self._new_delays()
        while True:
            stored = self._ledger.take_next(self._lane)
            if stored is None:
                if self._finishing.is_set():
                    return
                await self._news.wait()
                self._news = trio.Event()
                continue
            if stored is not refused:
                refused, refusals = stored, 0
            outcome = await self._attempt(stored)
            if outcome is Outcome.DELIVERED:
                delays = self._new_delays()
                continue
            refusals += outcome is Outcome.SEGMENT_REFUSED
            if refusals >= self._settings.max_attempts and await self._set_aside(stored):
                delays = self._new_delays()
                continue
            if await self._is_gone(stored):
                continue
            self._ledger.give_back(stored)
            slowly = outcome is Outcome.REFUSED
            if await self._pause(self._settings.refused_retry_seconds if slowly else next(delays)):
                delays = self._new_delays()

    def _new_delays(self) -> Iterator[float]:
        return jittered_delays(
            self._random, self._settings.retry_min_seconds, self._settings.retry_max_seconds
        )

    async def _attempt(self, stored: StoredSegment) -> Outcome:
        """Try to deliver; once delivered, the segment is out of the spool and out of the books."""
        try:
            outcome = await self._sink.deliver(stored)
        except trio.Cancelled:
            self._ledger.give_back(stored)
            raise
        if outcome is Outcome.DELIVERED:
            try:
                # Shielded: the sink has it, so it must not be found here by the next start.
                with trio.CancelScope(shield=True):
                    await self._run_in_thread(discard, stored)
            except OSError as error:
                # Delivering it again after the next start overwrites the same object.
                logger.warning("log: %s: cannot be deleted: %s", stored.segment.path, error)
            self._ledger.deliver(stored)
        return outcome

    async def _is_gone(self, stored: StoredSegment) -> bool:
        """Whether somebody has deleted the file: no attempt would ever succeed."""
        if await self._run_in_thread(stored.segment.path.exists):
            return False
        await self._janitor.drop(stored, DropReason.TORN)
        return True

    async def _set_aside(self, stored: StoredSegment) -> bool:
        try:
            with trio.CancelScope(shield=True):
                path = await self._run_in_thread(dead_letter, stored)
        except OSError as error:
            logger.warning("log: %s: cannot be set aside: %s", stored.segment.path, error)
            return False
        self._ledger.dead_letter(stored)
        logger.error("log: %s refuses a segment for good, set aside as %s", self._sink.description, path)
        return True

    async def _pause(self, seconds: float) -> bool:
        """Wait before the next attempt; True if it was cut short because the server is stopping.

        The stop is worth one attempt at once: its time is limited, and the sink may have come back.
        """
        if self._finishing.is_set():
            await trio.sleep(seconds)
            return False
        with trio.move_on_after(seconds):
            await self._finishing.wait()
            return True
        return False
