"""What is missing, unknown and unparsable is counted alike by both implementations, and as the docs say."""

import random
import threading

import pytest
from kernelkit import counting, plans, requests, running, schema
from kernelkit.wire import I32, VARINT, field, overlong, tag

FLOAT = tag(2, I32) + b"\0\0\x80\x3f"
RED = field(5, "red")
UNKNOWN = tag(9, VARINT) + b"\1"
IDENTITY = {"type": "identity", "default_val": [-1.5]}
COLOUR = {"type": "one_hot_encoding", "categories": ["red", "blue"], "default_val": [0, 0]}
COLOURS = {"type": "embedding", "embeddings": {"red": [1], "blue": [2]}, "default_val": [7, 8, 9]}
PLUGIN = {"type": "plugin", "bias": 0.5, "default_val": [1, 2]}
LINEAR = {"type": "min_max_scaling32", "min": 0, "max": 2, "default_val": [0]}


def entry(name, value=FLOAT):
    return field(2, field(1, name) + field(2, value))


def strings(*words):
    return field(10, b"".join(field(1, word) for word in words))


def message(*rows):
    return b"".join(field(2, row) for row in rows)


@pytest.fixture
def counts_of(make):
    """counts_of(features, messages…): of each implementation, and as the oracle has them."""

    def run(features, *messages):
        setup = plans.setup_of(features)
        vectorizer = make(setup)
        running.outcomes(vectorizer, list(messages))
        counts = vectorizer.feature_counts()
        assert counts == counting.expected(setup.configuration, messages)
        return counts

    return run


class TestWhatCounts:
    def test_nothing_at_first(self, counts_of):
        assert counts_of({"x": IDENTITY, "c": COLOUR}) == {"x": (0, 0, 0), "c": (0, 0, 0)}

    def test_a_missing_feature_once_a_row(self, counts_of):
        sent = message(entry("x"), b"", entry("y"), entry("x") + entry("c", RED))
        assert counts_of({"x": IDENTITY, "c": COLOUR}, sent) == {"x": (2, 0, 0), "c": (3, 0, 0)}

    def test_a_value_without_a_kind_is_missing(self, counts_of):
        for value in (b"", UNKNOWN, tag(11, VARINT) + b"\1"):
            assert counts_of({"x": IDENTITY}, message(entry("x", value))) == {"x": (1, 0, 0)}

    def test_so_is_an_entry_that_counts_as_absent(self, counts_of):
        row = field(2, field(1, "x") + field(2, FLOAT) + UNKNOWN)
        assert counts_of({"x": IDENTITY}, message(row, entry("x") + row)) == {"x": (1, 0, 0)}

    def test_an_empty_array_is_a_mistake_and_not_missing(self, counts_of):
        assert counts_of({"x": IDENTITY}, message(entry("x", field(7, b"")))) == {"x": (0, 0, 0)}

    def test_every_unknown_string(self, counts_of):
        sent = message(
            entry("c", field(5, "green")) + entry("cs", strings("red", "green", "violet")),
            entry("c", RED) + entry("cs", strings("green", "green", "green")),
        )
        assert counts_of({"c": COLOUR, "cs": COLOURS}, sent) == {"c": (0, 1, 0), "cs": (0, 5, 0)}

    def test_of_a_repeated_feature_only_the_last(self, counts_of):
        green, empty = entry("c", field(5, "green")), entry("c", b"")
        for row, expected in (
            (green + entry("c", RED), (0, 0, 0)),
            (entry("c", RED) + green, (0, 1, 0)),
            (green + green + green, (0, 1, 0)),
            (green + empty, (1, 0, 0)),
            (empty + green, (0, 1, 0)),
            (green + entry("c") + entry("c", RED), (0, 0, 0)),
            (green + field(2, field(1, "c") + field(2, RED) + field(2, field(5, "violet"))), (0, 1, 0)),
        ):
            assert counts_of({"c": COLOUR}, message(row, entry("c", RED))) == {"c": expected}, row.hex()

    def test_a_call_with_an_error_adds_only_what_it_was_refused_for(self, counts_of):
        bad = message(entry("c", field(5, "green")), entry("x", field(5, "no number")), b"")
        good = message(entry("c", field(5, "green")) + entry("x", field(5, "7")))
        assert counts_of({"x": IDENTITY, "c": COLOUR}, bad, good, bad) == {"x": (0, 0, 2), "c": (0, 1, 0)}

    def test_a_wrong_kind_or_length_is_no_unparsable_string(self, counts_of):
        sent = [message(entry("x", value)) for value in (strings("1", "2"), field(5, "1"))]
        assert counts_of({"x": LINEAR}, *sent) == {"x": (0, 0, 0)}

    def test_of_several_errors_that_which_is_told(self, counts_of):
        row = entry("y", field(5, "no")) + entry("x", field(5, "no"))
        assert counts_of({"x": IDENTITY, "y": IDENTITY}, message(row)) == {"x": (0, 0, 1), "y": (0, 0, 0)}

    def test_what_does_not_decode_adds_nothing(self, counts_of):
        assert counts_of({"x": IDENTITY}, message(b"", b"") + b"\x12", b"\xff") == {"x": (0, 0, 0)}

    def test_of_a_plugins_what_is_missing_and_what_it_refuses(self, counts_of):
        row = lambda text: entry("p", field(5, text)) + entry("x")  # noqa: E731
        sent = [message(row("a"), b""), message(row("b" * 20)), message(b"", row("c" * 7)), message(b"")]
        assert counts_of({"p": PLUGIN, "x": IDENTITY}, *sent) == {"p": (2, 0, 1), "x": (2, 0, 0)}


class TestWhichRows:
    def test_not_those_that_are_said_not_to_count(self, make):
        vectorizer = make(plans.setup_of({"x": IDENTITY, "c": COLOUR, "p": PLUGIN}))
        lacking = message(entry("c", field(5, "green")), b"")
        bad = message(entry("x", field(5, "no")))
        sent = [lacking, bad, message(entry("p", field(5, "c" * 7)))]
        for _ in range(3):
            vectorizer.vectorize(sent, [2, 1, 1], False)
        assert set(vectorizer.feature_counts().values()) == {(0, 0, 0)}
        vectorizer.vectorize(sent, [2, 1, 1])
        assert vectorizer.feature_counts() == {"x": (2, 0, 1), "c": (1, 1, 0), "p": (2, 0, 1)}

    @pytest.mark.parametrize("sizes", [[5], [1] * 5, [2, 3], [0, 4, 0, 1, 0]])
    @pytest.mark.parametrize("features", [{"x": IDENTITY}, {"x": IDENTITY, "p": PLUGIN}])
    def test_those_of_a_reading_once_each(self, make, sizes, features):
        vectorizer = make(plans.setup_of(features))
        sent = message(entry("x"), b"", entry("x", b""), entry("x"), b"")
        running.in_parts(vectorizer, sent, sizes)
        assert vectorizer.feature_counts()["x"] == (3, 0, 0)

    def test_of_a_reading_that_fails_those_before(self, make):
        vectorizer = make(plans.setup_of({"x": IDENTITY}))
        sent = message(b"", entry("x"), b"", entry("x", field(5, "no")), b"")
        running.in_parts(vectorizer, sent, [2, 2, 1])
        assert vectorizer.feature_counts() == {"x": (1, 0, 1)}

    def test_of_check_none(self, make):
        vectorizer = make(plans.setup_of({"x": IDENTITY}))
        vectorizer.check(message(b"", b""))
        vectorizer.count([message(b"", b"")])
        assert vectorizer.feature_counts() == {"x": (0, 0, 0)}

    def test_a_batch_that_cannot_be_is_not_counted(self, make):
        vectorizer = make(plans.setup_of({"x": IDENTITY}))
        for rows in ([3], [1]):
            with pytest.raises(ValueError, match="row"):
                vectorizer.vectorize([message(b"", b"")], rows)
        assert vectorizer.feature_counts() == {"x": (0, 0, 0)}


FOUR = {"a": IDENTITY, "b": LINEAR, "c": COLOUR, "d": COLOURS}
NAMES = ("a", "b", "c", "d")
WORDS = {"c": RED, "d": strings("red", "blue", "red")}
GREEN = {"c": field(5, "green"), "d": strings("green", "blue", "green")}


def usual(names=NAMES, values=WORDS):
    return b"".join(entry(name, values.get(name, FLOAT)) for name in names)


# What may come between rows that are alike.
ROWS = {
    "usual": usual(),
    "turned round": usual(NAMES[::-1]),
    "without the first": usual(NAMES[1:]),
    "without the last": usual(NAMES[:-1]),
    "without one": usual("abd"),
    "the last alone": usual("d"),
    "nothing": b"",
    "the last twice": usual("abcdd"),
    "the first again": usual("abcda"),
    "the first twice, one missing": usual("aabc"),
    "two names in turn": usual("abab"),
    "to the end of the route and nothing before": usual("cd"),
    "strangers between": usual("ab") + entry("nobody") + usual("cd") + entry("else"),
    "strangers in place of one": usual("ab") + entry("nobody") + usual("d"),
    "an empty value at the end": usual("abc") + entry("d", b""),
    "an empty value": entry("a", b"") + usual("bcd"),
    "an empty value and then one": entry("a", b"") + usual(),
    "unknown words": usual(values=GREEN),
    "unknown words replaced": usual(values=GREEN) + usual("cd"),
    "the long way": field(2, field(2, FLOAT) + field(1, "a")) + usual("bcd"),
    "the long way, absent": field(2, field(1, "a") + field(2, FLOAT) + UNKNOWN) + usual("bcd"),
    "the long way, absent at the end": usual("abc") + field(2, field(1, "d") + field(2, b"") + UNKNOWN),
    "a long tag": usual("ab") + overlong(2 << 3 | 2, 3) + usual("c")[1:] + usual("d"),
    "a long tag of a value": field(2, field(1, "a") + field(2, overlong(2 << 3 | 5, 2) + FLOAT[1:]))
    + usual("bcd"),
}


class TestRowsAlike:
    """The kernel looks less closely at rows that are like those before (_walk.pxd)."""

    @pytest.mark.parametrize("row", ROWS)
    def test_one_among_many_that_are_usual(self, counts_of, row):
        for before in (0, 1, 63, 64, 65, 200):
            rows = [ROWS["usual"]] * before + [ROWS[row]] * 2 + [ROWS["usual"]] * 3 + [ROWS[row]]
            counts_of(FOUR, message(*rows))

    @pytest.mark.parametrize("row", ROWS)
    def test_two_in_turn(self, counts_of, row):
        for other in ROWS.values():
            counts_of(FOUR, message(*[ROWS[row], other] * 70))

    def test_call_after_call(self, make):
        setup = plans.setup_of(FOUR)
        for seed in range(30):
            chance, vectorizer, sent = random.Random(seed), make(setup), []
            likely = chance.choice((0.5, 0.9, 0.99))
            for _ in range(40):
                rows = [
                    ROWS["usual"] if chance.random() < likely else chance.choice(list(ROWS.values()))
                    for _ in range(chance.choice((1, 1, 3, 40)))
                ]
                sent.append(message(*rows))
                running.outcomes(vectorizer, sent[-1:])
            assert vectorizer.feature_counts() == counting.expected(setup.configuration, sent), seed

    def test_bad_rows_between(self, make):
        setup = plans.setup_of(FOUR)
        for seed in range(30):
            chance, vectorizer, sent = random.Random(seed), make(setup), []
            for _ in range(60):
                rows = [ROWS["usual"]] * chance.randint(0, 5)
                if chance.random() < 0.3:
                    worse = chance.choice((entry("a", field(5, "no")), entry("c"), b"\x12\x05", usual("ab")))
                    rows.insert(chance.randint(0, len(rows)), worse)
                sent.append(message(*rows))
            for at in range(0, 60, 4):
                running.outcomes(vectorizer, sent[at : at + 4])
            assert vectorizer.feature_counts() == counting.expected(setup.configuration, sent), seed

    @pytest.mark.parametrize("row", ROWS)
    def test_what_a_bad_call_leaves_behind(self, make, row):
        """Its rows are read too, and may go other ways."""
        setup = plans.setup_of(FOUR)
        turned, bad = ROWS["turned round"], entry("a", field(5, "no"))
        for wrong in (
            message(turned + bad),
            message(bad + turned),
            message(bad, turned),
            message(turned) + b"\x12",
            message(ROWS["usual"] + bad, usual("dcbc"), usual("dd")),
        ):
            vectorizer = make(setup)
            sent = [message(*[ROWS["usual"]] * 70), wrong, message(*[ROWS[row]] * 2), wrong]
            sent += [message(ROWS[row], ROWS["usual"]), message(ROWS[row])]
            for each in sent:
                running.outcomes(vectorizer, [each])
            assert vectorizer.feature_counts() == counting.expected(setup.configuration, sent), wrong.hex()

    def test_many_features(self, make):
        names = [f"feature {index}" for index in range(300)]
        setup = plans.setup_of(dict.fromkeys(names, IDENTITY))
        vectorizer, chance, sent = make(setup), random.Random(5), []
        for _ in range(20):
            rows = []
            for _ in range(chance.randint(1, 90)):
                given = list(names)
                if chance.random() < 0.1:
                    given.remove(chance.choice(given))
                rows.append(usual(given))
            sent.append(message(*rows))
            running.outcomes(vectorizer, sent[-1:])
        assert vectorizer.feature_counts() == counting.expected(setup.configuration, sent)

    def test_more_rows_than_stamps(self, make):
        setup = plans.setup_of({"a": IDENTITY, "b": IDENTITY})
        vectorizer = make(setup)
        sent = message(*[usual("a")] * 70_000)
        vectorizer.vectorize([sent], [70_000])
        assert vectorizer.feature_counts() == {"a": (0, 0, 0), "b": (70_000, 0, 0)}


def test_random_messages_in_batches_of_any_size(make, rng):
    for _ in range(20):
        setup = plans.setup(rng)
        vectorizer = make(setup)
        sent = [requests.any_request(rng, setup) for _ in range(30)]
        left = list(sent)
        while left:
            size = rng.randint(1, len(left))
            running.outcomes(vectorizer, left[:size])
            del left[:size]
        assert vectorizer.feature_counts() == counting.expected(setup.configuration, sent)


@pytest.mark.parametrize(
    "features", [{"x": IDENTITY, "c": COLOUR}, {"x": IDENTITY, "c": COLOUR, "p": PLUGIN}]
)
def test_many_threads_lose_nothing(make, features):
    setup = plans.setup_of(features)
    vectorizer = make(setup)
    sent = [message(entry("x"), entry("c", field(5, "green")), b""), message(entry("x", field(5, "no")))]
    sent.append(message(*[entry("x")] * 2000))

    def run():
        for _ in range(40):
            vectorizer.vectorize(sent, [3, 1, 2000])
            vectorizer.feature_counts()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = vectorizer.feature_counts()
    assert counts["x"] == (2 * 160, 0, 160)
    assert counts["c"] == (2002 * 160, 160, 0)
    assert schema.decoded(sent[0]) is not None


def test_a_snapshot_does_not_change(make):
    vectorizer = make(plans.setup_of({"x": IDENTITY}))
    before = vectorizer.feature_counts()
    vectorizer.vectorize([message(b"")], [1])
    assert before == {"x": (0, 0, 0)}
    assert vectorizer.feature_counts() == {"x": (1, 0, 0)}
