"""A sink that is down is asked now and then, by one worker after the other."""

import itertools
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.sidecars.circuit import FAILURES, Circuit


@pytest.fixture
def circuit():
    return Circuit(Random(3))


def break_it(circuit: Circuit, probe_seconds: float = 30) -> None:
    for _ in range(FAILURES):
        circuit.failed(probe_seconds)


async def test_it_stays_closed_for_a_few_failures(autojump_clock, circuit):
    for _ in range(FAILURES - 1):
        circuit.failed(30)
    for _ in range(3):
        async with circuit.admitted():
            assert trio.current_time() == autojump_clock.current_time()
    assert not circuit.is_open
    assert circuit.seconds_left == 0


async def test_one_success_is_enough_to_begin_again(autojump_clock, circuit):
    for _ in range(10):
        for _ in range(FAILURES - 1):
            circuit.failed(30)
        circuit.worked()
    assert not circuit.is_open


async def test_while_open_attempts_are_rare_whoever_makes_them(autojump_clock, circuit):
    """Of five workers each has its turn, one every 30 seconds."""
    break_it(circuit)
    attempts: list[tuple[float, int]] = []

    async def worker(number: int) -> None:
        while True:
            async with circuit.admitted():
                attempts.append((trio.current_time(), number))
                await trio.sleep(1)
                circuit.failed(30)

    with trio.move_on_after(30 * 20):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(worker, number)
    times = [at for at, _ in attempts]
    assert 15 <= times[0] <= 30
    assert all(30.99 < after - before < 31.01 for before, after in itertools.pairwise(times))
    # First come, first served: one whose segments never work does not keep the others from trying.
    for several in zip(*(attempts[start : start + 5] for start in (0, 5, 10)), strict=True):
        assert len({number for _, number in several}) == 1


async def test_the_first_success_lets_everybody_through(autojump_clock, circuit):
    break_it(circuit)
    through: list[float] = []

    async def worker() -> None:
        async with circuit.admitted():
            through.append(trio.current_time())
            circuit.worked()
        await trio.sleep(100)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(worker)
    assert len(set(through)) == 1


async def test_a_waiting_worker_is_let_through_when_another_finds_it_working(autojump_clock, circuit):
    break_it(circuit)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def waiting() -> None:
            async with circuit.admitted():
                assert trio.current_time() == 1

        await wait_all_tasks_blocked()
        await trio.sleep(1)
        circuit.worked()


async def test_those_behind_a_probe_that_hangs_are_let_through_at_the_end(autojump_clock, circuit):
    """The server is stopping, and its time is limited: each may make an attempt at once."""
    break_it(circuit)
    through: list[float] = []

    async def probe() -> None:
        async with circuit.admitted():
            through.append(trio.current_time())
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(probe)
        await trio.sleep(100)
        assert len(through) == 1
        circuit.worked()
        await wait_all_tasks_blocked()
        assert through[1:] == [100, 100]
        nursery.cancel_scope.cancel()


async def test_a_worker_that_is_cancelled_leaves_its_place_to_the_next(autojump_clock, circuit):
    break_it(circuit)
    with trio.move_on_after(1):
        async with circuit.admitted():
            raise AssertionError
    with trio.move_on_after(100) as scope:
        async with circuit.admitted():
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with circuit.admitted():
        pass
