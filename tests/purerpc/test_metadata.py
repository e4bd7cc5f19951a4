"""A handler's `request`: the client's own metadata in wire order, `-bin` values as bytes."""

import json

import purerpc
import pytest

METADATA = (
    ("name", "World"),
    ("name", "World2"),
    ("name-bin", b"1234"),
    ("name-bin", b"123"),
    ("true-bin", b"\x00\x00"),
)


def listed(metadata):
    """As JSON has it."""
    return [[name, list(value) if isinstance(value, bytes) else value] for name, value in metadata]


@pytest.fixture
def service(generated, word):
    """Answers with the metadata that it sees."""

    class Servicer(generated.purerpc.PhrasesServicer):
        async def Greet(self, message, request):
            return word(text=json.dumps(listed(request.custom_metadata)))

    return Servicer().service


async def test_a_client_of_grpcio(service, start, with_grpcio, word):
    answer = await with_grpcio(await start(service), lambda stub: stub.Greet(word(), metadata=METADATA))
    assert json.loads(answer.text) == listed(METADATA)


async def test_a_client_of_purerpc(service, start, connect, stub, word):
    async with connect(await start(service)) as channel:
        answer = await stub(channel).Greet(word(), metadata=METADATA)
    assert json.loads(answer.text) == listed(METADATA)


async def test_a_server_of_grpcio(generated, grpcio_server, connect, stub, word):
    class Servicer(generated.grpcio.PhrasesServicer):
        def Greet(self, message, context):
            own = [pair for pair in context.invocation_metadata() if pair[0] in dict(METADATA)]
            return word(text=json.dumps(listed(own)))

    with grpcio_server(Servicer()) as port:
        async with connect(port) as channel:
            answer = await stub(channel).Greet(word(), metadata=METADATA)
    assert json.loads(answer.text) == listed(METADATA)


async def test_a_request_says_what_was_called(start, connect, word):
    service = purerpc.Service("phrases.Phrases")

    @service.rpc("Greet")
    async def greet(message: word, request) -> word:
        said = (request.service_name, request.method_name, request.scheme, request.content_type)
        return word(text=" ".join(said))

    async with connect(await start(service)) as channel:
        client = purerpc.Client("phrases.Phrases", channel)
        stream = await client.rpc("Greet", word, word)
        await stream.send_message(word())
        await stream.close()
        said = (await stream.receive_message()).text.split()
    assert said[:3] == ["phrases.Phrases", "Greet", "http"]
    assert said[3].startswith("application/grpc")
