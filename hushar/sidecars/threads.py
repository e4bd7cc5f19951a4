"""Running blocking file operations beside the event loop."""

from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class RunInThread(Protocol):
    """Runs `function(*args)` where it may block, and returns or raises what it does.

    Once begun it is not abandoned: a cancellation waits for its end, so that the caller always
    learns what has happened on the disk.
    """

    async def __call__(self, function: Callable[[*Ts], T], /, *args: *Ts) -> T:
        """See the class."""
        ...


def own_threads(limit: int) -> RunInThread:
    """Threads of this room's own, at most `limit` at a time.

    Not trio's common limit: a disk that stalls must not take the threads that models run in.
    """
    limiter = trio.CapacityLimiter(limit)

    async def run_in_thread(function: Callable[[*Ts], T], /, *args: *Ts) -> T:
        return await trio.to_thread.run_sync(function, *args, limiter=limiter)

    return run_in_thread


def give_up_if_cancelled() -> None:
    """To be called now and then by what takes long in a thread: raises trio.Cancelled where the task that
    waits for it is cancelled. Does nothing elsewhere."""
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        # Not in a thread of trio's: a test runs it in line.
        return
