"""The log from its first record to its end marker: compressed, checked, delivered without a server."""

import gzip
import signal
import socket
import time

import pytest
import zstandard

READ = {
    ".pb.gz": gzip.decompress,
    ".pb.zst": zstandard.ZstdDecompressor().decompress,
}


def objects(logs, suffix):
    """Path → message of everything delivered."""
    paths = [path for path in logs.rglob(f"*{suffix}") if ".spool" not in path.parts]
    return {path: READ[suffix](path.read_bytes()) for path in paths}


@pytest.mark.parametrize(("compression", "suffix"), [("gzip", ".pb.gz"), ("zstd", ".pb.zst")])
def test_a_compressed_log_is_whole_and_a_missing_last_segment_is_noticed(
    compression, suffix, servers, connect, onnx_models, messages, serving
):
    log = {"uri": "logs", "rotate_bytes": 65536, "compression": compression, "compression_level": 3}
    server = servers.serve(onnx_models.echo(1), log=log)
    workspace, logs = server.workspace, server.workspace.path("logs")
    client = connect(server)
    for number in range(60):
        client.rows([("r", {"ballast": ("string_value", "x" * 5_000)})], f"q{number}")
    assert server.terminate() == 0, server.stderr
    found = {path: messages.Logs.FromString(data) for path, data in objects(logs, suffix).items()}
    assert not list(logs.rglob("*.pb"))
    assert sorted(b.request_id for each in found.values() for b in each.inferenceLogBatches) == sorted(
        f"q{number}" for number in range(60)
    )
    infos = sorted((i.segment, i.batches, i.total_batches) for f in found.values() for i in f.segment_info)
    assert [number for number, _, _ in infos] == list(range(1, len(infos) + 1))
    assert infos[-1][1:] == (0, 60)

    done = workspace.run("logs", "verify", "logs")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "complete: 60 batches"), done.stderr
    last = max(
        (path for path, each in found.items() if each.inferenceLogBatches),
        key=lambda path: found[path].segment_info[0].segment,
    )
    missing = len(found[last].inferenceLogBatches)
    last.unlink()
    done = workspace.run("logs", "verify", "logs")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"incomplete: {missing} of 60 batches missing"


def test_a_worker_is_known_in_the_store_after_seconds(servers, connect, onnx_models, messages, serving):
    server = servers.serve(onnx_models.echo(1), log={"uri": "logs", "rotate_seconds": 3600})
    connect(server).rows([("r", {})], "early")
    logs = server.workspace.path("logs")
    assert serving.eventually(lambda: serving.logged_ids(logs, messages), "a file") == ["early"]
    assert server.process.poll() is None


def test_what_a_second_signal_leaves_is_delivered_without_a_server(
    servers, connect, onnx_models, messages, serving
):
    workspace = servers.workspace()
    log = {"uri": "logs", "spool_dir": "spool", "acknowledge": "spooled", "drain_seconds": 600}
    workspace.configure(onnx_models.echo(1), log=log)
    logs = workspace.path("logs")
    logs.mkdir()
    # The sink is down: where the year's folder has to be, there is a file.
    years = [logs / f"year={time.gmtime().tm_year + more}" for more in (0, 1)]
    for year in years:
        year.touch()
    server = servers.start(workspace)
    client = connect(server)
    for number in range(20):
        client.rows([("r", {})], f"q{number}")
    held = workspace.run("logs", "deliver", "service.json")
    assert held.returncode == 2
    assert f"is in use by process {server.process.pid}" in held.stderr
    server.signal(signal.SIGTERM)
    serving.eventually(lambda: refuses(server.port), "the listener to close")
    server.signal(signal.SIGTERM)
    assert server.process.wait(10) == 1
    assert "Traceback" not in server.stderr

    quickly = ["--set", "log.retry_min_seconds=0.01", "--set", "log.retry_max_seconds=0.01"]
    failed = workspace.run("logs", "deliver", "service.json", *quickly)
    assert failed.returncode == 1
    assert "(20 records, " in failed.stdout.splitlines()[-1]
    for year in years:
        year.unlink()
    done = workspace.run("logs", "deliver", "service.json")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        f"nothing left in {workspace.path('spool')}",
    )
    assert sorted(serving.logged_ids(logs, messages)) == sorted(f"q{number}" for number in range(20))
    assert workspace.run("logs", "verify", "logs").stdout.splitlines()[-1] == "complete: 20 batches"


def refuses(port):
    """Whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
