"""interop.Probe: what a client has to be able to ask about its own calls, and methods that misbehave."""

import json

import purerpc
import trio
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from purerpc import Cardinality, RPCSignature

NAME = "interop.Probe"


class Probe:
    """Remembers which calls of `Wait` were cancelled."""

    def __init__(self):
        self._begun = set()
        self._cancelled = set()
        self._changed = trio.Condition()

    async def _add(self, to, name):
        async with self._changed:
            to.add(name)
            self._changed.notify_all()

    async def wait(self, message):
        """Never answers; `Cancelled` of the same name tells that it was cancelled."""
        await self._add(self._begun, message.value)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await self._add(self._cancelled, message.value)

    async def _until(self, names, name):
        async with self._changed:
            while name not in names:
                await self._changed.wait()
        return StringValue(value=name)

    async def begun(self, message):
        """Answers once a `Wait` of that name runs."""
        return await self._until(self._begun, message.value)

    async def cancelled(self, message):
        """Answers once a `Wait` of that name was cancelled."""
        return await self._until(self._cancelled, message.value)


async def echo(message):
    return message


async def describe(message, request):
    """What the server makes of the call's header block, as JSON; bytes are lists of numbers."""
    metadata = [[name, list(v) if isinstance(v, bytes) else v] for name, v in request.custom_metadata]
    description = {
        "metadata": metadata,
        "timeout": request.timeout.total_seconds() if request.timeout else None,
        "has_deadline": request.deadline != float("inf"),
        "peer": request.peer,
        "certificate": request.peer_certificate is not None,
        "authority": request.authority,
        "service": request.service_name,
        "method": request.method_name,
        "encoding": request.message_encoding,
    }
    return StringValue(value=json.dumps(description))


async def raise_error(message):
    raise ValueError(message.value)


async def reflect_metadata(message, request):
    """The client's metadata, all of it, as leading and as trailing metadata."""
    request.set_leading_metadata(request.custom_metadata)
    request.set_trailing_metadata(request.custom_metadata)
    return message


async def three_then_error(message):
    for number in range(3):
        yield StringValue(value=str(number))
    raise ValueError(message.value)


def add_to(server):
    """Serve interop.Probe."""
    probe = Probe()
    service = purerpc.Service(NAME)
    text = RPCSignature(Cardinality.UNARY_UNARY, StringValue, StringValue)
    stream = RPCSignature(Cardinality.UNARY_STREAM, StringValue, StringValue)
    data = RPCSignature(Cardinality.UNARY_UNARY, BytesValue, BytesValue)
    service.add_method("Wait", probe.wait, text)
    service.add_method("Begun", probe.begun, text)
    service.add_method("Cancelled", probe.cancelled, text)
    service.add_method("Describe", describe, text)
    service.add_method("Raise", raise_error, text)
    service.add_method("ThreeThenError", three_then_error, stream)
    service.add_method("Metadata", reflect_metadata, text)
    service.add_method("Echo", echo, data)
    server.add_service(service)
    server.add_raw_unary(f"/{NAME}/RawEcho", lambda calls: [call.reply(call.message) for call in calls])
