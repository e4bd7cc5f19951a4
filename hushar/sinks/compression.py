"""Compressing a segment's file, and reading one that may be compressed; a chunk at a time.

The same message gives the same bytes, whenever it is compressed (gzip: no name, a time of 0; zstd: one
thread), so that a repeated delivery overwrites an object with what it held. Both formats carry a checksum.
Everything here blocks and belongs into a thread; the compressors let go of the GIL while they work.
"""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final, Protocol

from hushar.decompression import gunzip, unzstd
from hushar.sinks.interface import Compression, Segment

CHUNK_BYTES: Final = 1024 * 1024
"""What is in memory at a time, besides a compressor's own window."""
SUFFIXES: Final[Mapping[Compression, str]] = MappingProxyType({"none": "", "gzip": ".gz", "zstd": ".zst"})
"""Behind the `.pb` of names and keys."""

_GZIP: Final = 16 + zlib.MAX_WBITS
"""zlib's word for "with the header and the trailer of gzip"."""

_ZSTD_LEVEL: Final = 3
"""The library's own."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressed(source: Path, compression: Compression, level: int | None = None) -> Iterator[bytes]:
    """The content of a file, compressed, in pieces. `level` None is the library's own. Raises OSError."""
    with source.open("rb") as reader:
        compressor = _compressor(compression, level, source.stat().st_size)
        while chunk := reader.read(CHUNK_BYTES):
            yield compressor.compress(chunk)
        yield compressor.flush()


def _compressor(compression: Compression, level: int | None, size_bytes: int) -> _Compressor:
    if compression == "gzip":
        # zlib's own header: no file name, and 0 for the time.
        return zlib.compressobj(-1 if level is None else level, zlib.DEFLATED, _GZIP)
    import zstandard  # noqa: PLC0415 - a library in C that most servers have no use for

    compressor = zstandard.ZstdCompressor(_ZSTD_LEVEL if level is None else level, write_checksum=True)
    # With the size in front, readers that ask for it (zstandard's `decompress`) can read it.
    return compressor.compressobj(size=size_bytes)


def read(segment: Segment) -> Iterator[bytes]:
    """The message in a segment's file, in chunks. Raises OSError, and `decompression.Damaged`."""
    return read_file(segment.path, segment.compression)


def read_file(path: Path, compression: Compression) -> Iterator[bytes]:
    """The same of any file. What could be read before the damage is given first."""
    with path.open("rb") as file:
        if compression == "none":
            yield from _chunks(file)
        elif compression == "gzip":
            yield from gunzip(_chunks(file), single=True)
        else:
            yield from unzstd(_chunks(file), single=True)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")
