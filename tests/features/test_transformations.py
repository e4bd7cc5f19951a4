import json
import re
from pathlib import Path

import numpy as np
import pytest

from hushar.features.interface import Column, Element
from hushar.features.plan import compile_plan
from hushar.features.transformations import BUILTIN
from hushar.records import VectorizationDocument
from hushar.testing import check_transformation

NAN, INF = float("nan"), float("inf")


def transform(type_name, element, values, **parameters):
    kind = BUILTIN[type_name]
    transformation = kind(kind.Parameters(**{"default_val": [0.0], **parameters}))
    result = transformation.transform(Column(element, np.array(values, dtype=element.dtype)))
    assert result.values.dtype == np.float32
    assert result.values.shape == (len(values), transformation.unit)
    return result


def bits(numbers):
    return np.asarray(numbers, np.float32).reshape(-1).view(np.uint32).tolist()


def test_the_seven_types():
    assert set(BUILTIN) == {
        "identity",
        "min_max_scaling32",
        "min_max_scaling64",
        "standardization32",
        "standardization64",
        "one_hot_encoding",
        "embedding",
    }


SAMPLES = {
    Element.DOUBLE: [0.5, -0.0, 1e300, NAN, INF],
    Element.FLOAT: [0.25, -0.0, 3e38, NAN, -INF],
    Element.INTEGER: [1, -(2**31), 2**24 + 1],
    Element.LONG: [2**62 + 1, -(2**63), 7],
    Element.STRING: ["1.5", "a", "", "no number"],
}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("identity", {}),
        ("min_max_scaling32", {"min": -1, "max": 3}),
        ("min_max_scaling64", {"min": -1, "max": 3}),
        ("standardization32", {"mean": 0.1, "std_dev": 3}),
        ("standardization64", {"mean": 0.1, "std_dev": 3}),
        ("one_hot_encoding", {"categories": ["a", "1.5"], "default_val": [0, 0]}),
        ("embedding", {"embeddings": {"a": [1, 2], "": [3, 4]}, "default_val": [0, 0]}),
    ],
)
def test_each_keeps_the_rules_of_a_transformation(name, parameters):
    kind = BUILTIN[name]
    values = {element: SAMPLES[element] for element in kind.accepts}

    check_transformation(kind, {"default_val": [0], **parameters}, values=values)


class TestDocumentation:
    page = Path(__file__).parents[2] / "docs" / "vectorization.md"

    def examples(self):
        text = self.page.read_text(encoding="utf-8")
        return [
            json.loads(block)
            for block in re.findall(r"^ *```json\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
        ]

    def test_every_example_can_be_used(self):
        for example in self.examples():
            features = example["feature_transformations"]
            compile_plan(VectorizationDocument("docs", features, tuple(example["feature_order"])), BUILTIN)

    def test_every_type_has_an_example_and_a_section(self):
        used = {f["type"] for e in self.examples() for f in e["feature_transformations"].values()}
        headings = set(re.findall(r"^### `(\w+)`", self.page.read_text(encoding="utf-8"), re.MULTILINE))

        assert used == headings == set(BUILTIN)


class TestIdentity:
    def test_accepts_every_element(self):
        assert BUILTIN["identity"].accepts == set(Element)

    @pytest.mark.parametrize(
        ("element", "values"),
        [
            (Element.FLOAT, [1.5, -0.0, NAN, INF, -INF, 1e-45]),
            (Element.DOUBLE, [1.5, -0.0, NAN, INF, -INF, 0.25]),
            (Element.INTEGER, [0, 1, -1, 2**24]),
            (Element.LONG, [0, 1, -1, 2**62]),
        ],
    )
    def test_what_float32_holds_passes_through(self, element, values):
        assert bits(transform("identity", element, values).values) == bits(values)

    def test_doubles_are_rounded_to_the_nearest_and_ties_to_even(self):
        values = transform(
            "identity", Element.DOUBLE, [0.1, 1 + 2**-24, 1 + 3 * 2**-24, 1e300, -1e300, 1e-300, -1e-300]
        )

        assert bits(values.values) == bits([np.float32(0.1), 1.0, 1 + 2**-22, INF, -INF, 0.0, -0.0])

    def test_int32_is_rounded_to_the_nearest_and_ties_to_even(self):
        values = transform(
            "identity", Element.INTEGER, [2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**31 - 1, -(2**31)]
        )

        assert values.values.reshape(-1).tolist() == [2.0**24, 2.0**24 + 4, -(2.0**24), 2.0**31, -(2.0**31)]

    def test_int64_is_not_rounded_on_the_way_through_float64(self):
        # Just above the middle of two float32, by less than float64 can tell.
        above = 2**60 + 2**36 + 1
        assert float(np.float32(np.float64(above))) == 2.0**60

        values = transform("identity", Element.LONG, [above, -above, 2**60 + 2**36, 2**60 + 2**36 - 1])

        assert values.values.reshape(-1).tolist() == [2.0**60 + 2**37, -(2.0**60) - 2**37, 2.0**60, 2.0**60]

    def test_strings_are_parsed_and_the_unparsable_told(self):
        result = transform("identity", Element.STRING, ["1.5", "abc", "-0"])

        assert result.unparsable.tolist() == [False, True, False]
        assert bits(result.values[[0, 2]]) == bits([1.5, -0.0])


class TestScaling:
    @pytest.mark.parametrize("name", ["min_max_scaling32", "standardization32"])
    def test_32_accepts_float_and_int32(self, name):
        assert BUILTIN[name].accepts == {Element.FLOAT, Element.INTEGER}

    @pytest.mark.parametrize("name", ["min_max_scaling64", "standardization64"])
    def test_64_accepts_double_and_int64(self, name):
        assert BUILTIN[name].accepts == {Element.DOUBLE, Element.LONG}

    def test_min_max_32_rounds_parameters_and_every_step_to_float32(self):
        low, high, value = np.float32(0.1), np.float32(0.7), np.float32(0.3)
        result = transform("min_max_scaling32", Element.FLOAT, [0.3], min=0.1, max=0.7)

        assert bits(result.values) == bits([(value - low) / (high - low)])
        assert bits(result.values) != bits([np.float32((0.3 - 0.1) / (0.7 - 0.1))])

    def test_standardization_32_rounds_parameters_and_every_step_to_float32(self):
        mean, deviation, value = np.float32(0.1), np.float32(0.7), np.float32(0.4)
        result = transform("standardization32", Element.FLOAT, [0.4], mean=0.1, std_dev=0.7)

        assert bits(result.values) == bits([(value - mean) / deviation])

    def test_int32_becomes_float32_before_the_arithmetic(self):
        result = transform("standardization32", Element.INTEGER, [2**24 + 1], mean=1.0, std_dev=1.0)

        assert result.values.tolist() == [[2.0**24 - 1]]

    def test_min_max_64_computes_in_float64_and_narrows_at_the_end(self):
        values = [0.3, 1e-9, 123456789.123456789]
        result = transform("min_max_scaling64", Element.DOUBLE, values, min=0.1, max=0.7)

        assert bits(result.values) == bits([np.float32((value - 0.1) / (0.7 - 0.1)) for value in values])

    def test_standardization_64_computes_in_float64_and_narrows_at_the_end(self):
        values = [0.3, 16777217.0, 1e300]
        result = transform("standardization64", Element.DOUBLE, values, mean=16777216.0, std_dev=3.0)

        assert bits(result.values[:2]) == bits([np.float32((v - 16777216.0) / 3.0) for v in values[:2]])
        assert result.values[2] == INF

    def test_int64_becomes_float64_before_the_arithmetic(self):
        result = transform("standardization64", Element.LONG, [2**53 + 1, 2**24 + 1], mean=0.0, std_dev=1.0)

        assert result.values.tolist() == [[2.0**53], [2.0**24]]
        assert (
            transform("standardization64", Element.LONG, [2**24 + 1], mean=2.0**24, std_dev=1.0).values == 1.0
        )

    @pytest.mark.parametrize(
        ("name", "element", "parameters"),
        [
            ("min_max_scaling32", Element.FLOAT, {"min": 0, "max": 1}),
            ("min_max_scaling64", Element.DOUBLE, {"min": 0, "max": 1}),
            ("standardization32", Element.FLOAT, {"mean": 0, "std_dev": 1}),
            ("standardization64", Element.DOUBLE, {"mean": 0, "std_dev": 1}),
        ],
    )
    def test_nan_infinities_and_zeros_are_results_like_any_other(self, name, element, parameters):
        result = transform(name, element, [NAN, INF, -INF, 0.0, -0.0], **parameters)

        assert np.isnan(result.values[0, 0])
        assert bits(result.values[1:]) == bits([INF, -INF, 0.0, -0.0])

    def test_values_outside_min_and_max_are_not_clipped(self):
        assert transform("min_max_scaling32", Element.FLOAT, [-10, 30], min=0, max=10).values.tolist() == [
            [-1],
            [3],
        ]

    def test_a_range_too_large_for_float32_gives_what_the_formula_gives(self):
        result = transform("min_max_scaling32", Element.FLOAT, [1.0], min=-3e38, max=3e38)

        assert result.values.tolist() == [[0.0]]


class TestOneHot:
    def test_accepts_strings(self):
        assert BUILTIN["one_hot_encoding"].accepts == {Element.STRING}

    def test_a_one_in_the_order_of_the_categories(self):
        result = transform(
            "one_hot_encoding", Element.STRING, ["a", "c", "b", "a"], categories=["c", "a", "b"]
        )

        assert result.values.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]]
        assert not result.unknown.any()

    def test_unknown_strings_are_told(self):
        result = transform("one_hot_encoding", Element.STRING, ["a", "A", ""], categories=["a"])

        assert result.unknown.tolist() == [False, True, True]

    def test_the_empty_string_may_be_a_category(self):
        result = transform("one_hot_encoding", Element.STRING, [""], categories=["a", ""])

        assert result.values.tolist() == [[0, 1]]


class TestEmbedding:
    def test_accepts_strings(self):
        assert BUILTIN["embedding"].accepts == {Element.STRING}

    def test_the_vector_rounded_to_float32(self):
        result = transform(
            "embedding", Element.STRING, ["b", "a"], embeddings={"a": [1, 0.1], "b": [-0.0, 2]}
        )

        assert bits(result.values) == bits([-0.0, 2, 1, np.float32(0.1)])
        assert not result.unknown.any()

    def test_unknown_strings_are_told(self):
        result = transform("embedding", Element.STRING, ["x", "a"], embeddings={"a": [1, 2]})

        assert result.unknown.tolist() == [True, False]
