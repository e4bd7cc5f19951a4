"""Blocking work runs beside the event loop, and is not abandoned."""

import threading

import pytest
import trio

from hushar.sidecars.threads import own_threads


async def test_work_runs_in_another_thread_and_its_result_comes_back():
    run = own_threads(1)
    here = threading.get_ident()
    assert await run(threading.get_ident) != here
    assert await run(divmod, 7, 2) == (3, 1)


async def test_what_it_raises_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        await own_threads(1)(divmod, 1, 0)


async def test_a_cancellation_waits_for_the_end_of_what_has_begun():
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        go.wait()
        ended.set()
        return "done"

    results = []

    async def call(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        results.append(await run(work))

    run = own_threads(1)
    async with trio.open_nursery() as nursery:
        await nursery.start(call)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
        go.set()
    assert ended.is_set()
    assert results == ["done"]


async def test_no_more_run_at_once_than_allowed():
    run = own_threads(2)
    lock, running, most = threading.Lock(), [0], [0]
    both = threading.Barrier(2)

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        both.wait()
        with lock:
            running[0] -= 1

    async def call(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await run(work)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            await nursery.start(call)
    assert most == [2]
