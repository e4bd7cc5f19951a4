"""The transformation."""

import numpy as np
import pytest

from hushar.plugins import Column, Element
from hushar.testing import check_transformation
from hushar_example.square_root import SquareRoot

PARAMETERS = {"offset": 1, "default_val": [0.0]}


def test_it_conforms():
    check_transformation(
        SquareRoot,
        PARAMETERS,
        values={
            Element.DOUBLE: [0.0, 2.0, -5.0, float("nan"), float("inf")],
            Element.FLOAT: [0.0, 2.0, -5.0],
            Element.INTEGER: [0, 3, -5],
            Element.LONG: [0, 2**62, -5],
        },
    )


def test_it_takes_the_root_of_the_value_and_the_offset():
    transformation = SquareRoot(SquareRoot.Parameters.model_validate(PARAMETERS))
    result = transformation.transform(Column(Element.INTEGER, np.array([3, 8, -5], np.int32)))
    assert result.values[:2].tolist() == [[2.0], [3.0]]
    assert result.unknown.tolist() == [False, False, True]


def test_the_offset_is_a_number():
    with pytest.raises(ValueError, match="expected a number"):
        SquareRoot.Parameters.model_validate({"offset": "1", "default_val": [0.0]})
