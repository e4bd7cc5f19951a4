from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from hushar.features.interface import Float32, TransformationParameters
from hushar.features.parameters import validate


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int


class Everything(TransformationParameters):
    """What a plugin may come up with."""

    count: int = Field(default=1, ge=1, le=9)
    share: float = Field(default=0.5, gt=0, lt=1)
    code: str = Field(default="", pattern="^[0-9]*$")
    signed: bool = False
    method: Literal["a", "b"] = "a"
    label: str = ""
    table: dict[str, list[Float32]] = Field(default_factory=dict)
    point: Point | None = None
    class_: str = Field(default="", alias="class")


def problems(**given):
    _, found = validate(Everything, {"default_val": [0], **given}, file="f.json", key="top.age")
    assert {problem.file for problem in found} <= {"f.json"}
    return [(problem.key, problem.message) for problem in found]


def test_good_parameters_are_an_instance():
    parameters, found = validate(Everything, {"default_val": [1], "count": 3}, file="f.json", key="top.age")

    assert found == []
    assert parameters.count == 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count", "x", 'expected a whole number, got "x"'),
        ("count", 1.5, "expected a whole number, got 1.5"),
        ("signed", "x", 'expected true or false, got "x"'),
        ("label", 3, "expected a string, got 3"),
        ("default_val", 3, "expected a list, got 3"),
        ("default_val", [], "must not be empty"),
        ("table", [1], "expected an object, got [1]"),
        ("count", 0, "must be at least 1, got 0"),
        ("share", 0, "must be above 0, got 0"),
        ("share", 1, "must be below 1, got 1"),
        ("count", 10, "must be at most 9, got 10"),
        ("code", "abc", "String should match pattern '^[0-9]*$', got \"abc\""),
        ("method", "c", "expected 'a' or 'b', got \"c\""),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(key, value, message):
    assert problems(**{key: value}) == [(f"top.age.{key}", message)]


def test_the_place_inside_a_value_is_told():
    assert problems(default_val=[1, "x"], table={"red": [1, 2, None]}) == [
        ("top.age.default_val[1]", 'expected a number, got "x"'),
        ("top.age.table.red[2]", "expected a number, got null"),
    ]


def test_a_missing_key():
    _, found = validate(Everything, {}, file="f.json", key="top.age")

    assert [(problem.key, problem.message) for problem in found] == [
        ("top.age.default_val", "required key is missing")
    ]


def test_an_unknown_key_is_told_with_the_nearest_and_all_known_ones():
    known = "type, default_val, count, share, code, signed, method, label, table, point, class"

    assert problems(cuont=1, zzz=2) == [
        ("top.age.cuont", f"unknown key, did you mean 'count'?; known keys: {known}"),
        ("top.age.zzz", f"unknown key; known keys: {known}"),
    ]


def test_an_unknown_key_further_inside():
    assert problems(point={"x": 1, "y": 2}) == [("top.age.point.y", "unknown key")]


def test_a_list_full_of_mistakes_is_told_in_few_lines():
    found = problems(default_val=["x"] * 1000)

    assert len(found) == 6
    assert found[-1] == ("top.age.default_val", "and 995 more problems in it")
