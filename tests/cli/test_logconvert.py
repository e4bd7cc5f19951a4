"""`hushar logs convert`: tables that are read back, by pyarrow and by csv."""

import csv
import datetime
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from hushar.cli import logconvert, logtables
from hushar.proto.structs_pb2 import DataType, InferenceLogBatch, InferenceLogRow, InferenceLogs

DAY_ONE = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000_000

SCALE32 = {"type": "min_max_scaling32", "min": 0, "max": 1, "default_val": [0]}
VECTORIZATION = {
    "feature_order": ["age", "amount", "city", "tags", "points", "vector", "id", "ids"],
    "feature_transformations": {
        "age": SCALE32,
        "amount": {"type": "standardization64", "mean": 0, "std_dev": 1, "default_val": [0]},
        "city": {"type": "one_hot_encoding", "categories": ["a", "b"], "default_val": [0, 0]},
        "tags": {"type": "one_hot_encoding", "categories": ["a", "b"], "default_val": [0, 0, 0, 0]},
        "points": {"type": "min_max_scaling64", "min": 0, "max": 1, "default_val": [0, 0]},
        "vector": {"type": "embedding", "embeddings": {"x": [1, 2]}, "default_val": [0, 0]},
        "id": {"type": "identity", "default_val": [0]},
        "ids": {"type": "identity", "default_val": [0, 0, 0]},
    },
}
FIXED = [
    ("request_id", pa.string()),
    ("model_id", pa.string()),
    ("model_version", pa.string()),
    ("received", pa.timestamp("us", tz="UTC")),
    ("row_id", pa.string()),
    ("scores", pa.list_(pa.float32())),
]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "vectorization.json"
    path.write_text(json.dumps(VECTORIZATION))
    return path


def row(name, scores=(0.5,), **features):
    return InferenceLogRow(
        row_id=name,
        scores=scores,
        features={feature: DataType(**{kind: value}) for feature, (kind, value) in features.items()},
    )


def array(*values):
    return {"values": values}


def batch(name, *rows, received=DAY_ONE, model_id="m"):
    return InferenceLogBatch(
        request_id=name,
        model_id=model_id,
        model_version="v",
        received_unix_micros=received,
        inference_log_rows=rows,
    )


@pytest.fixture
def write(tmp_path):
    def write(*batches, name="logs/x.pb"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(InferenceLogs(inferenceLogBatches=batches).SerializeToString())
        return path

    return write


@pytest.fixture
def convert(hushar, tmp_path, config):
    """The table that is made of tmp_path/logs."""

    def run(*options, config=config, status=0, err=""):
        output = tmp_path / "table.parquet"
        ran = hushar("logs", "convert", tmp_path / "logs", "--output", output, "--config", config, *options)
        assert (ran.status, ran.err) == (status, err)
        table = parquet.read_table(output)
        assert ran.out == f"{table.num_rows} rows\n"
        return table

    return run


def test_a_logged_row_is_a_row_with_a_column_for_each_feature(write, convert):
    features = {
        "age": ("float_value", 0.1),
        "amount": ("long_value", 2**40),
        "city": ("string_value", "Pune"),
        "tags": ("string_array", array("a", "ü\n")),
        "points": ("double_array", array(0.25, math.inf)),
        "vector": ("string_value", "x"),
        "id": ("integer_value", -3),
        "ids": ("float_array", array(1, 2, 3)),
    }
    write(batch("q", row("r", (0.1, 2), **features), row("s", ())), batch("p", row("", (1,)), received=0))
    table = convert()
    assert [(column.name, column.type) for column in table.schema] == [
        *FIXED,
        ("age", pa.float64()),
        ("amount", pa.float64()),
        ("city", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("points", pa.list_(pa.float64())),
        ("vector", pa.string()),
        ("id", pa.float64()),
        ("ids", pa.list_(pa.float64())),
    ]
    assert table.to_pylist() == [
        {
            "request_id": "q",
            "model_id": "m",
            "model_version": "v",
            "received": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            "row_id": "r",
            "scores": [float(np.float32(0.1)), 2],
            "age": float(np.float32(0.1)),
            "amount": 2.0**40,
            "city": "Pune",
            "tags": ["a", "ü\n"],
            "points": [0.25, math.inf],
            "vector": "x",
            "id": -3,
            "ids": [1, 2, 3],
        },
        {
            "request_id": "q",
            "model_id": "m",
            "model_version": "v",
            "received": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            "row_id": "s",
            "scores": [],
            **dict.fromkeys(features),
        },
        {
            "request_id": "p",
            "model_id": "m",
            "model_version": "v",
            "received": None,
            "row_id": "",
            "scores": [1],
            **dict.fromkeys(features),
        },
    ]


def test_an_identity_with_a_string_somewhere_is_a_column_of_strings(write, convert, monkeypatch):
    monkeypatch.setattr(logconvert, "_CHUNK_CELLS", 1)
    values = [
        ("float_value", 0.1),
        ("double_value", 0.1),
        ("long_value", 2**60),
        ("string_value", "1e3"),
        ("float_value", math.nan),
        ("integer_value", 7),
    ]
    lists = [("long_array", array(1, 2, 3)), ("float_array", array(0.5, 1e30, 3))]
    rows = [row("r", id=value) for value in values] + [row("r", ids=value) for value in lists]
    write(*(batch(f"q{index}", each) for index, each in enumerate(rows)))
    table = convert()
    assert table.schema.field("id").type == pa.string()
    assert table.schema.field("ids").type == pa.list_(pa.float64())
    texts = ["0.1", "0.1", "1152921504606846976", "1e3", "nan", "7", None, None]
    assert table["id"].to_pylist() == texts
    write(batch("q", row("r", ids=("string_array", array("a", "b", "c")))), name="logs/y.pb")
    table = convert()
    assert table["id"].to_pylist() == [*texts, None]
    assert table["ids"].to_pylist() == [
        *[None] * 6,
        ["1", "2", "3"],
        ["0.5", "1e+30", "3.0"],
        ["a", "b", "c"],
    ]


def test_what_the_configuration_does_not_take_is_null_and_told(write, convert):
    write(
        batch(
            "q",
            row("r", age=("string_value", "1"), city=("float_value", 1), amount=("double_array", array(1))),
            row("s", age=("float_array", array(1, 2)), points=("double_value", 3), tags=("long_value", 3)),
            row("t", age=("float_array", array()), city=("string_array", array("a"))),
        )
    )
    table = convert(
        err="".join(
            f"feature {name!r}: {what} null: of a kind or a length that the configuration does not take\n"
            for name, what in (("age", "3 values are"), ("city", "1 value is"), ("tags", "1 value is"))
        )
    )
    assert table["age"].to_pylist() == [None, None, None]
    assert table["amount"].to_pylist() == [1, None, None]
    assert table["city"].to_pylist() == [None, None, "a"]
    assert table["points"].to_pylist() == [None, [3], None]


def test_a_value_without_a_kind_is_absent(write, convert):
    write(batch("q", InferenceLogRow(features={"age": DataType()})))
    assert convert()["age"].to_pylist() == [None]


def test_features_outside_of_the_configuration_are_json_if_asked_for(write, convert):
    write(
        batch(
            "q", row("r", other=("long_array", array(2**60)), b=("string_value", "ü"), age=("float_value", 1))
        ),
        batch("p", row("s", age=("float_value", 1))),
    )
    assert "other" not in str(convert().schema)
    table = convert("--all-features")
    assert table.schema.names[-1] == "other_features"
    text, nothing = table["other_features"].to_pylist()
    assert json.loads(text) == {"b": {"string_value": "ü"}, "other": {"long_array": {"values": [str(2**60)]}}}
    assert nothing is None


def test_a_feature_with_the_name_of_a_column_makes_way(write, convert, tmp_path):
    names = ["scores", "feature.scores", "feature.feature.scores", "other_features", "row_id"]
    path = tmp_path / "clash.json"
    path.write_text(
        json.dumps({"feature_order": names, "feature_transformations": dict.fromkeys(names, SCALE32)})
    )
    logged = row("r", (9,))
    for index, name in enumerate(names):
        logged.features[name].float_value = index
    write(batch("q", logged))
    [found] = convert(config=path).to_pylist()
    assert found["scores"] == [9]
    assert found["row_id"] == "r"
    assert found["feature.feature.feature.scores"] == 0
    assert [found[name] for name in names[1:4]] == [1, 2, 3]
    assert found["feature.row_id"] == 4
    [found] = convert("--all-features", config=path).to_pylist()
    assert (found["other_features"], found["feature.other_features"]) == (None, 3)


def test_a_service_configuration_names_its_vectorization(write, convert, tmp_path):
    service = tmp_path / "service.json"
    service.write_text(json.dumps({"model_id": "m", "vectorization_instruction_path": "vectorization.json"}))
    write(batch("q", row("r")))
    assert "ids" in convert(config=service).schema.names


def test_times_and_models_are_chosen(write, convert):
    write(
        *(
            batch(f"q{hour}", row("r"), received=DAY_ONE + hour * HOUR, model_id="mn"[hour % 2])
            for hour in range(6)
        )
    )
    options = ["--since", "2026-01-01T01:00", "--until", "2026-01-01T05:00"]
    assert convert(*options)["request_id"].to_pylist() == ["q1", "q2", "q3", "q4"]
    assert convert(*options, "--model-id", "n")["request_id"].to_pylist() == ["q1", "q3"]


def test_no_rows_are_a_table_without_rows(write, convert, tmp_path):
    (tmp_path / "logs").mkdir()
    assert convert().num_rows == 0


def test_a_table_grows_by_chunks_and_row_groups(write, convert, monkeypatch, tmp_path):
    monkeypatch.setattr(logconvert, "_CHUNK_CELLS", 50)
    monkeypatch.setattr(logtables, "_GROUP_BYTES", 4000)
    write(*(batch(f"q{index}", *[row("r", age=("float_value", index))] * 7) for index in range(100)))
    table = convert()
    assert table["age"].to_pylist() == [index for index in range(100) for _ in range(7)]
    file = parquet.ParquetFile(tmp_path / "table.parquet")
    assert 3 < file.num_row_groups < 100


def test_a_torn_file_is_converted_up_to_the_tear_and_told_once(write, hushar, config, tmp_path):
    path = write(batch("q", row("r", id=("string_value", "1"))), batch("p", row("s")))
    path.write_bytes(path.read_bytes()[:-1])
    output = tmp_path / "t.csv"
    ran = hushar("logs", "convert", path, "--output", output, "--config", config)
    assert (ran.status, ran.out, ran.err.count("\n")) == (0, "1 rows\n", 1)
    assert "torn" in ran.err


def read_csv(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_csv_has_json_for_lists_and_nothing_for_null(write, hushar, config, tmp_path):
    features = {
        "age": ("float_value", 0.1),
        "city": ("string_value", 'a,"b"\nü'),
        "tags": ("string_array", array("ü", 'x"')),
        "points": ("double_array", array(0.1, math.nan)),
    }
    write(
        batch("q", row("r", (0.1, -math.inf), **features), received=DAY_ONE + 1),
        batch("p", row("s"), received=2**62),
    )
    output = tmp_path / "table.csv"
    ran = hushar("logs", "convert", tmp_path / "logs", "--output", output, "--config", config)
    assert (ran.status, ran.out, ran.err) == (0, "2 rows\n", "")
    first, second = read_csv(output)
    names = [name for name, _ in FIXED]
    assert list(first) == [*names, *VECTORIZATION["feature_order"]]
    assert first["received"] == "2026-01-01T00:00:00.000001Z"
    assert first["scores"] == '[0.1, "-Infinity"]'
    assert float(first["age"]) == np.float32(0.1)
    assert first["city"] == 'a,"b"\nü'
    assert json.loads(first["tags"]) == ["ü", 'x"']
    assert first["points"] == '[0.1, "NaN"]'
    assert (first["id"], second["age"], second["tags"]) == ("", "", "")
    assert second["received"] == str(2**62)
    assert output.read_bytes().startswith(b"request_id,model_id,model_version,received,row_id,scores,age,")


@pytest.mark.parametrize("text", ["a\rb", "\r", "a\r\nb", "\n", ",", '"', "'", " a ", "\u2028", "\t", "=1+1"])
def test_no_text_breaks_a_line_of_csv(write, hushar, config, tmp_path, text):
    write(batch(text, row(text, city=("string_value", text)), row("next")))
    output = tmp_path / "table.csv"
    assert hushar("logs", "convert", tmp_path / "logs", "--output", output, "--config", config).status == 0
    data = output.read_bytes().decode()
    _, first, second = csv.reader(io.StringIO(data, newline=""))
    assert (first[0], first[4], first[8]) == (text, text, text)
    assert (second[0], second[4], second[8]) == (text, "next", "")
    assert "\r\n" not in data.replace(text, "")


@pytest.mark.parametrize(
    "feature",
    [("string_value", "x" * 40_000), ("double_array", array(*[0.5] * 10_000))],
    ids=["text", "array"],
)
def test_few_rows_of_much_are_written_soon(feature, write, hushar, config, tmp_path, monkeypatch):
    rows = []
    kept = logtables.CsvTable.write
    monkeypatch.setattr(logconvert, "_CHUNK_CELLS", 20_000)
    monkeypatch.setattr(
        logtables.CsvTable, "write", lambda table, chunk: (rows.append(chunk.rows), kept(table, chunk))
    )
    write(*[batch("q", row("r", city=feature, ids=feature))] * 8)
    output = tmp_path / "table.csv"
    assert hushar("logs", "convert", tmp_path / "logs", "--output", output, "--config", config).status == 0
    assert sum(rows) == 8
    assert max(rows) <= 2


NUMBERS = {
    "float_value": st.floats(width=32),
    "double_value": st.floats(),
    "integer_value": st.integers(-(2**31), 2**31 - 1),
    "long_value": st.integers(-(2**63), 2**63 - 1),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def rows_with_features(draw):
    """Rows of `age` (a number), `city` (a string), `points` (a list of numbers), each there or not."""
    made = []
    for _ in range(draw(st.integers(0, 12))):
        features = {}
        if draw(st.booleans()):
            kind = draw(st.sampled_from(sorted(NUMBERS)))
            features["age"] = (kind, draw(NUMBERS[kind]))
        if draw(st.booleans()):
            features["city"] = ("string_value", draw(TEXT))
        if draw(st.booleans()):
            features["points"] = ("double_array", array(*draw(st.lists(st.floats(), max_size=3))))
        made.append(row(draw(TEXT), draw(st.lists(st.floats(width=32), max_size=3)), **features))
    return made


def same(one, other):
    return json.dumps(one) == json.dumps(other)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_with_features(), cells=st.integers(1, 60))
def test_what_was_logged_comes_back(rows, cells, write, convert, monkeypatch):
    monkeypatch.setattr(logconvert, "_CHUNK_CELLS", cells)
    write(*(batch(f"q{index}", each) for index, each in enumerate(rows)))
    found = convert().to_pylist()
    assert [each["request_id"] for each in found] == [f"q{index}" for index in range(len(rows))]
    for each, wanted in zip(found, rows, strict=True):
        values = dict(wanted.features)
        assert each["row_id"] == wanted.row_id
        assert same(each["scores"], list(wanted.scores))
        age = values.get("age")
        number = None if age is None else float(getattr(age, age.WhichOneof("data_type")))
        assert same(each["age"], number)
        assert each["city"] == (values["city"].string_value if "city" in values else None)
        points = list(values["points"].double_array.values) if "points" in values else None
        assert same(each["points"], points)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_who_is_told_to_stop_leaves_nothing(write, config, tmp_path, number, status):
    pipe = tmp_path / "endless.pb"
    os.mkfifo(pipe)
    output = tmp_path / "out/table.csv"
    output.parent.mkdir()
    options = ["--output", str(output), "--config", str(config)]
    command = [sys.executable, "-m", "hushar", "logs", "convert", str(pipe), *options]
    logged = InferenceLogs(inferenceLogBatches=[batch("q", row("r"))]).SerializeToString()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        writing = os.open(pipe, os.O_WRONLY)  # waits until it is read
        os.write(writing, logged)
        process.send_signal(number)
        # More of it, or a signal that came right before a read that waits would not be seen until it returns.
        with suppress(BrokenPipeError):
            while process.poll() is None:
                os.write(writing, logged)
                time.sleep(0.01)
        process.communicate()
        os.close(writing)
    assert process.returncode == status
    assert list(output.parent.iterdir()) == []


class TestMistakes:
    @pytest.fixture
    def failing(self, hushar, write, config, tmp_path):
        write(batch("q", row("r")))

        def run(*, output=tmp_path / "t.csv", config=config, source=tmp_path / "logs", status=2):
            before = sorted(tmp_path.iterdir())
            ran = hushar("logs", "convert", source, "--output", output, "--config", config)
            assert (ran.status, ran.out) == (status, "")
            assert "Traceback" not in ran.err
            assert sorted(tmp_path.iterdir()) == before
            return ran.err

        return run

    def test_a_name_without_a_format(self, failing, tmp_path):
        assert failing(output="x.txt") == "--output: 'x.txt': expected a name in .parquet or .csv\n"

    def test_a_folder(self, failing, tmp_path):
        (tmp_path / "d.csv").mkdir()
        assert failing(output=tmp_path / "d.csv").endswith("is a directory\n")

    def test_a_place_that_is_not_there(self, failing, tmp_path):
        err = failing(output=tmp_path / "absent/t.parquet")
        assert (
            err == f"--output: '{tmp_path}/absent/t.parquet' cannot be written: No such file or directory\n"
        )

    def test_a_configuration_that_is_not_there(self, failing, tmp_path):
        assert (
            failing(config=tmp_path / "no.json")
            == f"{tmp_path}/no.json: cannot be read: No such file or directory\n"
        )

    def test_a_configuration_that_is_wrong(self, failing, tmp_path, config):
        config.write_text(json.dumps({**VECTORIZATION, "feature_order": ["age"]}))
        assert f"{config}: feature_transformations.amount: " in failing()

    def test_a_source_that_is_not_there(self, failing):
        assert failing(source="absent") == "absent: No such file or directory\n"

    def test_a_file_that_cannot_be_read_makes_no_table(self, failing, tmp_path):
        (tmp_path / "logs/gone.pb").symlink_to(tmp_path / "nowhere")
        err = failing(status=1)
        assert err.endswith("gone.pb: cannot be read: No such file or directory; nothing is written\n")

    def test_a_disk_that_is_full_keeps_the_table_that_was_there(self, failing, tmp_path, monkeypatch):
        class Full(logtables.CsvTable):
            def write(self, chunk):
                raise OSError(28, "No space left on device")

        monkeypatch.setitem(logtables.TABLES, ".csv", Full)
        (tmp_path / "t.csv").write_text("before")
        err = failing(status=1)
        assert err == f"--output: '{tmp_path}/t.csv' cannot be written: No space left on device\n"
        assert (tmp_path / "t.csv").read_text() == "before"

    def test_pyarrow_is_not_there(self, failing, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        err = failing(output=tmp_path / "t.parquet")
        assert err.startswith('--output: Parquet needs pyarrow: pip install "hushar[parquet]"')


def test_the_table_may_be_read_by_whom_new_files_may_be(write, hushar, config, tmp_path):
    write(batch("q", row("r")))
    (tmp_path / "new").touch()
    hushar("logs", "convert", tmp_path / "logs", "--output", tmp_path / "t.csv", "--config", config)
    assert (tmp_path / "t.csv").stat().st_mode == (tmp_path / "new").stat().st_mode
