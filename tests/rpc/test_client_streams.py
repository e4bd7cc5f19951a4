"""purerpc's stubs, and the stream form, on our channel: our server, grpcio's, grpc.aio's, scripted ones."""

import asyncio
import gc
import itertools
import struct
import threading
from concurrent import futures
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import grpc
import grpc.aio
import purerpc
import pytest
import trio
import trio.testing

from hushar.rpc.channel import Channel
from hushar.rpc.server import Server

PATIENCE_SECONDS = 20
KINDS = purerpc.Cardinality
METHODS = {
    "Unary": KINDS.UNARY_UNARY,
    "Down": KINDS.UNARY_STREAM,
    "Up": KINDS.STREAM_UNARY,
    "Both": KINDS.STREAM_STREAM,
}


@pytest.fixture(scope="session")
def raw_message(raw_message):
    """With the one thing more that purerpc's client asks for."""
    return type("Message", (raw_message,), {"DESCRIPTOR": SimpleNamespace(full_name="test.Message")})


@pytest.fixture
def stub(raw_message):
    """stub(channel, method): purerpc's stub of a method of test.Service."""

    def make(channel, method):
        signature = purerpc.RPCSignature(METHODS[method], raw_message, raw_message)
        return purerpc.Client("test.Service", channel).get_method_stub(method, signature)

    return make


async def several(raw_message, *data):
    for each in data:
        yield raw_message(each)


async def all_of(stream):
    return [message.data async for message in stream]


@pytest.fixture
def hushar_server(make_service, raw_message, nursery):
    """Our own; a port."""

    async def unary(message):
        if message.data == b"refuse":
            raise purerpc.NotFoundError("ä: 100 %")
        return raw_message(message.data * 2)

    async def down(message):
        for byte in message.data:
            yield raw_message(bytes((byte,)))

    async def up(messages):
        return raw_message(b"".join([message.data async for message in messages]))

    async def both(messages):
        async for message in messages:
            yield raw_message(message.data * 2)

    async def start(ssl_context=None):
        server = Server(0, ssl_context)
        server.add_service(
            make_service(unary={"Unary": unary}, down={"Down": down}, up={"Up": up}, both={"Both": both})
        )
        return await nursery.start(server.serve_async)

    return start


class GrpcioMethods(grpc.GenericRpcHandler):
    """test.Service for grpcio; messages are bytes."""

    def service(self, details):
        name = details.method.rpartition("/")[2]
        kind = {"Unary": "unary_unary", "Down": "unary_stream", "Up": "stream_unary", "Both": "stream_stream"}
        make = getattr(grpc, f"{kind[name]}_rpc_method_handler")
        return make(getattr(self, name.lower()), None, None)

    def unary(self, message, context):
        if message == b"refuse":
            context.abort(grpc.StatusCode.NOT_FOUND, "ä: 100 %")
        return message * 2

    def down(self, message, context):
        for byte in message:
            yield bytes((byte,))

    def up(self, messages, context):
        return b"".join(messages)

    def both(self, messages, context):
        for message in messages:
            yield message * 2


class AioMethods(GrpcioMethods):
    """The same for grpc.aio."""

    async def unary(self, message, context):
        if message == b"refuse":
            await context.abort(grpc.StatusCode.NOT_FOUND, "ä: 100 %")
        return message * 2

    async def down(self, message, context):
        for byte in message:
            yield bytes((byte,))

    async def up(self, messages, context):
        return b"".join([message async for message in messages])

    async def both(self, messages, context):
        async for message in messages:
            yield message * 2


@contextmanager
def serving_grpcio(credentials):
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[GrpcioMethods()])
    port = add_port(server, credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def add_port(server, credentials):
    if credentials is None:
        return server.add_insecure_port("127.0.0.1:0")
    return server.add_secure_port("127.0.0.1:0", credentials)


@contextmanager
def serving_aio(credentials):
    port, ready = [], threading.Event()

    async def main():
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        server = grpc.aio.server(handlers=[AioMethods()], compression=grpc.Compression.Gzip)
        port.append(add_port(server, credentials))
        port.append(lambda: loop.call_soon_threadsafe(stop.set))
        await server.start()
        ready.set()
        await stop.wait()
        await server.stop(None)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(PATIENCE_SECONDS)
    try:
        yield port[0]
    finally:
        port[1]()
        thread.join()


@pytest.fixture(params=["hushar", "grpcio", "grpc.aio"])
async def server(request, hushar_server, authority, server_context):
    """server(tls=False): the port of a server with test.Service."""
    open_servers = []

    async def start(*, tls=False):
        if request.param == "hushar":
            return await hushar_server(server_context if tls else None)
        certificate = authority.issue_cert("localhost")
        pair = certificate.private_key_pem.bytes(), b"".join(p.bytes() for p in certificate.cert_chain_pems)
        credentials = grpc.ssl_server_credentials([pair]) if tls else None
        serving = (serving_grpcio if request.param == "grpcio" else serving_aio)(credentials)
        open_servers.append(serving)
        return serving.__enter__()

    yield start
    for serving in open_servers:
        serving.__exit__(None, None, None)


@pytest.mark.slow
class TestStubs:
    @pytest.fixture(params=["plain", "TLS"])
    async def channel(self, request, server, client_context):
        tls = request.param == "TLS"
        port = await server(tls=tls)
        context = client_context if tls else None
        async with Channel("127.0.0.1", port, context, server_hostname="localhost") as channel:
            with trio.fail_after(PATIENCE_SECONDS):
                yield channel

    async def test_every_cardinality(self, channel, stub, raw_message):
        unary = await stub(channel, "Unary")(raw_message(b"ab"))
        down = await all_of(stub(channel, "Down")(raw_message(b"abc")))
        up = await stub(channel, "Up")(several(raw_message, b"a", b"b"))
        both = await all_of(stub(channel, "Both")(several(raw_message, b"a", b"b")))
        assert (unary.data, down, up.data, both) == (b"abab", [b"a", b"b", b"c"], b"ab", [b"aa", b"bb"])

    async def test_no_messages_at_all(self, channel, stub, raw_message):
        assert await all_of(stub(channel, "Down")(raw_message(b""))) == []
        assert (await stub(channel, "Up")(several(raw_message))).data == b""
        assert await all_of(stub(channel, "Both")(several(raw_message))) == []

    async def test_a_status(self, channel, stub, raw_message):
        with pytest.raises(purerpc.NotFoundError) as caught:
            await stub(channel, "Unary")(raw_message(b"refuse"))
        assert caught.value.status.status_message == "ä: 100 %"

    async def test_bytes_are_answered_with_bytes(self, channel):
        assert await channel.unary("/test.Service/Unary", b"ab" * 100) == b"abab" * 100

    async def test_megabytes(self, channel, stub, raw_message):
        message = bytes(range(256)) * 4000
        assert (await stub(channel, "Unary")(raw_message(message))).data == message * 2
        pieces = await all_of(stub(channel, "Both")(several(raw_message, *[message] * 5)))
        assert pieces == [message * 2] * 5

    async def test_the_stream_form(self, channel, stub, raw_message):
        stream = await stub(channel, "Both")()
        for data in (b"a", b"bc"):
            await stream.send_message(raw_message(data))
            assert (await stream.receive_message()).data == data * 2
        assert stream.end_stream_event is None
        await stream.close()
        assert await stream.receive_message() is None
        assert await stream.receive_message() is None
        assert stream.start_stream_event.custom_metadata is not None
        assert stream.end_stream_event.status.status_code is purerpc.StatusCode.OK

    async def test_a_stream_that_nobody_holds_is_reset(self, channel, stub, raw_message):
        stream = await stub(channel, "Both")()
        await stream.send_message(raw_message(b"a"))
        await stream.receive_message()
        assert channel._wire.engine.open_streams == 1
        del stream
        gc.collect()
        while channel._wire.engine.open_streams:
            await trio.testing.wait_all_tasks_blocked()
        assert (await stub(channel, "Unary")(raw_message(b"a"))).data == b"aa"

    async def test_a_cancelled_scope_ends_the_call_alone(self, channel, stub, raw_message):
        stream = await stub(channel, "Both")()
        with trio.move_on_after(0.02) as scope:
            await stream.receive_message()
        assert scope.cancelled_caught
        assert channel._wire.engine.open_streams == 0
        assert (await stub(channel, "Unary")(raw_message(b"a"))).data == b"aa"


class TestMetadata:
    async def test_metadata_go_both_ways(self, make_service, raw_message, nursery, stub):
        seen = []

        async def look(message, request):
            seen.append(request.custom_metadata)
            request.set_leading_metadata([("l", "1"), ("l-bin", b"\0")])
            request.set_trailing_metadata([("t", "2")])
            return message

        async def both(messages, request):
            async for message in messages:
                yield await look(message, request)

        server = Server(0)
        server.add_service(make_service(both={"Both": both}))
        async with Channel("127.0.0.1", await nursery.start(server.serve_async)) as channel:
            stream = await stub(channel, "Both")(metadata=(("a", "x"), ("b-bin", b"\xff")))
            await stream.send_message(raw_message(b""))
            await stream.close()
            await stream.receive_message()
            assert stream.start_stream_event.custom_metadata == (("l", "1"), ("l-bin", b"\0"))
            assert await stream.receive_message() is None
        assert stream.end_stream_event.custom_metadata == (("t", "2"),)
        assert seen == [(("a", "x"), ("b-bin", b"\xff"))]


class TestFailures:
    @pytest.fixture
    def script(self, nursery):
        """script(function): the port of a server whose n-th connection is `function(host, n)`'s."""

        async def start(function):
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            numbers = itertools.count()

            async def serve(stream):
                with suppress(trio.BrokenResourceError):
                    async with stream:
                        await stream.send_all(frame(4))
                        await function(stream, next(numbers))

            async def run(*, task_status):
                async with trio.open_nursery() as connections:
                    task_status.started()
                    await trio.serve_listeners(serve, [listener], handler_nursery=connections)

            await nursery.start(run)
            return listener.socket.getsockname()[1]

        return start

    async def test_a_stubs_call_is_sent_again_where_that_is_right(self, script, stub, raw_message):
        async def serve(stream, number):
            await until_end_of_request(stream)
            if number == 0:
                await stream.send_all(frame(7, 0, 0, bytes(8)))
            elif number == 1:
                await stream.send_all(frame(3, 0, 1, struct.pack(">I", 7)) + frame(7, 0, 0, bytes(8)))
            else:
                await stream.send_all(answer(b"answer"))
            await trio.sleep_forever()

        async with Channel("127.0.0.1", await script(serve), retries=0) as channel:
            assert (await stub(channel, "Unary")(raw_message(b"abc"))).data == b"answer"

    async def test_and_as_often_as_retries_where_the_server_is_unavailable(self, script, stub, raw_message):
        async def serve(stream, number):
            await until_end_of_request(stream)

        async with Channel("127.0.0.1", await script(serve), retries=1) as channel:
            with pytest.raises(purerpc.UnavailableError, match="the server closed the connection"):
                await stub(channel, "Unary")(raw_message(b"abc"))

    async def test_a_message_followed_by_an_error_is_an_error(self, script, stub, raw_message):
        async def serve(stream, number):
            await until_end_of_request(stream)
            await stream.send_all(answer(b"answer", status=b"8"))
            await trio.sleep_forever()

        async with Channel("127.0.0.1", await script(serve)) as channel:
            with pytest.raises(purerpc.ResourceExhaustedError):
                await stub(channel, "Unary")(raw_message(b"abc"))

    async def test_a_sender_waits_for_a_server_that_does_not_read(self, script, stub, raw_message):
        async def serve(stream, number):
            await trio.sleep_forever()

        async with Channel("127.0.0.1", await script(serve)) as channel:
            stream = await stub(channel, "Both")()
            sent = 0
            with trio.move_on_after(0.2):
                while True:
                    await stream.send_message(raw_message(bytes(100_000)))
                    sent += 1
            assert sent < 20

    async def test_a_sender_whose_call_is_over_is_not_held_up(self, script, stub, raw_message):
        async def serve(stream, number):
            data = b""
            while b"/test.Service/Both" not in data:
                data += await stream.receive_some()
            await stream.send_all(headers(b"\x88", *GRPC, (b"grpc-status", b"8"), end=True))
            await trio.sleep_forever()

        async with Channel("127.0.0.1", await script(serve)) as channel:
            stream = await stub(channel, "Both")()
            with trio.fail_after(5):
                for _ in range(50):
                    await stream.send_message(raw_message(bytes(100_000)))
                await stream.close()
                assert await stream.receive_message() is None
        assert stream.end_stream_event.status.status_code is purerpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_a_message_that_cannot_be_read_ends_the_call(self, script, stub, raw_message):
        async def serve(stream, number):
            await until_end_of_request(stream)
            await stream.send_all(answer(b"unreadable"))
            await trio.sleep_forever()

        async with Channel("127.0.0.1", await script(serve)) as channel:
            with pytest.raises(ValueError, match="unreadable"):
                await stub(channel, "Unary")(raw_message(b""))
            assert channel._wire.engine.open_streams == 0

    async def test_nothing_is_sent_after_the_end(self, script, stub, raw_message):
        async def serve(stream, number):
            await trio.sleep_forever()

        async with Channel("127.0.0.1", await script(serve)) as channel:
            stream = await stub(channel, "Both")()
            await stream.close()
            with pytest.raises(TypeError, match="closed"):
                await stream.send_message(raw_message(b""))


GRPC = ((b"content-type", b"application/grpc"),)


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def headers(start, *fields, end=False):
    literal = b"".join(bytes((0, len(name))) + name + bytes((len(value),)) + value for name, value in fields)
    return frame(1, 4 | end, 1, start + literal)


def answer(message, status=b"0"):
    data = frame(0, 0, 1, struct.pack(">BI", 0, len(message)) + message)
    return headers(b"\x88", *GRPC) + data + headers(b"", (b"grpc-status", status), end=True)


async def until_end_of_request(stream):
    """The request of a stub: its DATA is small, and ends with an empty frame on stream 1."""
    data = b""
    while frame(0, 1, 1) not in data:
        more = await stream.receive_some()
        assert more
        data += more
