"""gRPC over HTTP/2: a server that runs what is written for purerpc on trio. Knows nothing of hushar."""

from hushar.rpc.calls import RawCall
from hushar.rpc.server import Server

__all__ = ["RawCall", "Server"]
