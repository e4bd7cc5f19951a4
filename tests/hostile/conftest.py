"""A server under attack, and a good client that must not notice.

Every test here runs beside a stock client on its own connection, 200 calls a second, none of which may
fail; afterwards the server's descriptors are back and its memory is within 50 MB of what it was.
"""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
import trio

HERE = Path(__file__).parent
MEGABYTE = 1024 * 1024


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Each of these attacks a process for a second or more."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def peers():
    """`Peer` and `connect`: HTTP/2 frames by hand."""
    name = "hushar_tests_peers"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / "peers.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


class Served:
    """The process of the server."""

    def __init__(self, *settings):
        command = [sys.executable, HERE / "served.py", *settings]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())

    def descriptors(self):
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def memory(self):
        """Resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def processor_seconds(self):
        """What it has used of the processor, in all."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def served():
    """One server for all attacks: what one leaves behind, the next meets."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    serving = Served()
    with grpc.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
        # Its size once it has served.
        for _ in range(200):
            channel.unary_unary("/test.Service/Echo")(bytes(100_000), timeout=10)
    yield serving
    serving.end()


@pytest.fixture
def serve():
    """serve("name=number", …): another server of its own, with these settings."""
    serving = []

    def begin(*settings):
        serving.append(Served(*settings))
        return serving[-1]

    yield begin
    for each in serving:
        each.end()


class GoodClient(threading.Thread):
    """200 calls a second until it is told to stop."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.stopping = threading.Event()
        self.answered = 0
        self.failed = []

    def run(self):
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            paths = ("/test.Service/Echo", "/test.Ordinary/Echo")
            methods = [channel.unary_unary(path) for path in paths]
            due = time.monotonic()
            while not self.stopping.is_set():
                message = b"%d" % self.answered
                try:
                    answer = methods[self.answered % 2](message, timeout=5)
                except grpc.RpcError as error:
                    self.failed.append(f"{error.code()}: {error.details()}")
                    continue
                if answer != message:
                    self.failed.append(f"{answer} for {message}")
                self.answered += 1
                due += 0.005
                time.sleep(max(0.0, due - time.monotonic()))


async def until_true(condition, seconds):
    """Wait until a condition holds of what another process or thread does; at most so long."""
    with trio.move_on_after(seconds):
        while not condition():  # noqa: ASYNC110 - it has no event to wait for
            await trio.sleep(0.02)
    return condition()


@pytest.fixture(scope="session")
def until():
    """until(condition, seconds=20): whether it has come to hold."""
    return lambda condition, seconds=20: until_true(condition, seconds)


@pytest.fixture(autouse=True)
async def good_client(served):
    """Runs beside every test, and judges it."""
    descriptors, memory = served.descriptors(), served.memory()
    client = GoodClient(served.port)
    client.start()
    await until_true(lambda: client.answered or client.failed, 20)
    yield client

    def recovered():
        # The good client's own connection is still there.
        return served.descriptors() <= descriptors + 1 and served.memory() <= memory + 50 * MEGABYTE

    await until_true(recovered, 8)
    left = served.descriptors() - 1, served.memory()
    client.stopping.set()
    await trio.to_thread.run_sync(client.join)
    assert client.failed == []
    assert left[0] <= descriptors
    assert left[1] <= memory + 50 * MEGABYTE
    assert served.process.poll() is None


@pytest.fixture
async def connect(served, peers):
    """connect(): a peer that has greeted; connect(greet=False): one that has said nothing."""
    connected = []

    async def connecting(settings=(), *, greet=True, acknowledge=True):
        peer = await peers.connect(served.port)
        connected.append(peer)
        if greet:
            await peer.greet(settings, acknowledge=acknowledge)
        return peer

    yield connecting
    for peer in connected:
        await peer.aclose()
