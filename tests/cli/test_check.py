"""`hushar check`: what would be served, as tables; or every problem."""

import json

import onnx
import pytest

from hushar.testing import onnx_models

FEATURES = {
    "age": {"type": "identity", "default_val": [0.5]},
    "colour": {"type": "one_hot_encoding", "categories": ["r", "g"], "default_val": [0, 1]},
    "wide": {"type": "identity", "default_val": [1.25, 2, 3, 4, 5]},
}


@pytest.fixture
def configure(tmp_path):
    """configure(features, **keys): the path of a service configuration."""

    def write(features, **keys):
        width = sum(len(parameters["default_val"]) for parameters in features.values())
        (tmp_path / "model.onnx").write_bytes(onnx_models.two_outputs(width))
        made = {"feature_transformations": features, "feature_order": list(features)}
        (tmp_path / "vectorization.json").write_text(json.dumps(made))
        service = {
            "model_path": "model.onnx",
            "model_id": "tested",
            "vectorization_instruction_path": "vectorization.json",
        } | keys
        (tmp_path / "service.json").write_text(json.dumps(service))
        return tmp_path / "service.json"

    return write


@pytest.fixture
def printed(hushar, configure):
    """printed(features, **keys): the lines."""

    def run(features, **keys):
        ran = hushar("check", configure(features, **keys))
        assert (ran.status, ran.err) == (0, "")
        return [line.strip() for line in ran.out.splitlines() if line.strip()]

    return run


def rows_of(lines):
    """The cells of the table's rows."""
    (rule,) = [index for index, line in enumerate(lines) if set(line) == {"─"}]
    end = next(index for index, line in enumerate(lines) if line.startswith("model: "))
    return [line.split(maxsplit=3) for line in lines[rule + 1 : end]]


def test_each_feature_is_a_row_with_type_columns_and_default(printed):
    lines = printed(FEATURES)
    assert lines[0].split() == ["feature", "transformation", "columns", "default"]
    assert rows_of(lines) == [
        ["age", "identity", "[0]", "0.5"],
        ["colour", "one_hot_encoding", "[1:3]", "0, 1"],
        ["wide", "identity", "[3:8]", "1.25, 2, 3, 4, …"],
    ]


def test_the_models_facts_stand_below(printed):
    lines = printed(FEATURES, model={"output": "negative"})
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert facts["model"].startswith("tested, version ")
    assert facts["runtime"].startswith("onnxruntime ")
    assert facts["opset"] == "17"
    assert "CPUExecutionProvider" in facts["providers"]
    assert facts["input"] == "x float32 (N, 8)"
    outputs = [line for line in lines if line.startswith("output: ")]
    assert outputs == ["output: y float32 (N, 8)", "output: negative float32 (N, 8) (scores)"]
    assert lines[-1] == "ok"


def test_warnings_are_shown(printed, monkeypatch):
    monkeypatch.setenv("HUSHAR_COLOUR", "red")
    (line,) = [line for line in printed(FEATURES) if line.startswith("warning: ")]
    assert "HUSHAR_COLOUR" in line


@pytest.mark.parametrize(
    ("name", "shown"),
    [("[red]x[/red]", "[red]x[/red]"), ("f" * 200, "f" * 200), ("a\nb\x1b", r"a\nb\x1b"), ("größe", "größe")],
    ids=["markup", "long", "control characters", "letters"],
)
def test_a_feature_is_one_line_under_its_own_name(printed, name, shown):
    lines = printed({name: {"type": "identity", "default_val": [1]}})
    assert rows_of(lines) == [[shown, "identity", "[0]", "1"]]


def test_a_models_own_names_cannot_garble_the_terminal(hushar, configure, tmp_path):
    service = configure({"age": {"type": "identity", "default_val": [1]}})
    model = onnx.load(tmp_path / "model.onnx")
    model.producer_name = "evil\x1b[2J"
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N\x1b[31m"
    onnx.save(model, tmp_path / "model.onnx")
    ran = hushar("check", service)
    assert ran.status == 0
    assert ran.out.replace("\n", "").isprintable()
    assert r"producer: evil\x1b[2J" in ran.out
    assert r"float32 (N\x1b[31m, 1)" in ran.out


def test_a_terminal_gets_rows_that_fit(hushar, configure, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    ran = hushar("check", configure({"f" * 200: {"type": "identity", "default_val": [1]}}))
    rows = [line for line in ran.out.splitlines() if "ff" in line]
    assert len(rows) > 1
    assert all(len(line) <= 60 for line in rows)


def test_the_demo_is_in_order(hushar):
    ran = hushar("check", "--demo")
    assert ran.status == 0
    assert "flipper_length_mm" in ran.out
    assert "model: penguins" in ran.out


def test_options_are_checked_as_well(hushar, configure):
    ran = hushar("check", configure(FEATURES), "--port", "70000", "--set", "kernel=fast")
    assert (ran.status, ran.out) == (2, "")
    first, second = sorted(ran.err.splitlines())
    assert first.startswith("command line: --port: ")
    assert second.startswith("command line: --set kernel: ")


def test_every_problem_is_a_line_and_nothing_else_is_said(hushar, configure, tmp_path):
    features = {"age": {"type": "identity", "default_val": []}, "x": {"type": "nope", "default_val": [1]}}
    ran = hushar("check", configure(features, port_numbr=1, log={"uri": "gopher://x"}))
    assert (ran.status, ran.out) == (2, "")
    assert sorted(line.split(": ")[:2] for line in ran.err.splitlines()) == sorted(
        [
            [f"{tmp_path}/service.json", "log.uri"],
            [f"{tmp_path}/service.json", "port_numbr"],
            [f"{tmp_path}/vectorization.json", "feature_transformations.age.default_val"],
            [f"{tmp_path}/vectorization.json", "feature_transformations.x.type"],
        ]
    )
