"""The JSON Schema of a configuration file, for editors; made from the model of its keys."""

from typing import Any

from pydantic import BaseModel

from hushar.config.reading import SCHEMA_KEY

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(model: type[BaseModel], title: str) -> dict[str, Any]:
    """A schema that accepts what is accepted of a file, as far as types and ranges go.

    An optional key may be null, which means that it is not given. The document may name its schema
    under `$schema`.
    """
    schema = model.model_json_schema(mode="validation")
    for part in (schema, *schema["$defs"].values()):
        required = part.get("required", ())
        for name, value in part["properties"].items():
            value.pop("title", None)  # "Port Number" says no more than the key
            if name not in required:
                part["properties"][name] = _nullable(value)
    described = {"type": "string", "description": "The schema of this file, for editors."}
    schema["properties"] = {SCHEMA_KEY: described, **schema["properties"]}
    schema["title"] = title
    return {SCHEMA_KEY: DIALECT, **schema}


def _nullable(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in value:
        return {"anyOf": [{"$ref": value["$ref"]}, {"type": "null"}]}
    if "anyOf" in value:
        return value
    made = {**value, "type": [value["type"], "null"]}
    if "enum" in made:
        made["enum"] = [*made["enum"], None]
    return made
