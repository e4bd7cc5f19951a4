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
    """Cuts messages from the DATA of one stream. Holds at most one unfinished message.

    A fault is told when all messages before it were: whatever the frames that bytes came in, they mean
    the same. Where messages and a fault come together, the next `feed` raises it, also one of no bytes.
    """

    __slots__ = ("_held", "_limit", "_need", "faulty")

    def __init__(self, limit: int) -> None:
        """`limit`: bytes a message."""
        self.faulty = False
        """The next `feed` will raise."""
        self._limit = limit
        self._held = bytearray()
        """One object: of frames of a few bytes, a list of their contents would take far more room."""
        self._need = PREFIX_BYTES

    @property
    def held(self) -> int:
        """Bytes of the unfinished message."""
        return len(self._held)

    def feed(self, data: bytes) -> Sequence[tuple[int, bytes]]:
        """The messages that are complete now: (flag, bytes). Raises MessageTooLarge, CorruptMessage."""
        if self._held:
            self._held += data
            if len(self._held) < self._need:
                return ()
            data = bytes(self._held)
            self._held = bytearray()
        messages: list[tuple[int, bytes]] = []
        self._need = PREFIX_BYTES
        at, end = 0, len(data)
        while end - at >= PREFIX_BYTES:
            flag, length = PREFIX.unpack_from(data, at)
            if flag > 1 or length > self._limit:
                if messages:
                    self.faulty = True
                    break
                raise CorruptMessage(f"flag {flag}") if flag > 1 else MessageTooLarge(length)
            start = at + PREFIX_BYTES
            if start + length > end:
                self._need = PREFIX_BYTES + length
                break
            at = start + length
            messages.append((flag, data[start:at]))
        if at < end:
            self._held += memoryview(data)[at:]
        return messages


def frame_message(message: bytes, flag: int = 0) -> bytes:
    """The message with its prefix."""
    return PREFIX.pack(flag, len(message)) + message


def inflate(message: bytes, encoding: bytes, limit: int) -> bytes:
    """The message inflated, never beyond `limit` bytes. Raises MessageTooLarge, CorruptMessage.

    A gzip file may have several members (RFC 1952, section 2.2); a message has one, as every gRPC library
    sends it. More are refused like any bytes after the end (grpc-core does so too): a message of nothing
    but empty members would cost far more time than its size allows for.
    """
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
