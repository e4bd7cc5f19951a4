"""Plugins are found by entry point, asked once, and merged; what cannot work is said with names."""

import types
from importlib.metadata import EntryPoint

import click
import pytest

from hushar import builtin
from hushar.cli.root import COMMANDS
from hushar.errors import ConfigurationError
from hushar.plugins import STRINGS, Transformation, hookimpl
from hushar.plugins.calling import Named
from hushar.plugins.hookspecs import BUILTIN_COMMANDS
from hushar.plugins.manager import load_registry


class Length(Transformation):
    accepts = STRINGS

    def transform(self, column):
        raise AssertionError("never computed here")


class Plugin(types.SimpleNamespace):
    """A module, as far as pluggy is concerned; no two are the same."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def plugin(**hooks):
    return Plugin(**{name: _hook(name, result) for name, result in hooks.items()})


def _hook(name, result):
    def implementation():
        if isinstance(result, Exception):
            raise result
        return result

    implementation.__name__ = name
    return hookimpl(implementation)


class Point(EntryPoint):
    """An entry point whose plugin is at hand instead of in a module."""

    def load(self):
        loaded = vars(type(self))["plugins"][self.name]
        if isinstance(loaded, Exception):
            raise loaded
        return loaded


def points(**plugins):
    made = type("Points", (Point,), {"plugins": plugins})
    return [made(name, f"{name}.module", "hushar") for name in plugins]


def test_the_built_in_parts_come_through_the_same_door():
    registry = load_registry(builtin, entry_points=[])
    assert set(registry.transformations) >= {"identity", "embedding", "one_hot_encoding"}
    assert "onnxruntime" in registry.runtimes
    assert "file" in registry.log_sinks
    assert "file" in registry.storages
    assert "stderr" in registry.metric_sinks
    assert registry.plugins[0].name == "hushar"
    assert "file" in registry.plugins[0].adds["log_sinks"]


def test_blocked_built_in_parts_are_missing():
    assert not load_registry(builtin, block=["hushar"], entry_points=[]).transformations


def test_a_plugin_adds_what_its_hooks_return():
    found = points(long=plugin(hushar_transformations={"length": Length}))
    registry = load_registry(builtin, entry_points=found)
    assert registry.transformations["length"] == Named("long", "hushar_transformations", "length", Length)
    assert registry.transformation_classes["length"] is Length
    assert registry.plugins[1].adds == {"transformations": ("length",)}


def test_factories_know_the_plugin_that_they_came_from():
    found = points(there=plugin(hushar_log_sinks={"there": lambda uri, context: None}))
    assert load_registry(builtin, entry_points=found).log_sinks["there"].plugin == "there"


def test_commands_are_found_by_their_name():
    @click.command("greet")
    def greet():
        pass

    found = points(greeting=plugin(hushar_commands=[greet]))
    assert load_registry(builtin, entry_points=found).commands == {"greet": greet}


@pytest.mark.parametrize(
    ("limits", "loaded"),
    [
        ({}, {"a", "b"}),
        ({"allow": ["a"]}, {"a"}),
        ({"block": ["a"]}, {"b"}),
        ({"allow": ["a", "b"], "block": ["b"]}, {"a"}),
        ({"allow": []}, set()),
    ],
)
def test_allow_and_block_keep_plugins_out(limits, loaded):
    found = points(a=plugin(), b=plugin())
    registry = load_registry(builtin, entry_points=found, **limits)
    assert {each.name for each in registry.plugins} - {"hushar"} == loaded


def test_two_plugins_that_claim_one_name_are_both_named():
    found = points(
        one=plugin(hushar_transformations={"length": Length}),
        two=plugin(hushar_transformations={"length": Length}),
    )
    with pytest.raises(ConfigurationError, match=r"'one' and 'two' bring 'length'"):
        load_registry(builtin, entry_points=found)


def test_a_built_in_name_cannot_be_taken():
    found = points(thief=plugin(hushar_transformations={"identity": Length}))
    with pytest.raises(ConfigurationError, match=r"'hushar' and 'thief' bring 'identity'"):
        load_registry(builtin, entry_points=found)


def test_every_plugin_that_cannot_be_loaded_is_named():
    found = points(
        broken=ImportError("no module named x"),
        failing=plugin(hushar_transformations=RuntimeError("boom")),
    )
    with pytest.raises(ConfigurationError) as caught:
        load_registry(builtin, entry_points=found)
    assert [problem.key for problem in caught.value.problems] == ["broken", "failing"]
    assert "no module named x" in str(caught.value)
    assert "boom" in str(caught.value)


def test_what_a_hook_returns_of_another_type_is_told_and_not_merged():
    found = points(
        none=plugin(hushar_log_sinks=None),
        odd=plugin(hushar_transformations={"length": Length, "int": int}, hushar_services=[3]),
    )
    with pytest.raises(ConfigurationError) as caught:
        load_registry(builtin, entry_points=found)
    assert sorted(map(str, caught.value.problems)) == [
        "plugins: none: hushar_log_sinks: must return a mapping of names, got None",
        "plugins: odd: hushar_services: [0]: expected a factory, got an instance of int",
        "plugins: odd: hushar_transformations: 'int': expected a class derived from Transformation, "
        "got the class int",
    ]


def test_services_know_the_plugin_that_they_came_from():
    def make_service(context):
        raise AssertionError("never made here")

    (named,) = load_registry(builtin, entry_points=points(a=plugin(hushar_services=[make_service]))).services
    assert named == Named("a", "hushar_services", "make_service", make_service)


def test_interceptors_are_asked_for_as_services_are():
    def audit(context):
        raise AssertionError("never made here")

    registry = load_registry(builtin, entry_points=points(a=plugin(hushar_interceptors=[audit])))
    assert registry.interceptors == (Named("a", "hushar_interceptors", "audit", audit),)
    assert registry.plugins[1].adds == {"interceptors": ("audit",)}


def test_a_hook_with_arguments_that_are_not_its_own_does_not_fit():
    @hookimpl
    def hushar_transformations(surprise):
        return {}

    made = Plugin(hushar_transformations=hushar_transformations)
    with pytest.raises(ConfigurationError, match="surprise"):
        load_registry(builtin, entry_points=points(odd=made))


def test_a_hook_that_hushar_has_not_is_no_silent_mistake():
    with pytest.raises(ConfigurationError, match="hushar_transformation"):
        load_registry(builtin, entry_points=points(odd=plugin(hushar_transformation={})))


def test_a_built_in_command_cannot_be_taken():
    @click.command("serve")
    def serve():
        pass

    with pytest.raises(ConfigurationError, match="'hushar' and 'thief' bring 'serve'"):
        load_registry(builtin, entry_points=points(thief=plugin(hushar_commands=[serve])))


def test_the_names_of_built_in_commands_are_those_of_the_command_line():
    assert COMMANDS.keys() == BUILTIN_COMMANDS
