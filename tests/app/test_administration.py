"""The admin port of a whole server: open before the model is read, closed after the last record has left."""

import io
import os
import re
import signal
import socket
import threading
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

from hushar.app import running
from hushar.app.administration import Parts, flat_errors
from hushar.bench.stages import read_totals
from hushar.client import CallFailed, Client
from hushar.client.address import Address
from hushar.errors import ConfigurationError, Problem
from hushar.models.runtime import Runtime, TensorSpec
from hushar.rpc.channel import Channel
from hushar.testing import MemoryLogSink, MemoryMetricSink

PATIENCE_SECONDS = 20
ADMIN = {"port": 0}


class Terminal(io.StringIO):
    """Standard error of the server; what is waited for in it."""

    async def says(self, pattern):
        with trio.fail_after(PATIENCE_SECONDS):
            while (found := re.search(pattern, self.getvalue())) is None:  # noqa: ASYNC110 - a text, no event
                await trio.sleep(0.005)
        return found


class Served:
    """A server in this process, from its source."""

    def __init__(self):
        self.terminal = Terminal()
        self.ended = trio.Event()

    async def run(self, source):
        await running.run(source, stream=self.terminal)
        self.ended.set()

    async def address(self):
        found = await self.terminal.says(r"listening on (\S+):(\d+)")
        return found[1], int(found[2])

    async def admin(self):
        return (await self.terminal.says(r"admin port: (http://\S+)"))[1]

    async def get(self, path, **headers):
        async with httpx.AsyncClient(base_url=await self.admin()) as client:
            return await client.get(path, headers=headers)

    async def status(self, path):
        return (await self.get(path)).status_code

    async def samples(self):
        """`name{label=value,…}` without `le` → value, of one scrape; buckets are left out."""
        text = (await self.get("/metrics", accept="application/openmetrics-text")).text
        found = {}
        for family in parse(text):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                if "le" not in sample.labels:
                    found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    def terminate(self):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def served():
    @asynccontextmanager
    async def serving(source):
        server = Served()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run, source)
            yield server
            if not server.ended.is_set():
                await server.address()
                server.terminate()
            with trio.fail_after(PATIENCE_SECONDS):
                await server.ended.wait()

    return serving


class Held(Runtime):
    """Making it, and running it, stand still until they are let go."""

    name, version, width, details = "held", "1", 1, {}
    inputs = outputs = (TensorSpec("x", "float32", (None, 1)),)
    output = outputs[0]

    def __init__(self):
        self.made = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()

    def to_tensor(self, matrix):
        return matrix

    def run(self, tensor):
        assert self.let_go.wait(PATIENCE_SECONDS)
        return tensor


@pytest.fixture
def held(workspace, install_plugin):
    runtime = Held()
    runtime.made.set()
    runtime.log, runtime.metrics = MemoryLogSink(), MemoryMetricSink()

    def make(blob, settings):
        assert runtime.made.wait(PATIENCE_SECONDS)
        return runtime

    install_plugin(
        "held",
        runtimes={"held": make},
        log_sinks={"mem": lambda uri, context: runtime.log},
        metric_sinks={"mem": lambda context: runtime.metrics},
    )
    workspace.vectorize(a={"type": "identity", "default_val": [0.5]})
    yield runtime
    runtime.made.set()
    runtime.let_go.set()


def configure(workspace, **keys):
    workspace.configure(
        **{
            "model": {"runtime": "held", "warmup": False},
            "batching": {"offload": "always"},
            "log": {"uri": "mem://log", "spool_dir": "spool"},
            "metrics": {"sinks": ["mem"]},
            "admin": ADMIN,
        }
        | keys
    )
    return workspace.source()


SERVICE = "grpc_method=InferenceService,grpc_service=hushar.Hushar"


class TestLife:
    async def test_alive_while_the_model_is_read_ready_when_it_is_warm(self, workspace, held, served):
        held.made.clear()
        held.let_go.clear()
        source = configure(workspace, model={"runtime": "held", "warmup": True})
        async with served(source) as server:
            for _ in range(2):
                assert await server.status("/healthz") == 200
                assert await server.status("/readyz") == 503
                assert (await server.get("/status.json")).json()["state"] == "starting"
                assert await server.samples() == {}
                # First the model itself, then its warm-up.
                held.made.set()
            assert "listening" not in server.terminal.getvalue()
            held.let_go.set()
            await server.address()
            assert await server.status("/readyz") == 200
            assert (await server.samples())["hushar_rows_total"] == 0

    async def test_from_the_signal_on_it_is_not_ready_and_answers_until_the_log_is_out(
        self, workspace, held, served
    ):
        delivering, deliver = trio.Event(), trio.Event()
        to_memory = held.log.deliver

        async def slowly(segment):
            delivering.set()
            await deliver.wait()
            await to_memory(segment)

        held.log.deliver = slowly
        async with served(configure(workspace)) as server, Client(*await server.address()) as client:
            await client.score([{"a": 1.0}])
            server.terminate()
            with trio.fail_after(PATIENCE_SECONDS):
                await delivering.wait()
            # The port is closed, everything is answered; one record has still to leave.
            with pytest.raises(OSError, match=r"refused|connect"):
                await trio.open_tcp_stream(*await server.address())
            assert await server.status("/healthz") == 200
            assert await server.status("/readyz") == 503
            found = await server.samples()
            assert (
                found["hushar_log_spooled_records"],
                found[f"grpc_server_handled_total{{grpc_code=OK,{SERVICE}}}"],
            ) == (1, 1)
            deliver.set()
            with trio.fail_after(PATIENCE_SECONDS):
                await server.ended.wait()
            with pytest.raises(httpx.ConnectError):
                await server.status("/healthz")
        assert len(held.log.batches) == 1

    async def test_without_a_port_there_is_none(self, workspace, held, served):
        async with served(configure(workspace, admin=None)) as server:
            await server.address()
            assert "admin" not in server.terminal.getvalue()

    async def test_the_banner_says_where_it_is(self, workspace, held, served):
        async with served(configure(workspace)) as server:
            await server.address()
            assert f"  admin: {await server.admin()}\n" in server.terminal.getvalue()
            assert not (await server.admin()).endswith(":0")

    @pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 421), ("0.0.0.0", 200)])
    async def test_on_loopback_nobody_calls_it_by_a_name_of_their_own(
        self, workspace, held, served, host, status
    ):
        async with served(configure(workspace, admin={"port": 0, "host": host})) as server:
            assert (await server.get("/status.json", host="evil.example")).status_code == status
            assert (await server.get("/status.json")).status_code == 200

    async def test_on_ipv6(self, workspace, held, served):
        async with served(configure(workspace, admin={"port": 0, "host": "::1"})) as server:
            assert (await server.admin()).startswith("http://[::1]:")
            assert await server.status("/healthz") == 200
            assert "warning" not in server.terminal.getvalue()

    async def test_who_opens_it_to_others_is_told(self, workspace, held, served):
        async with served(configure(workspace, admin={"port": 0, "host": "0.0.0.0"})) as server:
            await server.terminal.says(
                r"warning hushar: admin\.host is 0\.0\.0\.0: the admin port asks nobody"
            )


class TestMistakes:
    async def test_a_port_in_use(self, workspace, held):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            source = configure(workspace, admin={"port": port})
            with pytest.raises(ConfigurationError) as caught, trio.fail_after(PATIENCE_SECONDS):
                await running.run(source, stream=io.StringIO())
        (problem,) = caught.value.problems
        assert (problem.file, problem.key) == (workspace.path("service.json"), "admin.port")
        assert problem.message == f"127.0.0.1:{port} is already in use"

    async def test_a_host_that_this_machine_is_not(self, workspace, held):
        source = configure(workspace, admin={"port": 0, "host": "192.0.2.1"})
        with pytest.raises(ConfigurationError) as caught:
            await running.run(source, stream=io.StringIO())
        assert [problem.key for problem in caught.value.problems] == ["admin.host"]

    async def test_mistakes_elsewhere_are_found_as_without_it_and_it_is_closed(self, workspace, held):
        terminal = Terminal()
        source = configure(workspace, model={"runtime": "hold"}, log={"uri": "mom://x"})
        with pytest.raises(ConfigurationError) as caught:
            await running.run(source, stream=terminal)
        assert {problem.key for problem in caught.value.problems} == {"model.runtime", "log.uri"}
        address = await terminal.says(r"admin port: http://(\S+):(\d+)")
        with pytest.raises(OSError, match=r"refused|connect"):
            await trio.open_tcp_stream(address[1], int(address[2]))

    async def test_a_mistake_in_the_configuration_opens_no_port(self, workspace, held):
        terminal = Terminal()
        with pytest.raises(ConfigurationError):
            await running.run(configure(workspace, prot=1), stream=terminal)
        assert terminal.getvalue() == ""


def grouped(*errors):
    return BaseExceptionGroup("", [BaseExceptionGroup("", list(errors))])


class TestErrors:
    """What nurseries wrap leaves as it would without them."""

    def test_problems_of_all_are_one_error_and_located(self):
        first, second = (ConfigurationError([Problem("", key, "wrong")]) for key in ("a", "b"))
        with (
            pytest.raises(ConfigurationError) as caught,
            flat_errors(lambda each: Problem("f", each.key, "x")),
        ):
            raise grouped(first, second)
        assert caught.value.problems == (Problem("f", "a", "x"), Problem("f", "b", "x"))

    @pytest.mark.parametrize("others", [(), (ConfigurationError([Problem("", "a", "wrong")]),)])
    def test_an_interrupt_while_the_model_is_read_is_one(self, others):
        with pytest.raises(KeyboardInterrupt), flat_errors(lambda each: each):
            raise grouped(KeyboardInterrupt(), *others)

    def test_anything_else_stays_a_group(self):
        with pytest.raises(BaseExceptionGroup), flat_errors(lambda each: each):
            raise grouped(ZeroDivisionError())


class TestFigures:
    async def test_they_are_those_of_the_calls(self, workspace, held, served):
        async with served(configure(workspace)) as server, Client(*await server.address()) as client:
            await client.score([{"a": 1.0}, {"a": 2.0}, {}])
            for _ in range(2):
                with pytest.raises(CallFailed):
                    await client.score([{"a": "much"}])
            found = await server.samples()
            assert found[f"grpc_server_started_total{{{SERVICE}}}"] == 3
            assert found[f"grpc_server_handled_total{{grpc_code=OK,{SERVICE}}}"] == 1
            assert found[f"grpc_server_handled_total{{grpc_code=INVALID_ARGUMENT,{SERVICE}}}"] == 2
            version = next(name for name in found if name.startswith("hushar_info{")).split("version=")[1][
                :-1
            ]
            labels = f"model=tested,version={version}"
            assert found[f"hushar_request_duration_seconds_count{{code=OK,{labels}}}"] == 1
            assert found[f"hushar_request_duration_seconds_count{{code=INVALID_ARGUMENT,{labels}}}"] == 2
            assert found[f"hushar_request_duration_seconds_sum{{code=OK,{labels}}}"] > 0
            assert (found["hushar_rows_total"], found["hushar_batches_total"]) == (3, 1)
            for stage in ("decode", "queue", "vectorize", "run", "encode"):
                assert found[f"hushar_stage_duration_seconds_count{{stage={stage}}}"] == 1
            assert found["hushar_feature_values_total{feature=a,outcome=missing}"] == 1
            assert found["hushar_feature_values_total{feature=a,outcome=defaulted}"] == 1
            assert found["hushar_feature_values_total{feature=a,outcome=unparsable}"] == 2
            assert found["hushar_log_records_total{outcome=accepted}"] == 1
            assert found["hushar_sink_up{sink=mem}"] == 1
            assert (found["hushar_in_flight"], found["hushar_queue_rows"]) == (0, 0)
            totals = await read_totals(Address(*(await server.admin()).removeprefix("http://").split(":")))
            assert totals.counts["run"] == 1

    async def test_the_warm_up_is_in_no_figure(self, workspace, held, served):
        async with served(configure(workspace, model={"runtime": "held", "warmup": True})) as server:
            await server.address()
            found = await server.samples()
            assert {name: value for name, value in found.items() if value and "info" not in name} == {
                "hushar_sink_up{sink=mem}": 1,
                f"hushar_sink_up{{sink={held.log.description}}}": 1,
            }

    async def test_a_call_under_way_has_started_and_is_not_handled(self, workspace, held, served):
        held.let_go.clear()
        async with (
            served(configure(workspace)) as server,
            Client(*await server.address()) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(client.score, [{"a": 1.0}])
            with trio.fail_after(PATIENCE_SECONDS):
                while not (found := await server.samples())["hushar_in_flight"]:
                    pass
            assert found[f"grpc_server_started_total{{{SERVICE}}}"] == 1
            assert found[f"grpc_server_handled_total{{grpc_code=OK,{SERVICE}}}"] == 0
            held.let_go.set()

    async def test_calls_to_methods_that_there_are_not_make_up_no_labels(self, workspace, held, served):
        async with served(configure(workspace)) as server, Channel(*await server.address()) as channel:
            for path in ("/made.Up/Method", "/made.Up/Other"):
                with pytest.raises(Exception, match="not implemented"):
                    await channel.unary(path, b"")
            found = await server.samples()
            unknown = "grpc_method=unknown,grpc_service=unknown"
            assert found[f"grpc_server_handled_total{{grpc_code=UNIMPLEMENTED,{unknown}}}"] == 2
            assert not any("made" in name for name in found)

    @pytest.mark.parametrize(
        ("server_limits", "batching", "reason"),
        [
            ({"max_in_flight": 1}, {}, "in_flight"),
            ({"max_in_flight_bytes": 40}, {}, "in_flight_bytes"),
            ({}, {"max_queue_rows": 1}, "queue_rows"),
            ({}, {"max_queue_bytes": 40}, "queue_bytes"),
        ],
    )
    async def test_each_refused_call_once(self, workspace, held, served, server_limits, batching, reason):
        held.let_go.clear()
        source = configure(workspace, server=server_limits, batching={"offload": "always", **batching})
        refused = []

        async def call(client):
            try:
                await client.score([{"a": 1.0}])
            except CallFailed as error:
                refused.append(error.code)

        async with (
            served(source) as server,
            Client(*await server.address(), retries=0) as client,
            trio.open_nursery() as nursery,
        ):
            for _ in range(6):
                nursery.start_soon(call, client)
            with trio.fail_after(PATIENCE_SECONDS):
                while not refused:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            held.let_go.set()
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE_SECONDS
            with trio.fail_after(PATIENCE_SECONDS):
                while (await server.samples())["hushar_in_flight"]:
                    pass
            found = await server.samples()
        assert set(refused) == {"RESOURCE_EXHAUSTED"}
        shed = {name: count for name, count in found.items() if "shed" in name and count}
        assert shed == {f"hushar_shed_total{{reason={reason}}}": len(refused)}
        assert found[f"grpc_server_handled_total{{grpc_code=RESOURCE_EXHAUSTED,{SERVICE}}}"] == len(refused)

    async def test_at_every_scrape_the_books_balance_and_no_counter_goes_back(self, workspace, held, served):
        configured = configure(workspace, log={"uri": "mem://log", "spool_dir": "spool", "queue_bytes": 200})
        async with (
            served(configured) as server,
            Client(*await server.address()) as client,
            trio.open_nursery() as nursery,
        ):

            async def load():
                while True:
                    await client.score([{"a": 1.0}])

            for _ in range(4):
                nursery.start_soon(load)
            before = {}
            for _ in range(30):
                found = await server.samples()
                gone = sum(
                    count
                    for name, count in found.items()
                    if name.startswith("hushar_log_records_total{") and "accepted" not in name
                )
                accepted = found["hushar_log_records_total{outcome=accepted}"]
                assert accepted == gone + found["hushar_log_spooled_records"]
                counters = {
                    name: count for name, count in found.items() if re.search(r"_(total|count|sum)\b", name)
                }
                for name, count in before.items():
                    assert counters[name] >= count, name
                before = counters
            assert accepted > 0
            nursery.cancel_scope.cancel()


async def test_a_sink_whose_name_is_no_text(workspace, held, served, monkeypatch):
    """That of a file is bytes to the system."""
    monkeypatch.setattr(type(held.log), "description", "/var/lo\udcffgs")
    async with served(configure(workspace)) as server:
        await server.address()
        assert (await server.samples())[r"hushar_sink_up{sink=/var/lo\udcffgs}"] == 1
        found = (await server.get("/status.json")).json()
        assert (found["served"]["log"], found["sinks"][0]["name"]) == ("/var/lo\udcffgs", r"/var/lo\udcffgs")


async def test_a_log_and_a_metric_sink_of_one_name(workspace, held, served, monkeypatch):
    monkeypatch.setattr(type(held.log), "description", "mem")
    async with served(configure(workspace)) as server:
        await server.address()
        up = {name for name in await server.samples() if name.startswith("hushar_sink_up")}
        assert up == {"hushar_sink_up{sink=mem}", "hushar_sink_up{sink=mem (metrics)}"}


async def test_nothing_of_a_call_and_no_secret_is_told(workspace, held, served):
    workspace.write("tokens", b"the-secret-token\n")
    source = configure(workspace, auth={"token_file": "tokens"})
    async with served(source) as server:
        address = await server.address()
        async with Client(*address, token="the-secret-token") as client:
            with pytest.raises(CallFailed):
                await client.score([{"a": "the-secret-value"}], request_id="the-secret-id")
            await client.score([{"a": 7062.5}], request_id="the-secret-id", row_ids=["the-secret-row"])
        for path in ("/", "/metrics", "/status.json", "/healthz", "/readyz"):
            answer = await server.get(path)
            assert "secret" not in answer.text
            assert "7062.5" not in answer.text


async def test_what_fails_in_the_admin_port_does_not_end_the_server(workspace, held, served, monkeypatch):
    def fail(self):
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(Parts, "read", fail)
    monkeypatch.setattr(Parts, "glance", fail)
    async with served(configure(workspace)) as server, Client(*await server.address()) as client:
        assert await server.status("/metrics") == 500
        assert await server.status("/status.json") == 500
        await server.terminal.says("the admin port has failed")
        assert await server.status("/healthz") == 200
        assert (await client.score([{"a": 1.0}])).tolist() == [[1.0]]


async def test_the_page_is_told_of_what_went_wrong(workspace, held, served):
    held.metrics.fail_next(1, RuntimeError("no such namespace"))
    source = configure(workspace, metrics={"sinks": ["mem"], "interval_seconds": 1})
    async with served(source) as server, Client(*await server.address()) as client:
        await client.score([{"a": 1.0}])
        await server.terminal.says("no such namespace")
        (message, *_) = (await server.get("/status.json")).json()["messages"]
        assert message["level"] == "warning"
        assert "no such namespace" in message["message"]
        assert (await server.samples())["hushar_sink_up{sink=mem}"] == 0
