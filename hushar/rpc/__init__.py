"""gRPC over HTTP/2: a sans-IO engine, its trio driver, `Server` and `Channel`. Knows nothing of hushar."""

from hushar.rpc.calls import RawCall, Request
from hushar.rpc.channel import Channel
from hushar.rpc.compiled import fail_all, reply_all
from hushar.rpc.server import Server

__all__ = ["Channel", "RawCall", "Request", "Server", "fail_all", "reply_all"]
