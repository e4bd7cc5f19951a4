"""The four cardinalities: services of both kinds, clients of all kinds, one call and many at once."""

import purerpc
import pytest

NAMES = ("Foo", "Bar", "Bat", "Baz")
GREETED = [f"Hello, {name}" for name in NAMES]


def words(word, texts):
    return [word(text=text) for text in texts]


async def texts(answers):
    return [answer.text async for answer in answers]


async def test_stubs_of_purerpc(service, start, connect, stub, word, sending, parallel):
    async def call_all(phrases):
        assert (await phrases.Greet(word(text="World"))).text == "Hello, World"
        assert await texts(phrases.GreetAndPart(word(text="World"))) == ["Hello, World", "Goodbye, World"]
        assert (await phrases.GreetAll(sending(words(word, NAMES)))).text == "Hello, Foo, Bar, Bat, Baz"
        assert await texts(phrases.GreetEach(sending(words(word, NAMES)))) == GREETED

    async with connect(await start(service)) as channel:
        await call_all(stub(channel))
        await parallel(50, call_all, stub(channel))


async def test_stubs_of_grpcio(service, start, with_grpcio, word, parallel):
    def call_all(phrases):
        assert phrases.Greet(word(text="World")).text == "Hello, World"
        answers = phrases.GreetAndPart(word(text="World"))
        assert [answer.text for answer in answers] == ["Hello, World", "Goodbye, World"]
        assert phrases.GreetAll(iter(words(word, NAMES))).text == "Hello, Foo, Bar, Bat, Baz"
        assert [answer.text for answer in phrases.GreetEach(iter(words(word, NAMES)))] == GREETED

    await parallel(20, with_grpcio, await start(service), call_all)


async def test_a_server_of_grpcio(generated, grpcio_server, connect, stub, word, sending, raised):
    class Servicer(generated.grpcio.PhrasesServicer):
        def Greet(self, message, context):
            return word(text=f"Hello, {message.text}")

        def GreetAndPart(self, message, context):
            yield word(text=f"Hello, {message.text}")
            yield word(text=f"Goodbye, {message.text}")

        def GreetEach(self, messages, context):
            for message in messages:
                yield word(text=f"Hello, {message.text}")

        def GreetAll(self, messages, context):
            return word(text="Hello, " + ", ".join(message.text for message in messages))

    with grpcio_server(Servicer()) as port:
        async with connect(port) as channel:
            phrases = stub(channel)
            assert (await phrases.Greet(word(text="World"))).text == "Hello, World"
            assert await texts(phrases.GreetAndPart(word(text="World"))) == ["Hello, World", "Goodbye, World"]
            assert (await phrases.GreetAll(sending(words(word, NAMES)))).text == "Hello, Foo, Bar, Bat, Baz"
            assert await texts(phrases.GreetEach(sending(words(word, NAMES)))) == GREETED
            with raised(purerpc.UnimplementedError):
                await texts(phrases.Join(sending(words(word, NAMES))))


@pytest.fixture
async def rpc(service, start, connect, word):
    """rpc(method): the stream of a call, which is spoken to message by message."""
    async with connect(await start(service)) as channel:
        client = purerpc.Client("phrases.Phrases", channel)
        yield lambda method: client.rpc(method, word, word)


class TestStreams:
    async def test_of_a_unary_method(self, rpc, word):
        stream = await rpc("Greet")
        await stream.send_message(word(text="World"))
        await stream.close()
        assert (await stream.receive_message()).text == "Hello, World"
        assert await stream.receive_message() is None

    async def test_of_a_method_that_answers_with_a_stream(self, rpc, word):
        stream = await rpc("GreetAndPart")
        await stream.send_message(word(text="World"))
        await stream.close()
        assert (await stream.receive_message()).text == "Hello, World"
        assert (await stream.receive_message()).text == "Goodbye, World"
        assert await stream.receive_message() is None

    async def test_answers_come_between_requests(self, rpc, word):
        stream = await rpc("GreetEach")
        await stream.send_message(word(text="Foo"))
        assert (await stream.receive_message()).text == "Hello, Foo"
        await stream.send_message(word(text="Bar"))
        assert (await stream.receive_message()).text == "Hello, Bar"
        await stream.send_message(word(text="Bat"))
        await stream.send_message(word(text="Baz"))
        assert (await stream.receive_message()).text == "Hello, Bat"
        assert (await stream.receive_message()).text == "Hello, Baz"
        await stream.close()
        assert await stream.receive_message() is None

    async def test_of_a_method_that_takes_a_stream(self, rpc, word):
        stream = await rpc("GreetAll")
        for name in NAMES:
            await stream.send_message(word(text=name))
        await stream.close()
        assert (await stream.receive_message()).text == "Hello, Foo, Bar, Bat, Baz"
        assert await stream.receive_message() is None

    async def test_a_stub_without_messages_gives_the_stream(self, service, start, connect, stub, word):
        async with connect(await start(service)) as channel:
            stream = await stub(channel).GreetEach()
            await stream.send_message(word(text="World"))
            assert (await stream.receive_message()).text == "Hello, World"
            await stream.close()
            assert await stream.receive_message() is None
