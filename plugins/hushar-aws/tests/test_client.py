"""The client itself: what the sinks and the storage rely on."""

import socket
import threading

import pytest
import trio

from hushar.testing.faults import SLOW_DOWN, Hang, Refuse
from hushar_aws import client as client_module
from hushar_aws.client import AwsClient
from hushar_aws.errors import AwsError
from hushar_aws.exchange import MAX_ANSWER_BYTES
from hushar_aws.settings import AwsSettings
from hushar_aws.signing import UNSIGNED_PAYLOAD


@pytest.fixture
async def client(faulty_aws, aws_bucket, no_delay):
    one = AwsClient(AwsSettings(), "s3", bucket=aws_bucket, random=no_delay)
    yield one
    await one.aclose()


async def test_a_body_is_made_anew_for_each_attempt(client, faulty_aws):
    made = []

    async def body():
        made.append(1)
        yield b"ab"
        yield b"c"

    faulty_aws.inject(SLOW_DOWN, operation="PutObject", times=2)
    headers = {"content-length": "3"}
    await client.request("PUT", "/x", headers=headers, body=body, payload_hash=UNSIGNED_PAYLOAD)
    assert len(made) == 3
    assert (await client.request("GET", "/x")).body == b"abc"


async def test_a_streamed_body_needs_its_hash(client):
    async def body():
        yield b""

    with pytest.raises(TypeError, match="payload_hash"):
        await client.request("PUT", "/x", body=body)


async def test_what_is_expected_is_no_error(client):
    response = await client.request("GET", "/nothing", expect=(404,))
    assert response.status == 404
    assert b"NoSuchKey" in response.body
    assert response.headers["Content-Type"]
    with pytest.raises(AwsError) as raised:
        await client.request("GET", "/nothing")
    assert (raised.value.code, raised.value.status, raised.value.kind) == ("NoSuchKey", 404, "refused")


async def test_opening_twice_is_opening_once(client):
    await client.open()
    assert await client.endpoint() is await client.endpoint()


async def test_closing_what_was_never_open(aws_server):
    await AwsClient(AwsSettings(), "kinesis").aclose()


async def test_it_can_be_closed_while_it_is_being_cancelled(client):
    await client.request("GET", "/nothing", expect=(404,))
    with trio.CancelScope() as scope:
        scope.cancel()
        await client.aclose()
    with pytest.raises(AwsError, match="Closed"):
        await client.request("GET", "/nothing")


async def test_calls_overlap(client, faulty_aws):
    """Each with its own answer."""
    answers = {}

    async def call(i: int) -> None:
        await client.request("PUT", f"/{i}", body=str(i).encode() * 1000)
        answers[i] = (await client.request("GET", f"/{i}")).body

    async with trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(call, i)
    assert answers == {i: str(i).encode() * 1000 for i in range(20)}


async def test_what_another_service_answers_to_a_post_is_taken_as_it_is(faulty_aws, canned):
    faulty_aws.inject(canned(200, b"<Error>no XML of S3</Error>"))
    client = AwsClient(AwsSettings(), "kinesis")
    assert (await client.request("POST", "/", body=b"{}")).body == b"<Error>no XML of S3</Error>"
    await client.aclose()


async def test_a_refusal_that_is_worth_no_second_request(client, faulty_aws):
    faulty_aws.inject(Refuse(404, "NoSuchBucket"))
    with pytest.raises(AwsError, match="NoSuchBucket"):
        await client.request("GET", "/x")
    assert faulty_aws.count() == 1


async def test_an_error_without_end_is_not_kept(client, faulty_aws, canned):
    faulty_aws.inject(canned(403, b"<Error>" + b" " * (MAX_ANSWER_BYTES + 10_000_000)))
    sizes = []
    real = client_module.error_of

    def error_of(status, headers, body, **more):
        sizes.append(len(body))
        return real(status, headers, body, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "error_of", error_of)
        with pytest.raises(AwsError, match="AccessDenied"):
            await client.request("GET", "/x")
    (size,) = sizes
    assert MAX_ANSWER_BYTES <= size < 2 * MAX_ANSWER_BYTES


async def test_what_was_asked_for_is_read_to_its_end(client):
    data = bytes(3 * MAX_ANSWER_BYTES)
    await client.request("PUT", "/x", body=data)
    assert (await client.request("GET", "/x")).body == data


async def test_closing_ends_what_is_under_way(client, faulty_aws):
    faulty_aws.inject(Hang())
    raised = []

    async def call() -> None:
        with pytest.raises(AwsError) as one:
            await client.request("PUT", "/x", body=b"x")
        raised.append(one.value)

    with trio.fail_after(8):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            while not faulty_aws.count():  # noqa: ASYNC110 - a thread's
                await trio.sleep(0.01)
            await client.aclose()
    (error,) = raised
    assert (error.code, error.kind) == ("Closed", "transient")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
async def test_an_address_as_the_endpoint(aws_server, monkeypatch, family):
    """The host is signed as it is sent, with brackets where it needs them."""
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    try:
        listener = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("needs IPv6")
    got = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            got.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    host = f"[{address}]" if ":" in address else address
    with listener:
        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{listener.getsockname()[1]}")
        client = AwsClient(AwsSettings(), "kinesis")
        await client.request("POST", "/")
        await client.aclose()
        thread.join()
        assert f"host: {host}:{listener.getsockname()[1]}\r\n".encode() in got[0].lower()


async def test_a_quoted_secret_is_not_shown_when_its_half_would_be_cut_off(
    faulty_aws, canned, aws_bucket, monkeypatch
):
    """A token is longer than what we show of a message."""
    token = "FwoGZXIvYXdz" * 40
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    body = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{'x' * 250}{token}</Message></Error>"
    faulty_aws.inject(canned(403, body.encode()))
    client = AwsClient(AwsSettings(), "s3", bucket=aws_bucket)
    with pytest.raises(AwsError, match=r"xxx…$") as raised:
        await client.request("GET", "/x")
    await client.aclose()
    assert "FwoG" not in f"{raised.value} {raised.value!r} {raised.value.args}"
