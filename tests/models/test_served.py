"""What identifies a model, and the checks before it is ready."""

import hashlib

import numpy as np
import pytest

from hushar.models.runtime import ModelError, Runtime
from hushar.models.served import ServedModel, check_sha256, model_version, warm_up
from hushar.testing import onnx_models


class Counting(Runtime):
    """Gives as many scores a row as the batch has rows, and remembers what it was run on."""

    def __init__(self) -> None:
        self.seen = []

    def to_tensor(self, matrix):
        return matrix

    def run(self, tensor):
        self.seen.append(tensor.copy())
        return np.zeros((len(tensor), len(tensor)), np.float32)


class Silent(Counting):
    def run(self, tensor):
        return np.zeros((len(tensor), 0), np.float32)


class Short(Counting):
    def run(self, tensor):
        return np.zeros((1, 1), np.float32)


class TestVersion:
    def test_it_is_twelve_hexadecimal_digits_of_both_files(self):
        expected = hashlib.sha256(b"\0\0\0\0\0\0\0\x02ab" + b"\0\0\0\0\0\0\0\x01c").hexdigest()[:12]
        assert model_version(b"ab", b"c") == expected

    def test_a_byte_that_moves_from_one_file_to_the_other_changes_it(self):
        assert model_version(b"ab", b"c") != model_version(b"a", b"bc")

    def test_either_file_changes_it(self):
        versions = {model_version(m, v) for m in (b"m1", b"m2") for v in (b"v1", b"v2")}
        assert len(versions) == 4

    def test_a_served_model_cannot_be_changed(self):
        served = ServedModel(Counting(), "penguins", "0123456789ab")
        with pytest.raises(AttributeError):
            served.version = "other"


class TestSha256:
    DIGEST = hashlib.sha256(b"model").hexdigest()

    @pytest.mark.parametrize("expected", [None, DIGEST, DIGEST.upper()])
    def test_the_right_one_or_none(self, expected):
        assert check_sha256(b"model", expected) is None

    def test_a_wrong_one_is_named_with_the_right_one(self):
        message = check_sha256(b"model", "0" * 64)
        assert message == f"the model's SHA-256 is {self.DIGEST}, expected {'0' * 64}"


class TestWarmUp:
    ROW = np.array([1, 2], np.float32)

    def refusal(self, runtime: Runtime, **arguments) -> tuple[str, str]:
        with pytest.raises(ModelError) as caught:
            warm_up(runtime, self.ROW, **arguments)
        return caught.value.key, str(caught.value)

    def test_it_gives_the_number_of_scores_a_row(self, loaded):
        assert warm_up(loaded(onnx_models.linear(2, 3)), self.ROW) == 3

    def test_the_row_is_run_by_itself_and_twice(self):
        runtime = Counting()
        with pytest.raises(ModelError):
            warm_up(runtime, self.ROW)
        assert [seen.tolist() for seen in runtime.seen] == [[[1, 2]], [[1, 2], [1, 2]]]

    def test_other_sizes_can_be_asked_for(self):
        runtime = Counting()
        assert warm_up(runtime, self.ROW, row_counts=(4,)) == 4
        assert runtime.seen[0].shape == (4, 2)

    def test_a_model_of_another_width_is_refused_in_the_words_of_its_library(self, loaded):
        key, message = self.refusal(loaded(onnx_models.linear(3, 1)))
        assert key == "model_path"
        assert message.startswith("the model fails on a row of default values: Got invalid dimensions")

    def test_a_model_that_fails_is_refused(self, loaded):
        key, message = self.refusal(loaded(onnx_models.failing_on(1, width=2)), row_counts=(3,))
        assert key == "model_path"
        assert message.startswith("the model fails on 3 rows of default values: ")

    def test_a_model_that_always_gives_one_row_is_refused(self, loaded):
        assert self.refusal(loaded(onnx_models.wrong_rows(2))) == (
            "model.output",
            "the model's output has shape (1, 2) for 2 rows of input",
        )

    def test_a_runtime_that_does_not_check_its_rows_is_checked(self):
        assert self.refusal(Short()) == (
            "model.output",
            "the model's output has shape (1, 1) for 2 rows of input",
        )

    def test_scores_that_depend_on_the_number_of_rows_are_refused(self):
        assert self.refusal(Counting()) == (
            "model.output",
            "the model's output has 1 and 2 scores a row",
        )

    def test_no_scores_are_refused(self):
        assert self.refusal(Silent()) == ("model.output", "the model's output has 0 scores a row")
