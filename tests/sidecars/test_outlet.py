"""The side exits: bounded, never blocking, never raising; what does not fit is counted."""

import math
from random import Random

import pytest
import trio

from hushar.drafts import Draft
from hushar.records import BatchMetrics, LogBatch, Timings, each_record
from hushar.sidecars.appending import BLOCK_BYTES
from hushar.sidecars.bundles import BUNDLE_BYTES, LARGE_BYTES, Bundle, Stages
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.outlet import (
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
        options = {
            "stages": Stages(),
            "queue_bytes": 1000,
            "segment_bytes": 2**40,
            "random": Random(3),
            "clock": lambda: self.now,
        } | options
        self.outlet = LogChannelOutlet(self.send, self.ledger, **options)

    def take(self) -> Bundle:
        bundle = self.receive.receive_nowait()
        bundle.close()
        return bundle

    def received(self) -> list[bytes]:
        """Batch by batch."""
        batches = []
        while self.receive.statistics().current_buffer_used:
            batches += batches_of(self.take())
        return batches

    def draft(self, records: bytes) -> Draft:
        """What a splice does."""
        draft = self.outlet.draft
        draft.memory[draft.at : draft.at + len(records)] = records
        draft.size = len(records)
        return draft


def batches_of(bundle: Bundle) -> list[bytes]:
    draft = bundle.draft
    return [bytes(draft.between(index, index + 1).content) for index in range(draft.batches)]


class TestLog:
    async def test_a_batch_goes_into_the_channel_with_who_waits_for_it(self):
        def told():
            pass

        door = LogDoor()
        assert door.outlet(LogBatch((b"abc", b"de"), spooled=told))
        bundle = door.take()
        assert bundle.draft.between(0, 1) == (b"abcde", 2)
        assert (bundle.size_bytes, bundle.spooled) == (5, [(0, told)])
        assert (door.ledger.accepted, door.ledger.queued_records, door.ledger.queued_bytes) == (2, 2, 5)

    async def test_batches_are_added_to_a_bundle_until_it_is_taken(self):
        door = LogDoor()
        for name in (b"a", b"b"):
            assert door.outlet(LogBatch((name,)))
        bundle = door.take()
        assert door.outlet(LogBatch((b"c",)))
        assert batches_of(bundle) == [b"a", b"b"]
        assert bundle.size_bytes == 2
        assert door.received() == [b"c"]
        assert door.ledger.queued_bytes == 3

    async def test_a_bundle_has_an_end(self):
        """However long nobody takes it: what is taken at once is bounded."""
        door = LogDoor(queue_bytes=10 * BUNDLE_BYTES)
        size = LARGE_BYTES - 1
        for _ in range(3 * BUNDLE_BYTES // size):
            assert door.outlet(LogBatch((bytes(size),)))
        sizes = [door.take().size_bytes for _ in range(door.receive.statistics().current_buffer_used)]
        assert len(sizes) >= 3
        assert max(sizes) <= BUNDLE_BYTES

    async def test_joined_records_count_each_and_are_sampled_each(self):
        records = [b"\x0a\x01%c" % letter for letter in b"abcdefgh"]
        door = LogDoor(sample_rate=0.5)
        assert door.outlet(LogBatch((b"".join(records),), None, len(records)))
        (kept,) = door.received()
        each = each_record([kept], door.ledger.accepted)
        assert 0 < len(each) == door.ledger.accepted < len(records)
        assert set(each) < set(records)

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
        batches = [LogBatch(tuple(b"%4d" % (4 * n + i) for i in range(4))) for n in range(500)]
        kept = []
        for _ in range(2):
            door = LogDoor(queue_bytes=10**6, sample_rate=0.25)
            for batch in batches:
                door.outlet(batch)
            kept.append(b"".join(door.received()))
            assert 4 * door.ledger.accepted == len(kept[-1])
        assert kept[0] == kept[1]
        assert 400 < len(kept[0]) / 4 < 600

    async def test_sampling_keeps_what_has_to_be_told(self):
        door = LogDoor(sample_rate=0.5)
        told = []
        while not door.outlet(LogBatch((b"a",), spooled=lambda: told.append(1))):
            pass
        ((_, spooled),) = door.take().spooled
        spooled()
        assert told == [1]

    async def test_nothing_sampled_is_nothing_to_wait_for(self):
        door = LogDoor(sample_rate=0.0)
        assert not door.outlet(LogBatch((b"a",)))
        assert not door.outlet(LogBatch(()))
        assert (door.ledger.accepted, door.received()) == (0, [])

    async def test_at_a_rate_of_one_chance_has_no_part(self):
        door = LogDoor(random=None)
        assert door.outlet(LogBatch((b"a",)))


class TestDrafts:
    """What is spliced where the disk will take it from."""

    async def test_is_logged_without_a_copy_once_there_is_a_bundle(self):
        door = LogDoor()
        assert door.outlet(LogBatch((door.draft(b"first"),), None, 2))
        assert door.draft(b"then").take(3)
        assert (door.ledger.accepted, door.ledger.queued_records, door.ledger.queued_bytes) == (5, 5, 9)
        bundle = door.take()
        assert bundle.draft.between(0, 2) == (b"firstthen", 5)
        assert door.received() == []

    async def test_nothing_is_added_to_what_is_taken(self):
        door = LogDoor()
        assert door.outlet(LogBatch((b"a",)))
        late = door.draft(b"late")
        bundle = door.take()
        assert not late.take(1)
        assert door.outlet(LogBatch((late,), None, 1))
        assert batches_of(bundle) == [b"a"]
        assert door.received() == [b"late"]
        assert door.ledger.queued_bytes == 5

    @pytest.mark.parametrize("given_back", [False, True])
    async def test_what_was_spliced_behind_a_bundle_that_is_taken_stays_there(self, given_back):
        stages = Stages()
        door = LogDoor(stages=stages)
        assert door.outlet(LogBatch((b"a",)))
        bundle = door.take()
        late = door.draft(b"late")
        if given_back:
            stages.give_back(bundle.stage)
        assert door.outlet(LogBatch((late,), None, 1))
        assert door.draft(b"later").take(1)
        behind = door.take()
        assert batches_of(behind) == [b"late", b"later"]
        assert (behind.stage, behind.draft.begin) == (bundle.stage, bundle.draft.at)
        # Whoever comes next has other memory, until it is given back.
        assert stages.begin(0, 1000).stage is not bundle.stage
        if not given_back:
            stages.give_back(bundle.stage)
        assert stages.begin(0, 1000).stage is not bundle.stage
        stages.give_back(behind.stage)
        assert stages.begin(0, 1000).stage is bundle.stage

    async def test_where_a_segment_ends_it_is_copied_to_where_a_block_begins(self):
        door = LogDoor(queue_bytes=2**20, segment_bytes=3)
        assert door.outlet(LogBatch((door.draft(b"ab"),), None, 1))
        bundle = door.take()
        assert door.outlet(LogBatch((door.draft(b"cd"),), None, 1))
        assert door.outlet(LogBatch((door.draft(b"ef"),), None, 1))
        bundles = [bundle, door.take(), door.take()]
        assert [batches_of(each) for each in bundles] == [[b"ab"], [b"cd"], [b"ef"]]
        assert [each.draft.begin % BLOCK_BYTES for each in bundles] == [0, 2, 0]

    async def test_what_was_foretold_of_a_segment_gives_way_to_what_is_known(self, monkeypatch):
        known = [0]
        monkeypatch.setattr(Ledger, "segment_begins", property(lambda _: known[-1]))
        door = LogDoor(queue_bytes=2**20, segment_bytes=10_000)
        found = []
        # A segment was closed early: the one that was thought to begin at 12,000 did so at 11,000.
        for begins in (0, 0, 0, 11_000, 11_000, 11_000):
            known.append(begins)
            assert door.outlet(LogBatch((bytes(6000),)))
            found.append(door.take().draft.begin % BLOCK_BYTES)
        offsets = (0, 6000, 0, 18_000 - 11_000, 0, 6000)
        assert found == [offset % BLOCK_BYTES for offset in offsets]

    async def test_where_batches_are_large_a_bundle_ends_before_the_next_would_not_fit(self):
        door = LogDoor(queue_bytes=2**30)
        batches = [bytes([at]) * 1_000_000 for at in range(30)]
        copied = []
        for at, batch in enumerate(batches):
            draft = door.outlet.draft
            if len(draft.memory) - draft.at < len(batch):
                copied.append(at)
                assert door.outlet(LogBatch((batch,)))
            elif not door.draft(batch).take(1):
                assert door.outlet(LogBatch((draft,), None, 1))
        bundles = [door.take() for _ in range(door.receive.statistics().current_buffer_used)]
        assert [batch for each in bundles for batch in batches_of(each)] == batches
        # In the first one, when it was not known yet how large they are.
        assert copied == [8]

    async def test_what_is_lent_is_lent_once(self):
        door = LogDoor()
        draft = door.outlet.lend(100)
        assert draft is door.outlet.draft
        assert door.outlet.lend(100) is None
        door.outlet.settle()
        assert door.outlet.lend(100) is draft

    async def test_takes_no_more_than_the_channel_may_hold(self):
        door = LogDoor(queue_bytes=10)
        assert door.outlet(LogBatch((b"x" * 6,)))
        assert not door.draft(b"y" * 5).take(1)
        assert not door.outlet(LogBatch((door.draft(b"y" * 5),), None, 1))
        assert door.draft(b"z" * 4).take(1)
        assert door.received() == [b"x" * 6, b"z" * 4]
        assert door.ledger.dropped[DropReason.QUEUE_FULL] == 1

    async def test_there_is_room_again_when_records_have_left(self):
        door = LogDoor(queue_bytes=10)
        assert door.outlet(LogBatch((b"x" * 10,)))
        door.ledger.append(1, 1, 6, 0.0)
        assert not door.draft(b"y" * 5).take(1)
        assert door.outlet(LogBatch((door.draft(b"y" * 5),), None, 1))
        assert door.draft(b"z").take(1)
        assert not door.draft(b"z").take(1)

    async def test_a_large_batch_comes_after_those_before_it_and_before_those_after_it(self):
        door = LogDoor(queue_bytes=2**30)
        large = bytes(LARGE_BYTES)
        assert door.outlet(LogBatch((b"before",)))
        old = door.outlet.draft
        assert door.outlet(LogBatch((large,)))
        old.size = 3
        assert not old.take(1)
        assert door.outlet(LogBatch((door.draft(b"after"),), None, 1))
        assert door.received() == [b"before", large, b"after"]
        assert door.ledger.accepted == 3

    async def test_after_the_sidecar_has_ended_is_dropped(self):
        door = LogDoor()
        door.receive.close()
        assert not door.outlet(LogBatch((door.draft(b"a"),), None, 2))
        assert not door.draft(b"b").take(1)
        assert door.ledger.dropped[DropReason.QUEUE_FULL] == 2
        assert door.ledger.queued_records == 0

    async def test_a_call_does_not_fail_where_no_memory_is_to_be_had(self, monkeypatch):
        door = LogDoor(queue_bytes=2**30)
        with monkeypatch.context() as patch:
            patch.setattr(Stages, "begin", lambda *_: (_ for _ in ()).throw(OSError(12, "no memory")))
            large = bytes(LARGE_BYTES)
            assert door.outlet(LogBatch((b"first",)))
            door.take()
            assert door.outlet(LogBatch((b"second",)))
            assert door.outlet.draft is None
            assert door.outlet(LogBatch((large,)))
            assert door.outlet(LogBatch((b"third",), None, 3))
        assert door.outlet(LogBatch((b"fourth",)))
        assert door.draft(b"fifth").take(1)
        assert door.received() == [b"second", large, b"third", b"fourth", b"fifth"]
        assert door.ledger.accepted == door.ledger.queued_records == 8

    async def test_where_each_record_is_decided_on_there_is_none(self):
        assert LogDoor(sample_rate=0.5).outlet.draft is None

    async def test_a_bundle_ends_with_its_segment_and_the_next_begins_at_a_block(self):
        door = LogDoor(queue_bytes=2**30, segment_bytes=10_000)
        for _ in range(5):
            assert door.outlet(LogBatch((bytes(3000),)))
        assert [door.take().size_bytes, door.take().size_bytes] == [12_000, 3000]
        door = LogDoor(queue_bytes=2**30, segment_bytes=10_000)
        begins = []
        for _ in range(5):
            assert door.outlet(LogBatch((bytes(3000),)))
            bundle = door.take()
            begins.append(bundle.draft.begin % BLOCK_BYTES)
            assert bundle.size_bytes == 3000
        # Where in its block of the file each begins: the fifth is the first of another file.
        assert begins == [0, 3000, 6000 - 4096, 9000 - 2 * 4096, 0]


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
