"""Small matrices in bound memory: the scores of plain runs, and nobody's but the caller's.

`Watched` is a real session of onnxruntime that says how it has been run.
"""

import sys
import threading
from functools import partial

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from hushar.models.onnx import OnnxRuntime
from hushar.models.onnx_bound import MOST_BYTES, MOST_ROWS, BoundRuns, run_options
from hushar.models.onnx_options import CPU, session_options
from hushar.models.runtime import ModelSettings, TensorSpec
from hushar.models.scores import UnexpectedScores
from hushar.testing import onnx_models

PLAIN, BOUND = "plain", "bound"
CUDA = "CUDAExecutionProvider"
SCORES = TensorSpec("y", "float32", ("N", None))

CUT = """<ir_version: 8, opset_import: ["" : 17]>
cut (float[N, W] x) => (float[M, C] y)
<int64[1] zero = {0}, int64[1] flat = {-1}, int64[1] axis = {AXIS}>
{
    most = ReduceMax<keepdims = 1>(x)
    whole = Cast<to = 7>(most)
    stop = Reshape(whole, flat)
    y = Slice(x, zero, stop, axis)
}"""
NARROWING = """<ir_version: 8, opset_import: ["" : 17]>
narrowing (double[N, 3] x) => (float[N, 3] y) { y = Cast<to = 1>(x) }"""


def written(text):
    """The bytes of a model in onnx's own notation."""
    return onnx.parser.parse_model(text).SerializeToString()


def cut(axis):
    """As many of the first rows (axis 0) or columns (1) of `x` as its largest number says."""
    return written(CUT.replace("AXIS", str(axis)))


def plain_session(model):
    return onnxruntime.InferenceSession(
        model, session_options(onnxruntime, ModelSettings()), providers=[CPU], enable_fallback=0
    )


def plain_scores(session, tensor):
    """What a plain run gives, as scores."""
    (output,) = session.run(["y"], {"x": tensor})
    return output.reshape(len(output), -1).astype(np.float32)


class Watched:
    """A session: `ways` has how each run was made, `options` what it was given.

    With `inner`, it has the session underneath as an InferenceSession has; `meanwhile` is called once, while
    a bound run is under way.
    """

    def __init__(self, model, *, inner=True, providers=(CPU,)):
        self.real = plain_session(model)
        self.ways = []
        self.options = []
        self.meanwhile = None
        self.get_inputs = self.real.get_inputs
        self.get_outputs = self.real.get_outputs
        self.io_binding = self.real.io_binding
        self.get_providers = lambda: list(providers)
        if inner and hasattr(self.real, "_sess"):
            self._sess = Inner(self)

    def run(self, names, inputs, options=None):
        self._note(PLAIN, options)
        return self.real.run(names, inputs, options)

    def run_with_iobinding(self, binding, options=None):
        self.run_bound(self.real, binding, options)

    def run_bound(self, runner, binding, options):
        self._note(BOUND, options)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        runner.run_with_iobinding(binding, options)

    def _note(self, way, options):
        self.ways.append(way)
        self.options.append(options)


class Inner:
    """The session underneath a Watched one."""

    def __init__(self, outer):
        self._outer = outer

    def run_with_iobinding(self, binding, options):
        self._outer.run_bound(self._outer.real._sess, binding, options)


@pytest.fixture(params=["inner", "public"])
def watch(request):
    """Makes Watched sessions, with and without what lies underneath."""
    return partial(Watched, inner=request.param == "inner")


def bound_runs(session):
    return BoundRuns(session, run_options(onnxruntime), "x", "y")


def runtime(session):
    return OnnxRuntime(session, run_options(onnxruntime), onnxruntime.__version__, SCORES, {})


def row(*values):
    return np.array([values], np.float32)


@pytest.fixture
def random():
    return np.random.default_rng(11)


MODELS = {
    "float32": (onnx_models.linear(3, 2), np.float32, BOUND),
    "free width": (onnx_models.linear(3, 2, free_width=True), np.float32, BOUND),
    "rank 1": (onnx_models.linear(3, 1, rank=1), np.float32, BOUND),
    "mlp": (onnx_models.mlp([3, 8, 5], seed=1), np.float32, BOUND),
    "identity": (onnx_models.identity(shape=("N", 3)), np.float32, BOUND),
    "float64 in": (written(NARROWING), np.float64, BOUND),
    "float64": (onnx_models.linear(3, 2, dtype=np.float64), np.float64, PLAIN),
    "float64, rank 1": (onnx_models.linear(3, 1, dtype=np.float64, rank=1), np.float64, PLAIN),
}
models = pytest.mark.parametrize(("model", "dtype", "again"), MODELS.values(), ids=MODELS.keys())
through = pytest.mark.parametrize("runs_of", [bound_runs, runtime])


class TestScores:
    @models
    @through
    def test_they_are_those_of_plain_runs_in_any_order_of_shapes(
        self, watch, random, model, dtype, again, runs_of
    ):
        """`again`: how a small matrix is run whose shape has been there before."""
        session = watch(model)
        runs = runs_of(session)
        seen = set()
        for rows in np.concatenate([random.permutation(MOST_ROWS + 2) + 1 for _ in range(4)]):
            tensor = random.standard_normal((rows, 3)).astype(dtype)
            expected = plain_scores(session.real, tensor)
            scores = runs.run(tensor)
            assert (scores.shape, scores.dtype) == (expected.shape, np.float32)
            assert scores.flags.c_contiguous
            assert scores.tobytes() == expected.tobytes()
            assert session.ways.pop() == (again if rows in seen and rows <= MOST_ROWS else PLAIN)
            assert session.ways == []
            seen.add(rows)

    @through
    def test_those_of_earlier_runs_are_not_overwritten(self, watch, random, runs_of):
        runs = runs_of(watch(onnx_models.identity(shape=("N", 3))))
        tensors = [random.standard_normal((2, 3)).astype(np.float32) for _ in range(6)]
        scores = [runs.run(tensor) for tensor in tensors]
        np.testing.assert_array_equal(scores, tensors)

    def test_the_caller_may_write_into_matrix_and_scores(self, watch):
        runs = bound_runs(watch(onnx_models.identity(shape=("N", 2))))
        for number in range(4):
            tensor = row(number, -1)
            scores = runs.run(tensor)
            tensor[...] = 77
            np.testing.assert_array_equal(scores, row(number, -1))
            scores[...] = 88
            np.testing.assert_array_equal(tensor, row(77, 77))

    def test_a_loaded_model_is_run_bound(self, loaded, monkeypatch):
        """Its second run makes no plain one."""
        ways = []
        run = onnxruntime.InferenceSession.run

        def running(session, *arguments):
            ways.append(PLAIN)
            return run(session, *arguments)

        monkeypatch.setattr(onnxruntime.InferenceSession, "run", running)
        model = loaded(onnx_models.linear(2, 1))
        first, second = model.run(row(1, 2)), model.run(row(1, 2))
        assert ways == [PLAIN]
        assert first.tobytes() == second.tobytes()


class TestWhatIsNotBound:
    @through
    @pytest.mark.parametrize(
        ("rows", "width", "again"),
        [
            (MOST_ROWS, 1, BOUND),
            (MOST_ROWS + 1, 1, PLAIN),
            (1, MOST_BYTES // 4, BOUND),
            (1, MOST_BYTES // 4 + 1, PLAIN),
            (2, MOST_BYTES // 8, BOUND),
            (2, MOST_BYTES // 8 + 1, PLAIN),
        ],
    )
    def test_a_matrix_of_more_rows_or_bytes(self, watch, random, runs_of, rows, width, again):
        session = watch(onnx_models.linear(width, 1))
        runs = runs_of(session)
        for _ in range(3):
            tensor = random.random((rows, width), np.float32)
            assert runs.run(tensor).tobytes() == plain_scores(session.real, tensor).tobytes()
        assert session.ways == [PLAIN, again, again]

    @pytest.mark.parametrize(("outputs", "again"), [(MOST_BYTES // 4, BOUND), (MOST_BYTES // 4 + 1, PLAIN)])
    def test_a_small_matrix_with_more_scores(self, watch, outputs, again):
        session = watch(onnx_models.linear(1, outputs))
        runs = bound_runs(session)
        weights, bias = onnx_models.linear_weights(1, outputs)
        for number in range(3):
            np.testing.assert_array_equal(runs.run(row(number)), number * weights + bias)
        assert session.ways == [PLAIN, again, again]

    @through
    @pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
    def test_a_matrix_of_nothing(self, watch, runs_of, shape):
        session = watch(onnx_models.identity(shape=("N", "width")))
        runs = runs_of(session)
        assert [runs.run(np.empty(shape, np.float32)).shape for _ in range(3)] == [shape] * 3
        assert session.ways == [PLAIN] * 3

    @pytest.mark.parametrize(
        ("providers", "again"), [([CUDA, CPU], PLAIN), ([CPU, CUDA], PLAIN), ([CUDA], PLAIN), ([CPU], BOUND)]
    )
    def test_a_session_that_computes_elsewhere_than_on_the_cpu(self, watch, providers, again):
        session = watch(onnx_models.linear(3, 1), providers=providers)
        runs = runtime(session)
        for _ in range(3):
            assert runs.run(np.zeros((1, 3), np.float32)).shape == (1, 1)
        assert session.ways == [PLAIN, again, again]


class TestFailures:
    @through
    def test_a_model_that_fails_raises_what_onnxruntime_raises_and_is_bound_again(self, watch, runs_of):
        session = watch(onnx_models.failing_on(9))
        runs = runs_of(session)
        good, bad, other = np.array([[1], [2]], np.float32), np.array([[1], [9]], np.float32), row(3)
        with pytest.raises(Exception, match="out of data bounds") as plainly:
            session.real.run(["y"], {"x": bad})
        runs.run(other)
        for _ in range(3):
            for _ in range(3):
                np.testing.assert_array_equal(runs.run(good), good)
            assert session.ways[-2:] == [BOUND, BOUND]
            with pytest.raises(type(plainly.value), match="out of data bounds"):
                runs.run(bad)
            # It costs other shapes nothing.
            assert runs.run(other) == other
            assert session.ways[-1] == BOUND

    def test_one_that_fails_at_once_is_bound_later(self, watch):
        session = watch(onnx_models.failing_on(9))
        runs = bound_runs(session)
        for _ in range(2):
            with pytest.raises(Exception, match="out of data bounds"):
                runs.run(row(9))
        assert [runs.run(row(number)) for number in (1, 2, 3)] == [row(1), row(2), row(3)]
        assert session.ways == [PLAIN] * 3 + [BOUND] * 2

    @through
    @pytest.mark.parametrize("widths", [(2, 3, 2), (2, 1, 2)], ids=["wider", "narrower"])
    def test_where_the_shape_of_the_output_changes_it_is_right_and_no_more_bound(
        self, watch, runs_of, widths
    ):
        session = watch(cut(axis=1))
        runs = runs_of(session)
        other = row(1, 0, -1)
        runs.run(other)
        for width in (2, *widths):
            tensor = np.array([[width, 0.5, -1], [0, 1, -2]], np.float32)
            np.testing.assert_array_equal(runs.run(tensor), tensor[:, :width])
        # The bound run that has failed was made again; after that there are none, of no shape.
        assert session.ways == [PLAIN, PLAIN, BOUND, BOUND, PLAIN, PLAIN]
        for _ in range(2):
            np.testing.assert_array_equal(runs.run(other), row(1))
        assert session.ways[6:] == [PLAIN, PLAIN]

    @through
    def test_another_number_of_rows_than_went_in_is_refused_each_time(self, watch, runs_of):
        session = watch(onnx_models.wrong_rows(2))
        runs = runs_of(session)
        for _ in range(3):
            with pytest.raises(UnexpectedScores, match=r"has shape \(1, 2\) for 3 rows of input"):
                runs.run(np.ones((3, 2), np.float32))
            np.testing.assert_array_equal(runs.run(row(5, 6)), row(5, 6))
        assert session.ways == [PLAIN, PLAIN, PLAIN, BOUND, PLAIN, BOUND]

    def test_also_where_it_was_right_before(self, watch):
        session = watch(cut(axis=0))
        runs = bound_runs(session)
        whole, part = np.array([[2, 0], [1, 0]], np.float32), np.array([[1, 0], [0, 0]], np.float32)
        for _ in range(2):
            np.testing.assert_array_equal(runs.run(whole), whole)
        with pytest.raises(UnexpectedScores, match=r"has shape \(1, 2\) for 2 rows of input"):
            runs.run(part)
        np.testing.assert_array_equal(runs.run(whole), whole)
        assert session.ways == [PLAIN, BOUND, BOUND, PLAIN, PLAIN]


class TestSeveralAtOnce:
    def test_a_run_that_begins_during_another_has_memory_of_its_own(self, watch):
        session = watch(onnx_models.identity(shape=("N", 2)))
        runs = bound_runs(session)
        runs.run(row(0, 0))
        between = []
        for number in range(1, 4):
            session.meanwhile = lambda number=number: between.append(runs.run(row(number, -number)))
            np.testing.assert_array_equal(runs.run(row(number, number)), row(number, number))
            np.testing.assert_array_equal(between[-1], row(number, -number))
        # The first of those between found the memory taken; from then on there was enough for two.
        assert session.ways == [PLAIN, BOUND, PLAIN, BOUND, BOUND, BOUND, BOUND]

    def test_where_another_thread_takes_the_last_memory_a_run_is_plain(self, watch):
        class JustTaken(list):
            """There was something in it a moment ago."""

            def __bool__(self):
                return True

        session = watch(onnx_models.identity())
        runs = bound_runs(session)
        runs._free[1, 1] = JustTaken()
        assert [runs.run(row(number)) for number in range(2)] == [row(0), row(1)]
        assert session.ways == [PLAIN, BOUND]

    @through
    def test_threads_get_each_its_own_scores(self, watch, runs_of):
        """And make no more memory of a shape than there are threads."""
        threads, each, shapes = 4, 200, 3
        session = watch(onnx_models.mlp([6, 64, 64, 3], seed=2))
        runs = runs_of(session)
        inputs, right = {}, {}
        for thread in range(threads):
            random = np.random.default_rng(thread)
            inputs[thread] = [
                random.standard_normal((1 + number % shapes, 6)).astype(np.float32) for number in range(each)
            ]
            right[thread] = [plain_scores(session.real, tensor) for tensor in inputs[thread]]
        got = in_threads(runs, inputs)
        for thread in range(threads):
            assert len(got[thread]) == each
            for scores, expected in zip(got[thread], right[thread], strict=True):
                assert scores.tobytes() == expected.tobytes()
        assert len(session.ways) == threads * each
        assert session.ways.count(PLAIN) <= threads * shapes


def in_threads(runs, inputs):
    """The scores of each thread's inputs, all threads having begun together."""
    begin = threading.Barrier(len(inputs))
    got = {thread: [] for thread in inputs}

    def work(thread):
        begin.wait()
        for tensor in inputs[thread]:
            got[thread].append(runs.run(tensor))

    workers = [threading.Thread(target=work, args=(thread,)) for thread in inputs]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    return got


class TestOptions:
    def test_they_have_the_entry_that_every_bound_run_is_asked_for(self):
        assert run_options(onnxruntime).get_run_config_entry("gpu_graph_id") == "0"

    @through
    def test_every_run_is_given_those_of_the_session(self, watch, runs_of):
        session = watch(onnx_models.linear(1, 1))
        runs = runs_of(session)
        for rows in (1, 1, 1, MOST_ROWS + 1):
            runs.run(np.zeros((rows, 1), np.float32))
        assert session.ways == [PLAIN, BOUND, BOUND, PLAIN]
        assert {options.get_run_config_entry("gpu_graph_id") for options in session.options} == {"0"}
        assert len({id(options) for options in session.options}) == 1
