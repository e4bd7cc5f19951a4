"""What a person is told about a model."""

import pytest

from hushar.models.messages import described, listing, short_text
from hushar.models.runtime import TensorSpec


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("plain", "plain"),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : No graph was found.", "No graph was found"),
        (
            "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph/model.cc:256 "
            "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::ModelOptions&) "
            "Unsupported model IR version: 99, max supported IR version: 14\n",
            "Unsupported model IR version: 99, max supported IR version: 14",
        ),
        (
            "/onnxruntime_src/onnxruntime/core/util/thread_utils.cc:71 std::vector<int> "
            "onnxruntime::ReadThreadAffinityConfig(const std::string&) std::all_of(s.begin(), ::isdigit) "
            "was false. Processor id must consist of only digits: junk\n",
            "Processor id must consist of only digits: junk",
        ),
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: "
            "/onnxruntime_src/onnxruntime/core/optimizer/initializer.cc:51 "
            "onnxruntime::Initializer::Initializer(const onnx::TensorProto&) [ONNXRuntimeError] : 1 : "
            "FAIL : env.cc:538 OpenRandomAccessFile Random-access reads require a regular file: ./.",
            "Exception during initialization: Random-access reads require a regular file: ./",
        ),
        ("two\n lines", "two lines"),
        ("node \x1b[2J", r"node \x1b[2J"),
        ("", "ValueError"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_a_library_error_in_one_line(text, short):
    assert short_text(ValueError(text)) == short


def test_tensors():
    specs = (TensorSpec("a", "float32", ("N", 3)), TensorSpec("b", "seq(int64)", ()))
    assert listing(specs) == "'a' float32 (N, 3), 'b' seq(int64)"
    assert described(TensorSpec("c", "int64", (None,))) == "int64 (?)"


def test_a_models_own_names_cannot_garble_the_terminal():
    spec = TensorSpec("a\x1b[2J", "opaque(\x1b)", ("N\x1b[31m", 3))
    assert listing([spec]) == r"'a\x1b[2J' opaque(\x1b) (N\x1b[31m, 3)"
