"""What reflection can tell: the .proto files behind the services of a server.

Only files that a service hangs on are told of, not everything that a process has loaded. They may lie in
several pools: protobuf's default one, and those of services that keep their messages to themselves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import purerpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pool import Default, DescriptorPool


def _imports(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """A file and everything that it imports, each once, itself first."""
    found = {file.name: file}
    waiting = [file]
    while waiting:
        for imported in waiting.pop().dependencies:
            if imported.name not in found:
                found[imported.name] = imported
                waiting.append(imported)
    yield from found.values()


def pools_of(service: purerpc.Service) -> Iterator[DescriptorPool]:
    """The pools of the messages of a service; none of messages that are no protobuf."""
    for method in service.methods.values():
        for message_type in (method.signature.request_type, method.signature.response_type):
            descriptor = getattr(message_type, "DESCRIPTOR", None)
            if isinstance(descriptor, Descriptor):
                yield descriptor.file.pool


class Descriptors:
    """The files of services, by name, by symbol and by extension. All methods raise KeyError."""

    def __init__(self, services: Mapping[str, Iterable[DescriptorPool]]) -> None:
        """`services`: full name → pools in which the service may be, before the default one."""
        self._pools: list[DescriptorPool] = []
        self._files: dict[str, FileDescriptor] = {}
        for name, pools in services.items():
            for pool in (*pools, Default()):
                service = _found(pool.FindServiceByName, name)
                if service is not None:
                    self._add(service.file)
                    break

    def _add(self, file: FileDescriptor) -> None:
        """A file, what it imports, and what extends a message of these."""
        if file.pool not in self._pools:
            self._pools.append(file.pool)
        for each in _imports(file):
            if each.name not in self._files:
                self._files[each.name] = each
                for message in each.message_types_by_name.values():
                    for extension in _extensions(message):
                        self._add(extension.file)

    def by_name(self, name: str) -> list[bytes]:
        """A file as a serialized FileDescriptorProto, and after it all that it imports."""
        return _serialized(self._files[name])

    def by_symbol(self, symbol: str) -> list[bytes]:
        """The same of the file that defines a symbol: a service, a method, a message or a field."""
        for pool in self._pools:
            file: FileDescriptor | None = _found(pool.FindFileContainingSymbol, symbol)
            if file is None and (method := _found(pool.FindMethodByName, symbol)) is not None:
                file = method.containing_service.file
            # Another pool may have a file of this name too, of another version.
            if file is not None and self._files.get(file.name) is file:
                return _serialized(file)
        raise KeyError(symbol)

    def by_extension(self, message: str, number: int) -> list[bytes]:
        """The same of the file that extends a message with a field of this number."""
        found = {each.number: each.file for each in self._extensions_of(message)}
        return _serialized(found[number])

    def extension_numbers(self, message: str) -> list[int]:
        """Of all extensions of a message, ascending."""
        return sorted({each.number for each in self._extensions_of(message)})

    def _extensions_of(self, message: str) -> Iterator[Any]:
        for pool in self._pools:
            descriptor = _found(pool.FindMessageTypeByName, message)
            if descriptor is not None and self._files.get(descriptor.file.name) is descriptor.file:
                return iter(pool.FindAllExtensions(descriptor))
        raise KeyError(message)


def _extensions(message: Descriptor) -> Iterator[Any]:
    """Of a message, and of those that are defined in it."""
    yield from message.file.pool.FindAllExtensions(message)
    for nested in message.nested_types:
        yield from _extensions(nested)


def _found(find: Callable[[str], Any], name: str) -> Any:
    """What a pool's method finds; None for a KeyError."""
    try:
        return find(name)
    except KeyError:
        return None


def _serialized(file: FileDescriptor) -> list[bytes]:
    return [_proto(each).SerializeToString() for each in _imports(file)]


def _proto(file: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(made)
    return made
