"""The sockets of a FaultyProxy: connections of clients, requests on them, what is behind the proxy."""

import contextlib
import http.client
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from hushar.testing.exchanges import FORM, Answer, Request
from hushar.testing.faults import Fault

UPSTREAM_SECONDS: Final = 60
"""How long what is behind the proxy may take for an answer."""
_ONE_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})
_NO_LINGER: Final = struct.pack("ii", 1, 0)

Arrived = Callable[[str, str, Mapping[str, str], bytes], tuple[Request, Fault | None]]
"""Method, target, headers (names in lower case), body of a form: what the request is, and its fault."""


class ProxyServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1, a thread a connection; it knows its connections, so that it can end them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, port: int, upstream: tuple[str, int], arrived: Arrived, closed: threading.Event
    ) -> None:
        self.upstream = upstream
        self.arrived = arrived
        self.closed = closed
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The thread of a connection has ended."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End every connection; their threads see it."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that is gone is nothing to talk about; everything else is a mistake in here."""
        if not isinstance(sys.exception(), (OSError, http.client.HTTPException)):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ProxyServer

    def handle_expect_100(self) -> bool:
        """Whoever reads the body says that it may come."""
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """The counts of the proxy say what there was."""

    def serve_request(self) -> None:
        """Take one request and do what is to be done with it."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = _Body(self, headers)
        is_form = headers.get("content-type", "").startswith(FORM)
        form = body.read() if is_form else b""
        request, fault = self.server.arrived(self.command, self.path, headers, form)
        exchange = _Exchange(self, request, body, form)
        if fault is not None:
            fault.act(exchange)
        else:
            exchange.answer(exchange.forward())
        if not body.at_end:
            self.close_connection = True

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = serve_request  # noqa: N815


class _Body:
    """The body of a request, read from the connection when somebody asks for it."""

    def __init__(self, connection: _Connection, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self._expected = headers.get("expect", "").lower() == "100-continue"
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        self._left = 0 if self._chunked else int(headers.get("content-length", "0"))
        self.at_end = not self._chunked and not self._left

    def read(self, size: int | None = None) -> bytes:
        """The next `size` bytes, or all that is left. Raises EOFError-like OSErrors where it is cut."""
        parts = []
        while not self.at_end and (size is None or size > 0):
            part = self._next(size)
            parts.append(part)
            if size is not None:
                size -= len(part)
        return b"".join(parts)

    def _next(self, size: int | None) -> bytes:
        """Some bytes, at most `size`; empty only at the end of a chunked body."""
        if self._expected:
            self._expected = False
            self._connection.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._left:  # between two chunks
            self._left = int(self._line().partition(b";")[0], 16)
            if not self._left:
                while self._line():
                    pass  # trailers
                self.at_end = True
                return b""
        part = self._connection.rfile.read(min(self._left, 1 << 20, self._left if size is None else size))
        if not part:
            raise ConnectionAbortedError("the client ended the connection within its request")
        self._left -= len(part)
        if not self._left:
            if self._chunked:
                self._line()
            else:
                self.at_end = True
        return part

    def _line(self) -> bytes:
        line = self._connection.rfile.readline(65536)
        if not line.endswith(b"\n"):
            raise ConnectionAbortedError("the client ended the connection within its request")
        return line.rstrip(b"\r\n")


class _Exchange:
    """An Exchange (hushar/testing/faults.py): one request on a connection."""

    def __init__(self, connection: _Connection, request: Request, body: _Body, form: bytes) -> None:
        self.request = request
        self._connection = connection
        self._body = body
        self._read = [form]

    def read(self, size: int | None = None) -> bytes:
        """See Exchange."""
        part = self._body.read(size)
        self._read.append(part)
        return part

    def forward(self, body: bytes | None = None) -> Answer:
        """See Exchange."""
        self.read()
        body = b"".join(self._read) if body is None else body
        request = self.request
        host, port = self._connection.server.upstream
        upstream = http.client.HTTPConnection(host, port, timeout=UPSTREAM_SECONDS)
        with contextlib.closing(upstream):
            upstream.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in self._connection.headers.items():
                if name.lower() not in _ONE_HOP:
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body)
            response = upstream.getresponse()
            to_head = request.method == "HEAD"
            dropped = _ONE_HOP - {"content-length"} if to_head else _ONE_HOP
            kept = [(name, value) for name, value in response.getheaders() if name.lower() not in dropped]
            return Answer(response.status, kept, response.read(), to_head)

    def send(self, data: bytes) -> None:
        """See Exchange."""
        self._connection.wfile.write(data)

    def answer(self, answer: Answer) -> None:
        """See Exchange."""
        self.send(answer.whole())

    def close(self) -> None:
        """See Exchange."""
        self._connection.close_connection = True

    def reset(self) -> None:
        """See Exchange."""
        self.close()
        socket_ = self._connection.connection
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        # At once: what ends a connection in the orderly way sends a FIN first.
        os.close(socket_.detach())

    def wait(self, seconds: float | None) -> bool:
        """See Exchange."""
        return self._connection.server.closed.wait(seconds)
