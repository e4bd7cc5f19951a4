"""`grpc-previous-rpc-attempts` (gRFC A6): how often a call was refused before, from client to server."""

import types

import purerpc
import pytest
import trio
from purerpc import Status, StatusCode

from hushar.rpc import Channel, Server
from hushar.rpc.client_calls import counted
from hushar.rpc.request_block import previous_field

DESCRIPTOR = types.SimpleNamespace(full_name="test.Message")
FIELD = "grpc-previous-rpc-attempts"


@pytest.fixture
async def refusing(nursery, make_service):
    """(port, what each attempt's metadata was) of a server that is UNAVAILABLE twice."""
    seen = []

    async def echo(message, request):
        seen.append(request.custom_metadata)
        if len(seen) < 3:
            raise purerpc.RpcFailedError(Status(StatusCode.UNAVAILABLE))
        return message

    server = Server(0)
    server.add_service(make_service(unary={"Echo": echo}))
    return await nursery.start(server.serve_async), seen


@pytest.mark.parametrize("kind", ["unary", "callback", "stub"])
async def test_each_attempt_says_how_many_there_were(refusing, raw_message, kind, autojump_clock):
    port, seen = refusing
    own = ("name", "value")
    async with Channel("127.0.0.1", port) as channel:
        with trio.fail_after(100):
            if kind == "unary":
                assert await channel.unary("/test.Service/Echo", b"x", [own]) == b"x"
            elif kind == "callback":
                answered = trio.Event()
                channel.start_unary("/test.Service/Echo", b"x", lambda *_: answered.set(), [own])
                await answered.wait()
            else:
                raw_message = type("Message", (raw_message,), {"DESCRIPTOR": DESCRIPTOR})
                signature = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, raw_message, raw_message)
                stub = purerpc.Client("test.Service", channel).get_method_stub("Echo", signature)
                assert (await stub(raw_message(b"x"), metadata=(own,))).data == b"x"
    assert seen == [(own,), (own, (FIELD, "1")), (own, (FIELD, "2"))]


def test_an_attempt_that_the_server_has_not_begun_does_not_count():
    assert counted(None) == 0
    assert counted(types.SimpleNamespace(unprocessed=True)) == 0
    assert counted(types.SimpleNamespace(unprocessed=False)) == 1


@pytest.mark.parametrize(("attempts", "field"), [(0, b""), (3, b"\0\x1agrpc-previous-rpc-attempts\x013")])
def test_the_field_is_there_where_there_were_any(attempts, field):
    assert previous_field(attempts) == field
