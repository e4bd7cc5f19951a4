"""How calls end when something goes wrong: each of these waits for ever with purerpc alone."""

import struct

import h2.events
import pytest
import trio
from h2.errors import ErrorCodes

from hushar.client import CallFailed, Client, ConnectionFailed
from hushar.proto.structs_pb2 import InferenceRequest, InferenceResponse

REQUEST = InferenceRequest(request_id="q")


async def test_a_call_whose_connection_is_lost_fails(peer_for):
    async def script(peer):
        await peer.greet()
        await peer.call()
        await peer.hang_up()

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        with pytest.raises(
            ConnectionFailed, match="lost before the answer: the server closed the connection"
        ):
            await client.infer(REQUEST)
        with pytest.raises(ConnectionFailed, match="the server closed the connection"):
            await client.infer(REQUEST)


async def test_a_message_without_its_status_is_no_answer(peer_for):
    async def script(peer):
        await peer.greet()
        stream_id = await peer.call()
        peer.start(stream_id)
        peer.message(stream_id, b"")
        await peer.flush()
        await peer.hang_up()

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        with pytest.raises(ConnectionFailed, match="lost before the answer"):
            await client.infer(REQUEST)


async def test_a_message_followed_by_an_error_is_an_error(peer_for):
    async def script(peer):
        await peer.greet()
        await peer.answer(await peer.call(), status=8)

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        with pytest.raises(CallFailed) as caught:
            await client.infer(REQUEST)
        assert caught.value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("error_code", "code"),
    [
        (ErrorCodes.NO_ERROR, "INTERNAL"),
        (ErrorCodes.INTERNAL_ERROR, "INTERNAL"),
        (ErrorCodes.REFUSED_STREAM, "UNAVAILABLE"),
        (ErrorCodes.CANCEL, "CANCELLED"),
        (ErrorCodes.ENHANCE_YOUR_CALM, "RESOURCE_EXHAUSTED"),
        (ErrorCodes.INADEQUATE_SECURITY, "PERMISSION_DENIED"),
    ],
)
async def test_a_reset_of_the_stream_ends_the_call_and_no_other(peer_for, error_code, code):
    async def script(peer):
        await peer.greet()
        peer.h2.reset_stream(await peer.call(), error_code)
        await peer.flush()
        await peer.answer(await peer.call())

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        with pytest.raises(CallFailed, match=error_code.name) as caught:
            await client.infer(REQUEST)
        assert caught.value.code == code
        assert not isinstance(caught.value, ConnectionFailed)
        assert await client.infer(REQUEST) == InferenceResponse()


@pytest.mark.parametrize("reset", [False, True])
async def test_an_answer_may_come_before_the_request_is_sent(peer_for, reset):
    """The window stays closed: what is left of the request is never asked for (RFC 9113 8.1)."""

    async def script(peer):
        await peer.greet()
        stream_id = (await peer.event(h2.events.RequestReceived)).stream_id
        peer.h2.send_headers(
            stream_id,
            [
                (":status", "200"),
                ("content-type", "application/grpc"),
                ("grpc-status", "8"),
                ("grpc-message", "too large"),
            ],
            end_stream=True,
        )
        if reset:
            peer.h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)
        await peer.flush()
        while True:
            event = await peer.event(h2.events.Event)
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                peer.h2.increment_flow_control_window(event.flow_controlled_length)  # not that of the stream
                await peer.flush()
            if isinstance(event, h2.events.RequestReceived):
                break
        await peer.call()
        await peer.answer(event.stream_id)

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        with pytest.raises(CallFailed, match=r"^RESOURCE_EXHAUSTED: too large$"):
            await client.infer(InferenceRequest(request_id="x" * 200_000))
        assert await client.infer(REQUEST) == InferenceResponse()


async def test_a_request_larger_than_the_window_is_sent_as_the_window_opens(serve):
    text = "x" * 5_000_000

    async def echo_length(request):
        return InferenceResponse(request_id=str(len(request.request_id)))

    async with Client("127.0.0.1", await serve(echo_length)) as client:
        response = await client.infer(InferenceRequest(request_id=text))
    assert response.request_id == str(len(text))


async def test_calls_in_flight_are_finished_after_goaway_and_no_more_are_made(peer_for, nursery):
    async def script(peer):
        await peer.greet()
        first = await peer.call()
        second = await peer.call()
        assert (first, second) == (1, 3)
        goaway = frame(7, 0, 0, struct.pack(">II", first, 0) + b"bye")
        await peer.send(goaway)
        await wait_for_refusal.wait()
        await peer.answer(first, InferenceResponse(request_id="answered"))
        await peer.hang_up()

    wait_for_refusal = trio.Event()
    answers = []

    async def first_call(client):
        answers.append(await client.infer(REQUEST))

    async def second_call(client):
        with pytest.raises(ConnectionFailed, match=r"takes no more calls on this connection \(bye\)"):
            await client.infer(REQUEST)
        with pytest.raises(ConnectionFailed, match="takes no more calls"):
            await client.infer(REQUEST)
        wait_for_refusal.set()

    async with peer_for(script) as port, Client("127.0.0.1", port) as client, trio.open_nursery() as calls:
        calls.start_soon(first_call, client)
        await trio.testing.wait_all_tasks_blocked()
        calls.start_soon(second_call, client)
    assert answers == [InferenceResponse(request_id="answered")]


async def several(times, call, *arguments):
    async with trio.open_nursery() as calls:
        for _ in range(times):
            calls.start_soon(call, *arguments)


def frame(kind, flags, stream_id, payload):
    """An HTTP/2 frame (RFC 9113 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload


async def test_no_more_calls_are_under_way_than_the_server_takes(peer_for):
    async def script(peer):
        await peer.greet(max_streams=2)
        under_way = [await peer.call(), await peer.call()]
        for _ in range(4):
            await trio.testing.wait_all_tasks_blocked()
            assert peer.h2.open_inbound_streams == 2
            await peer.answer(under_way.pop(0))
            if len(under_way) + peer.h2.highest_inbound_stream_id // 2 < 6:
                under_way.append(await peer.call())
        for stream_id in under_way:
            await peer.answer(stream_id)

    answers = []

    async def call(client):
        answers.append(await client.infer(REQUEST))

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        await several(6, call, client)
    assert answers == [InferenceResponse()] * 6


async def test_calls_that_wait_for_their_turn_fail_with_the_connection(peer_for):
    async def script(peer):
        await peer.greet(max_streams=1)
        await peer.call()
        await trio.testing.wait_all_tasks_blocked()
        await peer.hang_up()

    failed = []

    async def call(client):
        with pytest.raises(ConnectionFailed):
            await client.infer(REQUEST)
        failed.append(True)

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        await several(3, call, client)
    assert len(failed) == 3


async def test_the_server_is_told_when_nobody_waits_for_an_answer(peer_for):
    async def script(peer):
        await peer.greet()
        stream_id = await peer.call()
        called.set()
        reset = await peer.event(h2.events.StreamReset)
        assert (reset.stream_id, reset.error_code) == (stream_id, ErrorCodes.CANCEL)
        # What was on its way to the call changes nothing.
        await peer.send(frame(0, 0, stream_id, b"\0\0\0\0\0"))
        await peer.answer(await peer.call())

    called = trio.Event()
    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        async with trio.open_nursery() as calls:
            calls.start_soon(client.infer, REQUEST)
            await called.wait()
            calls.cancel_scope.cancel()
        assert await client.infer(REQUEST) == InferenceResponse()


async def test_a_call_that_is_given_up_while_it_is_sent_is_reset(peer_for):
    async def script(peer):
        await peer.greet()
        await peer.event(h2.events.RequestReceived)
        called.set()
        await peer.event(h2.events.StreamReset)
        reset.set()

    called, reset = trio.Event(), trio.Event()
    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        async with trio.open_nursery() as calls:
            calls.start_soon(client.infer, InferenceRequest(request_id="x" * 200_000))
            await called.wait()
            calls.cancel_scope.cancel()
        await reset.wait()


@pytest.mark.parametrize(
    "data",
    [frame(6, 0, 0, b"short"), frame(1, 5, 1, b"\x80")],
    ids=["ping of five bytes", "header with index 0"],
)
async def test_a_server_that_breaks_the_protocol_ends_the_calls(peer_for, data):
    async def script(peer):
        await peer.greet()
        await peer.call()
        await peer.send(data)

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        with pytest.raises(ConnectionFailed, match="it does not keep to the protocol"):
            await client.infer(REQUEST)


async def test_the_server_is_told_the_time_out_and_who_calls(peer_for):
    async def script(peer):
        await peer.greet()
        request = await peer.event(h2.events.RequestReceived)
        headers.update(request.headers)
        await peer.call()
        await peer.answer(request.stream_id)

    headers = {}
    async with peer_for(script) as port, Client("127.0.0.1", port, timeout_seconds=2.5) as client:
        await client.infer(REQUEST)
    assert headers["grpc-timeout"] == "2500000u"
    assert headers["user-agent"].startswith("hushar-client/")
    assert headers["grpc-accept-encoding"] == "identity"
    assert headers[":path"] == "/hushar.Hushar/InferenceService"
    assert headers[":authority"] == f"127.0.0.1:{port}"
