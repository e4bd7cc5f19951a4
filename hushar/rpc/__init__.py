"""gRPC over HTTP/2: a sans-IO engine, its trio driver, and `Server`. Knows nothing of hushar."""

from hushar.rpc.calls import RawCall, Request
from hushar.rpc.server import Server

__all__ = ["RawCall", "Request", "Server"]
