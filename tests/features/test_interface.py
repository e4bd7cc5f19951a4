import pytest
from pydantic import TypeAdapter, ValidationError

from hushar.features.interface import Element, FiniteFloat32, FiniteFloat64, Float32, Float64
from hushar.proto.structs_pb2 import DataType

NAN, INF = float("nan"), float("inf")


def refusal(annotation, value):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(annotation).validate_python(value)
    return str(caught.value.errors()[0]["ctx"]["error"])


def test_kinds_are_the_fields_of_data_type():
    kinds = {kind for element in Element for kind in (element.scalar_kind, element.array_kind)}

    assert kinds == set(DataType.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("annotation", [Float32, Float64, FiniteFloat32, FiniteFloat64])
class TestNumbers:
    @pytest.mark.parametrize("value", [0, -1, 1.5, -0.0])
    def test_integers_and_floats_are_numbers(self, annotation, value):
        number = TypeAdapter(annotation).validate_python(value)
        assert isinstance(number, float)
        assert number == value

    @pytest.mark.parametrize(
        ("value", "text"),
        [("1", '"1"'), (True, "true"), (None, "null"), ([1], "[1]"), ({"a": 1}, '{"a": 1}')],
    )
    def test_nothing_else_is(self, annotation, value, text):
        assert refusal(annotation, value) == f"expected a number, got {text}"

    def test_an_integer_beyond_float64_is_refused(self, annotation):
        assert refusal(annotation, 10**400) == "the number does not fit a float64"


@pytest.mark.parametrize("annotation", [Float32, FiniteFloat32])
@pytest.mark.parametrize("value", [1e39, -1e39, 10**39, 2.0**128 - 2.0**103])
def test_float32_refuses_what_rounds_to_infinity(annotation, value):
    assert "does not fit a float32" in refusal(annotation, value)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_only_the_finite_ones_refuse_nan_and_infinities(value):
    assert str(TypeAdapter(Float32).validate_python(value)) == str(value)
    assert str(TypeAdapter(Float64).validate_python(value)) == str(value)
    assert refusal(FiniteFloat32, value) == refusal(FiniteFloat64, value) == f"must be finite, is {value}"
