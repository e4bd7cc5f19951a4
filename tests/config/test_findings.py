"""From pydantic's findings to problems."""

import pytest
from pydantic import ValidationError

from hushar.config.findings import at_fault, last_name, problems_of, suffix
from hushar.config.layers import Origin, Setting
from hushar.config.service import ServiceConfiguration


@pytest.fixture
def error():
    with pytest.raises(ValidationError) as caught:
        ServiceConfiguration.model_validate({"model_id": "m", "metrics": {"sinks": ["a", 1]}})
    return caught.value


def test_problem_names_the_setting_or_the_file(error):
    path = ("metrics", "sinks")
    settings = {path: Setting(path, None, Origin("environment", "HUSHAR_METRICS__SINKS", "/"))}
    assert [str(problem) for problem in problems_of(error, settings, "s.json")] == [
        "s.json: model_path: required key is missing",
        "s.json: vectorization_instruction_path: required key is missing",
        'environment: HUSHAR_METRICS__SINKS[1]: expected a string, got 1: write "1"',
    ]


def test_kinds_of_findings_can_be_left_out(error):
    found = list(problems_of(error, {}, "s.json", without=("missing",)))
    assert [problem.key for problem in found] == ["metrics.sinks[1]"]


def test_settings_at_fault(error):
    path = ("metrics", "sinks")
    settings = {path: Setting(path, None, Origin("s.json", "metrics.sinks", "/"))}
    assert at_fault(error, settings) == {path}
    assert at_fault(error, {}) == set()


def test_paths():
    assert suffix(("a", 3, "b")) == ".a[3].b"
    assert last_name(("a_bytes", 3)) == "a_bytes"
    assert last_name(()) == ""
