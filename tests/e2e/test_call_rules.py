"""CONTRACT.md 1, "Rules of a call": what is answered, in which order, and which error comes first."""

from concurrent import futures

import grpc
import pytest

UNDECODABLE = "request is not a valid hushar.InferenceRequest"
ANYTHING = 2
"""The column of the feature `anything` among the scores."""


def test_ids_are_echoed_and_rows_keep_their_order(client):
    names = [f"row {i}" for i in range(30)] + ["row 3", "", "ü" * 50]
    values = [float(i) for i in range(len(names))]
    rows = [(name, {"anything": ("float_value", v)}) for name, v in zip(names, values, strict=True)]
    answer = client.score(client.request(rows, "the request"))
    assert answer.request_id == "the request"
    assert [row.row_id for row in answer.outputs] == names
    assert [row.scores[ANYTHING] for row in answer.outputs] == values


def test_no_rows_is_an_empty_answer_with_status_ok(client, wire):
    assert client.raw(b"") == b""
    assert client.raw(wire.field(1, "q")) == wire.field(1, "q")


def test_the_answer_is_byte_for_byte_what_protobuf_would_serialize(client, wire, messages):
    rows = [("", {}), ("r", {"anything": ("double_value", -0.0)}), ("", {"nobody": ("long_value", 1)})]
    unknown = wire.field(900, "unknown") + wire.tag(7, wire.VARINT) + b"\1"
    for request_id in ("", "q" * 300):
        sent = client.request(rows, request_id).SerializeToString() + unknown
        received = client.raw(sent)
        answer = messages.Response.FromString(received)
        made = messages.Response(request_id=request_id)
        for (row_id, _), row in zip(rows, answer.outputs, strict=True):
            assert len(row.scores) == 19
            made.outputs.add(row_id=row_id, scores=row.scores)
        assert received == made.SerializeToString()


def test_features_that_the_configuration_does_not_name_are_ignored(client):
    assert client.rows([("r", {"nobody": ("string_array", ["x"])})]) == client.rows([("r", {})])


def test_a_value_with_nothing_set_is_an_absent_feature(client):
    assert client.rows([("r", {"anything": (None, None), "colour": (None, None)})]) == client.rows(
        [("r", {})]
    )


@pytest.mark.parametrize(
    ("feature", "kind", "value"),
    [
        ("narrow", "double_value", 1.0),
        ("narrow", "long_value", 1),
        ("narrow", "string_value", "1"),
        ("narrow", "double_array", [1.0]),
        ("narrows", "long_array", [1, 2, 3]),
        ("narrows", "string_array", ["1", "2", "3"]),
        ("wide", "float_value", 1.0),
        ("wide", "integer_value", 1),
        ("wide", "string_value", "1"),
        ("wides", "float_array", [1.0, 2.0]),
        ("wides", "integer_array", [1, 2]),
        ("colour", "float_value", 1.0),
        ("colour", "long_value", 1),
        ("colours", "double_array", [1.0, 0.0]),
        ("word", "integer_value", 1),
        ("word", "float_array", [1.0, 2.0]),
        # wrong lengths
        ("anything", "float_array", []),
        ("anything", "string_array", ["1", "2"]),
        ("pair", "float_value", 1.0),
        ("pair", "long_array", [1, 2, 3]),
        ("narrows", "float_array", [1.0, 2.0]),
        ("wides", "double_value", 1.0),
        ("colours", "string_value", "a"),
        ("colours", "string_array", ["a", "b", "a"]),
        ("word", "string_array", []),
        ("word", "string_array", ["up", "up"]),
        # strings that are no numbers
        ("anything", "string_value", "many"),
        ("pair", "string_array", ["1", "two"]),
    ],
)
def test_a_value_that_cannot_be_taken_is_refused_by_feature_row_index_and_kind(feature, kind, value, client):
    rows = [("fine", {}), ("faulty", {feature: (kind, value)})]
    code, details = client.status(client.request(rows).SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert details.startswith(f"feature '{feature}' of row 'faulty' (1): ")
    assert kind in details


def test_a_faulty_row_without_an_id_is_named_by_its_index(client):
    rows = [("", {}), ("", {"narrow": ("string_value", "x")})]
    code, details = client.status(client.request(rows).SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert details.startswith("feature 'narrow' of row ")
    assert "1" in details.partition(":")[0]
    assert "''" not in details.partition(":")[0]


def test_of_several_errors_the_first_row_and_in_it_the_first_feature_of_the_order_is_named(client):
    bad = ("string_value", "no number")
    # `feature_order` has anything before narrow before wide; the message has them the other way round.
    rows = [
        ("a", {}),
        ("b", {"wide": bad, "narrow": bad, "anything": bad}),
        ("c", {"word": ("float_value", 1.0)}),
    ]
    code, details = client.status(client.request(rows).SerializeToString())
    assert (code, details.partition(":")[0]) == ("INVALID_ARGUMENT", "feature 'anything' of row 'b' (1)")


def test_too_many_rows_are_refused_after_decoding_and_before_values(client, wire):
    bad = {"anything": ("string_value", "no number")}
    fifty = [("r", {})] * 50
    assert len(client.rows(fifty)) == 50
    too_many = client.request([("bad", bad), *fifty]).SerializeToString()
    code, details = client.status(too_many)
    assert code == "INVALID_ARGUMENT"
    assert "51" in details
    assert "50" in details
    assert "feature" not in details
    assert client.status(too_many + b"\x7c") == ("INTERNAL", UNDECODABLE)


def test_one_bad_row_fails_its_own_call_and_none_of_its_neighbours(connect, echo_server, client):
    bad = client.request([("good", {}), ("bad", {"narrow": ("string_value", "x")})], "bad")
    undecodable = b"\x12\x05abc"

    def call(number):
        if number % 5 == 0:
            return client.status(undecodable)[0]
        if number % 5 == 1:
            return client.status(bad.SerializeToString())[0]
        return client.rows([(f"r{number}", {"anything": ("long_value", number)})])[0][ANYTHING]

    with futures.ThreadPoolExecutor(16) as executor:
        answers = list(executor.map(call, range(200)))
    for number, answer in enumerate(answers):
        assert answer == {0: "INTERNAL", 1: "INVALID_ARGUMENT"}.get(number % 5, number)


def test_a_row_of_one_call_leaves_nothing_behind_for_the_next(client):
    full = {
        "anything": ("float_value", 9.0),
        "colour": ("string_value", "red"),
        "word": ("string_value", "up"),
    }
    before = client.rows([("r", {})])
    client.rows([("r", full)] * 20)
    assert client.rows([("r", {})]) == before


def test_more_rows_than_a_matrix_holds_are_scored_in_their_order(servers, connect, onnx_models):
    client = connect(servers.serve(onnx_models.echo(1), batching={"max_rows": 64}))
    rows = [(f"row {i}", {"x": ("integer_value", i)}) for i in range(1000)]
    answer = client.score(client.request(rows))
    assert [(row.row_id, list(row.scores)) for row in answer.outputs] == [
        (f"row {i}", [i]) for i in range(1000)
    ]


def test_a_request_of_megabytes_passes(client):
    rows = [
        (f"row {i}", {"anything": ("integer_value", i), "x" * 60_000: ("float_value", 1.0)})
        for i in range(50)
    ]
    request = client.request(rows)
    assert 3 * 2**20 - 200_000 < request.ByteSize() < 4 * 2**20
    assert [row.scores[ANYTHING] for row in client.score(request).outputs] == list(range(50))


def test_calls_beyond_the_concurrency_of_a_connection_wait_and_are_answered(servers, connect, onnx_models):
    client = connect(servers.serve(onnx_models.echo(1), connection_concurrency=3))
    calls = [client.future(client.request([("r", {"x": ("integer_value", i)})])) for i in range(200)]
    assert [list(call.result().outputs[0].scores) for call in calls] == [[i] for i in range(200)]


def test_an_unknown_method_is_unimplemented_and_the_connection_lives_on(client):
    for path in ("/hushar.Hushar/Nothing", "/hushar.hushar/InferenceService", "/a.B/InferenceService"):
        with pytest.raises(grpc.RpcError) as caught:
            client.channel.unary_unary(path)(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert client.raw(b"") == b""


def test_a_call_that_its_client_gives_up_harms_no_other(servers, connect, onnx_models):
    client = connect(servers.serve(onnx_models.slow(), batching={"offload": "always"}))
    given_up = client.request([("slow", {"x": ("float_value", 100.0)})])
    with pytest.raises(grpc.RpcError) as caught:
        client.score(given_up, timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    client.future(given_up).cancel()
    assert client.rows([("r", {"x": ("float_value", 0.0)})]) == [[0]]
