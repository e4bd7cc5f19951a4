"""What is read of an ONNX file without onnxruntime."""

import onnx
from onnx import TensorProto, helper

from hushar.models.onnx_file import external_locations, header_details, read_header
from hushar.testing import onnx_models


def external(location: str) -> TensorProto:
    tensor = TensorProto(name=location, dims=[1], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="0")
    return tensor


def sparse(name: str) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(
        values=external(f"{name}.values"), indices=external(f"{name}.indices"), dims=[1]
    )


def locations(model: onnx.ModelProto) -> frozenset[str]:
    header = read_header(model.SerializeToString())
    assert header is not None
    return external_locations(header)


def test_bytes_that_are_no_model_have_no_header():
    assert read_header(b"\x00garbage\xff") is None


def test_the_header_as_a_person_reads_it():
    model = onnx.load_model_from_string(onnx_models.linear(1, 1))
    model.producer_version = "2.0"
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model.opset_import.append(model.opset_import[0])
    header = read_header(model.SerializeToString())
    assert header is not None
    assert header_details(header) == {
        "opset": f"{onnx_models.OPSET}, ai.onnx.ml 3",
        "ir_version": str(onnx_models.IR_VERSION),
        "producer": "hushar.testing 2.0",
    }


def test_a_producer_that_does_not_say_its_name():
    header = read_header(onnx.ModelProto(ir_version=8).SerializeToString())
    assert header is not None
    assert header_details(header)["producer"] == "unknown"


def test_a_producer_whose_name_is_not_utf_8_hides_nothing():
    """Field 2, two bytes that are no UTF-8: onnxruntime reads such a model, so this must."""
    model = b"\x12\x02\xff\xfe" + onnx_models.with_external_data("weights.bin", 4)
    header = read_header(model)
    assert header is not None
    assert external_locations(header) == {"weights.bin"}


def test_a_model_of_one_file_has_no_locations():
    assert locations(onnx.load_model_from_string(onnx_models.mlp([2, 3, 1], seed=1))) == frozenset()


def test_a_location_counts_only_where_data_is_external():
    tensor = external("left over")
    tensor.data_location = TensorProto.DEFAULT
    model = onnx.ModelProto()
    model.graph.initializer.append(tensor)
    assert locations(model) == frozenset()


def test_locations_are_found_wherever_a_tensor_can_stand():
    inner = onnx.GraphProto(initializer=[external("subgraph")])
    inner.node.add().attribute.add(name="value", t=external("deeper"))
    model = onnx.ModelProto()
    model.graph.initializer.append(external("initializer"))
    model.graph.sparse_initializer.append(sparse("sparse"))
    model.graph.node.add().attribute.extend(
        [
            onnx.AttributeProto(name="a", t=external("attribute")),
            onnx.AttributeProto(name="b", tensors=[external("list")]),
            onnx.AttributeProto(name="c", g=inner),
            onnx.AttributeProto(name="d", graphs=[onnx.GraphProto(initializer=[external("graphs")])]),
            onnx.AttributeProto(name="e", sparse_tensor=sparse("one")),
            onnx.AttributeProto(name="f", sparse_tensors=[sparse("many")]),
        ]
    )
    function = model.functions.add()
    function.node.add().attribute.add(name="value", t=external("function"))
    function.attribute_proto.add(name="default", t=external("default"))
    expected = {"initializer", "attribute", "list", "subgraph", "deeper", "graphs", "function", "default"}
    for name in ("sparse", "one", "many"):
        expected |= {f"{name}.values", f"{name}.indices"}
    assert locations(model) == expected
