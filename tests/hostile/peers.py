"""A client that says anything: HTTP/2 frames by hand, for tests of what a stock client never sends."""

from typing import NamedTuple

import hpack
import trio

from hushar.rpc import frames as fr


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Peer:
    """One connection. Builds frames, sends bytes, takes what comes apart; checks nothing."""

    def __init__(self, stream):
        self.stream = stream
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.buffer = bytearray()

    # What is sent

    async def send(self, *parts):
        await self.stream.send_all(b"".join(parts))

    async def greet(self, settings=(), *, acknowledge=True):
        """The preface and SETTINGS; the server's own are read and acknowledged."""
        await self.send(fr.PREFACE, fr.settings(settings))
        await self.until(fr.SETTINGS)
        if acknowledge:
            await self.send(fr.SETTINGS_ACK)

    def block(self, path, *more):
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        return self.encoder.encode([*fields, *more])

    def headers(self, stream_id, path, *more, end=False):
        flags = fr.END_HEADERS | (fr.END_STREAM if end else 0)
        return fr.frame(fr.HEADERS, flags, stream_id, self.block(path, *more))

    def message(self, stream_id, data, *, end=True, flag=0):
        payload = bytes((flag,)) + len(data).to_bytes(4, "big") + data
        return fr.frame(fr.DATA, fr.END_STREAM if end else 0, stream_id, payload)

    def call(self, stream_id, path, data=b"x", *more):
        return self.headers(stream_id, path, *more) + self.message(stream_id, data)

    # What comes

    async def frame(self):
        """The next frame; None once the server has closed the connection."""
        while True:
            if len(self.buffer) >= fr.HEADER_BYTES:
                head, flags, stream_id = fr.HEADER.unpack_from(self.buffer)
                stop = fr.HEADER_BYTES + (head >> 8)
                if len(self.buffer) >= stop:
                    payload = bytes(self.buffer[fr.HEADER_BYTES : stop])
                    del self.buffer[:stop]
                    return Frame(head & 0xFF, flags, stream_id, payload)
            try:
                data = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self.buffer += data

    async def until(self, kind, stream_id=None):
        """The next frame of a kind (of a stream); what comes before it is dropped."""
        while (frame := await self.frame()) is not None:
            if frame.kind == fr.HEADERS and frame.kind != kind:
                self.decoder.decode(frame.payload)
            if frame.kind == kind and stream_id in (None, frame.stream_id):
                return frame
        raise AssertionError(f"the connection was closed before a frame of type {kind} came")

    async def end_of(self, stream_id):
        """(messages, status, fields) of an answer; a stream that was reset has (…, None, error code)."""
        data = bytearray()
        fields = {}
        while (frame := await self.frame()) is not None:
            if frame.kind == fr.HEADERS:
                decoded = dict(self.decoder.decode(frame.payload))
                if frame.stream_id == stream_id:
                    fields |= decoded
            if frame.stream_id != stream_id:
                continue
            if frame.kind == fr.DATA:
                data += frame.payload
            if frame.kind == fr.RST_STREAM:
                return messages_in(data), None, fr.word(frame.payload)
            if frame.flags & fr.END_STREAM:
                return messages_in(data), int(fields.get("grpc-status", -1)), fields
        raise AssertionError(f"the connection was closed before stream {stream_id} ended")

    async def rest(self):
        """All frames until the server closes the connection."""
        frames = []
        while (frame := await self.frame()) is not None:
            frames.append(frame)
        return frames

    async def goaway(self):
        """(last stream, error code, debug data) of the last GOAWAY before the end; None if there is none."""
        found = [frame.payload for frame in await self.rest() if frame.kind == fr.GOAWAY]
        return (fr.word(found[-1]), fr.word(found[-1], 4), found[-1][8:]) if found else None

    async def aclose(self):
        """At once: through TLS too, without a word."""
        await trio.aclose_forcefully(self.stream)


def messages_in(data):
    """The messages in the DATA of an answer."""
    messages = []
    while data:
        stop = 5 + int.from_bytes(data[1:5], "big")
        messages.append(bytes(data[5:stop]))
        data = data[stop:]
    return messages


async def connect(port, host="127.0.0.1", *, ssl_context=None):
    """A peer that is connected, through TLS where there is a context, and has said nothing."""
    stream = await trio.open_tcp_stream(host, port)
    if ssl_context is not None:
        stream = trio.SSLStream(stream, ssl_context, server_hostname="localhost", https_compatible=True)
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    return Peer(stream)
