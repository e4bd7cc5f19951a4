"""`hushar schema`: JSON Schemas by which an editor checks and completes both files."""

import json

import jsonschema
import pytest

from hushar.cli.configured import demo_directory
from hushar.plugins import STRINGS, Transformation


class Length(Transformation):
    """Characters of a string."""

    accepts = STRINGS

    def transform(self, column):
        raise AssertionError("no request comes")


@pytest.fixture
def schema(hushar):
    """schema(which): what is printed, checked to be a JSON Schema."""

    def printed(which):
        ran = hushar("schema", which)
        assert (ran.status, ran.err) == (0, "")
        made = json.loads(ran.out)
        jsonschema.validators.validator_for(made).check_schema(made)
        assert made["$schema"].startswith("https://json-schema.org/")
        return made

    return printed


def demo(which):
    return json.loads((demo_directory() / f"{which}.json").read_text())


@pytest.mark.parametrize("which", ["service", "vectorization"])
class TestBoth:
    def test_the_demos_file_is_valid(self, schema, which):
        jsonschema.validate(demo(which), schema(which))

    def test_an_unknown_key_is_not(self, schema, which):
        with pytest.raises(jsonschema.ValidationError, match="nope"):
            jsonschema.validate(demo(which) | {"nope": 1}, schema(which))

    def test_nor_is_nothing(self, schema, which):
        with pytest.raises(jsonschema.ValidationError, match="required"):
            jsonschema.validate({}, schema(which))


def test_the_keys_of_the_service_have_descriptions_and_ranges(schema):
    made = schema("service")
    assert made["properties"]["port_number"]["maximum"] == 65535
    assert made["properties"]["port_number"]["description"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(demo("service") | {"port_number": 70000}, made)


def test_a_plugins_transformation_is_in_that_of_the_vectorization(schema, install_plugin):
    mine = {"feature_transformations": {"a": {"type": "length", "default_val": [1]}}, "feature_order": ["a"]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(mine, schema("vectorization"))
    install_plugin("long", transformations={"length": Length})
    made = schema("vectorization")
    jsonschema.validate(mine, made)
    assert made["$defs"]["length"]["description"] == "Characters of a string."


@pytest.mark.parametrize("arguments", [[], ["models"], ["service", "vectorization"]])
def test_it_is_one_of_the_two(hushar, arguments):
    ran = hushar("schema", *arguments)
    assert (ran.status, ran.out) == (2, "")


def test_a_plugin_that_cannot_be_loaded_is_told(hushar, install_plugin):
    install_plugin("broken", transformations=RuntimeError("boom"))
    ran = hushar("schema", "vectorization")
    assert (ran.status, ran.out) == (2, "")
    assert "broken" in ran.err
    assert "boom" in ran.err
