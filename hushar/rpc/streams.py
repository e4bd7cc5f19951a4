"""The state of one stream, for both roles, and of a call at the server, which `_calls.pyx` has compiled.

Theory of operation. RFC 9113 (section 5.1) has seven states; four of them need no record, because a
server pushes nothing: a stream that was never opened is *idle* (its id is above all that came), one that
is over is *closed* (its id is not, and there is no record). For the rest two booleans are the state:

    receiving  sending      state
    open       open         open
    closed     open         half-closed (remote)
    open       closed       half-closed (local)
    closed     closed       closed: the record is dropped

The engine drops a record as soon as both are closed or a RST_STREAM went either way. Ids of streams that
we reset are kept for a while, since what the peer had sent before it learned of that is to be ignored.
"""

import math
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from hushar.rpc.messages import MessageReader

if TYPE_CHECKING:
    from hushar.rpc.calls import Request
    from hushar.rpc.header_blocks import Field
    from hushar.rpc.request_head import RequestHead
    from hushar.rpc.server_engine import ServerConnection


class Stream:
    """What both roles keep of a stream."""

    __slots__ = (
        "id",
        "queue",
        "queued",
        "reader",
        "receive_window",
        "receiving",
        "send_window",
        "sending",
        "trailers",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.receiving = True
        self.sending = True
        self.send_window = send_window
        """Bytes of DATA that the peer takes on this stream; negative after it shrank its setting."""
        self.receive_window = receive_window
        """Bytes of DATA that we have allowed the peer."""
        self.reader: MessageReader | None = None
        self.queue: deque[bytes] | None = None
        """DATA that waits for a window, oldest first; None while nothing waits."""
        self.queued = 0
        """Bytes in `queue`."""
        self.trailers: bytes | None = None
        """What ends the stream once `queue` is empty: HEADERS with END_STREAM, or an empty DATA frame."""


class CallState(Stream):
    """What a server keeps of a call: its stream, the request, how far the answer is. See RawCall."""

    __slots__ = (
        "_request",
        "answer_encoding",
        "answered",
        "compressed",
        "connection",
        "deadline",
        "handler",
        "head",
        "held",
        "leading",
        "leading_sent",
        "message",
        "over",
        "started",
        "trailing",
        "unusual",
    )

    def __init__(self, connection: "ServerConnection", stream_id: int, head: "RequestHead") -> None:
        Stream.__init__(self, stream_id, connection._peer_window, connection._stream_window)
        self.connection = connection
        self.head = head
        self.message = b""
        """The request, once it is complete (of a method with one request)."""
        self.deadline = math.inf
        """On the driver's clock."""
        self.started: float = connection._now
        """When its header block came."""
        self.over = False
        """Nobody waits for more: answered, cancelled, past its deadline, or the connection is lost."""
        self.answered = False
        """Over by an answer of ours."""
        self.handler: Any = None
        """What the driver keeps of a call that has a task."""
        self._request: Request | None = None
        self.compressed = False
        """A message of the request was compressed."""
        self.held = 0
        """Its part of the server's budget of bytes."""
        self.unusual = False
        """There is metadata, or compression, or something was sent: no case for the fast way."""
        self.leading: list[Field] | None = None
        self.leading_sent = False
        self.answer_encoding: bytes | None = None
        """`grpc-encoding` as it was sent."""
        self.trailing: list[Field] | None = None


class RecentlyReset:
    """The ids of the last streams that we have reset; what still comes on them is ignored."""

    __slots__ = ("_ids", "_limit", "_order")

    LIMIT: ClassVar[int] = 1024

    def __init__(self, streams: int = 0) -> None:
        """`streams`: those that the peer may have open at once. All of them may be reset before it knows."""
        self._limit = max(self.LIMIT, streams)
        self._ids: set[int] = set()
        self._order: deque[int] = deque()

    def add(self, stream_id: int) -> None:
        """Remember an id, and forget the oldest where there are too many."""
        if stream_id in self._ids:
            return
        self._ids.add(stream_id)
        self._order.append(stream_id)
        if len(self._order) > self._limit:
            self._ids.discard(self._order.popleft())

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._ids
