"""Server reflection, grpc.reflection.v1 and v1alpha: which services there are, and what they look like.

Source: grpc/doc/server-reflection.md. The two versions have the same messages under different names, so
there is one implementation. `grpcurl` and `ghz` live on it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import purerpc
import trio

from hushar.services.descriptors import Descriptors, pools_of
from hushar.services.wire_types import (
    Field,
    Message,
    Method,
    WireTypes,
    field,
    field_of,
    make_types,
    message,
    service_of,
)

VERSIONS: Final = ("v1", "v1alpha")
NAMES: Final = tuple(f"grpc.reflection.{version}.ServerReflection" for version in VERSIONS)


def _make_types(version: str) -> WireTypes:
    package = f"grpc.reflection.{version}"
    method = Method(
        name="ServerReflectionInfo",
        input_type=f".{package}.ServerReflectionRequest",
        output_type=f".{package}.ServerReflectionResponse",
        client_streaming=True,
        server_streaming=True,
    )
    return make_types(
        f"grpc/reflection/{version}/reflection.proto",
        package,
        [*_requests(package), *_responses(package)],
        service_of("ServerReflection", method),
    )


def _requests(package: str) -> Sequence[Message]:
    return (
        message(
            "ServerReflectionRequest",
            field("host", 1, Field.TYPE_STRING),
            field("file_by_filename", 3, Field.TYPE_STRING, oneof=0),
            field("file_containing_symbol", 4, Field.TYPE_STRING, oneof=0),
            field_of("file_containing_extension", 5, f".{package}.ExtensionRequest", oneof=0),
            field("all_extension_numbers_of_type", 6, Field.TYPE_STRING, oneof=0),
            field("list_services", 7, Field.TYPE_STRING, oneof=0),
            oneofs=["message_request"],
        ),
        message(
            "ExtensionRequest",
            field("containing_type", 1, Field.TYPE_STRING),
            field("extension_number", 2, Field.TYPE_INT32),
        ),
    )


def _responses(package: str) -> Sequence[Message]:
    own = f".{package}."
    return (
        message(
            "ServerReflectionResponse",
            field("valid_host", 1, Field.TYPE_STRING),
            field_of("original_request", 2, own + "ServerReflectionRequest"),
            field_of("file_descriptor_response", 4, own + "FileDescriptorResponse", oneof=0),
            field_of("all_extension_numbers_response", 5, own + "ExtensionNumberResponse", oneof=0),
            field_of("list_services_response", 6, own + "ListServiceResponse", oneof=0),
            field_of("error_response", 7, own + "ErrorResponse", oneof=0),
            oneofs=["message_response"],
        ),
        message("FileDescriptorResponse", field("file_descriptor_proto", 1, Field.TYPE_BYTES, repeated=True)),
        message(
            "ExtensionNumberResponse",
            field("base_type_name", 1, Field.TYPE_STRING),
            field("extension_number", 2, Field.TYPE_INT32, repeated=True),
        ),
        message("ListServiceResponse", field_of("service", 1, own + "ServiceResponse", repeated=True)),
        message("ServiceResponse", field("name", 1, Field.TYPE_STRING)),
        message(
            "ErrorResponse",
            field("error_code", 1, Field.TYPE_INT32),
            field("error_message", 2, Field.TYPE_STRING),
        ),
    )


TYPES: Final = {name: _make_types(version) for name, version in zip(NAMES, VERSIONS, strict=True)}


class Reflection:
    """What is told of the services of a server, and the services that tell it."""

    def __init__(self, services: Mapping[str, purerpc.Service | None]) -> None:
        """`services`: by full name, beside the reflection itself; None for one that is served raw."""
        pools = {name: [] if each is None else [*pools_of(each)] for name, each in services.items()}
        pools |= {name: [types.pool] for name, types in TYPES.items()}
        self._names = sorted(pools)
        self._descriptors = Descriptors(pools)
        self._draining = False
        self._waiting: set[trio.CancelScope] = set()

    def drain(self) -> None:
        """End the streams that wait for another request, and every later one, with UNAVAILABLE."""
        self._draining = True
        for scope in self._waiting:
            scope.cancel()

    @property
    def services(self) -> list[purerpc.Service]:
        """One for each version, for `Server.add_service`."""
        return [self._service(name, types) for name, types in TYPES.items()]

    def _service(self, name: str, types: WireTypes) -> purerpc.Service:
        async def info(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
            while (asked := await self._next(requests)) is not None:
                yield self._answer(types, asked)

        made = purerpc.Service(name)
        signature = purerpc.RPCSignature(
            purerpc.Cardinality.STREAM_STREAM,
            types["ServerReflectionRequest"],
            types["ServerReflectionResponse"],
        )
        made.add_method("ServerReflectionInfo", info, signature)
        return made

    async def _next(self, requests: AsyncIterator[Any]) -> Any:
        """The next request of a stream; None after the last."""
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                if not self._draining:
                    return await anext(requests, None)
            finally:
                self._waiting.discard(scope)
        text = "the server is going away"
        raise purerpc.RpcFailedError(purerpc.Status(purerpc.StatusCode.UNAVAILABLE, text))

    def _answer(self, types: WireTypes, asked: Any) -> Any:
        answer = types["ServerReflectionResponse"](valid_host=asked.host, original_request=asked)
        kind = asked.WhichOneof("message_request")
        try:
            self._fill(answer, kind, asked)
        except KeyError:
            answer.error_response.error_code = purerpc.StatusCode.NOT_FOUND.value
            answer.error_response.error_message = "not found"
        return answer

    def _fill(self, answer: Any, kind: str | None, asked: Any) -> None:
        """Put into an answer what is asked for. Raises KeyError where there is no such thing."""
        files = answer.file_descriptor_response.file_descriptor_proto
        match kind:
            case "list_services":
                for name in self._names:
                    answer.list_services_response.service.add(name=name)
            case "file_by_filename":
                files.extend(self._descriptors.by_name(asked.file_by_filename))
            case "file_containing_symbol":
                files.extend(self._descriptors.by_symbol(asked.file_containing_symbol))
            case "file_containing_extension":
                extension = asked.file_containing_extension
                files.extend(
                    self._descriptors.by_extension(extension.containing_type, extension.extension_number)
                )
            case "all_extension_numbers_of_type":
                name = asked.all_extension_numbers_of_type
                numbers = self._descriptors.extension_numbers(name)
                answer.all_extension_numbers_response.base_type_name = name
                answer.all_extension_numbers_response.extension_number.extend(numbers)
            case _:
                answer.error_response.error_code = purerpc.StatusCode.INVALID_ARGUMENT.value
                answer.error_response.error_message = "nothing is asked for"
