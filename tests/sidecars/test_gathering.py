"""How long records gather: simulated workers and disks."""

from types import SimpleNamespace

import pytest
import trio

from hushar.sidecars.gathering import GATHER_SECONDS, GATHERING_BYTES, Gathering

MIB = 2**20


class Channel:
    """What the ledger says of a channel into which so many bytes a second come."""

    def __init__(self, rate):
        self.rate, self.left, self.begun = rate, 0, trio.current_time()

    @property
    def entered_bytes(self):
        return int((trio.current_time() - self.begun) * self.rate)

    @property
    def queued_bytes(self):
        return self.entered_bytes - self.left


async def writes(channel, gathering, *, seconds, fixed, speed, most=16 * MIB):
    """The sizes of what a worker writes in that time, and the most that waited."""
    sizes, highest, end = [], 0, trio.current_time() + seconds
    while trio.current_time() < end:
        if gathering.rests():
            await trio.sleep_until(gathering.until)
        highest = max(highest, channel.queued_bytes)
        size = min(channel.queued_bytes, most)
        gathering.taken(size)
        await trio.sleep(fixed + size / speed)
        channel.left += size
        sizes.append(size)
    return sizes, highest


@pytest.mark.parametrize(("rate", "fixed"), [(100e6, 0.003), (60e6, 0.005), (40e6, 0.008), (140e6, 0.002)])
async def test_a_disk_with_time_to_rest_does_so_whatever_it_began_with(autojump_clock, rate, fixed):
    """A small write takes about as long as a large one: as much comes meanwhile as is written."""
    channel = Channel(rate)
    gathering = Gathering(channel, GATHERING_BYTES, GATHER_SECONDS)
    await trio.sleep(0.0001)
    await writes(channel, gathering, seconds=1, fixed=fixed, speed=2e9)
    sizes, _ = await writes(channel, gathering, seconds=1, fixed=fixed, speed=2e9)
    assert len(sizes) < 1.5 / GATHER_SECONDS


@pytest.mark.parametrize(("rate", "speed"), [(500e6, 1.5e9), (700e6, 1.2e9), (900e6, 1.2e9)])
async def test_a_disk_that_keeps_up_writes_neither_little_nor_late(autojump_clock, rate, speed):
    channel = Channel(rate)
    gathering = Gathering(channel, GATHERING_BYTES, GATHER_SECONDS)
    await trio.sleep(0.0001)
    sizes, highest = await writes(channel, gathering, seconds=2, fixed=0.001, speed=speed, most=8 * MIB)
    assert sum(sizes) / len(sizes) > 2 * MIB
    # It does not gather as much as a fast one may.
    assert highest < GATHERING_BYTES // 5


async def test_a_disk_that_does_not_keep_up_never_rests(autojump_clock):
    channel = Channel(1e9)
    gathering = Gathering(channel, GATHERING_BYTES, GATHER_SECONDS)
    await trio.sleep(0.0001)
    sizes, _ = await writes(channel, gathering, seconds=1, fixed=0.001, speed=1e9, most=8 * MIB)
    assert not gathering.rests()
    # All but what it rested before it was known as slow, and what a write costs whatever its size.
    assert sum(sizes) > 0.85e9


async def test_after_a_pause_nothing_gathers(autojump_clock):
    channel = Channel(1000)
    gathering = Gathering(channel, GATHERING_BYTES, GATHER_SECONDS)
    assert gathering.until < trio.current_time()
    gathering.taken(100)
    await trio.sleep(1)
    assert gathering.rests()
    assert gathering.until < trio.current_time()


async def test_what_comes_at_once_after_a_write_is_no_rate(autojump_clock):
    channel = SimpleNamespace(queued_bytes=0, entered_bytes=8 * MIB)
    gathering = Gathering(channel, GATHERING_BYTES, GATHER_SECONDS)
    gathering.taken(8 * MIB)
    await trio.sleep(0.00001)
    channel.queued_bytes, channel.entered_bytes = MIB, 9 * MIB
    assert gathering.rests()
    assert gathering.until > trio.current_time() + 0.01
