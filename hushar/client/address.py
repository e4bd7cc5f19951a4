"""Addresses of servers: `HOST:PORT`, `[IPv6]:PORT`."""

import re
from typing import NamedTuple

_ADDRESS = re.compile(
    r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^\[\]:/\s]+)):(?P<port>[0-9]{1,5})", re.ASCII
)
_MAX_PORT = 65535


class Address(NamedTuple):
    """Where a server listens. `str()` gives what `parse_address` reads."""

    host: str
    """A name or an IP address; IPv6 without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`; an IPv6 address stands in brackets. Raises ValueError, which names the text."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        hint = "; an IPv6 address stands in brackets" if text.count(":") > 1 and "://" not in text else ""
        raise ValueError(f"{text!r} is not an address: expected HOST:PORT, such as 127.0.0.1:8279{hint}")
    port = int(match["port"])
    if not 1 <= port <= _MAX_PORT:
        raise ValueError(f"{text!r} is not an address: the port must be from 1 to {_MAX_PORT}")
    return Address(match["bracketed"] or match["host"], port)
