#!/usr/bin/env python3
"""Feed the server's engine with frames, right and wrong, and see that nothing but its answers comes out.

Invariants, for whatever bytes arrive in whatever pieces, and whatever handlers do meanwhile:

- no method of the engine lets an exception out;
- what it sends are whole frames, none above the peer's MAX_FRAME_SIZE, none on a stream that it has
  ended, no DATA beyond the windows that the peer has given, nothing after the GOAWAY of an error;
- open streams and lingering handlers together never exceed the limit;
- when a connection is lost, the server's budget is back to what it was, and no handler lingers.

A session is made of random frames, or is a recorded session of grpcio's with bytes and frames changed.
It is named by its seed, so that a failure can be repeated: `fuzz_engine.py --seed N --frames 1`.
"""

import argparse
import logging
import random
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from purerpc import RpcFailedError, Status, StatusCode

from hushar.rpc import events as ev
from hushar.rpc.calls import RawCall, Request
from hushar.rpc.compiled import reply_all
from hushar.rpc.limits import Limits
from hushar.rpc.server_context import Budget, Route, ServerContext
from hushar.rpc.server_engine import ServerConnection

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SESSIONS: Final = Path(__file__).resolve().parent.parent / "tests" / "fuzz" / "sessions"
TELL_SECONDS: Final = 60.0
FRAMES_A_SESSION: Final = 400
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
HEADER: Final = struct.Struct(">IBI")
CODES: Final = (0, 1, 3, 5, 7, 8, 11, 255, 2**32 - 1)
INCREMENTS: Final = (0, 1, 5, 100, 65535, 2**20, 2**31 - 1)
GOOD_SETTINGS: Final = (
    (1, 0), (1, 4096), (2, 0), (3, 100), (4, 0), (4, 50), (4, 65535), (4, 2**20), (5, 16384), (5, 65536),
)  # fmt: skip
SETTING_VALUES: Final = (0, 1, 2, 100, 4096, 16383, 16384, 65535, 2**24 - 1, 2**24, 2**31 - 1, 2**31)
TINY: Final = Limits(
    connection_concurrency=4, max_receive_bytes=600, max_send_bytes=700, max_header_bytes=512,
    max_header_fields=12, compression_min_bytes=10, stream_window_bytes=900, connection_window_bytes=70_000,
    max_frame_bytes=16384, max_continuation_frames=3, max_settings_entries=6, max_queued_control_frames=20,
    max_empty_frames=5, reset_burst=20, glitch_burst=20, connection_send_buffer_bytes=2000,
)  # fmt: skip
SMALL: Final = Limits(
    connection_concurrency=10, max_receive_bytes=20_000, connection_window_bytes=200_000, reset_burst=10_000,
    glitch_burst=10_000, max_settings_frames=10_000, max_empty_frames=10_000, ping_strikes=10_000,
    max_queued_control_frames=10_000,
)  # fmt: skip
PRESETS: Final = (TINY, SMALL, SMALL, Limits())


class Violation(Exception):
    """An invariant does not hold."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def literal(name: bytes, value: bytes, first: int = 0) -> bytes:
    """A literal field with a new name, short strings; `first` 0x40: it enters the table."""
    return bytes((first, len(name))) + name + bytes((len(value),)) + value


@dataclass
class Peer:
    """What the engine's output means to the client: the windows given to it, the streams it has ended."""

    window: int = 65535
    initial: int = 65535
    highest: int = 65535
    """Of all values of `initial` since output was last checked."""
    windows: dict[int, int] = field(default_factory=dict)
    max_frame: int = 16384
    ended: set[int] = field(default_factory=set)
    last_words: bool = False
    rest: bytes = b""
    sent: bytearray = field(default_factory=bytearray)
    skip: int = 0
    greeted: bool = False
    block_of: int = 0

    def grant(self, data: bytes, frame_limit: int) -> None:
        """Bytes that the engine gets: windows that it may use once it has read them.

        An upper bound: what is malformed may count here, since the connection or the stream ends there.
        """
        self.sent += data
        if not self.greeted:
            if len(self.sent) < len(PREFACE):
                return
            del self.sent[: len(PREFACE)]
            self.greeted = True
        at = 0
        sent = self.sent
        while len(sent) - at >= HEADER.size:
            head, flags, stream_id = HEADER.unpack_from(sent, at)
            length, kind = head >> 8, head & 0xFF
            if len(sent) - at - HEADER.size < length <= frame_limit:
                break
            start = at + HEADER.size
            at = start + length
            if length <= frame_limit:
                self._granted(kind, flags, stream_id & 0x7FFFFFFF, bytes(sent[start:at]))
        if at > len(sent):
            # A frame that is too large: its rest is still to come.
            self.sent = bytearray()
            self.skip = at - len(sent)
        else:
            del sent[:at]

    def _granted(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and len(payload) == 4:
            increment = struct.unpack(">I", payload)[0] & 0x7FFFFFFF
            if stream_id:
                self.windows[stream_id] = self.windows.get(stream_id, 0) + increment
            else:
                self.window += increment
        elif kind == SETTINGS and not flags & 1 and len(payload) % 6 == 0:
            for setting, value in struct.iter_unpack(">HI", payload):
                if setting == 4:
                    self.initial = value
                    self.highest = max(self.highest, value)
                elif setting == 5:
                    self.max_frame = max(self.max_frame, value)

    def check(self, output: bytes) -> None:
        """The engine's output."""
        data = self.rest + output
        at = 0
        while len(data) - at >= HEADER.size:
            head, flags, stream_id = HEADER.unpack_from(data, at)
            length, kind = head >> 8, head & 0xFF
            if len(data) - at - HEADER.size < length:
                break
            start = at + HEADER.size
            at = start + length
            self._check(kind, flags, stream_id, data[start:at])
        self.highest = self.initial
        self.rest = data[at:]
        if self.rest:
            raise Violation("half a frame")

    def _check(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self.last_words:
            raise Violation(f"frame {kind} after the GOAWAY of an error")
        if len(payload) > self.max_frame:
            raise Violation(f"a frame of {len(payload)} bytes, {self.max_frame} allowed")
        if (kind == CONTINUATION) != bool(self.block_of) or (self.block_of and self.block_of != stream_id):
            raise Violation("a header block in pieces, and something between them")
        if kind in (HEADERS, DATA) and stream_id in self.ended:
            raise Violation(f"frame {kind} on stream {stream_id}, which has ended")
        if kind in (HEADERS, CONTINUATION):
            self.block_of = 0 if flags & 4 else stream_id
        if kind == DATA:
            self.window -= len(payload)
            self.windows[stream_id] = self.windows.get(stream_id, 0) - len(payload)
            if self.window < 0 or self.windows[stream_id] + self.highest < 0:
                raise Violation("DATA beyond a window")
        if (kind in (HEADERS, DATA) and flags & 1) or kind == RST_STREAM:
            self.ended.add(stream_id)
        if kind == GOAWAY and struct.unpack(">II", payload[:8])[1]:
            self.last_words = True


class Maker:
    """Random frames: mostly what a client sends, some of it wrong."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.next_id = 1
        self.uploads: list[int] = []
        """Streams whose request has not been ended."""
        self.danger = rng.choice((0.0, 0.001, 0.001, 0.01, 0.1))
        """How often something is done that costs the connection, or may."""

    def dares(self) -> bool:
        """Whether to do something wrong now."""
        return self.rng.random() < self.danger

    def pieces(self) -> bytes:
        """A frame, or a few that belong together."""
        rng = self.rng
        if self.next_id == 1 and not self.dares():
            return self.call()
        made = rng.choices(
            (self.call, self.burst, self.data, self.trailers, self.reset, self.window, self.settings,
             self.ping, self.priority, self.goaway, self.continued, self.noise),
            (30, 10, 30, 4, 8, 12, 2, 2, 2, 0.1, 3, 20 * self.danger),
        )[0]()  # fmt: skip
        return mutated(made, rng) if self.dares() else made

    def some_id(self) -> int:
        """Mostly a stream that was opened lately."""
        rng = self.rng
        if self.dares():
            return rng.choice((0, 2, self.next_id, self.next_id + 100, 2**31 - 1))
        return max(1, self.next_id - 2 * rng.randint(1, 6))

    def upload(self) -> int:
        """Mostly a stream that DATA may come on."""
        if not self.uploads or self.dares():
            return self.some_id()
        return self.rng.choice(self.uploads[-4:])

    def block(self) -> bytes:
        """A header block: mostly of a call."""
        rng = self.rng
        path = rng.choice((b"/t.S/Unary", b"/t.S/Unary", b"/t.S/Stream", b"/t.S/Up", b"/t.S/Nope", b"/"))
        kept = rng.choice((0, 0, 0x40))
        parts = [b"\x83", b"\x86", literal(b":path", path), literal(b":authority", b"h")]
        parts.append(literal(b"content-type", b"application/grpc", kept))
        parts.append(literal(b"te", b"trailers", kept))
        if rng.random() < 0.3:
            parts.append(literal(b"grpc-timeout", rng.choice((b"1S", b"0m", b"99999999H", b"x", b"50m"))))
        if rng.random() < 0.2:
            parts.append(literal(b"grpc-encoding", rng.choice((b"gzip", b"deflate", b"identity", b"br"))))
            parts.append(literal(b"grpc-accept-encoding", b"gzip, deflate"))
        if rng.random() < 0.3:
            parts.append(literal(b"x-trace", rng.randbytes(4).hex().encode(), kept))
        if rng.random() < 0.05:
            parts.append(literal(b"a-bin", rng.choice((b"AAA", b"A", b"AA==,AAAA", b"!"))))
        if rng.random() < 0.05:
            parts.append(literal(b"content-length", rng.choice((b"0", b"5", b"7", b"x"))))
        if rng.random() < 0.05:
            odd = (
                b"\x82",
                literal(b"UP", b""),
                literal(b":path", b"/x"),
                literal(b"x", b"a" * 120),
                literal(b"content-type", b"text/html"),
                literal(b"te", b"gzip"),
                literal(b"x", b"y\n"),
            )
            parts.insert(rng.randint(0, len(parts)), rng.choice(odd))  # fmt: skip
        if rng.random() < 0.03:
            parts.insert(0, rng.choice((b"\x20", b"\x3f\xe1\x1f", b"\x3f\x45")))
        if rng.random() < 0.05:
            parts.append(b"\xbe" if self.dares() else b"\x90")
        if self.dares():
            parts.insert(rng.randint(0, len(parts)), rng.choice((b"\x80", b"\xbf\xc0", b"\x3f\xe1\x1f")))
        if rng.random() < 0.05:
            parts.pop(rng.randrange(len(parts)))
        return b"".join(parts)

    def call(self) -> bytes:
        """HEADERS of a new stream, perhaps all of its call."""
        rng = self.rng
        stream_id = self.next_id
        self.next_id += 2
        flags = 4 | (rng.random() < 0.05)
        whole = rng.random() < 0.6 and not flags & 1
        if not whole and not flags & 1:
            self.uploads.append(stream_id)
        payload = self.block()
        if rng.random() < 0.05:
            dependency = rng.choice((0, stream_id, stream_id + 1))
            payload = struct.pack(">IB", dependency, 15) + payload
            flags |= 0x20
        if rng.random() < 0.05:
            payload = b"\x03" + payload + bytes(3)
            flags |= 8
        made = frame(HEADERS, flags, stream_id, payload)
        if whole:
            made += frame(DATA, 1, stream_id, self.message())
        return made

    def burst(self) -> bytes:
        """Usual calls at once, as clients send them: each by itself, or all HEADERS first."""
        rng = self.rng
        ids = range(self.next_id, self.next_id + 2 * rng.randint(1, 6), 2)
        self.next_id = ids.stop
        authority = rng.choice((b"a", b"b"))
        block = b"\x83\x86" + literal(b":path", b"/t.S/Unary") + literal(b":authority", authority)
        block += literal(b"content-type", b"application/grpc")
        size = rng.choice((0, 20, 500))
        if rng.random() < 0.3:
            block += literal(b"content-length", b"%d" % (size + rng.choice((5, 5, 4))))
        heads = [frame(HEADERS, 4, number, block) for number in ids]
        bodies = [frame(DATA, 1, number, struct.pack(">BI", 0, size) + bytes(size)) for number in ids]
        if rng.random() < 0.5:
            return b"".join(heads + bodies)
        after = self.window() if rng.random() < 0.5 else b""
        return b"".join(head + body + after for head, body in zip(heads, bodies, strict=True))

    def message(self) -> bytes:
        """A message with its prefix; sometimes wrong, several, or a part."""
        rng = self.rng
        body = bytes(rng.choice((0, 0, 3, 20, 100, 500, 650)))
        flag = 0
        if rng.random() < 0.15:
            body, flag = zlib.compress(body), 1
        made = struct.pack(">BI", flag, len(body)) + body
        choice = rng.random()
        if choice < 0.05:
            return made + made
        if choice < 0.15:
            return made[: rng.randint(0, len(made))]
        if choice < 0.17:
            return struct.pack(">BI", rng.choice((0, 1, 2)), rng.choice((2**32 - 1, 5000))) + body
        return made

    def data(self) -> bytes:
        """DATA on some stream."""
        rng = self.rng
        if not self.uploads and not self.dares():
            return self.call()
        payload = self.message() if rng.random() < 0.8 else b""
        flags = rng.choice((0, 0, 1))
        stream_id = self.upload()
        if flags and stream_id in self.uploads:
            self.uploads.remove(stream_id)
        if rng.random() < 0.1:
            padding = rng.choice((0, 1, 10, 255))
            payload = bytes((padding,)) + payload + bytes(0 if self.dares() else padding)
            flags |= 8
        return frame(DATA, flags, stream_id, payload)

    def trailers(self) -> bytes:
        """HEADERS on a stream that is there, or was."""
        block = self.rng.choice((literal(b"x-t", b"1"), literal(b"x-t", b"1", 0x40), b"\x83", b""))
        stream_id = self.upload()
        if stream_id in self.uploads:
            self.uploads.remove(stream_id)
        elif not self.dares():
            return self.call()
        return frame(HEADERS, self.rng.choice((4, 5, 5)), stream_id, b"\xff" if self.dares() else block)

    def continued(self) -> bytes:
        """A header block in pieces, and perhaps something between them."""
        rng = self.rng
        stream_id = self.next_id
        self.next_id += 2
        block = self.block()
        cut = rng.randint(0, len(block))
        between = self.ping() if self.dares() else b""
        empty = frame(CONTINUATION, 0, stream_id) * (4 if self.dares() else rng.choice((0, 0, 1)))
        return (
            frame(HEADERS, rng.choice((0, 1)), stream_id, block[:cut])
            + empty
            + between
            + frame(CONTINUATION, 4, stream_id, block[cut:])
        )

    def reset(self) -> bytes:
        """RST_STREAM."""
        stream_id = self.some_id()
        if stream_id in self.uploads:
            self.uploads.remove(stream_id)
        return frame(RST_STREAM, 0, stream_id, struct.pack(">I", self.rng.choice(CODES)))

    def window(self) -> bytes:
        """WINDOW_UPDATE."""
        increment = self.rng.choice(INCREMENTS if self.dares() else INCREMENTS[1:6])
        stream_id = 0 if self.rng.random() < 0.4 else self.some_id()
        return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", increment))

    def settings(self) -> bytes:
        """SETTINGS, or an acknowledgement."""
        rng = self.rng
        if rng.random() < 0.3:
            return frame(SETTINGS, 1, 0)
        entries = [
            (rng.randint(0, 9), rng.choice(SETTING_VALUES)) if self.dares() else rng.choice(GOOD_SETTINGS)
            for _ in range(rng.randint(0, 3))
        ]
        return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in entries))

    def ping(self) -> bytes:
        """PING."""
        return frame(PING, self.rng.choice((0, 0, 1)), 0, self.rng.randbytes(8))

    def priority(self) -> bytes:
        """PRIORITY."""
        stream_id = self.some_id()
        on = self.rng.choice((0, 2**31 - 1, stream_id))
        return frame(PRIORITY, 0, stream_id, struct.pack(">IB", on, 1))

    def goaway(self) -> bytes:
        """GOAWAY."""
        return frame(GOAWAY, 0, 0, struct.pack(">II", 0, self.rng.choice(CODES)))

    def noise(self) -> bytes:
        """A frame of any type with any flags and any bytes, now and then a large one."""
        rng = self.rng
        size = rng.choice((0, 1, 4, 5, 6, 8, 20, 16384, 16385, 70_000))
        return frame(rng.randint(0, 12), rng.randint(0, 255), self.some_id(), bytes(size))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few changed, cut out, doubled or put in."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + rng.choice((1, 2, 9))]
            case 2:
                changed[at:at] = changed[at : at + rng.choice((1, 5, 30))]
            case _:
                changed[at:at] = rng.randbytes(rng.choice((1, 4)))
    return bytes(changed)


class Session:
    """One connection from its beginning to its end, and what handlers and driver do meanwhile."""

    def __init__(self, seed: int, recorded: Sequence[bytes]) -> None:
        self.rng = rng = random.Random(seed)  # noqa: S311
        self.recorded = recorded
        self.limits = rng.choice(PRESETS)
        self.budget = Budget(rng.choice((float("inf"), 3)), rng.choice((float("inf"), 2000)))
        self.hooks = [0, 0]
        hooked = rng.random() < 0.3
        self.context = ServerContext(
            self.limits,
            {
                b"/t.S/Unary": Route("/t.S/Unary", collects=True, target=print),
                b"/t.S/Down": Route("/t.S/Down", collects=True),
                b"/t.S/Up": Route("/t.S/Up", collects=False),
                b"/t.S/Stream": Route("/t.S/Stream", collects=False),
            },
            self.budget,
            before=(self._before,) if hooked else (),
            after=(self._after,) if hooked else (),
        )
        self.peer = Peer()
        self.now = 1.0
        self.frames = 0
        self.calls: list[RawCall] = []
        self.messages: list[tuple[RawCall, int]] = []
        self.handlers: list[RawCall] = []
        self.engine = ServerConnection(self.context, lambda: None, peer="ipv4:127.0.0.1:1")

    def _before(self, request: Request) -> None:
        self.hooks[0] += 1
        chance = self.rng.random()
        if chance < 0.05:
            raise RpcFailedError(Status(StatusCode.UNAUTHENTICATED, "no"))
        if chance < 0.06:
            raise ValueError(request.custom_metadata)

    def _after(self, request: Request, code: StatusCode, seconds: float) -> None:
        self.hooks[1] += 1
        if seconds < 0:
            raise Violation(f"{request.method_name} took {seconds} seconds ({code})")

    def run(self) -> int:
        """Run it; the number of frames that were fed. Raises Violation, or what the engine lets out."""
        for piece in self._input():
            for part in self._split(piece):
                self._feed(part)
            if self.engine.failed:
                break
            if self.rng.random() < 0.5:
                self._act()
        self._end()
        return self.frames

    def _input(self) -> Iterator[bytes]:
        rng = self.rng
        if rng.random() < 0.3:
            yield from self._changed_recording()
            return
        first = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, rng.choice((0, 100, 65535, 2**20))))
        yield PREFACE + first if rng.random() < 0.99 else mutated(PREFACE + first, rng)
        if rng.random() < 0.9:
            yield frame(SETTINGS, 1, 0)
        maker = Maker(rng)
        for _ in range(rng.randint(1, FRAMES_A_SESSION)):
            self.frames += 1
            yield maker.pieces()

    def _changed_recording(self) -> Iterator[bytes]:
        """A recorded session, frame by frame, some of them changed, left out, doubled or swapped."""
        rng = self.rng
        data = rng.choice(self.recorded)
        yield data[: len(PREFACE)]
        frames = []
        at = len(PREFACE)
        while len(data) - at >= HEADER.size:
            stop = at + HEADER.size + (HEADER.unpack_from(data, at)[0] >> 8)
            frames.append(data[at:stop])
            at = stop
        for index, each in enumerate(frames):
            self.frames += 1
            chance = rng.random()
            if chance < 0.02:
                yield mutated(each, rng)
            elif chance < 0.04:
                yield each + each
            elif chance < 0.06:
                yield rng.choice(frames)
            elif chance > 0.02 * (index > 1):
                yield each

    def _split(self, data: bytes) -> Iterator[bytes]:
        if self.rng.random() < 0.7 or not data:
            yield data
            return
        cut = self.rng.randint(0, len(data))
        yield data[:cut]
        yield data[cut:]

    def _feed(self, data: bytes) -> None:
        engine = self.engine
        self.now += self.rng.choice((0.0, 0.001, 0.001, 0.1))
        skip = min(self.peer.skip, len(data))
        self.peer.skip -= skip
        self.peer.grant(data[skip:], self.limits.max_frame_bytes)
        for event in engine.receive_data(data, self.now):
            self._happened(event)
        engine.timed.clear()
        if engine.open_streams + engine.lingering > self.limits.connection_concurrency:
            raise Violation("more calls than allowed")
        if self.rng.random() < 0.5:
            self._take_output()

    def _take_output(self) -> None:
        engine = self.engine
        engine.dirty = False
        self.peer.check(engine.data_to_send())
        engine.unsent = self.rng.choice((0, 0, 50))

    def _happened(self, event: Any) -> None:
        match event:
            case RawCall():
                if event.head.path == b"/t.S/Down" and not event.over:
                    self._start(event)
                self.calls.append(event)
            case ev.StreamBegun(call):
                if not call.over:
                    self._start(call)
            case ev.MessageReceived(call, _, wire_bytes):
                self.messages.append((call, wire_bytes))
            case ev.CallAborted(call):
                if not call.over:
                    raise Violation("a call was aborted and is not over")
            case ev.ConnectionFailed():
                if not self.engine.failed:
                    raise Violation("a failure of a connection that lives")

    def _start(self, call: RawCall) -> None:
        call.handler = self
        self.handlers.append(call)

    def _act(self) -> None:
        """Something that a handler or the driver does."""
        rng = self.rng
        calls = self.calls if rng.random() < 0.7 else self.handlers
        if calls and rng.random() < 0.3:
            some = rng.choices(calls[-12:], k=rng.randint(1, 12))
            reply_all(some, [bytes(rng.choice((0, 10, 100, 650, 701))) for _ in some])
        elif calls:
            self._act_on(calls[rng.randrange(len(calls))])
        if self.messages and rng.random() < 0.7:
            call, wire_bytes = self.messages.pop(0)
            self.engine.acknowledge(call, wire_bytes)
        if self.handlers and rng.random() < 0.3:
            self._finish(self.handlers.pop(rng.randrange(len(self.handlers))))
        chance = rng.random()
        if chance < 0.003:
            self.engine.go_away()
        elif chance < 0.005:
            self.engine.refuse_new()
        elif chance < 0.01:
            self.engine.send_ping(b"12345678")

    def _act_on(self, call: RawCall) -> None:
        rng = self.rng
        engine = self.engine
        message = bytes(rng.choice((0, 10, 100, 650, 701, 30_000)))
        match rng.randrange(10):
            case 0:
                call.fail(StatusCode.NOT_FOUND, "nö %")
            case 1:
                engine.expire(call)
            case 2 if not call.leading_sent and not call.over:
                call.request.set_leading_metadata([("x-l", "a" * rng.choice((1, 40_000))), ("b-bin", b"\0")])
            case 3:
                call.request.set_trailing_metadata([("x-t", "v")])
            case 4 | 5:
                engine.send_message(call, message)
            case 6:
                engine.end_call(call, Status(StatusCode.OK))
            case _:
                call.reply(message)

    def _finish(self, call: RawCall) -> None:
        self.engine.end_call(call, Status(StatusCode.OK))
        self.engine.handler_ended(call)

    def _end(self) -> None:
        engine = self.engine
        if self.rng.random() < 0.3:
            engine.end_all(Status(StatusCode.UNAVAILABLE, ""))
        if self.rng.random() < 0.3:
            engine.fail(2, "the end")
        self._take_output()
        engine.lost()
        for call in self.handlers:
            self._finish(call)
        for call in self.calls:
            call.reply(b"late")
        for call, wire_bytes in self.messages:
            engine.acknowledge(call, wire_bytes)
        if engine.data_to_send():
            raise Violation("output of a lost connection")
        if self.budget.calls or self.budget.bytes:
            raise Violation(f"the budget has {self.budget.calls} calls, {self.budget.bytes} bytes left")
        if engine.open_streams or engine.lingering or engine.waiting_bytes:
            raise Violation("something is left of a lost connection")
        if self.hooks[0] > self.hooks[1]:
            raise Violation("a call that a hook saw begin has not ended")


def fuzz(frames: int, seed: int, tell: Callable[[int], None] = lambda _: None) -> tuple[int, int]:
    """Run sessions until so many frames were fed; frames and sessions. Raises what a session raises.

    `tell` hears after each session how many there were.
    """
    recorded = [path.read_bytes() for path in sorted(SESSIONS.glob("*.bin"))]
    fed = sessions = 0
    while fed < frames:
        try:
            fed += max(1, Session(seed + sessions, recorded).run())
        except Exception as error:
            error.add_note(f"in the session of seed {seed + sessions}")
            raise
        sessions += 1
        tell(fed)
    return fed, sessions


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, and say how much was fed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=200_000, help="how many to feed (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first session (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # hooks fail on purpose
    engine = "compiled" if reply_all.__module__.endswith("._calls") else "readable"
    begun = said = time.monotonic()

    def tell(fed: int) -> None:
        nonlocal said
        if time.monotonic() - said > TELL_SECONDS:
            said = time.monotonic()
            print(f"{fed} frames, {said - begun:.0f} s", file=sys.stderr, flush=True)

    fed, sessions = fuzz(options.frames, options.seed, tell)
    seconds = time.monotonic() - begun
    print(f"{fed} frames in {sessions} sessions, {seconds:.0f} s, {engine} engine: nothing but answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
