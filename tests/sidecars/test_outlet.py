"""The side exits: bounded, never blocking, never raising; what does not fit is counted."""

import math
from random import Random

import pytest
import trio

from hushar.records import BatchMetrics, LogBatch, Timings
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.outlet import (
    BUNDLE_BYTES,
    Bundle,
    LogChannelOutlet,
    MetricsChannelOutlet,
    ValueBudget,
    values_in,
)

TIMINGS = Timings(1.0, 2.0, 3.0, 4.0, 5.0)


class LogDoor:
    def __init__(self, **options):
        self.now = 0.0
        self.ledger = Ledger(1)
        self.send, self.receive = trio.open_memory_channel(math.inf)
        options = {"queue_bytes": 1000, "random": Random(3), "clock": lambda: self.now} | options
        self.outlet = LogChannelOutlet(self.send, self.ledger, **options)

    def take(self) -> Bundle:
        bundle = self.receive.receive_nowait()
        bundle.taken = True
        return bundle

    def received(self) -> list[bytes]:
        records = []
        while self.receive.statistics().current_buffer_used:
            for batch, _ in self.take().batches:
                records += batch.records
        return records


class TestLog:
    async def test_a_batch_goes_into_the_channel_as_it_is(self):
        door = LogDoor()
        batch = LogBatch((b"abc", b"de"), spooled=lambda: None)
        assert door.outlet(batch)
        bundle = door.take()
        ((received, size),) = bundle.batches
        assert received is batch
        assert (size, bundle.size_bytes) == (5, 5)
        assert (door.ledger.accepted, door.ledger.queued_records, door.ledger.queued_bytes) == (2, 2, 5)

    async def test_batches_are_added_to_a_bundle_until_it_is_taken(self):
        door = LogDoor()
        for name in (b"a", b"b"):
            assert door.outlet(LogBatch((name,)))
        bundle = door.take()
        assert door.outlet(LogBatch((b"c",)))
        assert [batch.records for batch, _ in bundle.batches] == [(b"a",), (b"b",)]
        assert bundle.size_bytes == 2
        assert door.received() == [b"c"]
        assert door.ledger.queued_bytes == 3

    async def test_a_bundle_has_an_end(self):
        """However long nobody takes it: what is taken at once is bounded."""
        door = LogDoor(queue_bytes=10 * BUNDLE_BYTES)
        for _ in range(6):
            assert door.outlet(LogBatch((bytes(BUNDLE_BYTES // 2),)))
        assert door.receive.statistics().current_buffer_used == 3

    async def test_joined_records_count_each_and_are_sampled_each(self):
        records = [b"\x0a\x01%c" % letter for letter in b"abcdefgh"]
        door = LogDoor(sample_rate=0.5)
        assert door.outlet(LogBatch((b"".join(records),), None, len(records)))
        kept = door.received()
        assert 0 < len(kept) == door.ledger.accepted < len(records)
        assert set(kept) < set(records)

    async def test_the_channel_holds_exactly_its_bytes(self):
        door = LogDoor(queue_bytes=10)
        assert door.outlet(LogBatch((b"x" * 6,)))
        assert door.outlet(LogBatch((b"x" * 4,)))
        assert not door.outlet(LogBatch((b"x",)))
        assert door.ledger.queued_bytes == 10

    async def test_a_full_channel_drops_the_new_batch_whole_and_counts_its_records(self):
        door = LogDoor(queue_bytes=10)
        assert door.outlet(LogBatch((b"old",)))
        told = []
        assert not door.outlet(LogBatch((b"x" * 4, b"y" * 4), spooled=lambda: told.append(1)))
        assert door.outlet(LogBatch((b"new",)))
        assert door.received() == [b"old", b"new"]
        assert door.ledger.dropped[DropReason.QUEUE_FULL] == 2
        assert door.ledger.accepted == 4
        assert told == []

    async def test_room_comes_back_when_the_records_have_left_the_channel(self):
        door = LogDoor(queue_bytes=4)
        assert door.outlet(LogBatch((b"full",)))
        assert not door.outlet(LogBatch((b"more",)))
        door.ledger.append(1, 1, 4, 0.0)
        assert door.outlet(LogBatch((b"more",)))

    async def test_drops_are_warned_about_every_ten_seconds_with_their_number(self, caplog):
        door = LogDoor(queue_bytes=0)
        for second in range(21):
            door.now = float(second)
            door.outlet(LogBatch((b"a", b"b")))
        assert [message.getMessage() for message in caplog.records] == [
            f"log: its channel is full: {count} new records dropped" for count in (2, 20, 20)
        ]

    @pytest.mark.parametrize("end", ["send", "receive"])
    async def test_after_the_sidecar_has_ended_everything_is_dropped(self, end):
        door = LogDoor()
        getattr(door, end).close()
        assert not door.outlet(LogBatch((b"a",)))
        assert door.ledger.dropped[DropReason.QUEUE_FULL] == 1
        assert door.ledger.queued_records == 0

    async def test_sampling_decides_about_each_call_and_is_repeatable(self):
        batches = [LogBatch(tuple(f"{n}-{i}".encode() for i in range(4))) for n in range(500)]
        kept = []
        for _ in range(2):
            door = LogDoor(queue_bytes=10**6, sample_rate=0.25)
            for batch in batches:
                door.outlet(batch)
            kept.append(door.received())
            assert door.ledger.accepted == len(kept[-1])
        assert kept[0] == kept[1]
        assert 400 < len(kept[0]) < 600

    async def test_sampling_keeps_what_has_to_be_told(self):
        door = LogDoor(sample_rate=0.5)
        told = []
        while not door.outlet(LogBatch((b"a",), spooled=lambda: told.append(1))):
            pass
        door.take().batches[0][0].spooled()
        assert told == [1]

    async def test_nothing_sampled_is_nothing_to_wait_for(self):
        door = LogDoor(sample_rate=0.0)
        assert not door.outlet(LogBatch((b"a",)))
        assert not door.outlet(LogBatch(()))
        assert (door.ledger.accepted, door.received()) == (0, [])

    async def test_at_a_rate_of_one_chance_has_no_part(self):
        door = LogDoor(random=None)
        assert door.outlet(LogBatch((b"a",)))


class TestMetrics:
    @pytest.mark.parametrize(
        ("metrics", "values"),
        [
            (BatchMetrics(0, None), 1),
            (BatchMetrics(3, TIMINGS), 6),
            (BatchMetrics(3, TIMINGS, [(1.0, 5), (2.0, 9)], [(3.0, 1)], {"INTERNAL": 7}), 10),
        ],
    )
    def test_a_batch_counts_for_its_values(self, metrics, values):
        assert values_in(metrics) == values

    async def test_the_channel_is_bounded_in_values_not_in_batches(self):
        send, receive = trio.open_memory_channel(math.inf)
        budget = ValueBudget(12)
        outlet = MetricsChannelOutlet(send, budget, lambda: 0.0)
        for _ in range(3):
            outlet(BatchMetrics(1, TIMINGS))
        assert receive.statistics().current_buffer_used == 2
        assert (budget.queued, budget.dropped) == (12, 6)
        budget.give_back(6)
        outlet(BatchMetrics(1, TIMINGS))
        assert receive.statistics().current_buffer_used == 3

    async def test_drops_are_warned_about_now_and_then(self, caplog):
        send, _receive = trio.open_memory_channel(math.inf)
        outlet = MetricsChannelOutlet(send, ValueBudget(0), lambda: 0.0)
        for _ in range(5):
            outlet(BatchMetrics(1, TIMINGS))
        assert [message.getMessage() for message in caplog.records] == [
            "metrics: its channel is full: 6 values dropped"
        ]

    async def test_after_the_sidecar_has_ended_everything_is_dropped(self):
        send, receive = trio.open_memory_channel(math.inf)
        budget = ValueBudget(100)
        receive.close()
        MetricsChannelOutlet(send, budget)(BatchMetrics(1, TIMINGS))
        assert (budget.queued, budget.dropped) == (0, 6)
