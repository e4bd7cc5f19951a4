"""Compressed log files: which are, told by their first bytes, and what they hold; no I/O.

No log begins as gzip does (that is no field of protobuf's), and none as zstd does. Of a file that is cut
short everything before the cut is given.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from hushar.decompression import CUT, Damaged, gunzip, unzstd

SUFFIXES: Final = (".gz", ".zst")

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


def decompressed(chunks: Iterable[bytes], *, expected: bool = False) -> tuple[bool, Iterator[bytes]]:
    """Whether the file that `chunks` are is compressed, and its content.

    `expected`: the name says that it is, so that an empty file is one that was cut. The iteration raises
    Damaged behind the last byte that can be had.
    """
    remaining = iter(chunks)
    head = b""
    for chunk in remaining:
        head += chunk
        if len(head) >= len(_ZSTD):
            break
    content = chain([head], remaining)
    if head.startswith(_GZIP):
        return True, gunzip(content)
    if head.startswith(_ZSTD):
        return True, unzstd(content)
    if expected and not head:
        return True, _cut()
    return False, content


def _cut() -> Iterator[bytes]:
    yield b""
    raise Damaged(CUT)
