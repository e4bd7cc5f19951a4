"""Servers that go away and connections that grow old under load: clients that obey GOAWAY see no failed call.

Two servers share a port, so that whoever leaves one of them has the other to go to.
"""

import signal
import threading
from pathlib import Path

import grpc
import pytest
import trio

from hushar.rpc import Channel

METHOD = "/hushar.Hushar/InferenceService"
CLIENTS = 3


class Load:
    """Clients of a kind that call without a pause until they are stopped, or a call fails."""

    def __init__(self, address, message):
        self.address = address
        self.message = message
        self.answered = 0
        self.failed = []
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        self._stopping = True
        for thread in self._threads:
            thread.join(60)

    def _run(self):
        try:
            self.call_on()
        except Exception as error:
            self.failed.append(repr(error))


class StockLoad(Load):
    def call_on(self):
        # Each has connections of its own.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.address, options) as channel:
            call = channel.unary_unary(METHOD)
            while not self._stopping:
                call(self.message, timeout=60)
                self.answered += 1


class OwnLoad(Load):
    def call_on(self):
        trio.run(self._calls)

    async def _calls(self):
        host, _, port = self.address.rpartition(":")
        # A refusal or a loss would not be tried again: what is left is what GOAWAY itself promises.
        async with Channel(host, int(port), retries=0) as channel, trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(self._one_by_one, channel)

    async def _one_by_one(self, channel):
        while not self._stopping:
            with trio.fail_after(60):
                await channel.unary(METHOD, self.message)
            self.answered += 1


@pytest.fixture(params=[StockLoad, OwnLoad], ids=["grpcio", "Channel"])
def load(request, messages):
    """load(address): clients that call from then on."""
    started = []

    def start(address):
        message = messages.request([("r", {"x": ("float_value", 4.0)})], "x").SerializeToString()
        started.append(request.param(address, message).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_sigterm_under_load(servers, onnx_models, load, serving):
    shared = {"reuse_port": True}
    first = servers.serve(onnx_models.echo(1), server=shared, name="first")
    calling = load(first.address)
    serving.eventually(lambda: calling.answered > 100, "answers")
    leaving = first
    for name in ("second", "third"):
        workspace = servers.workspace(name)
        workspace.configure(onnx_models.echo(1), server=shared)
        other = servers.start(workspace, "--port", str(first.port))
        leaving.signal(signal.SIGTERM)
        assert leaving.wait() == 0, leaving.stderr
        answered = calling.answered
        serving.eventually(lambda before=answered: calling.answered > before + 100, "more answers")
        leaving = other
    calling.stop()
    assert calling.failed == []


def test_connections_that_grow_old_under_load(servers, onnx_models, load, serving):
    settings = {"max_connection_age_seconds": 0.5, "max_connection_age_grace_seconds": 5}
    server = servers.serve(onnx_models.echo(1), server=settings)
    calling = load(server.address)
    seen = set()

    def enough():
        seen.update(connections_to(server.port))
        return len(seen) > 5 * CLIENTS

    serving.eventually(enough, "connections after connections")
    answered = calling.answered
    serving.eventually(lambda: calling.answered > answered + 100, "more answers")
    calling.stop()
    assert calling.failed == []


def connections_to(port):
    """The other ends of what a server on this machine has accepted at a port."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        pytest.skip("no /proc on this system")
    fields = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
    return {each[2] for each in fields if each[1].endswith(f":{port:04X}") and each[3] == "01"}
