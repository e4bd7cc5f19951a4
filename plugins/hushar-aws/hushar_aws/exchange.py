"""One request and its answer over httpx, with a limit on how slow either may be."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, Self
from urllib.parse import urlsplit

import httpx
import trio

from hushar_aws.errors import AwsError, one_line

Body = bytes | Callable[[], AsyncGenerator[bytes, None]]
"""Bytes, or what makes a new iterator over them for each attempt."""

PATIENCE: Final = 6
"""An attempt may take so many times `read_seconds`, and longer for what it has brought on its way."""
MIN_BYTES_A_SECOND: Final = 16 * 1024
"""So much longer: whoever is slower than this, both ways together, uses up the patience."""
PIECE_BYTES: Final = 64 * 1024
MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Of an error, and of what was not got by GET. What is beyond is forgotten, and buys no time."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whole."""

    status: int
    headers: Mapping[str, str]
    """Any case of a name finds it."""
    body: bytes


class _ExactUrl(httpx.URL):
    """A URL whose path and query are sent as they were signed: httpx takes the dots out of "/a/../b"."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(url)
        self._exact = (parts.path + ("?" + parts.query if parts.query else "")).encode("ascii")

    @property
    def raw_path(self) -> bytes:
        """What stands in the request line, for a proxy behind scheme and host."""
        return self._exact


class _Pace:
    """The time-out of one attempt, which moves on with the bytes."""

    def __init__(self, patience_seconds: float) -> None:
        self.scope = trio.CancelScope(deadline=trio.current_time() + patience_seconds)

    def moved(self, size: int) -> None:
        self.scope.deadline += size / MIN_BYTES_A_SECOND


class _Bytes(httpx.AsyncByteStream):
    """A body in memory, sent in pieces. No generator, for httpx leaves those where a connection breaks."""

    def __init__(self, data: bytes, pace: _Pace) -> None:
        self._data = memoryview(data)
        self._pace = pace

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._data:
            raise StopAsyncIteration
        chunk, self._data = self._data[:PIECE_BYTES], self._data[PIECE_BYTES:]
        self._pace.moved(len(chunk))
        return bytes(chunk)


class _Stream(httpx.AsyncByteStream):
    """A body that comes in chunks, of so many bytes as were announced."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], size: int, pace: _Pace) -> None:
        self._chunks = chunks
        self._left = size
        self._pace = pace

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            if self._left:
                message = f"{self._left} bytes less than were announced"
                raise AwsError("BodyCut", None, message, "transient") from None
            raise
        self._left -= len(chunk)
        self._pace.moved(len(chunk))
        return chunk


async def exchange(
    http: httpx.AsyncClient, method: str, url: str, headers: Mapping[str, str], body: Body
) -> Response:
    """Send the request as it stands, and read the answer to its end, whatever its status is.

    A body that is no bytes needs `content-length` in `headers`. Raises AwsError, always transient:
    "Timeout", "Unreachable" (no connection), "Broken" (what became of the request is not known), "BodyCut"
    (the body ended early; the service has no part in it) and "Closed" (`http` is).
    """
    if http.is_closed:
        raise AwsError("Closed", None, "the client was closed meanwhile", "transient")
    exact = _ExactUrl(url)
    timeout = http.timeout.read
    pace = _Pace(PATIENCE * (timeout if timeout is not None else 10.0))
    host = exact.netloc.decode("ascii")
    # An object is wanted as it was put, compressed or not.
    headers = {"host": host, "accept-encoding": "identity", **headers}
    if isinstance(body, bytes) and (body or method in ("POST", "PUT")):
        headers["content-length"] = str(len(body))
    make = partial(_request, http, method, exact, headers)
    try:
        with pace.scope:
            if isinstance(body, bytes):
                return await _answer(http, make(_Bytes(body, pace)), pace)
            async with aclosing(body()) as chunks:
                stream = _Stream(chunks, int(headers["content-length"]), pace)
                return await _answer(http, make(stream), pace)
    except httpx.HTTPError as error:
        raise _broken(error, host) from None
    raise AwsError("Timeout", None, f"{host}: too slow to ever end", "transient")


def _request(
    http: httpx.AsyncClient,
    method: str,
    exact: _ExactUrl,
    headers: Mapping[str, str],
    stream: httpx.AsyncByteStream,
) -> httpx.Request:
    extensions = {"timeout": http.timeout.as_dict()}
    request = httpx.Request(method, exact, headers=headers, stream=stream, extensions=extensions)
    request.url = exact  # httpx has made a copy, of its own class
    return request


async def _answer(http: httpx.AsyncClient, request: httpx.Request, pace: _Pace) -> Response:
    response = await http.send(request, stream=True)
    is_wanted = request.method == "GET" and response.is_success
    try:
        chunks, size = [], 0
        async for chunk in response.aiter_raw():
            if is_wanted or size < MAX_ANSWER_BYTES:
                chunks.append(chunk)
                size += len(chunk)
                pace.moved(len(chunk))
        return Response(response.status_code, response.headers, b"".join(chunks))
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await response.aclose()


def _broken(error: httpx.HTTPError, host: str) -> AwsError:
    """No text of httpx or of what is below says anything of the request's headers, but for one."""
    texts = [type(error).__name__]
    cause: BaseException | None = error
    while cause is not None:
        texts.append(one_line(str(cause)))
        cause = cause.__cause__ or cause.__context__
    # The nearest that says something: of a certificate only OpenSSL itself does.
    text = next(filter(None, texts[1:]), texts[0])
    text = text.partition(": bytearray(")[0]  # h11 goes on with what it was sent
    if isinstance(error, httpx.TimeoutException):
        code = "Timeout"
        text = texts[0]
    elif isinstance(error, (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol)):
        code = "Unreachable"
        if isinstance(error, httpx.ProxyError):
            text = f"the proxy: {text}"
    elif isinstance(error, httpx.LocalProtocolError):
        # It quotes the header that could not be sent: the signature, a token.
        code = "Broken"
        text = texts[0]
    else:
        code = "Broken"
    return AwsError(code, None, f"{host}: {text}", "transient")
