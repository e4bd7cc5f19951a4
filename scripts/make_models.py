"""Write the ONNX models of tests and benchmarks into a directory, to look at them or to serve them by hand.

    python scripts/make_models.py DIRECTORY

The builders are in hushar/testing/onnx_models.py; the same version of `onnx` makes the same bytes.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hushar.testing import onnx_models

MODELS: dict[str, Callable[[], bytes]] = {
    "linear": lambda: onnx_models.linear(3, 2),
    "linear_float64": lambda: onnx_models.linear(3, 2, dtype=np.float64),
    "linear_rank_1": lambda: onnx_models.linear(3, 1, rank=1),
    "linear_free_width": lambda: onnx_models.linear(3, 1, free_width=True),
    "classifier_like": lambda: onnx_models.classifier_like(3),
    "zipmap_like": onnx_models.zipmap_like,
    "two_outputs": lambda: onnx_models.two_outputs(3),
    "two_inputs": onnx_models.two_inputs,
    "failing_on_minus_1": lambda: onnx_models.failing_on(-1),
    "wrong_rows": onnx_models.wrong_rows,
    "mlp_1_1": lambda: onnx_models.mlp([1, 1], seed=1),
    "mlp_50_32_1": lambda: onnx_models.mlp([50, 32, 1], seed=2),
    "mlp_212_64_32_1": lambda: onnx_models.mlp([212, 64, 32, 1], seed=3),
    "mlp_1002_512_256_5": lambda: onnx_models.mlp([1002, 512, 256, 5], seed=4),
}


def main() -> int:
    """Write all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where NAME.onnx is written")
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, build in MODELS.items():
        path = directory / f"{name}.onnx"
        path.write_bytes(build())
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
