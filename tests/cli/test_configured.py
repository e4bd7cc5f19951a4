"""Where the configuration comes from: CONFIG or --demo, options, --set, the environment."""

import json

import click
import pytest

from hushar.cli.configured import demo_directory, with_configuration
from hushar.config.hints import KEYS
from hushar.config.loading import examine_service
from hushar.config.service import OPTIONS, ServiceConfiguration


@click.command("tested")
@with_configuration
def command(source):
    """What it does."""
    return source


def source_of(*arguments):
    return command.main(list(arguments), standalone_mode=False)


class TestConfig:
    @pytest.mark.parametrize("uri", ["service.toml", "/etc/hushar.json", "s3://bucket/service.json"])
    def test_a_path_or_uri_is_passed_as_it_is(self, uri):
        assert source_of(uri).uri == uri

    def test_the_demo_has_a_configuration_of_its_own(self):
        uri = source_of("--demo").uri
        assert uri == str(demo_directory() / "service.json")
        assert (demo_directory() / "service.json").is_file()

    @pytest.mark.parametrize("arguments", [[], ["service.json", "--demo"]], ids=["neither", "both"])
    def test_the_demo_and_a_configuration_exclude_each_other(self, arguments):
        with pytest.raises(click.UsageError, match="either CONFIG or --demo"):
            source_of(*arguments)

    def test_two_configurations_are_one_too_many(self):
        with pytest.raises(click.UsageError):
            source_of("a.json", "b.json")

    def test_environment_and_directory_are_those_of_the_process(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HUSHAR_LOG__URI", "logs")
        monkeypatch.chdir(tmp_path)
        source = source_of("service.json")
        assert source.environ["HUSHAR_LOG__URI"] == "logs"
        assert source.directory == str(tmp_path)


class TestOptions:
    def test_what_is_not_given_says_nothing(self):
        source = source_of("service.json")
        assert (source.options, source.overrides) == ({}, ())

    @pytest.mark.parametrize(
        ("option", "key"), [(option, key) for key, option in OPTIONS.items() if key != "metrics.sinks"]
    )
    def test_each_sets_its_key_by_the_text_given(self, option, key):
        assert source_of("service.json", option, "07").options == {key: "07"}

    def test_metric_sinks_are_a_list(self):
        source = source_of("service.json", "--metrics-sink", "stderr", "--metrics-sink", "own")
        assert source.options == {"metrics.sinks": ["stderr", "own"]}

    def test_all_have_a_help_and_there_are_no_others(self):
        flags = {
            parameter.opts[0]: parameter for parameter in command.params if parameter.opts[0] != "config"
        }
        assert set(flags) == {*OPTIONS.values(), "--set", "--demo"}
        assert all(parameter.help for parameter in flags.values())

    def test_the_commands_own_help_is_kept(self):
        assert command.help == "What it does."


class TestSet:
    def test_each_is_passed_as_it_is_in_order(self):
        texts = ("log.uri=a=b", "log.uri=", "x", "model.providers=[]")
        arguments = [word for text in texts for word in ("--set", text)]
        assert source_of("service.json", *arguments).overrides == texts

    def test_it_reaches_every_key(self):
        """Each is set to its default, by which it can be seen whether it was understood."""
        required = {"model_path": "m", "model_id": "m", "vectorization_instruction_path": "v"}
        defaults = ServiceConfiguration.model_validate(required)
        overrides = []
        for path, key in KEYS.items():
            value = defaults
            for name in path:
                value = getattr(value, name)
            # No digit of 64 is wrong for any key that is text and has no default.
            text = value or "0" * 64 if key.is_text else json.dumps(value)
            overrides += ["--set", f"{key.dotted}={text}"]
        source = source_of("service.json", *overrides)
        examined = examine_service(
            None,
            options=source.options,
            overrides=source.overrides,
            environ={},
            directory=source.directory,
        )
        assert examined.problems == ()
        assert {key: origin.key for key, origin in examined.loaded.origins.items()} == {
            key.dotted: f"--set {key.dotted}" for key in KEYS.values()
        }
