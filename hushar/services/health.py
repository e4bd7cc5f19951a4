"""The service grpc.health.v1.Health: whether this server, and each of its services, takes calls.

Source: grpc/doc/health-checking.md. A Watch lasts until its client ends it, so at the end of the server
it ends by itself: it would hold the drain up for as long as the drain may last.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import purerpc
import trio

from hushar.services.wire_types import Field, Method, enum, field, field_of, make_types, message, service_of

NAME: Final = "grpc.health.v1.Health"
WHOLE_SERVER: Final = ""
"""The name under which the server as a whole is asked for."""

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)

_REQUEST: Final = ".grpc.health.v1.HealthCheckRequest"
_RESPONSE: Final = ".grpc.health.v1.HealthCheckResponse"

TYPES: Final = make_types(
    "grpc/health/v1/health.proto",
    "grpc.health.v1",
    [
        message("HealthCheckRequest", field("service", 1, Field.TYPE_STRING)),
        message(
            "HealthCheckResponse",
            field_of("status", 1, f"{_RESPONSE}.ServingStatus", Field.TYPE_ENUM),
            enums=[enum("ServingStatus", "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")],
        ),
    ],
    service_of(
        "Health",
        Method(name="Check", input_type=_REQUEST, output_type=_RESPONSE),
        Method(name="Watch", input_type=_REQUEST, output_type=_RESPONSE, server_streaming=True),
    ),
)

HealthCheckRequest: Final = TYPES["HealthCheckRequest"]
HealthCheckResponse: Final = TYPES["HealthCheckResponse"]


class Health(purerpc.Servicer):  # type: ignore[misc]  # purerpc is untyped
    """What is told about the health of a server, and the service that tells it."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names`: services that are known beside the server as a whole; all are serving."""
        self._serving = dict.fromkeys((WHOLE_SERVER, *names), True)
        self._draining = False
        self._changed = trio.Event()

    def set_serving(self, name: str, serving: bool) -> None:
        """Say of a service whether it takes calls; one that was not known becomes known."""
        self._serving[name] = serving
        self._tell()

    def drain(self) -> None:
        """Nothing is serving from now on. A Watch is told so, then it ends with UNAVAILABLE."""
        self._draining = True
        self._tell()

    def status(self, name: str) -> int:
        """The ServingStatus of a service."""
        serving = self._serving.get(name)
        if serving is None:
            return SERVICE_UNKNOWN
        return SERVING if serving and not self._draining else NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    @property
    def service(self) -> purerpc.Service:
        """The service, for `Server.add_service`."""
        made = purerpc.Service(NAME)
        unary, stream = purerpc.Cardinality.UNARY_UNARY, purerpc.Cardinality.UNARY_STREAM
        for name, method, cardinality in (("Check", self._check, unary), ("Watch", self._watch, stream)):
            made.add_method(
                name, method, purerpc.RPCSignature(cardinality, HealthCheckRequest, HealthCheckResponse)
            )
        return made

    async def _check(self, asked: Any) -> Any:
        """The status now; NOT_FOUND of a service that is not known."""
        status = self.status(asked.service)
        if status == SERVICE_UNKNOWN:
            raise purerpc.RpcFailedError(purerpc.Status(purerpc.StatusCode.NOT_FOUND, "unknown service"))
        return HealthCheckResponse(status=status)

    async def _watch(self, asked: Any) -> AsyncIterator[Any]:
        """The status now, and again whenever it has changed; a client that is slow misses some."""
        told = None
        while True:
            changed = self._changed
            status = self.status(asked.service)
            if status != told:
                told = status
                yield HealthCheckResponse(status=status)
            elif self._draining:
                text = "the server is going away"
                raise purerpc.RpcFailedError(purerpc.Status(purerpc.StatusCode.UNAVAILABLE, text))
            else:
                await changed.wait()
