"""The runtime."""

import numpy as np
import pytest

from hushar.plugins import Blob, ModelError, ModelSettings
from hushar.testing import check_runtime
from hushar_example.linear import LinearRuntime

MODEL = b'{"weights": [[1, 2, 3], [0, 0, -1]], "bias": [0.5, 0]}'


def test_it_conforms_and_its_scores_are_right():
    check_runtime(
        LinearRuntime,
        Blob("file:///model.json", MODEL),
        matrix=np.array([[1, 1, 1], [2, 0, 0]], np.float32),
        expected=np.array([[6.5, -1], [2.5, 0]], np.float32),
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"{", "is no linear model"),
        (b'{"weights": [[1], [1, 2]], "bias": [0, 0]}', "must have the same length"),
        (b'{"weights": [[1]], "bias": [0, 0]}', "must be as long as `weights`"),
        (b'{"weights": [[1]], "bias": [0], "sigmoid": true}', "sigmoid"),
    ],
)
def test_a_model_file_that_makes_no_sense_is_refused(model: bytes, message: str):
    with pytest.raises(ModelError, match=message) as raised:
        LinearRuntime(Blob("file:///model.json", model), ModelSettings())
    assert raised.value.key == "model_path"
