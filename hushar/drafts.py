"""Memory of the log's, in which the records of a batch are put together where the disk will take them from.

Made as objects first they would be copied there, and the objects of a busy server, held until they are
written, would be spread over megabytes of cold memory.

`ReadableDraft` is the readable implementation; `_drafts.pyx` is its compiled twin, in which what is done for
each batch is one call. `Draft` is the compiled one where it was built.
"""

from bisect import bisect_left

from hushar.records import Records

__all__ = ["Draft", "NoDrafts", "ReadableDraft"]


class ReadableDraft:
    """Batches of log records, laid end to end, and behind them room for the next.

    Whoever makes records writes them at `at`, if there is room, and says in `size` how much. Then they are a
    draft, and stand for their bytes, until they are taken or the next ones are written over them: so it is
    for the event loop's thread only, and only for as long as no other task runs and nothing else is scored;
    or for the one thread that it is lent to (`hushar.records.Drafting`).
    """

    def __init__(self, memory: memoryview, begin: int = 0, full_at: int = 0) -> None:
        """`memory`: of bytes, contiguous. They are in it from `begin` on. Nothing is taken any more once they
        reach `full_at`. Raises ValueError if `begin` is not in the memory, or that is something else."""
        self.memory = memoryview(memory)
        if self.memory.format != "B" or self.memory.strides != (1,):
            raise ValueError("a draft is of contiguous bytes")
        if not 0 <= begin <= len(memory):
            raise ValueError(f"a draft does not begin at {begin} of {len(memory)} bytes")
        self.begin = self.at = begin
        self.full_at = full_at
        self.size = 0
        """Bytes that are written at `at`."""
        self.limit = 0
        """Nothing is taken that would go beyond it."""
        self.records = 0
        """Of the batches that were taken."""
        self._told = (0, begin)
        self._ends: list[int] = []
        self._counts: list[int] = []

    def __bytes__(self) -> bytes:
        return bytes(self.memory[self.at : self.at + self.size])

    @property
    def batches(self) -> int:
        """How many were taken."""
        return len(self._ends)

    def take(self, records: int, /) -> bool:
        """Take what is written as a batch of so many records, if that may be done without further ado."""
        if self.at >= self.full_at or self.size > self.limit - self.at:
            return False
        self.book(records, self.size)
        return True

    def book(self, records: int, size: int, /) -> None:
        """A batch is there: so many records, in the next `size` bytes. Raises ValueError if there are not so
        many."""
        if not 0 <= size <= len(self.memory) - self.at:
            raise ValueError(f"{size} bytes at {self.at} of {len(self.memory)}")
        self.records += records
        self.at += size
        self._ends.append(self.at)
        self._counts.append(records)

    def news(self) -> tuple[int, int]:
        """Records and bytes that have come since this was last asked."""
        records, at = self._told
        self._told = self.records, self.at
        return self.records - records, self.at - at

    def run(self, first: int, room: int, /) -> int:
        """The index after the last of the batches from `first` on before each of which there are fewer than
        `room` bytes of them. Raises IndexError if there is no such batch."""
        self._check(first, first + 1)
        begin = self._ends[first - 1] if first else self.begin
        return min(max(bisect_left(self._ends, begin + room, first), first) + 1, len(self._ends))

    def between(self, first: int, stop: int, /) -> Records:
        """The records of the batches from `first` to before `stop`. Raises IndexError if there are none."""
        self._check(first, stop)
        begin = self._ends[first - 1] if first else self.begin
        return Records(self.memory[begin : self._ends[stop - 1]], sum(self._counts[first:stop]))

    def _check(self, first: int, stop: int) -> None:
        if not 0 <= first < stop <= len(self._ends):
            raise IndexError(f"batches {first} to {stop} of {len(self._ends)}")


class NoDrafts:
    """`hushar.records.Drafting` where nothing is logged, or records are not wanted in the log's memory."""

    draft = None

    def lend(self, size_bytes: int) -> None:
        """None is lent."""

    def settle(self) -> None:
        """None was."""


try:
    from hushar._drafts import Draft
except ImportError:
    # Not built: no compiler was there.
    Draft = ReadableDraft  # type: ignore[assignment,misc]
