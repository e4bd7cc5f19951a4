"""A server from the first signal's receiver to the last flush: in this process, on a port of its own."""

import errno
import io
import json
import os
import re
import signal
import socket
import threading
from contextlib import asynccontextmanager

import grpc
import purerpc
import pytest
import trio
import trio.testing
import trustme

from hushar.app import endpoint, running, signals
from hushar.app.preparing import prepare
from hushar.client import CallFailed, Client
from hushar.errors import ConfigurationError, InvalidRequest, Problem
from hushar.models.runtime import Runtime, TensorSpec
from hushar.proto import structs_pb2 as pb
from hushar.proto.service_grpc import HusharServicer
from hushar.rpc.channel import Channel
from hushar.services import native
from hushar.sidecars.spool import SpoolLock
from hushar.testing import MemoryLogSink, MemoryMetricSink

PATIENCE_SECONDS = 10
"""Bounds every wait; none is expected to take a hundredth of it."""

LOGGED = {"uri": "mem://log", "spool_dir": "spool"}


class Terminal(io.StringIO):
    """Standard error, as far as the server is concerned."""

    def __init__(self):
        super().__init__()
        self.listening = trio.Event()

    def write(self, text):
        written = super().write(text)
        if "listening on" in text:
            self.listening.set()
        return written

    @property
    def address(self):
        host, port = re.search(r"listening on (\S+):(\d+)", self.getvalue()).groups()
        return host, int(port)


class Running:
    """A server in a task of this process."""

    def __init__(self):
        self.terminal = Terminal()
        self.ended = trio.Event()
        self.result = None
        self.signals = 0

    async def run(self, prepared):
        self.result = await running.serve(prepared, stream=self.terminal)
        self.ended.set()

    def signal(self, number):
        """Safe only while the server receives it: without a receiver it would end the tests."""
        assert self.terminal.listening.is_set()
        assert not self.ended.is_set()
        self.signals += 1
        os.kill(os.getpid(), number)

    def hang_up(self):
        """As `signal`: without a receiver it would end the tests."""
        assert self.terminal.listening.is_set()
        assert not self.ended.is_set()
        os.kill(os.getpid(), signal.SIGHUP)

    async def terminate(self):
        """Let it end; a signal that it got before does, a second one would end the tests as well."""
        if not self.signals:
            self.signal(signal.SIGTERM)
        with trio.fail_after(PATIENCE_SECONDS):
            await self.ended.wait()
        return self.result


@pytest.fixture
def served():
    """`async with served(prepared) as server`: serves until the end of the block."""

    @asynccontextmanager
    async def serving(prepared):
        server = Running()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run, prepared)
            with trio.fail_after(PATIENCE_SECONDS):
                await server.terminal.listening.wait()
            yield server
            await server.terminate()

    return serving


class Held(Runtime):
    """Scores are the input; a run stands still until it is let go."""

    name, version, width, details = "held", "1", 1, {}
    inputs = outputs = (TensorSpec("x", "float32", (None, 1)),)
    output = outputs[0]

    def __init__(self):
        self.started = trio.Event()
        self.let_go = threading.Event()
        self._token = trio.lowlevel.current_trio_token()

    def to_tensor(self, matrix):
        return matrix

    def run(self, tensor):
        self._token.run_sync_soon(self.started.set)
        assert self.let_go.wait(PATIENCE_SECONDS)
        return tensor


@pytest.fixture
async def held(workspace, install_plugin):
    """The runtime `held` and the sinks `mem`, as a plugin."""
    runtime = Held()
    runtime.log, runtime.metrics = MemoryLogSink(), MemoryMetricSink()
    install_plugin(
        "held",
        runtimes={"held": lambda blob, settings: runtime},
        log_sinks={"mem": lambda uri, context: runtime.log},
        metric_sinks={"mem": lambda context: runtime.metrics},
    )
    workspace.vectorize(a={"type": "identity", "default_val": [0.5]})
    workspace.configure(
        model={"runtime": "held", "warmup": False},
        batching={"offload": "always"},
        log=LOGGED,
        metrics={"sinks": ["mem"]},
        server={"drain_seconds": PATIENCE_SECONDS},
    )
    yield runtime
    runtime.let_go.set()


class Outcome:
    """One call in a task of its own."""

    def __init__(self):
        self.scores = self.error = None

    async def call(self, server, rows, **ids):
        try:
            async with Client(*server.terminal.address) as client:
                self.scores = (await client.score(rows, **ids)).tolist()
        except CallFailed as error:
            self.error = error


class TestServing:
    async def test_what_is_announced_is_served(self, workspace, served):
        async with served(await workspace.prepare()) as server:
            assert server.terminal.getvalue().splitlines()[-1].startswith("listening on 127.0.0.1:")
            async with Client(*server.terminal.address) as client:
                assert (await client.score([{"a": 1.0, "b": 2.0}, {"a": 1.0}])).tolist() == [[-1.75], [-1.0]]

    async def test_in_json_every_line_is_an_object(self, workspace, served):
        async with served(await workspace.prepare(log_format="json")) as server:
            assert await server.terminate()
        entries = [json.loads(line) for line in server.terminal.getvalue().splitlines()]
        assert entries[0]["message"] == f"listening on {entries[0]['address']}"
        assert entries[-1]["message"] == "stopped"

    async def test_a_bad_row_is_the_clients_mistake(self, workspace, served):
        async with served(await workspace.prepare()) as server, Client(*server.terminal.address) as client:
            with pytest.raises(CallFailed, match="feature 'a' of row 'r' \\(0\\)") as caught:
                await client.score([{"a": "much"}], row_ids=["r"])
            assert caught.value.code == "INVALID_ARGUMENT"

    async def test_too_many_rows_are_refused_by_the_configured_limit(self, workspace, served):
        prepared = await workspace.prepare(batching={"max_call_rows": 1})
        async with served(prepared) as server, Client(*server.terminal.address) as client:
            with pytest.raises(CallFailed, match="2 rows, at most 1"):
                await client.score([{}, {}])

    async def test_what_is_more_than_may_wait_is_refused_and_counted(self, workspace, held, served):
        first, *others = [Outcome() for _ in range(3)]
        prepared = await prepare(workspace.source(overrides=["batching.max_queue_rows=1"]))
        async with served(prepared) as server, trio.open_nursery() as nursery:
            nursery.start_soon(first.call, server, [{"a": 1.0}])
            await held.started.wait()
            for outcome in others:
                nursery.start_soon(outcome.call, server, [{"a": 2.0}])
            with trio.fail_after(PATIENCE_SECONDS):
                while not any(outcome.error for outcome in others):  # noqa: ASYNC110 - either may be first
                    await trio.sleep(0.01)
            held.let_go.set()
        (refused,) = [outcome.error for outcome in others if outcome.error]
        assert refused.code == "RESOURCE_EXHAUSTED"
        assert sorted(outcome.scores for outcome in (first, *others) if outcome.scores) == [[[1.0]], [[2.0]]]
        counters = [each for emitted in held.metrics.batches for each in emitted.counters]
        assert sum(each.value for each in counters if each.name == "Shed") == 1
        statuses = [each.labels["status"] for each in counters if each.name == "Requests"]
        assert "RESOURCE_EXHAUSTED" in statuses
        gauges = {gauge.name for emitted in held.metrics.batches for gauge in emitted.gauges}
        assert {"InFlight", "QueuedCalls", "QueuedRows"} <= gauges

    @pytest.mark.parametrize("max_rows", [64, 4], ids=["whole", "in slices"])
    async def test_an_answer_above_the_configured_limit_fails_and_is_in_no_log(
        self, workspace, held, served, max_rows
    ):
        held.let_go.set()
        overrides = ["server.max_send_bytes=100", f"batching.max_rows={max_rows}"]
        prepared = await prepare(workspace.source(overrides=overrides))
        async with served(prepared) as server, Client(*server.terminal.address) as client:
            with pytest.raises(CallFailed, match="the answer is larger than 100 bytes") as caught:
                await client.score([{"a": 1.0}] * 50)
            assert caught.value.code == "RESOURCE_EXHAUSTED"
            assert (await client.score([{"a": 2.0}])).tolist() == [[2.0]]
            await server.terminate()
        assert [len(batch.inference_log_rows) for batch in held.log.batches] == [1]
        counters = [each for emitted in held.metrics.batches for each in emitted.counters]
        requests = {each.labels["status"]: each.value for each in counters if each.name == "Requests"}
        assert requests == {"OK": 1, "RESOURCE_EXHAUSTED": 1}

    async def test_warnings_are_said_before_the_banner(self, workspace, served):
        prepared = await prepare(workspace.source(environ={"HUSHAR_COLOUR": "red"}))
        async with served(prepared) as server:
            said = server.terminal.getvalue()
        assert said.index("warning hushar: environment: HUSHAR_COLOUR") < said.index("listening on")

    @pytest.mark.parametrize("acknowledge", ["queued", "spooled"])
    async def test_what_was_answered_is_logged_and_measured(self, workspace, held, served, acknowledge):
        held.let_go.set()
        prepared = await prepare(workspace.source(overrides=[f"log.acknowledge={acknowledge}"]))
        async with served(prepared) as server, Client(*server.terminal.address) as client:
            await client.score([{"a": 1.5}], request_id="q", row_ids=["r"])
        (batch,) = held.log.batches
        assert (batch.request_id, batch.model_id) == ("q", "tested")
        assert batch.inference_log_rows[0].scores == [1.5]
        names = {each.name for emitted in held.metrics.batches for each in emitted.distributions}
        assert {"VectorizationTime", "ToTensorTime", "InferenceTime"} <= names
        assert (held.log.closed, held.metrics.closed) == (1, 1)

    async def test_an_answer_that_is_acknowledged_when_spooled_has_its_record_in_a_file(
        self, workspace, held, served
    ):
        held.let_go.set()
        prepared = await prepare(workspace.source(overrides=["log.acknowledge=spooled"]))
        async with served(prepared) as server, Client(*server.terminal.address) as client:
            for number in range(10):
                await client.score([{"a": 1.5}], request_id=f"marked-{number}")
                (segment,) = (workspace.folder / "spool").glob("*.open")
                assert f"marked-{number}".encode() in segment.read_bytes()


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_the_first_drains_and_the_end_is_said(self, workspace, served, number):
        async with served(await workspace.prepare()) as server:
            server.signal(number)
        assert server.result is True
        last = server.terminal.getvalue().splitlines()[-2:]
        assert [line.split(" ", 1)[1] for line in last] == [
            f"info hushar: {signal.Signals(number).name}: draining",
            "info hushar: stopped",
        ]

    async def test_a_call_in_flight_is_answered_and_logged(self, workspace, held, served):
        outcome = Outcome()
        async with served(await prepare(workspace.source())) as server, trio.open_nursery() as nursery:
            nursery.start_soon(outcome.call, server, [{"a": 2.0}])
            await held.started.wait()
            server.signal(signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked()
            assert not server.ended.is_set()
            held.let_go.set()
        assert server.result is True
        assert outcome.scores == [[2.0]]
        assert len(held.log.batches) == 1

    @pytest.mark.slow
    async def test_a_call_that_outlasts_the_drain_is_given_up_and_the_end_knows_it(
        self, workspace, held, served
    ):
        outcome = Outcome()
        prepared = await prepare(workspace.source(overrides=["server.drain_seconds=0"]))
        async with served(prepared) as server, trio.open_nursery() as nursery:
            nursery.start_soon(outcome.call, server, [{"a": 2.0}])
            await held.started.wait()
            assert await server.terminate() is False
        assert outcome.scores is None
        assert outcome.error is not None
        assert held.log.batches == []
        assert held.log.closed == 1

    async def test_the_second_ends_the_process_at_once(self, workspace, held, served, monkeypatch):
        left = []

        def leave(status):
            left.append(status)
            held.let_go.set()

        monkeypatch.setattr(signals.os, "_exit", leave)
        async with served(await prepare(workspace.source())) as server, trio.open_nursery() as nursery:
            nursery.start_soon(Outcome().call, server, [{"a": 2.0}])
            await held.started.wait()
            server.signal(signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked()
            assert left == []
            server.signal(signal.SIGINT)
        assert left == [1]
        assert "warning hushar: SIGINT again: leaving at once" in server.terminal.getvalue()


class FakeServer:
    """A transport that binds nothing."""

    fails: Exception | None = None

    in_flight = 0

    def __init__(self, port, ssl_context, **settings):
        self.drain = trio.Event().set

    def add_raw_unary(self, path, receive):
        pass

    def add_service(self, service):
        pass

    def rest(self, seconds):
        pass

    def flush(self):
        pass

    async def serve_async(self, *, task_status):
        if self.fails is not None:
            raise self.fails
        over = trio.Event()
        self.drain = over.set
        task_status.started(5)
        await over.wait()


async def problems_of(prepared):
    with pytest.raises(ConfigurationError) as caught, trio.fail_after(PATIENCE_SECONDS):
        await running.serve(prepared, stream=io.StringIO())
    return caught.value.problems


class TestWhatOnlyStartingFindsOut:
    """It comes out of the nurseries as one flat ConfigurationError that names file and key."""

    async def test_a_port_in_use(self, workspace):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            prepared = await workspace.prepare(port_number=port)
            (problem,) = await problems_of(prepared)
        assert problem.file == workspace.path("service.json")
        assert problem.key == "port_number"
        assert problem.message == f"127.0.0.1:{port} is already in use"

    async def test_the_port_is_named_after_where_it_was_written(self, workspace):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            prepared = await prepare(workspace.source(options={"port_number": str(port)}))
            (problem,) = await problems_of(prepared)
        assert (problem.file, problem.key) == ("command line", "--port")

    @pytest.mark.parametrize(
        ("number", "key", "words"),
        [
            (errno.EACCES, "port_number", "not allowed to bind 127.0.0.1:0"),
            (errno.EPERM, "port_number", "not allowed to bind 127.0.0.1:0"),
            (errno.EADDRNOTAVAIL, "host", "cannot bind 127.0.0.1:0: Cannot assign"),
        ],
    )
    async def test_an_address_that_cannot_be_bound(self, workspace, monkeypatch, number, key, words):
        monkeypatch.setattr(FakeServer, "fails", OSError(number, os.strerror(number)))
        monkeypatch.setattr(endpoint, "Server", FakeServer)
        (problem,) = await problems_of(await workspace.prepare())
        assert (problem.file, problem.key) == (workspace.path("service.json"), key)
        assert problem.message.startswith(words)

    async def test_a_unix_socket_in_use(self, workspace):
        path = workspace.path("h.sock")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            other.listen()
            (problem,) = await problems_of(await workspace.prepare(server={"unix_socket": "h.sock"}))
        assert (problem.key, problem.message) == ("server.unix_socket", f"{path} is already in use")

    async def test_a_unix_socket_in_a_folder_that_is_not_there(self, workspace):
        (problem,) = await problems_of(await workspace.prepare(server={"unix_socket": "gone/h.sock"}))
        assert problem.key == "server.unix_socket"
        assert problem.message == f"cannot bind {workspace.path('gone/h.sock')}: No such file or directory"

    async def test_a_spool_that_another_server_holds(self, workspace):
        prepared = await workspace.prepare(log={"uri": "logs", "spool_dir": "spool"})
        lock = SpoolLock.acquire(workspace.folder / "spool")
        (problem,) = await problems_of(prepared)
        lock.release()
        assert (problem.file, problem.key) == (workspace.path("service.json"), "log.spool_dir")
        assert f"in use by process {os.getpid()}" in problem.message

    async def test_a_spool_that_has_no_place(self, workspace, held):
        prepared = await workspace.prepare(
            model={"runtime": "held", "warmup": False}, log={"uri": "mem://bucket"}
        )
        (problem,) = await problems_of(prepared)
        assert (problem.file, problem.key) == (workspace.path("service.json"), "log.spool_dir")
        assert "HOME" in problem.message

    async def test_a_sink_that_cannot_be_opened(self, workspace, held, monkeypatch):
        async def refuse():
            raise ConfigurationError(
                [Problem("", "log.uri", "no such bucket"), Problem("credentials", "key", "is empty")]
            )

        held.log.open = refuse
        prepared = await prepare(workspace.source(overrides=["log.uri=mem://bucket"]))
        assert await problems_of(prepared) == (
            Problem("command line", "--set log.uri", "no such bucket"),
            Problem("credentials", "key", "is empty"),
        )

    async def test_anything_else_is_no_mistake_of_the_user(self, workspace, monkeypatch):
        monkeypatch.setattr(FakeServer, "fails", ZeroDivisionError())
        monkeypatch.setattr(endpoint, "Server", FakeServer)
        prepared = await workspace.prepare()
        with pytest.raises(ExceptionGroup) as caught:
            await running.serve(prepared, stream=io.StringIO())
        assert caught.value.split(ZeroDivisionError)[1] is None


class TestFurtherServices:
    async def test_they_score_through_the_same_batches(self, workspace, install_plugin, served):
        seen = []

        def doubling(context):
            seen.append(context)

            async def double(message, request):
                answer = pb.InferenceResponse.FromString(await context.score(message.SerializeToString()))
                for row in answer.outputs:
                    row.scores[:] = [2 * score for score in row.scores]
                return answer

            service = purerpc.Service("test.Doubling")
            unary = purerpc.Cardinality.UNARY_UNARY
            signature = purerpc.RPCSignature(unary, pb.InferenceRequest, pb.InferenceResponse)
            service.add_method("Double", double, signature)
            return service

        install_plugin("doubling", services=[doubling])
        prepared = await workspace.prepare()
        async with served(prepared) as server:
            (context,) = seen
            request = pb.InferenceRequest(inputs=[pb.InputRow(row_id="r")])
            own = pb.InferenceResponse.FromString(await context.score(request.SerializeToString()))
            request.inputs[0].features["a"].string_value = "much"
            with pytest.raises(InvalidRequest):
                await context.score(request.SerializeToString())
            del request.inputs[0].features["a"]
            async with Channel(*server.terminal.address) as channel:
                stub = purerpc.Client("test.Doubling", channel).get_method_stub(
                    "Double",
                    purerpc.RPCSignature(
                        purerpc.Cardinality.UNARY_UNARY, pb.InferenceRequest, pb.InferenceResponse
                    ),
                )
                doubled = await stub(request)
        assert (context.settings, context.model_id) == (None, "tested")
        assert context.model_version == prepared.served.version
        assert list(own.outputs[0].scores) == [-0.625]
        assert list(doubled.outputs[0].scores) == [-1.25]

    async def test_the_own_services_name_is_taken(self, workspace, install_plugin):
        install_plugin("thief", services=[lambda context: HusharServicer()])
        (problem,) = await problems_of(await workspace.prepare())
        assert problem.message == "both 'hushar' and 'thief' bring the service 'hushar.Hushar'"

    async def test_two_plugins_cannot_bring_one_service(self, workspace, install_plugin):
        for name in ("one", "two"):
            install_plugin(name, services=[lambda context: purerpc.Service("test.Same")])
        (problem,) = await problems_of(await workspace.prepare())
        assert problem.message == "both 'one' and 'two' bring the service 'test.Same'"


async def test_an_ipv6_address_is_announced_in_brackets(workspace, served, monkeypatch):
    monkeypatch.setattr(endpoint, "Server", FakeServer)
    async with served(await workspace.prepare(host="::1")) as server:
        assert server.terminal.getvalue().splitlines()[-1] == "listening on [::1]:5"


class Caller:
    """grpcio, in threads: what it can do with a server that it reaches with these credentials."""

    def __init__(self, target, credentials=None):
        options = [("grpc.enable_retries", 0)]
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)

    async def call(self, *authorizations, path=native.PATH):
        """The name of the status."""
        metadata = [("authorization", value) for value in authorizations]

        def in_thread():
            try:
                self._channel.unary_unary(path)(b"", timeout=PATIENCE_SECONDS, metadata=metadata)
            except grpc.RpcError as error:
                return error.code().name
            return "OK"

        return await trio.to_thread.run_sync(in_thread)

    def close(self):
        self._channel.close()


@pytest.fixture
def caller():
    """caller(target, credentials): a Caller that is closed at the end."""
    made = []

    def make(*arguments):
        made.append(Caller(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


def target(server):
    return "{}:{}".format(*server.terminal.address)


class Authority:
    """An authority, the server's certificate by it, and clients that trust it."""

    def __init__(self, workspace):
        self._authority = trustme.CA()
        certificate = self._authority.issue_cert("127.0.0.1")
        workspace.write("crt", certificate.cert_chain_pems[0].bytes())
        workspace.write("key", certificate.private_key_pem.bytes())
        workspace.write("ca", self._authority.cert_pem.bytes())

    def credentials(self, *names):
        """Of a client, with a certificate if it has names."""
        root = self._authority.cert_pem.bytes()
        if not names:
            return grpc.ssl_channel_credentials(root)
        own = self._authority.issue_cert(*names)
        return grpc.ssl_channel_credentials(root, own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())


TLS = {"certificate": "crt", "key": "key"}


async def read_again(server, words):
    """Send SIGHUP, and wait until the log says so."""
    before = server.terminal.getvalue().count(words)
    server.hang_up()
    with trio.fail_after(PATIENCE_SECONDS):
        while server.terminal.getvalue().count(words) == before:
            await trio.lowlevel.checkpoint()


class TestAccess:
    async def test_with_tls_only_tls_is_served(self, workspace, served, caller):
        authority = Authority(workspace)
        async with served(await workspace.prepare(tls=TLS)) as server:
            assert await caller(target(server), authority.credentials()).call() == "OK"
            assert await caller(target(server)).call() == "UNAVAILABLE"

    async def test_only_clients_with_one_of_the_names_are_let_in(self, workspace, served, caller):
        authority = Authority(workspace)
        tls = TLS | {"client_ca": "ca", "client_names": ["good.example"]}
        async with served(await workspace.prepare(tls=tls)) as server:
            found = [
                await caller(target(server), authority.credentials(*names)).call()
                for names in (("good.example",), ("bad.example",), ())
            ]
        assert found == ["OK", "PERMISSION_DENIED", "UNAVAILABLE"]

    async def test_only_who_brings_a_token_is_let_in(self, workspace, served, caller):
        workspace.write("tokens", b"one # of the first team\ntwo\n")
        health = "/grpc.health.v1.Health/Check"
        async with served(await workspace.prepare(auth={"token_file": "tokens"})) as server:
            client = caller(target(server))
            assert await client.call("Bearer two") == "OK"
            assert await client.call() == "UNAUTHENTICATED"
            assert await client.call("Bearer three") == "UNAUTHENTICATED"
            assert await client.call("Bearer one", "Bearer one") == "UNAUTHENTICATED"
            assert await client.call(path=health) == "OK"

    async def test_hooks_of_plugins_see_every_call(self, workspace, served, caller, install_plugin):
        seen = []

        def before(request):
            seen.append(request.method_name)
            if "deny" in dict(request.custom_metadata).get("authorization", ""):
                status = purerpc.Status(purerpc.StatusCode.PERMISSION_DENIED, "no")
                raise purerpc.RpcFailedError(status)

        def after(request, code, seconds):
            seen.append(code.name)

        install_plugin("audit", interceptors=[lambda context: (before, after)])
        async with served(await workspace.prepare()) as server:
            client = caller(target(server))
            assert [await client.call(), await client.call("deny")] == ["OK", "PERMISSION_DENIED"]
        assert seen == ["InferenceService", "OK", "InferenceService", "PERMISSION_DENIED"]

    async def test_a_unix_socket_is_served_too_and_gone_at_the_end(self, workspace, served, caller):
        path = workspace.folder / "h.sock"
        async with served(await workspace.prepare(server={"unix_socket": "h.sock"})) as server:
            assert await caller(f"unix:{path}").call() == "OK"
            assert await caller(target(server)).call() == "OK"
        assert not path.exists()


class TestReadingAgain:
    async def test_new_certificates_are_shown_and_open_connections_go_on(self, workspace, served, caller):
        old = Authority(workspace)
        async with served(await workspace.prepare(tls=TLS)) as server:
            open_before = caller(target(server), old.credentials())
            assert await open_before.call() == "OK"
            new = Authority(workspace)
            await read_again(server, "the certificates were read again")
            assert await open_before.call() == "OK"
            assert await caller(target(server), new.credentials()).call() == "OK"
            assert await caller(target(server), old.credentials()).call() == "UNAVAILABLE"

    async def test_unusable_certificates_leave_the_old_in_force(self, workspace, served, caller):
        authority = Authority(workspace)
        async with served(await workspace.prepare(tls=TLS)) as server:
            workspace.write("crt", b"no PEM")
            await read_again(server, "the certificates stay as they are: tls.certificate:")
            assert await caller(target(server), authority.credentials()).call() == "OK"

    async def test_new_tokens_hold_on_open_connections_too(self, workspace, served, caller):
        workspace.write("tokens", b"one\n")
        async with served(await workspace.prepare(auth={"token_file": "tokens"})) as server:
            client = caller(target(server))
            assert await client.call("Bearer one") == "OK"
            workspace.write("tokens", b"two\n")
            await read_again(server, "the tokens were read again")
            assert await client.call("Bearer one") == "UNAUTHENTICATED"
            assert await client.call("Bearer two") == "OK"
            workspace.write("tokens", b"")
            await read_again(server, "the tokens stay as they are: auth.token_file:")
            assert await client.call("Bearer two") == "OK"

    async def test_a_hangup_ends_nothing_where_there_is_nothing_to_read(self, workspace, served, caller):
        async with served(await workspace.prepare()) as server:
            await read_again(server, "SIGHUP")
            assert await caller(target(server)).call() == "OK"
            assert await server.terminate()


class TestHealth:
    async def test_at_the_end_a_watch_is_told_and_ends_and_holds_nothing_up(self, workspace, served):
        told, ended = [], trio.Event()
        token = trio.lowlevel.current_trio_token()

        def watch(address):
            with grpc.insecure_channel(address) as channel:
                stream = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
                try:
                    for answer in stream:
                        told.append(answer)
                        token.run_sync_soon(first.set)
                except grpc.RpcError as error:
                    told.append(error.code().name)
            token.run_sync_soon(ended.set)

        first = trio.Event()
        # Longer than anything waits here.
        prepared = await workspace.prepare(server={"drain_seconds": 3600})
        async with served(prepared) as server, trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, watch, target(server))
            await first.wait()
            server.signal(signal.SIGTERM)
            with trio.fail_after(PATIENCE_SECONDS):
                await server.ended.wait()
                await ended.wait()
        # Field 1: SERVING is 1, NOT_SERVING is 2.
        assert told == [b"\x08\x01", b"\x08\x02", "UNAVAILABLE"]
