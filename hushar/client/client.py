"""The client: rows in, scores out, over a channel."""

import math
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import purerpc
import trio
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hushar import __version__
from hushar.client.address import parse_address
from hushar.client.errors import CallFailed, ConnectionFailed
from hushar.client.kinds import KINDS, kind_named
from hushar.client.rows import NO_KINDS, rows_from_python
from hushar.proto.structs_pb2 import InferenceRequest, InferenceResponse, OutputRow
from hushar.rpc.channel import Channel
from hushar.rpc.client_errors import ConnectionLostError

MAX_MESSAGE_BYTES: Final = 64 << 20
"""Of an answer, and of a request: the server's default for what it sends."""
_PATH: Final = "/hushar.Hushar/InferenceService"
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")

Metadata = Iterable[tuple[str, str | bytes]]


class Client:
    """Calls to a server, in a trio program.

        async with Client("127.0.0.1", 8279) as client:
            scores = await client.score([{"age": 41.0, "city": "Pune"}])

    Entering the block connects, and raises ConnectionFailed. Calls may overlap (from several tasks); as
    many are under way as the server takes on a connection, the others wait. A connection that broke, or
    that the server gives up, is made again for the next call.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
        timeout_seconds: float | None = None,
        kinds: Mapping[str, str] | None = None,
        token: str | None = None,
        retries: int = 3,
    ) -> None:
        """Makes no connection yet.

        Args:
            host: a name or an IP address (IPv6 without brackets).
            port: TCP port.
            ssl_context: TLS, as `tls_context` makes it; it is told to negotiate HTTP/2. None: no TLS.
            timeout_seconds: longest time for one call; None: as long as it takes.
            kinds: feature → kind on the wire of a bare Python value (`float_value`, or short `float`), as
                `kinds_from_vectorization` makes it; others go by their Python type.
            token: the bearer token that the server asks for (`auth.token_file`); without TLS everybody on the
                way can read it.
            retries: how often a call is sent again that the server could not take, or whose connection
                broke before the answer (it may have been scored and logged). One that the server has surely
                not begun always is.

        Raises ValueError for a time-out that is not positive, an unknown kind, and a token with characters
        other than printable ASCII.
        """
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds must be positive, not {timeout_seconds!r}")
        if token is not None and not _TOKEN.fullmatch(token):
            raise ValueError("a token is printable ASCII without blanks")
        self._kinds = _known(kinds or NO_KINDS)
        self._timeout_seconds = math.inf if timeout_seconds is None else timeout_seconds
        self._own = () if token is None else (("authorization", f"Bearer {token}"),)
        self._channel = Channel(
            host,
            port,
            ssl_context,
            retries=retries,
            max_receive_bytes=MAX_MESSAGE_BYTES,
            user_agent=f"hushar-client/{__version__}",
        )

    @classmethod
    def connect(cls, address: str, **options: Any) -> Self:
        """A client for `HOST:PORT` (`parse_address`); `options` are those of the class.

        It connects when its block is entered: `async with Client.connect("127.0.0.1:8279") as client:`.
        Raises ValueError.
        """
        host, port = parse_address(address)
        return cls(host, port, **options)

    async def __aenter__(self) -> Self:
        try:
            await self._channel.__aenter__()
        except ConnectionLostError as error:
            raise ConnectionFailed(error.status.status_message) from error
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.__aexit__(exc_type, exc_value, traceback)

    async def score(
        self,
        rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        *,
        row_ids: Sequence[str] | None = None,
        request_id: str = "",
        metadata: Metadata = (),
    ) -> NDArray[np.float32]:
        """The scores of rows: float32 `(rows, scores a row)`, in the order of the rows.

        Args:
            rows: a sequence of rows, each a mapping from feature to value (None: absent); or a mapping from
                feature to column, a sequence or a numpy array of shape `(rows,)` or `(rows, n)`. No rows:
                the result is `(0, 0)`.
            row_ids: one a row, for the server's messages and its log; empty where not given.
            request_id: for the server's log.
            metadata: gRPC metadata of the call, (name, value); the value of a name in `-bin` is bytes.

        Raises BadRows for rows that cannot be sent, and as `infer`.
        """
        inputs = rows_from_python(rows, kinds=self._kinds, row_ids=row_ids)
        request = InferenceRequest(request_id=request_id, inputs=inputs)
        response = await self.infer(request, metadata=metadata)
        return scores_of(response.outputs, rows=len(inputs))

    async def infer(self, request: InferenceRequest, *, metadata: Metadata = ()) -> InferenceResponse:
        """One call, message for message.

        Raises CallFailed with the status that the server answered, DEADLINE_EXCEEDED after
        `timeout_seconds`, RESOURCE_EXHAUSTED for a request that is too large to be sent, INTERNAL for an
        answer that is none; ConnectionFailed (a CallFailed) where no connection can be made, or it broke;
        ValueError for metadata that cannot be sent.
        """
        message = request.SerializeToString()
        if len(message) > MAX_MESSAGE_BYTES:
            raise CallFailed("RESOURCE_EXHAUSTED", f"the request has more than {MAX_MESSAGE_BYTES >> 20} MiB")
        with trio.move_on_after(self._timeout_seconds):
            try:
                answer = await self._channel.unary(_PATH, message, (*self._own, *metadata))
                return InferenceResponse.FromString(answer)
            except purerpc.RpcFailedError as error:
                raise self._failed(error) from error
            except DecodeError as error:
                raise CallFailed("INTERNAL", "the answer is not one hushar.InferenceResponse") from error
        raise self._too_late()

    def _failed(self, error: purerpc.RpcFailedError) -> CallFailed:
        code, message = error.status.status_code, error.status.status_message
        if isinstance(error, ConnectionLostError):
            return ConnectionFailed(message.replace("the channel", "the client"))
        if code is purerpc.StatusCode.DEADLINE_EXCEEDED and self._timeout_seconds != math.inf:
            # The server's clock was a little faster than ours.
            return self._too_late()
        return CallFailed(code.name, message)

    def _too_late(self) -> CallFailed:
        return CallFailed("DEADLINE_EXCEEDED", f"no answer within {self._timeout_seconds:g} s")


def scores_of(outputs: Sequence[OutputRow], *, rows: int) -> NDArray[np.float32]:
    """The scores of an answer, float32 `(rows, scores a row)`.

    Raises CallFailed (INTERNAL) where they are not one row for each of `rows`, all of one length.
    """
    if len(outputs) != rows:
        raise CallFailed("INTERNAL", f"the answer has {len(outputs)} rows for {rows}")
    widths = {len(output.scores) for output in outputs}
    if len(widths) > 1:
        raise CallFailed("INTERNAL", f"rows of the answer differ in their number of scores: {sorted(widths)}")
    scores = np.empty((rows, widths.pop() if widths else 0), dtype=np.float32)
    for index, output in enumerate(outputs):
        scores[index] = output.scores
    return scores


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """TLS that checks the server's certificate against `ca_file` (PEM), or the system's authorities.

    Raises OSError (of which ssl.SSLError is one) if the file cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    return context


def _known(kinds: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted({name for name in kinds.values() if kind_named(name) is None})
    if unknown:
        raise ValueError(f"unknown kinds {', '.join(map(repr, unknown))}: known are {', '.join(KINDS)}")
    return {feature: kind_named(name) or name for feature, name in kinds.items()}
