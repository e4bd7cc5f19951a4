"""How far the delivery of each segment has come, for the attempt after one that broke off."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from hushar_aws.kinesis_cutting import KinesisRecord

SEGMENTS: Final = 64
"""Remembered at most: a worker tries one at a time. A forgotten one is sent anew."""


class Progress:
    """Which records of one segment the stream has."""

    def __init__(self) -> None:
        self._below = 0
        """All records with a lower ordinal."""
        self._others: set[int] = set()

    @property
    def has_any(self) -> bool:
        """Whether the stream has anything of the segment."""
        return bool(self._below or self._others)

    def missing(self, records: Sequence[KinesisRecord]) -> list[KinesisRecord]:
        """Those of the records that the stream does not have."""
        return [
            record
            for record in records
            if record.ordinal >= self._below and record.ordinal not in self._others
        ]

    def add(self, records: Iterable[KinesisRecord]) -> None:
        """The stream has these."""
        self._others.update(record.ordinal for record in records)
        while self._below in self._others:
            self._others.remove(self._below)
            self._below += 1


class ProgressBook:
    """The progress of the segments that are under way, by their files: the rest of one has its key too."""

    def __init__(self, segments: int = SEGMENTS) -> None:
        self._segments = segments
        self._by_path: OrderedDict[Path, Progress] = OrderedDict()

    def of(self, path: Path) -> Progress:
        """Of the segment in this file: a new one if nothing is known."""
        progress = self._by_path.setdefault(path, Progress())
        self._by_path.move_to_end(path)
        if len(self._by_path) > self._segments:
            self._by_path.popitem(last=False)
        return progress

    def forget(self, path: Path) -> None:
        """The segment is delivered."""
        self._by_path.pop(path, None)
