"""The files of `hushar/demo`, which `hushar serve --demo` serves: they fit each other and tell the truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format

import hushar
from hushar.config.vectorization import parse_vectorization
from hushar.features.plan import Plan, check_width, compile_plan
from hushar.features.transformations import BUILTIN
from hushar.features.vectorize import make_vectorizer
from hushar.models.onnx import load
from hushar.models.runtime import ModelSettings, Runtime
from hushar.proto.structs_pb2 import InferenceRequest
from hushar.storage.interface import Blob

DEMO = Path(hushar.__file__).parent / "demo"
LARGEST = 200_000


def read(name: str):
    return json.loads((DEMO / name).read_text(encoding="utf-8"))


@pytest.fixture
def plan() -> Plan:
    document = parse_vectorization(Blob("vectorization.json", (DEMO / "vectorization.json").read_bytes()))
    return compile_plan(document, BUILTIN)


@pytest.fixture
def runtime() -> Runtime:
    service = read("service.json")
    blob = Blob("model.onnx", (DEMO / service["model_path"]).read_bytes())
    return load(blob, ModelSettings(output=service["model"]["output"]))


def test_the_service_configuration_names_the_other_files_relative_to_itself():
    service = read("service.json")
    assert service["model_id"] == "penguins"
    assert (DEMO / service["model_path"]).is_file()
    assert (DEMO / service["vectorization_instruction_path"]).is_file()


def test_they_are_small_enough_to_be_in_the_package():
    assert sum(path.stat().st_size for path in DEMO.iterdir() if path.is_file()) < LARGEST


def test_the_vectorization_fits_the_model(plan: Plan, runtime: Runtime):
    assert check_width(plan, runtime.width, model_uri="model.onnx") is None


def test_every_row_has_a_label_and_some_rows_have_values_missing(plan: Plan):
    rows, labels = read("rows.json"), read("labels.json")
    assert [row["row_id"] for row in rows] == list(labels["labels"])
    assert set(labels["labels"].values()) == set(labels["classes"])
    missing = [len(plan.features) - len(row["features"]) for row in rows]
    assert {0, 1} < set(missing)


def test_the_scores_of_rows_that_the_model_never_saw_tell_the_species(plan: Plan, runtime: Runtime):
    request = InferenceRequest()
    for row in read("rows.json"):
        json_format.ParseDict(row, request.inputs.add())
    vectorizer = make_vectorizer(plan)
    message = request.SerializeToString()
    vectorized = vectorizer.vectorize([message], vectorizer.count([message]))
    assert not vectorized.errors
    scores = runtime.run(runtime.to_tensor(vectorized.matrix))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    labels = read("labels.json")
    said = [labels["classes"][index] for index in scores.argmax(axis=1)]
    wrong = [row for row, name in zip(labels["labels"], said, strict=True) if labels["labels"][row] != name]
    assert wrong == ["penguin-272"]  # a bird without any measurement
