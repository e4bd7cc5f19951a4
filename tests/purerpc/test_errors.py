"""How calls fail: exceptions of handlers, statuses, unknown methods. One departure from purerpc: a client is
told that the handler failed (INTERNAL), never with which exception."""

import string

import grpc
import purerpc
import pytest

STATUSES = [
    (purerpc.CancelledError, "CANCELLED", "percent encoded message: %"),
    (purerpc.UnknownError, "UNKNOWN", "привет"),
    (purerpc.InvalidArgumentError, "INVALID_ARGUMENT", "\r\n"),
    (purerpc.DeadlineExceededError, "DEADLINE_EXCEEDED", string.printable),
    (purerpc.NotFoundError, "NOT_FOUND", "message:" + string.whitespace),
    (purerpc.AlreadyExistsError, "ALREADY_EXISTS", "text"),
    (purerpc.PermissionDeniedError, "PERMISSION_DENIED", "text"),
    (purerpc.ResourceExhaustedError, "RESOURCE_EXHAUSTED", "text"),
    (purerpc.FailedPreconditionError, "FAILED_PRECONDITION", "text"),
    (purerpc.AbortedError, "ABORTED", "text"),
    (purerpc.OutOfRangeError, "OUT_OF_RANGE", "text"),
    (purerpc.UnimplementedError, "UNIMPLEMENTED", "text"),
    (purerpc.InternalError, "INTERNAL", "text"),
    (purerpc.UnavailableError, "UNAVAILABLE", "text"),
    (purerpc.DataLossError, "DATA_LOSS", "text"),
    (purerpc.UnauthenticatedError, "UNAUTHENTICATED", "text"),
]
each_status = pytest.mark.parametrize(
    ("error", "name", "text"), STATUSES, ids=[name for _, name, _ in STATUSES]
)


@pytest.fixture
def failing_service(generated, word):
    """Raises ValueError: at once, or after the seventh answer."""

    class Servicer(generated.purerpc.PhrasesServicer):
        async def Greet(self, message):
            raise ValueError("oops my bad")

        async def GreetEach(self, messages):
            number = 0
            async for _ in messages:
                number += 1
                yield word(text=str(number))
                if number == 7:
                    raise ValueError("Lucky 7")

    return Servicer().service


@pytest.fixture
def raising_service(word):
    """raising_service(error, text): raises this error of purerpc's."""

    def make(error, text):
        service = purerpc.Service("phrases.Phrases")

        @service.rpc("Greet")
        async def greet(message: word) -> word:
            raise error(text)

        return service

    return make


class TestExceptions:
    async def test_a_client_of_grpcio(self, failing_service, start, with_grpcio, word):
        def call(phrases):
            with pytest.raises(grpc.RpcError) as caught:
                phrases.Greet(word())
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert "oops" not in caught.value.details()
            with pytest.raises(grpc.RpcError) as caught:
                list(phrases.GreetEach(word() for _ in range(10)))
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert "Lucky" not in caught.value.details()

        await with_grpcio(await start(failing_service), call)

    async def test_a_client_of_purerpc(self, failing_service, start, connect, stub, word, sending, raised):
        async with connect(await start(failing_service)) as channel:
            phrases = stub(channel)
            with pytest.raises(purerpc.InternalError) as caught:
                await phrases.Greet(word())
            assert "oops" not in str(caught.value)
            answers = phrases.GreetEach(sending([word()] * 7))
            assert [(await anext(answers)).text for _ in range(7)] == list("1234567")
            with raised(purerpc.InternalError):
                await anext(answers)

    async def test_the_connection_lives_on(self, failing_service, start, connect, stub, word):
        async with connect(await start(failing_service)) as channel:
            for _ in range(3):
                with pytest.raises(purerpc.InternalError):
                    await stub(channel).Greet(word())

    async def test_the_clients_own_exception_ends_nothing_else(
        self, generated_service, start, connect, stub, word
    ):
        async with connect(await start(generated_service)) as channel:
            with pytest.raises(ValueError, match="enough"):
                await two_answers_and_an_error(stub(channel), word)
            assert (await stub(channel).Greet(word(text="again"))).text == "Hello, again"


async def two_answers_and_an_error(phrases, word):
    stream = await phrases.GreetEach()
    for _ in range(2):
        await stream.send_message(word(text="World"))
        assert (await stream.receive_message()).text == "Hello, World"
    raise ValueError("enough")


class TestStatuses:
    @each_status
    async def test_a_client_of_grpcio(self, raising_service, start, with_grpcio, word, error, name, text):
        def call(phrases):
            with pytest.raises(grpc.RpcError) as caught:
                phrases.Greet(word())
            assert (caught.value.code().name, caught.value.details()) == (name, text)

        await with_grpcio(await start(raising_service(error, text)), call)

    @each_status
    async def test_a_client_of_purerpc(self, raising_service, start, connect, stub, word, error, name, text):
        async with connect(await start(raising_service(error, text))) as channel:
            with pytest.raises(error) as caught:
                await stub(channel).Greet(word())
        assert caught.value.status.status_message == text
        assert caught.value.status.status_code.name == name

    @each_status
    async def test_a_server_of_grpcio(self, generated, grpcio_server, connect, stub, word, error, name, text):
        class Servicer(generated.grpcio.PhrasesServicer):
            def Greet(self, message, context):
                context.abort(getattr(grpc.StatusCode, name), text)

        with grpcio_server(Servicer()) as port:
            async with connect(port) as channel:
                with pytest.raises(error) as caught:
                    await stub(channel).Greet(word())
        assert caught.value.status.status_message == text


class TestUnknown:
    @pytest.mark.parametrize("name", ["phrases.Others", "Phrases"])
    async def test_services(self, start, with_grpcio, word, name):
        service = purerpc.Service(name)

        @service.rpc("Greet")
        async def greet(message: word) -> word:
            return message

        await with_grpcio(await start(service), lambda phrases: is_unimplemented(phrases.Greet, word()))

    async def test_methods(self, start, with_grpcio, word):
        service = purerpc.Service("phrases.Phrases")

        @service.rpc("Part")
        async def part(message: word) -> word:
            return message

        await with_grpcio(await start(service), lambda phrases: is_unimplemented(phrases.Greet, word()))

    async def test_a_server_of_grpcio_without_the_method(self, generated, grpcio_server, connect, stub, word):
        with grpcio_server(generated.grpcio.PhrasesServicer()) as port:
            async with connect(port) as channel:
                with pytest.raises(purerpc.UnimplementedError):
                    await stub(channel).Greet(word())


def is_unimplemented(method, message):
    with pytest.raises(grpc.RpcError) as caught:
        method(message)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "not implemented" in caught.value.details()
