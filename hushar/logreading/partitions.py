"""The times that the names of a log's folders and files tell (CONTRACT.md 4), and windows of time.

`year=YYYY/month=MM/day=DD/hour=HH/mi=MM/<uuid4>_<unix micros>.pb`, UTC: when the segment was opened.
`.gz` or `.zst` may follow.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Final

from hushar.logreading.times import MICROS_A_DAY, MICROS_A_SECOND, unix_micros

_NAME: Final = re.compile(r".+_(?P<micros>[0-9]{1,18})\.pb(?:\.gz|\.zst)?", re.ASCII | re.DOTALL)
_PARTS: Final = ("year", "month", "day", "hour", "mi")
_PART: Final = re.compile(r"(year|month|day|hour|mi)=([0-9]{1,4})", re.ASCII)
_FIRST: Final = (1, 1, 1, 0, 0)
_LONGEST_MICROS: Final = (
    366 * MICROS_A_DAY,
    31 * MICROS_A_DAY,
    MICROS_A_DAY,
    3600 * MICROS_A_SECOND,
    60 * MICROS_A_SECOND,
)
"""How long a year, a month, … is at most."""
_SLACK_MICROS: Final = MICROS_A_DAY
"""How far a record may lie outside of the partition of its segment. Later: no segment is open for
longer than a day. Earlier: the time that it waited to be written, which is far less."""


@dataclass(frozen=True, slots=True)
class Partition:
    """The stretch of time that a folder stands for, in microseconds since the epoch."""

    start: int
    end: int
    """Not before the true end; a month counts as 31 days."""


@dataclass(frozen=True, slots=True)
class Window:
    """The points in time that are asked for: since ≤ t < until, in microseconds since the epoch."""

    since: int | None = None
    until: int | None = None

    def __contains__(self, unix_micros: int) -> bool:
        return (self.since is None or self.since <= unix_micros) and (
            self.until is None or unix_micros < self.until
        )

    def may_hold(self, partition: Partition) -> bool:
        """Whether a file in this partition can have records of the window."""
        return (self.since is None or partition.end + _SLACK_MICROS > self.since) and (
            self.until is None or partition.start - _SLACK_MICROS < self.until
        )


def partition_of(directory: PurePath) -> Partition | None:
    """The partition that the folders of a path name, from the year down to where they stop.

    None where they name none (a month without its year says nothing).
    """
    values: list[int] = []
    for name in directory.parts:
        match = _PART.fullmatch(name)
        if match is not None:
            position = _PARTS.index(match[1])
            if position > len(values):
                return None
            values[position:] = [int(match[2])]
    if not values:
        return None
    year, month, day, hour, minute = (*values, *_FIRST[len(values) :])
    try:
        start = unix_micros(datetime(year, month, day, hour, minute, tzinfo=UTC))
    except ValueError:
        return None
    return Partition(start, start + _LONGEST_MICROS[len(values) - 1])


def opened_of(file: PurePath) -> int | None:
    """When a segment was opened, by its name, else by its partition; None where neither tells."""
    match = _NAME.fullmatch(file.name)
    if match is not None:
        return int(match["micros"])
    partition = partition_of(file.parent)
    return None if partition is None else partition.start
