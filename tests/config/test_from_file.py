"""The settings of a file, each with its origin."""

from hushar.config.from_file import file_layer


def test_settings_know_their_place(blob):
    layer = file_layer(
        blob({"host": "h", "log": {"uri": "x"}, "plugins": {"aws": {"a": None}}}, "c/s.json"), "/somewhere"
    )
    places = {setting.path: (setting.origin.file, setting.origin.key) for setting in layer.settings}
    assert places == {
        ("host",): ("c/s.json", "host"),
        ("log", "uri"): ("c/s.json", "log.uri"),
        ("plugins", "aws"): ("c/s.json", "plugins.aws"),
        ("plugins", "aws", "a"): ("c/s.json", "plugins.aws.a"),
    }
    assert {setting.origin.base for setting in layer.settings} == {"/somewhere/c"}


def test_section_that_is_null_is_absent(blob):
    layer = file_layer(blob({"log": None, "plugins": {"aws": None}}), "/somewhere")
    assert (layer.settings, layer.problems) == ((), ())


def test_file_with_a_malformed_uri(blob):
    layer = file_layer(blob({"host": "h"}, "file://etc/s.json"), "/somewhere")
    assert [problem.message for problem in layer.problems] == [
        "'etc' is read as a host; a file URI has three slashes, file:///path"
    ]
    assert layer.unreadable
