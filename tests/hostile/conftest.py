"""A server under attack, and a good client that must not notice.

Every test here runs beside a stock client on its own connection, 200 calls a second, none of which may
fail, or wait for long (by the server's own clock: the processor time that it spends on others
meanwhile); afterwards the server's descriptors are back and its memory is within 50 MB of what it was.
"""

import importlib.util
import os
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
import trio
import trustme

HERE = Path(__file__).parent
MEGABYTE = 1024 * 1024
WAIT_SECONDS = 0.4
"""Of the server's processor time, for the longest of all calls: twice what RPC.md (Floods) has for 99 of 100,
since machines differ. That one is busy does not change it."""


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

    def __init__(self, *settings, authority=None):
        """`authority`: of its certificate, if it speaks TLS."""
        command = [sys.executable, HERE / "served.py", *settings]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        self.authority = authority

    def channel(self):
        """A stock client's."""
        address = f"127.0.0.1:{self.port}"
        if self.authority is None:
            return grpc.insecure_channel(address)
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(self.authority.cert_pem.bytes()))

    def client_context(self):
        """TLS of a client by hand; None without."""
        if self.authority is None:
            return None
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        context.set_alpn_protocols(["h2"])
        return context

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
def servers(tmp_path_factory):
    """servers("plain"), servers("tls"): one server of each for all attacks: what one leaves behind, the
    next meets."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    made = {}

    def server(kind):
        if kind not in made:
            made[kind] = plain() if kind == "plain" else through_tls(tmp_path_factory.mktemp("tls"))
            with made[kind].channel() as channel:
                # Its size once it has served.
                for _ in range(200):
                    channel.unary_unary("/test.Service/Echo")(bytes(100_000), timeout=10)
        return made[kind]

    yield server
    for each in made.values():
        each.end()


def plain():
    return Served()


def through_tls(folder):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(folder / "key")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate")
    return Served(f"certificate={folder}/certificate", f"key={folder}/key", authority=authority)


@pytest.fixture
def served(request, servers):
    """The plain one, where a test is not parametrized (indirectly) with "tls"."""
    return servers(getattr(request, "param", "plain"))


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

    def __init__(self, served):
        super().__init__(daemon=True)
        self.served = served
        self.stopping = threading.Event()
        self.answered = 0
        self.failed = []
        self.waited = []
        """Of each call: the seconds of processor time that the server has spent meanwhile."""

    def run(self):
        with self.served.channel() as channel:
            paths = ("/test.Service/Echo", "/test.Ordinary/Echo")
            methods = [channel.unary_unary(path) for path in paths]
            due = time.monotonic()
            while not self.stopping.is_set():
                message = b"%d" % self.answered
                before = self.served.processor_seconds()
                try:
                    answer = methods[self.answered % 2](message, timeout=5)
                except grpc.RpcError as error:
                    self.failed.append(f"{error.code()}: {error.details()}")
                    continue
                if answer != message:
                    self.failed.append(f"{answer} for {message}")
                self.waited.append(self.served.processor_seconds() - before)
                self.answered += 1
                due += 0.005
                time.sleep(max(0.0, due - time.monotonic()))


async def until_true(condition, seconds):
    """Wait until a condition holds of what another process or thread does; at most so long."""
    with trio.move_on_after(seconds):
        while not condition():  # noqa: ASYNC110 - it has no event to wait for
            await trio.sleep(0.02)
    return condition()


def wait_for(condition, seconds):
    """The same outside of a trio run."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture(scope="session")
def until():
    """until(condition, seconds=20): whether it has come to hold."""
    return lambda condition, seconds=20: until_true(condition, seconds)


@pytest.fixture(autouse=True)
def good_client(served):
    """Runs beside every test, and judges it.

    Not async: pytest-trio runs those fixtures alone that a test asks for by name.
    """
    descriptors, memory = served.descriptors(), served.memory()
    client = GoodClient(served)
    client.start()
    wait_for(lambda: client.answered or client.failed, 20)
    yield client

    def recovered():
        # The good client's own connection is still there.
        return served.descriptors() <= descriptors + 1 and served.memory() <= memory + 50 * MEGABYTE

    wait_for(recovered, 8)
    left = served.descriptors() - 1, served.memory()
    client.stopping.set()
    client.join()
    # The next test counts descriptors from here.
    wait_for(lambda: served.descriptors() <= left[0], 8)
    assert client.failed == []
    assert client.answered
    assert max(client.waited) <= WAIT_SECONDS
    assert left[0] <= descriptors
    assert left[1] <= memory + 50 * MEGABYTE
    assert served.process.poll() is None


@pytest.fixture
async def connect(served, peers):
    """connect(): a peer that has greeted; connect(greet=False): one that has said nothing."""
    connected = []

    async def connecting(settings=(), *, greet=True, acknowledge=True):
        peer = await peers.connect(served.port, ssl_context=served.client_context())
        connected.append(peer)
        if greet:
            await peer.greet(settings, acknowledge=acknowledge)
        return peer

    yield connecting
    for peer in connected:
        await peer.aclose()
