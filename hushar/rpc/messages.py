"""gRPC's five-byte prefix: cutting messages from a stream of bytes, compression, limits.

A message on the wire is a flag (0 or 1: compressed), its length (32 bits, big-endian) and its bytes; it
may be split over any DATA frames. Lengths are checked from the prefix, before anything is kept.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final

PREFIX_BYTES: Final = 5
PREFIX: Final = struct.Struct(">BI")

ENCODINGS: Final = ("gzip", "deflate")
"""What can be inflated and deflated, beside identity."""

UNKNOWN: Final = -1
"""The length of a message whose prefix has not come."""
MESSAGE_OVERHEAD: Final = 128
"""What the objects around a message in a queue cost: messages of no bytes are not for nothing."""
LARGE_PART: Final = 4096
"""Bytes of a part of a message that is worth an object of its own (and a compiled way in, `_calls.pyx`)."""
_WINDOW_BITS: Final = {b"gzip": 31, b"deflate": 15}
MOST_INFLATED: Final = 1032
"""What a byte becomes at most, in either encoding."""
_LEVEL: Final = 1
"""zlib's fastest: an answer waits for it."""


class MessageTooLarge(ValueError):
    """A message, as it came or inflated, is above the limit."""


class CorruptMessage(ValueError):
    """A flag that is neither 0 nor 1, or bytes that cannot be inflated."""


class Gathered:
    """The bytes of one message after the other, as they come. `_calls.pyx` has a compiled twin.

    Large parts stay as they came and are joined once, at the end; small ones share one object, since a list
    of frames of a few bytes would take far more room than they have.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray] = []

    def __bytes__(self) -> bytes:
        return b"".join(self._parts)

    def add(self, data: bytes, length: int) -> None:  # noqa: ARG002 - the twin makes room by it
        """The next part of a message of `length` bytes, or its last."""
        if len(data) >= LARGE_PART:
            self._parts.append(data)
        elif data:
            if self._parts and type(self._parts[-1]) is bytearray:
                self._parts[-1] += data
            else:
                self._parts.append(bytearray(data))

    def take(self) -> bytes:
        """All that has come; the next message begins."""
        message = bytes(self)
        self._parts = []
        return message


class MessageReader:
    """Cuts messages from the DATA of one stream. Holds at most one unfinished message.

    A fault is told when all messages before it were: whatever the frames that bytes came in, they mean
    the same. Where messages and a fault come together, the next `feed` raises it, also one of no bytes.
    """

    __slots__ = ("_content", "_flag", "_have", "_length", "_limit", "_prefix", "faulty")

    def __init__(self, limit: int, gathered: Callable[[], Gathered] = Gathered) -> None:
        """`limit`: bytes a message. `gathered` makes what an unfinished one is kept in."""
        self.faulty = False
        """The next `feed` will raise."""
        self._limit = limit
        self._prefix = b""
        """As much as has come of a prefix that is not complete; all of one with a fault."""
        self._flag = 0
        self._length = UNKNOWN
        """Of the unfinished message."""
        self._content = gathered()
        """Its bytes so far."""
        self._have = 0

    @property
    def held(self) -> int:
        """Bytes of the unfinished message, and of its prefix."""
        return len(self._prefix) if self._length < 0 else PREFIX_BYTES + self._have

    def feed(self, data: bytes) -> Sequence[tuple[int, bytes]]:
        """The messages that are complete now: (flag, bytes). Raises MessageTooLarge, CorruptMessage."""
        messages: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while True:
            if self._length < 0:
                at = self._read_prefix(data, at)
                if self._length < 0:
                    if len(self._prefix) == PREFIX_BYTES:
                        if not messages:
                            raise self._fault()
                        self.faulty = True
                    return messages
            rest = self._length - self._have
            if end - at < rest:
                self._content.add(data[at:] if at else data, self._length)
                self._have += end - at
                return messages
            self._content.add(data[at : at + rest], self._length)
            at += rest
            messages.append((self._flag, self._content.take()))
            self._have = 0
            self._length = UNKNOWN

    def _read_prefix(self, data: bytes, at: int) -> int:
        """Take the prefix of the next message, as far as it has come; returns where `data` goes on.

        With a fault in it, it stays as it is, whole.
        """
        stop = at + PREFIX_BYTES - len(self._prefix)
        prefix = self._prefix + data[at:stop]
        if len(prefix) == PREFIX_BYTES:
            flag, length = PREFIX.unpack(prefix)
            if flag <= 1 and length <= self._limit:
                self._flag, self._length, self._prefix = flag, length, b""
                return stop
        self._prefix = prefix
        return stop

    def _fault(self) -> ValueError:
        """What is wrong with the prefix."""
        flag, length = PREFIX.unpack(self._prefix)
        return CorruptMessage(f"flag {flag}") if flag > 1 else MessageTooLarge(length)


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
