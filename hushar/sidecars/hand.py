"""What a worker has in hand: taken from the channel, and not yet in a segment or lost.

Should the worker fail in the middle of something, this says what became of each record,
and who waits to hear.
"""

import logging
from collections.abc import Callable, Sequence

from hushar.sidecars.bundles import Bundle

logger = logging.getLogger(__name__)

Spooled = Callable[[], None]
"""Who waits to hear of a batch."""


class Hand:
    """What a worker has taken from the channel: what of it is neither in a segment nor lost, and who has
    not been told what became of it. Added up only when somebody asks."""

    def __init__(self) -> None:
        self._bundles: Sequence[Bundle] = ()
        self._records = 0
        self._size_bytes = 0
        self._untold: list[Spooled] = []

    def take(self, bundles: Sequence[Bundle]) -> None:
        """Nothing is in hand before; nothing is added to the bundles any more."""
        self._bundles = bundles
        self._records = self._size_bytes = 0
        self._untold = [spooled for bundle in bundles for _, spooled in bundle.spooled]

    def give(self, records: int, size_bytes: int) -> None:
        """So much of it is in its place."""
        self._records += records
        self._size_bytes += size_bytes

    def tell(self, waiting: Sequence[Spooled]) -> None:
        """Tell the next of those who wait."""
        del self._untold[: len(waiting)]
        for spooled in waiting:
            try:
                spooled()
            except Exception:
                # Somebody else's code in this task: it must not take the log down with it.
                logger.exception("log: a batch could not be told that it is in the spool")

    @property
    def left(self) -> tuple[int, int]:
        """Records and bytes that are in hand still."""
        records = sum(bundle.draft.records for bundle in self._bundles)
        size = sum(bundle.size_bytes for bundle in self._bundles)
        return records - self._records, size - self._size_bytes

    @property
    def untold(self) -> Sequence[Spooled]:
        """Those that have not been told, in their order."""
        return tuple(self._untold)
