"""Train the demo model again and write `hushar/demo/`.

    python scripts/make_demo_model.py            write the files
    python scripts/make_demo_model.py --check    exit 1 if what is committed differs

The model tells the species of a penguin from its measurements, island, sex and year: a multinomial
logistic regression on the Palmer penguins data (344 birds, CC0), exported to ONNX. Needs the
dependency group `demo`. The same versions of the packages give the same bytes; trained numbers are
rounded, so that the last bits of a linear algebra library do not show.

The matrix is computed here by the formulas of docs/vectorization.md in plain numpy, not by hushar:
that the server gives the same scores is then worth something.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from palmerpenguins import load_penguins
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

TARGET = Path(__file__).resolve().parent.parent / "hushar" / "demo"

SPECIES = ("Adelie", "Chinstrap", "Gentoo")
HELD_OUT_A_SPECIES = 6
HELD_OUT_INCOMPLETE = 6
SEED = 2007
DECIMALS = 4

KINDS = {
    "bill_length_mm": "float_value",
    "bill_depth_mm": "float_value",
    "flipper_length_mm": "integer_value",
    "body_mass_g": "long_value",
    "island": "string_value",
    "sex": "string_value",
    "year": "integer_value",
}
"""Feature → the field of hushar.DataType that carries it, in the order of the matrix."""

Row = dict[str, Any]
"""Feature → value, without the features that are missing."""


def main() -> int:
    """Train, and write or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare with what is committed, write nothing")
    check = parser.parse_args().check
    files = make_files()
    differing = [name for name, data in files.items() if not _holds(TARGET / name, data)]
    if not check:
        for name, data in files.items():
            (TARGET / name).write_bytes(data)
    print(f"{'differing' if check else 'changed'}: {', '.join(differing) or 'nothing'}")
    return 1 if check and differing else 0


def make_files() -> dict[str, bytes]:
    """File name → content, of all that is made."""
    rows, species = read_penguins()
    held_out = choose_held_out(rows, species)
    training = sorted(
        index for index, row in rows.items() if len(row) == len(KINDS) and index not in held_out
    )
    vectorization = configure([rows[index] for index in training])
    matrix = vectorize([rows[index] for index in training], vectorization)
    pipeline = train(matrix, np.array([SPECIES.index(species[index]) for index in training]))
    report(pipeline, vectorize([rows[index] for index in held_out], vectorization), held_out, species)
    labels = {"classes": list(SPECIES), "labels": {row_id(index): species[index] for index in held_out}}
    service = {
        "model_id": "penguins",
        "model_path": "model.onnx",
        "vectorization_instruction_path": "vectorization.json",
        "model": {"output": "probabilities"},
    }
    return {
        "model.onnx": export(pipeline, matrix),
        "vectorization.json": _vectorization_json(vectorization),
        "service.json": _json(service),
        "rows.json": _json_lines([_message(index, rows[index]) for index in held_out]),
        "labels.json": _json(labels),
    }


def read_penguins() -> tuple[dict[int, Row], dict[int, str]]:
    """All birds by their place in the data set, counted from 1: their features, and their species."""
    rows: dict[int, Row] = {}
    species: dict[int, str] = {}
    for index, record in enumerate(load_penguins().to_dict("records"), start=1):
        # Missing is NaN, the one value that differs from itself.
        rows[index] = {
            name: record[name] if isinstance(record[name], str) else _number(kind, record[name])
            for name, kind in KINDS.items()
            if record[name] is not None and record[name] == record[name]
        }
        species[index] = record["species"]
    return rows, species


def _number(kind: str, value: float) -> float | int:
    return float(value) if kind == "float_value" else int(value)


def choose_held_out(rows: dict[int, Row], species: dict[int, str]) -> list[int]:
    """Birds that the model never sees: complete ones of each species, and some with values missing.

    The two without any measurement are among them.
    """
    random = np.random.RandomState(SEED)
    chosen: list[int] = []
    for name in SPECIES:
        complete = [index for index, row in rows.items() if len(row) == len(KINDS) and species[index] == name]
        chosen += random.permutation(complete)[:HELD_OUT_A_SPECIES].tolist()
    incomplete = sorted((len(row), index) for index, row in rows.items() if len(row) < len(KINDS))
    chosen += [index for _, index in incomplete[:HELD_OUT_INCOMPLETE]]
    return sorted(chosen)


def configure(rows: list[Row]) -> dict[str, Any]:
    """The vectorization configuration; means and deviations are the training rows', to two decimals."""

    def moments(name: str) -> dict[str, float]:
        values = np.array([row[name] for row in rows], np.float64)
        return {"mean": round(float(values.mean()), 2), "std_dev": round(float(values.std()), 2)}

    transformations: dict[str, Any] = {
        "bill_length_mm": {"type": "standardization32", **moments("bill_length_mm"), "default_val": [0.0]},
        "bill_depth_mm": {"type": "standardization32", **moments("bill_depth_mm"), "default_val": [0.0]},
        "flipper_length_mm": {
            "type": "min_max_scaling32",
            "min": 170.0,
            "max": 235.0,
            "default_val": [0.5],
        },
        "body_mass_g": {"type": "standardization64", **moments("body_mass_g"), "default_val": [0.0]},
        "island": {
            "type": "one_hot_encoding",
            "categories": ["Biscoe", "Dream", "Torgersen"],
            "default_val": [0.0, 0.0, 0.0],
        },
        "sex": {
            "type": "embedding",
            "embeddings": {"female": [-1.0], "male": [1.0]},
            "default_val": [0.0],
        },
        "year": {"type": "identity", "default_val": [2008.0]},
    }
    return {"feature_transformations": transformations, "feature_order": list(KINDS)}


def vectorize(rows: list[Row], vectorization: dict[str, Any]) -> NDArray[np.float32]:
    """The model's input: float32 `(rows, columns)`."""
    features = vectorization["feature_transformations"]
    return np.array(
        [
            np.concatenate(
                [_columns(row.get(name), features[name]) for name in vectorization["feature_order"]]
            )
            for row in rows
        ],
        np.float32,
    )


def _columns(value: Any, parameters: dict[str, Any]) -> NDArray[np.float32]:
    """One feature of one row by its formula."""
    if value is None:
        return np.array(parameters["default_val"], np.float32)
    kind = parameters["type"]
    if kind == "identity":
        return np.array([value], np.float32)
    if kind == "one_hot_encoding":
        return np.array([value == category for category in parameters["categories"]], np.float32)
    if kind == "embedding":
        return np.array(parameters["embeddings"][value], np.float32)
    number = np.float64 if kind.endswith("64") else np.float32
    if kind.startswith("standardization"):
        scaled = (number(value) - number(parameters["mean"])) / number(parameters["std_dev"])
    else:
        low, high = number(parameters["min"]), number(parameters["max"])
        scaled = (number(value) - low) / (high - low)
    return np.array([scaled], np.float32)


def train(matrix: NDArray[np.float32], targets: NDArray[np.int64]) -> Pipeline:
    """A scaler, for the one column that is not scaled yet, and a logistic regression, rounded."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    pipeline.fit(matrix, targets)
    scaler, regression = pipeline.named_steps.values()
    for owner, name in (
        (scaler, "mean_"),
        (scaler, "scale_"),
        (regression, "coef_"),
        (regression, "intercept_"),
    ):
        setattr(owner, name, np.round(getattr(owner, name), DECIMALS))
    return pipeline


def report(
    pipeline: Pipeline, matrix: NDArray[np.float32], held_out: list[int], species: dict[int, str]
) -> None:
    """Print what the model makes of the birds that it has not seen."""
    for index, scores in zip(held_out, pipeline.predict_proba(matrix), strict=True):
        said = SPECIES[int(np.argmax(scores))]
        print(f"{row_id(index)}  {np.round(scores, 5)}  {said:9}  {'' if said == species[index] else '!'}")


def export(pipeline: Pipeline, matrix: NDArray[np.float32]) -> bytes:
    """The ONNX model: `label` int64 `(N)` and `probabilities` float32 `(N, 3)`, without ZipMap."""
    model = to_onnx(
        pipeline,
        matrix[:1],
        name="penguins",
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    model.opset_import.remove(model.opset_import[-1])  # the converter names the default domain twice
    model.ir_version = 8  # what opset 17 came with: the oldest onnxruntime that hushar takes reads it
    model.doc_string = "Species of Palmer penguins; made by scripts/make_demo_model.py"
    return bytes(model.SerializeToString(deterministic=True))


def row_id(index: int) -> str:
    """The bird's name in requests."""
    return f"penguin-{index:03d}"


def _message(index: int, row: Row) -> dict[str, Any]:
    return {"row_id": row_id(index), "features": {name: {KINDS[name]: value} for name, value in row.items()}}


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _vectorization_json(document: dict[str, Any]) -> bytes:
    """One feature a line."""
    features = document["feature_transformations"].items()
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(parameters)}" for name, parameters in features)
    order = ",\n".join(f"    {json.dumps(name)}" for name in document["feature_order"])
    return (
        f'{{\n  "feature_transformations": {{\n{lines}\n  }},\n  "feature_order": [\n{order}\n  ]\n}}\n'
    ).encode()


def _json_lines(documents: list[dict[str, Any]]) -> bytes:
    """A JSON list with one element a line."""
    return ("[\n" + ",\n".join(f"  {json.dumps(document)}" for document in documents) + "\n]\n").encode()


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


if __name__ == "__main__":
    sys.exit(main())
