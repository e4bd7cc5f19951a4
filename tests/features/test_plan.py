import dataclasses
import json
import re
from typing import ClassVar

import numpy as np
import pytest
from pydantic import BaseModel

from hushar.errors import ConfigurationError, Problem
from hushar.features.interface import NUMBERS, Transformation, TransformationParameters, Transformed
from hushar.features.plan import check_width, compile_plan, vectorization_schema
from hushar.features.transformations import BUILTIN
from hushar.records import VectorizationDocument

NAN, INF = float("nan"), float("inf")
IDENTITY = {"type": "identity", "default_val": [0.0]}
ALL_TYPES = ", ".join(sorted(BUILTIN))


def problems_of(document, registry=BUILTIN):
    with pytest.raises(ConfigurationError) as caught:
        compile_plan(document, registry)
    assert {problem.file for problem in caught.value.problems} == {document.file}
    return [(problem.key, problem.message) for problem in caught.value.problems]


def problems_with(make, **feature):
    """Problems of a configuration whose only feature is `age`."""
    prefix = "feature_transformations.age"
    found = problems_of(make.document(age=feature))
    assert all(key.startswith(prefix) for key, _ in found)
    return [(key.removeprefix(prefix).lstrip("."), message) for key, message in found]


class TestColumns:
    def test_features_fill_the_columns_in_order(self, make):
        plan = make.plan(
            b=IDENTITY,
            a={"type": "one_hot_encoding", "categories": ["x", "y"], "default_val": [0, 1, 2, 3]},
            c={"type": "identity", "default_val": [7, 8, 9]},
        )

        assert [(f.name, f.type, f.start, f.stop, f.width, f.units) for f in plan.features] == [
            ("b", "identity", 0, 1, 1, 1),
            ("a", "one_hot_encoding", 1, 5, 4, 2),
            ("c", "identity", 5, 8, 3, 3),
        ]
        assert [f.columns for f in plan.features] == ["[0]", "[1:5]", "[5:8]"]
        assert plan.width == 8
        assert plan.file == "vectorization.json"
        assert dict(plan.index) == {f.name: f for f in plan.features}

    def test_the_order_is_that_of_feature_order(self):
        document = VectorizationDocument("v.json", {"a": IDENTITY, "b": IDENTITY}, ("b", "a"))

        assert [f.name for f in compile_plan(document, BUILTIN).features] == ["b", "a"]

    def test_defaults_are_float32(self, make):
        plan = make.plan(
            a={"type": "identity", "default_val": [0.1, -0.0]}, b={"type": "identity", "default_val": [3]}
        )

        assert plan.row_default.dtype == plan.features[0].default.dtype == np.float32
        assert (
            plan.row_default.view(np.uint32).tolist()
            == np.array([0.1, -0.0, 3], np.float32).view(np.uint32).tolist()
        )
        assert plan.features[0].default.tolist() == plan.row_default[:2].tolist()

    def test_a_default_may_be_nan(self, make):
        assert np.isnan(make.plan(a={"type": "identity", "default_val": [NAN]}).row_default[0])

    def test_a_plan_cannot_be_changed(self, make):
        plan = make.plan(a=IDENTITY)

        with pytest.raises(dataclasses.FrozenInstanceError):
            plan.width = 3
        with pytest.raises(ValueError, match="read-only"):
            plan.row_default[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            plan.features[0].default[0] = 1
        with pytest.raises(TypeError):
            plan.index["b"] = plan.features[0]

    def test_the_document_is_left_as_it_was(self, make):
        feature = {"type": "identity", "default_val": [0.0]}
        make.plan(a=feature)

        assert feature == {"type": "identity", "default_val": [0.0]}

    def test_categories_take_any_order(self, make):
        plan = make.plan(
            a={"type": "one_hot_encoding", "categories": ["z", "a", "m"], "default_val": [0, 0, 0]}
        )

        assert plan.width == 3


class TestConfigurationErrors:
    """CONTRACT.md 2, "Configuration errors stop the start"."""

    @pytest.mark.parametrize("name", ["min_max_scaling32", "min_max_scaling64"])
    @pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0.0, -0.0)])
    def test_min_not_below_max(self, make, name, low, high):
        ((key, message),) = problems_with(make, type=name, default_val=[0], min=low, max=high)

        assert key == "max"
        assert message == (
            f"min must be below max; as float{name[-2:]}, min is {float(low)!r} and max is {float(high)!r}"
        )

    def test_min_and_max_that_are_one_float32(self, make):
        limits = {"min": 16777216, "max": 16777217, "default_val": [0]}

        assert make.plan(a={"type": "min_max_scaling64", **limits}).width == 1
        assert problems_with(make, type="min_max_scaling32", **limits) == [
            ("max", "min must be below max; as float32, min is 16777216.0 and max is 16777216.0")
        ]

    @pytest.mark.parametrize("name", ["standardization32", "standardization64"])
    @pytest.mark.parametrize("deviation", [0, -1, -0.0])
    def test_std_dev_not_above_zero(self, make, name, deviation):
        ((key, message),) = problems_with(make, type=name, default_val=[0], mean=0, std_dev=deviation)

        assert key == "std_dev"
        assert message.startswith("must be above 0")
        assert message.endswith(f"is {float(deviation)!r}")

    def test_std_dev_that_is_zero_as_a_float32(self, make):
        parameters = {"mean": 0, "std_dev": 1e-50, "default_val": [0]}

        assert make.plan(a={"type": "standardization64", **parameters}).width == 1
        assert problems_with(make, type="standardization32", **parameters) == [
            ("std_dev", "must be above 0; as float32, it is 0.0")
        ]

    @pytest.mark.parametrize("value", [NAN, INF, -INF])
    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("min_max_scaling32", {"min": 0, "max": 1}),
            ("min_max_scaling64", {"min": 0, "max": 1}),
            ("standardization32", {"mean": 0, "std_dev": 1}),
            ("standardization64", {"mean": 0, "std_dev": 1}),
        ],
    )
    def test_scaling_parameters_must_be_finite(self, make, name, parameters, value):
        for parameter in parameters:
            found = problems_with(make, type=name, default_val=[0], **{**parameters, parameter: value})
            assert found == [(parameter, f"must be finite, is {value}")]

    def test_numbers_beyond_float32_where_float32_is_computed(self, make):
        assert problems_with(make, type="min_max_scaling32", default_val=[0], min=0, max=1e39) == [
            ("max", "1e+39 does not fit a float32")
        ]
        assert (
            make.plan(a={"type": "min_max_scaling64", "default_val": [0], "min": 0, "max": 1e39}).width == 1
        )

    @pytest.mark.parametrize("parameter", ["default_val", "categories"])
    def test_empty_lists(self, make, parameter):
        given = {"default_val": [0], "categories": ["a"], parameter: []}

        assert problems_with(make, type="one_hot_encoding", **given) == [(parameter, "must not be empty")]

    def test_empty_embeddings(self, make):
        assert problems_with(make, type="embedding", default_val=[0], embeddings={}) == [
            ("embeddings", "must not be empty")
        ]

    def test_an_embedding_without_numbers(self, make):
        assert problems_with(make, type="embedding", default_val=[0], embeddings={"a": []}) == [
            ("embeddings", "the vector of 'a' is empty")
        ]

    def test_embeddings_of_unequal_length(self, make):
        found = problems_with(make, type="embedding", default_val=[0], embeddings={"a": [1], "b": [1, 2]})

        assert found == [
            ("embeddings", "the vectors must have one length, but that of 'a' has 1 and that of 'b' has 2")
        ]

    def test_duplicated_categories(self, make):
        found = problems_with(
            make, type="one_hot_encoding", default_val=[0] * 5, categories=["b", "a", "b", "c", "a"]
        )

        assert found == [("categories", "listed more than once: 'b', 'a'")]

    @pytest.mark.parametrize("width", [1, 2, 4, 5])
    def test_a_width_that_is_not_whole_units(self, make, width):
        message = f"has length {width}, which is no multiple of 3, the length of what one value gives"

        assert problems_with(
            make, type="one_hot_encoding", default_val=[0] * width, categories=["a", "b", "c"]
        ) == [("default_val", message)]
        assert problems_with(
            make, type="embedding", default_val=[0] * width, embeddings={"a": [1, 2, 3]}
        ) == [("default_val", message)]

    def test_unknown_keys(self, make):
        found = problems_with(
            make, type="min_max_scaling32", default_val=[0], min=0, max=1, maximum=2, defualt_val=[1]
        )

        known = "known keys: type, default_val, min, max"
        assert found == [
            ("maximum", f"unknown key, did you mean 'max'?; {known}"),
            ("defualt_val", f"unknown key, did you mean 'default_val'?; {known}"),
        ]

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"min": "0"}, ("min", 'expected a number, got "0"')),
            ({"min": True}, ("min", "expected a number, got true")),
            ({"max": None}, ("max", "expected a number, got null")),
            ({"default_val": 0}, ("default_val", "expected a list, got 0")),
            ({"default_val": [0, "x"]}, ("default_val[1]", 'expected a number, got "x"')),
            ({"default_val": [1e39]}, ("default_val[0]", "1e+39 does not fit a float32")),
            ({"default_val": [10**400]}, ("default_val[0]", "the number does not fit a float64")),
        ],
    )
    def test_wrong_types(self, make, given, problem):
        parameters = {"type": "min_max_scaling64", "default_val": [0], "min": 0, "max": 1, **given}

        assert problems_with(make, **parameters) == [problem]

    def test_wrong_types_of_strings(self, make):
        assert problems_with(make, type="one_hot_encoding", default_val=[0], categories=["a", 1]) == [
            ("categories[1]", "expected a string, got 1")
        ]
        assert problems_with(make, type="embedding", default_val=[0], embeddings={"a": ["x"], "b": 1}) == [
            ("embeddings.a[0]", 'expected a number, got "x"'),
            ("embeddings.b", "expected a list, got 1"),
        ]

    def test_missing_parameters(self, make):
        assert problems_with(make, type="standardization64") == [
            ("default_val", "required key is missing"),
            ("mean", "required key is missing"),
            ("std_dev", "required key is missing"),
        ]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"type": "onehot_encoding"},
                "unknown type 'onehot_encoding', did you mean 'one_hot_encoding'?",
            ),
            ({"type": "zzz"}, "unknown type 'zzz'"),
            ({"type": 3}, "expected a string, got 3"),
            ({}, "required key is missing"),
        ],
    )
    def test_an_unknown_type_is_told_with_all_known_ones(self, make, given, message):
        assert problems_with(make, default_val=[0], **given) == [
            ("type", f"{message}; known types: {ALL_TYPES}")
        ]

    def test_every_problem_of_every_feature_is_told(self, make):
        document = make.document(
            good=IDENTITY,
            age={"type": "min_max_scaling32", "default_val": [], "min": 2, "max": 1},
            color={"type": "colour", "default_val": [0]},
        )

        assert [key for key, _ in problems_of(document)] == [
            "feature_transformations.age.default_val",
            "feature_transformations.age.max",
            "feature_transformations.color.type",
        ]

    def test_names_that_one_list_has_and_the_other_has_not(self):
        document = VectorizationDocument("v.json", {"a": IDENTITY, "b": {"type": "x"}}, ("a", "c", "a"))

        assert problems_of(document) == [
            ("feature_order", "'a' is listed twice"),
            ("feature_order", "'c' is not in feature_transformations"),
            ("feature_transformations.b", "not in feature_order"),
            ("feature_transformations.b.type", f"unknown type 'x'; known types: {ALL_TYPES}"),
        ]

    def test_what_a_transformation_raises_beside_value_errors_is_a_problem_too(self, make):
        class Failing(BUILTIN["identity"]):
            def __init__(self, parameters):
                raise KeyError("x")

        document = make.document(age={"type": "failing", "default_val": [1]})
        with pytest.raises(ConfigurationError) as caught:
            compile_plan(document, {"failing": Failing})
        (problem,) = caught.value.problems
        assert problem.key == "feature_transformations.age"
        assert problem.message == "the transformation 'failing' failed: KeyError('x')"

        def fault(type_name, key, error):
            return Problem(type_name, key, repr(error))

        with pytest.raises(ConfigurationError) as caught:
            compile_plan(document, {"failing": Failing}, fault=fault)
        assert caught.value.problems == (Problem("failing", "feature_transformations.age", "KeyError('x')"),)

    def test_control_characters_in_a_name_are_made_visible(self, make):
        ((key, _),) = problems_of(
            make.document(**{"a\x1b": {"type": "identity", "default_val": [], "x\n": 1}})
        )[:1]

        assert key == r"feature_transformations.a\x1b.default_val"

    def test_no_feature_at_all(self):
        ((key, message),) = problems_of(VectorizationDocument("v.json", {}, ()))

        assert key == "feature_order"
        assert message.startswith("must not be empty")

    def test_the_text_names_file_feature_and_key(self, make):
        with pytest.raises(ConfigurationError) as caught:
            make.plan(age={"type": "standardization32", "default_val": [0], "mean": 0, "std_dev": 0})

        assert str(caught.value) == (
            "vectorization.json: feature_transformations.age.std_dev: must be above 0; as float32, it is 0.0"
        )


class Picky(Transformation):
    accepts = NUMBERS

    def transform(self, column):
        return Transformed(np.zeros((len(column.values), 1), np.float32))


class NeedsTen(Picky):
    def __init__(self, parameters):
        super().__init__(parameters)
        raise ValueError("ten is needed")


class NothingPerValue(Picky):
    unit = 0


class Inner(BaseModel):
    x: int = 0


class NestedParameters(TransformationParameters):
    inner: Inner


class Nested(Picky):
    """Has a model inside.

    And a longer story.
    """

    Parameters: ClassVar[type[TransformationParameters]] = NestedParameters


class TestPlugins:
    def test_a_type_of_the_registry_is_planned(self, make):
        plan = compile_plan(make.document(a={"type": "picky", "default_val": [1, 2]}), {"picky": Picky})

        assert isinstance(plan.features[0].transformation, Picky)

    def test_what_a_constructor_refuses_is_a_configuration_error(self, make):
        document = make.document(a={"type": "ten", "default_val": [1]})

        assert problems_of(document, {"ten": NeedsTen}) == [("feature_transformations.a", "ten is needed")]

    def test_a_transformation_that_gives_nothing_is_a_configuration_error(self, make):
        document = make.document(a={"type": "nothing", "default_val": [1]})

        assert problems_of(document, {"nothing": NothingPerValue}) == [
            (
                "feature_transformations.a",
                "the transformation gives 0 numbers for a value; it must be at least 1",
            )
        ]


class TestWidth:
    def plan(self, make):
        return make.plan(a=IDENTITY, b={"type": "identity", "default_val": [0] * 3}, c=IDENTITY)

    def test_a_model_of_the_right_or_of_any_width(self, make):
        assert check_width(self.plan(make), 5, model_uri="m.onnx") is None
        assert check_width(self.plan(make), None, model_uri="m.onnx") is None

    @pytest.mark.parametrize("width", [0, 4, 6])
    def test_a_mismatch_is_told_with_both_numbers_and_every_feature(self, make, width):
        problem = check_width(self.plan(make), width, model_uri="s3://m.onnx")

        assert (problem.file, problem.key) == ("vectorization.json", "feature_order")
        assert problem.message == (
            f"the features fill 5 columns, but the input of model s3://m.onnx has {width}: a[0], b[1:4], c[4]"
        )


class TestSchema:
    def test_each_type_has_a_definition_with_its_parameters(self):
        schema = vectorization_schema(BUILTIN)

        assert set(schema["$defs"]) == set(BUILTIN)
        for name, definition in schema["$defs"].items():
            assert definition["properties"]["type"] == {"const": name}
            assert definition["required"][:2] == ["type", "default_val"]
            assert definition["additionalProperties"] is False
        scaling = schema["$defs"]["min_max_scaling32"]
        assert scaling["required"] == ["type", "default_val", "min", "max"]
        assert scaling["properties"]["min"]["type"] == "number"
        assert scaling["description"].startswith("`(v - min) / (max - min)`")

    def test_a_feature_is_one_of_them_by_its_type(self):
        feature = vectorization_schema(BUILTIN)["properties"]["feature_transformations"][
            "additionalProperties"
        ]

        assert feature["oneOf"] == [{"$ref": f"#/$defs/{name}"} for name in sorted(BUILTIN)]
        assert feature["discriminator"]["propertyName"] == "type"
        assert feature["discriminator"]["mapping"]["embedding"] == "#/$defs/embedding"

    def test_the_top_level_has_the_two_keys(self):
        schema = vectorization_schema(BUILTIN)

        assert schema["required"] == ["feature_transformations", "feature_order"]
        assert schema["additionalProperties"] is False
        assert schema["properties"]["feature_order"]["uniqueItems"] is True

    def test_every_reference_leads_somewhere_with_models_inside_parameters(self):
        schema = vectorization_schema({**BUILTIN, "own/nested~": Nested})

        references = re.findall(r'"#/\$defs/([^"]*)"', json.dumps(schema))
        assert {name.replace("~1", "/").replace("~0", "~") for name in references} == set(schema["$defs"])
        assert "own/nested~.Inner" in schema["$defs"]
        assert schema["$defs"]["own/nested~"]["description"] == "Has a model inside."
