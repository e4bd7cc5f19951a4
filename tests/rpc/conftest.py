"""Helpers of the transport's tests: a client that says anything, and a service for all cardinalities."""

import importlib.util
import ssl
import sys
from pathlib import Path

import purerpc
import pytest
import trustme


def _load(path):
    """A helper module, by its path (tests are no package)."""
    name = f"hushar_tests_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def peers():
    """`Peer` and `connect`: HTTP/2 frames by hand."""
    return _load(Path(__file__).parent.parent / "hostile" / "peers.py")


@pytest.fixture(scope="session")
def wire():
    """Frames by hand, and the engine that hears them, without a socket."""
    return _load(Path(__file__).parent.parent / "wire" / "talking.py")


class RawMessage:
    """A message that is its bytes."""

    def __init__(self, data=b""):
        self.data = data

    def ParseFromString(self, data):
        if data == b"unreadable":
            raise ValueError("unreadable: hunter2")
        self.data = data

    def SerializeToString(self):
        return self.data


@pytest.fixture(scope="session")
def raw_message():
    """The type of messages that are their bytes."""
    return RawMessage


@pytest.fixture
def make_service():
    """make_service(unary={name: function}, up=…, down=…, both=…): a purerpc service `test.Service`."""

    def make(**methods):
        service = purerpc.Service("test.Service")
        cardinalities = {
            "unary": purerpc.Cardinality.UNARY_UNARY,
            "up": purerpc.Cardinality.STREAM_UNARY,
            "down": purerpc.Cardinality.UNARY_STREAM,
            "both": purerpc.Cardinality.STREAM_STREAM,
        }
        for kind, functions in methods.items():
            signature = purerpc.RPCSignature(cardinalities[kind], RawMessage, RawMessage)
            for name, function in functions.items():
                service.add_method(name, function, signature)
        return service

    return make


@pytest.fixture
async def connect(peers):
    """connect(port): a peer that has said nothing yet; closed at the end of the test."""
    connected = []

    async def connecting(port):
        connected.append(await peers.connect(port))
        return connected[-1]

    yield connecting
    for peer in connected:
        await peer.aclose()


@pytest.fixture
def start(nursery, connect):
    """start(server): serve it, and return a function that connects a peer which has greeted."""

    async def starting(server):
        port = await nursery.start(server.serve_async)

        async def greeting(settings=(), **options):
            peer = await connect(port)
            await peer.greet(settings, **options)
            return peer

        return greeting

    return starting


@pytest.fixture(scope="session")
def authority():
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture
def server_context(authority):
    """A server's, for localhost."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def client_context(authority):
    """A client's, which trusts the authority and speaks HTTP/2."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    return context
