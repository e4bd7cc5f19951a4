"""The descriptors that are built here against those that the gRPC project publishes."""

import importlib
import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2

from hushar.services import health, reflection

PUBLISHED = {
    "grpc_health.v1.health_pb2": health.TYPES,
    "grpc_reflection.v1alpha.reflection_pb2": reflection.TYPES[reflection.NAMES[1]],
}
"""Modules of grpcio-health-checking and grpcio-reflection."""


def described(file):
    """What is in a file: (message, field) → number, type, label, the oneof; (service, method) → how."""
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    found = {}
    for message in proto.message_type:
        oneofs = [oneof.name for oneof in message.oneof_decl]
        for field in message.field:
            oneof = oneofs[field.oneof_index] if field.HasField("oneof_index") else None
            what = (field.number, field.type, field.type_name, field.label, oneof)
            found[message.name, field.name] = what
        for enum in message.enum_type:
            found[message.name, enum.name] = [(value.name, value.number) for value in enum.value]
    for service in proto.service:
        for method in service.method:
            streams = (method.client_streaming, method.server_streaming)
            found[service.name, method.name] = (method.input_type, method.output_type, *streams)
    return found


@pytest.mark.parametrize("module", PUBLISHED)
def test_all_that_is_here_is_as_it_was_published(module):
    try:
        published = described(importlib.import_module(module).DESCRIPTOR)
    except ImportError:
        pytest.skip(f"needs tool: {module}")
    types = PUBLISHED[module]
    (name,) = {message.DESCRIPTOR.file.name for message in [types[first_message(published)]]}
    ours = described(types.pool.FindFileByName(name))
    assert ours == {key: published[key] for key in ours}
    missing = {first for first, _ in published.keys() - ours.keys()}
    # Health.List is younger than what every client knows, and nobody has asked for it.
    assert missing <= {"Health", "HealthListRequest", "HealthListResponse", "StatusesEntry"}


def first_message(described_file):
    return next(name for name, _ in described_file)


def test_v1_differs_from_v1alpha_by_its_name_only():
    one, other = (
        {key: repr(value).replace(".v1alpha.", ".v1.") for key, value in described(types_file(name)).items()}
        for name in reflection.NAMES
    )
    assert one == other


def types_file(name):
    return reflection.TYPES[name].pool.FindServiceByName(name).file


@pytest.mark.slow
@pytest.mark.parametrize("first", ["hushar", "grpc"])
def test_a_process_may_have_the_published_modules_too(first):
    """Two files of one name in one pool would end it with a TypeError."""
    pytest.importorskip("grpc_health", reason="needs tool: grpcio-health-checking")
    pytest.importorskip("grpc_reflection", reason="needs tool: grpcio-reflection")
    ours = "import hushar.services.health, hushar.services.reflection"
    theirs = "import grpc_health.v1.health_pb2, grpc_reflection.v1alpha.reflection_pb2"
    lines = [ours, theirs] if first == "hushar" else [theirs, ours]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=60)
