"""A task that fails is started again, a little later each time, and takes nobody with it."""

import itertools

import pytest
import trio

from hushar.sidecars.supervise import GOOD_SECONDS, LONGEST_SECONDS, Supervisor


async def test_a_task_that_returns_is_done(autojump_clock):
    runs = []
    supervisor = Supervisor()

    async def run() -> None:
        runs.append(trio.current_time())

    await supervisor.keep("writing", run)
    assert (len(runs), supervisor.crashes) == (1, 0)


async def test_a_task_that_fails_is_started_again_until_it_returns(autojump_clock, caplog):
    starts = []
    supervisor = Supervisor()

    async def run() -> None:
        starts.append(trio.current_time())
        if len(starts) < 12:
            raise KeyError("bug")

    await supervisor.keep("writing", run)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert gaps == sorted(gaps)
    assert gaps[0] == pytest.approx(0.5)
    assert gaps[-1] == pytest.approx(LONGEST_SECONDS)
    assert supervisor.crashes == 11
    assert "log: writing failed, it is started again" in caplog.text
    assert "KeyError: 'bug'" in caplog.text
    assert len(caplog.records) < 11


async def test_after_a_long_good_time_a_failure_is_the_first(autojump_clock):
    starts = []

    async def run() -> None:
        starts.append(trio.current_time())
        if len(starts) == 6:
            await trio.sleep(GOOD_SECONDS + 1)
        if len(starts) < 8:
            raise ValueError

    await Supervisor().keep("writing", run)
    assert starts[6] - starts[5] == pytest.approx(GOOD_SECONDS + 1.5)


async def test_a_cancellation_is_no_failure(autojump_clock):
    supervisor = Supervisor()
    with trio.move_on_after(5) as scope:
        await supervisor.keep("writing", trio.sleep_forever)
    assert scope.cancelled_caught
    assert supervisor.crashes == 0


async def test_a_failure_while_it_is_cancelled_is_counted_and_goes_no_further(autojump_clock):
    supervisor = Supervisor()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("while ending")

    with trio.move_on_after(5) as scope:
        await supervisor.keep("writing", run)
    assert scope.cancelled_caught
    assert supervisor.crashes == 1
