"""One connection to a server: how it is made, and closed."""

import datetime
import math
import os
import ssl
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import anyio
import trio
from anyio.abc import ByteStream
from purerpc.grpclib.config import GRPCConfiguration

import hushar
from hushar.client.address import Address
from hushar.client.connection import ClientSocket
from hushar.client.errors import ConnectionFailed

CONNECT_SECONDS: Final = 20.0
"""For the connection, TLS and the server's first frame together; what gRPC clients wait."""
MAX_MESSAGE_BYTES: Final = 64 << 20
"""Of an answer, and of a request: the server's default for what it sends."""
_MAX_TIMEOUT: Final = 10**8  # grpc-timeout has eight digits at most


class Channel:
    """What `purerpc.Client` takes for a channel. An async context manager; inside, it is connected.

    Entering raises ConnectionFailed. Several calls at once are fine, from one trio run.
    """

    def __init__(
        self, address: Address, ssl_context: ssl.SSLContext | None, timeout_seconds: float | None
    ) -> None:
        """`timeout_seconds` is told to the server with every call; to wait no longer is up to the caller."""
        self._address = address
        self._ssl_context = ssl_context
        self._timeout = wire_timeout(timeout_seconds)
        self._stack = AsyncExitStack()
        # What purerpc.Client reads: the two strings make the :authority.
        self._host, _, self._port = str(address).rpartition(":")
        self._grpc_socket: ClientSocket | None = None

    async def __aenter__(self) -> Self:
        deadline = trio.current_time() + CONNECT_SECONDS
        try:
            await self._connect(deadline)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The block's exception is not shown to purerpc's task groups: they would wrap it into a group.
        await self._close()

    @property
    def closed_because(self) -> str | None:
        """Why no new call can be made, as a sentence; None while one can."""
        if self._grpc_socket is None:
            return "the client is not connected"
        return self._grpc_socket.closed_because

    async def _connect(self, deadline: float) -> None:
        stream = None
        with trio.CancelScope(deadline=deadline):
            stream = await self._open_stream()
        if stream is None:
            raise ConnectionFailed(f"cannot connect to {self._address} within {CONNECT_SECONDS:g} s")
        self._stack.push_async_callback(anyio.aclose_forcefully, stream)
        config = GRPCConfiguration(
            client_side=True,
            user_agent=f"hushar-client/{hushar.__version__}",
            message_accept_encoding=("identity",),
            max_message_length=MAX_MESSAGE_BYTES,
        )
        self._grpc_socket = ClientSocket(config, stream, self._timeout)
        await self._stack.enter_async_context(self._grpc_socket)
        with trio.CancelScope(deadline=deadline):
            await self._grpc_socket.settled.wait()
        if not self._grpc_socket.settled.is_set():
            raise ConnectionFailed(
                f"no gRPC server at {self._address}: no answer within {CONNECT_SECONDS:g} s"
            )
        if self.closed_because is not None:
            raise ConnectionFailed(f"no gRPC server at {self._address}: {self.closed_because}")

    async def _open_stream(self) -> ByteStream:
        try:
            host, port = self._address
            if self._ssl_context is None:
                return await anyio.connect_tcp(host, port)
            return await anyio.connect_tcp(
                host, port, ssl_context=self._ssl_context, tls_standard_compatible=False
            )
        except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise ConnectionFailed(
                f"cannot connect to {self._address}: the server broke off the TLS handshake"
            ) from error
        except (OSError, UnicodeError) as error:
            raise ConnectionFailed(f"cannot connect to {self._address}: {_reason(error)}") from error

    async def _close(self) -> None:
        if self._grpc_socket is not None:
            self._grpc_socket.shut("the client was closed")
        await self._stack.aclose()


def wire_timeout(seconds: float | None) -> datetime.timedelta | None:
    """A time-out as purerpc can put it into eight digits: in microseconds below 100 s, else in seconds,
    rounded up; None for none, or for one that is too long to be told.
    """
    if seconds is None or seconds >= _MAX_TIMEOUT:
        return None
    micros = math.ceil(seconds * 1e6)
    if micros < _MAX_TIMEOUT:
        return datetime.timedelta(microseconds=max(micros, 1))
    return datetime.timedelta(seconds=math.ceil(seconds))


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
