import json

import pytest

from hushar.bench import sources
from hushar.errors import ConfigurationError
from hushar.features.transformations import BUILTIN
from hushar.proto.structs_pb2 import (
    InferenceLogBatch,
    InferenceLogRow,
    InferenceLogs,
    InferenceRequest,
    InputRow,
)

VECTORIZATION = {
    "feature_transformations": {
        "age": {"type": "standardization64", "mean": 40.0, "std_dev": 10.0, "default_val": [0.0]},
        "city": {"type": "one_hot_encoding", "categories": ["Pune", "Goa"], "default_val": [0.0, 0.0]},
    },
    "feature_order": ["age", "city"],
}


def parsed(requests):
    return [InferenceRequest.FromString(request) for request in requests]


def rows_named(*names):
    return [InputRow(row_id=name) for name in names]


def ids(requests):
    return [[row.row_id for row in request.inputs] for request in parsed(requests)]


class TestRequests:
    def test_rows_are_put_into_calls_in_turn(self):
        assert ids(sources.requests_of(rows_named(*"abcd"), 2)) == [["a", "b"], ["c", "d"]]
        assert ids(sources.requests_of(rows_named(*"abc"), 1)) == [["a"], ["b"], ["c"]]

    def test_the_last_call_begins_from_the_front_again(self):
        assert ids(sources.requests_of(rows_named(*"abc"), 2)) == [["a", "b"], ["c", "a"]]
        assert ids(sources.requests_of(rows_named("a"), 3)) == [["a", "a", "a"]]

    def test_request_ids_tell_them_apart_and_have_one_length(self):
        requests = parsed(sources.requests_of(rows_named(*"abcdefghijk"), 1))
        assert [request.request_id for request in requests][::10] == ["bench-00", "bench-10"]

    def test_a_pool_is_bounded(self, monkeypatch):
        monkeypatch.setattr(sources, "MOST_CALLS", 3)
        assert len(sources.requests_of(rows_named(*"abcdef"), 1)) == 3
        monkeypatch.setattr(sources, "MOST_BYTES", 40)
        assert len(sources.requests_of(rows_named(*"abcdef"), 1)) == 2

    def test_a_call_that_no_server_takes_is_a_mistake(self, monkeypatch):
        monkeypatch.setattr(sources, "MOST_MESSAGE_BYTES", 20)
        with pytest.raises(ConfigurationError, match="--rows: a call of 5 rows has 34 bytes"):
            sources.requests_of(rows_named(*"abcde"), 5)


class TestConfigurations:
    def write(self, folder, service=False):
        (folder / "v.json").write_text(json.dumps(VECTORIZATION))
        if not service:
            return str(folder / "v.json")
        (folder / "s.toml").write_text('vectorization_instruction_path = "v.json"\n')
        return str(folder / "s.toml")

    @pytest.mark.parametrize("service", [False, True])
    def test_rows_are_random_and_fit(self, tmp_path, service):
        plan = sources.plan_of(self.write(tmp_path, service), BUILTIN)
        requests = parsed(sources.random_requests(plan, 3, seed=7))
        assert len(requests) == sources.MOST_CALLS
        assert {len(request.inputs) for request in requests} == {3}
        kinds = {
            (name, value.WhichOneof("data_type"))
            for request in requests
            for row in request.inputs
            for name, value in row.features.items()
        }
        assert kinds == {("age", "double_value"), ("city", "string_value")}

    def test_the_seed_decides_every_byte(self, tmp_path):
        plan = sources.plan_of(self.write(tmp_path), BUILTIN)
        assert sources.random_requests(plan, 1, 7) == sources.random_requests(plan, 1, 7)
        assert sources.random_requests(plan, 1, 7) != sources.random_requests(plan, 1, 8)
        assert sources.random_requests(plan, 1, None) != sources.random_requests(plan, 1, None)

    def test_calls_of_many_values_are_fewer(self, tmp_path):
        plan = sources.plan_of(self.write(tmp_path), BUILTIN)
        assert len(sources.random_requests(plan, 50_000, 1)) == 2

    def test_mistakes_name_the_file_and_the_feature(self, tmp_path):
        bad = json.loads(json.dumps(VECTORIZATION))
        bad["feature_transformations"]["age"]["std_dev"] = 0
        (tmp_path / "bad.json").write_text(json.dumps(bad))
        with pytest.raises(ConfigurationError, match=r"bad\.json: feature_transformations\.age\.std_dev"):
            sources.plan_of(str(tmp_path / "bad.json"), BUILTIN)
        with pytest.raises(ConfigurationError, match=r"absent\.json: cannot be read"):
            sources.plan_of(str(tmp_path / "absent.json"), BUILTIN)
        (tmp_path / "s.json").write_text('{"vectorization_instruction_path": "s3://b/v.json"}')
        with pytest.raises(ConfigurationError, match=r"s\.json: vectorization_instruction_path: 's3:"):
            sources.plan_of(str(tmp_path / "s.json"), BUILTIN)
        with pytest.raises(ConfigurationError, match=r"s3://b/v\.json: expected a local path"):
            sources.plan_of("s3://b/v.json", BUILTIN)

    def test_a_file_uri_is_a_path(self, tmp_path):
        assert sources.plan_of(f"file://{self.write(tmp_path)}", BUILTIN).width == 3


class TestJson:
    def test_rows_get_the_kinds_that_are_given(self):
        data = b'{"row_id": "r", "features": {"age": 41, "city": "Pune"}}\n{"features": {"age": 2}}'
        [first, second] = parsed(sources.json_requests("f", data, {"age": "double_value"}, 1))
        assert first.inputs[0].row_id == "r"
        assert first.inputs[0].features["age"].double_value == 41
        assert first.inputs[0].features["city"].string_value == "Pune"
        assert second.inputs[0].features["age"].double_value == 2

    def test_no_rows_are_a_mistake(self):
        with pytest.raises(ConfigurationError, match="empty: there are no rows"):
            sources.json_requests("empty", b"[]", {}, 1)

    def test_a_bad_row_is_named(self):
        with pytest.raises(ConfigurationError, match="f: row 1: row 'x': feature 'a'"):
            sources.json_requests("f", b'[{}, {"row_id": "x", "features": {"a": {"no": 1}}}]', {}, 1)


def logged(*names):
    rows = []
    for name in names:
        row = InferenceLogRow(row_id=name, scores=[0.5, 0.25])
        row.features["age"].double_value = len(name)
        rows.append(row)
    return InferenceLogBatch(request_id="logged", model_id="m", inference_log_rows=rows)


class TestLogs:
    def test_logged_rows_come_without_their_scores(self, tmp_path):
        logs = InferenceLogs(inferenceLogBatches=[logged("a", "bb"), logged("ccc")])
        (tmp_path / "l.pb").write_bytes(logs.SerializeToString())
        requests = parsed(sources.log_requests([str(tmp_path)], 2, print))
        assert ids(map(InferenceRequest.SerializeToString, requests)) == [["a", "bb"], ["ccc", "a"]]
        row = requests[0].inputs[1]
        expected = InputRow(row_id="bb")
        expected.features["age"].double_value = 2
        assert row.SerializeToString() == expected.SerializeToString()

    def test_a_torn_file_is_told_and_its_whole_records_are_taken(self, tmp_path):
        data = InferenceLogs(inferenceLogBatches=[logged("a"), logged("b")]).SerializeToString()
        (tmp_path / "l.pb").write_bytes(data[:-3])
        told = []
        assert ids(sources.log_requests([str(tmp_path / "l.pb")], 1, told.append)) == [["a"]]
        assert len(told) == 1
        assert "torn" in told[0]

    def test_sources_that_are_not_there_or_hold_nothing_are_mistakes(self, tmp_path):
        with pytest.raises(ConfigurationError, match="absent: No such file"):
            sources.log_requests([str(tmp_path / "absent")], 1, print)
        with pytest.raises(ConfigurationError, match="there are no rows"):
            sources.log_requests([str(tmp_path)], 1, print)

    def test_only_as_much_is_read_as_the_pool_holds(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sources, "MOST_CALLS", 2)
        (tmp_path / "1.pb").write_bytes(
            InferenceLogs(inferenceLogBatches=[logged(*"abcd"), logged("e")]).SerializeToString() + b"\xff"
        )
        # The torn end is not reached.
        assert ids(sources.log_requests([str(tmp_path)], 1, pytest.fail)) == [["a"], ["b"]]
