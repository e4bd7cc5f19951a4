"""Options and `--set`."""

import pytest

from hushar.config.from_command_line import command_line_layer
from hushar.config.layers import merged


def values(options, *overrides):
    layer = command_line_layer(options, overrides, "/somewhere")
    assert layer.problems == ()
    return {path: setting.value for path, setting in merged([layer]).items()}


def test_set_wins_over_an_option_and_the_last_set_over_the_first():
    assert values({"port_number": 1}) == {("port_number",): 1}
    assert values({"port_number": 1}, "port_number=2", "port_number=3") == {("port_number",): 3}


def test_options_that_are_not_given():
    assert values({"port_number": None, "metrics.sinks": (), "log.workers": 0}) == {("log", "workers"): 0}


def test_text_of_an_option_is_read_as_that_of_set():
    assert values({"port_number": "1", "log.uri": "1"}) == {("port_number",): 1, ("log", "uri"): "1"}


def test_blanks_around_the_key_and_signs_in_the_value():
    assert values({}, " log.uri =a=b, c ") == {("log", "uri"): "a=b, c "}


def test_keys_of_plugins_may_have_any_name():
    assert values({}, "plugins.my-plugin.some.key=x") == {("plugins", "my-plugin", "some.key"): "x"}


def test_option_of_no_key_is_a_mistake_of_the_program():
    with pytest.raises(KeyError):
        command_line_layer({"log.nope": 1}, [], "/somewhere")
