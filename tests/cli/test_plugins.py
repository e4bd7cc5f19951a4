"""`hushar plugins`: what is installed, from which distribution, and what it adds."""

import re

import click
import pytest
from pydantic import BaseModel

import hushar as package
from hushar.testing import MemoryLogSink


class Settings(BaseModel, extra="forbid"):
    bucket: str = ""
    region: str = ""


@pytest.fixture
def listed(hushar):
    """Runs it: heading → lines below."""

    def run():
        ran = hushar("plugins")
        assert (ran.status, ran.err) == (0, "")
        parts = (part.splitlines() for part in re.split(r"\n(?! )", ran.out) if part)
        return {heading: [line.strip() for line in lines] for heading, *lines in parts}

    return run


def test_the_built_in_parts_come_first_and_through_the_same_door(listed):
    heading, lines = next(iter(listed().items()))
    assert heading == f"hushar (hushar {package.__version__})"
    assert "runtimes: onnxruntime" in lines
    assert "log sinks: file" in lines
    assert "metric sinks: stderr" in lines
    assert "storages: file" in lines
    (transformations,) = [line for line in lines if line.startswith("transformations: ")]
    assert set(transformations.removeprefix("transformations: ").split(", ")) == {
        "embedding",
        "identity",
        "min_max_scaling32",
        "min_max_scaling64",
        "one_hot_encoding",
        "standardization32",
        "standardization64",
    }


def test_what_it_brings_nothing_of_is_not_mentioned(listed):
    assert not [line for line in next(iter(listed().values())) if line.startswith("services")]


def test_a_plugin_is_listed_with_its_distribution_and_everything_it_adds(listed, install_plugin):
    def greeting(context):
        raise AssertionError("nothing is served")

    install_plugin(
        "memory",
        settings=Settings,
        log_sinks={"mem": lambda uri, context: MemoryLogSink(), "mems": lambda uri, context: MemoryLogSink()},
        services=[greeting],
        commands=[click.Command("greet")],
    )
    assert sorted(listed()["memory (hushar-memory 1.2)"]) == [
        "commands: greet",
        "log sinks: mem, mems",
        "services: greeting",
        "settings: bucket, region",
    ]


def test_a_plugin_without_hooks_is_listed_all_the_same(listed, install_plugin):
    install_plugin("idle")
    assert listed()["idle (hushar-idle 1.2)"] == []


def test_one_that_cannot_be_loaded_is_told_with_status_2(hushar, install_plugin):
    install_plugin("broken", runtimes=RuntimeError("boom"))
    ran = hushar("plugins")
    assert (ran.status, ran.out) == (2, "")
    assert "plugins: broken" in ran.err
    assert "boom" in ran.err
