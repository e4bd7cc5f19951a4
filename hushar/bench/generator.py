"""What begins calls and takes their ends: at a constant rate (open), or so many at a time (closed).

Nothing here is done for a single call where it can be done for all that ended, or are due, together.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import trio

from hushar.bench.lines import Line, Lines
from hushar.bench.pace import Schedule, SleepUntil, keep_pace
from hushar.bench.recording import Recorder
from hushar.rpc.client_bursts import MAX_STREAMS, BurstConnection, Prepared
from hushar.rpc.client_engine import ClientCall

_TOGETHER: Final = 8
"""Calls of one tick that go out on one connection before the next one takes some."""
LATE_SECONDS: Final = 0.05
"""How late calls may be begun at the end of the window; one that is later is never sent."""
_LOOKS: Final = 20
"""How often it is looked, in the time that a call may take, which calls have taken too long;"""
_LOOK_SECONDS: Final = (0.002, 0.05)
"""but not more often, nor less often, than after these: a look costs time of the core that makes the load."""


class Generator:
    """What both loops have in common."""

    def __init__(self, recorder: Recorder, calls: Iterator[Prepared]) -> None:
        """`calls` has no end."""
        self.recorder = recorder
        self.sent = 0
        """Calls meant for the window that were begun."""
        self.behind = 0
        """Calls of an open loop that were not even found due when the window was over."""
        self.idle_seconds = 0.0
        """In the window: what places of a closed loop waited for a stream, added up."""
        self.lines: Lines
        self._calls = calls
        self._again: deque[float] = deque()
        """Tags of calls that a server did not begin since it gave up the connection."""
        self._stopped = False
        self._idle = trio.Event()

    # What the loops do differently

    def wanted(self, line: Line) -> int:
        """How many calls are to be begun on a line now; `take` gives their tags."""
        raise NotImplementedError

    def take(self, count: int) -> list[float]:
        """The tags of calls that are begun now, ascending."""
        raise NotImplementedError

    def freed(self, count: int) -> None:
        """So many calls are over."""

    def expire(self, now: float, seconds: float) -> None:
        """Give up calls that wait since before `now - seconds` and are not begun."""

    def no_server(self) -> None:
        """No connection can be made, and there is none."""
        raise NotImplementedError

    async def run(self, sleep_until: SleepUntil) -> None:
        """Begin calls until cancelled, or until the schedule's end."""
        raise NotImplementedError

    def window_begins(self) -> None:
        """The warm-up is over."""

    def end(self, now: float) -> int:
        """The window is over: how many calls meant for it were never sent."""
        raise NotImplementedError

    # Beginning and ending

    def attach(self, lines: Lines) -> None:
        """The connections that are used."""
        self.lines = lines
        lines.on_turn, lines.on_no_server = self.on_turn, self.no_server

    def on_turn(self, line: Line, engine: BurstConnection, heard: float) -> None:
        """See OnTurn."""
        if engine.answered:
            tags, engine.answered = engine.answered, []
            self.recorder.ok(heard, tags)
            self.freed(len(tags))
        if engine.unanswered:
            calls, engine.unanswered = engine.unanswered, []
            self._failed(calls, max(heard, trio.current_time()))
        if not self._stopped:
            self.feed(line)
        elif not self._idle.is_set() and not self.lines.in_flight:
            self._idle.set()

    def feed(self, line: Line, most: int = MAX_STREAMS) -> bool:
        """Begin what can be begun on a line, at most so many; it is sent with the line's turn.

        Whether anything was begun.
        """
        if line.wire is None:
            return False
        again = min(len(self._again), line.free) if self._again else 0
        if again:
            self._begin(line, [self._again.popleft() for _ in range(again)])
        count = min(most, self.wanted(line))
        if count > 0:
            tags = self.take(count)
            self._count(tags)
            self._begin(line, tags)
        return count > 0 or again > 0

    def _begin(self, line: Line, tags: list[float]) -> None:
        assert line.wire is not None
        engine = line.wire.engine
        assert isinstance(engine, BurstConnection)
        # Whoever begins calls flushes the line: its writer need not wake up.
        engine.dirty = True
        engine.begin_many(list(islice(self._calls, len(tags))), tags)

    def _count(self, tags: Sequence[float]) -> None:
        window = self.recorder.window
        if tags[0] >= window.begin and tags[-1] < window.end:
            self.sent += len(tags)
        else:
            self.sent += sum(window.begin <= tag < window.end for tag in tags)

    def _failed(self, calls: Sequence[ClientCall], now: float) -> None:
        over = 0
        for call in calls:
            if call.unprocessed and call.lost and not self._stopped:
                self._again.append(call.owner)
                continue
            over += 1
            status = call.status
            code = "UNAVAILABLE" if call.lost or status is None else status.status_code.name
            message = "" if status is None else str(status.status_message)
            self.recorder.failed(now, call.owner, code, message)
            if code == "DEADLINE_EXCEEDED":
                # The server's clock was a little faster than ours.
                self.recorder.waited(now, [call.owner])
        self.freed(over)

    def give_up(self, now: float, limit: float, code: str, message: str) -> None:
        """Cancel calls under way that are meant for `limit` or before, and count them under a status."""
        for line in self.lines.all:
            tags = [tag for engine in line.engines() for tag in engine.expire(limit)]
            if tags:
                for tag in tags:
                    self.recorder.failed(now, tag, code, message)
                self.recorder.waited(now, tags)
                self.freed(len(tags))
                line.flush()

    async def watch(self, seconds: float, *, task_status: trio.TaskStatus[None]) -> None:
        """Give up calls after `seconds`, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(min(max(seconds / _LOOKS, _LOOK_SECONDS[0]), _LOOK_SECONDS[1]))
            now = trio.current_time()
            self.expire(now, seconds)
            self.give_up(now, now - seconds, "DEADLINE_EXCEEDED", f"no answer within {seconds:g} s")

    async def finish(self, grace: float) -> None:
        """Begin nothing more, and wait for what is under way; not longer than `grace` seconds."""
        self._stopped = True
        now = trio.current_time()
        for tag in self._again:
            self.recorder.failed(now, tag, "UNAVAILABLE", "the connection was given up by the server")
        self._again.clear()
        with trio.move_on_after(grace):
            if self.lines.in_flight:
                await self._idle.wait()
        message = f"no answer within {grace:g} s after the end"
        self.give_up(trio.current_time(), math.inf, "CANCELLED", message)


class OpenLoop(Generator):
    """Calls at a constant rate, whatever becomes of them. Those for which no stream is free wait."""

    def __init__(self, recorder: Recorder, calls: Iterator[Prepared], schedule: Schedule) -> None:
        """`schedule` covers warm-up and window."""
        super().__init__(recorder, calls)
        self._schedule = schedule
        calls_in_all = range(schedule.count)
        self._warmup = bisect_left(calls_in_all, recorder.window.begin, key=schedule.time_of)
        """How many calls are meant for the warm-up."""
        self._due = 0
        self._next = 0
        """Calls up to this one were begun; those up to `_due` wait."""
        self._unsent = 0
        self._turns = 0
        self._pacing = trio.CancelScope()

    def wanted(self, line: Line) -> int:
        """See Generator."""
        return min(line.free, self._due - self._next)

    def take(self, count: int) -> list[float]:
        """See Generator."""
        first = self._next
        self._next += count
        return self._schedule.times(first, self._next)

    def due(self, now: float, times: Sequence[float]) -> None:
        """The time of some calls has come."""
        self.recorder.begun(now, times)
        self._due += len(times)
        lines = self.lines.all
        share = max(_TOGETHER, math.ceil((self._due - self._next) / len(lines)))
        begun = []
        for _ in lines:
            if self._due == self._next and not self._again:
                break
            line = lines[self._turns % len(lines)]
            self._turns += 1
            if self.feed(line, share):
                begun.append(line)
        for line in begun:
            line.flush()

    async def run(self, sleep_until: SleepUntil) -> None:
        """See Generator."""
        with self._pacing:
            await keep_pace(self._schedule, sleep_until, self.due, lambda: self._due)

    def window_begins(self) -> None:
        """See Generator: what the warm-up could not begin must not hold up the calls that count."""
        self._due = max(self._due, self._warmup)
        self._next = max(self._next, self._warmup)
        begin = self.recorder.window.begin
        self._again = deque(tag for tag in self._again if tag >= begin)

    def expire(self, now: float, seconds: float) -> None:
        """See Generator. They are never sent."""
        overdue = min(self._due, self._schedule.due(now - seconds))
        if overdue > self._next:
            self._leave_out(self._next, overdue, now)
            self._next = overdue

    def no_server(self) -> None:
        """See Generator: what waits has failed."""
        now, count = trio.current_time(), self._due - self._next
        if count and not self._stopped:
            tags = self.take(count)
            self._count(tags)
            for tag in tags:
                self.recorder.failed(now, tag, "UNAVAILABLE", self.lines.failure)

    def end(self, now: float) -> int:
        """See Generator."""
        self._stopped = True
        # With a rate beyond all means there would still be calls to be found due.
        self._pacing.cancel()
        stop = min(self._schedule.count, self._schedule.due(self.recorder.window.end))
        self.behind = max(0, stop - self._due)
        self._leave_out(self._next, stop, now)
        self._next = self._due = stop
        return self._unsent

    def _leave_out(self, start: int, stop: int, now: float) -> None:
        for moments, counts in self._schedule.groups(start, stop):
            self._unsent += self.recorder.never_begun(now, moments, counts)


class ClosedLoop(Generator):
    """So many calls at a time: the next begins when one has ended."""

    def __init__(self, recorder: Recorder, calls: Iterator[Prepared], concurrency: int) -> None:
        super().__init__(recorder, calls)
        self._fresh = concurrency
        """Places that are free since just now."""
        self._waiting: deque[float] = deque()
        """Since when other places are free, for which there is no stream."""
        self._concurrency = concurrency
        self._counted: float | None = None
        """Up to when `idle_seconds` has their waiting; None while there is no server to wait for."""

    def wanted(self, line: Line) -> int:
        """See Generator. No line takes more than its share."""
        assert line.wire is not None
        share = math.ceil(self._concurrency / len(self.lines.all))
        return min(line.free, share - line.wire.engine.open_streams, self._fresh + len(self._waiting))

    def take(self, count: int) -> list[float]:
        """See Generator."""
        old = min(count, len(self._waiting))
        tags = [self._waiting.popleft() for _ in range(old)]
        self._fresh -= count - old
        return tags + [trio.current_time()] * (count - old)

    def freed(self, count: int) -> None:
        """See Generator."""
        self._fresh += count

    def feed(self, line: Line, most: int = MAX_STREAMS) -> bool:
        """See Generator."""
        if self._waiting:
            self._count_idle(trio.current_time())
        begun = super().feed(line, most)
        self._leave_waiting()
        return begun

    async def run(self, sleep_until: SleepUntil) -> None:  # noqa: ARG002 - it waits for nothing
        """See Generator."""
        for line in self.lines.all:
            super().feed(line)
        for line in self.lines.all:
            line.flush()
        self._leave_waiting()
        await trio.sleep_forever()

    def no_server(self) -> None:
        """See Generator: every place has tried, and tries again."""
        if self._stopped:
            return
        now = trio.current_time()
        self._counted = None
        self._waiting.extend([now] * self._fresh)
        self._fresh = 0
        tags = list(self._waiting)
        if tags:
            self._count(tags)
            for tag in tags:
                self.recorder.failed(now, tag, "UNAVAILABLE", self.lines.failure)
        self._waiting = deque([now] * len(tags))

    def end(self, now: float) -> int:
        """See Generator. What is not begun is nobody's call."""
        self._stopped = True
        self._count_idle(now)
        return 0

    def _leave_waiting(self) -> None:
        """For the places that are still free there is no stream."""
        if self._fresh and self.lines.connected:
            now = trio.current_time()
            if not self._waiting:
                self._counted = now
            self._waiting.extend([now] * self._fresh)
            self._fresh = 0

    def _count_idle(self, now: float) -> None:
        """Add up how long places have waited; call it before their number changes."""
        if self._counted is not None and self._waiting:
            window = self.recorder.window
            seconds = min(now, window.end) - max(self._counted, window.begin)
            self.idle_seconds += len(self._waiting) * max(0.0, seconds)
        self._counted = now
