"""How slow a request or its answer may be; time is a clock's that nobody waits for."""

from collections.abc import AsyncGenerator, AsyncIterator
from itertools import count

import httpx
import pytest
import trio

from hushar_aws.errors import AwsError
from hushar_aws.exchange import (
    MAX_ANSWER_BYTES,
    MIN_BYTES_A_SECOND,
    PATIENCE,
    PIECE_BYTES,
    Response,
    exchange,
)

PIECES = 16
BOUGHT = PIECE_BYTES / MIN_BYTES_A_SECOND
"""Seconds that a piece may take."""


class Slowly(httpx.AsyncBaseTransport):
    """A service that takes so long for each piece of a request, and for each of its answer."""

    def __init__(
        self, *, request: float = 0.0, answer: float = 0.0, status: int = 200, endless: bool = False
    ):
        self.request = request
        self.answer = answer
        self.status = status
        self.pieces = count() if endless else range(PIECES)
        self.got = b""
        self.headers: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.headers = dict(request.headers)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for chunk in request.stream:
            await trio.sleep(self.request)
            self.got += chunk
        return httpx.Response(self.status, stream=_Answer(self))


class _Answer(httpx.AsyncByteStream):
    """No generator: those that are cancelled are finalised by trio, which warns of it."""

    def __init__(self, service: Slowly) -> None:
        self._service = service
        self._pieces = iter(service.pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if next(self._pieces, None) is None:
            raise StopAsyncIteration
        await trio.sleep(self._service.answer)
        return bytes(PIECE_BYTES)


async def ask(service: Slowly, method: str = "PUT", *, streamed: bool = False) -> Response:
    data = bytes(PIECES * PIECE_BYTES)

    async def body() -> AsyncGenerator[bytes, None]:
        for _ in range(PIECES):
            yield bytes(PIECE_BYTES)

    async with httpx.AsyncClient(transport=service, timeout=10.0) as http:
        if method == "GET":
            return await exchange(http, method, "http://s3/x", {}, b"")
        headers = {"content-length": str(len(data))}
        return await exchange(http, method, "http://s3/x", headers, body if streamed else data)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_may_take_longer_the_more_it_brings(autojump_clock, streamed):
    slow = Slowly(request=(PATIENCE * 10 + 1) / PIECES)
    await ask(slow, streamed=streamed)
    assert slow.got == bytes(PIECES * PIECE_BYTES)
    with pytest.raises(AwsError, match="Timeout: s3: too slow"):
        await ask(Slowly(request=BOUGHT + (PATIENCE * 10 + 1) / PIECES), streamed=streamed)


async def test_so_may_an_answer(autojump_clock):
    response = await ask(Slowly(answer=(PATIENCE * 10 + 1) / PIECES), "GET")
    assert response.body == bytes(PIECES * PIECE_BYTES)
    with pytest.raises(AwsError, match="Timeout"):
        await ask(Slowly(answer=BOUGHT + (PATIENCE * 10 + 1) / PIECES), "GET")


@pytest.mark.parametrize(("method", "status"), [("PUT", 200), ("GET", 500)])
async def test_what_nobody_wants_buys_no_time(autojump_clock, method, status):
    """Else an answer without an end would never end."""
    start = trio.current_time()
    with pytest.raises(AwsError, match="Timeout"):
        await ask(Slowly(answer=BOUGHT / 2, status=status, endless=True), method)
    bought = (PIECES * PIECE_BYTES + MAX_ANSWER_BYTES) / MIN_BYTES_A_SECOND
    assert trio.current_time() - start <= PATIENCE * 10 + bought + 1


async def test_an_object_is_wanted_as_it_was_put(autojump_clock):
    service = Slowly()
    await ask(service, "GET")
    assert service.headers["accept-encoding"] == "identity"
