"""What a worker has in hand: taken from the channel, and not yet in a segment or lost.

Should the worker fail in the middle of something, this says what became of each record,
and who waits to hear.
"""

import logging
from collections.abc import Sequence

from hushar.records import LogBatch
from hushar.sidecars.outlet import Bundle

logger = logging.getLogger(__name__)


class Hand:
    """What a worker has taken from the channel: what of it is neither in a segment nor lost, and who has
    not been told what became of it. Added up only when somebody asks."""

    def __init__(self) -> None:
        self._bundles: Sequence[Bundle] = ()
        self._records = 0
        self._size_bytes = 0
        self._told = 0

    def take(self, bundles: Sequence[Bundle]) -> None:
        """Nothing is in hand before."""
        self._bundles = bundles
        self._records = self._size_bytes = self._told = 0

    def give(self, records: int, size_bytes: int) -> None:
        """So much of it is in its place."""
        self._records += records
        self._size_bytes += size_bytes

    def told(self, batches: Sequence[LogBatch]) -> None:
        """Tell the next batches."""
        self._told += len(batches)
        _tell(batches)

    @property
    def left(self) -> tuple[int, int]:
        """Records and bytes that are in hand still."""
        records = sum(batch.size for bundle in self._bundles for batch, _ in bundle.batches)
        size = sum(bundle.size_bytes for bundle in self._bundles)
        return records - self._records, size - self._size_bytes

    @property
    def untold(self) -> Sequence[LogBatch]:
        """Who has not been told, in their order."""
        return [batch for bundle in self._bundles for batch, _ in bundle.batches][self._told :]


def _tell(batches: Sequence[LogBatch]) -> None:
    for batch in batches:
        if batch.spooled is None:
            continue
        try:
            batch.spooled()
        except Exception:
            # Somebody else's code in this task: it must not take the log down with it.
            logger.exception("log: a batch could not be told that it is in the spool")
