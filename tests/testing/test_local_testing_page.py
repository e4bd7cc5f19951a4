"""docs/local-testing.md names what is there: every fault, every fixture, every argument."""

import inspect
import re
from pathlib import Path

import pytest

from hushar.testing import faults, pytest_plugin
from hushar.testing.exchanges import Request
from hushar.testing.proxy import FaultyProxy

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "local-testing.md").read_text(encoding="utf-8")
CODE = " ".join(re.findall(r"`[^`\n]+`", re.sub(r"^```.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE)))


def named(name):
    return re.search(rf"\b{name}\b", CODE) is not None


def faults_there_are():
    for name, value in vars(faults).items():
        is_class = inspect.isclass(value) and issubclass(value, faults.Fault) and value is not faults.Fault
        if (
            is_class
            or isinstance(value, faults.Fault)
            or (inspect.isfunction(value) and name == "clock_skew")
        ):
            yield name


@pytest.mark.parametrize("name", sorted(faults_there_are()))
def test_the_page_has_every_fault(name):
    assert named(name)


def test_the_page_has_every_argument_of_inject():
    parameters = inspect.signature(FaultyProxy.inject).parameters
    assert [name for name in parameters if name not in ("self", "fault") and not named(name)] == []


def test_the_page_has_every_fixture_and_no_other():
    rows = re.findall(r"^\| `(\w+)` \| ", PAGE.partition("## Fixtures")[2].partition("```")[0], re.MULTILINE)
    fixtures = [
        name
        for name, value in vars(pytest_plugin).items()
        if type(value).__name__ == "FixtureFunctionDefinition"
    ]
    assert sorted(rows) == sorted(fixtures)


def test_the_page_has_every_field_of_a_request():
    fields = Request.__dataclass_fields__.keys() - {"body_bytes"}
    assert [name for name in fields if not named(name)] == []
