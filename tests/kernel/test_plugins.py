"""Transformations of plugins: what they see, what becomes of what they say, and of what they raise."""

from typing import Any

import numpy as np
import pytest
from kernelkit import plans, running
from kernelkit.requests import Maker
from kernelkit.wire import I32, field, tag

from hushar.features.interface import ANY, Element, Transformation, Transformed
from hushar.features.plan import compile_plan
from hushar.features.transformations import Identity, OneHotEncoding
from hushar.features.vectorize import kernel_problem, make_vectorizer
from hushar.records import VectorizationDocument


def entry(name, value):
    return field(2, field(1, name) + field(2, value))


def floats(number):
    return tag(2, I32) + np.float32(number).tobytes()


class Recorder(Transformation):
    """Keeps what it sees; raises for a 666, refuses a 13, does not know what is negative."""

    accepts = ANY
    wants = "luck"

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.seen: list[tuple[Element, np.ndarray]] = []

    def transform(self, column):
        self.seen.append((column.element, column.values.copy()))
        if column.element is Element.STRING:
            size = np.array([len(text) for text in column.values], np.float64)
        else:
            size = column.values.astype(np.float64)
        if (size == 666).any():
            raise KeyError("666")
        return Transformed(size.astype(np.float32).reshape(-1, 1), unknown=size < 0, unparsable=size == 13)


class Doubled(Identity):
    """A built-in one with something added."""

    def transform(self, column):
        made = super().transform(column)
        return Transformed(made.values * 2, unknown=made.unknown, unparsable=made.unparsable)


class Last(OneHotEncoding):
    """Another built-in one."""

    def words(self):
        return list(super().words())[::-1]


@pytest.fixture
def setup():
    registry = {**plans.REGISTRY, "recorder": Recorder, "doubled": Doubled, "last": Last}
    features = {
        "a": {"type": "identity", "default_val": [-1]},
        "r": {"type": "recorder", "default_val": [-2]},
        "pair": {"type": "recorder", "default_val": [-3, -4]},
        "d": {"type": "doubled", "default_val": [-5]},
        "l": {"type": "last", "categories": ["x", "y"], "default_val": [0.25, 0.75]},
        "z": {"type": "identity", "default_val": [-6]},
    }
    plan = compile_plan(VectorizationDocument("v.json", features, tuple(features)), registry)
    return plans.Setup({"feature_transformations": features, "feature_order": list(features)}, plan)


def recorder(setup, name):
    return setup.plan.index[name].transformation


def row(**given):
    return field(2, b"".join(entry(name, value) for name, value in given.items()))


def test_they_fill_their_columns(make, setup):
    messages = [
        row(r=floats(2), pair=field(7, field(1, np.float32([3, 4]).tobytes())), d=floats(5), l=field(5, "y")),
        row(r=field(5, "four"), d=field(5, "1e1"), l=field(10, field(1, "x")), pair=b""),
        row(
            r=floats(-7),
            pair=field(8, field(1, b"\7\xff\xff\xff\xff\xff\xff\xff\xff\xff\1")),
            l=field(5, "?"),
        ),
    ]
    (one,) = running.outcomes(make(setup), [b"".join(messages)])
    assert one.matrix.tolist() == [
        [-1, 2, 3, 4, 10, 1, 0, -6],
        [-1, 4, -3, -4, 20, 0, 1, -6],
        [-1, -2, 7, -4, -5, 0.25, 0.75, -6],
    ]


def test_of_a_key_twice_the_plugin_sees_the_last(make, setup):
    message = field(
        2, entry("r", floats(1)) + entry("r", field(5, "ab")) + entry("a", floats(9)) + entry("r", floats(3))
    )
    (one,) = running.outcomes(make(setup), [message])
    assert one.matrix[0, 1] == 3
    assert [(element, column.tolist()) for element, column in recorder(setup, "r").seen] == [
        (Element.FLOAT, [3.0])
    ]


def test_a_last_value_that_is_absent_or_refused_takes_the_first_one_back(make, setup):
    vectorizer = make(setup)
    (absent,) = running.outcomes(vectorizer, [field(2, entry("r", floats(666)) + entry("r", b""))])
    assert absent.matrix[0, 1] == -2
    refused = field(2, entry("r", floats(666)) + entry("r", field(7, b"")))
    assert "brings 0 values" in str(running.outcomes(vectorizer, [refused])[0].error)
    unknown = field(2, entry("r", floats(5)) + field(2, field(1, "r") + field(2, floats(666)) + b"\x18\1"))
    assert running.outcomes(vectorizer, [unknown])[0].matrix[0, 1] == 5
    assert all(666 not in column for _, column in recorder(setup, "r").seen)


def test_what_does_not_decode_is_not_shown_to_them(make, setup):
    message = row(r=floats(666)) + row(r=floats(666)) + b"\x80"
    made = running.outcomes(make(setup), [row(r=floats(1)), message, row(r=floats(2))])
    assert [outcome.error is None for outcome in made] == [True, False, True]
    assert [column.tolist() for _, column in recorder(setup, "r").seen] == [[1.0, 2.0]]


def test_both_see_the_same_columns(setup, rng):
    if kernel_problem("cython") is not None:
        pytest.skip(
            "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"
        )
    messages = [
        b"".join(
            row(r=floats(rng.randint(14, 99)), pair=field(10, field(1, "é") + field(1, ""))) for _ in range(3)
        ),
        row(r=field(5, "x"), pair=field(9, field(1, b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\0"))),
        row(r=field(5, "y"), pair=field(6, field(1, np.array([1e30, np.nan]).tobytes()))),
    ]
    seen = []
    for name in ("reference", "cython"):
        for feature in ("r", "pair"):
            recorder(setup, feature).seen.clear()
        running.outcomes(make_vectorizer(setup.plan, name), messages)
        seen.append(
            {
                (feature, element): (column.dtype, [repr(value) for value in column.tolist()])
                for feature in ("r", "pair")
                for element, column in recorder(setup, feature).seen
            }
        )
    assert seen[0] == seen[1]
    assert len(seen[0]) == 5


def test_the_first_fault_is_told_whoever_finds_it(make, setup):
    vectorizer = make(setup)
    bad, good = {"r": floats(13)}, {"r": floats(1)}
    cases = [
        (row(**bad) + row(a=field(5, "x")), "'r' of row 0: float_value 13.0 is not luck"),
        (row(**good) + row(a=field(5, "x"), **bad), "'a' of row 1: string_value 'x' is not a number"),
        (row(**good) + row(z=field(5, "x"), **bad), "'r' of row 1: float_value 13.0 is not luck"),
        (row(**good) + row(z=field(5, "x")) + row(**bad), "'z' of row 1: string_value 'x' is not a number"),
        (row(pair=field(8, field(1, b"\1\x0d"))), "'pair' of row 0: integer_array[1] 13 is not luck"),
        (row(**bad) + b"\x80", "request is not a valid hushar.InferenceRequest"),
    ]
    alone = [running.outcomes(vectorizer, [message])[0] for message, _ in cases]
    joined = running.outcomes(vectorizer, [message for message, _ in cases])
    for one, two, (_, text) in zip(alone, joined, cases, strict=True):
        assert str(one.error).endswith(text)
        assert one.same(two)


def test_a_fault_that_a_plugin_finds_in_a_part_and_what_is_undecodable_behind_it(make, setup):
    vectorizer = make(setup)
    start = row(r=floats(1)) + row(r=floats(13)) + row(r=floats(1))
    for end, text in (
        (b"", "feature 'r' of row 1: float_value 13.0 is not luck"),
        (b"\x80", "request is not a valid"),
    ):
        reading = vectorizer.begin(start + end)
        errors = []
        for _ in range(3):
            errors += running.checked(vectorizer, [reading], [1]).errors.values()
        assert errors
        assert all(str(error).startswith(text) for error in errors)


def test_what_they_raise_is_raised_and_nothing_is_left_of_it(make, setup, rng):
    vectorizer = make(setup)
    good = row(r=floats(1), pair=field(7, field(1, bytes(8))))
    for _ in range(3):
        with pytest.raises(KeyError, match="666") as caught:
            running.outcomes(vectorizer, [good, row(r=floats(666)), good])
        assert "in the transformation 'recorder' of feature 'r'" in caught.value.__notes__
        recorder(setup, "r").seen.clear()
        made = running.outcomes(vectorizer, [good, good])
        assert [outcome.matrix.tolist() for outcome in made] == [[[-1, 1, 0, 0, -5, 0.25, 0.75, -6]]] * 2
        assert [column.tolist() for _, column in recorder(setup, "r").seen] == [[1.0, 1.0]]


def test_many_cells(agree, rng):
    setup = plans.setup_of(
        {
            "p": {"type": "plugin", "bias": 0.5, "default_val": [0] * 6},
            "f": {"type": "identity", "default_val": [0]},
        }
    )
    made = agree(setup, [Maker(rng, setup, odd=0.02).request(rows=rows) for rows in (1, 17, 200, 0, 3)])
    assert any(outcome.error is None for outcome in made)
