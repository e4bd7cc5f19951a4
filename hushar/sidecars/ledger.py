"""The books of the log pipeline: where every record is, and what became of those that are gone.

Every record that was accepted is in exactly one place: in the channel, in an open segment, in a
closed one, or among those delivered, dropped for a reason, or dead-lettered. A move from one to the
other is one method here, called in the event loop and never from a thread (what comes into the channel is
read off a draft), so that the sum holds whenever somebody looks:

    accepted = delivered + spooled + dropped + dead_lettered

A record is one call. What is on its way to the disk counts as in the channel until the write is done.
Times are those of a clock that never goes back: nothing gets old, or young again, because somebody sets
the clock of the machine.
"""

import enum
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from hushar.drafts import Draft
from hushar.sidecars.segment import CLOSING_BYTES, StoredSegment


class DropReason(enum.StrEnum):
    """Why an accepted record is not in the log."""

    QUEUE_FULL = "queue_full"
    """The channel was full: the newest records go."""
    SPOOL_FULL = "spool_full"
    """`spool_max_bytes` or `spool_min_free_bytes`: the oldest closed segment goes; where there is none,
    the newest records."""
    TOO_OLD = "too_old"
    """`spool_max_age_seconds`."""
    DISK_FULL = "disk_full"
    """The spool's disk refused the write."""
    TORN = "torn"
    """Found cut off, damaged, empty or gone: a crash or somebody else's hand."""


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """The log pipeline at one moment. Counts are of records (calls), since the start."""

    accepted_records: int
    """With those found in the spool at the start; without those that were not sampled."""
    delivered_records: int
    spooled_records: int
    """In the channel, or in the spool."""
    dropped_records: Mapping[DropReason, int]
    """Every reason has an entry."""
    dead_lettered_records: int
    queued_bytes: int
    """In the channel, of `queue_bytes`."""
    spool_bytes: int
    """Of open and closed segments on disk, of `spool_max_bytes`."""
    oldest_seconds: float
    """Age of the oldest segment in the spool; 0 if there is none."""
    sink: str
    """The sink's description."""
    sink_up: bool
    """Whether the last attempt succeeded (or none was made)."""
    sink_errors: Mapping[str, int]
    """Failed attempts by reason: error, refused, segment_refused, unexpected."""
    dead_letter_segments: int = 0
    """Files in the spool's `dead-letter`, also those of former starts."""
    crashes: int = 0
    """How often a task of the log has failed and was started again."""


@dataclass(slots=True)
class _Open:
    """A worker's segment under way."""

    records: int = 0
    size_bytes: int = 0
    opened_at: float = 0.0


@dataclass(slots=True)
class _Closed:
    stored: StoredSegment
    order: int
    """Of closing, over all workers."""
    opened_at: float
    taken: bool = False
    """Somebody delivers, drops or moves it right now."""


class Ledger:
    """See the module. `lanes`: how many workers there are, counted from 1."""

    def __init__(self, lanes: int) -> None:
        self._accepted = 0
        self.delivered = 0
        self.dropped = dict.fromkeys(DropReason, 0)
        self.dead_lettered = 0
        self.dead_letter_segments = 0
        """Files set aside, also those found at the start."""
        self._queued_records = 0
        self._queued_bytes = 0
        self._left_bytes = 0
        self._watched: Draft | None = None
        self._open: dict[int, _Open] = {lane: _Open() for lane in range(1, lanes + 1)}
        self._stranded = _Open()
        # By what stays the same of their names, in the order of closing.
        self._closed: dict[int, dict[str, _Closed]] = {lane: {} for lane in self._open}
        # Those of them that are not compressed: a long backlog is not gone through for each.
        self._plain: dict[int, dict[str, _Closed]] = {lane: {} for lane in self._open}
        self._closed_bytes = 0
        self._closed_records = 0
        self._reserved_bytes = 0
        self._order = 0

    # The channel

    def refuse(self, records: int) -> None:
        """Accepted from the caller's point of view, and dropped at the door."""
        self._accepted += records
        self.dropped[DropReason.QUEUE_FULL] += records

    def watch(self, draft: Draft) -> None:
        """What the draft takes is in the channel; it is booked when somebody looks. The one that was watched
        before takes nothing any more."""
        self._look()
        self._watched = draft

    def _look(self) -> None:
        if self._watched is not None:
            records, size_bytes = self._watched.news()
            self._accepted += records
            self._queued_records += records
            self._queued_bytes += size_bytes

    @property
    def accepted(self) -> int:
        """Records, with those that were dropped at once and those found at the start."""
        self._look()
        return self._accepted

    @property
    def queued_records(self) -> int:
        """In the channel."""
        self._look()
        return self._queued_records

    @property
    def queued_bytes(self) -> int:
        """In the channel."""
        self._look()
        return self._queued_bytes

    @property
    def entered_bytes(self) -> int:
        """All that has come into the channel."""
        return self._left_bytes + self.queued_bytes

    @property
    def segment_begins(self) -> int:
        """Of all that has come into the channel, where the first worker's open segment begins: the bytes
        before it. Where there are several workers, that is of no use."""
        return self._left_bytes - self._open[1].size_bytes

    def lose(self, records: int, size_bytes: int, reason: DropReason) -> None:
        """Out of the channel, and not into the spool."""
        self._queued_records -= records
        self._queued_bytes -= size_bytes
        self._left_bytes += size_bytes
        self.dropped[reason] += records

    # Open segments

    def fits(self, size_bytes: int, max_bytes: int) -> bool:
        """Whether so much more may be appended, with what it takes to close every open segment."""
        closing = CLOSING_BYTES * len(self._open)
        return self.spool_bytes + self._reserved_bytes + closing + size_bytes <= max_bytes

    def could_fit(self, size_bytes: int, max_bytes: int) -> bool:
        """The same once every closed segment that nobody has taken is dropped."""
        return self.fits(size_bytes - self.idle_bytes, max_bytes)

    @property
    def idle_bytes(self) -> int:
        """Of the closed segments that nobody has taken: what dropping can make room for."""
        return sum(
            entry.stored.segment.size_bytes
            for entries in self._closed.values()
            for entry in entries.values()
            if not entry.taken
        )

    @contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        """Keep room for a write under way: two workers must not both take the last of it."""
        self._reserved_bytes += size_bytes
        try:
            yield
        finally:
            self._reserved_bytes -= size_bytes

    def append(self, lane: int, records: int, size_bytes: int, now: float) -> None:
        """From the channel into the worker's open segment."""
        self._queued_records -= records
        self._queued_bytes -= size_bytes
        self._left_bytes += size_bytes
        segment = self._open[lane]
        if not segment.records:
            segment.opened_at = now
        segment.records += records
        segment.size_bytes += size_bytes

    def close(self, lane: int, stored: StoredSegment | None) -> None:
        """The worker's open segment is closed; `stored` is None if it was empty."""
        closed, self._open[lane] = self._open[lane], _Open()
        if stored is not None:
            self._keep(lane, stored, closed.opened_at)

    def end(self, lane: int, stored: StoredSegment, now: float) -> None:
        """The worker's end marker, a segment without records, is in the spool."""
        self._keep(lane, stored, now)

    def strand(self, lane: int) -> int:
        """The worker's open segment can be neither written nor closed: it waits for the next start. How many
        records are in it."""
        left = self._open[lane]
        self._stranded.records += left.records
        self._stranded.size_bytes += left.size_bytes
        self._open[lane] = _Open()
        return left.records

    def lose_open(self, lane: int, reason: DropReason) -> int:
        """The worker's open segment is lost; how many records that were."""
        lost, self._open[lane] = self._open[lane], _Open()
        self.dropped[reason] += lost.records
        return lost.records

    # Closed segments

    def find(self, stored: StoredSegment, opened_at: float = 0.0) -> None:
        """In the spool at start. Segments of one worker stay with one worker, in their order."""
        self._accepted += stored.segment.batches
        self._keep((stored.identity.worker - 1) % len(self._open) + 1, stored, opened_at)

    def find_torn(self, records: int) -> None:
        """Cut off at start."""
        self._accepted += records
        self.dropped[DropReason.TORN] += records

    def _keep(self, lane: int, stored: StoredSegment, opened_at: float) -> None:
        self._order += 1
        entry = self._closed[lane][stored.identity.stem] = _Closed(stored, self._order, opened_at)
        if stored.segment.compression == "none" and not stored.keeps_name:
            self._plain[lane][stored.identity.stem] = entry
        self._closed_records += stored.segment.batches
        self._closed_bytes += stored.segment.size_bytes

    def has_next(self, lane: int) -> bool:
        """Whether `take_next` would give something."""
        return any(not entry.taken for entry in self._closed[lane].values())

    def take_next(self, lane: int) -> StoredSegment | None:
        """The worker's oldest closed segment that nobody has taken; it is the caller's now."""
        for entry in self._closed[lane].values():
            if not entry.taken:
                entry.taken = True
                return entry.stored
        return None

    def take_plain(self, lane: int) -> StoredSegment | None:
        """The same of those that are not compressed yet."""
        for entry in self._plain[lane].values():
            if not entry.taken:
                entry.taken = True
                return entry.stored
        return None

    def take_oldest(self, opened_before: float | None = None) -> StoredSegment | None:
        """The same over all workers: the one that was closed first, if it is old enough."""
        oldest: _Closed | None = None
        for entries in self._closed.values():
            first = next((entry for entry in entries.values() if not entry.taken), None)
            if first is None or (opened_before is not None and first.opened_at >= opened_before):
                continue
            if oldest is None or first.order < oldest.order:
                oldest = first
        if oldest is None:
            return None
        oldest.taken = True
        return oldest.stored

    def give_back(self, stored: StoredSegment) -> None:
        """It stays in the spool after all."""
        for entries in self._closed.values():
            if entry := entries.get(stored.identity.stem):
                entry.taken = False

    def replace(self, stored: StoredSegment) -> None:
        """A segment that somebody has taken is in another file now, of another size; or stays as it is."""
        for entries in self._closed.values():
            if entry := entries.get(stored.identity.stem):
                self._closed_bytes += stored.segment.size_bytes - entry.stored.segment.size_bytes
                entry.stored = stored
        self._forget_plain(stored)

    def _forget_plain(self, stored: StoredSegment) -> None:
        for entries in self._plain.values():
            entries.pop(stored.identity.stem, None)

    def deliver(self, stored: StoredSegment) -> None:
        """The sink has it."""
        self.delivered += self._remove(stored)

    def drop(self, stored: StoredSegment, reason: DropReason) -> None:
        """It is lost."""
        self.dropped[reason] += self._remove(stored)

    def dead_letter(self, stored: StoredSegment, records: int | None = None) -> None:
        """It is set aside; or so many of its records are, and the sink has the others."""
        removed = self._remove(stored)
        aside = removed if records is None else min(records, removed)
        self.dead_lettered += aside
        self.dead_letter_segments += 1
        self.delivered += removed - aside

    def _remove(self, stored: StoredSegment) -> int:
        for entries in self._closed.values():
            entries.pop(stored.identity.stem, None)
        self._forget_plain(stored)
        self._closed_records -= stored.segment.batches
        self._closed_bytes -= stored.segment.size_bytes
        return stored.segment.batches

    # Sums

    @property
    def spool_bytes(self) -> int:
        """Of all segments on disk."""
        return self._closed_bytes + sum(segment.size_bytes for segment in self._all_open())

    @property
    def spooled_records(self) -> int:
        """In the channel and on disk."""
        return (
            self.queued_records + self._closed_records + sum(segment.records for segment in self._all_open())
        )

    def _all_open(self) -> Iterator[_Open]:
        yield from self._open.values()
        yield self._stranded

    def oldest_seconds(self, now: float) -> float:
        """Age of the oldest segment on disk."""
        opened = [segment.opened_at for segment in self._open.values() if segment.records]
        opened += [next(iter(entries.values())).opened_at for entries in self._closed.values() if entries]
        return max(0.0, now - min(opened)) if opened else 0.0
