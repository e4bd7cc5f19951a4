"""The fuzzer of scripts/fuzz_kernel.py runs, for a moment, and finds what it is there to find."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from hushar.features.vectorize import kernel_problem, make_vectorizer
from hushar.inference.splice import Splice
from hushar.records import own_bytes

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "fuzz_kernel.py"
NOT_BUILT = "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"


@pytest.fixture(scope="module")
def fuzzer():
    spec = importlib.util.spec_from_file_location("hushar_fuzz_kernel", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


needs_kernel = pytest.mark.skipif(kernel_problem("cython") is not None, reason=NOT_BUILT)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [pytest.param("cython", marks=needs_kernel), "reference"])
def test_no_difference(fuzzer, kernel):
    became = fuzzer.fuzz(6_000, seed=1, kernel=kernel)
    assert became.total() >= 6_000
    assert min(became[what] for what in ("rows", "InvalidRequest", "UndecodableRequest")) > 300


@pytest.mark.slow
@needs_kernel
def test_compiled_code_alone(fuzzer):
    assert fuzzer.fuzz(6_000, seed=100, kernel_only=True).total() >= 6_000


class Wrong:
    """A vectorizer that is wrong about one thing."""

    def __init__(self, plan, fault):
        self.plan = plan
        self.name = "wrong"
        self._fault = fault
        self._right = make_vectorizer(plan, "reference")

    def count(self, messages):
        return [count + (self._fault == "count" and count == 3) for count in self._right.count(messages)]

    def check(self, message):
        if self._fault != "check" or len(message) % 7:
            self._right.check(message)

    def begin(self, message):
        return self._right.begin(message)

    def feature_counts(self):
        counts = self._right.feature_counts()
        if self._fault == "counts":
            name, (missing, unknown, unparsable) = next(iter(counts.items()))
            counts[name] = (missing + (missing > 20), unknown, unparsable)
        return counts

    def vectorize(self, parts, rows, counted=True):
        result = self._right.vectorize(parts, rows, counted)
        if self._fault == "zero":
            result.matrix[result.matrix.view(np.uint32) == 1 << 31] = 0
        if self._fault == "neighbour" and len(parts) > 100:
            result.matrix[-1, -1] += 1
        if self._fault == "text":
            for error in result.errors.values():
                error.args = (error.args[0].replace("row", "line"),)
        if self._fault == "parts" and len(parts) == 1 and rows[0] == 1:
            result.matrix[:, 0] += 1
        return result


@pytest.mark.parametrize("fault", ["count", "check", "zero", "neighbour", "text", "parts", "counts"])
def test_it_notices_a_kernel_that_is_wrong(fuzzer, monkeypatch, fault):
    right = fuzzer.make_vectorizer

    def make(plan, kernel):
        return right(plan, kernel) if kernel == "reference" else Wrong(plan, fault)

    monkeypatch.setattr(fuzzer, "make_vectorizer", make)
    with pytest.raises((fuzzer.Difference, ValueError)) as caught:
        fuzzer.fuzz(20_000, seed=1)
    assert caught.value.__notes__[0].startswith("in the round of seed ")


class WrongInDrafts:
    """A splice that is wrong about one thing where records go into a draft."""

    def __init__(self, right, fault):
        self._right = right.whole
        self._fault = fault
        self.splice = Splice(self.whole, right.part)

    def whole(self, messages, rows, scores, log, draft=None):
        responses, records = self._right(messages, rows, scores, log, draft)
        if draft is None or not records:
            return responses, records
        in_draft, end = records[0] is draft, draft.at + draft.size * (records[0] is draft)
        if self._fault == "after" and end < len(draft.memory):
            draft.memory[end] ^= 1
        if self._fault == "before" and draft.at:
            draft.memory[draft.at - 1] ^= 1
        if self._fault == "record" and in_draft:
            draft.memory[end - 1] ^= 1
        if self._fault == "size" and in_draft:
            draft.size -= 1
        if self._fault == "taken" and in_draft:
            draft.book(len(messages), draft.size)
        if self._fault == "bytes":
            records = own_bytes(records)
        if self._fault == "response":
            responses = responses[::-1]
        return responses, records


@pytest.mark.parametrize("fault", ["after", "before", "record", "size", "taken", "bytes", "response"])
@pytest.mark.parametrize("kernel", [pytest.param("compiled", marks=needs_kernel), "readable"])
def test_it_notices_drafts_that_are_wrong(fuzzer, monkeypatch, kernel, fault):
    right = fuzzer.splicing.twins()
    wrong = {**right, kernel: WrongInDrafts(right[kernel], fault).splice}
    monkeypatch.setattr(fuzzer.splicing, "twins", lambda: wrong)
    monkeypatch.setattr(fuzzer.splicing.splice, "READABLE", wrong["readable"])
    with pytest.raises(fuzzer.Difference, match=f"{kernel} splice, .* draft: messages"):
        fuzzer.fuzz(20_000, seed=1, kernel="reference")


def test_a_difference_is_made_small_and_shown(fuzzer, monkeypatch, capsys):
    right = fuzzer.make_vectorizer
    monkeypatch.setattr(fuzzer, "kernel_problem", lambda kernel: None)
    monkeypatch.setattr(
        fuzzer,
        "make_vectorizer",
        lambda plan, kernel: right(plan) if kernel == "reference" else Wrong(plan, "zero"),
    )
    assert fuzzer.main(["--messages", "20000", "--seed", "3"]) == 1
    shown = capsys.readouterr().out
    (message,) = (line for line in shown.splitlines() if line.startswith("message: "))
    assert len(message) < 1500
    assert "the kernel is not the reference" in shown


def test_without_a_kernel_it_says_so(fuzzer, monkeypatch, capsys):
    monkeypatch.setattr(fuzzer, "kernel_problem", lambda kernel: "there is none")
    assert fuzzer.main([]) == 2
    assert capsys.readouterr().err == "there is none\n"
