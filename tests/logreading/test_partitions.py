from datetime import UTC, datetime
from pathlib import Path

import pytest

from hushar.logreading.partitions import Partition, Window, opened_of, partition_of
from hushar.logreading.times import MICROS_A_DAY, unix_micros


def at(*parts):
    return unix_micros(datetime(*parts, tzinfo=UTC))


@pytest.mark.parametrize(
    ("path", "start", "end"),
    [
        ("log/year=2026", (2026, 1, 1), (2027, 1, 2)),
        ("log/year=2024/month=12", (2024, 12, 1), (2025, 1, 1)),
        ("/a/b/year=2026/month=02/day=03", (2026, 2, 3), (2026, 2, 4)),
        ("year=2026/month=02/day=03/hour=23", (2026, 2, 3, 23), (2026, 2, 4)),
        ("year=2026/month=02/day=03/hour=04/mi=59", (2026, 2, 3, 4, 59), (2026, 2, 3, 5)),
        ("year=2020/month=01/of/year=2026/month=01/day=02", (2026, 1, 2), (2026, 1, 3)),
    ],
)
def test_folders_tell_their_stretch_of_time(path, start, end):
    assert partition_of(Path(path)) == Partition(at(*start), at(*end))


def test_the_last_year_has_an_end():
    assert partition_of(Path("year=9999/month=12/day=31")) == Partition(
        at(9999, 12, 31), at(9999, 12, 31) + MICROS_A_DAY
    )


@pytest.mark.parametrize(
    "path",
    ["", "log", "month=01", "year=2026/day=03", "year=2026/month=13", "year=0000", "year=20267", "year=x"],
)
def test_other_folders_tell_nothing(path):
    assert partition_of(Path(path)) is None


def test_a_window_begins_with_since_and_ends_before_until():
    window = Window(since=10, until=20)
    assert [time for time in (9, 10, 19, 20) if time in window] == [10, 19]
    assert 10**18 in Window()
    assert 10**18 in Window(since=5)
    assert 10**18 not in Window(until=5)


def test_partitions_are_left_out_that_end_more_than_a_day_before_the_window_or_start_as_late_after_it():
    window = Window(since=at(2026, 2, 10), until=at(2026, 2, 12))
    held = [
        day
        for day in range(1, 28)
        if window.may_hold(Partition(at(2026, 2, day), at(2026, 2, day) + MICROS_A_DAY))
    ]
    assert held == [9, 10, 11, 12]
    assert Window().may_hold(Partition(0, 1))


def test_a_segment_was_opened_when_its_name_says_else_when_its_partition_does():
    partition = Path("year=2026/month=02/day=03/hour=04/mi=05")
    assert opened_of(partition / "0b5c_1770091500000001.pb") == 1770091500000001
    assert opened_of(partition / "joined.pb") == at(2026, 2, 3, 4, 5)
    assert opened_of(Path("log") / "joined.pb") is None
