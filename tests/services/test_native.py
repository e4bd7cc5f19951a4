"""The service hushar.Hushar: messages go to the batcher as they are, errors become statuses."""

import math

import grpc
import purerpc
import pytest
import trio

from hushar.client import CallFailed, Client
from hushar.errors import ErrorKind, InvalidRequest, ModelFailed, Overloaded, UndecodableRequest
from hushar.proto import structs_pb2 as pb
from hushar.rpc import RawCall, Server
from hushar.services import native

ERRORS = [
    (InvalidRequest("feature 'x' of row 0: no"), "INVALID_ARGUMENT"),
    (UndecodableRequest(), "INTERNAL"),
    (ModelFailed(), "INTERNAL"),
    (Overloaded("queue_rows", 12), "RESOURCE_EXHAUSTED"),
]


class FakeBatcher:
    """Answers each call at once, or keeps it."""

    def __init__(self, answer=None):
        self.answer = answer
        self.calls = []
        self.messages = []

    def submit(self, calls):
        self.calls += calls
        self.messages += [call.message for call in calls]
        for call in calls:
            if isinstance(self.answer, Exception):
                native.refuse([call], self.answer)
            elif self.answer is not None:
                call.reply(self.answer)


def test_every_kind_of_error_has_a_status_of_the_same_name():
    assert {kind: status.name for kind, status in native.STATUS.items()} == {
        kind: kind.value for kind in ErrorKind
    }


class Recorded(RawCall):
    """A call of the transport's, without a connection, that keeps what it ends with."""

    __slots__ = ("ended",)

    def fail(self, code, text=""):
        self.ended = (code.name, text)


class TestRefuse:
    @pytest.mark.parametrize(("error", "code"), ERRORS)
    def test_a_call_of_a_client_gets_the_status_and_the_sentence(self, error, code):
        call = Recorded.__new__(Recorded)
        native.refuse([call], error)
        assert call.ended == (code, str(error))

    def test_one_that_was_shed_is_told_when_to_try_again(self):
        call = Recorded.__new__(Recorded)
        native.refuse([call], Overloaded("queue_rows", 12))
        assert call.trailing == [(b"grpc-retry-pushback-ms", b"12")]

    async def test_a_call_from_inside_gets_the_error(self):
        error = InvalidRequest("no")
        call = native.LocalCall(b"")
        native.refuse([call], error)
        with pytest.raises(InvalidRequest) as caught:
            await call.answer()
        assert caught.value is error

    def test_anything_else_is_a_mistake_of_the_program(self):
        with pytest.raises(TypeError, match="not a call of this service"):
            native.refuse([object()], ModelFailed())


class TestScore:
    async def test_bytes_go_in_and_come_out_as_they_are(self):
        batcher = FakeBatcher(b"response")
        assert await native.score(batcher, b"request") == b"response"
        assert [call.message for call in batcher.calls] == [b"request"]

    async def test_an_error_is_raised(self):
        with pytest.raises(InvalidRequest, match="too many"):
            await native.score(FakeBatcher(InvalidRequest("too many")), b"")

    async def test_the_answer_may_come_later(self, autojump_clock):
        batcher = FakeBatcher()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _():
                await trio.sleep(1)
                (call,) = batcher.calls
                assert not call.over
                call.reply(b"late")

            assert await native.score(batcher, b"") == b"late"

    async def test_who_is_cancelled_while_waiting_waits_no_more(self, autojump_clock):
        batcher = FakeBatcher()
        with trio.move_on_after(1) as scope:
            await native.score(batcher, b"")
        assert scope.cancelled_caught
        assert batcher.calls[0].over

    async def test_what_is_left_to_whoever_asks_is_the_calls_deadline(self, autojump_clock):
        batcher = FakeBatcher(b"")
        await native.score(batcher, b"")
        with trio.fail_after(5):
            await native.score(batcher, b"")
        assert [call.deadline for call in batcher.calls] == [math.inf, trio.current_time() + 5]

    async def test_calls_from_inside_and_of_clients_are_answered_together(self):
        calls = [native.LocalCall(b""), native.LocalCall(b"")]
        assert native.reply_all(calls, [b"1", b"2"]) == ()
        assert [await call.answer() for call in calls] == [b"1", b"2"]

    async def test_who_has_an_answer_gets_no_other(self):
        call = native.LocalCall(b"")
        assert native.reply_all([call, call], [b"1", b"2"]) == (1,)
        assert await call.answer() == b"1"


class TestOnTheWire:
    @pytest.fixture
    async def client(self, nursery):
        """client(batcher): connected to a server with the service."""

        async def connect(batcher):
            server = Server(0)
            native.add_native_service(server, batcher)
            return Client("127.0.0.1", await nursery.start(server.serve_async))

        return connect

    def test_the_batcher_may_let_the_reader_rest(self):
        server, batcher = Server(0), FakeBatcher()
        native.add_native_service(server, batcher)
        batcher.on_waiting(1.0)
        assert batcher.on_waiting == server.rest

    def test_the_batcher_has_answers_sent_before_it_measures_them(self):
        server, batcher = Server(0), FakeBatcher()
        native.add_native_service(server, batcher)
        assert batcher.on_answered == server.flush

    async def test_a_call_is_handed_over_undecoded_and_answered(self, client):
        request = pb.InferenceRequest(request_id="q", inputs=[pb.InputRow(row_id="r")])
        response = pb.InferenceResponse(request_id="q", outputs=[pb.OutputRow(row_id="r", scores=[0.5])])
        batcher = FakeBatcher(response.SerializeToString())
        async with await client(batcher) as connected:
            assert await connected.infer(request) == response
        assert batcher.messages == [request.SerializeToString()]

    @pytest.mark.parametrize(("error", "code"), ERRORS)
    async def test_an_error_is_a_status(self, client, error, code):
        async with await client(FakeBatcher(error)) as connected:
            with pytest.raises(CallFailed) as caught:
                await connected.infer(pb.InferenceRequest())
        assert caught.value.code == code
        assert str(error) in str(caught.value)

    async def test_one_that_was_shed_gets_trailers_only_with_the_time_of_another_attempt(self, nursery):
        server = Server(0)
        native.add_native_service(server, FakeBatcher(Overloaded("queue_rows", 1234)))
        port = await nursery.start(server.serve_async)

        def call():
            target, options = f"127.0.0.1:{port}", [("grpc.enable_retries", 0)]
            with grpc.insecure_channel(target, options) as channel, pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(native.PATH)(b"", timeout=10)
            return caught.value

        error = await trio.to_thread.run_sync(call)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ("grpc-retry-pushback-ms", "1234") in error.trailing_metadata()
        assert not error.initial_metadata()

    def test_the_path_is_that_of_the_contract(self):
        assert native.PATH == "/hushar.Hushar/InferenceService"
        assert native.STATUS[ErrorKind.INTERNAL] is purerpc.StatusCode.INTERNAL
