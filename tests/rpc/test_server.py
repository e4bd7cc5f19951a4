"""hushar.rpc.Server on loopback, spoken to by grpcio."""

import logging

import grpc
import purerpc
import pytest
import trio

from hushar.rpc import Server


class RawMessage:
    """A message that is its bytes."""

    def __init__(self, data=b""):
        self.data = data

    def ParseFromString(self, data):
        self.data = data

    def SerializeToString(self):
        return self.data


UNARY = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, RawMessage, RawMessage)
STREAM = purerpc.RPCSignature(purerpc.Cardinality.UNARY_STREAM, RawMessage, RawMessage)


@pytest.fixture
async def serve(nursery):
    """Start a server; returns a function that calls a unary method of it, in a thread."""

    async def start(server):
        port = await nursery.start(server.serve_async)

        def call(method, message=b"x"):
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                return channel.unary_unary(f"/test.Service/{method}")(message, timeout=10)

        async def in_thread(*arguments):
            return await trio.to_thread.run_sync(call, *arguments)

        return in_thread

    return start


async def test_a_raw_method_gets_bytes_and_answers_bytes(serve):
    server = Server(0)
    server.add_raw_unary("/test.Service/Echo", lambda calls: [each.reply(each.message * 2) for each in calls])
    call = await serve(server)
    assert await call("Echo", b"ab") == b"abab"


async def test_a_raw_call_may_be_answered_later(serve, nursery):
    server = Server(0)
    send, receive = trio.open_memory_channel(1)
    server.add_raw_unary("/test.Service/Later", lambda calls: send.send_nowait(calls[0]))

    async def answer():
        (await receive.receive()).reply(b"late")

    call = await serve(server)
    nursery.start_soon(answer)
    assert await call("Later") == b"late"


async def test_a_raw_call_may_be_failed_with_any_status(serve):
    server = Server(0)
    code = purerpc.StatusCode.INVALID_ARGUMENT
    server.add_raw_unary("/test.Service/Refuse", lambda calls: [each.fail(code, "no: ä") for each in calls])
    call = await serve(server)
    with pytest.raises(grpc.RpcError) as caught:
        await call("Refuse")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "no: ä"


async def test_an_exception_in_receive_is_internal_without_its_text(serve, caplog):
    def broken(calls):
        raise ValueError("hunter2")

    server = Server(0)
    server.add_raw_unary("/test.Service/Broken", broken)
    call = await serve(server)
    with pytest.raises(grpc.RpcError) as caught:
        await call("Broken")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(caught.value)
    assert "hunter2" in caplog.text


async def test_an_exception_in_a_servicers_method_is_internal_without_its_text(serve, caplog):
    async def broken(message):
        raise ValueError("hunter2")

    service = purerpc.Service("test.Service")
    service.add_method("Broken", broken, UNARY)
    server = Server(0)
    server.add_service(service)
    call = await serve(server)
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as caught:
        await call("Broken")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(caught.value)
    assert "hunter2" in caplog.text


async def test_answering_twice_changes_nothing(serve):
    def twice(calls):
        for each in calls:
            each.reply(b"first")
            each.reply(b"second")
            each.fail(purerpc.StatusCode.INTERNAL, "third")

    server = Server(0)
    server.add_raw_unary("/test.Service/Twice", twice)
    call = await serve(server)
    assert await call("Twice") == b"first"


async def test_an_unknown_method_is_unimplemented(serve):
    server = Server(0)
    server.add_raw_unary("/test.Service/Known", lambda calls: None)
    call = await serve(server)
    with pytest.raises(grpc.RpcError) as caught:
        await call("Unknown")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_drain_lets_the_call_in_flight_end_and_refuses_new_connections(serve, nursery):
    server = Server(0, drain_seconds=10)
    send, receive = trio.open_memory_channel(1)
    server.add_raw_unary("/test.Service/Slow", lambda calls: send.send_nowait(calls[0]))
    call = await serve(server)
    answers, answered = [], trio.Event()

    async def ask():
        answers.append(await call("Slow"))
        answered.set()

    nursery.start_soon(ask)
    waiting = await receive.receive()
    server.drain()
    await trio.sleep(0.1)
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", server.port)
    waiting.reply(b"done")
    with trio.fail_after(5):
        await answered.wait()
    assert answers == [b"done"]


async def test_a_drain_ends_after_drain_seconds_whatever_still_runs(nursery):
    server = Server(0, drain_seconds=0.1)
    server.add_raw_unary("/test.Service/Never", lambda calls: None)
    ended = trio.Event()

    async def serve(task_status):
        await server.serve_async(task_status=task_status)
        ended.set()

    port = await nursery.start(serve)
    async with await trio.open_tcp_stream("127.0.0.1", port):
        server.drain()
        with trio.fail_after(5):
            await ended.wait()


async def test_a_port_in_use_is_an_oserror(serve):
    first = Server(0)
    await serve(first)
    with pytest.raises(OSError, match="in use"):
        await Server(first.port).serve_async()
