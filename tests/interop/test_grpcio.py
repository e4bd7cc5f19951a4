"""grpcio, with threads and with asyncio, plain and over TLS: the four cardinalities and what goes along."""

import asyncio
import json
import threading
import uuid

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

SECONDS = 30
KIB, MIB = 1024, 1024 * 1024
SIZES = [27182, 8, 1828, 45904]


@pytest.fixture
def channel(either):
    with either.channel() as channel:
        yield channel


@pytest.fixture
def stub(testmessages):
    """stub(channel, method): a callable for a method of TestService, by its cardinality."""
    tm = testmessages
    methods = {
        "EmptyCall": ("unary_unary", tm.Empty),
        "UnaryCall": ("unary_unary", tm.SimpleResponse),
        "StreamingOutputCall": ("unary_stream", tm.StreamingOutputCallResponse),
        "StreamingInputCall": ("stream_unary", tm.StreamingInputCallResponse),
        "FullDuplexCall": ("stream_stream", tm.StreamingOutputCallResponse),
        "HalfDuplexCall": ("stream_stream", tm.StreamingOutputCallResponse),
    }

    def make(channel, method):
        cardinality, response = methods[method]
        path = f"/grpc.testing.TestService/{method}"
        return getattr(channel, cardinality)(path, lambda m: m.SerializeToString(), response.FromString)

    return make


def probe(channel, method, kind=StringValue, cardinality="unary_unary"):
    path = f"/interop.Probe/{method}"
    return getattr(channel, cardinality)(path, kind.SerializeToString, kind.FromString)


def described(channel, **options):
    """What the server says of a call made with these options."""
    return json.loads(probe(channel, "Describe")(StringValue(), timeout=SECONDS, **options).value)


class TestCardinalities:
    def test_unary(self, channel, stub, testmessages):
        request = testmessages.SimpleRequest(response_size=314159, payload={"body": bytes(271828)})
        answer = stub(channel, "UnaryCall")(request, timeout=SECONDS)
        assert len(answer.payload.body) == 314159

    def test_unary_stream(self, channel, stub, testmessages):
        request = testmessages.StreamingOutputCallRequest(
            response_parameters=[{"size": size, "interval_us": 1000} for size in SIZES]
        )
        answers = stub(channel, "StreamingOutputCall")(request, timeout=SECONDS)
        assert [len(answer.payload.body) for answer in answers] == SIZES

    def test_stream_unary(self, channel, stub, testmessages):
        requests = [testmessages.StreamingInputCallRequest(payload={"body": bytes(size)}) for size in SIZES]
        answer = stub(channel, "StreamingInputCall")(iter(requests), timeout=SECONDS)
        assert answer.aggregated_payload_size == 74922

    @pytest.mark.parametrize("method", ["FullDuplexCall", "HalfDuplexCall"])
    def test_stream_stream(self, channel, stub, testmessages, method):
        requests = [
            testmessages.StreamingOutputCallRequest(response_parameters=[{"size": size}]) for size in SIZES
        ]
        answers = stub(channel, method)(iter(requests), timeout=SECONDS)
        assert [len(answer.payload.body) for answer in answers] == SIZES

    def test_ping_pong(self, channel, stub, testmessages):
        """Each request is sent when the answer to the one before is here."""
        answered = threading.Semaphore(1)

        def requests():
            for size in SIZES:
                answered.acquire()
                yield testmessages.StreamingOutputCallRequest(response_parameters=[{"size": size}])

        for size, answer in zip(
            SIZES, stub(channel, "FullDuplexCall")(requests(), timeout=SECONDS), strict=True
        ):
            assert len(answer.payload.body) == size
            answered.release()

    def test_a_stream_of_nothing(self, channel, stub):
        assert list(stub(channel, "FullDuplexCall")(iter(()), timeout=SECONDS)) == []

    def test_a_hundred_streams_at_once(self, channel, stub, testmessages):
        request = testmessages.SimpleRequest(response_size=10_000, payload={"body": bytes(10_000)})
        futures = [stub(channel, "UnaryCall").future(request, timeout=SECONDS) for _ in range(100)]
        assert {len(future.result().payload.body) for future in futures} == {10_000}


class TestAsyncio:
    """grpc.aio: the same server, another client's surface."""

    def test_all_cardinalities_at_once(self, either, stub, testmessages):
        async def unary(channel):
            request = testmessages.SimpleRequest(response_size=5)
            return len((await stub(channel, "UnaryCall")(request, timeout=SECONDS)).payload.body)

        async def unary_stream(channel):
            request = testmessages.StreamingOutputCallRequest(
                response_parameters=[{"size": size} for size in SIZES]
            )
            call = stub(channel, "StreamingOutputCall")(request, timeout=SECONDS)
            return [len(answer.payload.body) async for answer in call]

        async def stream_unary(channel):
            call = stub(channel, "StreamingInputCall")(timeout=SECONDS)
            for size in SIZES:
                await call.write(testmessages.StreamingInputCallRequest(payload={"body": bytes(size)}))
            await call.done_writing()
            return (await call).aggregated_payload_size

        async def stream_stream(channel):
            call = stub(channel, "FullDuplexCall")(timeout=SECONDS)
            received = []
            for size in SIZES:
                await call.write(
                    testmessages.StreamingOutputCallRequest(response_parameters=[{"size": size}])
                )
                received.append(len((await call.read()).payload.body))
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            return received

        async def main():
            if either.certificates is None:
                opened = grpc.aio.insecure_channel(either.address)
            else:
                opened = grpc.aio.secure_channel(either.address, either.certificates.credentials())
            async with opened as channel:
                calls = (unary, unary_stream, stream_unary, stream_stream)
                return await asyncio.gather(*(call(channel) for call in calls))

        assert asyncio.run(main()) == [5, SIZES, 74922, SIZES]

    def test_a_cancelled_call_cancels_its_handler(self, served):
        name = StringValue(value=str(uuid.uuid4()))

        async def main():
            async with grpc.aio.insecure_channel(served.address) as channel:
                waiting = probe(channel, "Wait")(name, timeout=SECONDS)
                await probe(channel, "Begun")(name, timeout=SECONDS)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                return await probe(channel, "Cancelled")(name, timeout=SECONDS)

        assert asyncio.run(main()) == name


class TestStatuses:
    @pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
    def test_every_code_arrives_with_its_text(self, channel, stub, testmessages, code):
        text = "\t\nwith blanks\r\nand ☺ and 😈 and 100 %\t\n"
        request = testmessages.SimpleRequest(response_status={"code": code.value[0], "message": text})
        with pytest.raises(grpc.RpcError) as caught:
            stub(channel, "UnaryCall")(request, timeout=SECONDS)
        assert (caught.value.code(), caught.value.details()) == (code, text)

    def test_a_status_ends_a_stream_after_its_answers(self, channel, stub, testmessages):
        requests = [
            testmessages.StreamingOutputCallRequest(response_parameters=[{"size": 3}]),
            testmessages.StreamingOutputCallRequest(response_status={"code": 9, "message": "not now"}),
        ]
        answers = stub(channel, "FullDuplexCall")(iter(requests), timeout=SECONDS)
        assert len(next(answers).payload.body) == 3
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    def test_an_unknown_method(self, channel):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/grpc.testing.TestService/UnimplementedCall")(b"", timeout=SECONDS)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


class TestDeadlines:
    def test_a_deadline_ends_the_call_and_its_handler(self, channel):
        name = StringValue(value=str(uuid.uuid4()))
        with pytest.raises(grpc.RpcError) as caught:
            probe(channel, "Wait")(name, timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert probe(channel, "Cancelled")(name, timeout=SECONDS) == name

    def test_a_handler_sees_the_clients_time_out(self, channel):
        description = described(channel)
        assert description["has_deadline"]
        assert SECONDS - 10 < description["timeout"] <= SECONDS

    def test_no_deadline_is_none(self, channel):
        description = json.loads(probe(channel, "Describe")(StringValue()).value)
        assert (description["timeout"], description["has_deadline"]) == (None, False)


class TestCancellation:
    def test_a_cancelled_call_cancels_its_handler(self, channel):
        name = StringValue(value=str(uuid.uuid4()))
        waiting = probe(channel, "Wait").future(name, timeout=SECONDS)
        probe(channel, "Begun")(name, timeout=SECONDS)
        waiting.cancel()
        assert probe(channel, "Cancelled")(name, timeout=SECONDS) == name

    def test_a_closed_channel_cancels_its_handlers(self, either, channel):
        names = [StringValue(value=str(uuid.uuid4())) for _ in range(3)]
        with either.channel() as leaving:
            # Kept: a future that is let go of cancels its call.
            futures = [probe(leaving, "Wait").future(name, timeout=SECONDS) for name in names]
            for name in names:
                probe(channel, "Begun")(name, timeout=SECONDS)
        assert all(future.done() for future in futures)
        for name in names:
            assert probe(channel, "Cancelled")(name, timeout=SECONDS) == name

    def test_a_stream_can_be_left_in_the_middle(self, channel, stub, testmessages):
        request = testmessages.StreamingOutputCallRequest(
            response_parameters=[{"size": 60_000} for _ in range(2000)]
        )
        answers = stub(channel, "StreamingOutputCall")(request, timeout=SECONDS)
        assert len(next(answers).payload.body) == 60_000
        answers.cancel()
        assert stub(channel, "EmptyCall")(testmessages.Empty(), timeout=SECONDS) == testmessages.Empty()


class TestMetadata:
    SENT = (
        ("name", "one"),
        ("name", "two"),
        ("another", "with blanks, and a comma"),
        ("data-bin", b"1234"),
        ("data-bin", bytes(range(256))),
        ("empty-bin", b""),
    )

    def test_a_handler_sees_the_clients_own_in_wire_order(self, channel):
        expected = [[name, list(v) if isinstance(v, bytes) else v] for name, v in self.SENT]
        assert described(channel, metadata=self.SENT)["metadata"] == expected

    def test_a_handler_sees_no_metadata_where_the_client_sent_none(self, channel):
        assert described(channel)["metadata"] == []

    def test_leading_and_trailing_metadata_arrive(self, channel):
        _, call = probe(channel, "Metadata").with_call(StringValue(), timeout=SECONDS, metadata=self.SENT)
        for received in (call.initial_metadata(), call.trailing_metadata()):
            assert [tuple(pair) for pair in received if pair[0] in dict(self.SENT)] == list(self.SENT)

    def test_metadata_with_an_error(self, channel, stub, testmessages):
        request = testmessages.SimpleRequest(response_status={"code": 5, "message": "no"})
        sent = (("x-grpc-test-echo-initial", "a"), ("x-grpc-test-echo-trailing-bin", b"\0\xff"))
        with pytest.raises(grpc.RpcError) as caught:
            stub(channel, "UnaryCall")(request, timeout=SECONDS, metadata=sent)
        assert ("x-grpc-test-echo-trailing-bin", b"\0\xff") in [
            tuple(pair) for pair in caught.value.trailing_metadata()
        ]

    def test_metadata_of_eight_kibibytes(self, channel):
        sent = (("large", "x" * 7000), ("large-bin", bytes(900)))
        received = described(channel, metadata=sent)["metadata"]
        assert [len(value) for _, value in received] == [7000, 900]

    def test_what_a_handler_sees_of_the_call(self, either, channel):
        description = described(channel)
        assert description["peer"].startswith("ipv4:127.0.0.1:")
        assert description["authority"] == either.address
        assert (description["service"], description["method"]) == ("interop.Probe", "Describe")


class TestCompression:
    @pytest.mark.parametrize("name", ["Gzip", "Deflate"])
    @pytest.mark.parametrize("size", [0, 10, 1024, 300 * KIB])
    def test_both_ways(self, either, name, size):
        with either.channel(compression=getattr(grpc.Compression, name)) as channel:
            sent = BytesValue(value=b"abcd" * (size // 4))
            assert probe(channel, "Echo", BytesValue)(sent, timeout=SECONDS) == sent

    @pytest.mark.parametrize("name", ["Gzip", "Deflate"])
    def test_streams(self, either, stub, testmessages, name):
        with either.channel(compression=getattr(grpc.Compression, name)) as channel:
            requests = [
                testmessages.StreamingOutputCallRequest(
                    response_parameters=[{"size": size}], payload={"body": bytes(size)}
                )
                for size in SIZES
            ]
            answers = stub(channel, "FullDuplexCall")(iter(requests), timeout=SECONDS)
            assert [len(answer.payload.body) for answer in answers] == SIZES

    def test_a_call_may_go_as_it_is_on_a_channel_that_compresses(self, either):
        with either.channel(compression=grpc.Compression.Gzip) as channel:
            echo = probe(channel, "Echo", BytesValue)
            sent = BytesValue(value=bytes(5000))
            assert echo(sent, timeout=SECONDS, compression=grpc.Compression.NoCompression) == sent

    def test_expectations_of_the_interop_cases(self, either, stub, testmessages):
        """client_compressed_unary: a request that ought to be compressed and is not is refused."""
        request = testmessages.SimpleRequest(
            expect_compressed={"value": True}, response_size=314159, payload={"body": bytes(271828)}
        )
        with either.channel() as channel, pytest.raises(grpc.RpcError) as caught:
            stub(channel, "UnaryCall")(request, timeout=SECONDS)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with either.channel(compression=grpc.Compression.Gzip) as channel:
            answer = stub(channel, "UnaryCall")(request, timeout=SECONDS)
        assert len(answer.payload.body) == 314159


class TestSizes:
    LARGE = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

    @pytest.mark.parametrize("size", [0, 1, 16_379, 16_384, 65_535, 65_536, MIB, 4 * MIB - 100])
    def test_messages_of_all_sizes(self, either, size):
        with either.channel(options=self.LARGE) as channel:
            sent = BytesValue(value=bytes(size))
            assert probe(channel, "Echo", BytesValue)(sent, timeout=SECONDS) == sent

    def test_a_message_above_the_limit_fails_alone(self, either):
        with either.channel(options=self.LARGE) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                probe(channel, "Echo", BytesValue)(BytesValue(value=bytes(4 * MIB)), timeout=SECONDS)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert probe(channel, "Echo", BytesValue)(BytesValue(), timeout=SECONDS) == BytesValue()

    def test_an_answer_of_sixteen_mebibytes(self, either, stub, testmessages):
        with either.channel(options=self.LARGE) as channel:
            request = testmessages.SimpleRequest(response_size=16 * MIB)
            assert len(stub(channel, "UnaryCall")(request, timeout=SECONDS).payload.body) == 16 * MIB


class TestTls:
    def test_a_clients_certificate_reaches_the_handler(self, serve_testservice, certificates):
        served = serve_testservice("--client-ca", certificates.authority, tls=True)
        with grpc.secure_channel(served.address, certificates.credentials(client=True)) as channel:
            assert described(channel)["certificate"]

    def test_a_client_without_a_certificate_is_refused(self, serve_testservice, certificates):
        served = serve_testservice("--client-ca", certificates.authority, tls=True)
        with (
            grpc.secure_channel(served.address, certificates.credentials()) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            described(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
