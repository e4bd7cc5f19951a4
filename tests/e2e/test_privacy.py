"""A planted secret is nowhere but in the answer's model: not in the log, not in the spool, not on stderr."""

import hashlib
import hmac

import pytest

SECRET = "no. 4917484589897107"
NUMBER = 123456789


@pytest.mark.parametrize("kernel", ["auto", "reference"])
@pytest.mark.parametrize("rows", [1, 300], ids=["one row", "in slices"])
def test_a_secret_is_nowhere_in_what_is_kept(kernel, rows, servers, connect, onnx_models, messages, serving):
    workspace = servers.workspace()
    workspace.write("key", b"the key\n")
    log = {
        "uri": "logs",
        "spool_dir": "spool",
        "exclude": ["card", "*_number"],
        "hash": ["town", "x"],
        "hash_key_file": "key",
    }
    features = {
        "card": ("string_value", SECRET),
        "phone_number": ("long_value", NUMBER),
        "town": ("string_value", SECRET + "Delft"),
        "colour": ("string_value", "red"),
        "x": ("float_value", 2.5),
    }
    server = servers.serve(onnx_models.echo(1), kernel=kernel, log=log, batching={"max_rows": 64})
    client = connect(server)
    answer = client.rows([(f"r{index}", features) for index in range(rows)], "q")
    assert [list(scores) for scores in answer] == [[2.5]] * rows
    bad = client.request([("r", {**features, "x": ("string_value", SECRET)})], "bad")
    assert SECRET in client.status(bad.SerializeToString())[1]
    assert server.terminate() == 0

    (batch,) = (each for file in serving.log_files(workspace.path("logs"), messages) for each in file.batches)
    assert len(batch.inference_log_rows) == rows
    for row in batch.inference_log_rows:
        assert set(row.features) == {"town", "colour", "x"}
        assert row.features["colour"].string_value == "red"
        town = type(row.features["town"])(string_value=SECRET + "Delft").SerializeToString()
        digest = hmac.new(b"the key", town, hashlib.sha256).hexdigest()
        assert row.features["town"].string_value == digest
        assert len(row.features["x"].string_value) == 64
    planted = [SECRET.encode(), b"the key", (NUMBER).to_bytes(4, "little"), b"\x95\x9a\xef\x3a"]
    kept = [path for path in workspace.folder.rglob("*") if path.is_file()]
    for path in kept:
        if path.name != "key":
            assert not [each for each in planted if each in path.read_bytes()], path
    assert SECRET not in server.stderr
    assert "the key" not in server.stderr


@pytest.mark.parametrize("content", [None, b"", b"\n"])
def test_check_finds_a_key_that_is_none(content, servers, onnx_models):
    workspace = servers.workspace()
    workspace.configure(onnx_models.echo(1), log={"uri": "logs", "hash": ["x"], "hash_key_file": "key"})
    if content is not None:
        workspace.write("key", content)
    for command in (["check", "service.json"], ["serve", "service.json", "--port", "0"]):
        refused = workspace.run(*command)
        assert refused.returncode == 2
        assert "service.json: log.hash_key_file: " in refused.stderr
        assert "Traceback" not in refused.stderr
