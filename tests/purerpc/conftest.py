"""What is written for purerpc, run on our server and our channel: generated stubs, services, clients.

What purerpc's own test suite checks was the list; the departures are those of docs/rpc.md. Each test runs
with each client there is for it: purerpc's own channel, ours under purerpc's stubs, and grpcio.
"""

import importlib
import subprocess
import sys
from concurrent import futures
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace

import grpc
import purerpc
import pytest
import trio
import trustme

from hushar.rpc import Channel, Server

HERE = Path(__file__).parent
PATIENCE_SECONDS = 30


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Each of these runs a server and a client."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """What protoc and purerpc's plugin make of phrases.proto: `messages`, `purerpc` and `grpcio` modules."""
    folder = tmp_path_factory.mktemp("generated")
    program = "import purerpc.protoc_plugin.plugin as plugin; plugin.main()"
    plugin = folder / "protoc-gen-purerpc"
    plugin.write_text(f"#!{sys.executable}\n{program}\n")
    plugin.chmod(0o755)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"--plugin={plugin}"]
    command += [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "purerpc")]
    subprocess.run([*command, "phrases.proto"], check=True, capture_output=True)
    sys.path.insert(0, str(folder))
    try:
        names = {"messages": "phrases_pb2", "purerpc": "phrases_grpc", "grpcio": "phrases_pb2_grpc"}
        return SimpleNamespace(**{key: importlib.import_module(name) for key, name in names.items()})
    finally:
        sys.path.remove(str(folder))


@pytest.fixture
def word(generated):
    """The message of all methods."""
    return generated.messages.Word


@pytest.fixture
def generated_service(generated, word):
    """A servicer of the generated class."""

    class Servicer(generated.purerpc.PhrasesServicer):
        async def Greet(self, message):
            return word(text=f"Hello, {message.text}")

        async def GreetAndPart(self, message):
            yield word(text=f"Hello, {message.text}")
            yield word(text=f"Goodbye, {message.text}")

        async def GreetEach(self, messages):
            async for message in messages:
                yield word(text=f"Hello, {message.text}")

        async def GreetAll(self, messages):
            return word(text="Hello, " + ", ".join([message.text async for message in messages]))

        async def Join(self, messages):
            yield word(text="".join([message.text async for message in messages]))

    return Servicer().service


@pytest.fixture
def decorated_service(word):
    """The same with `@service.rpc`, which takes types and cardinality from annotations."""
    service = purerpc.Service("phrases.Phrases")

    @service.rpc("Greet")
    async def greet(message: word) -> word:
        return word(text=f"Hello, {message.text}")

    @service.rpc("GreetAndPart")
    async def greet_and_part(message: word) -> purerpc.Stream[word]:
        yield word(text=f"Hello, {message.text}")
        yield word(text=f"Goodbye, {message.text}")

    @service.rpc("GreetEach")
    async def greet_each(messages: purerpc.Stream[word]) -> purerpc.Stream[word]:
        async for message in messages:
            yield word(text=f"Hello, {message.text}")

    @service.rpc("GreetAll")
    async def greet_all(messages: purerpc.Stream[word]) -> word:
        return word(text="Hello, " + ", ".join([message.text async for message in messages]))

    @service.rpc("Join")
    async def join(messages: purerpc.Stream[word]) -> purerpc.Stream[word]:
        yield word(text="".join([message.text async for message in messages]))

    return service


@pytest.fixture(params=["generated", "decorated"])
def service(request):
    """The service, written in either of the two ways that purerpc knows."""
    return request.getfixturevalue(f"{request.param}_service")


@pytest.fixture
def start(nursery):
    """start(service, **options): our server with this service; its port."""

    async def start(*services, ssl_context=None, **options):
        server = Server(0, ssl_context, **options)
        for service in services:
            server.add_service(service)
        return await nursery.start(server.serve_async)

    return start


@pytest.fixture
def grpcio_server(generated):
    """grpcio_server(servicer): a grpcio server with this servicer, as a context manager; its port."""

    @contextmanager
    def serve(servicer):
        server = grpc.server(futures.ThreadPoolExecutor(4))
        generated.grpcio.add_PhrasesServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()

    return serve


@pytest.fixture(params=["purerpc", "hushar"])
def connect(request):
    """connect(port, ssl_context=None): a channel, purerpc's own or ours; an async context manager."""

    @asynccontextmanager
    async def purerpcs_own(port, ssl_context):
        async with AsyncExitStack() as stack:
            channel = purerpc.secure_channel("127.0.0.1", port, ssl_context)
            async with channel:
                # It leaves its socket to the garbage collector.
                stack.push_async_callback(trio.aclose_forcefully, channel._grpc_socket._socket._stream)
                yield channel

    def connect(port, ssl_context=None):
        if request.param == "hushar":
            return Channel("127.0.0.1", port, ssl_context)
        return purerpcs_own(port, ssl_context)

    return connect


@pytest.fixture
def stub(generated):
    """stub(channel): the generated stub."""
    return generated.purerpc.PhrasesStub


@pytest.fixture
def with_grpcio(generated):
    """with_grpcio(port, use): runs `use(stub)` with grpcio's generated stub in a thread."""

    async def run(port, use):
        def in_thread():
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                return use(generated.grpcio.PhrasesStub(channel))

        with trio.fail_after(PATIENCE_SECONDS):
            return await trio.to_thread.run_sync(in_thread)

    return run


@pytest.fixture(scope="session")
def authority():
    """A certificate authority of this run."""
    return trustme.CA()


@pytest.fixture
def parallel():
    """parallel(n, function, *arguments): n times at once; a failure of one is the failure."""

    async def run(times, function, *arguments):
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                for _ in range(times):
                    nursery.start_soon(function, *arguments)

    return run


@pytest.fixture
def sending():
    """sending(messages): an asynchronous iterator of them."""

    async def send(messages):
        for message in messages:
            yield message

    return send


@pytest.fixture
def raised():
    """raised(kind, match=""): like pytest.raises, also for one that a task group has wrapped."""

    @contextmanager
    def expect(kind, match=""):
        with pytest.raises((kind, ExceptionGroup)) as caught:
            yield caught
        error = caught.value
        while isinstance(error, ExceptionGroup):
            (error,) = error.exceptions
        assert isinstance(error, kind)
        assert match in str(error)

    return expect
