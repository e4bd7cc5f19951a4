"""Helpers of the transport's tests: a client that says anything, and a service for all cardinalities."""

import importlib
import importlib.util
import ssl
import sys
import types
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


@pytest.fixture(scope="session", params=["readable", "compiled"])
def heads(request):
    """The classes that read header blocks: HeaderDecoder, HuffmanDecoder, RequestHead, Variations."""
    if request.param == "readable":
        from hushar.rpc import header_blocks, huffman, request_head, variations  # noqa: PLC0415

        return types.SimpleNamespace(
            HeaderDecoder=header_blocks.HeaderDecoder,
            HuffmanDecoder=huffman.HuffmanDecoder,
            RequestHead=request_head.RequestHead,
            Variations=variations.Variations,
        )
    try:
        return importlib.import_module("hushar.rpc._hpack")
    except ImportError as error:
        pytest.skip(
            f"needs tool: the compiled hushar.rpc._hpack (pip install -e . with a C compiler): {error}"
        )


@pytest.fixture(scope="session")
def twins():
    """hushar.rpc in both ways, compiled and readable, and their state."""
    return _load(Path(__file__).parent / "twins.py")


@pytest.fixture(scope="module", params=["compiled", "readable"])
def way(request, twins):
    """The engine's fast ways: compiled where they are built, and readable."""
    from hushar.rpc import answers, fast_ways, server_engine  # noqa: PLC0415 - for those who ask for it

    if request.param == "compiled":
        if not twins.is_compiled():
            pytest.skip(twins.NEEDS)
        yield request.param
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_engine, "take_calls", fast_ways.take_calls)
        patch.setattr(server_engine, "read_at_once", fast_ways.read_at_once)
        patch.setattr(answers, "reply_at_once", fast_ways.reply_at_once)
        yield request.param


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
