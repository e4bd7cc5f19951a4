"""The memory of the log channel: used again, shared where much waits, and never by two at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.sidecars.appending import BLOCK_BYTES
from hushar.sidecars.bundles import BUNDLE_BYTES, LARGE_BYTES, TRIMS, Bundle, Memory, Stages

PLENTY = 2**40


def fill(bundle: Bundle, size: int) -> None:
    assert bundle.put([bytes(size)], size)
    bundle.draft.book(1, size)


class TestStages:
    def test_memory_that_is_free_is_used_before_new(self):
        stages = Stages()
        first = stages.begin(0, PLENTY)
        second = stages.begin(0, PLENTY)
        assert first.stage is not second.stage
        stages.give_back(first.stage)
        assert stages.begin(0, PLENTY).stage is first.stage

    @pytest.mark.parametrize("offset", [0, 1, BLOCK_BYTES - 1, 10 * BLOCK_BYTES + 5])
    def test_a_bundle_begins_as_far_into_a_block_as_in_its_file(self, offset):
        stages = Stages()
        for _ in range(6):
            bundle = stages.begin(offset, PLENTY)
            assert bundle.draft.begin % BLOCK_BYTES == offset % BLOCK_BYTES
            fill(bundle, 1234)

    def test_a_long_queue_of_small_bundles_takes_little_more_memory_than_its_records(self):
        """One of `rotate_bytes`, with a disk that hangs: it was 8 MiB for each 64 KiB."""
        stages, used = Stages(), []
        for number in range(1000):
            bundle = stages.begin(number * 64 * 1024, 64 * 1024)
            fill(bundle, 64 * 1024)
            used.append(bundle.stage)
        assert len(set(map(id, used))) * BUNDLE_BYTES < 2 * 1000 * 64 * 1024

    def test_shared_memory_is_free_once_the_last_of_its_bundles_is_given_back(self):
        stages, bundles = Stages(), []
        for _ in range(6):
            bundles.append(stages.begin(0, PLENTY))
            fill(bundles[-1], BLOCK_BYTES)
        shared = bundles[-1].stage
        assert [bundle.stage is shared for bundle in bundles] == [False, False, False, True, True, True]
        stages.give_back(shared)
        stages.give_back(shared)
        bundles.append(stages.begin(0, PLENTY))
        assert bundles[-1].draft.begin == 3 * BLOCK_BYTES
        stages.give_back(shared)
        assert stages.begin(0, PLENTY).draft.begin == 3 * BLOCK_BYTES
        stages.give_back(shared)
        stages.give_back(shared)
        again = stages.begin(0, PLENTY)
        assert (again.stage is shared, again.draft.begin) == (True, 0)

    def used(self, stages, count):
        """So many bundles, each with memory of its own, that were filled and given back; their memory."""
        bundles = []
        for _ in range(count):
            bundles.append(stages.begin(0, PLENTY))
            fill(bundles[-1], BUNDLE_BYTES - BLOCK_BYTES)
        for bundle in bundles:
            stages.give_back(bundle.stage)
        return {id(bundle.stage): bundle.stage for bundle in bundles}

    def test_what_is_lent_is_nobody_elses_also_if_it_was_given_back_before(self):
        stages = Stages()
        bundle = stages.begin(0, PLENTY)
        stages.give_back(bundle.stage)
        stages.lend(bundle.stage)
        others = [stages.begin(0, PLENTY) for _ in range(2)]
        assert bundle.stage not in [other.stage for other in others]
        stages.settle(bundle.stage)
        begun = [stages.begin(0, PLENTY).stage for _ in range(2)]
        assert begun.count(bundle.stage) == 1
        assert (stages._in_use, stages._free) == (4, [])

    def test_what_goes_on_is_nobody_elses(self):
        stages = Stages()
        bundle = stages.begin(0, PLENTY)
        stages.give_back(bundle.stage)
        behind = stages.go_on(bundle, PLENTY)
        assert stages.begin(0, PLENTY).stage is not bundle.stage
        stages.give_back(behind.stage)
        assert (stages._in_use, stages._free) == (1, [bundle.stage])

    def test_only_the_last_one_goes_on(self):
        stages = Stages()
        first, last = stages.begin(0, PLENTY), stages.begin(0, PLENTY)
        assert stages.go_on(first, PLENTY) is None
        assert stages.go_on(Bundle.carrying([b"x"]), PLENTY) is None
        assert stages.go_on(last, PLENTY).stage is last.stage

    def test_little_is_kept_where_nothing_has_come_for_long(self):
        stages = Stages(8 * BUNDLE_BYTES)
        old = self.used(stages, 6)
        stages.rest()
        assert len(self.used(stages, 6).keys() - old.keys()) == 3

    def test_what_is_never_needed_where_little_waits_is_not_kept(self):
        stages = Stages(8 * BUNDLE_BYTES)
        old = self.used(stages, 6)
        for _ in range(2 * TRIMS):
            self.used(stages, 3)
            stages.trim()
        assert len(self.used(stages, 6).keys() - old.keys()) == 3

    def test_what_is_needed_now_and_then_is_kept(self):
        """New memory has to be found and cleared each time, by the server's core."""
        stages = Stages(8 * BUNDLE_BYTES)
        old = self.used(stages, 6)
        for turn in range(4 * TRIMS):
            now = self.used(stages, 6 if turn % (TRIMS // 2) == 0 else 1)
            stages.trim()
            assert now.keys() <= old.keys()

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 2**33),
                st.integers(1, LARGE_BYTES - 1),
                st.sampled_from([0, 0, 1, 1, 1, 5]),
            ),
            min_size=10,
            max_size=60,
        )
    )
    def test_no_byte_is_in_two_bundles_and_there_is_always_room_for_a_batch(self, steps):
        stages, waiting = Stages(BUNDLE_BYTES), []
        for offset, size, done in steps:
            bundle = stages.begin(offset, PLENTY)
            fill(bundle, size)
            waiting.append(bundle)
            for other in waiting[:-1]:
                assert (
                    other.stage is not bundle.stage
                    or other.draft.at <= bundle.draft.begin
                    or bundle.draft.at <= other.draft.begin
                )
            # Several workers: not in their order.
            for _ in range(min(done, len(waiting))):
                stages.give_back(waiting.pop(offset % len(waiting)).stage)

    def test_what_a_failed_worker_had_in_hand_is_never_used_again(self):
        stages = Stages()
        lost = stages.begin(0, PLENTY)
        for _ in range(20):
            bundle = stages.begin(0, PLENTY)
            assert bundle.stage is not lost.stage
            fill(bundle, BUNDLE_BYTES - BLOCK_BYTES)
            stages.give_back(bundle.stage)


class TestBundle:
    def test_says_who_waits_for_which_batches(self):
        bundle = Bundle.carrying([b"abc"])
        calls = [lambda: None, lambda: None, lambda: None]
        bundle.spooled = [(0, calls[0]), (1, calls[1]), (3, calls[2])]
        assert bundle.waiting(0, 2) == calls[:2]
        assert bundle.waiting(2, 4) == calls[2:]

    def test_a_large_batch_stays_where_it_is(self):
        content = bytes(LARGE_BYTES)
        bundle = Bundle.carrying([content])
        bundle.draft.book(1, len(content))
        assert bundle.draft.between(0, 1).content.obj is content
        assert not bundle.is_open

    def test_memory_begins_at_a_block(self):
        assert len(Memory().view) == BUNDLE_BYTES
