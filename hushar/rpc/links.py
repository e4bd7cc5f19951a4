"""The bytes of one connection to and from its socket, plain or through TLS. Never blocks.

TLS is sans-IO in Python too: an SSLObject between two memory BIOs. So both kinds have the same two
methods, and one reader serves them all.
"""

import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

RECEIVE_BYTES: Final = 65536
"""A larger buffer would be mapped and unmapped by the allocator at every call."""


class LinkLost(Exception):
    """The peer has closed, reset, or broken TLS."""


class Link:
    """A plain connection. Output that the socket does not take is kept until it does."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.descriptor = sock.fileno()
        self.closed = False
        self.established = True
        """Whether the handshake is over; always, without TLS."""
        self.on_established: Callable[[], None] | None = None
        """Called when it is, before anything that came through it is read. May raise LinkLost."""
        self.portion = RECEIVE_BYTES
        """The most bytes that are received at once; less where they take long to be worked through."""
        self._pending: deque[memoryview] = deque()
        self.pending_bytes = 0
        """Output that the socket has not taken yet."""

    def receive(self) -> bytes:
        """What has come; empty if nothing has yet. Raises LinkLost."""
        try:
            data = self.sock.recv(self.portion)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            raise LinkLost(str(error)) from error
        if not data:
            raise LinkLost("closed by the peer")
        return data

    def send(self, data: bytes) -> bool:
        """Send, or keep what the socket does not take. Returns whether it took anything; LinkLost."""
        if self._pending:
            if data:
                self._keep(memoryview(data))
            return self._send_pending()
        if not data:
            return False
        sent = self._send(data)
        if sent < len(data):
            self._keep(memoryview(data)[sent:])
        return sent > 0

    def _keep(self, data: memoryview) -> None:
        self._pending.append(data)
        self.pending_bytes += len(data)

    def _send_pending(self) -> bool:
        progress = False
        while self._pending:
            data = self._pending[0]
            sent = self._send(data)
            progress = progress or sent > 0
            self.pending_bytes -= sent
            if sent < len(data):
                self._pending[0] = data[sent:]
                break
            self._pending.popleft()
        return progress

    def _send(self, data: Any) -> int:
        if self.closed:
            raise LinkLost("closed")
        try:
            return self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise LinkLost(str(error)) from error

    def end(self) -> None:
        """Send nothing more; what the peer still sends can be read."""
        self._shut(socket.SHUT_WR)

    def _shut(self, half: int) -> None:
        with suppress(OSError):
            self.sock.shutdown(half)

    def close(self) -> None:
        """Release the socket."""
        self._pending.clear()
        self.pending_bytes = 0
        self.closed = True
        self.sock.close()

    def peer_certificate(self) -> Any:
        """The peer's certificate; None without TLS."""
        return None

    def protocol(self) -> str | None:
        """What ALPN has agreed on; None without TLS."""
        return None


class TlsLink(Link):
    """A connection through TLS."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None = None
    ) -> None:
        super().__init__(sock)
        self.established = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        self._waiting: list[bytes] = []

    def begin(self) -> None:
        """Start the handshake, at the client."""
        self._shake_hands()

    def receive(self) -> bytes:
        """See Link; also carries the handshake on."""
        try:
            data = super().receive()
        except LinkLost:
            self._incoming.write_eof()
            raise
        if data:
            self._incoming.write(data)
        if not self.established:
            self._shake_hands()
            if not self.established:
                return b""
        parts = []
        try:
            while part := self._tls.read(RECEIVE_BYTES):
                parts.append(part)
            # The peer has closed TLS. So that the next pass meets the end even where its socket stays open:
            self._shut(socket.SHUT_RD)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise LinkLost(f"TLS: {error.reason}") from error
        # What TLS itself has to say (tickets, key updates).
        super().send(self._outgoing.read())
        return b"".join(parts)

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            super().send(self._outgoing.read())
            return
        except ssl.SSLError as error:
            self._flush_alert()
            raise LinkLost(f"TLS handshake: {error.reason}") from error
        self.established = True
        if self.on_established is not None:
            self.on_established()
        waiting, self._waiting = b"".join(self._waiting), []
        self.send(waiting)

    def _flush_alert(self) -> None:
        """Tell the peer why, as far as that is possible."""
        with suppress(LinkLost):
            super().send(self._outgoing.read())

    def send(self, data: bytes) -> bool:
        """See Link."""
        if not self.established:
            if data:
                self._waiting.append(data)
            return super().send(b"")
        if data:
            try:
                self._tls.write(data)
            except ssl.SSLError as error:
                raise LinkLost(f"TLS: {error.reason}") from error
        return super().send(self._outgoing.read())

    def end(self) -> None:
        """See Link."""
        if self.established:
            with suppress(ssl.SSLError, ValueError):
                self._tls.unwrap()
            self._flush_alert()
        super().end()

    def peer_certificate(self) -> Any:
        """See Link; None where the client showed none."""
        return self._tls.getpeercert() or None

    def protocol(self) -> str | None:
        """See Link."""
        return self._tls.selected_alpn_protocol()
