"""gRPC's five-byte prefix: cutting messages from a stream of bytes, compression, limits.

A message on the wire is a flag (0 or 1: compressed), its length (32 bits, big-endian) and its bytes; it
may be split over any DATA frames. Lengths are checked from the prefix, before anything is kept.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

PREFIX_BYTES: Final = 5
PREFIX: Final = struct.Struct(">BI")

ENCODINGS: Final = ("gzip", "deflate")
"""What can be inflated and deflated, beside identity."""

_WINDOW_BITS: Final = {b"gzip": 31, b"deflate": 15}
_LEVEL: Final = 1
"""zlib's fastest: an answer waits for it."""


class MessageTooLarge(ValueError):
    """A message, as it came or inflated, is above the limit."""


class CorruptMessage(ValueError):
    """A flag that is neither 0 nor 1, or bytes that cannot be inflated."""


class MessageReader:
    """Cuts messages from the DATA of one stream. Holds at most one unfinished message."""

    __slots__ = ("_chunks", "_have", "_limit", "_need")

    def __init__(self, limit: int) -> None:
        """`limit`: bytes a message."""
        self._limit = limit
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = PREFIX_BYTES

    @property
    def held(self) -> int:
        """Bytes of the unfinished message."""
        return self._have

    def feed(self, data: bytes) -> Sequence[tuple[int, bytes]]:
        """The messages that are complete now: (flag, bytes). Raises MessageTooLarge, CorruptMessage."""
        self._chunks.append(data)
        self._have += len(data)
        if self._have < self._need:
            return ()
        data = b"".join(self._chunks) if len(self._chunks) > 1 else data
        messages = []
        at, end = 0, len(data)
        while end - at >= PREFIX_BYTES:
            flag, length = PREFIX.unpack_from(data, at)
            if flag > 1:
                raise CorruptMessage(f"flag {flag}")
            if length > self._limit:
                raise MessageTooLarge(length)
            if end - at < PREFIX_BYTES + length:
                self._need = PREFIX_BYTES + length
                break
            start = at + PREFIX_BYTES
            at = start + length
            messages.append((flag, data[start:at]))
        else:
            self._need = PREFIX_BYTES
        rest = data[at:] if at else data
        self._chunks = [rest] if rest else []
        self._have = end - at
        return messages


def frame_message(message: bytes, flag: int = 0) -> bytes:
    """The message with its prefix."""
    return PREFIX.pack(flag, len(message)) + message


def inflate(message: bytes, encoding: bytes, limit: int) -> bytes:
    """The message inflated, never beyond `limit` bytes. Raises MessageTooLarge, CorruptMessage."""
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        data = inflater.decompress(message, limit + 1)
    except zlib.error as error:
        raise CorruptMessage("cannot be inflated") from error
    if len(data) > limit:
        raise MessageTooLarge(len(data))
    if not inflater.eof or inflater.unused_data:
        raise CorruptMessage("cut short, or something after its end")
    return data


def deflate(message: bytes, encoding: bytes) -> bytes:
    """The message compressed with `encoding`, one of ENCODINGS."""
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return deflater.compress(message) + deflater.flush()
