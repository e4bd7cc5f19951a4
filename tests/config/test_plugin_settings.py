"""A plugin's settings, checked against the plugin's own model."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hushar.config import validate_plugin_settings


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    region: str | None = None
    part_bytes: int = Field(5, ge=5)
    names: list[str] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    mode: Literal["a", "b"] = "a"
    even: int = Field(2, multiple_of=2)

    @model_validator(mode="after")
    def _both(self):
        if self.mode == "b" and self.region is None:
            raise ValueError("mode b needs a region")
        return self


@pytest.fixture
def check(load):
    """Load a configuration and check its section `plugins.aws`."""

    def run(values=None, **layers):
        configuration = load(
            {"plugins": {"aws": values}} if values is not None else None, **layers
        ).configuration
        raw = configuration.plugins.settings.get("aws", {})
        made = validate_plugin_settings("aws", raw, Settings, "service.json")
        return [str(problem) for problem in made] if isinstance(made, list) else made

    return run


def test_from_the_file(check):
    made = check({"region": "eu", "part_bytes": 7, "names": ["a"], "mode": None})
    assert made == Settings(region="eu", part_bytes=7, names=["a"])


def test_nothing_given_is_the_defaults(check):
    assert check() == Settings()


def test_text_is_json_only_where_the_model_takes_no_text(check):
    environ = {"HUSHAR_PLUGINS__AWS__REGION": "1", "HUSHAR_PLUGINS__AWS__PART_BYTES": "8"}
    overrides = ["plugins.aws.mode=b", 'plugins.aws.names=["1"]']
    made = check({"region": "eu"}, environ=environ, overrides=overrides)
    assert made == Settings(region="1", part_bytes=8, names=["1"], mode="b")


def test_every_problem_names_its_origin(check):
    environ = {"HUSHAR_PLUGINS__AWS__LABELS": '{"a": 1, "a": 2}'}
    overrides = ["plugins.aws.part_bytes=4", "plugins.aws.moed=b"]
    assert check({"regoin": "x", "names": ["a", 1]}, environ=environ, overrides=overrides) == [
        "environment: HUSHAR_PLUGINS__AWS__LABELS: duplicate key 'a' in its JSON",
        "command line: --set plugins.aws.part_bytes: must be at least 5, got 4",
        'service.json: plugins.aws.names[1]: expected a string, got 1: write "1"',
        'environment: HUSHAR_PLUGINS__AWS__LABELS.a: expected a string, got 2: write "2"',
        "service.json: plugins.aws.regoin: unknown key, did you mean 'plugins.aws.region'?",
        "command line: --set plugins.aws.moed: unknown key, did you mean 'plugins.aws.mode'?",
    ]


def test_unit_in_a_value(check):
    assert check({"part_bytes": "8MiB"}) == [
        'service.json: plugins.aws.part_bytes: expected an integer, got "8MiB": '
        "values have no unit suffix, write 8388608"
    ]


def test_rule_that_only_the_plugin_has(check):
    assert check({"even": 3}) == ["service.json: plugins.aws.even: input should be a multiple of 2"]


def test_problem_with_the_section_as_a_whole(check):
    assert check({"mode": "b"}) == ["service.json: plugins.aws: mode b needs a region"]


def test_null_takes_a_key_back_to_its_default(check):
    assert check({"part_bytes": 9}, overrides=["plugins.aws.part_bytes=null"]) == Settings()


def test_text_for_an_alias(load):
    class Lax(BaseModel):
        folder: Path | None = Field(None, alias="directory")

    configuration = load(overrides=["plugins.aws.directory=5"]).configuration
    made = validate_plugin_settings("aws", configuration.plugins.settings["aws"], Lax, "service.json")
    assert made == Lax(directory=Path("5"))


def test_empty_section_is_kept(load):
    settings = load({"plugins": {"aws": {}, "other": None}}).configuration.plugins.settings
    assert settings == {"aws": {}}
