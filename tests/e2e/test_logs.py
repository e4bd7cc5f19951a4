"""The inference log as its readers find it: plain protobuf, CONTRACT.md 4's file names, nothing lost."""

import datetime
import random
import re
import signal
import struct
import time
import uuid

import pytest

PATH = re.compile(
    r"year=(?P<year>\d{4})/month=(?P<month>\d\d)/day=(?P<day>\d\d)/hour=(?P<hour>\d\d)/mi=(?P<minute>\d\d)/"
    r"(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})_(?P<micros>\d{16})\.pb"
)


@pytest.fixture
def logs(servers):
    """The log directory of the test's server."""
    return servers.workspace().path("logs")


def batches_by_id(serving, logs, messages):
    """{request id: batch}, each logged exactly once."""
    found = [batch for file in serving.log_files(logs, messages) for batch in file.batches]
    by_id = {batch.request_id: batch for batch in found}
    assert len(found) == len(by_id)
    return by_id


@pytest.mark.parametrize("acknowledge", ["queued", "spooled"])
def test_the_log_holds_what_was_sent_and_what_was_answered(
    acknowledge, servers, connect, everything, onnx_models, oracle, messages, serving, randomness, logs
):
    model = onnx_models.echo(oracle.width(everything))
    log = {"uri": "logs", "acknowledge": acknowledge}
    server = servers.serve(model, everything, log=log, model_id="the model")
    client = connect(server)
    rows = randomness.Rows(random.Random(8), oracle)
    exchanged = {}
    before = time.time_ns() // 1000
    for number in range(60):
        sent = [(f"row {i}", rows.row(everything)) for i in range(number % 4)]
        request = client.request(sent, f"request {number}")
        exchanged[request.request_id] = (request, client.score(request))
    after = time.time_ns() // 1000
    assert server.terminate() == 0

    batches = batches_by_id(serving, logs, messages)
    assert batches.keys() == exchanged.keys()
    for request_id, (request, answer) in exchanged.items():
        batch = batches[request_id]
        assert batch.model_id == "the model"
        assert before <= batch.received_unix_micros <= after
        logged = batch.inference_log_rows
        assert [row.row_id for row in logged] == [row.row_id for row in request.inputs]
        for row, given, answered in zip(logged, request.inputs, answer.outputs, strict=True):
            made = messages.Row(row_id=row.row_id, features=row.features)
            assert made.SerializeToString(deterministic=True) == given.SerializeToString(deterministic=True)
            assert oracle.bits(row.scores) == oracle.bits(answered.scores)


def test_the_bytes_of_a_row_are_its_own_with_the_scores_and_without_a_field_three(
    servers, connect, onnx_models, messages, serving, logs, wire
):
    server = servers.serve(onnx_models.echo(1), log={"uri": "logs"})
    client = connect(server)
    value = wire.tag(2, wire.I32) + struct.pack("<f", 2.5) + wire.field(77, "in the value")
    odd = wire.field(1, "odd") + wire.field(2, value) + wire.tag(9, wire.VARINT) + b"\1"
    first = b"".join(
        [
            wire.field(3, struct.pack("<f", 666.0)),
            wire.field(2, wire.field(2, value) + wire.field(1, "x")),
            wire.tag(3, wire.I32) + struct.pack("<f", 667.0),
            wire.field(1, "r1"),
            wire.tag(50, wire.SGROUP) + wire.field(3, "in a group") + wire.tag(50, wire.EGROUP),
            wire.field(2, odd),
            wire.field(2, wire.field(2, value)),
            wire.tag(3, wire.VARINT) + b"\7",
        ]
    )
    second = wire.field(2, wire.field(1, "x") + wire.field(2, b"")) + wire.field(1, "r2")
    answer = client.answer(
        wire.field(2, first) + wire.field(1, "q") + wire.field(2, second) + wire.field(9, "no")
    )
    assert [list(row.scores) for row in answer.outputs] == [[2.5], [0]]
    assert server.terminate() == 0

    (file,) = serving.log_files(logs, messages)
    (batch,) = wire.contents(file.data, 1)
    assert wire.contents(batch, 1) == [b"q"]
    rows = wire.contents(batch, 3)
    assert [wire.without(row, 3) for row in rows] == [wire.without(first, 3), wire.without(second, 3)]
    threes = [[whole for number, _, _, whole in wire.fields(row) if number == 3] for row in rows]
    assert threes == [[wire.field(3, struct.pack("<f", 2.5))], [wire.field(3, bytes(4))]]
    assert "" in file.batches[0].inference_log_rows[0].features  # an entry without a key


def test_files_lie_under_their_minute_in_utc_and_say_which_segment_they_are(
    servers, connect, onnx_models, messages, serving, logs
):
    # A zone whose minutes, hours and days differ from UTC's.
    log = {"uri": "logs", "rotate_bytes": 65536, "workers": 2}
    server = servers.serve(onnx_models.echo(1), env={"TZ": "XXX-05:45"}, log=log)
    client = connect(server)
    before = time.time_ns() // 1000
    for number in range(40):
        client.rows([("r", {"ballast": ("string_value", "x" * 10_000)})], f"q{number}")
    assert server.terminate() == 0
    after = time.time_ns() // 1000

    files = serving.log_files(logs, messages)
    assert len(files) >= 5
    assert sum(len(file.batches) for file in files) == 40
    instances, uuids, workers = set(), set(), {}
    for file in files:
        match = PATH.fullmatch(file.path.relative_to(logs).as_posix())
        assert match, file.path
        assert uuid.UUID(match["uuid"]).version == 4
        opened = int(match["micros"])
        assert before - 60_000_000 < opened <= after
        moment = datetime.datetime.fromtimestamp(opened // 1_000_000, datetime.UTC)
        assert [match[part] for part in ("year", "month", "day", "hour", "minute")] == [
            moment.strftime(code) for code in ("%Y", "%m", "%d", "%H", "%M")
        ]
        (info,) = file.logs.segment_info
        assert info.batches == len(file.batches)
        instances.add(info.instance)
        uuids.add(match["uuid"])
        workers.setdefault(info.worker, []).append(info)
    assert len(uuids) == len(files)
    assert len(instances) == 1
    assert instances != {""}
    for infos in workers.values():
        infos.sort(key=lambda info: info.segment)
        assert [info.segment for info in infos] == list(range(1, len(infos) + 1))
        totals = [sum(info.batches for info in infos[: i + 1]) for i in range(len(infos))]
        assert [info.total_batches for info in infos] == totals


def test_every_record_names_the_version_of_model_and_vectorization(
    servers, connect, onnx_models, messages, serving
):
    def version(name, model, default):
        identity = {"type": "identity", "default_val": [default]}
        vectorization = {"feature_transformations": {"x": identity}, "feature_order": ["x"]}
        server = servers.serve(model, vectorization, name=name, log={"uri": "logs"})
        client = connect(server)
        for number in range(3):
            client.rows([("r", {})], f"q{number}")
        assert server.terminate() == 0
        batches = batches_by_id(serving, server.workspace.path("logs"), messages)
        (one,) = {batch.model_version for batch in batches.values()}
        return one

    base = version("base", onnx_models.echo(1), 0)
    assert base
    assert version("same", onnx_models.echo(1), 0) == base
    assert version("other default", onnx_models.echo(1), 1) != base
    assert version("other model", onnx_models.mlp(1, 1), 0) != base


def test_there_is_no_record_of_a_call_that_failed(servers, connect, onnx_models, messages, serving, logs):
    log = {"uri": "logs"}
    server = servers.serve(onnx_models.lookup(), log=log, batching={"max_call_rows": 2})
    client = connect(server)
    refused = [
        client.request([("r", {"x": ("string_value", "no number")})], "bad value"),
        client.request([("r", {"x": ("float_value", 9.0)})], "model failed"),
        client.request([("r", {})] * 3, "too many rows"),
    ]
    assert [client.status(request.SerializeToString())[0] for request in refused] == [
        "INVALID_ARGUMENT",
        "INTERNAL",
        "INVALID_ARGUMENT",
    ]
    assert client.status(b"\x0a\x03bad\x7c")[0] == "INTERNAL"
    assert client.rows([("r", {"x": ("float_value", 2.0)})], "good") == [[12]]
    assert client.rows([], "good and empty") == []
    assert server.terminate() == 0
    assert sorted(serving.logged_ids(logs, messages)) == ["good", "good and empty"]


FEATURES = {"x": ("float_value", 1.0), "ballast": ("string_value", "x" * 500)}


@pytest.mark.parametrize("settings", [{}, {"acknowledge": "spooled", "workers": 2, "rotate_bytes": 65536}])
def test_sigterm_under_load_loses_no_accepted_call_and_no_record(
    settings, servers, onnx_models, messages, serving, logs
):
    server = servers.serve(onnx_models.echo(1), log={"uri": "logs", **settings})
    load = serving.load(server.address, messages, FEATURES)
    serving.eventually(lambda: len(load.answered) > 500, "500 answers")
    status = server.terminate()
    load.finish()
    assert status == 0, server.stderr
    assert {code for _, code, _ in load.failed} == {"UNAVAILABLE"}, load.failed
    logged = serving.logged_ids(logs, messages)
    assert len(logged) == len(set(logged))
    # A record without an answer would be an accepted call that was lost.
    assert set(logged) == set(load.answered)
    left = [path for path in logs.joinpath(".spool").rglob("*.pb") if path.stat().st_size]
    assert left == []


def test_sigkill_under_load_loses_no_record_that_had_reached_the_spool(
    servers, onnx_models, messages, serving, logs
):
    log = {"uri": "logs", "acknowledge": "spooled", "rotate_bytes": 65536}
    workspace = servers.workspace()
    workspace.configure(onnx_models.echo(1), log=log)
    answered = []
    for life in range(2):
        server = servers.start(workspace)
        load = serving.load(server.address, messages, FEATURES, prefix=f"life {life}: ")
        serving.eventually(lambda load=load: len(load.answered) > 300, "300 answers")
        server.kill()
        load.finish()
        answered += load.answered
    last = servers.start(workspace)
    assert last.terminate() == 0, last.stderr
    logged = serving.logged_ids(logs, messages)
    assert set(answered) <= set(logged)
    assert len(logged) == len(set(logged))


def test_a_torn_tail_in_the_spool_is_cut_off_and_the_rest_delivered(
    servers, connect, onnx_models, messages, serving
):
    workspace = servers.workspace()
    log = {"uri": "logs", "acknowledge": "spooled", "spool_dir": "spool"}
    workspace.configure(onnx_models.echo(1), log=log)
    server = servers.start(workspace)
    client = connect(server)
    for number in range(10):
        client.rows([("r", {})], f"q{number}")
    server.kill()
    record = b"\x0a\x10\x0a\x01q"
    segments = [p for p in workspace.path("spool").rglob("*") if p.is_file() and b"q9" in p.read_bytes()]
    assert len(segments) == 1
    with segments[0].open("ab") as segment:
        segment.write(record)
    again = servers.start(workspace)
    assert again.terminate() == 0, again.stderr
    logged = serving.logged_ids(workspace.path("logs"), messages)
    assert sorted(logged) == [f"q{number}" for number in range(10)]


@pytest.mark.parametrize(("rate", "low", "high"), [(0, 0, 0), (0.5, 120, 280)])
def test_sample_rate_is_the_share_of_calls_that_are_logged(
    rate, low, high, servers, connect, onnx_models, messages, serving, logs
):
    server = servers.serve(onnx_models.echo(1), log={"uri": "logs", "sample_rate": rate})
    client = connect(server)
    for number in range(400):
        client.rows([("a", {}), ("b", {})], f"q{number}")
    assert server.terminate() == 0
    batches = batches_by_id(serving, logs, messages).values()
    assert low <= len(batches) <= high
    # It is a rate of calls: a call's rows are together.
    assert {len(batch.inference_log_rows) for batch in batches} <= {2}


def test_a_full_segment_is_delivered_while_the_server_runs(
    servers, connect, onnx_models, messages, serving, logs
):
    server = servers.serve(onnx_models.echo(1), log={"uri": "logs", "rotate_bytes": 65536})
    client = connect(server)
    for number in range(60):
        client.rows([("r", {"ballast": ("string_value", "x" * 5_000)})], f"q{number}")
    files = serving.eventually(
        lambda: serving.log_files(logs, messages)[2:] and serving.log_files(logs, messages), "3 files"
    )
    assert all(len(file.data) < 2 * 65536 for file in files)
    assert server.process.poll() is None


def test_an_old_segment_is_delivered_while_the_server_runs(
    servers, connect, onnx_models, messages, serving, logs
):
    server = servers.serve(onnx_models.echo(1), log={"uri": "logs", "rotate_seconds": 1})
    connect(server).rows([("r", {})], "q")
    assert serving.eventually(lambda: serving.logged_ids(logs, messages), "a file") == ["q"]
    assert server.process.poll() is None


def test_nothing_is_written_where_no_log_is_configured(servers, connect, onnx_models):
    server = servers.serve(onnx_models.echo(1))
    connect(server).rows([("r", {})], "q")
    assert server.terminate() == 0
    assert list(server.workspace.folder.rglob("*.pb")) == []


def test_the_option_log_uri_logs_to_a_folder_of_the_working_directory(
    servers, connect, onnx_models, messages, serving
):
    workspace = servers.workspace()
    workspace.configure(onnx_models.echo(1))
    server = servers.start(workspace, "--log-uri", "some/where", "--log-workers", "2", "--spool-dir", "spool")
    connect(server).rows([("r", {})], "q")
    assert server.terminate() == 0
    assert serving.logged_ids(workspace.path("some/where"), messages) == ["q"]


def test_a_second_server_on_the_same_spool_refuses_to_start(servers, onnx_models):
    server = servers.serve(onnx_models.echo(1), log={"uri": "logs", "spool_dir": "the-spool"})
    refused = server.workspace.run("serve", "service.json", "--port", "0")
    assert refused.returncode == 2
    assert "the-spool" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert server.process.poll() is None


def test_a_log_directory_that_is_gone_stops_no_call_and_its_records_are_delivered_later(
    servers, connect, onnx_models, messages, serving
):
    workspace = servers.workspace()
    retries = {"retry_min_seconds": 0.1, "retry_max_seconds": 0.2, "refused_retry_seconds": 0.2}
    log = {"uri": "logs", "spool_dir": "spool", "rotate_seconds": 1, **retries}
    workspace.configure(onnx_models.echo(1), log=log)
    server = servers.start(workspace)
    logs, away = workspace.path("logs"), workspace.path("away")
    logs.mkdir(exist_ok=True)
    logs.rename(away)
    logs.write_text("a file, where a folder was")
    client = connect(server)
    said_before = len(server.lines)
    for number in range(20):
        assert client.rows([("r", {})], f"q{number}") == [[0]]
    serving.eventually(lambda: "logs" in "".join(server.lines[said_before:]), "a line that names the folder")
    assert client.rows([("r", {})], "later") == [[0]]
    logs.unlink()
    logs.mkdir()
    serving.eventually(lambda: "later" in serving.logged_ids(logs, messages), "the delivery")
    expected = sorted(["later", *(f"q{number}" for number in range(20))])
    assert sorted(serving.logged_ids(logs, messages)) == expected
    assert server.terminate() == 0


def test_a_log_directory_that_is_gone_at_the_end_leaves_the_records_in_the_spool(
    servers, connect, onnx_models, messages, serving
):
    workspace = servers.workspace()
    log = {"uri": "logs", "spool_dir": "spool", "drain_seconds": 1}
    workspace.configure(onnx_models.echo(1), log=log)
    server = servers.start(workspace)
    logs = workspace.path("logs")
    logs.mkdir(exist_ok=True)
    logs.rename(workspace.path("away"))
    logs.write_text("a file, where a folder was")
    connect(server).rows([("r", {})], "kept")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0, server.stderr
    logs.unlink()
    again = servers.start(workspace)
    assert again.terminate() == 0
    assert serving.logged_ids(logs, messages) == ["kept"]
