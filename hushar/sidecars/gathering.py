"""How long a worker leaves records in the channel, so that they are written together.

A write costs a turn of the worker and of the disk whatever its size, so records of calls that wait for
nothing gather for a while after each. But a disk that can hardly keep up must not rest, and gathering must
not fill a channel: what has no room in it is lost.
"""

import math
from typing import Final

import trio

from hushar.sidecars.ledger import Ledger
from hushar.timer import Timer

GATHER_SECONDS: Final = 0.1
"""How long records gather after the write before, at most."""
LOOK_SECONDS: Final = 0.05
"""How long a worker rests before it looks how fast records come: they may come much faster than before."""
GATHERING_BYTES: Final = 64 * 1024 * 1024
"""A channel with less room is written so much sooner."""
LITTLE_BYTES = 256 * 1024
"""With less than that in the channel a disk may always rest: else there would be a write for each batch."""
QUARTER: Final = 4
EIGHTH: Final = 8
SIXTEENTH: Final = 16
RETRIED: Final = 4
"""Each so many writes a disk that was slower than what comes is tried again: it may only have hung once."""
_SHORT_SECONDS: Final = 0.001
"""What comes in less says nothing of how fast records come."""


class Gathering:
    """For one worker, whose channel is in the ledger."""

    def __init__(self, ledger: Ledger, queue_bytes: int, seconds: float) -> None:
        """`queue_bytes`: the room in the channel. `seconds`: as GATHER_SECONDS."""
        self._ledger = ledger
        self._queue_bytes = queue_bytes
        self._seconds = seconds * min(1.0, queue_bytes / GATHERING_BYTES)
        self.taken_at = -math.inf
        """When something was taken last, by trio's clock."""
        self._taken_bytes = self._entered_bytes = 0
        self._share = QUARTER
        self._rate_before = 0.0
        self._speed = math.inf
        self._behind = 0

    def taken(self, size_bytes: int) -> None:
        """So much was taken from the channel just now, to be written."""
        self._rate_before = self._rate
        self.taken_at, self._taken_bytes = trio.current_time(), size_bytes
        self._entered_bytes = self._ledger.entered_bytes

    def rests(self) -> bool:
        """Whether the disk may rest: little has come during its last write, or little of the channel is full,
        so that it keeps up.

        Where less than a quarter of what it wrote has come, it is four times as fast as records come, and
        more of them may gather.
        """
        queued = self._ledger.queued_bytes
        is_fast = queued < LITTLE_BYTES or queued * QUARTER < self._taken_bytes
        self._share = QUARTER if is_fast else EIGHTH
        return is_fast or queued < self._queue_bytes // SIXTEENTH

    async def rest(self, timer: Timer | None, latest: float) -> None:
        """Wait while records gather, but not beyond `latest`, by trio's clock. `timer`: for this alone."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while (seconds := min(self.until, latest) - trio.current_time()) > 0:
            if timer is None:
                await trio.sleep(min(seconds, LOOK_SECONDS))
            else:
                await timer.sleep(min(seconds, LOOK_SECONDS))

    def written(self, size_bytes: int, seconds: float) -> None:
        """The disk has taken so much in that time."""
        self._speed = size_bytes / max(seconds, _SHORT_SECONDS)

    def catches_up(self) -> bool:
        """Whether the disk writes faster than records come, or is to be tried again. Asked once a write."""
        self._behind = 0 if self._speed > self._rate_before else self._behind + 1
        return self._behind % RETRIED == 0

    @property
    def until(self) -> float:
        """By trio's clock. No longer than until a quarter of the channel is full, or with a disk that is not
        fast an eighth, if records come as they did. In the past after a pause, when there is nothing to
        gather with."""
        rate = max(self._rate, self._rate_before)
        room = self._queue_bytes // self._share - self._ledger.queued_bytes
        filled = trio.current_time() + room / rate if rate else math.inf
        return min(self.taken_at + self._seconds, filled)

    @property
    def _rate(self) -> float:
        """Bytes a second that have come since the last time."""
        seconds = max(trio.current_time() - self.taken_at, _SHORT_SECONDS)
        return (self._ledger.entered_bytes - self._entered_bytes) / seconds
