"""What is wrong with the type of what a hook returned."""

import click
import pytest
from pydantic import BaseModel

from hushar.plugins import NUMBERS, Transformation
from hushar.plugins.answers import answer_problems


class Good(Transformation):
    accepts = NUMBERS

    def transform(self, column):
        raise AssertionError("never computed here")


class Silent(Good):
    accepts = None


class Bare(Good):
    Parameters = BaseModel


@pytest.mark.parametrize(
    ("hook", "brought"),
    [
        ("settings", BaseModel),
        ("services", [print]),
        ("services", ()),
        ("commands", [click.Command("x")]),
        ("transformations", {"good": Good}),
        ("runtimes", {"x": print}),
        ("log_sinks", {}),
    ],
)
def test_what_fits(hook, brought):
    assert list(answer_problems(hook, brought)) == []


@pytest.mark.parametrize(
    ("hook", "brought", "problem"),
    [
        ("settings", {}, "must return a pydantic model, got an instance of dict"),
        ("settings", None, "must return a pydantic model, got None"),
        ("services", "x", "must return a list, got an instance of str"),
        ("services", {"x": print}, "must return a list, got an instance of dict"),
        ("commands", [print], "[0]: expected a click.Command with a name, got an instance of"),
        ("commands", [click.Command(None)], "[0]: expected a click.Command with a name"),
        ("log_sinks", ["x"], "must return a mapping of names, got an instance of list"),
        ("metric_sinks", {1: print}, "1: expected a string as name, got an instance of int"),
        ("storages", {"": print}, "'': expected a string as name, got an empty one"),
        ("storages", {"x": 1}, "'x': expected a factory, got an instance of int"),
        ("transformations", {"x": Good.transform}, "'x': expected a class derived from Transformation, got"),
        ("transformations", {"x": Silent}, "'x': its accepts must be a frozenset of Element, got None"),
        (
            "transformations",
            {"x": Bare},
            "'x': its Parameters must be derived from TransformationParameters, got the class BaseModel",
        ),
    ],
)
def test_what_does_not(hook, brought, problem):
    (found,) = answer_problems(hook, brought)
    assert found.startswith(problem)
