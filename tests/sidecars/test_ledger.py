"""Every accepted record is in one place, through every way that it can take."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hushar.drafts import Draft
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.segment import CLOSING_BYTES, SegmentIdentity, stored_segment

UUID = "0b2f1a52-7c53-4c34-9d3b-1f3f2d0c9a11"


def stored(number: int, *, batches: int = 1, size: int = 10, worker: int = 1):
    identity = SegmentIdentity("host", worker, number, 0, UUID, number * 1_000_000)
    return stored_segment(Path(f"w{worker}s{number}"), identity, batches, size)


def enqueue(ledger: Ledger, records: int, size: int) -> None:
    """As the outlet does."""
    draft = Draft(memoryview(bytes(size)))
    ledger.watch(draft)
    draft.book(records, size)


class Books(RuleBasedStateMachine):
    """Moves in any order; the sum holds after each, and bytes come back to where they were."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger(2)
        self.queued: list[tuple[int, int]] = []
        self.open = {1: [0, 0], 2: [0, 0]}
        self.numbers = 0

    @rule(records=st.integers(1, 5), size=st.integers(1, 100))
    def enqueue(self, records, size):
        enqueue(self.ledger, records, size)
        self.queued.append((records, size))

    @rule(records=st.integers(1, 5))
    def refuse(self, records):
        self.ledger.refuse(records)

    @precondition(lambda self: self.queued)
    @rule(lane=st.integers(1, 2), lost=st.booleans())
    def leave_the_channel(self, lane, lost):
        records, size = self.queued.pop(0)
        if lost:
            self.ledger.lose(records, size, DropReason.DISK_FULL)
        else:
            self.ledger.append(lane, records, size, 1.0)
            self.open[lane][0] += records
            self.open[lane][1] += size

    @rule(lane=st.integers(1, 2), end=st.sampled_from(["close", "strand", "lose"]))
    def close(self, lane, end):
        records, size = self.open[lane]
        self.open[lane] = [0, 0]
        self.numbers += 1
        if end == "strand":
            self.ledger.strand(lane)
        elif end == "lose":
            assert self.ledger.lose_open(lane, DropReason.TORN) == records
        else:
            made = stored(self.numbers, batches=records, size=size + 20, worker=lane) if records else None
            self.ledger.close(lane, made)

    @rule(batches=st.integers(1, 9), worker=st.integers(1, 9), torn=st.integers(0, 1))
    def find(self, batches, worker, torn):
        self.numbers += 1
        self.ledger.find(stored(self.numbers, batches=batches, worker=worker))
        self.ledger.find_torn(torn)

    @rule(lane=st.integers(1, 2))
    def mark_the_end(self, lane):
        self.numbers += 1
        self.ledger.end(lane, stored(self.numbers, batches=0, worker=lane), 1.0)

    @rule(lane=st.integers(1, 2), size=st.integers(1, 30))
    def compress(self, lane, size):
        plain = self.ledger.take_plain(lane)
        if plain is None:
            return
        assert plain.segment.compression == "none"
        made = replace(plain, segment=replace(plain.segment, compression="gzip", size_bytes=size))
        before = self.ledger.spool_bytes
        self.ledger.replace(made)
        assert self.ledger.spool_bytes - before == size - plain.segment.size_bytes
        self.ledger.give_back(made)

    @rule(lane=st.integers(1, 2), records=st.integers(0, 9))
    def set_a_part_aside(self, lane, records):
        taken = self.ledger.take_next(lane)
        if taken is not None:
            self.ledger.dead_letter(taken, records)

    @rule(lane=st.integers(1, 2), fate=st.sampled_from(["deliver", "drop", "dead_letter", "give_back"]))
    def end(self, lane, fate):
        taken = self.ledger.take_next(lane)
        if taken is None:
            return
        if fate == "drop":
            self.ledger.drop(taken, DropReason.SPOOL_FULL)
        else:
            getattr(self.ledger, fate)(taken)

    @invariant()
    def the_sum_holds(self):
        books = self.ledger
        assert books.accepted == (
            books.delivered + books.spooled_records + sum(books.dropped.values()) + books.dead_lettered
        )
        assert books.queued_bytes == sum(size for _, size in self.queued)
        assert books.spooled_records >= 0
        assert books.spool_bytes >= 0


TestBooks = pytest.mark.slow(Books.TestCase)
TestBooks.settings = settings(max_examples=50, deadline=None)


class TestTaking:
    def test_a_workers_segments_come_in_their_order_and_only_once(self):
        ledger = Ledger(2)
        first, second, other = stored(1), stored(2), stored(3, worker=2)
        for segment in (first, other, second):
            ledger.find(segment)
        assert ledger.take_next(1) is first
        assert ledger.take_next(1) is second
        assert ledger.take_next(1) is None
        ledger.give_back(first)
        assert ledger.take_next(1) is first

    def test_segments_of_more_workers_than_there_are_now_are_all_delivered_by_some_lane(self):
        ledger = Ledger(2)
        for worker in (1, 2, 3, 5):
            ledger.find(stored(worker, worker=worker))
        assert [ledger.take_next(1).identity.worker for _ in range(3)] == [1, 3, 5]
        assert ledger.take_next(2).identity.worker == 2

    def test_the_oldest_of_all_is_the_one_that_was_closed_first_and_is_idle(self):
        ledger = Ledger(2)
        one, two, three = stored(1), stored(2, worker=2), stored(3)
        for lane, segment in ((1, one), (2, two), (1, three)):
            ledger.close(lane, segment)
        assert ledger.take_next(1) is one
        assert ledger.take_oldest() is two
        assert ledger.take_oldest() is three
        assert ledger.take_oldest() is None

    def test_the_oldest_is_left_alone_if_it_is_not_old_enough(self):
        ledger = Ledger(1)
        enqueue(ledger, 1, 10)
        ledger.append(1, 1, 10, 5.0)
        ledger.close(1, stored(1))
        assert ledger.take_oldest(5.0) is None
        assert ledger.take_oldest(5.1) is not None

    def test_what_is_not_compressed_is_found_behind_what_is(self):
        ledger = Ledger(1)
        plain = [stored(number) for number in (1, 2, 3)]
        for each in plain:
            ledger.find(each)
        made = replace(plain[0], segment=replace(plain[0].segment, compression="gzip", size_bytes=4))
        assert ledger.take_plain(1) is plain[0]
        ledger.replace(made)
        ledger.give_back(made)
        assert ledger.spool_bytes == 24
        assert ledger.take_plain(1) is plain[1]
        ledger.give_back(plain[1])
        assert ledger.take_next(1) is made
        ledger.deliver(made)
        assert (ledger.spool_bytes, ledger.delivered, ledger.spooled_records) == (20, 1, 2)

    def test_of_a_segment_that_is_set_aside_in_part_the_sink_has_the_rest(self):
        ledger = Ledger(1)
        ledger.find(stored(1, batches=5))
        ledger.dead_letter(ledger.take_next(1), 2)
        assert (ledger.delivered, ledger.dead_lettered, ledger.dead_letter_segments) == (3, 2, 1)
        assert (ledger.spooled_records, ledger.spool_bytes) == (0, 0)

    def test_an_end_marker_is_delivered_before_the_segment_that_is_closed_after_it(self):
        ledger = Ledger(1)
        end, last = stored(3, batches=0), stored(2)
        enqueue(ledger, 1, 10)
        ledger.append(1, 1, 10, 1.0)
        ledger.end(1, end, 2.0)
        ledger.close(1, last)
        assert [ledger.take_next(1), ledger.take_next(1)] == [end, last]
        assert ledger.spooled_records == 1


class TestRoom:
    def test_what_is_being_written_and_what_closing_takes_is_kept_free(self):
        ledger = Ledger(1)
        limit = 100 + CLOSING_BYTES
        assert ledger.fits(100, limit)
        assert not ledger.fits(101, limit)
        with ledger.reserved(60):
            assert ledger.fits(40, limit)
            assert not ledger.fits(41, limit)
        assert ledger.fits(100, limit)

    def test_what_dropping_could_make_room_for_is_known_before_anything_is_dropped(self):
        ledger = Ledger(1)
        limit = 100 + CLOSING_BYTES
        enqueue(ledger, 1, 30)
        ledger.append(1, 1, 30, 1.0)
        for number in (1, 2):
            ledger.find(stored(number, size=20))
        assert not ledger.fits(31, limit)
        assert ledger.could_fit(70, limit)
        assert not ledger.could_fit(71, limit)
        ledger.take_next(1)
        assert ledger.could_fit(50, limit)
        assert not ledger.could_fit(51, limit)

    def test_open_and_closed_segments_count(self):
        ledger = Ledger(1)
        enqueue(ledger, 1, 30)
        ledger.append(1, 1, 30, 1.0)
        ledger.find(stored(1, size=50))
        assert ledger.spool_bytes == 80
        ledger.deliver(ledger.take_next(1))
        assert ledger.spool_bytes == 30


def test_the_age_of_the_spool_is_that_of_its_oldest_segment():
    ledger = Ledger(2)
    assert ledger.oldest_seconds(100.0) == 0
    enqueue(ledger, 1, 1)
    ledger.append(1, 1, 1, 90.0)
    assert ledger.oldest_seconds(100.0) == 10
    ledger.find(stored(1, worker=2), 80.0)
    assert ledger.oldest_seconds(100.0) == 20
    assert ledger.oldest_seconds(0.0) == 0


@pytest.mark.parametrize("reason", list(DropReason))
def test_reasons_are_the_public_ones(reason):
    assert reason.value in {"queue_full", "spool_full", "too_old", "disk_full", "torn"}
