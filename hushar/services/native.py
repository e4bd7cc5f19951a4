"""The service hushar.Hushar: messages go to the batcher as they are, errors become statuses."""

from collections.abc import Mapping
from typing import Final

import purerpc
import trio

from hushar.errors import ErrorKind, RequestError
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
}


def refuse(call: Call, error: RequestError) -> None:
    """Answer a call with an error: the batcher's `refuse`."""
    if isinstance(call, RawCall):
        call.fail(STATUS[error.kind], str(error))
    elif isinstance(call, LocalCall):
        call.fail(error)
    else:
        raise TypeError(f"not a call of this service: {call!r}")


def add_native_service(server: Server, batcher: Batcher) -> None:
    """Serve hushar.Hushar from the batcher."""
    server.add_raw_unary(PATH, batcher.submit)


class LocalCall:
    """A call from inside the process: another service that scores through the same batches."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.cancelled = False
        self._over = trio.Event()
        self._response = b""
        self._error: RequestError | None = None

    def reply(self, message: bytes, /) -> None:
        """Answer it."""
        self._response = message
        self._over.set()

    def fail(self, error: RequestError) -> None:
        """Answer it with an error."""
        self._error = error
        self._over.set()

    async def answer(self) -> bytes:
        """Wait for the response. Raises RequestError."""
        try:
            await self._over.wait()
        finally:
            self.cancelled = not self._over.is_set()
        if self._error is not None:
            raise self._error
        return self._response


async def score(batcher: Batcher, message: bytes) -> bytes:
    """A serialized InferenceRequest to a serialized InferenceResponse. Raises RequestError."""
    call = LocalCall(message)
    batcher.submit([call])
    return await call.answer()
