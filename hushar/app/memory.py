"""Memory of a busy server: the C library's allocator, and Python's garbage collector.

What a busy server has freed, it wants again at once. glibc gives the top of its heap back to the system as
soon as 128 KiB of it are free, and maps larger blocks anew each time. A server whose calls bring some hundred
kilobytes then has every page of every message, matrix and log record cleared by the kernel again and again:
for such calls that is a third of the work of logging.
"""

import ctypes
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

TRIM_BYTES: Final = 64 * 2**20
"""Free memory at the top of a heap that is kept: two of the largest blocks of a heap."""
MMAP_BYTES: Final = 32 * 2**20
"""Blocks from this size on are still mapped, and given back, one by one; glibc allows for no more (half of
HEAP_MAX_SIZE). A message of 10,000 rows and 10 MB costs a third more where it is mapped."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_OWN_SETTINGS: Final = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
"""Of the environment: whoever sets one of these knows better."""


def keep_freed_memory(environ: Mapping[str, str], library: Any = None) -> bool:
    """Have the allocator keep some megabytes for the next calls; False where it has no such settings.

    `library`: the C library, unless it is the process's own.
    """
    if any(name in environ for name in _OWN_SETTINGS):
        return False
    mallopt = getattr(library or ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        # musl, macOS.
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES) and mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES))


@contextmanager
def settled() -> Iterator[None]:
    """Within the block the collector leaves alone what is there now: modules, the model, the plan.

    That is some 80,000 objects that live as long as the server does. A full collection that looks at all of
    them holds up every call for some 50 ms; without them it takes as long as there are connections and calls.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
