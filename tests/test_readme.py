"""The first steps of the README, done as they are written there."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HUSHAR = [sys.executable, "-m", "hushar"]
WRITTEN_PORT = "8279"

pytestmark = pytest.mark.slow


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def json_files(page: Path) -> dict[str, str]:
    """The page's JSON blocks by what they are."""
    files = {}
    for block in code_blocks(page, "json"):
        value = json.loads(block)
        if "model_path" in value:
            files["service.json"] = block
        elif "feature_transformations" in value:
            files["vectorization.json"] = block
        elif isinstance(value, list):
            files["rows.json"] = block
    return files


def hushar(folder: Path, *arguments: str) -> str:
    result = subprocess.run([*HUSHAR, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the README says to put there: the model and the three files."""
    make_model, _ = code_blocks(ROOT / "README.md", "python")
    subprocess.run([sys.executable, "-c", make_model], cwd=tmp_path, check=True)
    for name, text in json_files(ROOT / "README.md").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`hushar serve service.json` on a free port: its address, and the process."""
    command = [*HUSHAR, "serve", "service.json", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = []
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if ready := re.search(r"listening on (\S+:\d+)", line):
                    break
            else:
                pytest.fail("".join(said))
            yield ready[1], process
        finally:
            process.kill()


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_configuration_of_the_first_steps_is_valid(folder: Path, page: str):
    files = json_files(ROOT / page)
    assert sorted(files) == ["rows.json", "service.json", "vectorization.json"]
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    printed = hushar(folder, "check", "service.json")
    assert "amount" in printed
    assert "country" in printed


def test_the_calls_of_the_readme_are_answered_and_logged(
    folder: Path, server: tuple[str, subprocess.Popen[str]]
):
    address, process = server
    assert "r1" in hushar(folder, "call", address, "--json", "rows.json")
    _, use_client = code_blocks(ROOT / "README.md", "python")
    assert WRITTEN_PORT in use_client
    program = use_client.replace(WRITTEN_PORT, address.rpartition(":")[2])
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.search(r"0\.\d+", result.stdout), result.stdout
    stop(process)
    lines = [json.loads(line) for line in hushar(folder, "logs", "cat", "inference-log").splitlines()]
    assert [line["model_id"] for line in lines] == ["risk-1", "risk-1"]
    assert lines[0]["inference_log_rows"][0]["features"] == {
        "amount": {"float_value": 80.5},
        "country": {"string_value": "IN"},
    }
