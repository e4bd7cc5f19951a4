"""A client for trio programs: `async with Client(host, port) as client: await client.score(rows)`."""

from hushar.client.address import Address, parse_address
from hushar.client.client import Client, tls_context
from hushar.client.errors import BadRows, CallFailed, ConnectionFailed
from hushar.client.kinds import kinds_from_vectorization
from hushar.client.kindsfile import kinds_from_file

__all__ = [
    "Address",
    "BadRows",
    "CallFailed",
    "Client",
    "ConnectionFailed",
    "kinds_from_file",
    "kinds_from_vectorization",
    "parse_address",
    "tls_context",
]
