"""setup.py: what can be compiled is, and what cannot does not keep anybody from installing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture
def build(tmp_path):
    """build(CC=…): build the extensions of a package with two of them; the files that were made."""
    pytest.importorskip("Cython", reason="needs tool: Cython (pip install Cython)")
    pytest.importorskip("setuptools", reason="needs tool: setuptools (pip install setuptools)")
    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / "hushar" / "inner").mkdir(parents=True)
    for name in ("_one", "inner/_two"):
        (tmp_path / "hushar" / f"{name}.pyx").write_text("def seven():\n    return 7\n")
    for folder in ("hushar", "hushar/inner"):
        (tmp_path / folder / "__init__.py").write_text("")

    def run(**environment):
        ran = subprocess.run(
            [sys.executable, "setup.py", "build_ext", "--inplace"],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        made = sorted(
            path.relative_to(tmp_path).as_posix().partition(".")[0]
            for path in (tmp_path / "hushar").rglob("*.so")
        )
        return ran, made

    return run


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs tool: a C compiler (Debian: gcc)")
def test_every_pyx_is_compiled(build, tmp_path):
    ran, made = build()
    assert (ran.returncode, made) == (0, ["hushar/_one", "hushar/inner/_two"]), ran.stderr
    code = "from hushar._one import seven; print(seven())"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stdout == "7\n", ran.stderr


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_without_a_compiler_the_build_succeeds_and_says_what_is_left_out(build, compiler):
    ran, made = build(CC=compiler, LDSHARED=compiler)
    assert (ran.returncode, made) == (0, []), ran.stderr
    for name in ("hushar._one", "hushar.inner._two"):
        assert f"warning: {name} not compiled, the readable twin will serve" in ran.stderr
