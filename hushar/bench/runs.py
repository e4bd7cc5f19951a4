"""One run after the other: warm-up, window, the end of what is under way, and the figures."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Final

import numpy as np
import trio
from numpy.typing import NDArray

from hushar.bench.generator import LATE_SECONDS, ClosedLoop, Generator, OpenLoop
from hushar.bench.lines import Lines
from hushar.bench.options import Load, Setup
from hushar.bench.pace import Schedule, precise_sleep
from hushar.bench.recording import Histogram, Recorder, Window
from hushar.bench.stages import NoMetrics, Totals, mean_seconds, read_totals

GRACE_SECONDS: Final = 5.0
"""For calls under way at the end that have no time-out of their own."""
_INTERRUPTED_GRACE: Final = 0.5
UNSENT_SHARE: Final = 0.01
BUSY_SHARE: Final = 0.97
"""Of a core: a generator that is so busy is at its limit."""
ANSWERED_SHARE: Final = 0.95
"""Of the rate: with less than that answered the rate is not held."""
_SLOTS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_MOST_SLOTS: Final = 120
_PROGRESS_SECONDS: Final = 0.5
_SETTLE_SECONDS: Final = 0.02
"""From the connections to the first call."""

_HAIR: Final = 1e-9
"""Windows begin so much earlier, and end so, that rounding keeps no call from the second it is meant for."""

Progress = Callable[[str, float], None]
"""Told what is done now, and which share of it is done (0–1)."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The figures of one run; all of the window alone."""

    load: Load
    seconds: float
    """That were measured: less than was asked for if the run was ended early."""
    connections: int
    sent: int
    unsent: int
    """Calls that the schedule had and that were never sent."""
    calls_per_second: float
    """That ended with OK."""
    statuses: Mapping[str, int]
    messages: Mapping[str, str]
    """Status → the first message that came with it."""
    latency: Histogram
    late_p99_seconds: float
    cpu_share: float
    """Of one core, by this process."""
    slot_seconds: float
    ok_slots: NDArray[np.int64]
    """Calls that ended with OK, by slots of time."""
    failed_slots: NDArray[np.int64]
    cut_short: int = 0
    """Calls in `latency` that nobody waited for to the end: theirs is longer."""
    behind: int = 0
    """Calls that the generator had not even found due when the window was over."""
    idle_share: float = 0.0
    """Of a closed loop's places, on average: those that waited for a stream."""
    server_stages: Mapping[str, float] | None = None
    """Stage → mean seconds a matrix."""
    interrupted: bool = False
    connected: bool = True
    """Whether there was a server at the end."""
    limits: tuple[str, ...] = field(default=())
    """Why the generator was the limit; empty where it was not."""

    @property
    def limited(self) -> bool:
        """Whether the generator was the limit."""
        return bool(self.limits)

    @property
    def ended(self) -> int:
        """Calls that ended, in whatever way."""
        return sum(self.statuses.values())

    @property
    def error_rate(self) -> float | None:
        """Calls that did not end with OK, as a share of all that ended; None without any."""
        return (self.ended - self.statuses.get("OK", 0)) / self.ended if self.ended else None


@dataclass(slots=True)
class Context:
    """What a command gives its runs beside the setup."""

    stop: trio.Event = field(default_factory=trio.Event)
    """Set: end the run now, with what was measured so far."""
    progress: Progress = lambda _, __: None
    tell: Callable[[str], None] = lambda _: None
    """Told in a sentence what the user should know at once."""
    no_stages: bool = False
    """The server's /metrics could not be read; once is enough."""


async def measure(setup: Setup, load: Load, context: Context) -> RunResult:
    """One run. Raises ConnectionLostError where no connection can be made at its beginning."""
    lines = Lines(setup.target, setup.connections)
    with _collector_at_rest():
        async with lines.open():
            return await _measured(setup, load, context, lines)


async def _measured(setup: Setup, load: Load, context: Context, lines: Lines) -> RunResult:
    begin = trio.current_time() + _SETTLE_SECONDS
    start = begin + setup.warmup_seconds - _HAIR
    window = Window(start, start + setup.seconds)
    slot = next((each for each in _SLOTS if setup.seconds / each <= _MOST_SLOTS), setup.seconds)
    recorder = Recorder(window, slot)
    generator = _generator(setup, load, recorder, begin)
    generator.attach(lines)
    return await _Run(setup, load, context, generator).go(begin)


def _generator(setup: Setup, load: Load, recorder: Recorder, begin: float) -> Generator:
    if load.rate is None:
        return ClosedLoop(recorder, cycle(setup.calls), load.concurrency or 1)
    count = max(1, math.ceil(load.rate * (setup.warmup_seconds + setup.seconds) - 1e-6))
    return OpenLoop(recorder, cycle(setup.calls), Schedule(begin, load.rate, count))


class _Run:
    """A run whose connections are made."""

    def __init__(self, setup: Setup, load: Load, context: Context, generator: Generator) -> None:
        self._setup = setup
        self._load = load
        self._context = context
        self._generator = generator
        self._recorder = generator.recorder
        self._paced = trio.Event()

    async def go(self, begin: float) -> RunResult:
        """Its figures."""
        setup, recorder, generator = self._setup, self._recorder, self._generator
        async with trio.open_nursery() as nursery:
            if setup.timeout_seconds is not None:
                await nursery.start(generator.watch, setup.timeout_seconds)
            await nursery.start(self._pace, begin)
            await self._until(begin, recorder.window.begin, "warm-up")
            generator.window_begins()
            before = await self._totals()
            busy = time.process_time()
            interrupted = await self._until(recorder.window.begin, recorder.window.end, "measuring")
            busy = time.process_time() - busy
            if interrupted:
                recorder.close(trio.current_time())
            else:
                with trio.move_on_after(LATE_SECONDS):
                    await self._paced.wait()
            connected = generator.lines.connected
            unsent = generator.end(trio.current_time())
            grace = GRACE_SECONDS if setup.timeout_seconds is None else setup.timeout_seconds + 1.0
            await generator.finish(_INTERRUPTED_GRACE if interrupted else grace)
            nursery.cancel_scope.cancel()
        after = None if before is None else await self._totals()
        stages = None if before is None or after is None else mean_seconds(before, after)
        return self._result(unsent, busy, stages, interrupted=interrupted, connected=connected)

    async def _pace(self, begin: float, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        with precise_sleep() as sleep_until:
            await sleep_until(begin)
            await self._generator.run(sleep_until)
        self._paced.set()

    async def _until(self, begin: float, end: float, what: str) -> bool:
        """Wait, and show how far it is; True if the run is to end early."""
        stop = self._context.stop
        while not stop.is_set() and (now := trio.current_time()) < end:
            share = max(0.0, now - begin) / max(end - begin, 1e-9)
            self._context.progress(f"{what}: {self._load}", share)
            with trio.move_on_at(min(end, now + _PROGRESS_SECONDS)):
                await stop.wait()
        return stop.is_set()

    async def _totals(self) -> Totals | None:
        admin = self._setup.admin
        if admin is None or self._context.no_stages:
            return None
        try:
            return await read_totals(admin)
        except NoMetrics as error:
            # Once for all runs.
            self._context.no_stages = True
            self._context.tell(f"no server-side stages: {error}")
            return None

    def _result(
        self,
        unsent: int,
        busy: float,
        stages: Mapping[str, float] | None,
        *,
        interrupted: bool,
        connected: bool,
    ) -> RunResult:
        recorder, window = self._recorder, self._recorder.window
        recorder.settle()
        seconds = window.end - window.begin if interrupted else self._setup.seconds
        places = (self._load.concurrency or 1) * seconds
        result = RunResult(
            load=self._load,
            seconds=seconds,
            connections=self._setup.connections,
            sent=self._generator.sent,
            unsent=unsent,
            # Nothing is begun behind the window, so what still ends there was its own work.
            calls_per_second=recorder.statuses.get("OK", 0) / seconds if seconds else 0.0,
            statuses=dict(sorted(recorder.statuses.items(), key=lambda item: (item[0] != "OK", item))),
            messages=recorder.messages,
            latency=recorder.latency,
            late_p99_seconds=recorder.late.percentile(0.99) or 0.0,
            cpu_share=busy / seconds if seconds else 0.0,
            slot_seconds=recorder.slot_seconds,
            ok_slots=recorder.ok_slots,
            failed_slots=recorder.failed_slots,
            cut_short=recorder.cut_short,
            behind=self._generator.behind,
            idle_share=self._generator.idle_seconds / places if places else 0.0,
            server_stages=stages,
            interrupted=interrupted,
            connected=connected,
        )
        return replace(result, limits=tuple(_limits(result)))


def _limits(result: RunResult) -> Iterator[str]:
    """Why the generator was the limit."""
    planned = result.sent + result.unsent
    busy = result.cpu_share >= BUSY_SHARE
    if result.unsent > UNSENT_SHARE * planned:
        share = f"{result.unsent / planned:.1%} of the calls were never sent"
        if busy or result.behind > result.unsent / 2:
            yield f"{share}: its core was busy"
        else:
            yield f"{share}: {_taken(result)}"
    concurrency = result.load.concurrency
    if concurrency is not None and result.idle_share > UNSENT_SHARE:
        under_way = f"{concurrency * (1 - result.idle_share):.0f} of {concurrency} calls at a time"
        yield f"only {under_way} were under way: {_taken(result)}"
    if result.late_p99_seconds > LATE_SECONDS:
        yield f"it was {result.late_p99_seconds * 1000:.0f} ms late at p99"
    rate = result.load.rate
    if busy and (rate is None or result.calls_per_second < ANSWERED_SHARE * rate):
        yield f"its core was busy {min(result.cpu_share, 1.0):.0%} of the time"


def _taken(result: RunResult) -> str:
    return f"all streams of its {result.connections} connections were taken"


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """No collection of garbage, which would show as latency: a run makes next to no cycles."""
    gc.collect()
    gc.freeze()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        gc.unfreeze()
