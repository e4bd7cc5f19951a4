"""The habits of the code base, as far as a machine can hold them.

Each test names the files that break the rule, so its failure says what to do.
"""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hushar"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "proto")

SANS_IO = (
    "features/",
    "config/",
    "inference/privacy.py",
    "inference/splice.py",
    "inference/wire.py",
    "sidecars/spool.py",
    "sidecars/retry.py",
)
"""Bytes in, values out: no task, no clock, no socket."""

START_SOON = {"rpc/pollers.py", "rpc/server.py", "testing/_rules.py"}
"""Modules that may start a task without waiting until it is ready: work of one connection, call or check."""

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
MUTATING_METHODS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def tracked_files() -> list[Path]:
    """Every file that is, or is about to be, under version control."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs tool: git, and a checkout made with it")
    return [path for name in found.split("\0") if name and (path := ROOT / name).is_file()]


class TestModules:
    def test_every_module_says_what_it_is(self):
        silent = [
            name_of(path) for path in MODULES if (tree := tree_of(path)).body and not ast.get_docstring(tree)
        ]
        assert silent == []

    def test_no_module_is_longer_than_one_job(self):
        lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
        assert {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}

    def test_no_function_is_longer_than_a_screen(self):
        long = {
            f"{name_of(path)}:{function.name}": lines
            for path in MODULES
            for function in functions_of(tree_of(path))
            if (lines := body_lines(function)) > MAX_FUNCTION_LINES
        }
        assert long == {}

    def test_no_module_holds_state(self):
        """A table is a constant: upper-case or Final, and nothing changes it."""
        found = [
            f"{name_of(path)}:{line}: {what}"
            for path in MODULES
            for line, what in module_state(tree_of(path))
        ]
        assert found == []


class TestStructure:
    def test_sans_io_modules_hold_no_async_code(self):
        nodes = (ast.AsyncFunctionDef, ast.Await, ast.AsyncWith, ast.AsyncFor)
        found = [
            f"{name_of(path)}:{node.lineno}"
            for path in MODULES
            if name_of(path).startswith(SANS_IO)
            for node in ast.walk(tree_of(path))
            if isinstance(node, nodes)
        ]
        assert found == []

    def test_tasks_are_started_ready_except_for_one_connection_or_batch(self):
        """`nursery.start` waits until a task is ready; `start_soon` is for the modules on the list."""
        using = {
            name_of(path)
            for path in MODULES
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Attribute) and node.attr == "start_soon"
        }
        assert using == START_SOON

    def test_constructors_start_nothing(self):
        found = [
            f"{name_of(path)}:{node.lineno}"
            for path in MODULES
            for function in functions_of(tree_of(path))
            if function.name == "__init__"
            for node in ast.walk(function)
            if isinstance(node, ast.Attribute) and node.attr in ("open_nursery", "start_soon", "spawn")
        ]
        assert found == []


class TestImports:
    def test_importing_the_package_itself_imports_nothing(self):
        tree = tree_of(PACKAGE / "__init__.py")
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("module", "unwanted"),
        [
            ("hushar.rpc", ("numpy", "onnxruntime", "pydantic", "click", "pluggy", "rich")),
            ("hushar.client", ("onnxruntime", "pydantic", "click", "pluggy", "rich")),
        ],
    )
    def test_a_client_does_not_pay_for_the_server(self, module: str, unwanted: tuple[str, ...]):
        program = f"import sys, {module}; print(*sys.modules)"
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert set(result.stdout.split()).isdisjoint(unwanted)

    @pytest.mark.slow
    def test_every_room_imports_only_what_lies_below_it(self):
        linter = Path(sysconfig.get_path("scripts"), "lint-imports")
        if not linter.exists():
            pytest.skip("needs tool: lint-imports (dependency group lint)")
        # pytest's own path: the plugins need not be installed.
        result = subprocess.run(
            [linter, "--no-cache"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr


class TestDistribution:
    def test_the_version_stands_in_one_place(self):
        pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert "version" in pyproject["project"]["dynamic"]
        assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "hushar.__version__"}

    def test_the_changelog_has_a_place_for_what_comes_next(self):
        assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    def test_every_docs_page_is_in_the_navigation(self):
        navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
        listed = sorted(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE))
        assert listed == sorted(
            path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
        )

    def test_the_commands_of_the_readme_can_be_run(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        first_block = readme.split("```")[1]
        assert re.findall(r"^\./(\S+)", first_block, re.MULTILINE) == ["scripts/demo", "scripts/test"]
        for command in ("scripts/demo", "scripts/test", ".ci/run"):
            assert os.access(ROOT / command, os.X_OK), command

    def test_no_file_names_a_place_that_only_one_machine_has(self):
        """No absolute path of a checkout or home directory, no host of a package registry."""
        places = re.compile(
            rb"(?<![\w./-])/(?:root|work|Users|home/\w+)/"
            rb"|\bpypi\.org\b|pythonhosted\.org|npmjs\.org|\bcrates\.io\b|proxy\.golang\.org"
        )
        found = [
            f"{path.relative_to(ROOT)}: {match.group().decode()}"
            for path in tracked_files()
            for match in places.finditer(path.read_bytes())
        ]
        assert found == []


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its first statement to its last, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def module_state(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Module-level mutable values that are no constants, and statements that change a constant."""
    tables: set[str] = set()
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                final = False
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value, annotation=annotation):
                final = "Final" in ast.unparse(annotation)
            case _:
                continue
        if is_mutable(value):
            tables.add(name)
            if not (final or name.isupper() or name == "__all__"):
                yield statement.lineno, f"{name} is mutable and no constant"
    for node in ast.walk(tree):
        match node:
            case ast.Global(names=names):
                yield node.lineno, f"global {', '.join(names)}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)):
                if name in tables and method in MUTATING_METHODS:
                    yield node.lineno, f"{name}.{method}(…)"
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                if name in tables:
                    yield node.lineno, f"{name}[…] is changed"


def is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return called in MUTABLE_CALLS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


class TestTests:
    def test_no_fixture_that_runs_by_itself_is_async(self):
        """pytest-trio runs an async fixture where a test asks for it by name, and nowhere else."""
        never_run = [
            f"{path.relative_to(ROOT)}: {function.name}"
            for path in sorted((ROOT / "tests").rglob("*.py"))
            for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(function, ast.AsyncFunctionDef)
            and any("autouse=True" in ast.unparse(decorator) for decorator in function.decorator_list)
        ]
        assert never_run == []
