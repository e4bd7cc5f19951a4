"""A model's output as scores."""

import numpy as np
import pytest

from hushar.models.scores import UnexpectedScores, as_scores


def test_what_is_right_already_is_not_copied():
    output = np.ones((3, 2), np.float32)
    assert as_scores(output, 3) is output


def test_rank_1_becomes_a_column():
    np.testing.assert_array_equal(as_scores(np.array([1, 2], np.float32), 2), [[1], [2]])


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_floats_become_the_nearest_float32(dtype):
    scores = as_scores(np.array([[0.1, 2]], dtype), 1)
    assert scores.dtype == np.float32
    assert scores.tobytes() == np.array([[0.1, 2]], dtype).astype(np.float32).tobytes()


def test_numbers_outside_of_float32_and_nan_pass_without_a_warning():
    output = np.array([[1e300, -1e300, 1e-300, np.nan, -0.0]])
    np.testing.assert_array_equal(as_scores(output, 1), [[np.inf, -np.inf, 0, np.nan, -0.0]])


def test_the_result_is_contiguous():
    assert as_scores(np.ones((2, 4), np.float32)[:, ::2], 2).flags.c_contiguous


@pytest.mark.parametrize("shape", [(), (2,), (4,), (2, 3), (1, 3), (3, 1, 1)])
def test_a_shape_that_does_not_fit_three_rows_is_an_error(shape):
    with pytest.raises(UnexpectedScores, match="for 3 rows of input"):
        as_scores(np.ones(shape, np.float32), 3)


@pytest.mark.parametrize(("output", "what"), [(np.ones((1, 1), np.int64), "int64"), ([{0: 0.5}], "list")])
def test_anything_but_floating_point_numbers_is_an_error(output, what):
    with pytest.raises(UnexpectedScores, match=f"is {what}, not an array of floating-point numbers"):
        as_scores(output, 1)
