"""onnxruntime behind the Runtime interface: what runs, what it gives, and what is refused at start."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from hushar.models.onnx import load
from hushar.models.runtime import ModelError, ModelSettings, TensorSpec
from hushar.models.scores import UnexpectedScores
from hushar.storage.interface import Blob
from hushar.testing import check_runtime, onnx_models


def refusal(model: bytes, path: Path | None = None, **settings) -> tuple[str, str]:
    """The key and the message with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        load(Blob("model.onnx", model, path=path), ModelSettings(**settings))
    return caught.value.key, str(caught.value)


class TestScores:
    @pytest.mark.parametrize(
        "model",
        [
            onnx_models.linear(3, 2),
            onnx_models.linear(3, 2, dtype=np.float64),
            onnx_models.linear(3, 1, rank=1),
            onnx_models.linear(5, 2, free_width=True),
            onnx_models.mlp([4, 8, 3], seed=1),
            onnx_models.classifier_like(3),
        ],
        ids=["float32", "float64", "rank 1", "free width", "mlp", "classifier"],
    )
    def test_every_kind_of_model_keeps_the_rules_of_a_runtime(self, model: bytes):
        check_runtime(load, Blob("model.onnx", model))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_scores_are_float32_and_those_of_the_formula(self, loaded, dtype):
        runtime = loaded(onnx_models.linear(3, 2, dtype=dtype))
        matrix = np.array([[1, 2, 3], [0.5, -1, 8]], np.float32)
        weights, bias = onnx_models.linear_weights(3, 2)
        scores = runtime.run(runtime.to_tensor(matrix))
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, matrix @ weights + bias)

    def test_an_output_of_rank_1_becomes_one_column(self, loaded):
        runtime = loaded(onnx_models.linear(2, 1, rank=1))
        assert runtime.run(np.ones((4, 2), np.float32)).shape == (4, 1)

    def test_no_rows_give_no_scores(self, loaded):
        assert loaded(onnx_models.linear(3, 2)).run(np.empty((0, 3), np.float32)).shape == (0, 2)

    def test_a_float32_model_gets_the_matrix_itself(self, loaded):
        matrix = np.ones((2, 3), np.float32)
        assert loaded(onnx_models.linear(3, 1)).to_tensor(matrix) is matrix

    def test_a_float64_model_gets_the_same_numbers_in_float64(self, loaded):
        matrix = np.array([[0.1, np.inf, -0.0]], np.float32)
        tensor = loaded(onnx_models.linear(3, 1, dtype=np.float64)).to_tensor(matrix)
        assert tensor.dtype == np.float64
        assert tensor.tobytes() == matrix.astype(np.float64).tobytes()

    def test_a_float64_output_beyond_float32_is_infinite(self, loaded):
        runtime = loaded(onnx_models.identity(np.float64))
        scores = runtime.run(np.array([[1e300], [-1e300], [1e-300], [0.1]]))
        np.testing.assert_array_equal(scores[:, 0], np.array([np.inf, -np.inf, 0, 0.1], np.float32))

    def test_another_number_of_rows_than_went_in_is_an_error(self, loaded):
        runtime = loaded(onnx_models.wrong_rows(2))
        with pytest.raises(UnexpectedScores, match=r"has shape \(1, 2\) for 3 rows of input"):
            runtime.run(np.ones((3, 2), np.float32))

    def test_a_model_that_fails_raises_and_serves_the_next_batch(self, loaded, capfd):
        runtime = loaded(onnx_models.failing_on(9))
        with pytest.raises(Exception, match="out of data bounds"):
            runtime.run(np.array([[1], [9]], np.float32))
        assert runtime.run(np.array([[8]], np.float32)) == [[8]]
        assert capfd.readouterr() == ("", "")  # the caller logs what was raised; nobody else does


class TestDescription:
    def test_inputs_outputs_and_versions(self, loaded):
        runtime = loaded(onnx_models.classifier_like(3))
        assert runtime.name == "onnxruntime"
        assert runtime.version == onnxruntime.__version__
        assert runtime.inputs == (TensorSpec("x", "float32", ("N", 3)),)
        assert runtime.outputs == (
            TensorSpec("label", "int64", ("N",)),
            TensorSpec("probabilities", "float32", ("N", 3)),
        )
        assert runtime.width == 3

    def test_details_for_a_person(self, loaded):
        details = loaded(onnx_models.linear(1, 1), intra_op_threads=3).details
        assert details == {
            "opset": str(onnx_models.OPSET),
            "ir_version": str(onnx_models.IR_VERSION),
            "producer": "hushar.testing",
            "providers": "CPUExecutionProvider",
            "threads": "3 within, 1 across operators",
        }

    def test_threads_that_are_left_to_onnxruntime(self, loaded):
        runtime = loaded(onnx_models.linear(1, 1), intra_op_threads=0, inter_op_threads=0)
        assert runtime.details["threads"] == "default within, default across operators"

    @pytest.mark.parametrize("shape", [("N", "columns"), ("N", None)])
    def test_a_model_of_any_width_has_none(self, loaded, shape):
        assert loaded(onnx_models.identity(shape=shape)).width is None


class TestOutput:
    def test_the_first_output_holds_the_scores(self, loaded):
        assert loaded(onnx_models.two_outputs(2)).output.name == "y"

    def test_the_output_that_is_named_holds_the_scores(self, loaded):
        runtime = loaded(onnx_models.two_outputs(1), output="negative")
        assert runtime.output.name == "negative"
        assert runtime.run(np.array([[2]], np.float32)) == [[-2]]

    def test_labels_before_the_probabilities_are_passed_over(self, loaded):
        runtime = loaded(onnx_models.classifier_like(2))
        assert runtime.output.name == "probabilities"
        np.testing.assert_allclose(runtime.run(np.zeros((1, 2), np.float32)), [[0.5, 0.5]])

    def test_an_unknown_one_is_refused_with_the_names_that_there_are(self):
        assert refusal(onnx_models.classifier_like(2), output="probabilites") == (
            "model.output",
            "the model has no output 'probabilites', did you mean 'probabilities'?; "
            "its outputs are 'label' int64 (N), 'probabilities' float32 (N, 2)",
        )

    def test_one_that_holds_no_floats_is_refused(self):
        assert refusal(onnx_models.classifier_like(2), output="label") == (
            "model.output",
            "output 'label' is int64, not float32 or float64; "
            "its outputs are 'label' int64 (N), 'probabilities' float32 (N, 2)",
        )

    def test_a_zipmap_is_refused_with_the_way_out(self):
        assert refusal(onnx_models.zipmap_like()) == (
            "model.output",
            "the model has no output of float32 or float64; its outputs are "
            "'y' seq(map(int64,tensor(float))); export the classifier with zipmap=False to get its "
            "probabilities as a matrix",
        )

    def test_rank_3_is_refused(self):
        key, message = refusal(onnx_models.deep_output())
        assert key == "model.output"
        assert message.startswith(
            "output 'y' is float32 (N, 1, 1); scores are (rows) or (rows, scores a row)"
        )


class TestInput:
    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (
                onnx_models.two_inputs(),
                "the model has 2 inputs ('x' float32 (N, 1), 'z' float32 (N, 1)); "
                "it must have one, a matrix (rows, width)",
            ),
            (
                onnx_models.identity(np.int64),
                "the model's input 'x' is int64 (N, 1); it must be float32 or float64",
            ),
            (
                onnx_models.identity(shape=("N", 2, 3)),
                "the model's input 'x' is float32 (N, 2, 3); it must be a matrix (rows, width)",
            ),
            (
                onnx_models.identity(shape=(1, 3)),
                "the model's input 'x' is float32 (1, 3): its number of rows is fixed; "
                "export it with a free (dynamic) first dimension",
            ),
        ],
        ids=["two", "integers", "rank 3", "one row"],
    )
    def test_anything_but_one_matrix_of_floats_is_refused(self, model: bytes, message: str):
        assert refusal(model) == ("model_path", message)

    def test_a_model_without_an_input_is_refused(self):
        assert refusal(onnx_models.no_input()) == (
            "model_path",
            "the model has no input; it must have one, a matrix (rows, width)",
        )


class TestModelFile:
    @pytest.mark.parametrize(
        ("model", "reason"),
        [
            (b"", "the file is empty"),
            (b"\x00garbage\xff" * 7, "its bytes are no onnx.ModelProto"),
            (onnx_models.mlp([4, 8, 1], seed=1)[:-20], "its bytes are no onnx.ModelProto"),
            (b"\x08\x08", "No graph was found in the protobuf"),
        ],
        ids=["empty", "garbage", "truncated", "no graph"],
    )
    def test_what_is_no_model_is_refused(self, model: bytes, reason: str):
        assert refusal(model) == ("model_path", f"model.onnx is not a readable ONNX model: {reason}")

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            (onnx_models.identity(operator="NoSuchOperator"), "No Op registered for NoSuchOperator"),
            (onnx_models.identity(opset=999), "Opset 999"),
        ],
        ids=["unknown operator", "opset too new"],
    )
    def test_what_onnxruntime_cannot_run_is_refused_in_its_words(self, model: bytes, words: str, capfd):
        key, message = refusal(model)
        assert key == "model_path"
        assert message.startswith("model.onnx is not a readable ONNX model: ")
        assert words in message
        assert "\n" not in message
        assert "onnxruntime_src" not in message
        assert capfd.readouterr() == ("", "")


class TestExternalData:
    WEIGHTS = onnx_models.linear_weights(1, 4)[0].tobytes()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "weights.bin").write_bytes(self.WEIGHTS)
        (tmp_path / "outside.bin").write_bytes(self.WEIGHTS)
        return folder

    def write(self, folder: Path, location: str) -> Blob:
        path = folder / "model.onnx"
        path.write_bytes(onnx_models.with_external_data(location, 4))
        return Blob(str(path), path.read_bytes(), path=path)

    def test_beside_the_model_it_is_read(self, folder: Path):
        runtime = load(self.write(folder, "weights.bin"), ModelSettings())
        weights, bias = onnx_models.linear_weights(1, 4)
        np.testing.assert_array_equal(runtime.run(np.ones((1, 1), np.float32)), weights + bias)

    def test_a_link_within_the_folder_is_followed(self, folder: Path):
        (folder / "link.bin").symlink_to("weights.bin")
        assert load(self.write(folder, "link.bin"), ModelSettings()).width == 1

    def refused(self, blob: Blob) -> str:
        key, message = refusal(blob.data, blob.path)
        assert key == "model_path"
        return message.removeprefix("model.onnx is not a readable ONNX model: ")

    def test_outside_of_the_folder_it_is_refused(self, folder: Path):
        (folder / "link.bin").symlink_to("../outside.bin")
        for location in ("../outside.bin", "link.bin", str(folder.parent / "outside.bin")):
            message = self.refused(self.write(folder, location))
            assert message == f"its external data {location!r} lies outside the model's directory"

    def test_a_hard_link_is_refused(self, folder: Path):
        os.link(folder.parent / "outside.bin", folder / "hard.bin")
        message = self.refused(self.write(folder, "hard.bin"))
        assert message.startswith("its external data 'hard.bin' is a hard link")

    def test_missing_data_is_refused(self, folder: Path):
        message = self.refused(self.write(folder, "missing.bin"))
        assert message == "its external data 'missing.bin' cannot be read: No such file or directory"

    def test_a_folder_is_refused(self, folder: Path):
        assert self.refused(self.write(folder, ".")) == "its external data '.' is not a file"

    def test_without_a_local_file_there_is_no_beside(self):
        assert refusal(onnx_models.with_external_data("weights.bin", 4)) == (
            "model_path",
            "model.onnx keeps its weights in further files (weights.bin), which are read only beside a "
            "local file; save the model as one file",
        )


@pytest.mark.slow
def test_importing_the_module_does_not_import_onnxruntime():
    program = "import hushar.models.onnx, sys; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
