"""Fixtures for the tests of the transformations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from hushar.plugins import Column, Element, Transformed
from hushar_transforms import hushar_transformations


@pytest.fixture(scope="session")
def transformed() -> Callable[..., Transformed]:
    """transformed(type, element, values, **parameters): what the transformation makes of the column.

    `default_val` is as wide as one unit unless given.
    """

    def run(kind: str, element: Element, values: Sequence[Any], **parameters: Any) -> Transformed:
        cls = hushar_transformations()[kind]
        transformation = cls(cls.Parameters.model_validate({"default_val": [0.0], **parameters}))
        column = np.empty(len(values), element.dtype)
        column[:] = list(values)
        return transformation.transform(Column(element, column))

    return run


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """refusal(type, **parameters): the text of the ValueError that the parameters give."""

    def run(kind: str, **parameters: Any) -> str:
        cls = hushar_transformations()[kind]
        with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is the test's matter
            cls.Parameters.model_validate({"default_val": [0.0], **parameters})
        return str(raised.value)

    return run
