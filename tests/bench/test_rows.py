from typing import ClassVar

import numpy as np
import pytest

from hushar.bench.rows import random_rows
from hushar.features.interface import NUMBERS, STRINGS, Element, Transformation
from hushar.features.plan import compile_plan
from hushar.features.transformations import BUILTIN
from hushar.features.vectorize import make_vectorizer
from hushar.proto.structs_pb2 import InferenceRequest
from hushar.records import VectorizationDocument

FEATURES = {
    "id": {"type": "identity", "default_val": [0.0]},
    "year": {"type": "identity", "default_val": [2008.0]},
    "ids": {"type": "identity", "default_val": [0.0, 5.0, -100.0]},
    "mm32": {"type": "min_max_scaling32", "min": 10.0, "max": 20.0, "default_val": [0.5]},
    "mm64": {"type": "min_max_scaling64", "min": -8e307, "max": 8e307, "default_val": [0.5, 0.5]},
    "std32": {"type": "standardization32", "mean": 1000.0, "std_dev": 5.0, "default_val": [0.0]},
    "std64": {"type": "standardization64", "mean": -3.0, "std_dev": 0.5, "default_val": [0.0]},
    "hot": {"type": "one_hot_encoding", "categories": ["a", "b", "c"], "default_val": [0.0] * 3},
    "hots": {"type": "one_hot_encoding", "categories": ["a", "b"], "default_val": [0.0] * 6},
    "words": {
        "type": "embedding",
        "embeddings": {"x": [1.0, 2.0], "y": [3.0, 4.0]},
        "default_val": [0.0] * 2,
    },
}


def plan_of(features, more=None):
    document = VectorizationDocument("v.json", features, tuple(features))
    return compile_plan(document, {**BUILTIN, **(more or {})})


def rows_of(features=FEATURES, count=2000, seed=1, more=None):
    return random_rows(plan_of(features, more), count, np.random.default_rng(seed))


def values(rows, feature):
    """Lists of the values of the rows that have the feature, and how many rows that are."""
    found = []
    for row in rows:
        if feature in row.features:
            data = row.features[feature]
            kind = data.WhichOneof("data_type")
            value = getattr(data, kind)
            found.append((kind, list(value.values) if kind.endswith("array") else [value]))
    return found


ROWS = rows_of()


def test_every_row_can_be_vectorized():
    vectorizer = make_vectorizer(plan_of(FEATURES), "reference")
    message = InferenceRequest(inputs=ROWS).SerializeToString()
    made = vectorizer.vectorize([message], [len(ROWS)])
    assert not made.errors
    assert made.matrix.shape == (2000, vectorizer.plan.width)
    assert np.isfinite(made.matrix).all()


@pytest.mark.parametrize(
    ("feature", "kind", "units"),
    [
        ("id", "float_value", 1),
        ("year", "float_value", 1),
        ("ids", "float_array", 3),
        ("mm32", "float_value", 1),
        ("mm64", "double_array", 2),
        ("std32", "float_value", 1),
        ("std64", "double_value", 1),
        ("hot", "string_value", 1),
        ("hots", "string_array", 3),
        ("words", "string_value", 1),
    ],
)
def test_kinds_and_widths_are_those_that_the_transformation_takes(feature, kind, units):
    found = values(ROWS, feature)
    assert {(each, len(value)) for each, value in found} == {(kind, units)}
    # Sometimes absent, mostly not.
    assert 1900 < len(found) < 2000


def numbers(feature):
    return np.array([value for _, value in values(ROWS, feature)]).ravel()


def test_min_max_values_lie_within_min_and_max():
    assert 10 <= numbers("mm32").min() < 10.1
    assert 19.9 < numbers("mm32").max() <= 20
    assert np.isfinite(numbers("mm64")).all()
    assert numbers("mm64").min() < -7e307
    assert numbers("mm64").max() > 7e307


def test_standardized_values_are_normal_with_mean_and_deviation():
    assert numbers("std32").mean() == pytest.approx(1000, abs=1)
    assert numbers("std32").std() == pytest.approx(5, rel=0.1)
    assert numbers("std64").mean() == pytest.approx(-3, abs=0.1)


def test_identity_values_lie_around_the_default():
    assert numbers("id").mean() == pytest.approx(0, abs=0.15)
    assert numbers("year").mean() == pytest.approx(2008, rel=0.01)
    middles = np.array([value for _, value in values(ROWS, "ids")]).mean(axis=0)
    assert middles == pytest.approx([0, 5, -100], abs=1)


@pytest.mark.parametrize(("feature", "known"), [("hot", "abc"), ("hots", "ab"), ("words", "xy")])
def test_strings_are_known_but_for_a_few(feature, known):
    words = [word for _, value in values(ROWS, feature) for word in value]
    unknown = [word for word in words if word not in known]
    assert 0 < len(unknown) < 0.05 * len(words)
    assert all(word.startswith("unknown-") for word in unknown)
    assert {word for word in words if word in known} == set(known)


def test_the_seed_decides():
    assert rows_of(count=20) == rows_of(count=20)
    assert rows_of(count=20) != rows_of(count=20, seed=2)


def test_row_ids_have_one_length():
    assert [row.row_id for row in rows_of(count=11)][::10] == ["row-00", "row-10"]
    assert rows_of(count=0) == []


def plugin(accepted):
    class Plugin(Transformation):
        accepts: ClassVar = accepted

        def transform(self, column):
            raise NotImplementedError

    return Plugin


@pytest.mark.parametrize(
    ("accepted", "kind"),
    [
        (NUMBERS, "float_array"),
        (STRINGS, "string_array"),
        ({Element.LONG, Element.STRING}, "long_array"),
        ({Element.INTEGER}, "integer_array"),
        ({Element.DOUBLE}, "double_array"),
    ],
)
def test_a_plugin_s_transformation_gets_a_kind_that_it_accepts(accepted, kind):
    features = {"p": {"type": "own", "default_val": [0.0, 0.0]}}
    rows = rows_of(features, 100, more={"own": plugin(frozenset(accepted))})
    assert {each for each, _ in values(rows, "p")} == {kind}


def test_extreme_parameters_make_numbers_that_fit():
    features = {
        "big": {"type": "standardization32", "mean": 3e38, "std_dev": 3e38, "default_val": [0.0]},
        "id": {"type": "identity", "default_val": [3.4e38]},
    }
    for row in rows_of(features, 200):
        for value in row.features.values():
            assert np.isfinite(value.float_value)
