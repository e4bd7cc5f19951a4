"""A vectorization configuration, compiled: which feature fills which columns, and how.

Everything about a configuration that can be decided without the model is decided here, once; what is
wrong is a ConfigurationError with every problem in it. A plan is immutable and shared by all batches.
"""

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hushar.errors import ConfigurationError, Problem
from hushar.features.interface import Transformation, TransformationParameters
from hushar.features.parameters import validate
from hushar.nearest import did_you_mean
from hushar.records import VectorizationDocument
from hushar.texts import shown, shown_error, visible

_TRANSFORMATIONS: Final = "feature_transformations"
_ORDER: Final = "feature_order"

Fault = Callable[[str, str, Exception], Problem]
"""Makes the problem of an exception that a transformation's code has no right to: called with its
`type`, the feature's key, and the exception."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedFeature:
    """One feature and its columns `[start, stop)` of the matrix."""

    name: str
    type: str
    """The transformation's name in the configuration."""
    transformation: Transformation
    start: int
    stop: int
    default: NDArray[np.float32]
    """Shape `(stop - start,)`, read-only: what an absent feature gives."""
    units: int
    """How many values a request must bring: `(stop - start) / transformation.unit`."""

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.stop - self.start

    @property
    def columns(self) -> str:
        """The columns as a person reads them: `[0]`, or `[1:4]` without the 4."""
        return f"[{self.start}]" if self.width == 1 else f"[{self.start}:{self.stop}]"


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The features in the order of their columns."""

    file: str
    """The configuration's URI, for messages."""
    features: tuple[PlannedFeature, ...]
    width: int = field(init=False)
    """Columns of the matrix."""
    row_default: NDArray[np.float32] = field(init=False)
    """Shape `(width,)`, read-only: the row of a request that brings no feature."""
    index: Mapping[str, PlannedFeature] = field(init=False)
    """The features by name."""

    def __post_init__(self) -> None:
        defaults = [feature.default for feature in self.features]
        row = _read_only(np.concatenate(defaults) if defaults else np.empty(0, np.float32))
        index = MappingProxyType({feature.name: feature for feature in self.features})
        object.__setattr__(self, "width", len(row))
        object.__setattr__(self, "row_default", row)
        object.__setattr__(self, "index", index)


def compile_plan(
    document: VectorizationDocument,
    registry: Mapping[str, type[Transformation]],
    *,
    fault: Fault | None = None,
) -> Plan:
    """Make the plan of a configuration; `registry` has the transformations by `type`.

    A ValueError of a transformation is about its parameters. `fault` is asked about every other
    exception; None: it becomes a problem of the feature.

    Raises:
        ConfigurationError: with every problem of every feature. Problems name the document's file and
            the key, such as `feature_transformations.age.std_dev`.
    """
    problems = _list_problems(document)
    features: list[PlannedFeature] = []
    column = 0
    for name in dict.fromkeys((*document.order, *document.transformations)):
        if name not in document.transformations:
            continue
        feature, found = _plan_feature(document, registry, name, column, fault)
        problems += found
        if feature is not None:
            features.append(feature)
            column = feature.stop
    if problems:
        raise ConfigurationError(problems)
    return Plan(document.file, tuple(features))


def _list_problems(document: VectorizationDocument) -> list[Problem]:
    """What is wrong with the two lists of names, apart from what stands behind a name.

    A document that was read from a file has passed this; one that was made in a program may not have.
    """
    order = document.order
    if not order and not document.transformations:
        return [Problem(document.file, _ORDER, "must not be empty: a model needs at least one feature")]
    times = Counter(order)
    found = [(_ORDER, f"{name!r} is listed twice") for name, count in times.items() if count > 1]
    for name in times:
        if name not in document.transformations:
            found.append((_ORDER, f"{name!r} is not in {_TRANSFORMATIONS}"))
    for name in document.transformations:
        if name not in times:
            found.append((f"{_TRANSFORMATIONS}.{visible(name)}", f"not in {_ORDER}"))
    return [Problem(document.file, key, message) for key, message in found]


def _plan_feature(
    document: VectorizationDocument,
    registry: Mapping[str, type[Transformation]],
    name: str,
    start: int,
    fault: Fault | None,
) -> tuple[PlannedFeature | None, list[Problem]]:
    """One feature that begins at column `start`, or None and what is wrong with it."""
    key = f"{_TRANSFORMATIONS}.{visible(name)}"
    given = dict(document.transformations[name])
    type_name = given.pop("type", None)
    refused = _type_problem(type_name, registry)
    if refused is not None:
        return None, [Problem(document.file, f"{key}.type", refused)]
    kind = registry[type_name]
    try:
        parameters, problems = validate(kind.Parameters, given, file=document.file, key=key)
        if parameters is None:
            return None, problems
        transformation = kind(parameters)
        units = _units(transformation.unit, len(parameters.default_val))
    except _WidthError as error:
        return None, [Problem(document.file, f"{key}.default_val", str(error))]
    except ValueError as error:
        return None, [Problem(document.file, key, str(error))]
    except Exception as error:  # a plugin's code
        if fault is not None:
            return None, [fault(type_name, key, error)]
        message = f"the transformation {type_name!r} failed: {shown_error(error)}"
        return None, [Problem(document.file, key, message)]
    default = _read_only(np.array(parameters.default_val, dtype=np.float32))
    return PlannedFeature(name, type_name, transformation, start, start + len(default), default, units), []


def _type_problem(type_name: object, registry: Mapping[str, type[Transformation]]) -> str | None:
    known = ", ".join(sorted(registry))
    if type_name is None:
        return f"required key is missing; known types: {known}"
    if not isinstance(type_name, str):
        return f"expected a string, got {shown(type_name)}; known types: {known}"
    if type_name not in registry:
        return f"unknown type {type_name!r}{did_you_mean(type_name, registry)}; known types: {known}"
    return None


class _WidthError(ValueError):
    """The length of `default_val` does not fit what a value gives."""


def _units(unit: int, width: int) -> int:
    unit = operator.index(unit)  # it comes from a plugin's code
    if unit < 1:
        raise ValueError(f"the transformation gives {unit} numbers for a value; it must be at least 1")
    if width % unit:
        raise _WidthError(
            f"has length {width}, which is no multiple of {unit}, the length of what one value gives"
        )
    return width // unit


def _read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array.flags.writeable = False
    return array


def check_width(plan: Plan, model_width: int | None, *, model_uri: str) -> Problem | None:
    """What is wrong if the model does not take the plan's matrix; `model_width` None takes any."""
    if model_width is None or model_width == plan.width:
        return None
    columns = ", ".join(f"{visible(feature.name)}{feature.columns}" for feature in plan.features)
    message = f"the features fill {plan.width} columns, but the input of model {model_uri} has {model_width}"
    return Problem(plan.file, _ORDER, f"{message}: {columns}")


def vectorization_schema(registry: Mapping[str, type[Transformation]]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the vectorization file: one definition for each `type`."""
    definitions: dict[str, Any] = {}
    for name, kind in sorted(registry.items()):
        definitions |= _definitions(name, kind.Parameters, (kind.__doc__ or "").partition("\n")[0])
    references = {name: f"#/$defs/{_pointer(name)}" for name in sorted(registry)}
    feature = {
        "type": "object",
        "required": ["type"],
        "discriminator": {"propertyName": "type", "mapping": references},
        "oneOf": [{"$ref": reference} for reference in references.values()],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hushar vectorization configuration",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            _TRANSFORMATIONS: {
                "description": "Feature name to transformation; the same names as in feature_order.",
                "type": "object",
                "additionalProperties": feature,
                "minProperties": 1,
            },
            _ORDER: {
                "description": "The order in which the features fill the columns of the model's input.",
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "uniqueItems": True,
            },
        },
        "required": [_TRANSFORMATIONS, _ORDER],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _definitions(name: str, model: type[TransformationParameters], summary: str) -> dict[str, Any]:
    """The definition of a type, and those of the models inside its parameters under its name."""
    prefix = f"#/$defs/{_pointer(name)}."
    schema = model.model_json_schema(ref_template=prefix + "{model}")
    inner = schema.pop("$defs", {})
    schema["title"] = name
    schema["description"] = summary
    schema["properties"] = {"type": {"const": name}, **schema.get("properties", {})}
    schema["required"] = ["type", *schema.get("required", [])]
    return {name: schema, **{f"{name}.{key}": value for key, value in inner.items()}}


def _pointer(name: str) -> str:
    """A name inside a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
