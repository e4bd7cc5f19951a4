"""Names of variables: ours, Kubernetes', and those of nobody."""

import pytest

from hushar.config.from_environment import environment_layer


def settings(environ):
    layer = environment_layer(environ, "/somewhere")
    assert layer.problems == ()
    return {setting.path: setting.value for setting in layer.settings}


def test_top_level_section_and_plugin():
    environ = {
        "HUSHAR_MODEL_ID": "5",
        "HUSHAR_LOG__WORKERS": "5",
        "HUSHAR_PLUGINS__BLOCK": '["a"]',
        "HUSHAR_PLUGINS__AWS__S3_CHECKSUM": "5",
    }
    assert settings(environ) == {
        ("model_id",): "5",
        ("log", "workers"): 5,
        ("plugins", "block"): ["a"],
        ("plugins", "aws", "s3_checksum"): "5",
    }


@pytest.mark.parametrize("name", ["PATH", "hushar_port", "HUSHARD_PORT", "MY_HUSHAR_PORT"])
def test_variables_of_others_are_none_of_ours(name):
    layer = environment_layer({name: "x"}, "/somewhere")
    assert (layer.settings, layer.problems, layer.warnings) == ((), (), ())


@pytest.mark.parametrize("value", ["tcp://10.0.0.1:1", "udp://10.0.0.1:1"])
def test_port_of_kubernetes_is_not_ours(value):
    assert settings({"HUSHAR_PORT": value, "HUSHAR_PORT_NUMBER": "5"}) == {("port_number",): 5}


def test_both_names_of_the_port():
    assert settings({"HUSHAR_PORT": "5", "HUSHAR_PORT_NUMBER": "5"}) == {("port_number",): 5}
    layer = environment_layer({"HUSHAR_PORT": "5", "HUSHAR_PORT_NUMBER": "6"}, "/somewhere")
    assert [str(problem) for problem in layer.problems] == [
        "environment: HUSHAR_PORT: differs from HUSHAR_PORT_NUMBER, which means the same"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "HUSHAR_SERVICE_HOST",
        "HUSHAR_SERVICE_PORT",
        "HUSHAR_SERVICE_PORT_GRPC_WEB",
        "HUSHAR_PORT_8279_TCP",
        "HUSHAR_PORT_8279_TCP_PROTO",
        "HUSHAR_METRICS_SERVICE_HOST",
        "HUSHAR_METRICS_PORT",
    ],
)
def test_variables_of_kubernetes_are_told_as_such(name):
    layer = environment_layer({name: "x"}, "/somewhere")
    assert layer.warnings == (f"environment: ignored, because Kubernetes sets them itself: {name}",)
