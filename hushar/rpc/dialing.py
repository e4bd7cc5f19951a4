"""How a connection to a server is made: TCP or a unix socket, TLS, and the server's first frame."""

import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from hushar.rpc.client_engine import ClientConnection
from hushar.rpc.client_errors import ConnectionLostError
from hushar.rpc.limits import Limits
from hushar.rpc.links import Link, LinkLost, TlsLink
from hushar.rpc.wire import Wire

CONNECT_SECONDS: Final = 20.0
"""For the connection, TLS and the server's first frame together; what gRPC clients wait."""
_UNIX: Final = "unix:"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is, and how it is spoken to."""

    host: str
    """A name, an IP address (IPv6 without brackets), or `unix:PATH`."""
    port: int
    """Means nothing for a unix socket."""
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    """Who the certificate is for; None: `host`."""

    @property
    def authority(self) -> str:
        """The `:authority` of calls."""
        if self.host.startswith(_UNIX):
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def scheme(self) -> str:
        """The `:scheme` of calls."""
        return "http" if self.ssl_context is None else "https"

    def __str__(self) -> str:
        return self.host if self.host.startswith(_UNIX) else self.authority


async def dial(
    target: Target,
    limits: Limits,
    on_turn: Callable[[Wire], None],
    engine: type[ClientConnection] = ClientConnection,
) -> Wire:
    """A connection whose server has shown that it speaks HTTP/2; `engine` makes its engine.

    Raises ConnectionLostError.
    """
    wire = None
    with trio.move_on_after(CONNECT_SECONDS):
        wire = Wire(await _open(target), limits, on_turn, engine)
        try:
            await _greet(wire, target)
        except BaseException:
            wire.close("no connection was made")
            raise
        return wire
    if wire is None or not wire.link.established:
        raise ConnectionLostError(f"cannot connect to {target} within {CONNECT_SECONDS:g} s")
    raise ConnectionLostError(f"no gRPC server at {target}: no answer within {CONNECT_SECONDS:g} s")


async def _open(target: Target) -> Link:
    """A connected socket, TLS not yet begun."""
    try:
        stream = await _stream(target)
    except (OSError, UnicodeError) as error:
        raise ConnectionLostError(f"cannot connect to {target}: {_reason(error)}") from error
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    context = target.ssl_context
    if context is None:
        return Link(sock)
    try:
        context.set_alpn_protocols(["h2"])
        return TlsLink(sock, context, server_hostname=target.server_hostname or target.host)
    except (ValueError, OSError) as error:
        sock.close()
        raise ConnectionLostError(f"cannot connect to {target}: {_reason(error)}") from error


async def _stream(target: Target) -> trio.SocketStream:
    if target.host.startswith(_UNIX):
        return await trio.open_unix_socket(target.host.removeprefix(_UNIX))
    return await trio.open_tcp_stream(target.host, target.port)


async def _greet(wire: Wire, target: Target) -> None:
    """Shake hands, send the preface and our SETTINGS, and wait for the server's."""
    link, engine = wire.link, wire.engine
    try:
        if isinstance(link, TlsLink):
            link.begin()
        wire.flush()
        while not engine.greeted and not engine.failed:
            if link.pending_bytes:
                await trio.lowlevel.wait_writable(link.sock)
                wire.flush()
            else:
                await trio.lowlevel.wait_readable(link.sock)
                wire.receive()
    except LinkLost as error:
        if isinstance(link, TlsLink) and not link.established:
            raise ConnectionLostError(f"cannot connect to {target}: {_tls_reason(error)}") from error
        raise ConnectionLostError(f"no gRPC server at {target}: {wire.reason(error)}") from error
    if not engine.greeted:
        raise ConnectionLostError(f"no gRPC server at {target}: it does not speak HTTP/2")


def _tls_reason(error: LinkLost) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError):
        return _reason(cause)
    return "the server broke off the TLS handshake"


def _reason(error: Exception) -> str:
    """Why a connection could not be made: the operating system's or OpenSSL's words, without numbers."""
    cause: BaseException = error
    while not isinstance(cause, ssl.SSLError) and cause.__cause__ is not None:
        cause = cause.__cause__
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason or cause})"
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)
    return getattr(cause, "strerror", None) or str(cause)
