"""HTTP/2 clients by hand, where h2load does not do: other headers every call, and thousands of connections.

Both make whole gRPC calls of the echo method and count what is answered, END_STREAM by END_STREAM.
"""

import itertools
import random
import resource
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import hpack

PATIENCE_SECONDS = 30.0
LARGEST_WINDOW = 2**31 - 1
MESSAGE = b"\0\0\0\0\x0a0123456789"
"""Ten bytes, with gRPC's prefix."""
SPARE_DESCRIPTORS = 256

_HEADERS, _DATA, _SETTINGS, _WINDOW_UPDATE = 1, 0, 4, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def greeting() -> bytes:
    """Preface and SETTINGS, with windows that no benchmark fills."""
    settings = struct.pack(">HI", 4, LARGEST_WINDOW)
    window = struct.pack(">I", LARGEST_WINDOW - 65_535)
    return _PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW_UPDATE, 0, 0, window)


def requests(path: str, authority: str, *, varied: bool, seed: int = 0) -> Iterator[bytes]:
    """The frames of one call after the other on a connection, without end.

    The fields are those that grpc-go sends. With `varied` every call has another `grpc-timeout` and
    another `traceparent`, and both enter the dynamic table; without, all calls have the same ones.
    """
    encoder = hpack.Encoder()
    chosen = random.Random(seed)  # noqa: S311
    timeout, trace, span = 9_999_999, chosen.getrandbits(128), chosen.getrandbits(64)
    for stream in itertools.count(1, 2):
        if varied:
            timeout = chosen.randrange(1_000_000, 9_999_999)
            trace, span = chosen.getrandbits(128), chosen.getrandbits(64)
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-go/1.85.0"),
            ("te", "trailers"),
            ("grpc-timeout", f"{timeout}u"),
            ("traceparent", f"00-{trace:032x}-{span:016x}-01"),
        ]
        block = encoder.encode(fields, huffman=True)
        yield frame(_HEADERS, _END_HEADERS, stream, block) + frame(_DATA, _END_STREAM, stream, MESSAGE)


@dataclass
class Answers:
    """Counts the calls that are answered in what a connection receives."""

    count: int = 0
    _rest: bytes = b""
    replies: list[bytes] = field(default_factory=list)
    """Frames that have to be sent back."""

    def feed(self, data: bytes) -> int:
        """How many calls these bytes have ended."""
        data = self._rest + data
        at, ended, size = 0, 0, len(data)
        while size - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind in (_HEADERS, _DATA):
                ended += flags & _END_STREAM
            elif kind == _SETTINGS and not flags & _ACK:
                self.replies.append(frame(_SETTINGS, _ACK, 0))
            at = end
        self._rest = data[at:]
        self.count += ended
        return ended


def plan_calls(address: str, path: str, *, varied: bool, connections: int, calls: int) -> list[list[bytes]]:
    """The frames of `calls` calls, a list for each connection. Slow: HPACK with Huffman in Python."""
    made = [requests(path, address, varied=varied, seed=number) for number in range(connections)]
    return [list(itertools.islice(one, calls // connections)) for one in made]


def closed_loop(address: str, planned: Sequence[Sequence[bytes]], *, streams: int) -> tuple[int, float]:
    """Make the planned calls, `streams` in flight on each connection; (calls answered, seconds).

    Raises RuntimeError if the server stops answering.
    """
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for calls in planned:
            sock = stack.enter_context(_connect(address))
            selector.register(sock, selectors.EVENT_READ, (sock, Answers(), iter(calls)))
        begun = time.perf_counter()
        for key in list(selector.get_map().values()):
            sock, _, queue = key.data
            sock.sendall(greeting() + b"".join(itertools.islice(queue, streams)))
        expected = sum(map(len, planned))
        answered = 0
        while answered < expected:
            answered += _turn(selector)
        return answered, time.perf_counter() - begun


def _turn(selector: selectors.BaseSelector) -> int:
    """Read what is there, and send as many calls as were answered."""
    ready = selector.select(PATIENCE_SECONDS)
    if not ready:
        raise RuntimeError("the server has stopped answering")
    ended = 0
    for key, _ in ready:
        sock, answers, queue = key.data
        data = sock.recv(262_144)
        if not data:
            raise RuntimeError("the server has closed a connection")
        count = answers.feed(data)
        ended += count
        following = [*answers.replies, *itertools.islice(queue, count)]
        answers.replies.clear()
        if following:
            sock.sendall(b"".join(following))
    return ended


def one_by_one(address: str, path: str, seconds: float) -> list[float]:
    """One call at a time on one connection: the seconds that each took, without a client library's own."""
    taken = []
    calls = requests(path, address, varied=False)
    answers = Answers()
    with _connect(address) as sock:
        sock.sendall(greeting())
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            request = next(calls)
            begun = time.perf_counter()
            sock.sendall(request)
            ended = 0
            while not ended:
                data = sock.recv(65_536)
                if not data:
                    raise RuntimeError("the server has closed the connection")
                ended = answers.feed(data)
            taken.append(time.perf_counter() - begun)
            if answers.replies:
                sock.sendall(b"".join(answers.replies))
                answers.replies.clear()
    return taken


def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def open_idle(address: str, path: str, count: int) -> list[socket.socket]:
    """Open `count` connections that have had one call each. Raises OSError, RuntimeError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + SPARE_DESCRIPTORS), hard))
    call = greeting() + next(requests(path, address, varied=False))
    connections: list[socket.socket] = []
    for _ in range(count):
        sock = _connect(address)
        sock.sendall(call)
        answers = Answers()
        while not answers.count:
            data = sock.recv(65_536)
            if not data:
                raise RuntimeError(f"the server has closed a connection after {len(connections)}")
            answers.feed(data)
        sock.sendall(b"".join(answers.replies))
        connections.append(sock)
    return connections
