"""A client's engine for a generator of load: many unary calls at once, without an object for each.

Theory of operation. A call is *light* while all that is known of it is its stream id and a tag of the
caller's. Nearly every call lives and dies so: its request is one packed piece of bytes (`prepare` has done
the framing beforehand), and its answer is the three frames that all answers of a server consist of: leading
headers and trailers that were seen before, byte for byte, and one message in between. Such answers are
recognized in the input with one `unpack` each, and only their tags are handed on.

Whatever else comes for a light call (a status other than OK, a reset, an answer in pieces, a GOAWAY) first
makes it an ordinary ClientCall, and the engine that is written for all of HTTP/2 takes over. So there is no
second set of rules here; nothing is recognized that the engine would not have taken for the same.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from purerpc import Status, StatusCode

from hushar.rpc import frames as fr
from hushar.rpc import messages as msg
from hushar.rpc.client_engine import ClientCall, ClientConnection
from hushar.rpc.engine import Connection
from hushar.rpc.limits import Limits

MAX_STREAMS: Final = 10_000
"""Calls under way on one connection, whatever the server would take."""
_LARGEST_ANSWER: Final = 60_000
"""Of the answers that are recognized as a whole. It fits the smallest window of a stream."""
_LAYOUTS: Final = 64
"""Sizes of answers that are kept, each with what recognizes it."""
_END: Final = fr.END_HEADERS | fr.END_STREAM
_NO_MESSAGE: Final = Status(StatusCode.UNIMPLEMENTED, "the answer has no message")
_CONCERNED: Final = frozenset((fr.DATA, fr.HEADERS, fr.RST_STREAM))
"""Frames that mean something to a stream whose request has been sent."""


class Prepared(NamedTuple):
    """A request, framed but for the stream's id: `pack(*_)` makes HEADERS and DATA in one piece."""

    pack: Callable[..., bytes]
    first: bytes
    """Before the id in HEADERS."""
    second: bytes
    """Between the two ids: the header block, and the head of DATA."""
    third: bytes
    """After the id in DATA: the message with its prefix."""
    size: int
    """Of the DATA frame, which counts against windows."""
    block: bytes
    message: bytes


def prepare(block: bytes, message: bytes) -> Prepared:
    """Frame a request with a header block (`request_block`) and its only message.

    Raises ValueError for a header block that does not fit one frame.
    """
    if len(block) > fr.MIN_MAX_FRAME:
        raise ValueError(f"a header block of {len(block)} bytes is too large")
    third = msg.frame_message(message)
    first = _head(len(block), fr.HEADERS, fr.END_HEADERS)
    second = block + _head(len(third), fr.DATA, fr.END_STREAM)
    pack = struct.Struct(f">{len(first)}sI{len(second)}sI{len(third)}s").pack
    return Prepared(pack, first, second, third, len(third), block, message)


class _Layout(NamedTuple):
    """What recognizes an answer whose message has a certain size."""

    unpack: Callable[[bytes, int], tuple[Any, ...]]
    total: int
    """Bytes of the three frames."""
    data: int
    """Of these, what counts against windows."""
    middle: bytes
    """The leading header block and the head of DATA."""
    prefix: bytes
    """The message's."""


class _Answer:
    """The header blocks of a server's answers, and the layouts that they make."""

    def __init__(self, leading: bytes, trailing: bytes, changes: int) -> None:
        self.leading = leading
        self.trailing = trailing
        self.changes = changes
        """Of the decoder: when it moves, the same bytes may mean something else."""
        self.first = _head(len(leading), fr.HEADERS, fr.END_HEADERS)
        self.third = _head(len(trailing), fr.HEADERS, _END)
        self.data_at = fr.HEADER_BYTES + len(leading)
        """Where the head of DATA begins."""
        self.least = self.data_at + 2 * fr.HEADER_BYTES + len(trailing) + msg.PREFIX_BYTES
        self._layouts: dict[int, _Layout] = {}

    def layout(self, size: int) -> _Layout:
        """That of an answer whose DATA has `size` bytes."""
        known = self._layouts.get(size)
        if known is None:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            middle = self.leading + _head(size, fr.DATA, 0)
            length = size - msg.PREFIX_BYTES
            form = f">5sI{len(middle)}sI5s{length}x5sI{len(self.trailing)}s"
            known = _Layout(
                struct.Struct(form).unpack_from,
                struct.calcsize(form),
                size,
                middle,
                msg.PREFIX.pack(0, length),
            )
            self._layouts[size] = known
        return known


class BurstConnection(ClientConnection):
    """A connection that we have opened, for bursts of calls."""

    def __init__(self, limits: Limits, on_output: Callable[[], None]) -> None:
        self.answered: list[Any] = []
        """Tags of calls that ended with OK and a message, in this order; the driver takes them."""
        self.unanswered: list[ClientCall] = []
        """Calls that ended otherwise; `owner` is the tag. The driver takes them."""
        self._light: dict[int, Any] = {}
        self._leading_block: bytes | None = None
        self._trailing_block: bytes | None = None
        self._answer: _Answer | None = None
        self._layout: _Layout | None = None
        super().__init__(limits, on_output)
        self._fast_way = _usual_answers

    @property
    def open_streams(self) -> int:
        """See Connection."""
        return len(self._streams) + len(self._light)

    @property
    def can_begin(self) -> bool:
        """See ClientConnection."""
        return self.free > 0

    @property
    def free(self) -> int:
        """How many calls can be begun now."""
        if not self.usable:
            return 0
        ids = (fr.MAX_STREAM_ID - self.last_stream_id) // 2
        return max(0, min(self.max_streams, MAX_STREAMS) - self.open_streams) if ids > MAX_STREAMS else 0

    @property
    def usable(self) -> bool:
        """See ClientConnection; a connection is given up some calls before its last."""
        return super().usable and self.last_stream_id < fr.MAX_STREAM_ID - 2 * MAX_STREAMS

    # Calling

    def begin_many(self, calls: Sequence[Prepared], tags: Sequence[Any]) -> None:
        """Begin calls, not more than are `free`; the tags come back in `answered` or as `owner`.

        Tags grow from call to call where `expire` is to be used.
        """
        first = 0
        if calls and not self.last_stream_id:
            # The connection's first call may have to say something about the header table.
            self._begin_ordinary(calls[0], tags[0])
            first = 1
        sizes = [call.size for call in calls[first:]]
        if not sizes:
            return
        largest, total = max(sizes), sum(sizes)
        if total > self.send_window or largest > min(self._peer_window, self._peer_max_frame):
            for call, tag in zip(calls[first:], tags[first:], strict=True):
                self._begin_ordinary(call, tag)
            return
        start = self.last_stream_id + 2
        ids = range(start, start + 2 * len(sizes), 2)
        self._out += [pack(a, i, b, i, c) for (pack, a, b, c, *_), i in zip(calls[first:], ids, strict=True)]
        self._light.update(zip(ids, tags[first:], strict=True))
        self.last_stream_id = ids[-1]
        self.send_window -= total
        self._active = True
        self._notify()

    def expire(self, limit: Any) -> list[Any]:
        """Cancel the calls whose tag is at most `limit`, oldest first; returns their tags."""
        gone = []
        for stream_id, tag in self._light.items():
            if tag > limit:
                break
            gone.append(stream_id)
        tags = [self._light.pop(stream_id) for stream_id in gone]
        self._out += [fr.rst_stream(stream_id, fr.CANCEL) for stream_id in gone]
        if gone:
            self._notify()
        for call in [each for each in self._streams.values() if each.owner <= limit]:
            call.on_end = _nothing
            self.cancel(call)
            tags.append(call.owner)
        return tags

    def _begin_ordinary(self, call: Prepared, tag: Any) -> None:
        self.begin_unary(call.block, call.message, self._note, tag)

    def _note(self, call: ClientCall) -> None:
        """An ordinary call is over."""
        if _is_ok(call.status):
            if call.messages:
                self.answered.append(call.owner)
                return
            call.status = _NO_MESSAGE
        self.unanswered.append(call)

    # Receiving

    def usual(self, data: bytes, at: int) -> int:
        """See FastWay: answers that are recognized in one piece. What follows them meets an ordinary call."""
        if not self._light:
            return at
        end = len(data)
        if self._answer is not None and self._block is None:
            at = self._answers(data, at, end, self._answer)
        if end - at >= fr.HEADER_BYTES:
            head, _, stream_id = fr.HEADER.unpack_from(data, at)
            if head & 0xFF in _CONCERNED:
                self._make_ordinary(stream_id & fr.MAX_STREAM_ID)
        return at

    def _answers(self, data: bytes, at: int, end: int, answer: _Answer) -> int:
        """Take the answers at `at` that are whole and as always; returns where they end."""
        if self._decoder.changes != answer.changes:
            return at
        while True:
            if self._layout is not None:
                at = self._run(data, at, end, answer, self._layout)
            # Not such a one: perhaps of another size.
            if end - at < answer.least or data[at : at + 5] != answer.first:
                return at
            head, flags, _ = fr.HEADER.unpack_from(data, at + answer.data_at)
            size = head >> 8
            if head & 0xFF != fr.DATA or flags or not msg.PREFIX_BYTES <= size <= _LARGEST_ANSWER:
                return at
            layout = answer.layout(size)
            if layout is self._layout or end - at < layout.total:
                return at
            self._layout = layout

    def _run(self, data: bytes, at: int, end: int, answer: _Answer, layout: _Layout) -> int:
        """Take the answers of one size at `at`; returns where they end."""
        unpack, total, size, middle, prefix = layout
        first, third, trailing = answer.first, answer.third, answer.trailing
        pop, light, begun = self._light.pop, self._light, at
        tell = self.answered.append
        while end - at >= total:
            a, one, b, two, c, d, three, e = unpack(data, at)
            if one != two or one != three or one not in light:
                break
            if b != middle or e != trailing or c != prefix or a != first or d != third:
                break
            tell(pop(one))
            at += total
        if at > begun:
            self._take_window((at - begun) // total * size)
        return at

    def _block_complete(self, stream_id: int, block: bytes, end_stream: int) -> None:
        """See Connection. Learns what answers look like."""
        call = self._streams.get(stream_id)
        super()._block_complete(stream_id, block, end_stream)
        head = self._memo.get(block)
        if call is None or head is None:
            return
        if not end_stream:
            if head.is_grpc and head.encoding is None:
                self._leading_block = block
        elif head.http_status is None and _is_ok(head.status):
            self._trailing_block = block
        known = self._answer
        leading, trailing, changes = self._leading_block, self._trailing_block, self._decoder.changes
        if leading not in self._memo or trailing not in self._memo or leading is None or trailing is None:
            self._answer = None
        elif known is None or (known.leading, known.trailing, known.changes) != (leading, trailing, changes):
            self._answer = _Answer(leading, trailing, changes)
            self._layout = None

    # Light calls as the engine knows calls

    def _make_ordinary(self, stream_id: int) -> None:
        if stream_id in self._light:
            tag = self._light.pop(stream_id)
            call = ClientCall(stream_id, (self._peer_window, self._stream_window), self._note, None, tag)
            call.single = True
            call.sending = False
            self._streams[stream_id] = call

    def _make_all_ordinary(self, above: int = 0) -> None:
        for stream_id in [each for each in self._light if each > above]:
            self._make_ordinary(stream_id)

    def _went_away(self, last_stream_id: int, code: int) -> None:
        self._make_all_ordinary(last_stream_id)
        super()._went_away(last_stream_id, code)

    def _abort_all(self) -> None:
        self._make_all_ordinary()
        super()._abort_all()


def _usual_answers(connection: Connection, data: bytes, at: int) -> int:
    assert isinstance(connection, BurstConnection)
    return connection.usual(data, at)


def _head(size: int, kind: int, flags: int) -> bytes:
    """The first five bytes of a frame: all of its header but the stream's id."""
    return fr.HEADER.pack(size << 8 | kind, flags, 0)[:5]


def _is_ok(status: Status | None) -> bool:
    return status is not None and status.status_code is StatusCode.OK


def _nothing(_: ClientCall) -> None:
    """Nobody wants to know."""
