"""One large call after the other on a connection of its own, sent a piece at a time.

Made for the loop of `open_loop.py`: both kinds of calls come from one thread, so that neither keeps the other
from the generator's core.
"""

import socket
import struct
import time

import hpack
from raw_client import frame, greeting

PATIENCE_SECONDS = 30.0
FRAME_BYTES = 16_384
"""The largest frame that every server takes."""
PIECE_BYTES = 65_536
"""As much is sent at once."""

_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_HEADER_TABLE_SIZE = 1
_FIRST_WINDOW_BYTES = 65_535


class LargeCalls:
    """Makes the next call when the last has been answered.

    The server must have announced windows for a whole message: what does not fit is never sent.
    """

    def __init__(self, address: str, path: str, message: bytes) -> None:
        host, _, port = address.rpartition(":")
        self._sock = socket.create_connection((host, int(port)), PATIENCE_SECONDS)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)
        self.descriptor = self._sock.fileno()
        self.taken: list[float] = []
        """Seconds of each call, from its first byte to its answer."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": address,
            "content-type": "application/grpc",
            "te": "trailers",
        }
        # Without a table on either side all blocks are the same.
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        block = encoder.encode(fields.items())
        data = struct.pack(">BI", 0, len(message)) + message
        self._size = len(data)
        pieces = [frame(_HEADERS, _END_HEADERS, 0, block)]
        for at in range(0, len(data), FRAME_BYTES):
            is_last = at + FRAME_BYTES >= len(data)
            pieces.append(frame(_DATA, _END_STREAM if is_last else 0, 0, data[at : at + FRAME_BYTES]))
        self._call = bytearray(b"".join(pieces))
        ends = [0]
        for piece in pieces:
            ends.append(ends[-1] + len(piece))
        self._numbers = [end + 5 for end in ends[:-1]]
        """Where the number of the stream stands in each frame."""
        table = struct.pack(">HI", _HEADER_TABLE_SIZE, 0)
        self._control = bytearray(greeting() + frame(_SETTINGS, 0, 0, table))
        self._at = len(self._call)
        self._stream = -1
        self._window = _FIRST_WINDOW_BYTES
        self._begun: float | None = None
        self._rest = b""

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def turn(self) -> None:
        """Begin a call if none is under way, and send a piece of it. Raises OSError."""
        if self._begun is None and self._window >= self._size:
            self._stream += 2
            self._window -= self._size
            for place in self._numbers:
                struct.pack_into(">I", self._call, place, self._stream)
            self._at, self._begun = 0, time.perf_counter()
        if self._control and self._at in (0, len(self._call)):
            self._sock.send(self._control)
            self._control.clear()
        if self._at < len(self._call):
            try:
                self._at += self._sock.send(memoryview(self._call)[self._at : self._at + PIECE_BYTES])
            except BlockingIOError:
                return

    def receive(self) -> None:
        """Take what has come. RuntimeError if the server has ended the connection or refused a call."""
        data = self._sock.recv(262_144)
        if not data:
            raise RuntimeError("the server has closed a connection")
        data = self._rest + data
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            self._frame(
                data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big"), data[at + 9 : end]
            )
            at = end
        self._rest = data[at:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _HEADERS and flags & _END_STREAM:
            fields = dict(hpack.Decoder().decode(payload))
            if fields.get("grpc-status") != "0":
                raise RuntimeError(f"a large call was answered with status {fields.get('grpc-status')}")
            assert self._begun is not None
            self.taken.append(time.perf_counter() - self._begun)
            self._begun = None
        elif kind == _WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload, "big")
        elif kind == _SETTINGS and not flags & _ACK:
            self._control += frame(_SETTINGS, _ACK, 0)
        elif kind == _PING and not flags & _ACK:
            self._control += frame(_PING, _ACK, 0, payload)
