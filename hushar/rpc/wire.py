"""One connection of a channel: its link, its engine, and the two tasks that move bytes between them.

Theory of operation. A `turn` ends every piece of work on a wire: the channel takes note of the calls that
have ended and begins those that wait, then all output goes out with one `send`. The reader takes a turn
after each read. Output that appears outside of a turn (somebody begins or cancels a call) wakes the writer,
which takes one in the next pass of the event loop: what many tasks ask for in one pass leaves together.
"""

from collections.abc import Callable
from typing import Final

import trio

from hushar.rpc.client_engine import ClientCall, ClientConnection
from hushar.rpc.limits import Limits
from hushar.rpc.links import Link, LinkLost

_PING: Final = b"hushar-k"


class Wire:
    """A connection, until it is closed. Its methods are called in the event loop's thread."""

    def __init__(
        self,
        link: Link,
        limits: Limits,
        on_turn: Callable[["Wire"], None],
        engine: type[ClientConnection] = ClientConnection,
    ) -> None:
        """`on_turn` is to look at `ended`; it must not raise. `engine` makes the connection's engine."""
        self.link = link
        self.ended: list[ClientCall] = []
        """Calls that are over and that the channel has not looked at."""
        self.room = trio.lowlevel.ParkingLot()
        """Senders that wait until less is waiting to be sent."""
        self._on_turn = on_turn
        self.on_close: Callable[[Wire], None] | None = None
        """Called before the socket is closed, for whoever watches it."""
        self._flusher = trio.lowlevel.ParkingLot()
        self._taking_turn = False
        self.received_at = trio.current_time()
        """When the server was heard last."""
        self.engine = engine(limits, self._has_output)

    def _has_output(self) -> None:
        self._flusher.unpark()

    # Tasks

    async def read(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Feed the engine until the connection ends."""
        task_status.started()
        try:
            while not self.link.closed:
                await trio.lowlevel.wait_readable(self.link.sock)
                self.poll()
        except trio.ClosedResourceError:
            # `close` was called while we waited.
            return

    async def write(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send what appears, and what the socket did not take at once."""
        task_status.started()
        try:
            while not self.link.closed:
                if self.link.pending_bytes:
                    await trio.lowlevel.wait_writable(self.link.sock)
                elif not self.engine.dirty:
                    await self._flusher.park()
                self.turn()
        except trio.ClosedResourceError:
            return

    async def keep_alive(
        self,
        seconds: float,
        grace: float,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Close the connection where calls are under way and the server is silent for too long.

        After `seconds` without a byte from it a PING goes out; no byte for `grace` seconds more is the end.
        """
        task_status.started()
        while not self.link.closed:
            await trio.sleep_until(self.received_at + seconds)
            if trio.current_time() < self.received_at + seconds:
                continue
            if not self.engine.open_streams:
                await trio.sleep(seconds)
                continue
            asked_at = trio.current_time()
            self.engine.send_ping(_PING)
            await trio.sleep(grace)
            if self.received_at < asked_at:
                self.close(f"the server did not answer a ping within {grace:g} s")

    # Work

    def poll(self) -> None:
        """Read what has come, and take a turn if there was anything."""
        if self.link.closed or self._taking_turn:
            return
        try:
            came = self.receive()
        except LinkLost as error:
            self.close(self.reason(error))
            return
        if came or self.link.pending_bytes:
            self.turn()

    def receive(self) -> bool:
        """Feed the engine once; whether there was anything. Raises LinkLost."""
        data = self.link.receive()
        if not data:
            return False
        # Whoever receives takes a turn: the writer need not.
        self.engine.dirty = True
        self.received_at = trio.current_time()
        self.engine.receive_data(data, self.received_at)
        return True

    def turn(self) -> None:
        """See above."""
        if self.link.closed:
            return
        self.engine.dirty = True
        self._taking_turn = True
        self._on_turn(self)
        self._taking_turn = False
        try:
            self.flush()
        except LinkLost as error:
            self.close(self.reason(error))
            return
        if self.room:
            self.room.unpark_all()
        if self.link.pending_bytes:
            # The writer waits for the socket.
            self._flusher.unpark()
        engine = self.engine
        if not engine.open_streams and not self.link.pending_bytes and not engine.usable:
            self.close(engine.end_reason or "no stream is left on the connection")

    def hurry(self) -> None:
        """Send now what was begun now: for the only call under way, which nothing else would join."""
        if self.engine.open_streams == 1 and not self._taking_turn:
            self.turn()

    def flush(self) -> None:
        """Send the engine's output, unless too much of it is waiting already. Raises LinkLost."""
        link, engine = self.link, self.engine
        engine.dirty = False
        begun = engine.last_stream_id
        if link.pending_bytes < engine.limits.connection_send_buffer_bytes:
            link.send(engine.data_to_send())
            engine.sent_through = begun
        else:
            link.send(b"")
        engine.unsent = link.pending_bytes

    @property
    def has_room(self) -> bool:
        """Whether more may be sent without being kept for long."""
        return self.link.pending_bytes < self.engine.limits.connection_send_buffer_bytes

    def reason(self, error: LinkLost) -> str:
        """Why the link was lost, as a sentence."""
        if isinstance(error.__cause__, OSError) and error.__cause__.strerror:
            return f"the connection broke ({error.__cause__.strerror})"
        return "the server closed the connection"

    def close(self, reason: str) -> None:
        """The connection is over, and all its calls with it; `reason` is a sentence."""
        if self.link.closed:
            return
        if self.on_close is not None:
            self.on_close(self)
        trio.lowlevel.notify_closing(self.link.sock)
        self.link.close()
        self.engine.dirty = True
        self.engine.lost_because(reason)
        self._on_turn(self)
        self.room.unpark_all()
        self._flusher.unpark_all()
