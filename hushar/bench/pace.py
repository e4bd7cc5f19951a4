"""When the calls of an open loop are due, and how to wait for that precisely.

The schedule is fixed before the run: call number i is meant for begin + i / rate, whatever the server does.
At more than FINE_RATE calls a second they are meant for the ticks of a clock: all calls of a tick leave
together, so that the loop is not woken for each. No call waits for its tick: it is meant for it.
"""

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import trio
from numpy.typing import NDArray

from hushar.timer import make_timer

FINE_RATE: Final = 4_000.0
"""Up to this rate every call has a moment of its own."""
COARSE_RATE: Final = 40_000.0
FINE_TICK: Final = 0.00025
COARSE_TICK: Final = 0.001
"""Of rates up to COARSE_RATE, and above; seconds."""

SleepUntil = Callable[[float], Awaitable[None]]

_EARLY: Final = 0.00006
"""A timer is set so much earlier, since tasks run some 80 µs after it; what is left is waited for awake."""
_AT_ONCE: Final = 20_000
"""Calls that are found due in one step: a rate beyond all means must not keep answers from being read."""

_A_PIECE: Final = 1_000_000
"""Moments in one array."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Calls at a constant rate."""

    begin: float
    """On the run's clock, seconds."""
    rate: float
    """Calls a second."""
    count: int
    """Of all calls."""

    @property
    def tick(self) -> float:
        """Seconds; 0 where every call has its own moment."""
        if self.rate <= FINE_RATE:
            return 0.0
        return FINE_TICK if self.rate <= COARSE_RATE else COARSE_TICK

    def time_of(self, index: int) -> float:
        """The moment for which a call is meant."""
        return self.times(index, index + 1)[0]

    def times(self, start: int, stop: int) -> list[float]:
        """Those of calls start … stop - 1."""
        begin, rate, tick = self.begin, self.rate, self.tick
        if not tick:
            return [begin + index / rate for index in range(start, stop)]
        a_tick = rate * tick
        return [begin + math.floor(index / a_tick + 1e-9) * tick for index in range(start, stop)]

    def groups(self, start: int, stop: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """The same as `times` for very many: moments, and how many calls are meant for each; in pieces.

        There are at most FINE_RATE moments a second, whatever the rate. Both arrays have the shape `(n,)`.
        """
        if stop <= start:
            return
        tick = self.tick
        a_tick = self.rate * tick if tick else 1.0
        first, last = math.floor(start / a_tick + 1e-9), math.floor((stop - 1) / a_tick + 1e-9)
        for begin in range(first, last + 1, _A_PIECE):
            number = np.arange(begin, min(last + 1, begin + _A_PIECE) + 1, dtype=np.float64)
            # The first call of each tick, and the one behind the last tick.
            edges = np.ceil((number - 1e-9) * a_tick).astype(np.int64) if tick else number.astype(np.int64)
            edges = np.clip(edges, start, stop)
            moments = number[:-1] * tick if tick else number[:-1] / self.rate
            yield self.begin + moments, edges[1:] - edges[:-1]

    def due(self, now: float) -> int:
        """How many calls are meant for a moment that is not later than `now`."""
        elapsed = now - self.begin
        if elapsed < 0:
            return 0
        tick = self.tick
        if tick:
            # All calls of the tick that has begun.
            elapsed = (math.floor(elapsed / tick + 1e-9) + 1) * tick
            return min(self.count, math.ceil(elapsed * self.rate - 1e-6))
        return min(self.count, math.floor(elapsed * self.rate + 1e-6) + 1)


@contextmanager
def precise_sleep() -> Iterator[SleepUntil]:
    """What waits for a moment as precisely as the system can: some 50 microseconds late.

    kqueue does so by itself, and a clock that is not the system's (in tests) need not be precise.
    """
    timer = make_timer()
    if timer is None:
        yield trio.sleep_until
        return

    async def sleep_until(when: float) -> None:
        left = when - _EARLY - trio.current_time()
        if left > 0:
            await timer.sleep(left)
        await trio.lowlevel.checkpoint()
        while trio.current_time() < when:
            await trio.lowlevel.checkpoint()

    try:
        yield sleep_until
    finally:
        timer.close()


async def keep_pace(
    schedule: Schedule,
    sleep_until: SleepUntil,
    due: Callable[[float, Sequence[float]], None],
    passed: Callable[[], int] = lambda: 0,
) -> None:
    """Call `due(now, times)` whenever calls of the schedule are due, with the moments they are meant for.

    `passed`: how many of them are nobody's any more, or were found due before.
    """
    known = 0
    while known < schedule.count:
        await sleep_until(schedule.time_of(known))
        now = trio.current_time()
        known = max(known, passed())
        reached = min(schedule.due(now), known + _AT_ONCE)
        if reached > known:
            times = schedule.times(known, reached)
            known = reached
            due(now, times)
