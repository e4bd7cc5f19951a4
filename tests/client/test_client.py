import shutil
import socket
import ssl
import subprocess

import h2.events
import numpy as np
import purerpc
import pytest
import trio

from hushar.client import BadRows, CallFailed, Client, ConnectionFailed, tls_context
from hushar.client.client import scores_of
from hushar.proto.structs_pb2 import DataType, InferenceRequest, InferenceResponse, OutputRow
from hushar.rpc import Server


async def test_rows_are_scored_in_their_order(serve):
    async with Client("127.0.0.1", await serve()) as client:
        scores = await client.score([{"a": 1.5, "b": "x"}, {}, {"a": None, "b": 1}])
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, np.array([[2, 0.1], [0, 0.1], [1, 0.1]], np.float32))


async def test_columns_are_scored(serve):
    async with Client("127.0.0.1", await serve()) as client:
        scores = await client.score({"a": np.arange(1000.0), "b": [None] * 1000})
    assert scores.shape == (1000, 2)
    assert (scores[:, 0] == 1).all()


async def test_no_rows_have_no_scores(serve):
    async with Client("127.0.0.1", await serve()) as client:
        scores = await client.score([])
    assert scores.shape == (0, 0)
    assert scores.dtype == np.float32


async def test_what_is_given_is_what_the_server_gets(serve):
    requests = []

    async def keep(request):
        requests.append(request)
        return InferenceResponse(outputs=[OutputRow(scores=[1])])

    async with Client("127.0.0.1", await serve(keep), kinds={"age": "double"}) as client:
        await client.score([{"age": 41, "n": np.int64(2)}], row_ids=["r"], request_id="q")
    [request] = requests
    features = {"age": DataType(double_value=41), "n": DataType(long_value=2)}
    assert request == InferenceRequest(request_id="q", inputs=[{"row_id": "r", "features": features}])


async def test_messages_can_be_sent_as_they_are(serve):
    request = InferenceRequest(request_id="q", inputs=[{"row_id": "r", "features": {"x": DataType()}}])
    async with Client("127.0.0.1", await serve()) as client:
        response = await client.infer(request)
    assert (response.request_id, response.outputs[0].row_id, len(response.outputs)) == ("q", "r", 1)


async def test_bad_rows_are_not_sent(serve):
    async with Client("127.0.0.1", await serve()) as client:
        with pytest.raises(BadRows, match="row 0: feature 'a'"):
            await client.score([{"a": True}])


async def test_an_address_is_enough(serve):
    async with Client.connect(f"127.0.0.1:{await serve()}", timeout_seconds=60) as client:
        assert (await client.score([{}])).shape == (1, 2)


async def test_a_status_other_than_ok_is_an_error_with_its_name_and_message(serve):
    async def refuse(request):
        raise purerpc.InvalidArgumentError("feature 'age' of row 'ü' (0): 100 % wrong")

    async with Client("127.0.0.1", await serve(refuse)) as client:
        for _ in range(2):
            with pytest.raises(CallFailed) as caught:
                await client.score([{}])
            assert caught.value.code == "INVALID_ARGUMENT"
            assert caught.value.message == "feature 'age' of row 'ü' (0): 100 % wrong"


async def test_an_unavailable_server_is_no_broken_connection(serve):
    async def refuse(request):
        raise purerpc.UnavailableError("draining")

    async with Client("127.0.0.1", await serve(refuse), retries=1) as client:
        with pytest.raises(CallFailed, match=r"^UNAVAILABLE: draining$") as caught:
            await client.score([{}])
        assert not isinstance(caught.value, ConnectionFailed)


async def test_a_call_that_takes_too_long_is_given_up_and_the_next_is_not(serve, autojump_clock):
    async def slow(request):
        if request.request_id == "slow":
            await trio.sleep(100)
        return InferenceResponse(outputs=[OutputRow(scores=[1])])

    async with Client("127.0.0.1", await serve(slow), timeout_seconds=1.5) as client:
        with pytest.raises(CallFailed, match=r"^DEADLINE_EXCEEDED: no answer within 1.5 s$"):
            await client.score([{}], request_id="slow")
        assert await client.score([{}]) == [[1]]


async def test_calls_may_overlap(serve):
    all_here = trio.Event()
    waiting = []

    async def meet(request):
        waiting.append(request)
        if len(waiting) == 20:
            all_here.set()
        await all_here.wait()
        return InferenceResponse(outputs=[OutputRow(scores=[float(request.request_id)])])

    scores = {}

    async def call(client, number):
        scores[number] = await client.score([{}], request_id=str(number))

    async with Client("127.0.0.1", await serve(meet)) as client, trio.open_nursery() as calls:
        for number in range(20):
            calls.start_soon(call, client, number)
    assert {number: score.item() for number, score in scores.items()} == {n: n for n in range(20)}


async def test_an_answer_with_too_few_rows_is_an_error(serve):
    async def nothing(request):
        return InferenceResponse()

    async with Client("127.0.0.1", await serve(nothing)) as client:
        with pytest.raises(CallFailed, match=r"^INTERNAL: the answer has 0 rows for 1$"):
            await client.score([{}])


async def test_an_answer_that_is_no_message_is_an_error(peer_for):
    async def script(peer):
        await peer.greet()
        stream_id = await peer.call()
        peer.start(stream_id)
        peer.message(stream_id, b"\xff")
        peer.end(stream_id)
        await peer.flush()

    async with peer_for(script) as port, Client("127.0.0.1", port) as client:
        with pytest.raises(CallFailed, match=r"^INTERNAL: the answer is not one hushar\.InferenceResponse$"):
            await client.score([{}])


@pytest.mark.slow
async def test_a_request_that_is_too_large_to_be_sent_is_an_error(serve):
    async with Client("127.0.0.1", await serve()) as client:
        with pytest.raises(CallFailed, match=r"^RESOURCE_EXHAUSTED: the request has more than 64 MiB$"):
            await client.infer(InferenceRequest(request_id="x" * (64 << 20)))
        assert (await client.score([{}])).shape == (1, 2)


async def test_a_client_is_used_inside_its_block(serve):
    client = Client("127.0.0.1", await serve())
    with pytest.raises(ConnectionFailed, match="not connected"):
        await client.score([{}])
    async with client:
        pass
    with pytest.raises(ConnectionFailed, match="the client was closed"):
        await client.score([{}])


async def test_a_call_that_outlives_the_block_fails(serve, nursery):
    async def never(request):
        await trio.sleep_forever()

    failed = trio.Event()

    async def call():
        with pytest.raises(ConnectionFailed, match=r"^UNAVAILABLE: the client was closed$"):
            await client.infer(InferenceRequest())
        failed.set()

    async with Client("127.0.0.1", await serve(never)) as client:
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
    await failed.wait()


async def test_a_server_that_was_away_is_called_again(nursery, autojump_clock):
    async def run(port, *, task_status):
        server = Server(port)
        server.add_raw_unary("/hushar.Hushar/InferenceService", lambda calls: [c.reply(b"") for c in calls])
        async with trio.open_nursery() as serving:
            task_status.started((await serving.start(server.serve_async), serving.cancel_scope))

    port, scope = await nursery.start(run, 0)
    async with Client("127.0.0.1", port) as client:
        await client.infer(InferenceRequest())
        scope.cancel()
        await trio.sleep(1)
        with pytest.raises(ConnectionFailed, match="cannot connect to"):
            await client.infer(InferenceRequest())
        await nursery.start(run, port)
        assert await client.infer(InferenceRequest()) == InferenceResponse()


async def test_where_nobody_listens_there_is_no_connection():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        with pytest.raises(ConnectionFailed) as caught:
            async with Client("127.0.0.1", port):
                pytest.fail("there is no connection")
    assert caught.value.message == f"cannot connect to 127.0.0.1:{port}: Connection refused"


async def test_the_server_is_told_the_time_out_the_token_the_metadata_and_who_calls(peer_for):
    async def script(peer):
        await peer.greet()
        request = await peer.event(h2.events.RequestReceived)
        headers.update(request.headers)
        await peer.call()
        await peer.answer(request.stream_id)

    headers = {}
    async with (
        peer_for(script) as port,
        Client("127.0.0.1", port, timeout_seconds=2.5, token="s3cret") as client,
    ):
        await client.infer(InferenceRequest(), metadata=[("x-tenant", "a")])
    assert headers["grpc-timeout"].endswith("u")
    assert 0 < int(headers["grpc-timeout"][:-1]) <= 2_500_000
    assert headers["user-agent"].startswith("hushar-client/")
    assert headers[":path"] == "/hushar.Hushar/InferenceService"
    assert headers[":authority"] == f"127.0.0.1:{port}"
    assert headers["authorization"] == "Bearer s3cret"
    assert headers["x-tenant"] == "a"


async def test_metadata_that_cannot_be_sent_are_the_callers_mistake(serve):
    async with Client("127.0.0.1", await serve()) as client:
        with pytest.raises(ValueError, match="grpc-x"):
            await client.score([{}], metadata=[("grpc-x", "1")])


@pytest.mark.parametrize("token", ["", "a b", "ä", "a\n"])
def test_a_token_is_printable_ascii(token):
    with pytest.raises(ValueError, match="a token is printable ASCII"):
        Client("127.0.0.1", 1, token=token)


def test_rows_of_different_length_are_no_scores():
    outputs = [OutputRow(scores=[1]), OutputRow(scores=[1, 2])]
    with pytest.raises(CallFailed, match=r"differ in their number of scores: \[1, 2\]"):
        scores_of(outputs, rows=2)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_out_is_positive(seconds):
    with pytest.raises(ValueError, match="timeout_seconds must be positive"):
        Client("127.0.0.1", 1, timeout_seconds=seconds)


def test_kinds_are_known():
    with pytest.raises(ValueError, match="unknown kinds 'bool', 'flot': known are double_value"):
        Client("127.0.0.1", 1, kinds={"a": "flot", "b": "float", "c": "bool"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs tool: openssl")
    folder = tmp_path_factory.mktemp("tls")
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        [*request, *names, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def server_tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.slow
async def test_calls_go_over_tls(serve, server_tls, certificate):
    port = await serve(ssl_context=server_tls)
    context = tls_context(str(certificate / "cert.pem"))
    async with Client("127.0.0.1", port, ssl_context=context) as client:
        assert (await client.score([{}])).shape == (1, 2)


@pytest.mark.slow
async def test_a_certificate_that_nobody_vouches_for_is_refused(serve, server_tls):
    port = await serve(ssl_context=server_tls)
    with pytest.raises(
        ConnectionFailed, match="the server's certificate is not valid: self-signed certificate"
    ):
        async with Client("127.0.0.1", port, ssl_context=tls_context()):
            pytest.fail("there is no connection")


@pytest.mark.slow
async def test_tls_to_a_server_without_it_fails(serve):
    port = await serve()
    with pytest.raises(ConnectionFailed, match=f"cannot connect to 127.0.0.1:{port}: .*TLS"):
        async with Client("127.0.0.1", port, ssl_context=tls_context()):
            pytest.fail("there is no connection")
