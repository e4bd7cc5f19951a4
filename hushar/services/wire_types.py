"""Message classes of the gRPC project's own services, from descriptors that are built here.

They live in a pool of their own: a process may also import grpcio-health-checking or
grpcio-reflection, whose generated modules put files of the same names into protobuf's default pool,
where a second file of one name is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Field = descriptor_pb2.FieldDescriptorProto
Message = descriptor_pb2.DescriptorProto
Enum = descriptor_pb2.EnumDescriptorProto
Method = descriptor_pb2.MethodDescriptorProto


@dataclass(frozen=True, slots=True)
class WireTypes:
    """The messages of one .proto file."""

    pool: descriptor_pool.DescriptorPool
    package: str

    def __getitem__(self, name: str) -> Any:
        """The class of a message, by its name in the package. Raises KeyError."""
        descriptor = self.pool.FindMessageTypeByName(f"{self.package}.{name}")
        return message_factory.GetMessageClass(descriptor)


def make_types(
    name: str,
    package: str,
    messages: Sequence[Message],
    service: descriptor_pb2.ServiceDescriptorProto,
) -> WireTypes:
    """A proto3 file in a pool of its own. `name`: of the file, such as `grpc/health/v1/health.proto`."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(
        name=name, package=package, syntax="proto3", message_type=messages, service=[service]
    )
    pool.AddSerializedFile(file.SerializeToString())
    return WireTypes(pool, package)


def field(
    name: str, number: int, kind: "Field.Type.ValueType", *, repeated: bool = False, oneof: int | None = None
) -> Field:
    """A field of a scalar type. `oneof`: which of the message's, counted from 0."""
    made = Field(name=name, number=number, type=kind)
    made.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
    if oneof is not None:
        made.oneof_index = oneof
    return made


def field_of(
    name: str,
    number: int,
    type_name: str,
    kind: "Field.Type.ValueType" = Field.TYPE_MESSAGE,
    *,
    repeated: bool = False,
    oneof: int | None = None,
) -> Field:
    """A field whose type is a message, or an enum, of the file; `type_name` begins with a dot."""
    made = field(name, number, kind, repeated=repeated, oneof=oneof)
    made.type_name = type_name
    return made


def message(name: str, *fields: Field, oneofs: Sequence[str] = (), enums: Sequence[Enum] = ()) -> Message:
    """A message."""
    made = Message(name=name, field=fields, enum_type=enums)
    for oneof in oneofs:
        made.oneof_decl.add(name=oneof)
    return made


def enum(name: str, *values: str) -> Enum:
    """An enum; its values are numbered from 0."""
    made = Enum(name=name)
    for number, value in enumerate(values):
        made.value.add(name=value, number=number)
    return made


def service_of(name: str, *methods: Method) -> descriptor_pb2.ServiceDescriptorProto:
    """A service."""
    return descriptor_pb2.ServiceDescriptorProto(name=name, method=methods)
