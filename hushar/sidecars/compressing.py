"""Compressing closed segments in the spool, before they are delivered.

The plain file is deleted once the compressed one is whole: until then the segment is on the disk twice.
"""

import errno
from collections.abc import Callable, Iterator
from functools import partial

from hushar.sidecars.segment import FileOperations, StoredSegment, stored_segment
from hushar.sidecars.settings import LogSettings
from hushar.sidecars.spool import write_file
from hushar.sidecars.threads import RunInThread, give_up_if_cancelled
from hushar.sinks.compression import compressed
from hushar.sinks.interface import Compression


class Compressing:
    """Compresses segments as the settings say; in a thread, and given up where the caller is cancelled."""

    def __init__(self, settings: LogSettings, files: FileOperations, run_in_thread: RunInThread) -> None:
        self._settings = settings
        self._files = files
        self._run_in_thread = run_in_thread

    def is_due(self, stored: StoredSegment) -> bool:
        """Whether the segment is to be compressed, and is not yet; one that has to keep its name never is."""
        is_plain = stored.segment.compression == "none" and not stored.keeps_name
        return self._settings.compression != "none" and is_plain

    async def __call__(self, stored: StoredSegment) -> StoredSegment:
        """The compressed segment. Raises OSError; then the plain one is there as it was."""
        settings = self._settings
        work = partial(
            compress,
            stored,
            settings.compression,
            settings.compression_level,
            self._files,
            sync=settings.fsync != "never",
            min_free_bytes=settings.spool_min_free_bytes,
            pause=give_up_if_cancelled,
        )
        return await self._run_in_thread(work)


def compress(
    stored: StoredSegment,
    compression: Compression,
    level: int | None,
    files: FileOperations,
    *,
    sync: bool,
    min_free_bytes: int = 0,
    pause: Callable[[], None] = lambda: None,
) -> StoredSegment:
    """Put the compressed segment in the place of the plain one.

    `pause` is called again and again, and may raise to give up. Raises OSError; then the plain one stays.
    That is so, too, where both at once would leave less than `min_free_bytes` of the file system: what is
    appended meanwhile would find it full, and drop segments for want of room that there is.
    """
    segment = stored.segment
    if min_free_bytes and files.free_bytes(segment.path.parent) - segment.size_bytes < min_free_bytes:
        raise OSError(
            errno.ENOSPC, "no room for the segment twice, with what log.spool_min_free_bytes keeps free"
        )
    path = segment.path.with_name(stored.identity.closed_name(segment.batches, compression))

    def pieces() -> Iterator[bytes]:
        for piece in compressed(segment.path, compression, level):
            pause()
            yield piece

    size = write_file(path, pieces(), files, sync=sync)
    try:
        segment.path.unlink(missing_ok=True)
    except OSError:
        # One of the two must go: left behind, it would be delivered once more, under its own name.
        path.unlink(missing_ok=True)
        raise
    return stored_segment(path, stored.identity, segment.batches, size, compression)
