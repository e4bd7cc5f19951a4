"""Servers in the same nursery that do as they are told, and setups for them."""

import pytest
import trio

from hushar.bench.options import Setup
from hushar.rpc import Server
from hushar.rpc.client_bursts import prepare
from hushar.rpc.dialing import Target
from hushar.rpc.request_block import request_block, timeout_field
from hushar.rpc.status import format_timeout

PATH = "/hushar.Hushar/InferenceService"


@pytest.fixture
def serve(nursery):
    """serve(on_calls, **options): starts a server, gives its port; `on_calls` gets lists of RawCalls."""

    async def start(on_calls=None, **options):
        server = Server(0, **options)
        server.add_raw_unary(PATH, on_calls or (lambda calls: [call.reply(b"answer") for call in calls]))
        return await nursery.start(server.serve_async)

    return start


@pytest.fixture
def setup_for():
    def make(port, message=b"question", **options):
        target = Target("127.0.0.1", port)
        block = request_block("http", target.authority, PATH, (), "test")
        if options.get("timeout_seconds"):
            block += timeout_field(format_timeout(options["timeout_seconds"]))
        defaults = {"seconds": 0.3, "warmup_seconds": 0.05, "connections": 2}
        return Setup(target=target, calls=[prepare(block, message)], **(defaults | options))

    return make


@pytest.fixture
async def closed_port():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    return port
