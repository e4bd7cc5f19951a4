"""Scores over the wire are those of a vectorization written anew and of onnxruntime called directly."""

import os
import random
import subprocess
import sys
from concurrent import futures

import grpc
import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CONFIGURATIONS = 3


def given_values(features):
    """What the oracle is told: a DataType with no value set is an absent feature."""
    return {name: value for name, value in features.items() if value[0] is not None}


def expected_answer(oracle, configuration, rows):
    """("OK", the bits of each row) or ("INVALID_ARGUMENT", where the first mistake is)."""
    vectors = []
    for index, (row_id, features) in enumerate(rows):
        try:
            vectors.append(oracle.bits(oracle.row_vector(configuration, given_values(features))))
        except oracle.Refused as refused:
            return "INVALID_ARGUMENT", (refused.feature, row_id, index, refused.kind)
    return "OK", vectors


def actual_answer(oracle, client, request):
    """The same of the server: bits of the scores, or the whole text of the status."""
    try:
        answer = client.score(request)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    assert [row.row_id for row in answer.outputs] == [row.row_id for row in request.inputs]
    return "OK", [oracle.bits(row.scores) for row in answer.outputs]


def assert_same(expected, actual):
    assert actual[0] == expected[0], (expected, actual)
    if expected[0] == "OK":
        assert actual[1] == expected[1]
    else:
        feature, row_id, index, kind = expected[1]
        assert actual[1].startswith(f"feature '{feature}' of row '{row_id}' ({index}): "), (expected, actual)
        assert kind in actual[1]


@pytest.fixture(scope="module", params=range(CONFIGURATIONS))
def random_case(request, session_servers, randomness, oracle, onnx_models):
    """A random configuration over all seven types, served with the echo model, and a maker of rows for it."""
    rows = randomness.Rows(random.Random(request.param), oracle)
    configuration = rows.configuration()
    model = onnx_models.echo(oracle.width(configuration))
    server = session_servers.serve(model, configuration, name=f"random{request.param}")
    return server, configuration, rows


def test_random_rows_under_random_configurations_have_exactly_the_vector_of_the_contract(
    random_case, connect, oracle, messages
):
    server, configuration, rows = random_case
    client = connect(server)
    outcomes = set()
    for number in range(150):
        wrong = 0.005 if number % 2 else 0.0
        sent = [(f"row {i}", rows.row(configuration, wrong)) for i in range(rows.random.randint(1, 4))]
        expected = expected_answer(oracle, configuration, sent)
        assert_same(expected, actual_answer(oracle, client, messages.request(sent, f"request {number}")))
        outcomes.add(expected[0])
    assert outcomes == {"OK", "INVALID_ARGUMENT"}


def test_calls_at_the_same_time_each_get_the_scores_and_the_error_of_their_own_rows(
    random_case, connect, oracle, messages
):
    server, configuration, rows = random_case
    client = connect(server)
    calls = [
        [(f"{call}.{i}", rows.row(configuration, 0.01)) for i in range(rows.random.randint(1, 3))]
        for call in range(80)
    ]
    with futures.ThreadPoolExecutor(16) as executor:
        answers = executor.map(lambda sent: actual_answer(oracle, client, messages.request(sent)), calls)
        for sent, answer in zip(calls, answers, strict=True):
            assert_same(expected_answer(oracle, configuration, sent), answer)


FLOATS = st.floats(width=32)
TEXTS = st.one_of(
    st.sampled_from(["red", "green", "blue", "a", "b", "up", "down"]),
    st.from_regex(r"\A[+-]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+-]?[0-9]{1,3})?\Z"),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5),
)
SCALARS = {
    "double": st.floats(),
    "float": FLOATS,
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "string": TEXTS,
}
VALUES = st.one_of(
    *[st.tuples(st.just(f"{name}_value"), values) for name, values in SCALARS.items()],
    *[st.tuples(st.just(f"{name}_array"), st.lists(values, max_size=3)) for name, values in SCALARS.items()],
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_kind_given_to_any_feature_is_scored_exactly_or_refused_by_name(
    data, client, everything, oracle, messages
):
    name = data.draw(st.sampled_from(everything["feature_order"]))
    row = [("r", {name: data.draw(VALUES)})]
    assert_same(
        expected_answer(oracle, everything, row), actual_answer(oracle, client, messages.request(row))
    )


@pytest.mark.parametrize(
    "text",
    [
        "1" + "0" * 10_000 + "e-10000",
        "0." + "0" * 10_000 + "1e10001",
        "1e" + "9" * 100_000,
        "-1e-" + "9" * 100_000,
        "0e" + "9" * 1000,
        "3.4028235677973366e38",
        "3.4028235677973365e38",
        "7.006492321624085e-46",
        "16777217.000000000000000000000000000000000000000000000000001",
        "-0.0e5",
        "00001",
        "1e0000000000000000001",
    ],
    ids=lambda text: text[:24],
)
def test_a_number_in_a_string_is_rounded_once_however_it_is_written(text, client, oracle):
    scores = client.rows([("r", {"anything": ("string_value", text)})])[0]
    assert oracle.bits(scores[2:3]) == oracle.bits([oracle.number_in(text)])


@pytest.mark.parametrize(
    "text",
    [
        *["nan", "NaN", "inf", "-Infinity", "1_000", "0x1p3", "1e", "e1", ".", "+", "1,0", "1.0f", "1d5"],
        *["1e+", "--1", "1.2.3", "١", "１", "−1", "", " 1", "1 ", "1\n", "1\0", "\t1"],
    ],
)
def test_a_string_that_is_no_decimal_number_is_refused(text, connect, echo_server, messages):
    request = messages.request([("r", {"anything": ("string_value", text)})])
    code, details = connect(echo_server).status(request.SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert details.startswith("feature 'anything' of row 'r' (0): ")
    assert "string_value" in details


def test_an_unknown_string_takes_the_unit_of_its_own_position(client):
    scores = client.rows(
        [
            ("first", {"colours": ("string_array", ["?", "a"])}),
            ("second", {"colours": ("string_array", ["a", "?"])}),
        ]
    )
    colours = slice(12, 16)
    assert scores[0][colours] == pytest.approx([0.1, 0.2, 0, 1])
    assert scores[1][colours] == pytest.approx([0, 1, 0.3, 0.4])


def test_a_network_gives_what_onnxruntime_gives_for_the_same_vectors(
    servers, connect, everything, onnx_models, oracle, randomness, messages
):
    width = oracle.width(everything)
    model = onnx_models.mlp(width, seed=5)
    client = connect(servers.serve(model, everything))
    rows = randomness.Rows(random.Random(11), oracle)
    words = {"word": ("string_value", "up"), "colour": ("string_value", "blue")}
    sent = []
    for i in range(40):
        values = {
            "narrow": ("float_value", rows.random.uniform(-2, 2)),
            "wides": ("long_array", [rows.random.randint(-5, 5), i]),
            "pair": ("string_array", [repr(rows.random.random()), "-1e-1"]),
        }
        sent.append((f"r{i}", values | (words if i % 2 else {})))
    # Values as they arrive: a float_value is a binary32.
    arrived = [messages.features_of(row) for row in messages.request(sent).inputs]
    matrix = np.array([oracle.row_vector(everything, features) for features in arrived], np.float32)
    expected = onnxruntime.InferenceSession(model).run(None, {"x": matrix})[0]
    np.testing.assert_allclose(client.rows(sent), expected, rtol=1e-5, atol=1e-5)
    for row, scores in zip(sent[:8], expected, strict=False):
        np.testing.assert_allclose(client.rows([row])[0], scores, rtol=1e-5, atol=1e-5)


def test_a_float64_model_is_fed_float64_and_narrowed_once(servers, connect, onnx_models, oracle):
    client = connect(servers.serve(onnx_models.echo_double(1)))
    values = [0.1, 3.0, 1e-45, -7.7, 3e38]
    scores = client.rows([("r", {"x": ("float_value", value)}) for value in values])
    expected = [[oracle.float32(float(oracle.float32(value)) * 0.1)] for value in values]
    assert scores == expected


def test_an_output_of_rank_one_gives_one_score_a_row(servers, connect, onnx_models):
    vectorization = {
        "feature_transformations": {"xs": {"type": "identity", "default_val": [1, 1, 1]}},
        "feature_order": ["xs"],
    }
    client = connect(servers.serve(onnx_models.total(3), vectorization))
    assert client.rows([("a", {}), ("b", {"xs": ("float_array", [1, 2, 4])})]) == [[3], [7]]


def test_the_output_that_is_named_gives_the_scores(servers, connect, onnx_models):
    model = onnx_models.classifier()
    client = connect(servers.serve(model, model={"output": "probabilities"}))
    scores = client.rows([("a", {"x": ("float_value", 2.0)}), ("b", {"x": ("float_value", -2.0)})])
    matrix = np.array([[2], [-2]], np.float32)
    expected = onnxruntime.InferenceSession(model).run(["probabilities"], {"x": matrix})[0]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


PURERPC_CLIENT = """
import pathlib, sys
import purerpc, trio
from hushar.proto.service_grpc import HusharStub
from hushar.proto.structs_pb2 import InferenceRequest

async def main():
    async with purerpc.insecure_channel("127.0.0.1", int(sys.argv[1])) as channel:
        stub = HusharStub(channel)
        for name in sys.argv[2:]:
            request = InferenceRequest.FromString(pathlib.Path(name).read_bytes())
            answer = await stub.InferenceService(request)
            pathlib.Path(name + ".answer").write_bytes(answer.SerializeToString())

trio.run(main)
"""


def run_script(folder, script, *arguments, **variables):
    """A client in a process of its own: purerpc's leaves its socket to the garbage collector."""
    path = folder / "client.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, path, *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_purerpc_client_gets_the_very_same_answers(
    echo_server, client, everything, oracle, randomness, tmp_path
):
    rows = randomness.Rows(random.Random(3), oracle)
    files = [tmp_path / f"request{number}" for number in range(20)]
    for file in files:
        sent = [(f"row {i}", rows.row(everything)) for i in range(3)]
        file.write_bytes(client.request(sent, file.name).SerializeToString())
    run_script(tmp_path, PURERPC_CLIENT, echo_server.port, *files)
    for file in files:
        answer = file.with_name(file.name + ".answer").read_bytes()
        assert answer == client.raw(file.read_bytes())


STOCK_CLIENT = """
import sys
import grpc
from hushar import service_pb2_grpc, structs_pb2

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = service_pb2_grpc.HusharStub(channel)
    value = structs_pb2.DataType(string_value="2.5")
    row = structs_pb2.InputRow(row_id="r", features={"anything": value})
    request = structs_pb2.InferenceRequest(request_id="q", inputs=[row])
    answer = stub.InferenceService(request, timeout=30)
    print(answer.request_id, answer.outputs[0].row_id, answer.outputs[0].scores[2])
"""


def test_a_stock_client_generated_from_the_protos_works_unmodified(echo_server, wire, tmp_path):
    package = tmp_path / "hushar"
    package.mkdir()
    (package / "__init__.py").touch()
    outputs = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    subprocess.run([*wire.PROTOC, *outputs, "hushar/structs.proto", "hushar/service.proto"], check=True)
    said = run_script(tmp_path, STOCK_CLIENT, echo_server.address, PYTHONPATH=str(tmp_path))
    assert said == "q r 2.5\n"
