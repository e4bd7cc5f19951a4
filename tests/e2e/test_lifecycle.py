"""From the start of a server to its end: what it says, what it survives, how it stops."""

import json
import os
import platform
import re
import signal
import socket
import sys
from pathlib import Path

import grpc
import pytest
import trustme

SLOW = {"batching": {"offload": "always"}}
"""The slow model in a worker thread, so that the server stays awake beside it."""
ABOUT_A_SECOND, FOR_MINUTES = 150.0, 100_000.0


def slow_call(client, value):
    """A call of the slow model, begun."""
    return client.future(client.request([("slow", {"x": ("float_value", value)})], "slow"))


def wait_until_it_runs(server, client, serving):
    """Until the model is at work on the slow call: a later call's answer has to wait for it."""
    probe = client.request([("probe", {})])

    def waits():
        try:
            client.score(probe, timeout=0.3)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return False

    serving.eventually(waits, "the slow call to run")


def test_port_zero_takes_a_free_port_of_the_loopback_and_says_which(servers, connect, onnx_models):
    server = servers.serve(onnx_models.echo(1))
    assert server.address.startswith("127.0.0.1:")
    assert server.port > 1024
    assert connect(server).rows([("r", {})]) == [[0]]


def test_a_port_in_use_is_the_users_mistake(servers, onnx_models):
    server = servers.serve(onnx_models.echo(1))
    refused = server.workspace.run("serve", "service.json", "--port", server.port)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert [line for line in refused.stderr.splitlines() if str(server.port) in line and "in use" in line]
    assert server.process.poll() is None


def test_the_banner_says_what_is_served(servers, everything, onnx_models, oracle):
    width = oracle.width(everything)
    settings = {"model_id": "the-model", "log": {"uri": "the-logs"}, "metrics": {"sinks": ["stderr"]}}
    server = servers.serve(onnx_models.echo(width), everything, **settings)
    banner = server.stderr
    for name in everything["feature_order"]:
        assert name in banner
    for word in ["the-model", "onnxruntime", "scores", str(width), "the-logs", "stderr", "kernel: "]:
        assert word in banner
    assert re.search(r"kernel: (cython|reference)", banner)
    assert server.workspace.path("stdout.txt").read_text() == ""


def slices_of(pid):
    """Thread → nanoseconds; empty where the system does not tell, or takes no wishes (Linux before 6.12)."""
    if sys.platform != "linux" or tuple(map(int, platform.release().split(".")[:2])) < (6, 12):
        return {}
    # Whoever set a policy or a priority is left alone; a container may refuse.
    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    if policy != os.SCHED_OTHER or os.nice(0) < 0 or "Seccomp:\t2" in Path("/proc/self/status").read_text():
        return {}
    tasks = {int(task.name): task / "sched" for task in Path(f"/proc/{pid}/task").glob("*")}
    lines = {thread: file.read_text() for thread, file in tasks.items() if file.exists()}
    found = {thread: re.search(r"^se\.slice\s*:\s*(\d+)$", text, re.M) for thread, text in lines.items()}
    return {thread: int(match[1]) for thread, match in found.items() if match}


def test_the_thread_that_serves_is_run_soon_after_it_wakes(servers, connect, onnx_models):
    server = servers.serve(onnx_models.slow(), **SLOW)
    connect(server).score(connect(server).request([("slow", {"x": ("float_value", 1.0)})], "slow"))
    slices = slices_of(server.process.pid)
    if not slices:
        pytest.skip("this system does not tell a thread's slice, or takes no wishes for it")
    assert slices.pop(server.process.pid) == 100_000
    assert slices, "the model's thread"
    assert min(slices.values()) > 100_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_with_status_zero(number, servers, connect, onnx_models):
    server = servers.serve(onnx_models.echo(1))
    client = connect(server)
    client.rows([("r", {})])
    server.signal(number)
    assert server.wait() == 0, server.stderr
    assert "Traceback" not in server.stderr


def test_a_call_in_flight_is_answered_and_logged_before_the_end(
    servers, connect, onnx_models, serving, messages
):
    server = servers.serve(onnx_models.slow(), log={"uri": "logs"}, **SLOW)
    client = connect(server)
    call = slow_call(client, ABOUT_A_SECOND)
    wait_until_it_runs(server, connect(server), serving)
    server.signal(signal.SIGTERM)
    assert call.result().outputs[0].scores == [ABOUT_A_SECOND]
    assert server.wait() == 0, server.stderr
    assert "slow" in serving.logged_ids(server.workspace.path("logs"), messages)


def test_a_call_that_outlasts_the_drain_does_not_hold_the_end_up(servers, connect, onnx_models, serving):
    server = servers.serve(onnx_models.slow(), server={"drain_seconds": 1}, **SLOW)
    client = connect(server)
    call = slow_call(client, FOR_MINUTES)
    wait_until_it_runs(server, connect(server), serving)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0, server.stderr
    assert call.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert "Traceback" not in server.stderr


def test_a_second_signal_ends_the_server_at_once(servers, connect, onnx_models, serving):
    server = servers.serve(onnx_models.slow(), **SLOW)
    client = connect(server)
    call = slow_call(client, FOR_MINUTES)
    wait_until_it_runs(server, connect(server), serving)
    server.signal(signal.SIGTERM)
    # The first one has been seen when nothing listens any more.
    serving.eventually(lambda: refuses(server.port), "the listener to close")
    server.signal(signal.SIGINT)
    assert server.process.wait(10) == 1
    assert call.exception() is not None
    assert "Traceback" not in server.stderr


def refuses(port):
    """Whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_calls_over_tls_are_served_and_without_it_are_not(servers, connect, onnx_models):
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1", "localhost")
    workspace = servers.workspace()
    workspace.configure(onnx_models.echo(1), tls={"certificate": "a.crt", "key": "a.key"})
    workspace.write("a.crt", b"".join(pem.bytes() for pem in made.cert_chain_pems))
    workspace.write("a.key", made.private_key_pem.bytes())
    server = servers.start(workspace)
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    client = connect(server, credentials)
    assert client.rows([("r", {"x": ("float_value", 4.0)})]) == [[4]]
    stranger = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
    for other in (connect(server), connect(server, stranger)):
        with pytest.raises(grpc.RpcError):
            other.score(other.request([("r", {})]), timeout=10)
    assert client.rows([("r", {})]) == [[0]]
    assert server.terminate() == 0


def test_a_model_that_fails_on_a_batch_is_an_error_without_details_and_the_server_goes_on(
    servers, connect, onnx_models, serving
):
    server = servers.serve(onnx_models.lookup())
    client = connect(server)
    code, details = client.status(client.request([("r", {"x": ("float_value", 9.0)})]).SerializeToString())
    assert code == "INTERNAL"
    for word in ("onnx", "ort", "Gather", "indices", "bounds", "Error"):
        assert word.lower() not in details.lower().replace("server's log", "")
    serving.eventually(lambda: "Gather" in server.stderr, "the details in the server's log")
    assert client.rows([("r", {"x": ("float_value", 1.0)})]) == [[11]]


def test_an_output_with_fewer_rows_than_the_input_is_the_models_failure(servers, connect, onnx_models):
    client = connect(servers.serve(onnx_models.forgetful()))
    rows = [("kept", {"x": ("float_value", 1.0)}), ("lost", {"x": ("float_value", -5.0)})]
    assert client.status(client.request(rows).SerializeToString())[0] == "INTERNAL"
    assert client.rows(rows[:1]) == [[1]]


MEASURES = ("VectorizationTime", "ToTensorTime", "InferenceTime")


def test_metrics_are_summed_up_on_standard_error_every_interval(servers, connect, onnx_models):
    metrics = {"sinks": ["stderr"], "interval_seconds": 1}
    server = servers.serve(onnx_models.echo(1), metrics=metrics)
    client = connect(server)
    for _ in range(5):
        client.rows([("r", {})])
    for measure in MEASURES:
        server.line(measure)
    line = server.line(".*InferenceTime.*")[0]
    for statistic in ("count", "mean", "p50", "p90", "p99", "max"):
        assert statistic in line


def test_metrics_of_the_last_interval_are_not_lost_at_the_end(servers, connect, onnx_models):
    server = servers.serve(onnx_models.echo(1), metrics={"sinks": ["stderr"], "interval_seconds": 3600})
    connect(server).rows([("r", {})])
    assert server.terminate() == 0
    for measure in MEASURES:
        assert measure in server.stderr


def test_log_format_json_makes_every_line_of_standard_error_an_object(servers, connect, onnx_models):
    workspace = servers.workspace()
    metrics = {"sinks": ["stderr"], "interval_seconds": 1}
    workspace.configure(onnx_models.lookup(), metrics=metrics, log={"uri": "logs"})
    server = servers.start(workspace, "--log-format", "json")
    client = connect(server)
    client.status(client.request([("r", {"x": ("float_value", 9.0)})]).SerializeToString())
    client.rows([("r", {})])
    server.line("InferenceTime")
    assert server.terminate() == 0
    lines = server.lines
    assert len(lines) > 1
    for line in lines:
        assert isinstance(json.loads(line), dict), line


def test_garbage_on_the_port_stops_nobody(servers, connect, onnx_models):
    server = servers.serve(onnx_models.echo(1))
    client = connect(server)
    for garbage in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(200),
        b"\x16\x03\x01",
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(garbage)
    assert client.rows([("r", {"x": ("float_value", 4.0)})]) == [[4]]
    assert connect(server).rows([("r", {"x": ("float_value", 5.0)})]) == [[5]]


def test_options_stand_over_the_environment_and_that_over_the_file(servers, onnx_models):
    workspace = servers.workspace()
    workspace.configure(
        onnx_models.echo(1), model_id="from the file", host="127.0.0.3", log={"uri": "file-logs"}
    )
    variables = {
        "HUSHAR_MODEL_ID": "from the environment",
        "HUSHAR_HOST": "127.0.0.2",
        "HUSHAR_LOG__URI": "env-logs",
    }
    server = servers.start(workspace, "--host", "127.0.0.1", "--set", "log.uri=set-logs", env=variables)
    assert server.address.startswith("127.0.0.1:")
    assert "from the environment" in server.stderr
    assert "set-logs" in server.stderr
    assert "from the file" not in server.stderr


def test_toml_and_uris_say_the_same_as_json_and_paths(servers, connect, onnx_models):
    workspace = servers.workspace()
    workspace.configure(onnx_models.echo(1))
    lines = [
        f'model_path = "file://{workspace.path("model.onnx")}"',
        'model_id = "m"',
        'vectorization_instruction_path = "../workspace/vectorization.json"',
        "[log]",
        'uri = "logs"',
        "rotate_bytes = 100_000",
    ]
    config = workspace.write("service.toml", "\n".join(lines).encode())
    server = servers.start(workspace, config=[config])
    assert connect(server).rows([("r", {"x": ("float_value", 4.0)})]) == [[4]]
