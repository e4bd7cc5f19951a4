"""What comes of an attempt to deliver a segment: every exception of a sink is judged here, once.

The same for every sink: outcomes, counts, a line now and then, and the circuit.
"""

import enum
import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from hushar.errors import ConfigurationError, SegmentRefused, SinkError, SinkRefused
from hushar.sidecars.circuit import Circuit
from hushar.sidecars.redaction import redacted
from hushar.sidecars.segment import StoredSegment
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.throttle import Throttle
from hushar.sinks.interface import LogSink, Segment

logger = logging.getLogger(__name__)

OPEN_SECONDS = 30.0
"""How long the start waits for a sink: then it is an outage, and the server serves."""
ATTEMPT_SECONDS = 900.0
"""How long one attempt may take. Sinks have time-outs of their own, far shorter; one that has none must not
hold up everybody for ever."""
WORDS_LENGTH = 8192
"""The most of an error's text that is logged: some servers answer with a page."""
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt."""

    outcome: Outcome
    error: Exception | None = None

    @property
    def rest(self) -> tuple[bytes, int] | None:
        """Where the sink has delivered the segment but for a rest, that rest: its bytes, its records."""
        error = self.error
        if isinstance(error, SegmentRefused) and error.rest is not None:
            return error.rest, error.rest_batches
        return None


class GuardedSink:
    """A sink whose every exception has become an Outcome, a count and, now and then, a line.

    A sink that could not be opened at the start is opened before its first delivery. `circuit` says when an
    attempt may be made; what comes of it is reported to it from here.
    """

    def __init__(
        self, sink: LogSink, settings: LogSettings, circuit: Circuit, clock: Callable[[], float]
    ) -> None:
        self._sink = sink
        self._settings = settings
        self.circuit = circuit
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
            await self._answer(self._open_once, OPEN_SECONDS)
        except ConfigurationError:
            raise
        except Exception as error:
            self._failed(_judge(error), error)

    async def deliver(self, stored: StoredSegment) -> Attempt:
        """One attempt."""
        try:
            await self._answer(partial(self._send, stored.segment), ATTEMPT_SECONDS)
        except Exception as error:
            outcome = _judge(error)
            self._failed(outcome, error)
            return Attempt(outcome, error)
        if not self.up:
            logger.info("log: %s takes segments again", self.description)
        self.up = True
        self.circuit.worked()
        return Attempt(Outcome.DELIVERED)

    async def _open_once(self) -> None:
        async with self._opening:
            if not self._is_open:
                await self._sink.open()
                self._is_open = True

    async def _send(self, segment: Segment) -> None:
        await self._open_once()
        await self._sink.deliver(segment)

    async def _answer(self, ask: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Ask the sink something; in bounded time, which a sink should see to itself."""
        with trio.move_on_after(seconds) as asking:
            await ask()
        if asking.cancelled_caught:
            raise SinkError(f"no answer in {seconds:g} seconds")

    def _failed(self, outcome: Outcome, error: Exception) -> None:
        self.errors[outcome.value] += 1
        # A sink that refuses one segment works.
        self.up = outcome is Outcome.SEGMENT_REFUSED
        if self.up:
            self.circuit.worked()
        else:
            slowly = outcome is Outcome.REFUSED
            settings = self._settings
            self.circuit.failed(settings.refused_retry_seconds if slowly else settings.retry_max_seconds)
        if failures := self._throttle.due():
            logger.warning(
                "log: %s: delivery failed (%s, %d times): %s",
                self.description,
                outcome.value,
                failures,
                _words(outcome, error),
            )

    async def aclose(self) -> None:
        """Close the sink, in bounded time, also while being cancelled."""
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            try:
                await self._sink.aclose()
            except Exception as error:
                text = _words(Outcome.UNEXPECTED, error)
                logger.warning("log: %s: closing: %s", self.description, text)


def _words(outcome: Outcome, error: Exception) -> str:
    """The error for the server's log: with its traceback where it is a mistake in the sink."""
    text = str(error) or type(error).__name__
    if outcome is Outcome.UNEXPECTED:
        text = f"{text}\n{''.join(traceback.format_exception(error)).rstrip()}"
    # Cut once more behind it: a secret that was cut in two may not look like one.
    return redacted(text[: 2 * WORDS_LENGTH])[:WORDS_LENGTH]


def _judge(error: Exception) -> Outcome:
    """The one table from what a sink raises to what is done about it."""
    if isinstance(error, SegmentRefused):
        return Outcome.SEGMENT_REFUSED
    if isinstance(error, (SinkRefused, ConfigurationError)):
        return Outcome.REFUSED
    if isinstance(error, SinkError):
        return Outcome.ERROR
    return Outcome.UNEXPECTED
