import json
import re
import socket
import sys

import purerpc
import pytest
import trio

from hushar.cli.call import as_json, as_table
from hushar.proto.service_grpc import HusharServicer
from hushar.proto.structs_pb2 import InferenceResponse, OutputRow
from hushar.rpc import Server

OUTPUTS = [OutputRow(row_id="first", scores=[0.123456, 12]), OutputRow(scores=[-1, float("nan")])]


def test_a_table_has_a_line_a_row_and_five_decimals():
    assert as_table(OUTPUTS).splitlines() == [
        "row     score 0   score 1",
        "first   0.12346  12.00000",
        "#1     -1.00000       nan",
    ]


def test_one_score_has_no_number():
    assert as_table([OutputRow(row_id="r", scores=[0.5])]).splitlines() == ["row    score", "r    0.50000"]


def test_a_table_of_nothing_is_its_head():
    assert as_table([]) == "row\n"


def test_rows_of_different_length_are_shown_all_the_same():
    assert len(as_table([OutputRow(scores=[1]), OutputRow(scores=[1, 2])]).splitlines()) == 3


def test_a_row_id_does_not_steer_the_terminal():
    table = as_table([OutputRow(row_id="a\x1b[2J\n", scores=[1])])
    assert "\x1b" not in table
    assert len(table.splitlines()) == 2


def test_json_holds_scores_in_full_and_every_member():
    document = json.loads(as_json(InferenceResponse(outputs=OUTPUTS)))
    assert document == {
        "request_id": "",
        "outputs": [{"row_id": "first", "scores": [0.123456, 12.0]}, {"row_id": "", "scores": [-1.0, "NaN"]}],
    }


@pytest.fixture
def closed_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["localhost:1"], "give rows: --row or --json"),
        (["localhost", "--row", "a=1"], "'localhost' is not an address: expected HOST:PORT"),
        (["localhost:1", "--row", "a"], "--row: row 1: expected feature=value, not 'a'"),
        (
            ["localhost:1", "--row", "a=1", "--row", "a:int=x"],
            "--row: row 2: feature 'a': integer_value needs",
        ),
        (["localhost:1", "--json", "absent.json"], "absent.json: cannot be read: No such file or directory"),
        (["localhost:1", "--json", "bad.json"], "bad.json: line 2: not JSON"),
        (["localhost:1", "--json", "-"], "standard input: row 0: row 'r': feature 'a': unknown key 'flot'"),
        (["localhost:1", "--row", "a=1", "--config", "absent"], "absent: cannot be read"),
        (["localhost:1", "--row", "a=1", "--config", "bad.json"], "bad.json: not JSON"),
        (["localhost:1", "--row", "a=1", "--ca", "absent.pem"], "absent.pem: no certificates can be read"),
        (["localhost:1", "--row", "a=1", "--ca", "bad.json"], "bad.json: no certificates can be read"),
        (["localhost:1", "--row", "a=1", "--token-file", "absent"], "absent: cannot be read"),
        (["localhost:1", "--row", "a=1", "--token-file", "empty"], "empty: holds no token"),
        (["localhost:1", "--row", "a=1", "--token-file", "bad.json"], "bad.json: a token is printable ASCII"),
        (["localhost:1", "--row", "a=1", "--timeout-seconds", "0"], "--timeout-seconds"),
        (["localhost:1", "--row", "a=1", "--timeout-seconds", "nan"], "timeout_seconds must be positive"),
        (["localhost:1", "--row", "a=1", "--output", "xml"], "--output"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(hushar, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("# none\n")
    (tmp_path / "bad.json").write_text('{"row_id": "r"}\n{')
    stdin = b'[{"row_id": "r", "features": {"a": {"flot": 1}}}]'
    ran = hushar("call", *arguments, stdin=stdin)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_where_no_server_is_the_call_fails(hushar, closed_port):
    ran = hushar("call", f"127.0.0.1:{closed_port}", "--row", "a=1")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"UNAVAILABLE: cannot connect to 127.0.0.1:{closed_port}: Connection refused\n"


class Kinds(HusharServicer):
    """Answers with the field numbers of the row's features, in the order of their names."""

    async def InferenceService(self, input_message):
        if input_message.request_id == "refuse":
            raise purerpc.InvalidArgumentError("feature 'a' of row '1' (0)")
        if input_message.request_id == "wait":
            await trio.sleep_forever()
        outputs = []
        for row in input_message.inputs:
            kinds = [row.features[name].WhichOneof("data_type") for name in sorted(row.features)]
            numbers = [row.features["a"].DESCRIPTOR.fields_by_name[kind].number for kind in kinds]
            outputs.append(OutputRow(row_id=row.row_id, scores=numbers))
        return InferenceResponse(request_id=input_message.request_id, outputs=outputs)


@pytest.fixture
async def call(tmp_path, nursery):
    """`hushar call` in a process of its own, against a server in this one."""

    def admit(request):
        seen.append(dict(request.custom_metadata).get("authorization"))

    seen = []
    server = Server(0)
    server.add_service(Kinds().service)
    server.add_hook(before=admit)
    port = await nursery.start(server.serve_async)

    async def run(*arguments, stdin=b""):
        command = [sys.executable, "-m", "hushar", "call", f"127.0.0.1:{port}", *arguments]
        return await trio.run_process(
            command, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False, cwd=tmp_path
        )

    run.authorizations = seen
    return run


def words(line):
    return re.split(r" {2,}", line.strip())


@pytest.mark.slow
async def test_rows_of_the_command_line_are_scored(call):
    ran = await call("--row", "a=1.5 b=Pune", "--row", "a:long=1 b=[1]")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert [words(line) for line in ran.stdout.decode().splitlines()] == [
        ["row", "score 0", "score 1"],
        ["1", "2.00000", "5.00000"],
        ["2", "4.00000", "8.00000"],
    ]


@pytest.mark.slow
async def test_rows_of_a_file_come_after_those_of_the_command_line_and_kinds_from_the_configuration(
    call, tmp_path
):
    (tmp_path / "rows.json").write_text('{"row_id": "j", "features": {"a": 1, "b": "x"}}')
    transformations = {"a": {"type": "standardization64"}}
    (tmp_path / "vectorization.json").write_text(json.dumps({"feature_transformations": transformations}))
    (tmp_path / "service.toml").write_text('vectorization_instruction_path = "vectorization.json"')
    options = ["--config", "service.toml", "--output", "json", "--request-id", "q"]
    ran = await call("--row", "a=1", "--json", "rows.json", *options)
    assert json.loads(ran.stdout) == {
        "request_id": "q",
        "outputs": [{"row_id": "1", "scores": [1]}, {"row_id": "j", "scores": [1, 5]}],
    }


@pytest.mark.slow
async def test_rows_may_come_from_standard_input(call):
    ran = await call("--json", "-", stdin=b'[{"row_id": "s", "features": {"a": {"float_value": 1}}}]')
    assert words(ran.stdout.decode().splitlines()[1]) == ["s", "2.00000"]


@pytest.mark.slow
async def test_a_call_that_is_refused_fails_with_its_status(call):
    ran = await call("--row", "a=1", "--request-id", "refuse")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.decode() == "INVALID_ARGUMENT: feature 'a' of row '1' (0)\n"


@pytest.mark.slow
async def test_a_call_that_takes_too_long_is_given_up(call):
    ran = await call("--row", "a=1", "--request-id", "wait", "--timeout-seconds", "0.05")
    assert ran.returncode == 1
    assert ran.stderr.decode().startswith("DEADLINE_EXCEEDED: no answer within 0.05 s")


@pytest.mark.slow
async def test_a_token_is_sent_along(call, tmp_path):
    (tmp_path / "token").write_text("# of the tests\ns3cret#1  # the first\nother\n")
    ran = await call("--row", "a=1", "--token-file", "token")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert call.authorizations == ["Bearer s3cret#1"]
