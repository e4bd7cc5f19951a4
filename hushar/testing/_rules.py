"""What the checks share: how they say that a rule is broken, and how they do things at once."""

from collections.abc import Awaitable, Callable, Sequence
from threading import Barrier, Thread
from typing import TypeVar

import trio

T = TypeVar("T")

THREAD_SECONDS = 60
"""A thread that takes longer is stuck."""


def rule(kept: bool, sentence: str) -> None:
    """Raise AssertionError with the sentence unless the rule is kept.

    Not an `assert`: a check must also work under `python -O`.
    """
    if not kept:
        raise AssertionError(sentence)


def in_threads(jobs: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Run the jobs at the same moment, a thread each; what each returned, or raised."""
    results: list[T | Exception] = [TimeoutError("a thread is stuck")] * len(jobs)
    barrier = Barrier(len(jobs))

    def run(index: int, job: Callable[[], T]) -> None:
        barrier.wait()
        try:
            results[index] = job()
        except Exception as error:
            results[index] = error

    threads = [Thread(target=run, args=item, daemon=True) for item in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(THREAD_SECONDS)
    return results


async def at_once(jobs: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Run the jobs as tasks beside each other until all are done; raises what one of them raises."""
    failed: list[Exception] = []

    async def run(job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except Exception as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(run, job)
    if failed:
        raise failed[0]


async def cancelled(job: Callable[[], Awaitable[object]]) -> bool:
    """Run the job in a scope that is cancelled from the start; whether the cancellation came out.

    False: the job ended without meeting a checkpoint. Raises what the job raises instead.
    """
    with trio.CancelScope() as scope:
        scope.cancel()
        await job()
    return scope.cancelled_caught
