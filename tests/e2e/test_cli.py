"""The commands beside `serve`, as a user types them."""

import datetime
import json
import re

import jsonschema
import pytest

import hushar


@pytest.fixture
def configured(workspace, everything, onnx_models, oracle):
    """A workspace with all seven transformations."""
    workspace.configure(onnx_models.echo(oracle.width(everything)), everything)
    return workspace


def test_check_prints_every_feature_with_its_columns_and_the_model(configured, everything):
    done = configured.run("check", "service.json")
    assert done.returncode == 0, done.stderr
    for name, parameters in everything["feature_transformations"].items():
        (line, *_) = [line for line in done.stdout.splitlines() if re.search(rf"\b{name}\b", line)]
        assert parameters["type"] in line
    for word in ("onnxruntime", "scores", "17", "19"):
        assert word in done.stdout
    # Columns 12 to 15, the end named or left out.
    assert re.search(r"\b12\b\D+\b1[56]\b", next(row for row in done.stdout.splitlines() if "colours" in row))


def test_check_serves_nothing_and_leaves_nothing_behind(configured):
    # The home directory lies in here as well: onnxruntime would keep its telemetry there.
    before = sorted(configured.folder.rglob("*"))
    assert configured.run("check", "service.json", "--log-uri", "logs").returncode == 0
    assert sorted(configured.folder.rglob("*")) == before


@pytest.mark.parametrize("which", ["service", "vectorization"])
def test_schema_prints_a_json_schema_that_takes_good_files_and_refuses_others(which, configured):
    done = configured.run("schema", which)
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    validator = jsonschema.validators.validator_for(schema)
    assert validator is not jsonschema.Draft3Validator
    validator.check_schema(schema)
    good = json.loads(configured.path(f"{which}.json").read_text())
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(good | {"an_unknown_key": 1}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, schema)


def test_the_schemas_take_the_demos_files(workspace):
    demo = hushar.__path__[0] + "/demo"
    found = 0
    for which in ("service", "vectorization"):
        schema = json.loads(workspace.run("schema", which).stdout)
        for file in sorted(type(workspace.folder)(demo).glob(f"*{which}*.json")):
            jsonschema.validate(json.loads(file.read_text()), schema)
            found += 1
    assert found


def test_version_says_the_version_and_which_kernel_runs(workspace):
    done = workspace.run("version")
    assert done.returncode == 0
    assert hushar.__version__ in done.stdout
    assert re.search(r"kernel: (cython|reference)\b", done.stdout)


def test_plugins_lists_what_is_built_in(workspace):
    done = workspace.run("plugins")
    assert done.returncode == 0, done.stderr
    transformations = ["identity", "min_max_scaling32", "standardization64", "one_hot_encoding", "embedding"]
    for word in [*transformations, "onnxruntime", "file", "stderr", "hushar"]:
        assert word in done.stdout


def test_no_command_needs_the_others(workspace):
    done = workspace.run("--help")
    assert done.returncode == 0
    for command in ("serve", "check", "schema", "plugins", "version", "call", "logs"):
        assert command in done.stdout


def test_call_takes_the_kinds_from_the_vectorization_and_prints_a_table(echo_server):
    call = ["call", echo_server.address, "--config", "vectorization.json"]
    done = echo_server.workspace.run(*call, "--row", "anything=7.25")
    assert done.returncode == 0, done.stderr
    assert "7.25" in done.stdout


ROWS = [
    {
        "row_id": "first",
        "features": {"anything": {"float_value": 1.5}, "pair": {"float_array": {"values": [2, 3]}}},
    },
    {"row_id": "second", "features": {"word": {"string_value": "up"}}},
]


def test_call_reads_rows_of_json_from_a_file_or_from_standard_input(echo_server):
    workspace = echo_server.workspace
    workspace.write("rows.json", ROWS)
    from_file = workspace.run("call", echo_server.address, "--json", "rows.json")
    assert from_file.returncode == 0, from_file.stderr
    assert "first" in from_file.stdout
    assert "second" in from_file.stdout
    assert "1.5" in from_file.stdout
    lines = "\n".join(json.dumps(row) for row in ROWS)
    from_stdin = workspace.run("call", echo_server.address, "--json", "-", stdin=lines)
    assert from_stdin.returncode == 0, from_stdin.stderr
    assert from_stdin.stdout == from_file.stdout


def test_call_reads_bare_values_by_the_kinds_of_the_vectorization(echo_server):
    rows = [
        {"row_id": "r", "features": {"narrow": 1, "wides": [2, 3], "colours": ["a", "b"], "word": "down"}}
    ]
    done = echo_server.workspace.run(
        "call", echo_server.address, "--config", "service.json", "--json", "-", stdin=json.dumps(rows)
    )
    assert done.returncode == 0, done.stderr
    assert "-2" in done.stdout


def test_a_call_that_is_refused_says_why_and_fails(echo_server):
    rows = [{"row_id": "r", "features": {"narrow": {"string_value": "x"}}}]
    done = echo_server.workspace.run("call", echo_server.address, "--json", "-", stdin=json.dumps(rows))
    assert done.returncode == 1
    assert "INVALID_ARGUMENT" in done.stderr
    assert "feature 'narrow' of row 'r' (0)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "rows", ["{", '[{"features": 3}]', '[{"features": {"x": {"float": 1}}}]', '[{"ro_id": "r"}]']
)
def test_rows_that_are_none_are_the_users_mistake(rows, echo_server):
    done = echo_server.workspace.run("call", echo_server.address, "--json", "-", stdin=rows)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_server_that_is_not_there_is_no_mistake_of_the_users_files(workspace):
    workspace.write("rows.json", ROWS)
    done = workspace.run("call", "127.0.0.1:1", "--json", "rows.json")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def logged(session_servers, onnx_models, serving, messages):
    """A workspace with the logs of 12 calls, `q0` … `q11`, in several files."""
    server = session_servers.serve(
        onnx_models.echo(1), name="logged", log={"uri": "logs", "rotate_bytes": 65536}
    )
    client = serving.Client(server.address, messages)
    for number in range(12):
        features = {"x": ("float_value", number / 2), "ballast": ("string_value", "x" * 20_000)}
        client.rows([(f"row {number}", features)], f"q{number}")
    client.close()
    assert server.terminate() == 0
    assert len(serving.log_files(server.workspace.path("logs"), messages)) > 1
    return server.workspace


def printed(done):
    """The JSON lines on standard output."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_logs_cat_prints_a_line_of_json_for_each_call(logged):
    done = logged.run("logs", "cat", "logs")
    assert done.returncode == 0, done.stderr
    batches = printed(done)
    assert sorted(batch["request_id"] for batch in batches) == sorted(f"q{number}" for number in range(12))
    (batch,) = [batch for batch in batches if batch["request_id"] == "q3"]
    assert batch["model_id"] == "tested"
    assert int(batch["received_unix_micros"]) > 0
    assert batch["model_version"]
    (row,) = batch["inference_log_rows"]
    assert row["row_id"] == "row 3"
    assert row["features"]["x"] == {"float_value": 1.5}
    assert row["scores"] == [1.5]


def test_logs_cat_reads_files_folders_and_uris(logged):
    whole = logged.run("logs", "cat", "logs").stdout
    files = sorted(str(path) for path in logged.path("logs").rglob("*.pb"))
    by_file = logged.run("logs", "cat", *files)
    assert sorted(by_file.stdout.splitlines()) == sorted(whole.splitlines())
    assert logged.run("logs", "cat", f"file://{logged.path('logs')}").stdout == whole


def test_logs_cat_chooses_by_time_model_and_number(logged):
    def count(*options):
        done = logged.run("logs", "cat", "logs", *options)
        assert done.returncode == 0, done.stderr
        return len(printed(done))

    moments = sorted(int(b["received_unix_micros"]) for b in printed(logged.run("logs", "cat", "logs")))
    fifth = datetime.datetime.fromtimestamp(moments[5] // 1_000_000, datetime.UTC).replace(
        tzinfo=None, microsecond=moments[5] % 1_000_000
    )
    assert count("--since", fifth.isoformat()) == sum(moment >= moments[5] for moment in moments)
    assert count("--until", fifth.isoformat() + "+00:00") == sum(moment < moments[5] for moment in moments)
    assert count("--since", "1h") == 12
    assert count("--until", "1h") == 0
    assert count("--limit", "5") == 5
    assert count("--model-id", "tested", "--limit", "100") == 12
    assert count("--model-id", "another") == 0


def test_logs_cat_reads_a_torn_file_up_to_the_tear_and_says_so(logged, workspace):
    # Any of them may be the first by its name, the end marker too, in which there is no call.
    largest = max(logged.path("logs").rglob("*.pb"), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    torn = workspace.write("torn.pb", data[:-30_000])
    whole = printed(logged.run("logs", "cat", largest))
    done = workspace.run("logs", "cat", "torn.pb")
    assert done.returncode == 0
    assert 0 < len(printed(done)) < len(whole)
    assert printed(done) == whole[: len(printed(done))]
    (line,) = [line for line in done.stderr.splitlines() if "torn" in line.replace(torn.name, "")]
    assert "torn.pb" in line


def test_logs_cat_of_what_does_not_exist_is_the_users_mistake(workspace):
    for arguments in (["absent"], ["absent.pb"], ["gopher://logs"]):
        done = workspace.run("logs", "cat", *arguments)
        assert done.returncode == 2
        assert arguments[0] in done.stderr
        assert "Traceback" not in done.stderr


def test_the_demo_serves_without_any_file(servers, workspace, connect):
    server = servers.start(workspace, config=["--demo"])
    answer = connect(server).score(connect(server).request([("r", {})], "q"))
    assert answer.request_id == "q"
    assert len(answer.outputs[0].scores) > 1
    assert sum(answer.outputs[0].scores) == pytest.approx(1, abs=1e-4)
    assert server.terminate() == 0
