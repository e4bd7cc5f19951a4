"""The vectorization configuration as a document: its shape, and that its two lists agree.

The parameters of the transformations are judged where the transformations are known (`hushar.features`
and the plugins). Rules: CONTRACT.md 2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hushar.config.reading import Content, read_document
from hushar.config.wording import shown_key
from hushar.errors import ConfigurationError, Problem
from hushar.nearest import did_you_mean
from hushar.records import VectorizationDocument
from hushar.texts import shown

TRANSFORMATIONS = "feature_transformations"
ORDER = "feature_order"


@dataclass(frozen=True, slots=True)
class ExaminedVectorization:
    """What a vectorization configuration says, as far as it can be understood, and what is wrong."""

    document: VectorizationDocument | None
    """Every feature whose shape is right, so that its parameters can be checked as well; those that
    `feature_order` lacks at the end. Only to be used for scoring if there are no problems. None where
    there is nothing to look at."""
    problems: tuple[Problem, ...]


def parse_vectorization(content: Content) -> VectorizationDocument:
    """Read a vectorization configuration, JSON or TOML by the suffix of its URI.

    Raises:
        ConfigurationError: With every problem of syntax and shape.
    """
    examined = examine_vectorization(content)
    if examined.problems or examined.document is None:
        raise ConfigurationError(examined.problems)
    return examined.document


def examine_vectorization(content: Content) -> ExaminedVectorization:
    """As `parse_vectorization`, for whoever looks for further problems before all are told."""
    read = read_document(content)
    if read.values is None:
        return ExaminedVectorization(None, read.problems)
    mistakes = (Problem(content.uri, shown_key(key), message) for key, message in _mistakes(read.values))
    return ExaminedVectorization(_understood(read.values, content.uri), (*read.problems, *mistakes))


def _understood(values: Mapping[str, Any], file: str) -> VectorizationDocument | None:
    """The features whose shape is right, in the order of their first mention."""
    transformations, order = values.get(TRANSFORMATIONS), values.get(ORDER)
    if not isinstance(transformations, dict) or not isinstance(order, list):
        return None
    good = {
        name: parameters
        for name, parameters in transformations.items()
        if isinstance(parameters, dict) and isinstance(parameters.get("type"), str)
    }
    mentioned = dict.fromkeys(name for name in order if isinstance(name, str) and name in good)
    rest = (name for name in good if name not in mentioned)
    return VectorizationDocument(file, good, (*mentioned, *rest))


def _mistakes(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and message of everything that is wrong."""
    known = (TRANSFORMATIONS, ORDER)
    for key in values:
        if key not in known:
            yield key, f"unknown key{did_you_mean(key, known)}"
    for key in known:
        if key not in values:
            yield key, "required key is missing"
    transformations, order = values.get(TRANSFORMATIONS), values.get(ORDER)
    if TRANSFORMATIONS in values:
        yield from _transformation_mistakes(transformations)
    if ORDER in values:
        yield from _order_mistakes(order)
    if isinstance(transformations, dict) and isinstance(order, list):
        yield from _disagreements(transformations, order)


def _transformation_mistakes(transformations: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(transformations, dict):
        yield TRANSFORMATIONS, f"expected an object of features, got {shown(transformations)}"
        return
    for name, parameters in transformations.items():
        key = f"{TRANSFORMATIONS}.{name}"
        if not isinstance(parameters, dict):
            yield key, f'expected an object with "type" and parameters, got {shown(parameters)}'
        elif "type" not in parameters:
            yield f"{key}.type", "required key is missing"
        elif not isinstance(parameters["type"], str):
            yield f"{key}.type", f"expected a string, got {shown(parameters['type'])}"


def _order_mistakes(order: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(order, list):
        yield ORDER, f"expected a list of features, got {shown(order)}"
        return
    if not order:
        yield ORDER, "must not be empty"
    first: dict[str, int] = {}
    for index, name in enumerate(order):
        if not isinstance(name, str):
            yield f"{ORDER}[{index}]", f"expected a string, got {shown(name)}"
        elif first.setdefault(name, index) != index:
            yield f"{ORDER}[{index}]", f"{shown(name)} stands twice, first at {ORDER}[{first[name]}]"


def _disagreements(transformations: Mapping[str, Any], order: list[Any]) -> Iterator[tuple[str, str]]:
    named = {name for name in order if isinstance(name, str)}
    for index, name in enumerate(order):
        if isinstance(name, str) and name not in transformations and order.index(name) == index:
            unused = [other for other in transformations if other not in named]
            hint = did_you_mean(name, unused)
            yield f"{ORDER}[{index}]", f"{shown(name)} is not in {TRANSFORMATIONS}{hint}"
    for name in transformations:
        if name not in named:
            missing = [other for other in named if other not in transformations]
            yield (
                f"{TRANSFORMATIONS}.{name}",
                f"{shown(name)} is not in {ORDER}{did_you_mean(name, sorted(missing))}",
            )
