"""Signed HTTP requests to one AWS service, over httpx on trio."""

import logging
from collections.abc import Awaitable, Callable, Container, Mapping
from functools import partial
from random import Random
from typing import Final
from urllib.parse import quote

import httpx
import trio
from botocore.credentials import ReadOnlyCredentials

from hushar.plugins import ConfigurationError, Problem
from hushar_aws.credentials import Credentials
from hushar_aws.endpoints import Endpoint, resolve
from hushar_aws.errors import AwsError, error_of, parse_xml
from hushar_aws.exchange import Body, Response, exchange
from hushar_aws.retries import MAX_ATTEMPTS, RetryQuota, delay_seconds, is_retryable
from hushar_aws.settings import AwsSettings
from hushar_aws.signing import payload_hash_of, sign

__all__ = ["AwsClient", "Body", "Response"]

CLOSE_SECONDS: Final = 2.0


class AwsClient:
    """Signed HTTP requests to one AWS service, for S3 to one bucket.

    Calls may overlap. An attempt that fails for a moment is made again, at most three in all; credentials
    that AWS refuses are looked for once more.
    """

    def __init__(
        self,
        settings: AwsSettings,
        service: str,
        *,
        bucket: str | None = None,
        random: Random | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """No I/O. `service` is botocore's name: "s3", "cloudwatch", "kinesis"; `transport` is for tests."""
        self._settings = settings
        self._service = service
        self._bucket = bucket
        self._random = random if random is not None else Random()  # noqa: S311 - jitter
        self._transport = transport
        self._credentials = Credentials(settings.profile, region=settings.region)
        self._quota = RetryQuota()
        self._opening = trio.Lock()
        self._opened: tuple[Endpoint, httpx.AsyncClient] | None = None

    async def open(self) -> None:
        """Find region and endpoint, without the network. Raises ConfigurationError."""
        await self.endpoint()

    async def endpoint(self) -> Endpoint:
        """Where the requests go. Raises ConfigurationError."""
        return (await self._open())[0]

    async def _open(self) -> tuple[Endpoint, httpx.AsyncClient]:
        async with self._opening:
            if self._opened is None:
                hush()
                found = partial(resolve, self._settings, self._service, self._bucket)
                endpoint = await trio.to_thread.run_sync(found, abandon_on_cancel=True)
                self._opened = endpoint, _http(self._settings, endpoint, self._transport)
            return self._opened

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        payload_hash: str | None = None,
        expect: Container[int] = (200,),
    ) -> Response:
        """Send it, and again where that may help. Raises AwsError; ConfigurationError as `open` does.

        Args:
            method: "GET", "PUT", …
            path: From the slash on, not encoded: of the service, for S3 of the bucket (`/key`).
            query: Names and values, not encoded.
            headers: Signed, all but `content-length`, which a body that is no bytes must have.
            body: What is sent.
            payload_hash: SHA-256 of the body in hex, or UNSIGNED_PAYLOAD; None: that of `body`, bytes then.
            expect: What is no error.
        """
        if payload_hash is None:
            if not isinstance(body, bytes):
                raise TypeError("a body that is streamed needs its payload_hash")
            payload_hash = payload_hash_of(body)
        endpoint, http = await self._open()
        url = endpoint.url + target(path, query or {})
        unsigned = {"user-agent": "hushar-aws"}
        to_sign: dict[str, str] = {}
        for name, value in (headers or {}).items():
            (unsigned if name.lower() == "content-length" else to_sign)[name] = value

        async def attempt(credentials: ReadOnlyCredentials) -> Response:
            signed = sign(
                method,
                url,
                to_sign,
                payload_hash,
                credentials=credentials,
                service=endpoint.signing_name,
                region=endpoint.region,
            )
            response = await exchange(http, method, url, {**signed, **unsigned}, body)
            if response.status not in expect or _hides_an_error(endpoint, method, response):
                raise error_of(
                    response.status,
                    response.headers,
                    response.body,
                    region=endpoint.region,
                    secrets=[each for each in credentials if each],
                )
            return response

        return await self._repeated(attempt)

    async def _repeated(self, attempt: Callable[[ReadOnlyCredentials], Awaitable[Response]]) -> Response:
        """An answer that was expected, after as many attempts as the rules allow. Raises AwsError."""
        cost: int | None = None
        attempts, renewed = 1, False
        while True:
            credentials = await self._credentials.get()
            try:
                response = await attempt(credentials)
            except AwsError as error:
                if error.kind == "credentials" and not renewed:
                    renewed = True
                    await self._credentials.renew(credentials)
                    continue
                if not is_retryable(error) or attempts >= MAX_ATTEMPTS:
                    raise
                cost = self._quota.take(error)
                if cost is None:
                    raise
                delay = delay_seconds(error, attempts, self._random)
            else:
                self._quota.give_back(cost)
                return response
            await trio.sleep(delay)
            attempts += 1

    async def aclose(self) -> None:
        """Close the connections, in bounded time, also while being cancelled."""
        if self._opened is not None:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._opened[1].aclose()


def target(path: str, query: Mapping[str, str]) -> str:
    """Path and query as they are signed and sent. `path` begins with a slash."""
    encoded = quote(path, safe="/~")
    if not query:
        return encoded
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return encoded + "?" + "&".join(f"{name}={value}" for name, value in pairs)


def _hides_an_error(endpoint: Endpoint, method: str, response: Response) -> bool:
    """S3 begins to answer some requests before it knows how they end: 200, and an error in the body."""
    if endpoint.signing_name != "s3" or method == "GET" or response.status != 200:
        return False
    root = parse_xml(response.body)
    return method == "POST" if root is None else root.tag == "Error"


def _http(
    settings: AwsSettings, endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    """Connections, by way of the environment's proxy if there is one. Raises ConfigurationError."""
    timeout = httpx.Timeout(settings.read_seconds, connect=settings.connect_seconds)
    try:
        return httpx.AsyncClient(verify=endpoint.ssl_context, timeout=timeout, transport=transport)
    except (ImportError, ValueError, httpx.InvalidURL):
        # What it says may quote the proxy's password.
        message = (
            "the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names cannot be used, or NO_PROXY not be "
            "read: a proxy is http://HOST:PORT (socks5:// needs httpx[socks])"
        )
        raise ConfigurationError([Problem("", "plugins.aws", message)]) from None


def hush() -> None:
    """Let nobody else log what may be secret, whatever the log level is.

    botocore's lines show what is signed (a session's token is) and quote what a provider of credentials
    was answered; all that it raises is logged by us. urllib3, below it, and httpx have a line for each
    request; the path of a container's credentials is all that it takes to get them.
    """
    for name, level in (
        ("botocore", logging.CRITICAL),
        ("httpx", logging.WARNING),
        ("httpcore", logging.WARNING),
        ("urllib3", logging.WARNING),
    ):
        logging.getLogger(name).setLevel(level)
