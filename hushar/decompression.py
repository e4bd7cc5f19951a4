"""What gzip and zstd files hold, in chunks of bounded size; no I/O.

Of a file that is cut short or damaged everything before that place is given, and then Damaged raised. What is
in memory is bounded also where a few bytes stand for very many.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
"""zlib's number for its largest window, in gzip's wrapping."""
_MOST_BYTES: Final = 1 << 20
"""Of a chunk that is given, where the compression lets it be chosen."""
_GZIP_STEP: Final = 1 << 16
"""Bytes that are decompressed in one go: what is damaged is lost from the start of such a step."""
_ZSTD_STEP: Final = 1 << 12
"""The same; zstd may make 128 KiB of four bytes, and has no limit for what it gives at once."""
_ZSTD_WINDOW: Final = 1 << 27
"""What the highest level of zstd asks for; a file that asks for more memory is refused."""
CUT: Final = "the compressed file is cut short"
_BAD: Final = "the compressed file is damaged"
_BEHIND: Final = "something stands behind the end of the compressed file"


class Damaged(ValueError):
    """A compressed file ends early, or cannot be decompressed on from some place. `str()` says which."""


def gunzip(chunks: Iterable[bytes], *, single: bool = False) -> Iterator[bytes]:
    """The content of a gzip file: one member after another; zeros behind a member are padding, as for gzip
    itself. `single`: exactly one member, and nothing behind it. Raises Damaged."""
    inflater = None
    ended = False
    for chunk in _steps(chunks, _GZIP_STEP):
        data, pending = chunk, False
        while data or pending:
            if inflater is None:
                _refuse_more(ended=ended and single)
                data = data.lstrip(b"\0") if ended else data
                if not data:
                    break
                inflater = zlib.decompressobj(_GZIP_WINDOW)
            try:
                content = inflater.decompress(data, _MOST_BYTES)
            except zlib.error:
                raise Damaged(_BAD) from None
            yield content
            pending = len(content) == _MOST_BYTES and not inflater.eof
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if inflater.eof:
                inflater, ended = None, True
    if inflater is not None or not ended:
        raise Damaged(CUT)


def unzstd(chunks: Iterable[bytes], *, single: bool = False) -> Iterator[bytes]:
    """The content of a zstd file: one frame after another. `single`: exactly one frame, and nothing behind
    it. Raises Damaged."""
    import zstandard  # noqa: PLC0415 - a library in C that most runs have no use for

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = None
    ended = False
    for chunk in _steps(chunks, _ZSTD_STEP):
        data = chunk
        while data:
            if frame is None:
                _refuse_more(ended=ended and single)
                frame = decompressor.decompressobj()
            try:
                content = frame.decompress(data)
            except zstandard.ZstdError:
                raise Damaged(_BAD) from None
            yield content
            data = b""
            if frame.eof:
                data, frame, ended = frame.unused_data, None, True
    if frame is not None or not ended:
        raise Damaged(CUT)


def _refuse_more(*, ended: bool) -> None:
    if ended:
        raise Damaged(_BEHIND)


def _steps(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]
