"""A client that says anything to the server's engine, in bytes, without a socket.

Frames are built here and not with `hushar.rpc.frames`, and what the engine sends is read with hpack's
decoder, so that a mistake of the engine's is not made twice.
"""

import struct
from dataclasses import dataclass

from hpack import Decoder
from hypothesis import strategies as st

from hushar.rpc.calls import RawCall
from hushar.rpc.limits import Limits
from hushar.rpc.server_context import Budget, Route, ServerContext
from hushar.rpc.server_engine import ServerConnection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
KINDS = (
    "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY",
    "WINDOW_UPDATE", "CONTINUATION",
)  # fmt: skip
CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
)  # fmt: skip
SETTING = {
    "HEADER_TABLE_SIZE": 1, "ENABLE_PUSH": 2, "MAX_CONCURRENT_STREAMS": 3, "INITIAL_WINDOW_SIZE": 4,
    "MAX_FRAME_SIZE": 5, "MAX_HEADER_LIST_SIZE": 6,
}  # fmt: skip


# Frames


def frame(kind, flags=0, stream=0, payload=b"", *, length=None):
    """A frame; `length` says something else than the payload has."""
    number = KINDS.index(kind) if isinstance(kind, str) else kind
    size = len(payload) if length is None else length
    return struct.pack(">IBI", size << 8 | number, flags, stream) + payload


def literal(name, value, first=0):
    """A literal field; `first` is its pattern (0 not indexed, 0x40 into the table, 0x10 never)."""
    name, value = (text.encode() if isinstance(text, str) else text for text in (name, value))
    return bytes((first,)) + integer(len(name), 0x7F) + name + integer(len(value), 0x7F) + value


def integer(value, mask, first=0):
    """An integer of RFC 7541, section 5.1."""
    if value < mask:
        return bytes((first | value,))
    out = [first | mask]
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def block(*fields, **changed):
    """A header block: a call's pseudo-headers, changed (`path=None`: left out), then fields."""
    pseudo = {"method": "POST", "scheme": "http", "path": "/t.S/Unary", "authority": "h", **changed}
    fields = fields if "GET" in changed.values() else (("content-type", "application/grpc"), *fields)
    made = [literal(f":{name}", value) for name, value in pseudo.items() if value is not None]
    return b"".join([*made, *(literal(*field) for field in fields)])


def headers(stream, content=None, *, end=False, whole=True, pad=None, depends=None):
    """HEADERS: padding of `pad` bytes, a priority that depends on stream `depends`."""
    payload = block() if content is None else content
    flags = end * 1 | whole * 4
    if depends is not None:
        payload = struct.pack(">IB", depends, 15) + payload
        flags |= 0x20
    if pad is not None:
        payload = bytes((pad,)) + payload + bytes(pad)
        flags |= 8
    return frame("HEADERS", flags, stream, payload)


def continuation(stream, content, *, whole=True):
    """CONTINUATION."""
    return frame("CONTINUATION", whole * 4, stream, content)


def message(body=b"", flag=0):
    """A message with its prefix."""
    return struct.pack(">BI", flag, len(body)) + body


def data(stream, payload=b"", *, end=False, pad=None):
    """DATA."""
    if pad is None:
        return frame("DATA", end * 1, stream, payload)
    return frame("DATA", end * 1 | 8, stream, bytes((pad,)) + payload + bytes(pad))


def call(stream, body=b"", *fields, **changed):
    """A whole call: HEADERS and one message."""
    return headers(stream, block(*fields, **changed)) + data(stream, message(body), end=True)


def settings(*entries, **named):
    """SETTINGS: pairs of numbers, or settings by name."""
    pairs = [*entries, *((SETTING[name], value) for name, value in named.items())]
    return frame("SETTINGS", 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def settings_ack():
    """The acknowledgement of SETTINGS."""
    return frame("SETTINGS", 1)


def ping(content=b"12345678", *, ack=False):
    """PING."""
    return frame("PING", ack * 1, 0, content)


def rst(stream, code="CANCEL"):
    """RST_STREAM."""
    return frame("RST_STREAM", 0, stream, struct.pack(">I", number_of(code)))


def goaway(last=0, code="NO_ERROR"):
    """GOAWAY."""
    return frame("GOAWAY", 0, 0, struct.pack(">II", last, number_of(code)))


def window_update(stream, increment):
    """WINDOW_UPDATE."""
    return frame("WINDOW_UPDATE", 0, stream, struct.pack(">I", increment))


def priority(stream, depends=0):
    """PRIORITY."""
    return frame("PRIORITY", 0, stream, struct.pack(">IB", depends, 15))


def number_of(code):
    """An error code by its name, or as it is."""
    return CODES.index(code) if isinstance(code, str) else code


# The connection


@dataclass
class Heard:
    """A frame that the engine has sent; a header block with its CONTINUATIONs is one."""

    kind: str
    flags: int
    stream: int
    payload: bytes
    fields: tuple = ()

    @property
    def ends(self):
        """Whether it has END_STREAM."""
        return self.kind in ("HEADERS", "DATA") and bool(self.flags & 1)

    @property
    def ack(self):
        """Whether it is an acknowledgement."""
        return self.kind in ("SETTINGS", "PING") and bool(self.flags & 1)

    @property
    def code(self):
        """The error code of a RST_STREAM or GOAWAY, by name."""
        return CODES[struct.unpack(">I", self.payload[0 if self.kind == "RST_STREAM" else 4 :][:4])[0]]

    @property
    def number(self):
        """A WINDOW_UPDATE's increment, a GOAWAY's last stream."""
        return struct.unpack(">I", self.payload[:4])[0]

    def get(self, name):
        """The value of a field, as text."""
        return dict(self.fields).get(name)

    def __str__(self):
        """What it says, shortly: `reset 1 CANCEL`, `goaway PROTOCOL_ERROR`, `headers 1 200/0 end`, …"""
        end = " end" if self.ends else ""
        match self.kind:
            case "RST_STREAM":
                return f"reset {self.stream} {self.code}"
            case "GOAWAY":
                return f"goaway {self.code}"
            case "HEADERS":
                said = "/".join(part for name in (":status", "grpc-status") if (part := self.get(name)))
                return f"headers {self.stream} {said}{end}"
            case "DATA":
                return f"data {self.stream} {len(self.payload)}{end}"
            case "WINDOW_UPDATE":
                return f"window {self.stream} {self.number}"
            case _:
                return f"{self.kind.lower()}{' ack' if self.ack else ''}"


class Talk:
    """A ServerConnection and what a client and a driver do with it.

    Routes: `/t.S/Unary` and `/t.S/Down` have one request, `/t.S/Up` and `/t.S/Stream` many.
    """

    def __init__(self, *, greet=True, before=(), after=(), budget=None, clock=None, peer="", **limits):
        self.budget = budget or Budget()
        self.limits = Limits(**limits)
        routes = {
            f"/t.S/{name}".encode(): Route(f"/t.S/{name}", collects=collects)
            for name, collects in (("Unary", True), ("Down", True), ("Up", False), ("Stream", False))
        }
        self.context = ServerContext(
            self.limits, routes, self.budget, before=before, after=after, clock=clock
        )
        self.outputs = 0
        self.engine = ServerConnection(self.context, self._output, peer=peer)
        self.now = 1.0
        self.events = []
        """All that `receive_data` has returned."""
        self.decoder = Decoder()
        self.decoder.max_header_list_size = 2**30
        if greet:
            self.say(PREFACE + settings() + settings_ack())
            self.hear()

    def _output(self):
        self.outputs += 1

    def say(self, *pieces):
        """Give the engine bytes, each piece by itself; returns the events."""
        events = []
        for piece in pieces:
            events += self.engine.receive_data(piece, self.now)
        self.events += events
        return events

    def hear(self):
        """The frames that the engine has sent since."""
        self.engine.dirty = False
        return self.read(self.engine.data_to_send())

    def read(self, output):
        """The frames in these bytes, which are whole ones."""
        heard = []
        at = 0
        while at < len(output):
            head, flags, stream = struct.unpack_from(">IBI", output, at)
            stop = at + 9 + (head >> 8)
            assert stop <= len(output), "half a frame"
            one = Heard(KINDS[head & 0xFF], flags, stream, output[at + 9 : stop])
            at = stop
            if one.kind == "CONTINUATION":
                heard[-1].payload += one.payload
                heard[-1].flags |= one.flags
                one = heard.pop()
            heard.append(one)
            if one.kind == "HEADERS" and one.flags & 4:
                one.fields = tuple(self.decoder.decode(one.payload))
        return heard

    def ask(self, *pieces):
        """Say, and hear: what the frames say, shortly."""
        self.say(*pieces)
        return [str(one) for one in self.hear()]

    def calls(self):
        """The complete calls among all events, oldest first."""
        return [event for event in self.events if isinstance(event, RawCall)]


# Conversations

BODIES = st.binary(max_size=40)
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(["x-a", "x-b", "trace-bin", "accept-encoding", "x-c", "user-agent"]),
        st.sampled_from(["1", "AAAA", "AA==", "trailers", "5S", ""]),
        st.sampled_from([0, 0x10, 0x40]),
    ),
    max_size=3,
)
ROUTES = st.sampled_from(["/t.S/Unary", "/t.S/Unary", "/t.S/Stream", "/t.S/Up", "/t.S/None"])
FAULTS = {
    "PING of 7 bytes": lambda stream: frame("PING", 0, 0, bytes(7)),
    "SETTINGS of 5 bytes": lambda stream: frame("SETTINGS", 0, 0, bytes(5)),
    "INITIAL_WINDOW_SIZE too large": lambda stream: settings(INITIAL_WINDOW_SIZE=2**31),
    "MAX_FRAME_SIZE too small": lambda stream: settings(MAX_FRAME_SIZE=1),
    "ENABLE_PUSH of 2": lambda stream: settings(ENABLE_PUSH=2),
    "index 0": lambda stream: headers(stream, b"\x80"),
    "a name in upper case": lambda stream: headers(stream, block(("Upper", "x"))),
    "a connection's field": lambda stream: headers(stream, block(("connection", "close"))),
    "no :path": lambda stream: headers(stream, block(path=None)),
    "a stream that depends on itself": lambda stream: headers(stream, block(), depends=stream),
    "an even stream id": lambda stream: headers(2, block()),
    "HEADERS on stream 0": lambda stream: headers(0, block()),
    "a frame inside a header block": lambda stream: headers(stream, b"", whole=False) + ping(),
    "CONTINUATION of nothing": lambda stream: continuation(stream, b""),
    "DATA on stream 0": lambda stream: data(0, b"x"),
    "DATA on an idle stream": lambda stream: data(stream + 2, b"x"),
    "DATA after END_STREAM": lambda stream: data(1, b"x", end=True) + data(1, b"x"),
    "too much padding": lambda stream: frame("DATA", 8, 1, b"\x09abc"),
    "a frame too large": lambda stream: frame("DATA", 0, 1, bytes(2**20 + 1)),
    "RST_STREAM on an idle stream": lambda stream: rst(stream + 2),
    "RST_STREAM of 1 byte": lambda stream: frame("RST_STREAM", 0, 1, b"\0"),
    "WINDOW_UPDATE of 0": lambda stream: window_update(0, 0),
    "WINDOW_UPDATE of 0 on a stream": lambda stream: window_update(1, 0),
    "a window too large": lambda stream: window_update(0, 2**31 - 1),
    "WINDOW_UPDATE on an idle stream": lambda stream: window_update(stream + 2, 1),
    "PRIORITY on stream 0": lambda stream: priority(0),
    "PRIORITY of 1 byte": lambda stream: frame("PRIORITY", 0, 1, b"\0"),
    "PUSH_PROMISE": lambda stream: frame("PUSH_PROMISE", 4, 1, bytes(4)),
    "GOAWAY of 1 byte": lambda stream: frame("GOAWAY", 0, 0, b"\0"),
    "GOAWAY on a stream": lambda stream: frame("GOAWAY", 0, 1, bytes(8)),
}
"""Each breaks a rule, of its stream or of the connection."""


@st.composite
def conversations(draw, *, faulty=False):
    """What a client says after the preface, frame by frame; with `faulty` it breaks rules now and then."""
    said = []
    open_ids = []
    stream = 1
    kinds = ["call", "call", "begin", "data", "data", "end", "rst", "ping", "window", "settings", "unknown"]
    for kind in draw(st.lists(st.sampled_from(kinds + ["fault"] * faulty), min_size=1, max_size=25)):
        chosen = draw(st.sampled_from(open_ids)) if open_ids else 0
        match kind:
            case "call" | "begin":
                content = block(*draw(FIELDS), path=draw(ROUTES))
                cut = draw(st.integers(0, len(content)))
                if draw(st.booleans()):
                    said.append(headers(stream, content))
                else:
                    said.append(
                        headers(stream, content[:cut], whole=False) + continuation(stream, content[cut:])
                    )
                if kind == "call":
                    said.append(data(stream, message(draw(BODIES)), end=True))
                else:
                    open_ids.append(stream)
                stream += 2
            case "data" if chosen:
                said.append(data(chosen, message(draw(BODIES)), pad=draw(st.sampled_from([None, 0, 3]))))
            case "end" if chosen:
                open_ids.remove(chosen)
                trailers = draw(st.booleans())
                said.append(
                    headers(chosen, literal("x-t", "1"), end=True) if trailers else data(chosen, end=True)
                )
            case "rst" if chosen:
                open_ids.remove(chosen)
                said.append(rst(chosen))
            case "ping":
                said.append(ping(draw(st.binary(min_size=8, max_size=8))))
            case "window":
                said.append(window_update(draw(st.sampled_from([0, chosen])), draw(st.integers(1, 70_000))))
            case "settings":
                name = draw(
                    st.sampled_from(["INITIAL_WINDOW_SIZE", "HEADER_TABLE_SIZE", "MAX_HEADER_LIST_SIZE"])
                )
                said.append(settings(**{name: draw(st.integers(0, 70_000))}))
            case "unknown":
                said.append(frame(draw(st.integers(0x16, 255)), 0xFF, chosen, draw(BODIES)))
            case "fault":
                said.append(draw(st.sampled_from(list(FAULTS.values())))(stream))
                stream += 2
    return said
