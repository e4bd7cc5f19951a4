"""The 146 checks of h2spec (github.com/summerwind/h2spec, v2.2.1) as a table over the engine alone.

Where h2spec takes any of a stream error, a connection error or a closed connection, the table says which one
it is here. Requests are those of h2spec: GET or POST of `/` without gRPC headers, answered with HTTP 415.
Sections are RFC 9113's (for HPACK RFC 7541's); the identifiers are h2spec's, which counts as RFC 7540 does.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest

ANSWER = ["headers 1 415", "data 1 48", "data 1 0 end"]
PONG = ["ping ack"]
BROKEN = ["goaway PROTOCOL_ERROR"]
ACK = ["settings ack"]
GET, POST = {"method": "GET", "path": "/"}, {"method": "POST", "path": "/"}


class Case(NamedTuple):
    """`said(wire)` are the pieces that are said one by one after the handshake."""

    id: str
    section: str
    what: str
    said: Callable
    heard: list[str]


def request(w, *fields, stream=1, end=True, method="GET", **options):
    """HEADERS of a request that is no gRPC."""
    return w.headers(stream, plain(w, *fields, method=method), end=end, **options)


def plain(w, *fields, method="GET"):
    """Its block, with a `:method` in front as h2spec has it."""
    pseudo = ((":method", method), (":scheme", "http"), (":path", "/"), (":authority", "127.0.0.1:80"))
    return b"".join(w.literal(*field) for field in (*pseudo, *fields))


def raw(w, content, *, flags=5, stream=1):
    """HEADERS with a plain block and some bytes behind it."""
    return w.frame("HEADERS", flags, stream, plain(w) + content)


def failed(code):
    """A connection error."""
    return [f"goaway {code}"]


def reset(code, stream=1):
    """A stream error."""
    return [f"reset {stream} {code}"]


NAME, HUFFMAN_NAME = b"\x0auser-agent", b"\x87\xb5\x05\xb1\x61\xcc\x5a\x93"
VALUE, HUFFMAN_VALUE = b"\x06h2spec", b"\x84\x9c\x48\xac\xa4"
X_TEST, HUFFMAN_X_TEST = b"\x06x-test", b"\x85\xf2\xb2\x4a\x84\xff"
LARGE = 20_000
"""More than 2^14 bytes of header fields, as h2spec sends them to see a frame that is too large."""

GENERIC = [
    Case("generic/2/1", "5.1", "PRIORITY on an idle stream", lambda w: [w.priority(1), w.ping()], PONG),
    Case(
        "generic/2/2", "5.1", "WINDOW_UPDATE on a half-closed (remote) stream",
        lambda w: [w.settings(INITIAL_WINDOW_SIZE=0), request(w), w.window_update(1, 1)],
        [*ACK, "headers 1 415", "data 1 1"],
    ),
    Case(
        "generic/2/3", "5.1", "PRIORITY on a half-closed (remote) stream",
        lambda w: [w.settings(INITIAL_WINDOW_SIZE=0), request(w), w.priority(1), w.window_update(1, 1)],
        [*ACK, "headers 1 415", "data 1 1"],
    ),
    Case(
        "generic/2/4", "5.1", "RST_STREAM on a half-closed (remote) stream",
        lambda w: [request(w), w.rst(1), w.ping()], [*PONG, *ANSWER],
    ),
    Case(
        "generic/2/5", "5.1", "PRIORITY on a closed stream",
        lambda w: [request(w), w.priority(1), w.ping()], [*PONG, *ANSWER],
    ),
    Case(
        "generic/3.1/1", "6.1", "a DATA frame",
        lambda w: [request(w, method="POST", end=False), w.data(1, b"test", end=True)], ANSWER,
    ),
    Case(
        "generic/3.1/2", "6.1", "several DATA frames",
        lambda w: [request(w, method="POST", end=False), w.data(1, b"test"), w.data(1, b"test", end=True)],
        ANSWER,
    ),
    Case(
        "generic/3.1/3", "6.1", "a DATA frame with padding",
        lambda w: [request(w, method="POST", end=False), w.data(1, b"test", end=True, pad=5)], ANSWER,
    ),
    Case("generic/3.2/1", "6.2", "a HEADERS frame", lambda w: [request(w)], ANSWER),
    Case("generic/3.2/2", "6.2", "HEADERS with padding", lambda w: [request(w, pad=8)], ANSWER),
    Case("generic/3.2/3", "6.2", "HEADERS with a priority", lambda w: [request(w, depends=0)], ANSWER),
    Case("generic/3.3/1", "6.3", "PRIORITY 1", lambda w: [w.priority(1), request(w)], ANSWER),
    Case(
        "generic/3.3/2", "6.3", "PRIORITY 256",
        lambda w: [w.frame("PRIORITY", 0, 1, bytes((0, 0, 0, 0, 255))), request(w)], ANSWER,
    ),
    Case("generic/3.3/3", "6.3", "PRIORITY on a stream", lambda w: [w.priority(3, 1), request(w)], ANSWER),
    Case(
        "generic/3.3/4", "6.3", "PRIORITY, exclusive",
        lambda w: [w.frame("PRIORITY", 0, 1, bytes((128, 0, 0, 0, 0))), request(w)], ANSWER,
    ),
    Case("generic/3.3/5", "6.3", "PRIORITY of a later stream", lambda w: [w.priority(3), request(w)], ANSWER),
    Case(
        "generic/3.4/1", "6.4", "RST_STREAM",
        lambda w: [request(w, end=False), w.rst(1), w.ping()], PONG,
    ),
    Case(
        "generic/3.5/1", "6.5", "SETTINGS",
        lambda w: [
            w.settings(
                HEADER_TABLE_SIZE=4096, ENABLE_PUSH=1, MAX_CONCURRENT_STREAMS=100, INITIAL_WINDOW_SIZE=65535,
                MAX_FRAME_SIZE=16384, MAX_HEADER_LIST_SIZE=100,
            )
        ],
        ACK,
    ),
    Case("generic/3.7/1", "6.7", "PING", lambda w: [w.ping(b"h2spec\0\0")], PONG),
    Case("generic/3.8/1", "6.8", "GOAWAY, and a PING after it", lambda w: [w.goaway(), w.ping()], PONG),
    Case(
        "generic/3.9/1", "6.9", "WINDOW_UPDATE of the connection",
        lambda w: [w.window_update(0, 1), w.ping()], PONG,
    ),
    Case(
        "generic/3.9/2", "6.9", "WINDOW_UPDATE of a stream",
        lambda w: [request(w), w.window_update(1, 1)], ANSWER,
    ),
    Case(
        "generic/3.10/1", "6.10", "a CONTINUATION frame",
        lambda w: [
            w.headers(1, plain(w)[:5], end=True, whole=False),
            w.continuation(1, plain(w)[5:]),
        ],
        ANSWER,
    ),
    Case(
        "generic/3.10/2", "6.10", "several CONTINUATION frames",
        lambda w: [
            w.headers(1, plain(w)[:5], end=True, whole=False),
            w.continuation(1, plain(w)[5:10], whole=False),
            w.continuation(1, plain(w)[10:]),
        ],
        ANSWER,
    ),
    Case("generic/4/1", "8.1", "GET", lambda w: [request(w)], ANSWER),
    Case("generic/4/2", "8.1", "HEAD", lambda w: [request(w, method="HEAD")], ["headers 1 415 end"]),
    Case(
        "generic/4/3", "8.1", "POST",
        lambda w: [request(w, method="POST", end=False), w.data(1, b"test", end=True)], ANSWER,
    ),
    Case(
        "generic/4/4", "8.1", "POST with trailers",
        lambda w: [
            request(w, ("trailer", "x-test"), method="POST", end=False),
            w.data(1, b"test"),
            w.headers(1, w.literal("x-test", "ok"), end=True),
        ],
        ANSWER,
    ),
    Case(
        "generic/5/1", "7541 6.1", "an indexed field of the dynamic table",
        lambda w: [raw(w, w.literal("x-test", "ok", 0x40) + b"\xbe")], ANSWER,
    ),
]  # fmt: skip

REPRESENTATIONS = [
    ("generic/5/2", "6.2.1", b"\x40" + HUFFMAN_NAME + HUFFMAN_VALUE),
    ("generic/5/3", "6.2.1", b"\x40" + NAME + VALUE),
    ("generic/5/4", "6.2.1", b"\x40" + X_TEST + VALUE),
    ("generic/5/5", "6.2.1", b"\x40" + HUFFMAN_X_TEST + HUFFMAN_VALUE),
    ("generic/5/6", "6.2.2", b"\x00" + NAME + VALUE),
    ("generic/5/7", "6.2.2", b"\x00" + HUFFMAN_NAME + HUFFMAN_VALUE),
    ("generic/5/8", "6.2.2", b"\x00" + X_TEST + VALUE),
    ("generic/5/9", "6.2.2", b"\x00" + HUFFMAN_X_TEST + HUFFMAN_VALUE),
    ("generic/5/10", "6.2.3", b"\x10" + NAME + VALUE),
    ("generic/5/11", "6.2.3", b"\x10" + HUFFMAN_NAME + HUFFMAN_VALUE),
    ("generic/5/12", "6.2.3", b"\x10" + HUFFMAN_X_TEST + HUFFMAN_VALUE),
    ("generic/5/13", "6.2.3", b"\x10" + X_TEST + VALUE),
]
GENERIC += [
    Case(
        name,
        f"7541 {section}",
        f"a literal field {content[:2].hex()}",
        lambda w, c=content: [raw(w, c)],
        ANSWER,
    )
    for name, section, content in REPRESENTATIONS
]
GENERIC += [
    Case(
        "generic/5/14", "7541 6.3", "a size update",
        lambda w: [w.headers(1, w.integer(128, 0x1F, 0x20) + plain(w), end=True)], ANSWER,
    ),
    Case(
        "generic/5/15", "7541 6.3", "several size updates",
        lambda w: [w.headers(1, b"\x3f\x61\x3f\xe1\x1f" + plain(w), end=True)], ANSWER,
    ),
]  # fmt: skip

HTTP2 = [
    Case(
        "http2/4.1/1", "4.1", "a frame of unknown type",
        lambda w: [w.frame(0x16, 0, 0, bytes(8)), w.ping()], PONG,
    ),
    Case("http2/4.1/2", "4.1", "undefined flags", lambda w: [w.frame("PING", 0x16, 0, bytes(8))], PONG),
    Case("http2/4.1/3", "4.1", "the reserved bit", lambda w: [w.frame("PING", 0x16, 2**31, bytes(8))], PONG),
    Case(
        "http2/4.2/1", "4.2", "DATA of 2^14 bytes",
        lambda w: [request(w, method="POST", end=False), w.data(1, bytes(16384), end=True)], ANSWER,
    ),
    Case(
        "http2/4.2/2", "4.2", "DATA above MAX_FRAME_SIZE",
        lambda w: [request(w, method="POST", end=False), w.data(1, bytes(2**20 + 1), end=True)],
        reset("FRAME_SIZE_ERROR"),
    ),
    Case(
        "http2/4.2/3", "4.2", "HEADERS of what is no gRPC above 2^14 bytes",
        lambda w: [request(w, ("x-dummy", "x" * LARGE))], failed("FRAME_SIZE_ERROR"),
    ),
    Case(
        "http2/4.3/1", "4.3", "a header block that cannot be decoded",
        lambda w: [w.frame("HEADERS", 5, 1, b"\x40")], failed("COMPRESSION_ERROR"),
    ),
    Case(
        "http2/4.3/2", "4.3", "PRIORITY inside a header block",
        lambda w: [request(w, whole=False), w.priority(1)], BROKEN,
    ),
    Case(
        "http2/4.3/3", "4.3", "HEADERS of another stream inside a header block",
        lambda w: [request(w, whole=False), request(w, stream=3)], BROKEN,
    ),
    Case("http2/5.1/1", "5.1", "idle: DATA", lambda w: [w.data(1, b"test", end=True)], BROKEN),
    Case("http2/5.1/2", "5.1", "idle: RST_STREAM", lambda w: [w.rst(1)], BROKEN),
    Case(
        "http2/5.1/3", "5.1", "idle: WINDOW_UPDATE",
        lambda w: [w.window_update(1, 100)], BROKEN,
    ),
    Case(
        "http2/5.1/4", "5.1", "idle: CONTINUATION",
        lambda w: [w.continuation(1, plain(w))], BROKEN,
    ),
    Case(
        "http2/5.1/5", "5.1", "half-closed (remote): DATA",
        lambda w: [w.settings(INITIAL_WINDOW_SIZE=0), request(w), w.data(1, b"test", end=True)],
        [*ACK, "headers 1 415", *reset("STREAM_CLOSED")],
    ),
    Case(
        "http2/5.1/6", "5.1", "half-closed (remote): HEADERS",
        lambda w: [w.settings(INITIAL_WINDOW_SIZE=0), request(w), request(w)],
        [*ACK, "headers 1 415", *reset("STREAM_CLOSED")],
    ),
    Case(
        "http2/5.1/7", "5.1", "half-closed (remote): CONTINUATION",
        lambda w: [w.settings(INITIAL_WINDOW_SIZE=0), request(w), w.continuation(1, plain(w))],
        [*ACK, "headers 1 415", *BROKEN],
    ),
    Case(
        "http2/5.1/8", "5.1", "closed by RST_STREAM: DATA",
        lambda w: [request(w, end=False), w.rst(1), w.data(1, b"test", end=True)], failed("STREAM_CLOSED"),
    ),
    Case(
        "http2/5.1/9", "5.1", "closed by RST_STREAM: HEADERS",
        lambda w: [request(w, end=False), w.rst(1), request(w)], failed("STREAM_CLOSED"),
    ),
    Case(
        "http2/5.1/10", "5.1", "closed by RST_STREAM: CONTINUATION",
        lambda w: [request(w, end=False), w.rst(1), w.continuation(1, b"")], BROKEN,
    ),
    Case(
        "http2/5.1/11", "5.1", "closed: DATA",
        lambda w: [request(w), w.data(1, b"test", end=True)], [*ANSWER, *failed("STREAM_CLOSED")],
    ),
    Case(
        "http2/5.1/12", "5.1", "closed: HEADERS",
        lambda w: [request(w), request(w)], [*ANSWER, *failed("STREAM_CLOSED")],
    ),
    Case(
        "http2/5.1/13", "5.1", "closed: CONTINUATION",
        lambda w: [request(w), w.continuation(1, b"")], [*ANSWER, *BROKEN],
    ),
    Case(
        "http2/5.1.1/1", "5.1.1", "an even stream id",
        lambda w: [request(w, stream=2)], BROKEN,
    ),
    Case(
        "http2/5.1.1/2", "5.1.1", "a stream id below the last",
        lambda w: [request(w, stream=5, end=False), request(w, stream=3)], BROKEN,
    ),
    Case(
        "http2/5.1.2/1", "5.1.2", "one stream more than MAX_CONCURRENT_STREAMS",
        lambda w: [request(w, stream=1 + 2 * index, end=False) for index in range(201)],
        reset("REFUSED_STREAM", 401),
    ),
    Case(
        "http2/5.3.1/1", "5.3.2", "HEADERS of a stream that depends on itself",
        lambda w: [request(w, depends=1)], reset("PROTOCOL_ERROR"),
    ),
    Case(
        "http2/5.3.1/2", "5.3.2", "PRIORITY of an idle stream that depends on itself",
        lambda w: [w.priority(2, 2)], BROKEN,
    ),
    Case(
        "http2/5.4.1/1", "5.4.1", "a broken PING, for the connection's end",
        lambda w: [w.frame("PING", 0, 3, bytes(8)), w.ping()], BROKEN,
    ),
    Case(
        "http2/5.4.1/2", "5.4.1", "a broken PING, for GOAWAY",
        lambda w: [w.frame("PING", 0, 3, bytes(8))], BROKEN,
    ),
    Case(
        "http2/5.5/1", "5.5", "an unknown frame",
        lambda w: [w.frame(0x16, 0, 0, bytes(8)), w.ping()], PONG,
    ),
    Case(
        "http2/5.5/2", "5.5", "an unknown frame inside a header block",
        lambda w: [request(w, whole=False), w.frame(0x16, 0, 0, bytes(8))], BROKEN,
    ),
    Case("http2/6.1/1", "6.1", "DATA on stream 0", lambda w: [w.data(0, b"test")], BROKEN),
    Case(
        "http2/6.1/2", "6.1", "DATA on a stream that is not open",
        lambda w: [request(w, method="POST"), w.data(1, b"test")], [*ANSWER, *failed("STREAM_CLOSED")],
    ),
    Case(
        "http2/6.1/3", "6.1", "DATA with more padding than it is long",
        lambda w: [request(w, method="POST", end=False), w.frame("DATA", 9, 1, b"\x06Test")],
        BROKEN,
    ),
    Case(
        "http2/6.2/1", "6.2", "HEADERS without END_HEADERS, then PRIORITY",
        lambda w: [request(w, end=False, whole=False), w.priority(1)], BROKEN,
    ),
    Case(
        "http2/6.2/2", "6.2", "HEADERS without END_HEADERS, then HEADERS",
        lambda w: [request(w, end=False, whole=False), request(w, stream=3)], BROKEN,
    ),
    Case("http2/6.2/3", "6.2", "HEADERS on stream 0", lambda w: [request(w, stream=0)], BROKEN),
    Case(
        "http2/6.2/4", "6.2", "HEADERS with more padding than it is long",
        lambda w: [w.frame("HEADERS", 13, 1, bytes((len(plain(w)) + 2,)) + plain(w))], BROKEN,
    ),
    Case("http2/6.3/1", "6.3", "PRIORITY on stream 0", lambda w: [w.priority(0, 1)], BROKEN),
    Case(
        "http2/6.3/2", "6.3", "PRIORITY of four bytes",
        lambda w: [request(w, end=False), w.frame("PRIORITY", 0, 1, bytes(4))], reset("FRAME_SIZE_ERROR"),
    ),
    Case("http2/6.4/1", "6.4", "RST_STREAM on stream 0", lambda w: [w.rst(0)], BROKEN),
    Case("http2/6.4/2", "6.4", "RST_STREAM on an idle stream", lambda w: [w.rst(1)], BROKEN),
    Case(
        "http2/6.4/3", "6.4", "RST_STREAM of three bytes",
        lambda w: [request(w, end=False), w.frame("RST_STREAM", 0, 1, bytes(3))], failed("FRAME_SIZE_ERROR"),
    ),
    Case(
        "http2/6.5/1", "6.5", "an acknowledgement with a payload",
        lambda w: [w.frame("SETTINGS", 1, 0, b"\0")], failed("FRAME_SIZE_ERROR"),
    ),
    Case(
        "http2/6.5/2", "6.5", "SETTINGS on a stream",
        lambda w: [w.frame("SETTINGS", 0, 1, b"\0\3\0\0\0\x64")], BROKEN,
    ),
    Case(
        "http2/6.5/3", "6.5", "SETTINGS of three bytes",
        lambda w: [w.frame("SETTINGS", 0, 0, b"\0\3\0")], failed("FRAME_SIZE_ERROR"),
    ),
    Case(
        "http2/6.5.2/1", "6.5.2", "ENABLE_PUSH of 2",
        lambda w: [w.settings(ENABLE_PUSH=2)], BROKEN,
    ),
    Case(
        "http2/6.5.2/2", "6.5.2", "INITIAL_WINDOW_SIZE of 2^31",
        lambda w: [w.settings(INITIAL_WINDOW_SIZE=2**31)], failed("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "http2/6.5.2/3", "6.5.2", "MAX_FRAME_SIZE below 2^14",
        lambda w: [w.settings(MAX_FRAME_SIZE=16383)], BROKEN,
    ),
    Case(
        "http2/6.5.2/4", "6.5.2", "MAX_FRAME_SIZE of 2^24",
        lambda w: [w.settings(MAX_FRAME_SIZE=2**24)], BROKEN,
    ),
    Case(
        "http2/6.5.2/5", "6.5.2", "an unknown setting",
        lambda w: [w.settings((0xFF, 1)), w.ping()], [*PONG, *ACK],
    ),
    Case(
        "http2/6.5.3/1", "6.5.3", "two values of INITIAL_WINDOW_SIZE",
        lambda w: [w.settings((4, 100), (4, 1)), request(w)], [*ACK, "headers 1 415", "data 1 1"],
    ),
    Case("http2/6.5.3/2", "6.5.3", "SETTINGS are acknowledged", lambda w: [w.settings(ENABLE_PUSH=0)], ACK),
    Case("http2/6.7/1", "6.7", "PING", lambda w: [w.ping()], PONG),
    Case("http2/6.7/2", "6.7", "an acknowledgement of no PING", lambda w: [w.ping(ack=True), w.ping()], PONG),
    Case(
        "http2/6.7/3", "6.7", "PING on a stream",
        lambda w: [w.frame("PING", 0, 1, bytes(8))], BROKEN,
    ),
    Case(
        "http2/6.7/4", "6.7", "PING of six bytes",
        lambda w: [w.frame("PING", 0, 0, bytes(6))], failed("FRAME_SIZE_ERROR"),
    ),
    Case(
        "http2/6.8/1", "6.8", "GOAWAY on a stream",
        lambda w: [w.frame("GOAWAY", 0, 1, bytes(8))], BROKEN,
    ),
    Case(
        "http2/6.9/1", "6.9", "an increment of 0 on the connection",
        lambda w: [w.window_update(0, 0)], BROKEN,
    ),
    Case(
        "http2/6.9/2", "6.9", "an increment of 0 on a stream",
        lambda w: [request(w, end=False), w.window_update(1, 0)], reset("PROTOCOL_ERROR"),
    ),
    Case(
        "http2/6.9/3", "6.9", "WINDOW_UPDATE of three bytes",
        lambda w: [w.frame("WINDOW_UPDATE", 0, 0, b"\0\0\1")], failed("FRAME_SIZE_ERROR"),
    ),
    Case(
        "http2/6.9.1/1", "6.9.1", "a window of 1",
        lambda w: [w.settings(INITIAL_WINDOW_SIZE=1), request(w)], [*ACK, "headers 1 415", "data 1 1"],
    ),
    Case(
        "http2/6.9.1/2", "6.9.1", "the connection's window above 2^31-1",
        lambda w: [w.window_update(0, 2**31 - 1)] * 2, failed("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "http2/6.9.1/3", "6.9.1", "a stream's window above 2^31-1",
        lambda w: [request(w, end=False), *[w.window_update(1, 2**31 - 1)] * 2], reset("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "http2/6.9.2/1", "6.9.2", "INITIAL_WINDOW_SIZE changed after HEADERS",
        lambda w: [w.settings(INITIAL_WINDOW_SIZE=0), request(w), w.settings(INITIAL_WINDOW_SIZE=1)],
        [*ACK, "headers 1 415", *ACK, "data 1 1"],
    ),
    Case(
        "http2/6.9.2/2", "6.9.2", "a window that becomes negative",
        lambda w: [
            w.settings(INITIAL_WINDOW_SIZE=3), request(w),
            w.settings(INITIAL_WINDOW_SIZE=2), w.window_update(1, 2),
        ],
        [*ACK, "headers 1 415", "data 1 3", *ACK, "data 1 1"],
    ),
    Case(
        "http2/6.9.2/3", "6.9.2", "INITIAL_WINDOW_SIZE above 2^31-1",
        lambda w: [w.frame("SETTINGS", 0, 0, b"\0\4\x80\0\0\0")], failed("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "http2/6.10/1", "6.10", "several CONTINUATIONs behind HEADERS",
        lambda w: [
            request(w, whole=False), w.continuation(1, w.literal("x-dummy0", "x"), whole=False),
            w.continuation(1, w.literal("x-dummy0", "x")),
        ],
        ANSWER,
    ),
    Case(
        "http2/6.10/2", "6.10", "CONTINUATION, then DATA",
        lambda w: [request(w, whole=False), w.continuation(1, b"", whole=False), w.data(1, b"test")],
        BROKEN,
    ),
    Case(
        "http2/6.10/3", "6.10", "CONTINUATION on stream 0",
        lambda w: [request(w, whole=False), w.continuation(0, b"")], BROKEN,
    ),
    Case(
        "http2/6.10/4", "6.10", "CONTINUATION behind HEADERS with END_HEADERS",
        lambda w: [request(w), w.continuation(1, b"")], [*ANSWER, *BROKEN],
    ),
    Case(
        "http2/6.10/5", "6.10", "CONTINUATION behind CONTINUATION with END_HEADERS",
        lambda w: [request(w, whole=False), w.continuation(1, b""), w.continuation(1, b"")],
        [*ANSWER, *BROKEN],
    ),
    Case(
        "http2/6.10/6", "6.10", "CONTINUATION behind DATA",
        lambda w: [request(w, end=False, whole=False), w.data(1, b"test"), w.continuation(1, b"")],
        BROKEN,
    ),
    Case(
        "http2/7/1", "7", "GOAWAY with an unknown code",
        lambda w: [w.goaway(code=0xFF), w.ping()], PONG,
    ),
    Case(
        "http2/7/2", "7", "RST_STREAM with an unknown code",
        lambda w: [request(w, end=False), w.rst(1, 0xFF), w.ping()], PONG,
    ),
    Case(
        "http2/8.1/1", "8.1", "a second HEADERS without END_STREAM",
        lambda w: [
            request(w, method="POST", end=False), w.data(1, b"test"), w.headers(1, w.literal("x-test", "ok")),
        ],
        reset("PROTOCOL_ERROR"),
    ),
    Case(
        "http2/8.1.2.1/3", "8.3", "a pseudo-header in trailers",
        lambda w: [
            request(w, method="POST", end=False), w.data(1, b"test"),
            w.headers(1, w.literal(":method", "POST"), end=True),
        ],
        reset("PROTOCOL_ERROR"),
    ),
    Case(
        "http2/8.1.2.1/4", "8.3", "a pseudo-header behind a regular one",
        lambda w: [w.headers(1, w.literal("x-test", "ok") + plain(w), end=True)], reset("PROTOCOL_ERROR"),
    ),
    Case(
        "http2/8.1.2.6/1", "8.1.1", "a content-length that is wrong",
        lambda w: [
            request(w, ("content-length", "1"), method="POST", end=False), w.data(1, b"test", end=True),
        ],
        reset("PROTOCOL_ERROR"),
    ),
    Case(
        "http2/8.1.2.6/2", "8.1.1", "a content-length that is not the sum of all DATA",
        lambda w: [
            request(w, ("content-length", "1"), method="POST", end=False),
            w.data(1, b"test") + w.data(1, b"test", end=True),
        ],
        reset("PROTOCOL_ERROR"),
    ),
    Case(
        "http2/8.2/1", "8.4", "PUSH_PROMISE from a client",
        lambda w: [w.frame("PUSH_PROMISE", 4, 1, struct.pack(">I", 2) + plain(w))], BROKEN,
    ),
]  # fmt: skip

MALFORMED = [
    ("http2/8.1.2/1", "8.2.1", {}, [("X-TEST", "ok")]),
    ("http2/8.1.2.1/1", "8.3", {}, [(":test", "ok")]),
    ("http2/8.1.2.1/2", "8.3", {}, [(":status", "200")]),
    ("http2/8.1.2.2/1", "8.2.2", {}, [("connection", "keep-alive")]),
    ("http2/8.1.2.2/2", "8.2.2", {}, [("trailers", "test"), ("te", "trailers, deflate")]),
    ("http2/8.1.2.3/1", "8.3.1", {"path": ""}, []),
    ("http2/8.1.2.3/2", "8.3.1", {"method": None}, []),
    ("http2/8.1.2.3/3", "8.3.1", {"scheme": None}, []),
    ("http2/8.1.2.3/4", "8.3.1", {"path": None}, []),
    ("http2/8.1.2.3/5", "8.3.1", {}, [(":method", "GET")]),
    ("http2/8.1.2.3/6", "8.3.1", {}, [(":scheme", "http")]),
    ("http2/8.1.2.3/7", "8.3.1", {}, [(":path", "/")]),
]
"""What is changed of a request's pseudo-headers, and what stands behind them."""
HTTP2 += [
    Case(
        name, section, f"malformed: {changed or fields}",
        lambda w, changed=changed, fields=fields: [
            w.headers(1, w.block(**GET | changed) + b"".join(w.literal(*field) for field in fields), end=True)
        ],
        reset("PROTOCOL_ERROR"),
    )
    for name, section, changed, fields in MALFORMED
]  # fmt: skip

HPACK = [
    Case(name, f"7541 {section}", what, lambda w, c=content: [raw(w, c)], failed("COMPRESSION_ERROR"))
    for name, section, what, content in [
        ("hpack/2.3.3/1", "2.3.3", "an index beyond the table", b"\xc6"),
        ("hpack/4.2/1", "4.2", "a size update at the end of a block", b"\x21"),
        (
            "hpack/5.2/1",
            "5.2",
            "padding of more than 7 bits",
            b"\0" + HUFFMAN_X_TEST + b"\x84\x49\x50\x9f\xff",
        ),
        ("hpack/5.2/2", "5.2", "padding of zeros", b"\0" + HUFFMAN_X_TEST + b"\x83\x49\x50\x90"),
        (
            "hpack/5.2/3",
            "5.2",
            "the EOS symbol",
            b"\0" + HUFFMAN_X_TEST[:-1] + b"\x87\xff\xff\xff\xfd\x25\x42\x7f",
        ),
        ("hpack/6.1/1", "6.1", "index 0", b"\x80"),
    ]
]
HPACK.append(
    Case(
        "hpack/6.3/1",
        "7541 6.3",
        "a size update above HEADER_TABLE_SIZE",
        lambda w: [w.headers(1, w.integer(4097, 0x1F, 0x20) + plain(w), end=True)],
        failed("COMPRESSION_ERROR"),
    )
)
CASES = [*GENERIC, *HTTP2, *HPACK]
PREFACES = 3
"""generic/1/1, http2/3.5/1 and http2/3.5/2 are tests of their own, below."""


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_what_the_server_answers(wire, case):
    said = wire.Talk().ask(*case.said(wire))
    assert said == case.heard, f"RFC {case.section}: {case.what}"


def test_no_check_is_left_out():
    assert len({case.id for case in CASES}) == len(CASES) == 146 - PREFACES


@pytest.mark.parametrize("name", ["generic/1/1", "http2/3.5/1"])
def test_our_settings_are_the_first_that_a_client_hears(wire, name):
    talk = wire.Talk(greet=False)
    heard = talk.ask(wire.PREFACE + wire.settings(INITIAL_WINDOW_SIZE=65535))
    assert heard == ["settings", "window 0 16711681", "settings ack"], "RFC 9113, 3.4"


@pytest.mark.parametrize("preface", [b"INVALID CONNECTION PREFACE\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_another_preface(wire, preface):
    talk = wire.Talk(greet=False)
    assert talk.ask(preface)[-1] == "goaway PROTOCOL_ERROR", "RFC 9113, 3.4 (http2/3.5/2)"
