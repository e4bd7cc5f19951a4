"""An open-loop client on plain sockets: calls at a constant rate, timed from when each should have been sent.

It waits for nothing: a slow server does not slow it down, and a call that could not be sent in time has
waited, which counts. It polls without sleeping, since it has a core of its own; what it adds to a latency
is microseconds. How late it was itself is part of the result.
"""

import gc
import select
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import hpack
import numpy as np
from large_calls import LargeCalls
from numpy.typing import NDArray
from raw_client import frame, greeting

OK = "0"
"""The grpc-status of a call that has its answer. Statuses are numbers as text, as on the wire."""
EXPIRED = "4"
"""That of a call that was let in and not answered before its deadline: it was not refused."""
UNANSWERED, REFUSED_STREAM = "unanswered", "refused stream"
PATIENCE_SECONDS = 5.0
LEAD_SECONDS = 0.05
LARGEST_DATA_BYTES = 16_384
"""The largest frame that every server takes."""
FIRST_WINDOW_BYTES = 65_535
KNOWN_BLOCKS = 4096
LATE_SECONDS = 0.001
"""A generator that is later than this at its p99 was the limit, not the server."""

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_HEADER_TABLE_SIZE = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an open loop."""

    offered: float
    """Calls a second."""
    seconds: float
    """That were measured, after the warm-up."""
    latencies: dict[str, NDArray[np.float64]]
    """Status → seconds of each call, from when it should have been sent."""
    late_p99: float
    """How late the generator was, in seconds."""

    def count(self, status: str = OK) -> int:
        """Calls with that status."""
        return len(self.latencies.get(status, ()))

    @property
    def limited(self) -> bool:
        """Whether the generator was the limit."""
        return self.late_p99 > LATE_SECONDS

    @property
    def refused(self) -> NDArray[np.float64]:
        """Seconds of the calls that were answered, but not OK; without those whose deadline was over."""
        answered = (OK, EXPIRED, UNANSWERED)
        others = [found for status, found in self.latencies.items() if status not in answered]
        return np.concatenate(others) if others else np.empty(0)

    def percentile(self, percent: float) -> float:
        """Of the calls that were answered OK, in seconds; NaN where none was."""
        found = self.latencies.get(OK)
        return float(np.percentile(found, percent)) if found is not None and len(found) else float("nan")


@dataclass(slots=True)
class _Connection:
    """One connection: what goes out, and the calls that wait for an answer."""

    sock: socket.socket
    first: bytes
    """The header block of the first call."""
    block: bytes
    """That of all others."""
    data: bytes
    """A call's DATA payload."""
    stream: int = 1
    window: int = FIRST_WINDOW_BYTES
    due: dict[int, float] = field(default_factory=dict)
    """Stream → when its call should have been sent."""
    queue: deque[float] = field(default_factory=deque)
    """Calls for which the window has no room yet."""
    out: bytearray = field(default_factory=bytearray)
    rest: bytes = b""

    def add(self, due: float) -> None:
        """Make a call, as far as the window allows."""
        if self.window < len(self.data):
            self.queue.append(due)
            return
        stream = self.stream
        self.stream = stream + 2
        self.window -= len(self.data)
        self.due[stream] = due
        block, self.first = self.first or self.block, b""
        self.out += struct.pack(">I", len(block))[1:] + struct.pack(">BBI", _HEADERS, _END_HEADERS, stream)
        self.out += block
        self.out += struct.pack(">I", len(self.data))[1:] + struct.pack(">BBI", _DATA, _END_STREAM, stream)
        self.out += self.data

    def flush(self) -> None:
        """Send what the socket takes."""
        try:
            sent = self.sock.send(self.out)
        except BlockingIOError:
            return
        del self.out[:sent]


class _Statuses:
    """The grpc-status in a header block. The client has no dynamic table, so equal blocks are equal."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def of(self, block: bytes) -> str:
        """Raises hpack.HPACKError."""
        status = self._known.get(block)
        if status is None:
            fields = dict(hpack.Decoder().decode(block))
            status = str(fields.get("grpc-status", f"HTTP {fields.get(':status')}"))
            if len(self._known) < KNOWN_BLOCKS:
                self._known[block] = status
        return status


def offer(
    address: str,
    path: str,
    message: bytes,
    rate: float,
    seconds: float,
    *,
    warm_up: float = 0.0,
    connections: int = 4,
    timeout: str | None = None,
    beside: LargeCalls | None = None,
) -> Outcome:
    """Offer `rate` calls a second for `warm_up` seconds that are not counted, then for `seconds`.

    `timeout`: the calls' grpc-timeout. `beside`: large calls that are made all the while. Raises ValueError
    for a message that does not fit one frame, RuntimeError if the server ends a connection, OSError.
    """
    data = struct.pack(">BI", 0, len(message)) + message
    if len(data) > LARGEST_DATA_BYTES:
        raise ValueError(f"a message of {len(message)} bytes does not fit one frame")
    total, first = int(rate * (warm_up + seconds)), int(rate * warm_up)
    with ExitStack() as stack:
        made = [_connect(stack, address, path, data, timeout=timeout) for _ in range(connections)]
        loop = _Loop(made, total, beside)
        gc.collect()
        gc.disable()
        try:
            begun = time.perf_counter() + LEAD_SECONDS
            loop.run(begun, rate)
        finally:
            gc.enable()
    return Outcome(
        rate,
        seconds,
        loop.since(begun + warm_up),
        float(np.percentile(loop.late[first:], 99)) if total > first else 0.0,
    )


class _Loop:
    """One run over open connections."""

    def __init__(
        self, connections: Sequence[_Connection], total: int, beside: LargeCalls | None = None
    ) -> None:
        self._connections = connections
        self._beside = beside
        self._total = total
        self._pending = total
        self._statuses = _Statuses()
        self._done: dict[str, list[tuple[float, float]]] = {}
        self.late = np.zeros(total)

    def since(self, counted: float) -> dict[str, NDArray[np.float64]]:
        """The latencies of calls that were due from `counted` on, by status."""
        for connection in self._connections:
            missing = [*connection.due.values(), *connection.queue]
            self._done.setdefault(UNANSWERED, []).extend((due, PATIENCE_SECONDS) for due in missing)
        found = {
            status: np.array([taken for due, taken in calls if due >= counted])
            for status, calls in self._done.items()
        }
        return {status: latencies for status, latencies in found.items() if len(latencies)}

    def run(self, begun: float, rate: float) -> None:
        """Send each call when it is due, take what comes, until all is answered or patience is over."""
        connections, total, late, beside = self._connections, self._total, self.late, self._beside
        interval, turns = 1.0 / rate, len(connections)
        by_descriptor = {connection.sock.fileno(): connection for connection in connections}
        clock = time.perf_counter
        sent = 0
        given_up = begun + total * interval + PATIENCE_SECONDS
        with select.epoll() as poller:
            for descriptor in by_descriptor:
                poller.register(descriptor, select.EPOLLIN)
            if beside is not None:
                poller.register(beside.descriptor, select.EPOLLIN)
            while self._pending and (now := clock()) < given_up:
                while sent < total and (due := begun + sent * interval) <= now:
                    connections[sent % turns].add(due)
                    late[sent] = now - due
                    sent += 1
                for connection in connections:
                    if connection.out:
                        connection.flush()
                if beside is not None:
                    beside.turn()
                for descriptor, _ in poller.poll(0):
                    if beside is not None and descriptor == beside.descriptor:
                        beside.receive()
                    else:
                        self._receive(by_descriptor[descriptor])

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(262_144)
        now = time.perf_counter()
        if not data:
            raise RuntimeError("the server has closed a connection")
        data = connection.rest + data
        at, size = 0, len(data)
        due = connection.due
        while size - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == _HEADERS and flags & _END_STREAM:
                stream = int.from_bytes(data[at + 5 : at + 9], "big")
                self._ended(due.pop(stream), now, self._statuses.of(data[at + 9 : end]))
            elif kind not in (_DATA, _HEADERS):
                self._control(connection, now, kind, flags, data[at:end])
            at = end
        connection.rest = data[at:]

    def _ended(self, due: float, now: float, status: str) -> None:
        self._done.setdefault(status, []).append((due, now - due))
        self._pending -= 1

    def _control(self, connection: _Connection, now: float, kind: int, flags: int, whole: bytes) -> None:
        """Frames other than those of an answer."""
        stream, payload = int.from_bytes(whole[5:9], "big"), whole[9:]
        if kind == _SETTINGS and not flags & _ACK:
            connection.out += frame(_SETTINGS, _ACK, 0)
        elif kind == _PING and not flags & _ACK:
            connection.out += frame(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE and not stream:
            connection.window += int.from_bytes(payload, "big")
            waiting = connection.queue
            while waiting and connection.window >= len(connection.data):
                connection.add(waiting.popleft())
        elif kind == _RESET and stream in connection.due:
            self._ended(connection.due.pop(stream), now, REFUSED_STREAM)
        elif kind == _GOAWAY:
            raise RuntimeError("the server has sent GOAWAY")


def _connect(stack: ExitStack, address: str, path: str, data: bytes, *, timeout: str | None) -> _Connection:
    host, _, port = address.rpartition(":")
    sock = stack.enter_context(socket.create_connection((host, int(port)), PATIENCE_SECONDS))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    encoder = hpack.Encoder()
    fields: list[tuple[str, str]] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    if timeout is not None:
        fields.append(("grpc-timeout", timeout))
    # The first block enters the fields into the server's table, all others refer to them.
    first, block = (encoder.encode(fields) for _ in range(2))
    connection = _Connection(sock, first, block, data)
    connection.out += greeting() + frame(_SETTINGS, 0, 0, struct.pack(">HI", _HEADER_TABLE_SIZE, 0))
    return connection


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Several runs at one rate as one."""
    statuses = Counter(status for outcome in outcomes for status in outcome.latencies)
    latencies = {
        status: np.concatenate([each.latencies[status] for each in outcomes if status in each.latencies])
        for status in statuses
    }
    return Outcome(
        outcomes[0].offered,
        sum(each.seconds for each in outcomes),
        latencies,
        max(each.late_p99 for each in outcomes),
    )
