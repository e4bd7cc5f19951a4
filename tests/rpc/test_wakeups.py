"""Calls that are to be woken at a time."""

import pytest
import trio

from hushar.rpc.wakeups import Wakeups


class Sleeper:
    def __init__(self):
        self.over = False
        self.woken = []

    def wake(self, now):
        self.woken.append(now)


@pytest.fixture
async def wakeups(nursery):
    made = Wakeups()
    await nursery.start(made.run)
    return made


async def test_each_is_woken_at_its_time_whatever_the_order(wakeups, autojump_clock):
    start = trio.current_time()
    sleepers = [Sleeper() for _ in range(3)]
    for sleeper, seconds in zip(sleepers, [3, 1, 2], strict=True):
        wakeups.add(start + seconds, sleeper)
        await trio.sleep(0.1)
    await trio.sleep(10)
    assert [sleeper.woken for sleeper in sleepers] == [[start + 3], [start + 1], [start + 2]]


async def test_what_is_over_is_not_woken(wakeups, autojump_clock):
    sleeper = Sleeper()
    wakeups.add(trio.current_time() + 1, sleeper)
    sleeper.over = True
    await trio.sleep(2)
    assert sleeper.woken == []


async def test_one_may_be_added_while_another_is_woken(wakeups, autojump_clock):
    last = Sleeper()

    class Adding(Sleeper):
        def wake(self, now):
            wakeups.add(now + 1, last)

    wakeups.add(trio.current_time() + 1, Adding())
    await trio.sleep(3)
    assert len(last.woken) == 1


async def test_those_that_are_over_are_not_kept(wakeups, autojump_clock):
    far = trio.current_time() + 1000
    for _ in range(20_000):
        sleeper = Sleeper()
        wakeups.add(far, sleeper)
        sleeper.over = True
    assert len(wakeups._heap) < 3000
