"""The service hushar.Hushar: messages go to the batcher as they are, errors become statuses."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

import purerpc
import trio

from hushar import rpc
from hushar.errors import ErrorKind, Overloaded, RequestError
from hushar.inference.answering import ReplyAll
from hushar.inference.batcher import Batcher
from hushar.proto import service_pb2
from hushar.records import Call
from hushar.rpc import RawCall, Server

NAME: Final = service_pb2.DESCRIPTOR.services_by_name["Hushar"].full_name
"""Of the service; that its file is loaded is what reflection finds it by."""
PATH: Final = f"/{NAME}/InferenceService"

STATUS: Final[Mapping[ErrorKind, purerpc.StatusCode]] = {
    ErrorKind.INVALID_ARGUMENT: purerpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.INTERNAL: purerpc.StatusCode.INTERNAL,
    ErrorKind.RESOURCE_EXHAUSTED: purerpc.StatusCode.RESOURCE_EXHAUSTED,
}
PUSHBACK: Final = b"grpc-retry-pushback-ms"
"""Tells a client when to try again (gRFC A6, "Pushback")."""

reply_all: Final = cast("ReplyAll", rpc.reply_all)
"""The batcher's `reply_all`; calls that are not the transport's, such as LocalCall, it takes as they are."""


def refuse(calls: Sequence[Call], error: RequestError) -> None:
    """Answer calls with the same error: the batcher's `refuse`."""
    transported: list[RawCall] = []
    for call in calls:
        if isinstance(call, RawCall):
            transported.append(call)
        elif isinstance(call, LocalCall):
            call.fail(error)
        else:
            raise TypeError(f"not a call of this service: {call!r}")
    # Not as metadata of the service's: names that begin with `grpc-` are the protocol's own.
    trailing = [(PUSHBACK, str(error.retry_ms).encode())] if isinstance(error, Overloaded) else None
    rpc.fail_all(transported, purerpc.Status(STATUS[error.kind], str(error)), trailing)


def add_native_service(server: Server, batcher: Batcher) -> None:
    """Serve hushar.Hushar from the batcher."""
    server.add_raw_unary(PATH, batcher.submit)
    batcher.on_waiting, batcher.on_answered = server.rest, server.flush


class LocalCall:
    """A call from inside the process: another service that scores through the same batches."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.over = False
        """Answered, or whoever asked was cancelled."""
        self.deadline = math.inf
        """When `answer` is cancelled, on trio's clock."""
        self._answered = trio.Event()
        self._response = b""
        self._error: RequestError | None = None

    def reply(self, message: bytes, /) -> bool:
        """Answer it. False, and nothing happens, if it is over."""
        if self.over:
            return False
        self._response = message
        self._end()
        return True

    def fail(self, error: RequestError) -> None:
        """Answer it with an error."""
        self._error = error
        self._end()

    def _end(self) -> None:
        self.over = True
        self._answered.set()

    async def answer(self) -> bytes:
        """Wait for the response. Raises RequestError."""
        try:
            await self._answered.wait()
        finally:
            self.over = True
        if self._error is not None:
            raise self._error
        return self._response


async def score(batcher: Batcher, message: bytes) -> bytes:
    """A serialized InferenceRequest to a serialized InferenceResponse. Raises RequestError."""
    call = LocalCall(message)
    call.deadline = trio.current_effective_deadline()
    batcher.submit([call])
    return await call.answer()
