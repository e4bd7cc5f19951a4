"""The JSON Schema for editors."""

import json

from hushar.config import service_schema
from hushar.config.hints import KEYS, SECTIONS


def section(schema, name):
    """The schema of a section, behind its reference."""
    reference = schema["properties"][name]["anyOf"][0]["$ref"]
    return schema["$defs"][reference.rpartition("/")[2]]


def test_head():
    schema = service_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "hushar service configuration"
    assert schema["required"] == ["model_path", "model_id", "vectorization_instruction_path"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["$schema"]["type"] == "string"


def test_every_key_stands_in_it_with_its_description():
    schema = service_schema()
    for key in KEYS.values():
        part = schema if len(key.path) == 1 else section(schema, key.path[0])
        assert part["properties"][key.path[-1]]["description"] == key.field.description


def test_only_plugins_take_further_keys():
    schema = service_schema()
    further = {name: section(schema, name)["additionalProperties"] for name in SECTIONS}
    assert further.pop("plugins")["type"] == "object"
    assert set(further.values()) == {False}


def test_optional_keys_may_be_null():
    schema = service_schema()
    assert schema["properties"]["model_id"]["type"] == "string"
    assert schema["properties"]["port_number"]["type"] == ["integer", "null"]
    assert schema["properties"]["log_format"]["enum"] == ["text", "json", None]
    assert {"type": "null"} in schema["properties"]["log"]["anyOf"]
    assert {"type": "null"} in section(schema, "log")["properties"]["uri"]["anyOf"]


def test_ranges():
    rotate_bytes = section(service_schema(), "log")["properties"]["rotate_bytes"]
    assert rotate_bytes["minimum"] == 65536
    assert rotate_bytes["default"] == 67108864
