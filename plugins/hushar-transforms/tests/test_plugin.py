"""The distribution as a whole: its hook, its conformance, its page."""

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pluggy
import pytest

import hushar_transforms
from hushar.plugins import ANY, NUMBERS, STRINGS, Element, hookspecs
from hushar.plugins.manager import load_registry
from hushar.testing import check_transformation

PAGE = Path(__file__).parents[3] / "docs" / "transforms.md"
TYPES = ("bucketize", "clip", "cyclical", "hashing", "log1p", "text_length")

NAN, INF = float("nan"), float("inf")
VALUES: dict[Element, list[Any]] = {
    Element.DOUBLE: [0.0, -0.0, 1.5, -2.0, 1e300, -INF, INF, NAN, 5e-324],
    Element.FLOAT: [0.0, -0.0, 0.7, -2.0, 3e38, -INF, INF, NAN],
    Element.INTEGER: [0, 1, -1, 2**31 - 1, -(2**31)],
    Element.LONG: [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)],
    Element.STRING: ["", "a", "two words", "हुशार", "\ud800", "x" * 1000],
}


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("log1p", {}),
        ("log1p", {"signed": True}),
        ("clip", {"lower": -1, "upper": 1}),
        ("clip", {"lower": 0}),
        ("bucketize", {"boundaries": [-1.5, 0, 0.7, 2**60]}),
        ("bucketize", {"boundaries": [0], "right": True, "output": "one_hot", "default_val": [0, 0]}),
        ("hashing", {"buckets": 3, "default_val": [0, 0, 0]}),
        ("hashing", {"buckets": 1, "seed": 42, "signed": True}),
        ("cyclical", {"period": 24, "default_val": [0, 1]}),
        ("cyclical", {"period": 0.1, "default_val": [0, 1]}),
        ("text_length", {}),
        ("text_length", {"measure": "bytes"}),
        ("text_length", {"measure": "words"}),
    ],
)
def test_every_transformation_conforms(kind: str, parameters: dict[str, Any]):
    cls = hushar_transforms.hushar_transformations()[kind]
    values = {element: VALUES[element] for element in cls.accepts}
    check_transformation(cls, {"default_val": [0.0], **parameters}, values=values)


def test_the_hook_is_one_of_hushars():
    manager = pluggy.PluginManager("hushar")
    manager.add_hookspecs(hookspecs)
    manager.register(hushar_transforms)
    manager.check_pending()
    assert [sorted(found) for found in manager.hook.hushar_transformations()] == [sorted(TYPES)]


def test_the_entry_point_brings_the_transformations():
    point = importlib.metadata.EntryPoint("transforms", "hushar_transforms", "hushar")
    registry = load_registry(object(), entry_points=[point])
    assert sorted(registry.transformations) == sorted(TYPES)


def test_kinds_are_accepted_as_the_page_says():
    accepts = {kind: cls.accepts for kind, cls in hushar_transforms.hushar_transformations().items()}
    assert accepts == {
        "bucketize": NUMBERS,
        "clip": NUMBERS,
        "cyclical": NUMBERS,
        "hashing": ANY - {Element.DOUBLE, Element.FLOAT},
        "log1p": NUMBERS,
        "text_length": STRINGS,
    }


class TestPage:
    def examples(self) -> list[dict[str, Any]]:
        """Every feature of every JSON example."""
        blocks = re.findall(
            r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
        found = [json.loads(block) for block in blocks]
        return [feature for example in found for feature in example["feature_transformations"].values()]

    def test_every_transformation_has_a_heading_and_an_example(self):
        headings = re.findall(r"^## `(\w+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        assert sorted(headings) == sorted(TYPES)
        assert {feature["type"] for feature in self.examples()} == set(TYPES)

    def test_every_example_is_valid(self):
        for feature in self.examples():
            cls = hushar_transforms.hushar_transformations()[feature["type"]]
            parameters = {key: value for key, value in feature.items() if key != "type"}
            transformation = cls(cls.Parameters.model_validate(parameters))
            assert len(parameters["default_val"]) % transformation.unit == 0

    @pytest.mark.parametrize("kind", TYPES)
    def test_every_parameter_is_documented(self, kind: str):
        section = PAGE.read_text(encoding="utf-8").split(f"## `{kind}`")[1].split("\n## ")[0]
        own = set(hushar_transforms.hushar_transformations()[kind].Parameters.model_fields) - {"default_val"}
        assert {name for name in own if f"| `{name}` |" in section} == own
