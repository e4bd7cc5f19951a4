"""Messages of all sizes, in many streams at once, with and without TLS; nothing is lost, nothing blocks."""

import random
import ssl

import pytest
import trio

from hushar.rpc import Server

LARGE = "World" * 20_000


def random_text(seed, at_least, at_most):
    chosen = random.Random(seed)
    size = chosen.randint(at_least, at_most)
    return "".join(chosen.choices("abcdefghijklmnopqrstuvwxyz", k=size))


async def texts(answers):
    return [answer.text async for answer in answers]


@pytest.fixture
def echo_service(generated, word):
    """Answers what it gets."""

    class Servicer(generated.purerpc.PhrasesServicer):
        async def Greet(self, message):
            return message

        async def GreetAndPart(self, message):
            yield message
            yield message

        async def GreetEach(self, messages):
            async for message in messages:
                yield message

        async def GreetAll(self, messages):
            return word(text="".join([message.text async for message in messages]))

        async def Join(self, messages):
            yield word(text="".join([message.text async for message in messages]))

    return Servicer().service


@pytest.mark.parametrize("times", [1, 50])
async def test_a_large_message_by_purerpcs_stubs(echo_service, start, connect, stub, word, parallel, times):
    async def call(phrases):
        assert (await phrases.Greet(word(text=LARGE))).text == LARGE

    async with connect(await start(echo_service)) as channel:
        await parallel(times, call, stub(channel))


async def test_a_large_message_by_grpcio(echo_service, start, with_grpcio, word, parallel):
    def call(phrases):
        assert phrases.Greet(word(text=LARGE)).text == LARGE

    await parallel(20, with_grpcio, await start(echo_service), call)


async def test_random_messages_in_all_cardinalities(
    echo_service, start, connect, stub, word, sending, parallel
):
    seeds = iter(range(20))

    async def call(phrases):
        text = random_text(next(seeds), 1, 4000)
        message = word(text=text)
        assert (await phrases.Greet(message)).text == text
        assert await texts(phrases.GreetAndPart(message)) == [text] * 2
        assert (await phrases.GreetAll(sending([message] * 4))).text == text * 4
        assert await texts(phrases.GreetEach(sending([message] * 4))) == [text] * 4

    async with connect(await start(echo_service)) as channel:
        await parallel(20, call, stub(channel))


async def test_requests_that_all_wait_for_the_last_one_do_not_block_each_other(
    echo_service, start, connect, stub, word, sending, parallel
):
    """Ten streams of a megabyte: what is not answered yet must not use up the connection's window."""
    seeds = iter(range(10))

    async def call(phrases):
        text = random_text(next(seeds), 32_000, 64_000)
        assert await texts(phrases.Join(sending([word(text=text)] * 20))) == [text * 20]

    async with connect(await start(echo_service)) as channel:
        await parallel(10, call, stub(channel))


async def test_over_tls(echo_service, start, connect, stub, word, sending, authority):
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_side)
    client_side.set_alpn_protocols(["h2"])
    text = random_text(0, 32_000, 64_000)
    async with connect(await start(echo_service, ssl_context=server_side), client_side) as channel:
        assert await texts(stub(channel).Join(sending([word(text=text)] * 20))) == [text * 20]


async def test_a_client_that_leaves_is_no_exception(caplog, echo_service, connect, stub, word):
    server = Server(0)
    server.add_service(echo_service)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(server.serve_async)
            async with connect(port) as channel:
                assert (await stub(channel).Greet(word(text="hello"))).text == "hello"
            server.drain()
    assert server._connection_count == 1
    assert server._exception_count == 0
    assert caplog.records == []
