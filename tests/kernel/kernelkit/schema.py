"""The messages of CONTRACT.md 1, made from its table, in a descriptor pool of their own.

Nothing of `protos/` or of the generated code is trusted here. Protobuf's C parser (upb) decides what
decodes; the pure Python one is another parser with other limits, so it is refused.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError

assert api_implementation.Type() == "upb", "the yardstick is protobuf's upb"

_TYPES = {"double": 1, "float": 2, "int64": 3, "int32": 5, "string": 9, "message": 11}
_ONE, _MANY = 1, 3

VALUE_FIELDS = {
    "double_value": (1, "double"),
    "float_value": (2, "float"),
    "integer_value": (3, "int32"),
    "long_value": (4, "int64"),
    "string_value": (5, "string"),
    "double_array": (6, "DoubleArray"),
    "float_array": (7, "FloatArray"),
    "integer_array": (8, "IntegerArray"),
    "long_array": (9, "LongArray"),
    "string_array": (10, "StringArray"),
}
"""DataType's fields by name: the kinds."""


def _field(message, name, number, kind, label=_ONE):
    made = message.field.add(name=name, number=number, label=label)
    made.type = _TYPES.get(kind, _TYPES["message"])
    if kind not in _TYPES:
        made.type_name = f".yardstick.{kind}"
    return made


def _features(message):
    """`map<string, DataType> features = 2`: in a descriptor a nested message with map_entry."""
    entry = message.nested_type.add(name="FeaturesEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1, "string")
    _field(entry, "value", 2, "DataType")
    _field(message, "features", 2, f"{message.name}.FeaturesEntry", _MANY)


def _classes():
    file = descriptor_pb2.FileDescriptorProto(name="yardstick.proto", package="yardstick", syntax="proto3")
    add = file.message_type.add
    arrays = {"Double": "double", "Float": "float", "Integer": "int32", "Long": "int64", "String": "string"}
    for element, kind in arrays.items():
        _field(add(name=f"{element}Array"), "values", 1, kind, _MANY)
    value = add(name="DataType")
    value.oneof_decl.add(name="data_type")
    for name, (number, kind) in VALUE_FIELDS.items():
        _field(value, name, number, kind).oneof_index = 0
    row = add(name="InputRow")
    _field(row, "row_id", 1, "string")
    _features(row)
    request = add(name="InferenceRequest")
    _field(request, "request_id", 1, "string")
    _field(request, "inputs", 2, "InputRow", _MANY)
    _field(add(name="Deeper"), "request", 1, "InferenceRequest")
    answer = add(name="OutputRow")
    _field(answer, "row_id", 1, "string")
    _field(answer, "scores", 2, "float", _MANY)
    response = add(name="InferenceResponse")
    _field(response, "request_id", 1, "string")
    _field(response, "outputs", 2, "OutputRow", _MANY)
    logged = add(name="InferenceLogRow")
    _field(logged, "row_id", 1, "string")
    _features(logged)
    _field(logged, "scores", 3, "float", _MANY)
    batch = add(name="InferenceLogBatch")
    _field(batch, "request_id", 1, "string")
    _field(batch, "model_id", 2, "string")
    _field(batch, "inference_log_rows", 3, "InferenceLogRow", _MANY)
    _field(batch, "received_unix_micros", 16, "int64")
    _field(batch, "model_version", 17, "string")
    _field(add(name="InferenceLogs"), "inferenceLogBatches", 1, "InferenceLogBatch", _MANY)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"yardstick.{message.name}"))
        for message in file.message_type
    }


CLASSES = _classes()
Request = CLASSES["InferenceRequest"]
Response = CLASSES["InferenceResponse"]
Logs = CLASSES["InferenceLogs"]
_FROM_STRING = CLASSES["Deeper"].FromString


def decoded(message):
    """The request, or None if it does not decode, or would not one level deeper (CONTRACT.md 1)."""
    length, prefix = len(message), bytearray(b"\x0a")
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    try:
        return _FROM_STRING(bytes(prefix) + message).request
    except DecodeError:
        return None
