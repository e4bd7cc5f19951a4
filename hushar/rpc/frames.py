"""HTTP/2 frames (RFC 9113, sections 4 and 6): constants, the nine-byte header, and how each is built.

A frame is a header (length 24 bits, type 8, flags 8, a reserved bit and the stream's id 31) and a
payload. Nothing here knows what a frame means; the engine does.
"""

import struct
from collections.abc import Iterable
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

HEADER_BYTES: Final = 9
HEADER: Final = struct.Struct(">IBI")
"""Length and type in one number (length << 8 | type), flags, stream id with its reserved bit."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

MAX_STREAM_ID: Final = 2**31 - 1
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535
MIN_MAX_FRAME: Final = 16384
"""The smallest value, and the default, of SETTINGS_MAX_FRAME_SIZE (section 6.5.2)."""
MAX_MAX_FRAME: Final = 2**24 - 1

# Settings (section 6.5.2).
(
    HEADER_TABLE_SIZE,
    ENABLE_PUSH,
    MAX_CONCURRENT_STREAMS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
) = range(1, 7)

# Error codes (section 7).
NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
CONNECT_ERROR: Final = 0xA
ENHANCE_YOUR_CALM: Final = 0xB
INADEQUATE_SECURITY: Final = 0xC
HTTP_1_1_REQUIRED: Final = 0xD

_SETTING = struct.Struct(">HI")
_WORD = struct.Struct(">I")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame with its payload."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def settings(entries: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*entry) for entry in entries))


SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0)


def settings_entries(payload: bytes) -> Iterable[tuple[int, int]]:
    """The (identifier, value) pairs of a SETTINGS payload whose length is a multiple of six."""
    return _SETTING.iter_unpack(payload)


def rst_stream(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _WORD.pack(code))


def ping(data: bytes, *, ack: bool = False) -> bytes:
    """A PING frame; `data` has eight bytes."""
    return frame(PING, ACK if ack else 0, 0, data)


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, _WORD.pack(last_stream_id) + _WORD.pack(code) + debug)


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream_id, _WORD.pack(increment))


def word(data: bytes, at: int = 0) -> int:
    """The unsigned 32-bit number at `at`."""
    number: int = _WORD.unpack_from(data, at)[0]
    return number
