"""Unary calls under way at a channel, and the rule for sending one again.

An Attempt is one try: it waits at the channel until a connection takes it, is begun, and ends. A task that
calls (`Channel.unary`) makes one after the other; a UnaryCall, which has no task, makes them by itself.
"""

import logging
import math
import random
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

import trio
from purerpc import Status, StatusCode

from hushar.rpc.client_engine import ClientCall
from hushar.rpc.request_block import previous_field, timeout_field
from hushar.rpc.request_head import first
from hushar.rpc.status import format_timeout
from hushar.rpc.wakeups import Wakeups
from hushar.rpc.wire import Wire

log = logging.getLogger("hushar.rpc")

OnDone = Callable[[Status, bytes | None], object]
"""Gets the status, and the answer where that is OK."""

RETRY_SECONDS: Final = 0.05
RETRY_MAX_SECONDS: Final = 2.0
_PUSHBACK: Final = re.compile(rb"[0-9]{1,9}")
_NO_MESSAGE: Final = Status(StatusCode.UNIMPLEMENTED, "the answer has no message")
_TOO_LATE: Final = Status(StatusCode.DEADLINE_EXCEEDED, "the time for the call is over")


class Caller(Protocol):
    """What calls need of their channel."""

    retries: int
    wakeups: Wakeups

    @property
    def closed(self) -> bool:
        """Whether it takes no calls."""

    def submit(self, waiter: "Waiter") -> None:
        """Begin the call now, or when a connection takes it."""

    def withdraw(self, waiter: "Waiter") -> None:
        """It need not be begun any more."""


class Waiter(Protocol):
    """A call that waits for a connection."""

    def begin(self, wire: Wire) -> None:
        """A connection takes it."""

    def fail(self, status: Status) -> None:
        """No connection will."""


def backoff(attempt: int) -> float:
    """Exponential with full jitter, seconds."""
    ceiling = min(RETRY_MAX_SECONDS, RETRY_SECONDS * 2 ** min(attempt, 16))
    return random.uniform(0, ceiling)  # noqa: S311


def retry_delay(call: ClientCall | None, status: Status, attempt: int, retries: int) -> float | None:
    """Seconds until a call is sent again that ended with `status`; None if it is not.

    `call` is None where no connection could be made; `attempt` counts from 0. The server's
    grpc-retry-pushback-ms takes the place of the back-off; one that is no number of milliseconds means that
    the call is not to come again (gRFC A6).
    """
    if call is not None and call.unprocessed:
        return backoff(attempt) if attempt else 0.0
    if status.status_code is not StatusCode.UNAVAILABLE or attempt >= retries:
        return None
    pushback = None if call is None else first(call.trailing, b"grpc-retry-pushback-ms")
    if pushback is None:
        return backoff(attempt)
    return int(pushback) / 1000 if _PUSHBACK.fullmatch(pushback) else None


def counted(call: ClientCall | None) -> int:
    """What an attempt that has failed adds to those that the next one tells the server of: one, unless the
    server has not begun it."""
    return int(call is not None and not call.unprocessed)


def with_timeout(block: bytes, deadline: float) -> bytes:
    """A call's header block with what is left until `deadline`."""
    if deadline == math.inf:
        return block
    return block + timeout_field(format_timeout(deadline - trio.current_time()))


class Attempt:
    """One try of a unary call."""

    __slots__ = (
        "answer",
        "block",
        "call",
        "caller",
        "deadline",
        "message",
        "over",
        "previous",
        "status",
        "wire",
    )

    def __init__(self, caller: Caller, block: bytes, message: bytes, deadline: float) -> None:
        self.previous = 0
        """Attempts at the same call that a server has refused."""
        self.caller = caller
        self.block = block
        self.message = message
        self.deadline = deadline
        self.call: ClientCall | None = None
        self.wire: Wire | None = None
        self.over = False
        self.status: Status | None = None
        self.answer: bytes | None = None

    @property
    def lost(self) -> bool:
        """Whether the status is not the server's."""
        return self.call is None or self.call.lost

    def begin(self, wire: Wire) -> None:
        """See Waiter."""
        self.wire = wire
        block = with_timeout(self.block + previous_field(self.previous), self.deadline)
        self.call = wire.engine.begin_unary(block, self.message, wire.ended.append, self)

    def fail(self, status: Status) -> None:
        """See Waiter."""
        self._end(status)

    def finish(self) -> None:
        """The engine says that the call is over."""
        call = self.call
        if self.over or call is None or call.status is None:
            return
        status = call.status
        if status.status_code is StatusCode.OK:
            if call.messages:
                self.answer = call.messages[0][0]
            else:
                status = _NO_MESSAGE
        self._end(status)

    def give_up(self) -> None:
        """Nobody waits any more."""
        if not self.over:
            self.over = True
            self._release()

    def _release(self) -> None:
        if self.call is None or self.wire is None:
            self.caller.withdraw(self)
        else:
            self.wire.engine.cancel(self.call)

    def _end(self, status: Status) -> None:
        self.over = True
        self.status = status
        self.done()

    def done(self) -> None:
        """It has ended by itself."""
        raise NotImplementedError


class TaskAttempt(Attempt):
    """One that a task waits for."""

    __slots__ = ("_task",)

    def __init__(self, caller: Caller, block: bytes, message: bytes, deadline: float) -> None:
        Attempt.__init__(self, caller, block, message, deadline)
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Until it is over. Cancelled: it is given up."""
        if not self.over:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abandoned)

    def _abandoned(self, _: Any) -> trio.lowlevel.Abort:
        self._task = None
        self.give_up()
        return trio.lowlevel.Abort.SUCCEEDED

    def done(self) -> None:
        """See Attempt."""
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None


class UnaryCall(Attempt):
    """A unary call without a task: what `Channel.start_unary` returns. It is sent again by the same rule."""

    __slots__ = ("_attempt", "_on_done", "_resend_at")

    def __init__(
        self, caller: Caller, block: bytes, message: bytes, deadline: float, on_done: OnDone
    ) -> None:
        Attempt.__init__(self, caller, block, message, deadline)
        self._attempt = 0
        self._on_done = on_done
        self._resend_at: float | None = None

    def cancel(self) -> None:
        """Give the call up; `on_done` is not called any more. Nothing happens once the call is over."""
        self.give_up()

    def begin(self, wire: Wire) -> None:
        """See Waiter."""
        if self.deadline != math.inf and trio.current_time() >= self.deadline:
            self._expire()
        else:
            Attempt.begin(self, wire)

    def wake(self, now: float) -> None:
        """See Wakeable."""
        if now >= self.deadline:
            self._expire()
        elif self._resend_at is not None and now >= self._resend_at:
            self._resend_at = None
            self.caller.submit(self)

    def _expire(self) -> None:
        self.give_up()
        self._tell(_TOO_LATE)

    def done(self) -> None:
        """See Attempt."""
        status = self.status
        assert status is not None
        if status.status_code is not StatusCode.OK and not self.caller.closed:
            delay = retry_delay(self.call, status, self._attempt, self.caller.retries)
            at = trio.current_time() + (delay or 0.0)
            if delay is not None and at < self.deadline:
                self._again(at)
                return
        self._tell(status)

    def _again(self, at: float) -> None:
        self.over = False
        self.previous += counted(self.call)
        self.call = None
        self._attempt += 1
        self._resend_at = at
        self.caller.wakeups.add(at, self)

    def _tell(self, status: Status) -> None:
        try:
            self._on_done(status, self.answer)
        except Exception:
            log.exception("what was to be done after a call failed")
