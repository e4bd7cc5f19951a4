"""What hushar itself reads of an ONNX file: its header, and which further files it refers to."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from google.protobuf.message import DecodeError

from hushar.proto.internal_pb2 import (
    OnnxAttribute,
    OnnxGraph,
    OnnxModelHeader,
    OnnxNode,
    OnnxSparseTensor,
    OnnxTensor,
)

_EXTERNAL = 1  # onnx.TensorProto.EXTERNAL


class ExternalDataRefused(ValueError):
    """A model's external data is where it must not be, or is not there."""


def read_header(data: bytes) -> OnnxModelHeader | None:
    """The header of a serialized onnx.ModelProto; None where the bytes are none."""
    try:
        return OnnxModelHeader.FromString(data)
    except DecodeError:
        return None


def header_details(header: OnnxModelHeader) -> Mapping[str, str]:
    """`opset`, `ir_version` and `producer`, as a person wants to read them."""
    # skl2onnx names the default domain more than once.
    opsets = sorted({(_text(entry.domain), entry.version) for entry in header.opset_import})
    producer = f"{_text(header.producer_name)} {_text(header.producer_version)}".strip()
    return {
        "opset": ", ".join(f"{domain} {version}".strip() for domain, version in opsets),
        "ir_version": str(header.ir_version),
        "producer": producer or "unknown",
    }


def external_locations(header: OnnxModelHeader) -> frozenset[str]:
    """The files, relative to the model's own, that hold weights of the model."""
    found: set[str] = set()
    for tensor in _model_tensors(header):
        if tensor.data_location == _EXTERNAL:
            found.update(_text(entry.value) for entry in tensor.external_data if entry.key == b"location")
    return frozenset(found)


def check_external_data(model: Path, locations: Iterable[str]) -> None:
    """Refuse external data that is not a file of its own inside the model's directory.

    A model is data that may come from elsewhere; a location of `../../etc/passwd`, or a link to such
    a file, would read it into the weights. Raises ExternalDataRefused.
    """
    directory = Path(os.path.realpath(model.parent))
    for location in sorted(locations):
        path = Path(os.path.realpath(directory / location))
        if not path.is_relative_to(directory):
            raise ExternalDataRefused(f"its external data {location!r} lies outside the model's directory")
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ExternalDataRefused(f"its external data {location!r} cannot be read: {reason}") from error
        if not stat.S_ISREG(status.st_mode):
            raise ExternalDataRefused(f"its external data {location!r} is not a file")
        if status.st_nlink > 1:
            raise ExternalDataRefused(
                f"its external data {location!r} is a hard link, which may be a file of elsewhere; copy it"
            )


def _text(value: bytes) -> str:
    """As a path would be decoded, so that a location names the same file."""
    return os.fsdecode(value)


def _model_tensors(header: OnnxModelHeader) -> Iterator[OnnxTensor]:
    yield from _graph_tensors(header.graph)
    for function in header.functions:
        yield from _node_tensors(function.node)
        for attribute in function.attribute_proto:
            yield from _attribute_tensors(attribute)


def _graph_tensors(graph: OnnxGraph) -> Iterator[OnnxTensor]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from _sparse_tensors(sparse)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[OnnxNode]) -> Iterator[OnnxTensor]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)


def _attribute_tensors(attribute: OnnxAttribute) -> Iterator[OnnxTensor]:
    # The single fields are asked for first: reading an unset `g` would give an empty one for ever.
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from _sparse_tensors(attribute.sparse_tensor)
    for sparse in attribute.sparse_tensors:
        yield from _sparse_tensors(sparse)
    if attribute.HasField("g"):
        yield from _graph_tensors(attribute.g)
    for graph in attribute.graphs:
        yield from _graph_tensors(graph)


def _sparse_tensors(sparse: OnnxSparseTensor) -> Iterator[OnnxTensor]:
    yield sparse.values
    yield sparse.indices
