"""A blocking HTTP/2 client that sends what it is told, right or wrong, and shows what comes back."""

import socket
import struct
from dataclasses import dataclass, field

import hpack

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
PROTOCOL_ERROR, ENHANCE_YOUR_CALM = 1, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_WINDOW = 2**31 - 1
PATIENCE_SECONDS = 20


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(data, *, flag=0, length=None):
    """A message with gRPC's prefix; `length` is what the prefix claims, if not the truth."""
    return struct.pack(">BI", flag, len(data) if length is None else length) + data


@dataclass
class Answer:
    """What came back on one stream."""

    leading: dict = field(default_factory=dict)
    trailing: dict = field(default_factory=dict)
    data: bytes = b""
    reset: int | None = None
    """The code of RST_STREAM."""
    blocks: int = 0
    ended: bool = False

    @property
    def http_status(self):
        return int(self.leading[":status"])

    @property
    def status(self):
        """grpc-status, wherever it stands."""
        return int((self.trailing or self.leading)["grpc-status"])

    @property
    def trailers_only(self):
        return self.blocks == 1 and "grpc-status" in self.leading

    @property
    def text(self):
        return (self.trailing or self.leading).get("grpc-message", "")


class ConnectionEnded(Exception):
    """The server has closed the connection; `code` is that of its GOAWAY, or None."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Connection:
    """One connection. Streams are numbered as they are begun."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self._buffer = b""
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._answers = {}
        self._next = 1
        self._goaway = None
        # Windows that no test of ours fills: SETTINGS_INITIAL_WINDOW_SIZE, and the connection's.
        settings = struct.pack(">HI", 4, LARGEST_WINDOW)
        window = struct.pack(">I", LARGEST_WINDOW - 65_535)
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, window))

    def close(self):
        self._socket.close()

    def send(self, data):
        self._socket.sendall(data)

    def begin(self, path, *, end=False, method="POST", **fields):
        """Send a header block. `fields` replace those of a proper call (`_` for `-`), None leaves one out."""
        stream, self._next = self._next, self._next + 2
        headers = {
            ":method": method,
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        block = self._encoder.encode([(name, value) for name, value in headers.items() if value is not None])
        self._answers[stream] = Answer()
        chunks = [block[at : at + 16384] for at in range(0, len(block), 16384)]
        for index, chunk in enumerate(chunks):
            flags = END_HEADERS if chunk is chunks[-1] else 0
            kind = 9 if index else HEADERS
            self.send(frame(kind, flags | (END_STREAM if end and not index else 0), stream, chunk))
        return stream

    def data(self, stream, data, *, end=True):
        """Send DATA, in frames of at most 16,384 bytes."""
        chunks = [data[at : at + 16384] for at in range(0, len(data), 16384)] or [b""]
        self.send(
            b"".join(
                frame(DATA, END_STREAM if end and at == len(chunks) - 1 else 0, stream, chunk)
                for at, chunk in enumerate(chunks)
            )
        )

    def call(self, path, body=b"\0\0\0\0\0", **fields):
        """A whole call, and its answer."""
        stream = self.begin(path, **fields)
        self.data(stream, body)
        return self.answer(stream)

    def answer(self, stream):
        """Read until the stream is over. Raises ConnectionEnded."""
        answer = self._answers[stream]
        while not answer.ended:
            self._read_frame()
        return answer

    def until_ended(self):
        """Read until the server closes; the code of its GOAWAY."""
        try:
            while True:
                self._read_frame()
        except ConnectionEnded as ended:
            return ended.code

    def _exactly(self, size):
        while len(self._buffer) < size:
            try:
                received = self._socket.recv(65536)
            except ConnectionResetError:
                received = b""
            if not received:
                raise ConnectionEnded(self._goaway)
            self._buffer += received
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _read_frame(self):
        head = self._exactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream = int.from_bytes(head[5:], "big")
        payload = self._exactly(length)
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self._goaway = int.from_bytes(payload[4:8], "big")
        elif stream in self._answers:
            self._of_stream(self._answers[stream], kind, flags, payload)

    def _of_stream(self, answer, kind, flags, payload):
        if kind == HEADERS:
            fields = dict(self._decoder.decode(payload))
            if answer.blocks:
                answer.trailing = fields
            else:
                answer.leading = fields
            answer.blocks += 1
        elif kind == DATA:
            answer.data += payload
        elif kind == RST_STREAM and not answer.ended:
            answer.reset = int.from_bytes(payload, "big")
            answer.ended = True
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            answer.ended = True
