"""check_transformation passes what keeps the rules, and names the rule that a planted violation breaks."""

import itertools
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ConfigDict

from hushar.features.interface import (
    NUMBERS,
    STRINGS,
    Column,
    Element,
    Transformation,
    TransformationParameters,
    Transformed,
)
from hushar.testing import check_transformation
from hushar.testing.transformations import THREADS

PARAMETERS = {"default_val": [0.0]}
NUMERIC = {
    Element.DOUBLE: [0.5, -2.0, float("nan"), float("inf")],
    Element.FLOAT: [0.25, 1e30, -0.0],
    Element.INTEGER: [1, -7],
    Element.LONG: [2**62, -3],
}
WORDS = {Element.STRING: ["a", "abc", "no number", ""]}


class Halved(Transformation):
    """Right in everything."""

    accepts = NUMBERS

    def transform(self, column: Column) -> Transformed:
        return Transformed((column.values.astype(np.float32) / np.float32(2))[:, None])


class Lengths(Transformation):
    """Right, with strings, masks and a unit of two; the numbers under the masks are anything."""

    accepts = STRINGS

    @property
    def unit(self) -> int:
        return 2

    def transform(self, column: Column) -> Transformed:
        out = np.empty((len(column.values), 2), np.float32)
        unknown = np.array([text == "" for text in column.values], np.bool_)
        unparsable = np.array([" " in text for text in column.values], np.bool_)
        for i, text in enumerate(column.values):
            if not unknown[i] and not unparsable[i]:
                out[i] = len(text), -len(text)
        return Transformed(out, unknown, unparsable)


def test_a_right_transformation_of_numbers_passes():
    check_transformation(Halved, PARAMETERS, values=NUMERIC)


def test_a_right_transformation_of_strings_with_masks_passes():
    check_transformation(Lengths, {"default_val": [0.0, 0.0]}, values=WORDS)


def broken(transform: Callable[[Any, Column], Any], **attributes: Any) -> type[Transformation]:
    """A transformation with another `transform` and other attributes than Halved."""
    return type("Broken", (Halved,), {"transform": transform, **attributes})


def right(self: Transformation, column: Column) -> Transformed:
    return Halved.transform(self, column)


def remembers_a_count(self, column):
    self.count = getattr(self, "count", 0) + 1
    return Transformed(right(self, column).values + np.float32(self.count))


def in_place(self, column):
    column.values[:] = 0
    return right(self, column)


def float64(self, column):
    return Transformed(column.values.astype(np.float64)[:, None])


def flat(self, column):
    return Transformed(right(self, column).values[:, 0])


def two_columns(self, column):
    return Transformed(np.repeat(right(self, column).values, 2, axis=1))


def no_empty_column(self, column):
    return (
        right(self, Column(column.element, column.values[: max(1, len(column.values))]))
        if len(column.values)
        else Transformed(np.zeros((1, 1), np.float32))
    )


def raises_for_an_empty_column(self, column):
    column.values.max()
    return right(self, column)


def centred(self, column):
    values = right(self, column).values
    return Transformed(np.nan_to_num(values) - (np.nan_to_num(values[0]) if len(values) else np.float32(0)))


def by_column_length(self, column):
    return Transformed(right(self, column).values + np.float32(len(column.values)))


def raises(self, column):
    if np.isnan(column.values).any():
        raise ValueError("not a number")
    return right(self, column)


def warns(self, column):
    if len(column.values):
        warnings.warn("odd value", RuntimeWarning, stacklevel=2)
    return right(self, column)


def bare_array(self, column):
    return right(self, column).values


def mask_of_int(self, column):
    return Transformed(right(self, column).values, unknown=np.zeros(len(column.values), np.int8))


def mask_of_two_dimensions(self, column):
    return Transformed(right(self, column).values, unparsable=np.zeros((len(column.values), 1), np.bool_))


def needs_the_main_thread(self, column):
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("only in the main thread")
    return right(self, column)


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (remembers_a_count, "is not pure"),
        (in_place, "modifies the column"),
        (float64, r"must give float32 of shape \(n, unit\)"),
        (flat, r"must give float32 of shape \(n, unit\)"),
        (two_columns, r"must give float32 of shape \(n, unit\)"),
        (no_empty_column, r"shape \(n, unit\) = \(0, 1\)"),
        (raises_for_an_empty_column, "must not raise or warn for any value"),
        (centred, "mixes values"),
        (by_column_length, "mixes values: .* alone gives another result"),
        (raises, r"must not raise or warn for any value.*not a number"),
        (warns, "must not raise or warn for any value"),
        (bare_array, "must return a Transformed; it returns ndarray"),
        (mask_of_int, r"the mask `unknown` must be None or bool of shape \(n,\)"),
        (mask_of_two_dimensions, r"the mask `unparsable` must be None or bool of shape \(n,\)"),
        (needs_the_main_thread, "is not safe in threads.*only in the main thread"),
    ],
)
def test_a_broken_transform_fails(transform: Callable[[Any, Column], Any], sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        check_transformation(broken(transform), PARAMETERS, values=NUMERIC)


def test_a_scratch_buffer_that_threads_share_fails():
    meeting = threading.Barrier(THREADS)
    met: set[int] = {threading.get_ident()}

    class Sharing(Halved):
        def transform(self, column: Column) -> Transformed:
            """Once, all threads meet between writing the shared buffer and reading it."""
            self.scratch = column
            if threading.get_ident() not in met:
                met.add(threading.get_ident())
                meeting.wait()
            return right(self, self.scratch)

    with pytest.raises(AssertionError, match="is not safe in threads"):
        check_transformation(Sharing, PARAMETERS, values=NUMERIC)


def test_instances_that_differ_fail():
    numbers = itertools.count()

    class Numbered(Halved):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters)
            self.number = np.float32(next(numbers))

        def transform(self, column: Column) -> Transformed:
            return Transformed(right(self, column).values + self.number)

    with pytest.raises(AssertionError, match="two instances with the same parameters"):
        check_transformation(Numbered, PARAMETERS, values=NUMERIC)


class Lenient(TransformationParameters):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Emptiable(TransformationParameters):
    default_val: list[float]


class Needy(TransformationParameters):
    factor: float


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"accepts": set(NUMBERS)}, "accepts must be a frozenset of Element"),
        ({"accepts": frozenset()}, "accepts must be a frozenset of Element, not empty"),
        ({"Parameters": dict}, "Parameters must be a subclass of TransformationParameters"),
        ({"Parameters": Lenient}, "takes a key that it does not know"),
        ({"Parameters": Emptiable}, "takes an empty `default_val`"),
        ({"Parameters": Needy}, "refuses the parameters of the check: .*factor"),
        ({"unit": 0}, "unit must be one and the same int, at least 1"),
        ({"unit": 3}, "1 wide, no whole number of units of 3"),
    ],
)
def test_a_broken_declaration_fails(attributes: dict[str, Any], sentence: str):
    with pytest.raises(AssertionError, match=f"(?s){sentence}"):
        check_transformation(broken(right, **attributes), PARAMETERS, values=NUMERIC)


def test_what_is_no_transformation_fails():
    with pytest.raises(AssertionError, match="is not a subclass of Transformation"):
        check_transformation(dict, PARAMETERS, values=NUMERIC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {Element.DOUBLE: [1.0, 2.0]},
        {**NUMERIC, Element.STRING: ["a", "b"]},
        {**NUMERIC, Element.LONG: [1]},
    ],
)
def test_values_must_cover_exactly_what_is_accepted(values: dict[Element, list[Any]]):
    with pytest.raises(AssertionError, match="at least two values for each element type"):
        check_transformation(Halved, PARAMETERS, values=values)
