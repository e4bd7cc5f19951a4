"""Whether a log is complete: the SegmentInfos against each other and against the batches; no I/O.

A *stream* is what one worker of one start of a server writes: segments 1, 2, 3 …, and for each of them a
SegmentInfo (CONTRACT.md 4) with how many batches it has (`batches`) and how many the stream has up to its
end (`total_batches`). What is missing between two segments is exact: `total - batches` of the later one,
less `total` of the earlier one. A stream that ended in order has an *end*: a SegmentInfo without batches,
which shows a missing last segment. A file that has lost its SegmentInfo, with what else was cut off, is
found by its time in the gap that it leaves. docs/reading-logs.md says what can be known and what cannot.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from hushar.logreading.partitions import Window
from hushar.logreading.times import MICROS_A_DAY, MICROS_A_SECOND
from hushar.proto.structs_pb2 import SegmentInfo

_LONGEST_MICROS: Final = MICROS_A_DAY
"""From the opening of a segment to its last record."""
_SLACK_MICROS: Final = 60 * MICROS_A_SECOND
"""How far the calls of a worker may come in another order than they were received in."""


@dataclass(slots=True)
class _Segment:
    """What is there of one segment."""

    batches: int
    """That it had when it was closed."""
    total: int
    """Of the stream, up to its end."""
    present: int
    """Whole ones that are there."""
    inside: int
    """Of these, in the window."""
    first: int | None
    """When its first record was received, else when it was opened; None where that is not known."""
    file: str

    @property
    def before(self) -> int:
        """Batches of the stream before this segment."""
        return self.total - self.batches


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """Who wrote it."""

    instance: str
    worker: int

    def __str__(self) -> str:
        return f"{self.instance} worker {self.worker}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Batches of a stream that are not there."""

    stream: Stream
    first: int
    """The first segment that is missing or is not whole, …"""
    last: int
    """… and the last one."""
    batches: int
    file: str | None = None
    """The file of the segment, where it is there but not whole."""
    between: bool = False
    """No number is missing between `first` and `last`, but batches: what a power cut does."""

    def __str__(self) -> str:
        what = counted(self.batches)
        if self.between:
            return f"{self.stream}: {what} missing between segments {self.first} and {self.last}"
        if self.file is not None:
            return f"{self.stream}: segment {self.first} is not whole: {what} missing in {self.file}"
        if self.first == self.last:
            return f"{self.stream}: segment {self.first} missing: {what}"
        return f"{self.stream}: segments {self.first}-{self.last} missing: {what}"


@dataclass(frozen=True, slots=True)
class Unproven:
    """A file that has lost its SegmentInfo, and that fits into no gap."""

    file: str
    batches: int
    """That are there, in the window."""
    torn: bool
    """In the middle of a batch, or where nobody knows: one is missing at least."""

    def __str__(self) -> str:
        there = f"{self.file}: no SegmentInfo behind {counted(self.batches)}"
        return f"{there}: torn, at least 1 batch missing" if self.torn else f"{there}: more may be missing"


def counted(batches: int) -> str:
    """So many, in words."""
    return "1 batch" if batches == 1 else f"{batches} batches"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a log in a window of time."""

    gaps: tuple[Gap, ...]
    present: int
    """Batches with a number that are there, each once."""
    unproven: tuple[Unproven, ...]
    """Files of which nobody knows how much is missing."""
    unnumbered: int
    """Batches of other servers, which write no SegmentInfo; whether some are missing cannot be known."""
    endless: tuple[tuple[Stream, int], ...]
    """Streams without an end, and their last segment: further ones would not be missed."""

    @property
    def missing(self) -> int:
        """Batches that are not there."""
        return sum(gap.batches for gap in self.gaps) + sum(file.torn for file in self.unproven)

    @property
    def complete(self) -> bool:
        """Whether everything is there that is known of."""
        return not self.gaps and not self.unproven


@dataclass(slots=True)
class FileCount:
    """The records of one file, as they come."""

    file: str
    opened: int | None
    """When its (first) segment was opened; None where that is not known."""
    window: Window
    infos: list[tuple[int, SegmentInfo]] = field(default_factory=list)
    """With how many batches were there before it."""
    torn: bool = False
    """It cannot be read to its end, …"""
    torn_between: bool = False
    """… which is not in the middle of a batch, as far as that can be seen."""
    _inside: bytearray = field(default_factory=bytearray)
    """Of each batch: whether it is in the window."""
    _ours: bytearray = field(default_factory=bytearray)
    """Of each batch: whether it tells when it was received. Our files have SegmentInfos."""
    _received: list[int] = field(default_factory=list)
    """When the first batch behind each SegmentInfo was received."""

    def batch(self, received_unix_micros: int) -> None:
        """A whole batch."""
        if len(self._received) == len(self.infos):
            self._received.append(received_unix_micros)
        self._inside.append(received_unix_micros in self.window)
        self._ours.append(received_unix_micros != 0)

    def info(self, info: SegmentInfo) -> None:
        """A SegmentInfo: it stands behind the batches that it counts."""
        if len(self._received) == len(self.infos):
            self._received.append(0)
        self.infos.append((len(self._inside), info))

    def segments(self) -> Iterator[tuple[SegmentInfo, _Segment]]:
        """What is there of each segment in the file."""
        for index, ((begin, end), (_, info)) in enumerate(zip(self._spans(), self.infos, strict=True)):
            received = self._received[index] or (self.opened if index == 0 else None)
            inside = sum(self._inside[begin:end])
            yield info, _Segment(info.batches, info.total_batches, end - begin, inside, received, self.file)

    def remains(self) -> tuple["_Remains | None", int]:
        """What there is of segments that have lost their SegmentInfo, None if there are none such; and how
        many batches in the window are of servers that write none."""
        ours = there = foreign = behind = 0
        for begin, end in self._others():
            ours += (mine := sum(self._ours[begin:end]))
            there += (inside := sum(self._inside[begin:end]))
            if not mine:
                there -= inside
                foreign += inside
            behind = end - begin
        # Of a file that is torn right behind a SegmentInfo nothing is missing, as far as anybody knows.
        cut = self.torn and (not self.infos or behind > 0 or not self.torn_between)
        # A log has a record. One without, that is called as ours are, was cut to nothing.
        empty = not self.infos and not self._inside and self.opened is not None
        if not (ours or cut or empty):
            return None, foreign
        time = self._received[-1] if len(self._received) > len(self.infos) else 0
        opened = None if self.infos else self.opened
        return _Remains(self.file, time or opened, ours, there, cut and not self.torn_between), foreign

    def _spans(self) -> Iterator[tuple[int, int]]:
        """For each SegmentInfo, where its batches begin and end."""
        start = 0
        for end, (_, info) in zip(self._ends(), self.infos, strict=True):
            # More than were counted are of a segment that has no SegmentInfo.
            yield max(start, end - info.batches), end
            start = end

    def _others(self) -> Iterator[tuple[int, int]]:
        """Where the batches are that no SegmentInfo speaks of."""
        start = 0
        for begin, end in self._spans():
            if begin > start:
                yield start, begin
            start = end
        yield start, len(self._inside)

    def _ends(self) -> list[int]:
        """For each SegmentInfo, how many batches of the file are before its end.

        They stand where they were appended; but whoever joins files by parsing and serializing gets all the
        batches, then all the SegmentInfos, in the same order.
        """
        ends = [at for at, _ in self.infos]
        counts = [info.batches for _, info in self.infos]
        found = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        if found == counts or sum(counts) != len(self._inside):
            return ends
        total = 0
        return [total := total + count for count in counts]


@dataclass(frozen=True, slots=True)
class _Remains:
    """What is there of a segment that has lost its SegmentInfo."""

    file: str
    time: int | None
    """When its first record was received, else when it was opened; None where that is not known."""
    batches: int
    inside: int
    """Of these, in the window."""
    torn: bool


@dataclass(slots=True)
class _Hole:
    """Segments whose numbers are missing."""

    stream: Stream
    first: int
    last: int
    batches: int
    """That are not there."""
    start: int | None
    """When their first records were received: hardly before this, …"""
    end: int | None
    """… and hardly after this; None where that is not known."""
    meets: bool
    """Whether it may be in the window. One that is not has files all the same."""
    files: list[str] = field(default_factory=list)
    """Of these segments, without their SegmentInfos."""

    def takes(self, remains: _Remains) -> bool:
        """Whether the file may be of one of these segments."""
        time = remains.time
        return (
            len(self.files) <= self.last - self.first
            and remains.batches + remains.torn <= self.batches
            and (time is None or self.start is None or self.start - _SLACK_MICROS <= time)
            and (time is None or self.end is None or time <= self.end + _SLACK_MICROS)
        )

    @property
    def room(self) -> tuple[int, float]:
        """How little is known of what is missing: the order in which files are put into holes."""
        if self.start is None or self.end is None:
            return self.batches, math.inf
        return self.batches, self.end - self.start

    def gap(self) -> Gap | None:
        """What was not found of it, if that counts."""
        if not self.batches or not self.meets:
            return None
        file = self.files[0] if self.files and self.first == self.last else None
        return Gap(self.stream, self.first, self.last, self.batches, file)


class Completeness:
    """Takes the files of a log, in any order, and judges."""

    def __init__(self, window: Window, *, from_the_start: bool) -> None:
        """`from_the_start`: nothing older was left out, so that a stream begins with segment 1."""
        self._window = window
        self._from_the_start = from_the_start
        self._streams: dict[Stream, dict[int, _Segment]] = {}
        self._remains: list[_Remains] = []
        self._foreign = 0

    def add(self, file: FileCount) -> None:
        """A file that was read, to its end or to where it is torn."""
        remains, foreign = file.remains()
        self._foreign += foreign
        if remains is not None:
            self._remains.append(remains)
        for info, segment in file.segments():
            segments = self._streams.setdefault(Stream(info.instance, info.worker), {})
            other = segments.get(info.segment)
            # A copy is no second segment; a number that is an end's and a segment's is the segment's.
            if other is None or (segment.batches > 0, segment.present) > (other.batches > 0, other.present):
                segments[info.segment] = segment

    def verdict(self) -> Verdict:
        """Of everything that was added."""
        found: list[Gap | _Hole] = []
        endless: list[tuple[Stream, int]] = []
        present = sum(remains.inside for remains in self._remains)
        for stream, segments in sorted(self._streams.items()):
            found += self._gaps(stream, sorted(segments.items()))
            present += sum(segment.inside for segment in segments.values())
            last = max(segments)
            if len(segments) > 1 and segments[last].batches and self._ended(segments[last]):
                endless.append((stream, last))
        unproven = tuple(self._unproven([each for each in found if isinstance(each, _Hole)]))
        gaps = (each.gap() if isinstance(each, _Hole) else each for each in found)
        missing = tuple(gap for gap in gaps if gap is not None)
        return Verdict(missing, present, unproven, self._foreign, tuple(endless))

    def _unproven(self, holes: Sequence[_Hole]) -> Iterator[Unproven]:
        """The files without SegmentInfos that fit into none of the gaps; the others are put into theirs."""
        for remains in sorted(self._remains, key=lambda each: (-each.batches, each.file)):
            fitting = [hole for hole in holes if hole.takes(remains)]
            if fitting:
                hole = min(fitting, key=lambda each: each.room)
                hole.batches -= remains.batches
                hole.files.append(remains.file)
            elif remains.inside or self._meets_time(remains.time):
                yield Unproven(remains.file, remains.inside, remains.torn)

    def _gaps(self, stream: Stream, segments: list[tuple[int, _Segment]]) -> Iterator[Gap | _Hole]:
        number, earlier = 0, None
        for at, segment in segments:
            known = earlier.total if earlier is not None else 0
            lost = segment.before - known
            judged = earlier is not None or self._from_the_start
            if judged and lost > 0:
                start, end = _times(earlier, segment)
                meets = self._meets_times(start, end)
                if at != number + 1:
                    yield _Hole(stream, number + 1, at - 1, lost, start, segment.first, meets)
                elif meets:
                    yield Gap(stream, number, at, lost, between=True)
            if segment.present < segment.batches and self._meets_time(segment.first):
                yield Gap(stream, at, at, segment.batches - segment.present, segment.file)
            number, earlier = at, segment

    def _meets_time(self, time: int | None) -> bool:
        """Whether a segment whose first record was received then may have one in the window."""
        return self._meets_times(time, None if time is None else time + _LONGEST_MICROS)

    def _meets_times(self, start: int | None, end: int | None) -> bool:
        """Whether what was received between these two may be in the window; also where nobody knows."""
        since, until = self._window.since, self._window.until
        return (since is None or end is None or end >= since) and (
            until is None or start is None or start < until
        )

    def _ended(self, last: _Segment) -> bool:
        """Whether it matters that nothing is known behind a stream's last segment."""
        until = self._window.until
        return until is None or last.first is None or last.first < until


def _times(earlier: _Segment | None, later: _Segment) -> tuple[int | None, int | None]:
    """From when to when what is between these two was received; None where nobody knows."""
    start = earlier.first if earlier is not None else None
    if later.first is None:
        return start, None
    # An end has the time of the opening of the segment before it, which may be the missing one.
    return start, later.first if later.batches else later.first + _LONGEST_MICROS
