"""The shape of a vectorization configuration (CONTRACT.md 2)."""

import math

import pytest

from hushar.config import examine_vectorization, parse_vectorization
from hushar.errors import ConfigurationError

AGE = {"type": "identity", "default_val": [0]}


@pytest.fixture
def mistakes(blob):
    def run(content, uri="v.json"):
        with pytest.raises(ConfigurationError) as caught:
            parse_vectorization(blob(content, uri))
        return [str(problem) for problem in caught.value.problems]

    return run


def document(transformations, order):
    return {"feature_transformations": transformations, "feature_order": order}


def test_json(blob):
    content = document({"age": AGE, "b": AGE}, ["b", "age"])
    parsed = parse_vectorization(blob(content, "s3://bucket/v.json"))
    assert parsed.file == "s3://bucket/v.json"
    assert parsed.order == ("b", "age")
    assert parsed.transformations == {"age": AGE, "b": AGE}


def test_toml(blob):
    text = """
        feature_order = ["age"]
        [feature_transformations.age]
        type = "identity"
        default_val = [0]
    """
    parsed = parse_vectorization(blob(text, "v.toml"))
    assert parsed.order == ("age",)
    assert parsed.transformations == {"age": AGE}


def test_default_may_be_no_number(blob):
    parameters = '{"type": "x", "default_val": [NaN, -Infinity]}'
    text = f'{{"feature_order": ["a"], "feature_transformations": {{"a": {parameters}}}}}'
    nan, infinity = parse_vectorization(blob(text)).transformations["a"]["default_val"]
    assert math.isnan(nan)
    assert infinity == -math.inf


def test_schema_for_editors_and_byte_order_mark(blob):
    text = '\ufeff{"$schema": "x", "feature_order": ["a"], "feature_transformations": {"a": {"type": "x"}}}'
    assert parse_vectorization(blob(text)).order == ("a",)


MISTAKES = {
    "both keys missing": (
        {},
        ["feature_transformations: required key is missing", "feature_order: required key is missing"],
    ),
    "a misspelt key": (
        document({"age": AGE}, ["age"]) | {"feature_ordr": [], "x": 1},
        ["feature_ordr: unknown key, did you mean 'feature_order'?", "x: unknown key"],
    ),
    "both of the wrong type": (
        document([], {}),
        [
            "feature_transformations: expected an object of features, got []",
            "feature_order: expected a list of features, got {}",
        ],
    ),
    "null": (
        document(None, None),
        [
            "feature_transformations: expected an object of features, got null",
            "feature_order: expected a list of features, got null",
        ],
    ),
    "nothing to order": (document({}, []), ["feature_order: must not be empty"]),
    "transformations of the wrong shape": (
        document({"a": 5, "b": {}, "c": {"type": 1}}, ["a", "b", "c"]),
        [
            'feature_transformations.a: expected an object with "type" and parameters, got 5',
            "feature_transformations.b.type: required key is missing",
            "feature_transformations.c.type: expected a string, got 1",
        ],
    ),
    "names of the wrong shape": (
        document({"a": AGE}, ["a", 1, None]),
        ["feature_order[1]: expected a string, got 1", "feature_order[2]: expected a string, got null"],
    ),
    "a name twice": (
        document({"a": AGE, "b": AGE}, ["a", "b", "a", "a"]),
        [
            'feature_order[2]: "a" stands twice, first at feature_order[0]',
            'feature_order[3]: "a" stands twice, first at feature_order[0]',
        ],
    ),
    "names that are missing from the other": (
        document({"a": AGE, "zebra": AGE}, ["a", "xylophone", "xylophone"]),
        [
            'feature_order[2]: "xylophone" stands twice, first at feature_order[1]',
            'feature_order[1]: "xylophone" is not in feature_transformations',
            'feature_transformations.zebra: "zebra" is not in feature_order',
        ],
    ),
    "a misspelt name": (
        document({"income": AGE}, ["incme"]),
        [
            "feature_order[0]: \"incme\" is not in feature_transformations, did you mean 'income'?",
            "feature_transformations.income: \"income\" is not in feature_order, did you mean 'incme'?",
        ],
    ),
    "a key twice, and more": (
        '{"feature_order": ["b"], "feature_transformations":\n'
        '{"a": {"type": "x"}, "a": {"type": "x", "type": 1}}}',
        [
            "feature_transformations.a: duplicate key at line 2, column 22 (first at line 2, column 2)",
            "feature_transformations.a.type: duplicate key at line 2, column 41 (first at line 2, column 28)",
            "feature_transformations.a.type: expected a string, got 1",
            'feature_order[0]: "b" is not in feature_transformations',
            'feature_transformations.a: "a" is not in feature_order',
        ],
    ),
    "a name that is no text": (
        r'{"feature_order": ["\ud800", 1], "feature_transformations": {"\ud800": {"type": "x"}}}',
        [
            r"feature_transformations.\ud800: half of a surrogate pair is no text",
            r"feature_order[0]: half of a surrogate pair is no text",
            "feature_order[1]: expected a string, got 1",
        ],
    ),
    "bad syntax": (
        "{\n]",
        ["not valid JSON: line 2, column 1: expecting property name enclosed in double quotes"],
    ),
    "bytes that are not UTF-8": (b"{\n  \xff", ["not UTF-8: line 2, column 3: byte 0xff"]),
    "a list": ([], ["expected an object of keys, got []"]),
}


@pytest.mark.parametrize(("content", "lines"), MISTAKES.values(), ids=MISTAKES)
def test_mistake(mistakes, content, lines):
    assert sorted(mistakes(content)) == sorted(f"v.json: {line}" for line in lines)


def test_bad_toml(mistakes):
    assert mistakes("feature_order = [\n", "v.toml") == [
        "v.toml: not valid TOML: line 2, column 1: invalid value"
    ]


def test_what_is_right_is_kept_for_further_checks(blob):
    content = document({"a": AGE, "b": 5, "c": AGE, "d": {}}, ["c", "c", "x", 1]) | {"y": 0}
    examined = examine_vectorization(blob(content, "v.json"))
    assert examined.document.order == ("c", "a")
    assert examined.document.transformations == {"a": AGE, "c": AGE}
    assert len(examined.problems) == 9


@pytest.mark.parametrize("content", ["[", {}, document([], []), document({}, {})])
def test_nothing_to_look_at(blob, content):
    examined = examine_vectorization(blob(content))
    assert examined.document is None
    assert examined.problems


def test_without_a_problem_both_ways_give_the_same(blob):
    content = blob(document({"a": AGE, "b": AGE}, ["b", "a"]))
    examined = examine_vectorization(content)
    assert examined.problems == ()
    assert examined.document == parse_vectorization(content)
