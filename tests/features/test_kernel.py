"""What is the compiled vectorizer's own. That it equals the reference is tested everywhere else here."""

import struct
import threading

import numpy as np
import pytest

from hushar.features.interface import Transformed
from hushar.features.plan import compile_plan
from hushar.features.transformations import Embedding, Identity
from hushar.features.vectorize import kernel_problem, make_vectorizer

if kernel_problem("cython") is not None:
    pytest.skip(
        "needs tool: a C compiler and Python's headers when hushar is installed", allow_module_level=True
    )

from hushar.features import _kernel

ONE = {"type": "identity", "default_val": [0.0]}


def both(plan):
    return make_vectorizer(plan, "cython"), make_vectorizer(plan, "reference")


def agreed(make, plan, *requests):
    """What both make of the requests."""
    made, wanted = (make.vectorized(each, *requests) for each in both(plan))
    assert made.matrix.tolist() == wanted.matrix.tolist()
    assert list(made.rows) == list(wanted.rows)
    assert {k: str(v) for k, v in made.errors.items()} == {k: str(v) for k, v in wanted.errors.items()}
    return made


class Doubled(Identity):
    """Derived from a built-in one, and something else."""

    def transform(self, column):
        return Transformed(super().transform(column).values * 2)


def test_a_class_derived_from_a_built_in_one_is_a_plugins(make):
    plan = compile_plan(make.document(x=ONE | {"type": "doubled"}), {"doubled": Doubled})

    assert agreed(make, plan, make.request({"x": ("float_value", 3)})).matrix.tolist() == [[6]]


def test_a_built_in_type_may_have_another_name(make):
    plan = compile_plan(make.document(x=ONE | {"type": "mine"}), {"mine": Identity})

    assert agreed(make, plan, make.request({"x": ("float_value", 3)})).matrix.tolist() == [[3]]


class Broken(Identity):
    """Fails for one value."""

    def transform(self, column):
        if (column.values == 13).any():
            raise LookupError("13")
        return super().transform(column)


def test_what_a_plugin_raises_comes_out_with_a_note(implementation, make):
    vectorizer = implementation(compile_plan(make.document(x=ONE | {"type": "broken"}), {"broken": Broken}))

    with pytest.raises(LookupError) as caught:
        make.vectorized(vectorizer, make.request({"x": ("long_value", 13)}))
    assert caught.value.__notes__ == ["in the transformation 'broken' of feature 'x'"]
    assert make.vectorized(vectorizer, make.request({"x": ("long_value", 12)})).matrix.tolist() == [[12]]


def test_what_utf8_cannot_spell_is_never_found(make):
    plan = make.plan(
        **{"\ud800": ONE},
        x={"type": "one_hot_encoding", "categories": ["\udc00", "b"], "default_val": [5, 6]},
        y={"type": "embedding", "embeddings": {"\udc00": [1], "b": [2]}, "default_val": [3]},
    )
    rows = [{"x": ("string_value", text), "y": ("string_value", text)} for text in ("b", "", "?")]

    assert agreed(make, plan, make.request(*rows)).matrix.tolist() == [
        [0, 0, 1, 2],
        [0, 5, 6, 3],
        [0, 5, 6, 3],
    ]


def test_names_and_words_of_all_lengths_are_found(make):
    words = ["é" * n + "x" * m for n in range(3) for m in range(20)]
    features = {f"{word}!": ONE for word in words}
    plan = make.plan(
        **features,
        word={
            "type": "embedding",
            "embeddings": {word: [i] for i, word in enumerate(words)},
            "default_val": [-1],
        },
    )
    rows = [{f"{word}!": ("float_value", 1), "word": ("string_value", word)} for word in words]
    rows += [{word + "?": ("float_value", 1), "word": ("string_value", word + "?")} for word in words]

    matrix = agreed(make, plan, make.request(*rows)).matrix
    assert matrix[: len(words), :-1].tolist() == np.eye(len(words)).tolist()
    assert matrix[:, -1].tolist() == [*range(len(words)), *[-1] * len(words)]


def test_a_large_vocabulary(make):
    words = [f"word {i}" for i in range(5000)]
    embeddings = {word: [i, -i] for i, word in enumerate(words)}
    plan = make.plan(x={"type": "embedding", "embeddings": embeddings, "default_val": [0.5, 0.5]})

    rows = [{"x": ("string_value", word)} for word in [*words, "word", "word 5000"]]
    assert agreed(make, plan, make.request(*rows)).matrix[-3:].tolist() == [
        [4999, -4999], [0.5, 0.5], [0.5, 0.5]
    ]  # fmt: skip


def test_the_order_of_the_features_may_change_from_row_to_row(make, wire):
    names = [f"feature_{i}" for i in range(9)]
    plan = make.plan(**dict.fromkeys(names, ONE))

    def row(order):
        entries = [
            wire.field(2, wire.field(1, name.encode()) + wire.field(2, b"\x15" + struct.pack("<f", i)))
            for i, name in enumerate(names)
        ]
        return wire.field(2, b"".join(entries[i] for i in order))

    random = np.random.default_rng(1)
    orders = [random.permutation(9)[: random.integers(10)] for _ in range(50)]
    message = b"".join(map(row, orders))
    for vectorizer in both(plan):
        matrix = vectorizer.vectorize([message], [50]).matrix
        for got, order in zip(matrix, orders, strict=True):
            assert got.tolist() == [i if i in order else 0 for i in range(9)]


@pytest.mark.slow
def test_threads_share_a_vectorizer(make):
    """Large enough that the GIL is free while the bytes are walked."""
    plan = make.plan(**{f"feature_{i}": ONE for i in range(20)}, word=ONE)
    vectorizer, reference = both(plan)
    random = np.random.default_rng(2)
    requests = []
    for _ in range(4):
        rows = [
            {f"feature_{i}": ("float_value", random.random()) for i in random.permutation(20)}
            for _ in range(99)
        ]
        rows[50]["word"] = ("string_value", "1." + "1" * 300)
        requests.append(make.request(*rows).SerializeToString())
    wanted = [reference.vectorize([request], [99]).matrix.tobytes() for request in requests]
    wrong = []

    def work(offset):
        for turn in range(50):
            index = (turn + offset) % 4
            if vectorizer.vectorize([requests[index]], [99]).matrix.tobytes() != wanted[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class TestProgram:
    """The compiled door trusts nobody either."""

    def program(self, *features, width=1):
        return _kernel.Program(list(features), np.zeros(width, np.float32), 1, True)

    @pytest.mark.parametrize(
        "feature",
        [
            (b"x", 6, 31, 0, 1, 1, None),
            (b"x", -1, 31, 0, 1, 1, None),
            (b"x", 0, 31, 0, 0, 1, None),
            (b"x", 0, 31, 0, 1, 0, None),
            (b"x", 0, 31, 1, 1, 1, None),
            (b"x", 0, 31, 0, 2, 1, None),
            (b"x", 3, 16, 0, 1, 1, [b"a", b"b"]),
            (b"x", 4, 16, 0, 1, 1, ([b"a", b"b"], np.zeros((1, 1), np.float32))),
            (b"x", 4, 16, 0, 1, 1, ([b"a"], np.zeros((1, 2), np.float32))),
        ],
    )
    def test_features_that_do_not_fit_the_row_are_refused(self, feature):
        with pytest.raises(ValueError, match=r"operation|side by side|fill the row|wide|vector"):
            self.program(feature)

    def test_it_is_made_once(self):
        program = self.program((b"x", 0, 31, 0, 1, 1, None))
        with pytest.raises(RuntimeError):
            program.__init__([], np.zeros(0, np.float32), 1, True)

    def test_parts_and_rows_must_fit(self, make):
        program = self.program((b"x", 0, 31, 0, 1, 1, None))
        for parts, rows in [([b""], []), ([], [1]), ([b""], [-1])]:
            with pytest.raises(ValueError, match="rows"):
                program.vectorize(parts, rows, True)
        for rows in ([2**63 - 1, 2**63 - 1, 3], [2**62] * 4, [6, 0, 0], [5, 0, 1], [5, 1, 0]):
            with pytest.raises(ValueError, match="rows"):
                program.vectorize([b"\x12\x00" * 5, b"", b"", b""][: len(rows)], rows, True)
        nothing = make_vectorizer(make.plan(x=ONE), "cython").begin(None)
        for parts in ([None], [bytearray(b"")], ["x"], [nothing]):
            with pytest.raises((TypeError, AttributeError)):
                program.vectorize(parts, [0], True)

    def test_columns_must_fit(self):
        program = self.program((b"x", 0, 31, 0, 1, 1, None))
        matrix, four, eight = np.zeros((2, 1), np.float32), np.zeros(4, np.uint8), np.zeros(8, np.uint8)
        for given in [
            (1, matrix, 1, eight, None, None),
            (-1, matrix, 1, eight, None, None),
            (0, np.zeros((2, 2), np.float32), 1, eight, None, None),
            (0, matrix, 5, eight, None, None),
            (0, matrix, 1, four, None, None),
            (0, matrix, 0, eight, None, None),
            (0, matrix, 1, eight, None, np.ones(1, np.uint8)),
            (0, matrix, 4, eight, None, None),
            (0, matrix, 4, eight, np.zeros(2, np.int64), None),
        ]:
            with pytest.raises(ValueError, match=r"feature|matrix"):
                program.fill_column(*given)
        assert program.fill_column(0, matrix, 1, eight, None, None) == (-1, 0)


def test_field_number_0_in_a_group_decodes_where_protobuf_says_so(make):
    """Versions of protobuf differ in it; the kernel asks the one that is installed."""
    plan = make.plan(x=ONE)
    for message in (b"\x4b\x00\x00\x4c", b"\x4b\x03\x04\x4c", b"\x00\x00"):
        results = [str(each.vectorize([message], [0]).errors) for each in both(plan)]
        assert results[0] == results[1]


def test_an_embedding_keeps_its_vectors(make):
    """The kernel reads them where numpy holds them."""
    plan = make.plan(x={"type": "embedding", "embeddings": {"a": [1, 2]}, "default_val": [0, 0]})
    assert isinstance(plan.features[0].transformation, Embedding)
    vectorizer = make_vectorizer(plan, "cython")
    del plan
    assert make.vectorized(vectorizer, make.request({"x": ("string_value", "a")})).matrix.tolist() == [[1, 2]]
