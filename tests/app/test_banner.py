"""What is said at start about what is served; its last line is `listening on HOST:PORT`."""

import dataclasses
import io
import json
import re

import pytest

import hushar
from hushar.app.banner import announce, facts, warnings_of
from hushar.app.messages import configure_messages
from hushar.app.preparing import prepare
from hushar.features.vectorize import kernel_name
from hushar.models.runtime import TensorSpec
from hushar.testing import onnx_models

ADDRESS = "127.0.0.1:8279"


@pytest.fixture
def prepared(workspace):
    """prepared(**keys): two outputs, the second has the scores."""

    async def make(**keys):
        workspace.write("model.onnx", onnx_models.two_outputs(3))
        workspace.vectorize(
            age={"type": "identity", "default_val": [0]},
            colour={"type": "one_hot_encoding", "categories": ["r", "g"], "default_val": [0, 0]},
        )
        return await workspace.prepare(**({"model": {"output": "negative"}} | keys))

    return make


def said(prepared):
    stream = io.StringIO()
    configure_messages(prepared.configuration.log_format, prepared.configuration.log_level, stream)
    announce(prepared, ADDRESS, stream)
    return stream.getvalue().splitlines()


async def test_the_kernel_is_the_one_that_the_configuration_asks_for(prepared):
    assert "  kernel: reference" in said(await prepared(kernel="reference"))


async def test_all_that_a_person_wants_to_know_is_a_line_of_text(prepared, workspace):
    made = await prepared(
        log={"uri": "logs"},
        metrics={"sinks": ["stderr"]},
        batching={"max_rows": 7, "max_call_rows": 9},
        connection_concurrency=3,
    )
    lines = said(made)
    assert lines[-1] == f"listening on {ADDRESS}"
    told = dict(re.fullmatch(r"  ([a-z ]+): (.+)", line).groups() for line in lines[:-1])
    assert told["hushar"] == hushar.__version__
    assert told["model id"] == "tested"
    assert told["model version"] == made.served.version
    assert re.fullmatch(r"onnxruntime \d+\.\d+.*", told["runtime"])
    assert told["kernel"] == kernel_name()
    assert told["inputs"] == "x float32 (N, 3)"
    assert told["outputs"] == "y float32 (N, 3); negative float32 (N, 3) (scores)"
    assert told["opset"] == "17"
    assert told["columns"] == "age [0], colour [1:3]"
    assert told["log"] == workspace.path("logs")
    assert told["metrics"] == made.metric_sinks["stderr"].description
    assert told["limits"].startswith(
        "connection_concurrency 3, batching.max_rows 7, batching.max_call_rows 9"
    )
    assert "server.max_receive_bytes 4194304" in told["limits"]
    assert "server.max_in_flight " not in told["limits"]
    assert told["tls"] == told["tokens"] == "off"
    assert told["address"] == ADDRESS


async def test_where_nothing_is_logged_or_measured_it_says_none(prepared):
    lines = said(await prepared())
    assert "  log: none" in lines
    assert "  metrics: none" in lines


async def test_tls_is_said(prepared):
    made = await prepared()
    context = object()
    assert facts(dataclasses.replace(made, ssl_context=context), ADDRESS)["tls"] == "on"


async def test_how_many_tokens_there_are_is_said_and_none_of_them(prepared, workspace):
    workspace.write("tokens", b"secret-one\nsecret-two\n")
    made = await prepared(auth={"token_file": "tokens"})
    assert facts(made, ADDRESS)["tokens"] == "2 known"
    assert "secret" not in repr(said(made))


async def test_a_unix_socket_is_said(prepared, workspace):
    made = await prepared(server={"unix_socket": "h.sock"})
    assert facts(made, ADDRESS)["unix_socket"] == workspace.path("h.sock")


async def test_a_limit_that_is_set_is_said(prepared):
    made = await prepared(server={"max_in_flight": 7})
    assert facts(made, ADDRESS)["limits"]["server.max_in_flight"] == 7


async def test_a_features_name_cannot_write_a_line_of_its_own(workspace):
    workspace.vectorize(**{"a\nlistening on evil:1": {"type": "identity", "default_val": [0, 0]}})
    lines = said(await workspace.prepare())
    assert [line for line in lines if line.startswith("listening")] == [f"listening on {ADDRESS}"]
    assert r"  columns: a\nlistening on evil:1 [0:2]" in lines


async def test_a_models_own_names_cannot_garble_the_terminal(prepared):
    made = await prepared()
    runtime = made.served.runtime
    runtime.details = {"producer\x1b[2J": "evil\nlistening on evil:1", "domain": "\udcff"}
    runtime.inputs = (TensorSpec("x\x1b]0;\x07", "float32", ("N\x9b", 3)),)
    lines = said(made)
    assert "".join(lines).isprintable()
    assert r"  producer\x1b[2J: evil\nlistening on evil:1" in lines
    assert r"  inputs: x\x1b]0;\x07 float32 (N\x9b, 3)" in lines


class TestJson:
    async def test_the_banner_is_one_object_whose_message_is_the_address(self, prepared):
        (line,) = said(await prepared(log_format="json"))
        told = json.loads(line)
        assert told["message"] == f"listening on {ADDRESS}"
        assert told["level"] == "info"
        assert told["columns"] == {"age": "[0]", "colour": "[1:3]"}
        assert told["limits"]["batching.max_rows"] == 1024
        assert told["outputs"][1].endswith("(scores)")
        assert told["address"] == ADDRESS

    async def test_it_says_what_the_text_says(self, prepared):
        made = await prepared(log_format="json")
        (line,) = said(made)
        assert set(json.loads(line)) == {"time", "level", "logger", "message", *facts(made, ADDRESS)}

    async def test_it_is_said_whatever_the_level(self, workspace):
        workspace.configure(log_format="json")
        made = await prepare(workspace.source(overrides=["log_level=error"]))
        assert len(said(made)) == 1


async def test_the_text_is_said_whatever_the_level(workspace):
    assert said(await workspace.prepare(log_level="error"))[-1] == f"listening on {ADDRESS}"


class TestWarnings:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
    async def test_on_its_own_machine_a_server_needs_no_tls(self, prepared, host):
        assert list(warnings_of(await prepared(host=host))) == []

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "server.example"])
    async def test_on_a_network_it_does(self, prepared, host):
        made = await prepared(host=host)
        (warning,) = warnings_of(made)
        assert warning == f"host is {host} and there is no TLS: calls can be read on the way"
        assert list(warnings_of(dataclasses.replace(made, ssl_context=object()))) == []

    async def test_so_do_tokens(self, prepared, workspace):
        workspace.write("tokens", b"one\n")
        (warning,) = warnings_of(await prepared(host="0.0.0.0", auth={"token_file": "tokens"}))
        assert "calls and their tokens can be read" in warning

    async def test_those_of_the_configuration_come_first(self, workspace):
        workspace.configure(host="0.0.0.0")
        made = await prepare(workspace.source(environ={"HUSHAR_COLOUR": "red"}))
        first, _ = warnings_of(made)
        assert first.startswith("environment: HUSHAR_COLOUR")
