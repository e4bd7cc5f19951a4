"""The messages of grpc.testing.TestService, built from descriptors in a pool of their own.

Names, numbers and types are those of gRPC's interop description (package `grpc.testing`); only the
fields that the cases use are here, the others a message keeps as unknown fields.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_STRING, _BYTES, _INT32, _BOOL, _MESSAGE, _ENUM = 9, 12, 5, 8, 11, 14
_PACKAGE = "grpc.testing"

# message → (field, number, type, name of the message or enum, repeated)
_FIELDS = {
    "Empty": (),
    "BoolValue": (("value", 1, _BOOL),),
    "Payload": (("type", 1, _ENUM, "PayloadType"), ("body", 2, _BYTES)),
    "EchoStatus": (("code", 1, _INT32), ("message", 2, _STRING)),
    "SimpleRequest": (
        ("response_type", 1, _ENUM, "PayloadType"),
        ("response_size", 2, _INT32),
        ("payload", 3, _MESSAGE, "Payload"),
        ("fill_username", 4, _BOOL),
        ("fill_oauth_scope", 5, _BOOL),
        ("response_compressed", 6, _MESSAGE, "BoolValue"),
        ("response_status", 7, _MESSAGE, "EchoStatus"),
        ("expect_compressed", 8, _MESSAGE, "BoolValue"),
    ),
    "SimpleResponse": (
        ("payload", 1, _MESSAGE, "Payload"),
        ("username", 2, _STRING),
        ("oauth_scope", 3, _STRING),
    ),
    "StreamingInputCallRequest": (
        ("payload", 1, _MESSAGE, "Payload"),
        ("expect_compressed", 2, _MESSAGE, "BoolValue"),
    ),
    "StreamingInputCallResponse": (("aggregated_payload_size", 1, _INT32),),
    "ResponseParameters": (
        ("size", 1, _INT32),
        ("interval_us", 2, _INT32),
        ("compressed", 3, _MESSAGE, "BoolValue"),
    ),
    "StreamingOutputCallRequest": (
        ("response_type", 1, _ENUM, "PayloadType"),
        ("response_parameters", 2, _MESSAGE, "ResponseParameters", True),
        ("payload", 3, _MESSAGE, "Payload"),
        ("response_status", 7, _MESSAGE, "EchoStatus"),
    ),
    "StreamingOutputCallResponse": (("payload", 1, _MESSAGE, "Payload"),),
}


def _file():
    file = descriptor_pb2.FileDescriptorProto(name="testservice.proto", package=_PACKAGE, syntax="proto3")
    file.enum_type.add(name="PayloadType").value.add(name="COMPRESSABLE", number=0)
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, *rest in fields:
            added = message.field.add(name=field, number=number, type=kind, label=1)
            if rest:
                added.type_name = f".{_PACKAGE}.{rest[0]}"
            if rest[1:]:
                added.label = 3
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _message(name):
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Empty = _message("Empty")
SimpleRequest = _message("SimpleRequest")
SimpleResponse = _message("SimpleResponse")
StreamingInputCallRequest = _message("StreamingInputCallRequest")
StreamingInputCallResponse = _message("StreamingInputCallResponse")
StreamingOutputCallRequest = _message("StreamingOutputCallRequest")
StreamingOutputCallResponse = _message("StreamingOutputCallResponse")
