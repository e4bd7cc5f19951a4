"""Bytes on the wire without hushar: protobuf by hand, read and (by kernelkit.wire) written, and message
classes made from `protos/`.

The classes live in a descriptor pool of their own, made by protoc's descriptor set at test time, so
that nothing of the committed generated code is trusted here.
"""

import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from kernelkit.wire import EGROUP, I32, I64, LEN, SGROUP, VARINT, field, groups, overlong, tag, varint

__all__ = [
    "EGROUP",
    "I32",
    "I64",
    "LEN",
    "SGROUP",
    "VARINT",
    "Messages",
    "contents",
    "field",
    "fields",
    "groups",
    "overlong",
    "tag",
    "varint",
    "without",
]

PROTOS = Path(__file__).parents[2] / "protos"
PROTOC = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]


def _read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _skip(data, at, number, wire_type):
    """The position behind the value of a field that begins at `at`."""
    if wire_type == VARINT:
        return _read_varint(data, at)[1]
    if wire_type == LEN:
        length, at = _read_varint(data, at)
        return at + length
    if wire_type == SGROUP:
        while True:
            key, at = _read_varint(data, at)
            if key == number << 3 | EGROUP:
                return at
            at = _skip(data, at, key >> 3, key & 7)
    return at + {I64: 8, I32: 4}[wire_type]


def fields(data):
    """Each field of a valid message: (number, wire type, content or None, all of its bytes)."""
    at = 0
    while at < len(data):
        start = at
        key, at = _read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        content = None
        if wire_type == LEN:
            length, at = _read_varint(data, at)
            content = data[at : at + length]
            at += length
        else:
            at = _skip(data, at, number, wire_type)
        yield number, wire_type, content, data[start:at]


def without(data, number):
    """The message's bytes without every field of that number."""
    return b"".join(whole for found, _, _, whole in fields(data) if found != number)


def contents(data, number):
    """The contents of each length-delimited field of that number."""
    return [content for found, kind, content, _ in fields(data) if found == number and kind == LEN]


class Messages:
    """The message classes of `protos/`, and how to build requests with them."""

    def __init__(self, directory):
        target = directory / "hushar.desc"
        sources = ["hushar/structs.proto", "hushar/service.proto"]
        subprocess.run([*PROTOC, "--include_imports", f"--descriptor_set_out={target}", *sources], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.AddSerializedFile(file.SerializeToString())
        deeper = descriptor_pb2.FileDescriptorProto(name="deeper.proto", package="e2e", syntax="proto3")
        deeper.dependency.append("hushar/structs.proto")
        nested = deeper.message_type.add(name="Deeper").field.add(name="request", number=1, label=1, type=11)
        nested.type_name = ".hushar.InferenceRequest"
        pool.AddSerializedFile(deeper.SerializeToString())

        def message(name):
            return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))

        self.Request = message("hushar.InferenceRequest")
        self.Response = message("hushar.InferenceResponse")
        self.Row = message("hushar.InputRow")
        self.Value = message("hushar.DataType")
        self.Logs = message("hushar.InferenceLogs")
        self._deeper = message("e2e.Deeper")

    def value(self, kind, value):
        """A DataType of that kind (its field name); None for one that has no value set."""
        made = self.Value()
        if kind is None:
            return made
        if kind.endswith("_array"):
            array = getattr(made, kind)
            array.SetInParent()
            array.values.extend(value)
        else:
            setattr(made, kind, value)
        return made

    def row(self, row_id, features):
        """An InputRow from {name: (kind, value)}."""
        row = self.Row(row_id=row_id)
        for name, (kind, value) in features.items():
            row.features[name].CopyFrom(self.value(kind, value))
        return row

    def request(self, rows, request_id=""):
        """An InferenceRequest from [(row_id, {name: (kind, value)}), …]."""
        return self.Request(request_id=request_id, inputs=[self.row(*row) for row in rows])

    def decodes(self, data):
        """Whether google.protobuf decodes it as a request, also one level deeper (CONTRACT.md 1)."""
        try:
            self.Request.FromString(data)
            self._deeper.FromString(field(1, data))
        except DecodeError:
            return False
        return True

    def features_of(self, row):
        """{name: (kind, value)} of a decoded InputRow; features with no value set are left out."""
        found = {}
        for name, value in row.features.items():
            kind = value.WhichOneof("data_type")
            if kind is not None:
                content = getattr(value, kind)
                found[name] = (kind, list(content.values) if kind.endswith("_array") else content)
        return found
