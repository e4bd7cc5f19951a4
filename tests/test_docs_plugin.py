"""The pages about plugins say what is so: their code is the tested example, and every hook is there."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from hushar.plugins import hookspecs

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "hushar-example"
WRITE_A_PLUGIN = ROOT / "docs" / "write-a-plugin.md"
PLUGINS = ROOT / "docs" / "plugins.md"

FOLDERS = ("hushar_example", "demo", "tests")
SUFFIXES = (".py", ".toml", ".json", ".md")
NOT_SHOWN = {"README.md"}
HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if inspect.isfunction(function) and name.startswith("hushar_")
}


def shown_files() -> dict[str, str]:
    """File name → content, of every code block of the page that has a file name."""
    page = WRITE_A_PLUGIN.read_text(encoding="utf-8")
    blocks = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', page, re.DOTALL | re.MULTILINE)
    return dict(blocks)


def example_files() -> dict[str, str]:
    """File name → content, of every file that the example consists of."""
    folders = [EXAMPLE, *(EXAMPLE / name for name in FOLDERS)]
    paths = [path for folder in folders for path in folder.glob("*.*") if path.suffix in SUFFIXES]
    return {path.relative_to(EXAMPLE).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def section(name: str) -> str:
    """The section of the page about plugins that is about this hook, its heading included."""
    page = PLUGINS.read_text(encoding="utf-8")
    found = re.search(rf"^### `{name}\(.*?(?=^##|\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, f"docs/plugins.md has no section about {name}"
    return found.group()


class TestWriteAPlugin:
    def test_the_page_shows_every_file_of_the_example(self):
        assert shown_files().keys() == example_files().keys() - NOT_SHOWN

    @pytest.mark.parametrize("name", sorted(example_files().keys() - NOT_SHOWN))
    def test_the_code_of_the_page_is_the_tested_code(self, name: str):
        assert shown_files()[name] == example_files()[name]


class TestPlugins:
    def test_the_page_has_a_section_for_every_hook_and_none_besides(self):
        headings = re.findall(r"^### `(hushar_\w+)\(", PLUGINS.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == list(HOOKS)

    @pytest.mark.parametrize("name", HOOKS)
    def test_the_heading_has_the_exact_arguments(self, name: str):
        arguments = ", ".join(inspect.signature(HOOKS[name]).parameters)
        assert section(name).startswith(f"### `{name}({arguments})`\n")

    @pytest.mark.parametrize("name", HOOKS)
    def test_the_section_says_when_it_is_called_what_it_returns_and_what_errors_do(self, name: str):
        assert re.findall(r"^- \*\*(\w+)\*\*", section(name), re.MULTILINE) == ["Called", "Returns", "Errors"]

    @pytest.mark.parametrize("name", HOOKS)
    def test_the_section_names_the_exact_type_that_is_returned(self, name: str):
        definition = ast.parse(inspect.getsource(HOOKS[name])).body[0]
        assert isinstance(definition, ast.FunctionDef)
        assert definition.returns is not None
        returned = ast.unparse(definition.returns).strip("'")
        assert f"`{returned}`" in section(name)

    @pytest.mark.parametrize("name", HOOKS)
    def test_the_hook_itself_says_so_too(self, name: str):
        text = inspect.getdoc(HOOKS[name]) or ""
        assert {word for word in ("Called", "Returns") if word not in text} == set()
