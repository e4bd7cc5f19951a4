"""Whether binding a model's input and output beforehand is worth it: µs of CPU a run, on W1–W4.

    python benchmark/binding.py

`run` takes the matrix as it is and gives a new array, without a copy of either. Bound anew for each matrix
the binding costs more than it saves; bound once, to memory that never changes, it saves 2 to 4 µs, and
matrices have to be copied into that memory. That is what hushar does with small ones: its way
(hushar/models/onnx_bound.py) is measured as well. Cold: after other memory, more than the processor's second
cache holds, has been written.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import workloads

from hushar.models.onnx_bound import MOST_BYTES, MOST_ROWS, BoundRuns, run_options

RUNS = 1000
ROUNDS = 5
COLD_RUNS = 200
COLD_BYTES = 8 << 20


def main() -> None:
    """Print a line for each workload."""
    for name, rows in (("W1", 1), ("W1", 100), ("W2", 100), ("W3", 50), ("W4", 1), ("W4", 100)):
        workload = workloads.make(name)
        matrix = np.resize(workload.matrix, (rows, workload.matrix.shape[1]))
        figures = "  ".join(
            f"{way} {warm:6.1f}, cold {cold:6.1f}"
            for way, (warm, cold) in measure(workload.model, matrix).items()
        )
        print(f"{name} {rows:4} rows: {figures}", flush=True)


def measure(model: bytes, matrix: np.ndarray) -> dict[str, tuple[float, float]]:
    """µs a run, warm and cold, by way."""
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
    ways: dict[str, Callable[[], object]] = {
        "run": lambda: session.run([given], {taken: matrix}),
        "bound anew": lambda: session.run_with_iobinding(bind()),
        "bound once": lambda: session.run_with_iobinding(bound),
    }
    if len(matrix) <= MOST_ROWS and matrix.nbytes <= MOST_BYTES:
        small = BoundRuns(session, run_options(onnxruntime), taken, given)
        ways["hushar's"] = lambda: small.run(matrix)
    return {way: (_micros(run), _cold_micros(run)) for way, run in ways.items()}


def _micros(run: Callable[[], object]) -> float:
    """The least of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.thread_time()
        for _ in range(RUNS):
            run()
        best = min(best, (time.thread_time() - begun) / RUNS * 1e6)
    return best


def _cold_micros(run: Callable[[], object]) -> float:
    """The median, where other memory has been in the caches before each run."""
    other = np.zeros(COLD_BYTES // 8)
    found = []
    for _ in range(COLD_RUNS):
        other += 1
        begun = time.perf_counter()
        run()
        found.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(found)


if __name__ == "__main__":
    main()
