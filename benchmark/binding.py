"""Whether binding a model's input and output beforehand is worth it: µs of CPU a run, on W1–W4.

    python benchmark/binding.py

`run` takes the matrix as it is and gives a new array, without a copy of either. Bound anew for each matrix,
which is what a server would have to do, the binding costs more than it saves; bound once, to memory that
never changes, it saves 2 to 4 µs, and calls would have to be copied into that memory.
"""

import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import workloads

RUNS = 1000
ROUNDS = 5


def main() -> None:
    """Print a line for each workload."""
    for name, rows in (("W1", 1), ("W1", 100), ("W2", 100), ("W3", 50), ("W4", 1), ("W4", 100)):
        workload = workloads.make(name)
        matrix = np.resize(workload.matrix, (rows, workload.matrix.shape[1]))
        figures = "  ".join(f"{way} {micros:6.1f}" for way, micros in measure(workload.model, matrix).items())
        print(f"{name} {rows:4} rows: {figures}", flush=True)


def measure(model: bytes, matrix: np.ndarray) -> dict[str, float]:
    """µs a run, by way."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    taken, given = session.get_inputs()[0].name, session.get_outputs()[0].name
    (scores,) = session.run([given], {taken: matrix})

    def bind() -> onnxruntime.IOBinding:
        binding = session.io_binding()
        binding.bind_input(taken, "cpu", 0, np.float32, matrix.shape, matrix.ctypes.data)
        binding.bind_output(given, "cpu", 0, np.float32, scores.shape, scores.ctypes.data)
        return binding

    bound = bind()
    return {
        "run": _micros(lambda: session.run([given], {taken: matrix})),
        "bound anew": _micros(lambda: session.run_with_iobinding(bind())),
        "bound once": _micros(lambda: session.run_with_iobinding(bound)),
    }


def _micros(run: Callable[[], object]) -> float:
    """The least of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.thread_time()
        for _ in range(RUNS):
            run()
        best = min(best, (time.thread_time() - begun) / RUNS * 1e6)
    return best


if __name__ == "__main__":
    main()
