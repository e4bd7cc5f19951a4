"""The kernel beside its reference, and both beside CONTRACT.md: kernelkit has the makers and the yardsticks.

Tests are no package; kernelkit is one, and is found through the path.
"""

import functools
import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from kernelkit import counting, plans, running, splicing
from kernelkit.oracle import expected

from hushar.features.vectorize import kernel_problem, make_vectorizer

NOT_BUILT = "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"


def pytest_assertrepr_compare(op, left, right):
    """A difference of two matrices: where it is."""
    if isinstance(left, running.Outcome):
        return [f"{left} {op} {right}"]
    return None


@pytest.fixture(params=["reference", "cython"], scope="session")
def make(request):
    """make(setup): the Vectorizer of a configuration, by each implementation."""
    if request.param == "cython" and kernel_problem("cython") is not None:
        pytest.skip(NOT_BUILT)
    return lambda setup: make_vectorizer(setup.plan, request.param)


@pytest.fixture(params=["readable", "compiled"], scope="session")
def spliced(request):
    """`spliced`, each implementation."""
    if request.param not in splicing.twins():
        pytest.skip(NOT_BUILT)
    return splicing.twins()[request.param].whole


@pytest.fixture(params=["readable", "compiled"], scope="session")
def sliced(request):
    """sliced(message, scores, log, sizes): a response and records, spliced in slices."""
    if request.param not in splicing.twins():
        pytest.skip(NOT_BUILT)
    return functools.partial(splicing.in_slices, splicing.twins()[request.param])


@pytest.fixture(scope="session")
def agree(make):
    """agree(setup, messages): each message's outcome is what the oracle expects; gives the outcomes."""

    def check(setup, messages):
        messages = list(messages)
        vectorizer = make(setup)
        made = running.outcomes(vectorizer, messages)
        counted = counting.expected(setup.configuration, messages)
        assert vectorizer.feature_counts() == counted, [message.hex() for message in messages]
        for message, outcome in zip(messages, made, strict=True):
            wanted = expected(setup.configuration, message)
            assert outcome.agrees(wanted), f"{message.hex()}\ngot: {outcome}\nexpected: {wanted}"
        return made

    return check


@pytest.fixture
def rng():
    """Random numbers, the same in each run."""
    return random.Random(6)


@pytest.fixture(scope="session")
def everything():
    """A configuration with two features of each type, one value each and three."""
    features = {}
    for units in (1, 3):
        for kind in (*plans.SEVEN, "plugin"):
            made = {"type": kind}
            unit = 1
            if kind.startswith("min_max"):
                made |= {"min": 0.1, "max": 0.7}
            elif kind.startswith("standard"):
                made |= {"mean": 0.3, "std_dev": 1.1}
            elif kind == "one_hot_encoding":
                made["categories"] = ["red", "", "7", "blue"]
                unit = 4
            elif kind == "embedding":
                made["embeddings"] = {"red": [1, 2.5], "7": [0.1, -0.0]}
                unit = 2
            elif kind == "plugin":
                made["bias"] = 0.5
                unit = 2
            made["default_val"] = [-1.5 - i for i in range(units * unit)]
            features[f"{kind} {units}"] = made
    return plans.setup_of(features)


@pytest.fixture(scope="session")
def simple():
    """One feature `f`, identity, one value."""
    return plans.setup_of({"f": {"type": "identity", "default_val": [-1.5]}})
