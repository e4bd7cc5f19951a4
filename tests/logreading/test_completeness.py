"""Gaps by SegmentInfo, against logs from which something was taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.logreading.completeness import Completeness, FileCount, Stream
from hushar.logreading.partitions import Window
from hushar.proto.structs_pb2 import SegmentInfo

HOUR = 3_600_000_000
EVERYTHING = Window()


def infos(counts, *, instance="i", worker=1, end=False):
    """The SegmentInfos of a stream whose segments have so many batches; an end is one of 0."""
    total = 0
    made = []
    for number, batches in enumerate([*counts, *[0] * end], start=1):
        total += batches
        made.append(
            SegmentInfo(
                instance=instance, worker=worker, segment=number, batches=batches, total_batches=total
            )
        )
    return made


def counted(info, window=EVERYTHING, present=None, hour=None):
    """The file of a segment: its batches, received within its hour, and its SegmentInfo."""
    opened = (info.segment if hour is None else hour) * HOUR
    file = FileCount(f"{info.segment}.pb", opened, window)
    for index in range(info.batches if present is None else present):
        file.batch(opened + index)
    file.info(info)
    return file


def judge(files, window=EVERYTHING, *, from_the_start=True):
    completeness = Completeness(window, from_the_start=from_the_start)
    for file in files:
        completeness.add(file)
    return completeness.verdict()


def texts(verdict):
    return [str(gap) for gap in verdict.gaps]


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    keep=st.lists(st.booleans(), min_size=8, max_size=8),
    copies=st.lists(st.integers(0, 8), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_what_was_taken_from_a_stream_with_an_end_is_missed_exactly(counts, keep, copies, order):
    made = infos(counts, end=True)
    kept = [info for info, there in zip(made, [*keep[: len(counts)], True], strict=True) if there]
    kept += [kept[copy % len(kept)] for copy in copies]
    order.shuffle(kept)
    verdict = judge(map(counted, kept))
    numbers = {info.segment for info in kept}
    lost = [info for info in made if info.segment not in numbers]
    assert verdict.missing == sum(info.batches for info in lost)
    assert verdict.present + verdict.missing == sum(counts)
    assert sorted(n for gap in verdict.gaps for n in range(gap.first, gap.last + 1)) == [
        info.segment for info in lost
    ]
    assert not verdict.unnumbered
    assert not verdict.endless


def test_a_gap_is_told_with_instance_worker_and_segments():
    made = infos([3, 4, 1, 6, 7])
    assert texts(judge(map(counted, [made[0], made[3], made[4]]))) == [
        "i worker 1: segments 2-3 missing: 5 batches"
    ]
    assert texts(judge(map(counted, [made[0], made[1], made[3]]))) == [
        "i worker 1: segment 3 missing: 1 batch"
    ]
    assert texts(judge([counted(made[1])])) == ["i worker 1: segment 1 missing: 3 batches"]


def test_streams_are_told_apart():
    verdict = judge(
        map(
            counted,
            [
                *infos([1, 2, 3], instance="a")[::2],
                *infos([5, 5, 5], instance="a", worker=2)[1:],
                *infos([7], instance="b"),
            ],
        )
    )
    assert texts(verdict) == [
        "a worker 1: segment 2 missing: 2 batches",
        "a worker 2: segment 1 missing: 5 batches",
    ]
    assert (verdict.present, verdict.missing) == (1 + 3 + 5 + 5 + 7, 7)
    assert verdict.endless == ((Stream("a", 1), 3), (Stream("a", 2), 3))


def test_a_missing_last_segment_shows_by_the_end():
    made = infos([3, 4], end=True)
    assert texts(judge(map(counted, [made[0], made[2]]))) == ["i worker 1: segment 2 missing: 4 batches"]
    assert texts(judge([counted(made[2])])) == ["i worker 1: segments 1-2 missing: 7 batches"]


def test_a_stream_without_an_end_is_told_unless_it_is_one_segment():
    assert judge(map(counted, infos([3, 4]))).endless == ((Stream("i", 1), 2),)
    assert judge(map(counted, infos([3]))).endless == ()
    assert judge(map(counted, infos([3, 4], end=True))).endless == ()
    assert judge(map(counted, infos([3, 4])), Window(until=2 * HOUR)).endless == ()
    assert judge(map(counted, infos([3, 4])), Window(until=2 * HOUR + 1)).endless != ()


def test_a_segment_with_the_number_of_an_end_takes_its_place():
    made = infos([3, 4])
    end = infos([3], end=True)[1]
    for files in ([*made, end], [end, *made]):
        verdict = judge(map(counted, files))
        assert (texts(verdict), verdict.present) == ([], 7)


def test_what_a_power_cut_took_from_the_end_of_a_segment_is_missed():
    made = infos([3, 4, 5])
    made[1].batches = 2
    made[1].total_batches = 5
    verdict = judge(map(counted, made))
    assert texts(verdict) == ["i worker 1: 2 batches missing between segments 2 and 3"]
    assert (verdict.present, verdict.missing) == (10, 2)


def test_a_segment_that_is_not_whole_is_named_with_its_file():
    made = infos([3, 4])
    verdict = judge([counted(made[0]), counted(made[1], present=1)])
    assert texts(verdict) == ["i worker 1: segment 2 is not whole: 3 batches missing in 2.pb"]
    assert (verdict.present, verdict.missing) == (4, 3)
    # With a whole copy it is whole.
    assert judge([counted(made[0]), counted(made[1], present=1), counted(made[1])]).gaps == ()


def test_a_number_without_batches_is_no_loss():
    made = infos([3, 4])
    made[1].segment = 4
    assert judge(map(counted, made)).gaps == ()


def test_numbers_that_contradict_each_other_are_no_loss():
    made = infos([3, 4, 5])
    made[2].total_batches = 2
    assert judge(map(counted, made)).gaps == ()


@pytest.mark.parametrize("parsed", [False, True])
def test_segments_that_were_joined_are_counted_one_by_one(parsed):
    made = infos([3, 4, 5])
    file = FileCount("joined.pb", None, Window(since=10, until=20))
    # Received at 8 to 10, 11 to 14, 17 to 21.
    times = [range(8, 11), range(11, 15), range(17, 22)]
    for info, received in zip(made, times, strict=True):
        for time in received:
            file.batch(time)
        if not parsed:
            file.info(info)
    for info in made if parsed else ():
        file.info(info)
    assert [segment.present for _, segment in file.segments()] == [3, 4, 5]
    assert [segment.inside for _, segment in file.segments()] == [1, 4, 3]
    verdict = judge([file])
    assert (verdict.present, verdict.unnumbered, verdict.unproven) == (8, 0, ())


def test_a_joined_file_with_a_segment_that_lacks_its_info_has_its_batches_all_the_same():
    made = infos([3, 4, 5])
    file = FileCount("joined.pb", None, EVERYTHING)
    for info in made:
        for _ in range(info.batches):
            file.batch(1)
        if info.segment != 2:
            file.info(info)
    verdict = judge([file])
    assert verdict.complete
    assert verdict.present == 12


def test_batches_of_other_servers_are_counted_apart():
    file = FileCount("x.pb", 1, EVERYTHING)
    for _ in range(3):
        file.batch(0)
    verdict = judge([file])
    assert (verdict.present, verdict.missing, verdict.unnumbered, verdict.complete) == (0, 0, 3, True)


def remains(number, batches, *, torn=True, between=False, window=EVERYTHING):
    """What is there of segment `number` of `infos`, without its SegmentInfo."""
    file = FileCount(f"cut-{number}.pb", number * HOUR, window, torn=torn, torn_between=between)
    for index in range(batches):
        file.batch(number * HOUR + index)
    return file


@pytest.mark.parametrize("order", [1, -1])
def test_a_torn_segment_is_found_in_the_gap_that_it_leaves(order):
    made = infos([5, 6, 7, 8])
    files = [counted(made[0]), remains(2, 2), counted(made[2]), counted(made[3])]
    verdict = judge(files[::order])
    assert texts(verdict) == ["i worker 1: segment 2 is not whole: 4 batches missing in cut-2.pb"]
    assert (verdict.present, verdict.missing, verdict.unproven, verdict.unnumbered) == (22, 4, (), 0)


def test_a_torn_segment_in_a_gap_of_several_is_no_part_of_what_is_missing():
    made = infos([5, 6, 7, 8])
    verdict = judge([counted(made[0]), remains(3, 3), counted(made[3])])
    assert texts(verdict) == ["i worker 1: segments 2-3 missing: 10 batches"]
    assert (verdict.present, verdict.missing) == (16, 10)


def test_a_gap_takes_no_more_files_than_it_has_segments_and_none_of_another_time():
    made = infos([5, 6, 7, 8])
    verdict = judge([counted(made[0]), remains(2, 2), remains(2, 1), counted(made[2])])
    assert texts(verdict) == ["i worker 1: segment 2 is not whole: 4 batches missing in cut-2.pb"]
    assert [str(each) for each in verdict.unproven] == [
        "cut-2.pb: no SegmentInfo behind 1 batch: torn, at least 1 batch missing"
    ]
    assert (verdict.present, verdict.missing) == (15, 5)
    verdict = judge([counted(made[0]), remains(4, 2), counted(made[2])])
    assert texts(verdict) == ["i worker 1: segment 2 missing: 6 batches"]
    assert len(verdict.unproven) == 1


def test_a_segment_that_lost_nothing_but_its_info_is_no_gap():
    made = infos([5, 6, 7])
    for lost in (remains(2, 6, torn=False), remains(2, 6, between=True)):
        verdict = judge([counted(made[0]), lost, counted(made[2])])
        assert verdict.complete
        assert verdict.present == 18


@pytest.mark.parametrize(
    ("batches", "torn", "between", "missing", "text"),
    [
        (3, True, False, 1, "no SegmentInfo behind 3 batches: torn, at least 1 batch missing"),
        (0, True, False, 1, "no SegmentInfo behind 0 batches: torn, at least 1 batch missing"),
        (3, True, True, 0, "no SegmentInfo behind 3 batches: more may be missing"),
        (1, False, False, 0, "no SegmentInfo behind 1 batch: more may be missing"),
        (0, False, False, 0, "no SegmentInfo behind 0 batches: more may be missing"),
    ],
)
def test_the_last_segment_without_its_info_is_never_complete(batches, torn, between, missing, text):
    verdict = judge([*map(counted, infos([5, 6])), remains(3, batches, torn=torn, between=between)])
    assert [str(each) for each in verdict.unproven] == [f"cut-3.pb: {text}"]
    assert (verdict.complete, verdict.present, verdict.missing) == (False, 11 + batches, missing)


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    cuts=st.lists(st.sampled_from(["whole", "whole", "gone", "torn", "no info"]), min_size=8, max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_what_was_cut_from_a_stream_with_an_end_is_missed_exactly(counts, cuts, order):
    made = infos(counts, end=True)
    files = [counted(made[-1], hour=len(counts))]
    there = 0
    for info, cut in zip(made[:-1], cuts, strict=False):
        left = {"torn": order.randrange(info.batches), "gone": 0}.get(cut, info.batches)
        there += left
        if cut == "whole":
            files.append(counted(info))
        elif cut != "gone":
            files.append(remains(info.segment, left, torn=cut == "torn"))
    order.shuffle(files)
    verdict = judge(files)
    assert (verdict.present, verdict.missing) == (there, sum(counts) - there)
    assert verdict.complete == (there == sum(counts))
    assert not verdict.unproven
    assert not verdict.unnumbered


def test_a_gap_outside_of_the_window_has_its_files_all_the_same():
    """Else the one of worker 2 would be put into the gap of worker 1, and hide it."""
    window = Window(until=3 * HOUR)
    one, two = infos([4, 4, 4]), infos([4] * 9, worker=2)
    files = [counted(one[0], window), counted(one[2], window), remains(8, 4, torn=False, window=window)]
    files += [counted(info, window) for info in two if info.segment != 8]
    verdict = judge(files, window)
    assert texts(verdict) == ["i worker 1: segment 2 missing: 4 batches"]
    assert verdict.unproven == ()


def test_a_tear_right_behind_a_segment_info_takes_nothing():
    (info,) = infos([3])
    file = counted(info)
    file.torn = file.torn_between = True
    assert judge([file]).complete


def test_files_without_infos_count_in_their_own_time():
    lost = remains(3, 4, window=Window(until=3 * HOUR))
    assert judge([lost], Window(until=3 * HOUR)).complete
    window = Window(since=3 * HOUR + 2)
    verdict = judge([remains(3, 4, torn=False, window=window)], window)
    assert (verdict.complete, verdict.present) == (False, 2)


class TestWindow:
    """Segment n has the hour n."""

    counts = (3, 4, 5, 6)

    def verdict(self, taken, *, since=None, until=None, end=False):
        window = Window(
            None if since is None else int(since * HOUR), None if until is None else int(until * HOUR)
        )
        files = []
        for info in infos(self.counts, end=end):
            if info.segment not in taken:
                hour = None if info.batches else info.segment - 1
                files.append(counted(info, window, hour=hour))
        return judge(files, window, from_the_start=since is None)

    def test_only_batches_of_the_window_are_counted(self):
        assert self.verdict([], since=2, until=4).present == 9
        assert self.verdict([], until=1).present == 0

    @pytest.mark.parametrize(
        ("limits", "found"),
        [
            ({}, True),
            ({"since": 1}, True),
            ({"since": 3}, True),
            ({"since": 3.5}, False),
            ({"until": 4}, True),
            ({"until": 1.5}, True),
            ({"until": 1}, False),
            ({"since": 1.5, "until": 1.75}, True),
        ],
    )
    def test_a_gap_counts_if_its_neighbours_leave_room_for_the_window(self, limits, found):
        assert self.verdict([2], **limits).missing == (4 if found else 0)

    def test_what_was_before_the_first_segment_is_not_judged_with_since(self):
        assert self.verdict([1], since=1).missing == 0
        assert self.verdict([1], until=3).missing == 3

    def test_a_missing_last_segment_is_looked_for_up_to_a_day_behind_the_end(self):
        assert self.verdict([4], end=True, since=20).missing == 6
        assert self.verdict([4], end=True, since=29).missing == 0
        assert self.verdict([4], end=True, until=3).missing == 0

    def test_a_segment_that_is_not_whole_counts_in_its_own_time(self):
        [first, second] = infos([3, 4])
        for until, found in ((2.5, 3), (2, 0)):
            window = Window(until=int(until * HOUR))
            files = [counted(first, window), counted(second, window, present=1)]
            assert judge(files, window).missing == found
