"""Listening sockets: host and port, and a unix socket."""

import errno
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

_BACKLOG: Final = 1024


async def bind(host: str, port: int, *, reuse_port: bool = False) -> tuple[list[socket.socket], int]:
    """Sockets that listen on every address of `host`, all on one port, which is returned too.

    Port 0 picks one. Raises OSError.
    """
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            sock.listen(_BACKLOG)
            sock.setblocking(False)
            port = sock.getsockname()[1]
    except BaseException:
        close_all(sockets)
        raise
    return sockets, port


def bind_unix(path: str) -> socket.socket:
    """A socket that listens on a path. A stale file is replaced; one in use is an OSError."""
    if _is_socket(path):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                Path(path).unlink()
            else:
                raise OSError(errno.EADDRINUSE, f"{path} is in use")
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_socket(path: str) -> bool:
    try:
        return Path(path).is_socket()
    except OSError:
        return False


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close them, and remove the files of unix sockets."""
    for sock in sockets:
        path = sock.getsockname() if sock.fileno() >= 0 and sock.family == socket.AF_UNIX else None
        sock.close()
        if path and _is_socket(path):
            Path(path).unlink()
