import pytest

from hushar.client.kinds import ARRAY_OF, KINDS, kind_named, kinds_from_vectorization
from hushar.proto.structs_pb2 import DataType


def test_kinds_are_the_fields_of_the_message_in_their_order():
    assert list(KINDS) == [field.name for field in DataType.DESCRIPTOR.fields]
    for scalar, array in ARRAY_OF.items():
        assert scalar.removesuffix("_value") == array.removesuffix("_array")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("float", "float_value"),
        ("double", "double_value"),
        ("int", "integer_value"),
        ("integer", "integer_value"),
        ("long", "long_value"),
        ("string", "string_value"),
        ("long_array", "long_array"),
        ("float_value", "float_value"),
        ("Float", None),
        ("bool", None),
    ],
)
def test_kinds_have_short_names(name, kind):
    assert kind_named(name) == kind


def test_the_transformation_says_which_kind_it_accepts():
    types = {
        "s32": "standardization32",
        "m32": "min_max_scaling32",
        "s64": "standardization64",
        "m64": "min_max_scaling64",
        "one": "one_hot_encoding",
        "emb": "embedding",
        "any": "identity",
        "plugin": "log1p",
    }
    document = {"feature_transformations": {name: {"type": kind} for name, kind in types.items()}}
    assert kinds_from_vectorization(document) == {
        "s32": "float_value",
        "m32": "float_value",
        "s64": "double_value",
        "m64": "double_value",
        "one": "string_value",
        "emb": "string_value",
    }


@pytest.mark.parametrize("document", [{}, {"feature_transformations": []}])
def test_another_document_is_no_vectorization(document):
    with pytest.raises(ValueError, match="has no object 'feature_transformations'"):
        kinds_from_vectorization(document)


@pytest.mark.parametrize("parameters", [None, {}, {"type": 1}, "identity"])
def test_a_feature_without_a_type_is_named(parameters):
    with pytest.raises(ValueError, match=r"feature_transformations\.age"):
        kinds_from_vectorization({"feature_transformations": {"age": parameters}})
