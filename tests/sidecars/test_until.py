"""A block that an event cuts short."""

import trio

from hushar.sidecars.until import until


async def test_a_block_ends_by_itself(autojump_clock):
    begun = trio.current_time()
    async with until(trio.Event()):
        await trio.sleep(1)
    assert trio.current_time() - begun == 1


async def test_what_is_left_of_it_is_cancelled(autojump_clock):
    event, begun, done = trio.Event(), trio.current_time(), []

    async def work() -> None:
        async with until(event):
            await trio.sleep(5)
            done.append("not this")
        done.append("this")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await trio.sleep(1)
        event.set()
    assert (done, trio.current_time() - begun) == (["this"], 1)


async def test_one_that_has_happened_leaves_nothing_to_do(autojump_clock):
    event = trio.Event()
    event.set()
    async with until(event):
        await trio.sleep_forever()
