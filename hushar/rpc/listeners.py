"""Listening sockets: host and port, and a unix socket."""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio

BACKLOG: Final = 1024
_ATTEMPTS: Final = 16
"""How often another port is tried where the one that was picked is taken on the host's other address."""
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


async def bind(host: str, port: int, *, reuse_port: bool = False) -> tuple[list[socket.socket], int]:
    """Sockets that listen on every address of `host`, all on one port, which is returned too.

    Port 0 picks one. An address that this machine does not have (no IPv6) is left out where the host has
    another. Raises OSError.
    """
    found = await trio.socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )
    addresses = list(dict.fromkeys(found))
    for attempt in range(_ATTEMPTS):
        try:
            return _bind_all(addresses, port, reuse_port=reuse_port)
        except OSError as error:
            again = error.errno == errno.EADDRINUSE and port == 0 and len(addresses) > 1
            if not again or attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError("not reached")


def _bind_all(
    addresses: Sequence[tuple[Any, ...]], port: int, *, reuse_port: bool
) -> tuple[list[socket.socket], int]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, address in addresses:
            try:
                sock = _listening(family, kind, protocol, (address[0], port, *address[2:]), reuse_port)
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
                continue
            sockets.append(sock)
            port = sock.getsockname()[1]
    except BaseException:
        close_all(sockets)
        raise
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, "the host has no address")
    return sockets, port


def _listening(
    family: int, kind: int, protocol: int, address: tuple[Any, ...], reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_unix(path: str) -> socket.socket:
    """A socket that listens on a path. A stale file is replaced; one in use is an OSError.

    The error's `filename` is the path.
    """
    try:
        if _is_socket(path):
            _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.bind(path)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error
    return sock


def _remove_stale(path: str) -> None:
    """Remove the file of a socket that nobody listens on; OSError if somebody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except FileNotFoundError:
            pass
        except BlockingIOError:
            # Its queue is full.
            raise OSError(errno.EADDRINUSE, "in use") from None
        else:
            raise OSError(errno.EADDRINUSE, "in use")


def _is_socket(path: str) -> bool:
    try:
        return Path(path).is_socket()
    except (OSError, ValueError):
        return False


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close them, and remove the files of unix sockets."""
    for sock in sockets:
        path = sock.getsockname() if sock.fileno() >= 0 and sock.family == socket.AF_UNIX else None
        sock.close()
        if path and _is_socket(path):
            with suppress(OSError):
                Path(path).unlink()
