"""What the log channel carries: log records, laid end to end in memory from which the disk takes them."""

from collections.abc import Callable, Sequence
from typing import Final

from hushar.drafts import Draft
from hushar.sidecars.appending import BLOCK_BYTES, Stage

BUNDLE_BYTES: Final = 8 * 1024 * 1024
"""The most that a bundle may have. A write costs about as much whatever its size, and what is written at once
lies in one bundle."""
LARGE_BYTES: Final = 512 * 1024
"""Records of a batch with so many bytes are not copied: they lie together already."""
TRIMS: Final = 100
"""So often little waited before memory is given back: some seconds of a busy server."""
_KEPT_STAGES: Final = 3
"""Free memory that is kept where little waits: one bundle is filled while two others are written."""
_WORTH_BYTES: Final = LARGE_BYTES + BLOCK_BYTES
"""A rest of memory with fewer bytes is left: a batch that is copied may find no room in it."""


class Memory(Stage):
    """Where bundles are filled: mostly one, in a long queue one behind the other."""

    def __init__(self) -> None:
        """Raises OSError if there is no more memory."""
        super().__init__(BUNDLE_BYTES)
        self.bundles = 0
        """Those in it that somebody may read or write still, and one more while it is lent."""
        self.lent = False
        """A thread writes behind the end of the last bundle."""


class Stages:
    """The memory of bundles, used again and again: new memory has to be cleared by the system, which takes
    about as long as writing it. For the event loop's thread only."""

    def __init__(self, queue_bytes: int = 0) -> None:
        """`queue_bytes`: so much may wait at once."""
        self._free: list[Memory] = []
        self._trims = self._spare = 0
        self._most = max(_KEPT_STAGES, -(-queue_bytes // BUNDLE_BYTES))
        self._in_use = 0
        self._last: Bundle | None = None
        self.headroom = 0
        """Bytes at the end of a memory from which on no bundle takes another batch: where batches are large
        the next one would hardly fit, and what does not fit has to be copied."""

    def begin(self, offset: int, room: int) -> "Bundle":
        """An empty bundle, to be filled: `room` bytes, or a batch more. `offset`: where in its file it is
        expected to begin. To the one before nothing may be added any more.

        Raises OSError if there is no more memory.
        """
        stage, behind = self._take()
        # As far into a block as in the file: then it can be written from where it is.
        begin = behind + (offset - behind) % BLOCK_BYTES
        self._hold(stage)
        return self._place(stage, begin, room)

    def _take(self) -> tuple[Memory, int]:
        """Memory, and from where on it is free."""
        if self._free:
            self._spare = min(self._spare, len(self._free) - 1)
            return self._free.pop(), 0
        last = self._last
        stage = last.stage if last is not None else None
        if last is not None and stage is not None and not stage.lent and self._in_use > _KEPT_STAGES:
            # Nobody keeps up, and bundles may be small: memory of its own for each would be many times what
            # is in them.
            end = last.draft.at
            if len(stage.view) - end >= _WORTH_BYTES:
                return stage, end
        return Memory(), 0

    def give_back(self, stage: Memory) -> None:
        """Nobody reads any more from one of the bundles in it, or writes to it. Where that is not certain, as
        after a failure, it is not given back: then it goes when the bundle does."""
        stage.bundles -= 1
        if stage.bundles:
            return
        self._in_use -= 1
        if len(self._free) < self._most:
            self._free.append(stage)

    def go_on(self, bundle: "Bundle", room: int) -> "Bundle | None":
        """A bundle with `room` that begins right where the last one ends, of which nothing may be added to,
        around what has been written there; None if that is not the last one any more."""
        stage = bundle.stage
        if stage is None or self._last is not bundle:
            return None
        self._hold(stage)
        behind = self._place(stage, bundle.draft.at, room)
        behind.draft.size = bundle.draft.size
        return behind

    def _hold(self, stage: Memory) -> None:
        """One more reads or writes in it: until that gives it back it is nobody else's."""
        if stage in self._free:
            self._free.remove(stage)
            self._spare = min(self._spare, len(self._free))
        self._in_use += not stage.bundles
        stage.bundles += 1

    def _place(self, stage: Memory, begin: int, room: int) -> "Bundle":
        full_at = max(begin + 1, min(begin + room, len(stage.view) - self.headroom))
        self._last = Bundle(Draft(stage.view, begin, full_at), stage)
        return self._last

    def lend(self, stage: Memory) -> None:
        """A thread may write behind the end of the last bundle in it, whatever becomes of that, until
        `settle`."""
        stage.lent = True
        self._hold(stage)

    def settle(self, stage: Memory) -> None:
        """It has done so."""
        stage.lent = False
        self.give_back(stage)

    def trim(self) -> None:
        """Little waits: give back to the system what was free each of the last TRIMS times that it was so. A
        disk that is slow now and then must not make it find and clear the same memory over and over."""
        self._trims += 1
        if self._trims >= TRIMS:
            self._keep(len(self._free) - self._spare)

    @property
    def has_spare(self) -> bool:
        """Whether more is free than is kept where little waits."""
        return len(self._free) > _KEPT_STAGES

    def rest(self) -> None:
        """Nothing has come for long: give back most of what is free."""
        self._keep(0)

    def _keep(self, count: int) -> None:
        # The one that was used last is the nearest.
        self._free = self._free[-max(count, _KEPT_STAGES) :]
        self._trims, self._spare = 0, len(self._free)


class Bundle:
    """The records of batches that came one after the other.

    Batches are added to the bundle that was sent last for as long as nobody has taken it: sending costs more
    than adding.
    """

    __slots__ = ("draft", "sent", "spooled", "stage", "taken")

    def __init__(self, draft: Draft, stage: Memory | None = None) -> None:
        self.draft = draft
        """The records, and where the next ones may be put together."""
        self.stage = stage
        """The memory that they are in; None where it is their own."""
        self.spooled: list[tuple[int, Callable[[], None]]] = []
        """To be called once every record of a batch, the first being 0, is in the spool, or is counted as
        lost; in the order of the batches."""
        self.sent = False
        """It is in the channel, or was."""
        self.taken = False
        """The receiver works on it: nothing is added any more."""

    @classmethod
    def carrying(cls, pieces: Sequence[bytes]) -> "Bundle":
        """A bundle for one large batch, which is in its place already."""
        return cls(Draft(memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))))

    @property
    def size_bytes(self) -> int:
        """Of all records."""
        return self.draft.at - self.draft.begin

    @property
    def is_open(self) -> bool:
        """Whether a batch may be added, if there is memory for it."""
        return not self.taken and self.draft.at < self.draft.full_at

    def put(self, pieces: Sequence[bytes], size_bytes: int) -> bool:
        """Put a batch where the next one belongs; False if there is no memory for it."""
        draft = self.draft
        if draft.at + size_bytes > len(draft.memory):
            return False
        draft.memory[draft.at : draft.at + size_bytes] = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return True

    def waiting(self, first: int, stop: int) -> list[Callable[[], None]]:
        """What is to be called for the batches from `first` to before `stop`."""
        return [spooled for batch, spooled in self.spooled if first <= batch < stop]

    def close(self) -> None:
        """Nothing is added any more."""
        self.taken = True
        self.draft.limit = 0
