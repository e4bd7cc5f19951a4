"""The kinds of values on the wire, and which one a bare Python value gets.

A kind is the name of a field of `DataType`: `float_value`, `long_array`, …. What stands in a list goes
into the array of the same element.
"""

from collections.abc import Mapping
from typing import Any, Final

ARRAY_OF: Final[Mapping[str, str]] = {
    "double_value": "double_array",
    "float_value": "float_array",
    "integer_value": "integer_array",
    "long_value": "long_array",
    "string_value": "string_array",
}
"""Scalar kind → the kind of an array of it."""

SCALAR_OF: Final[Mapping[str, str]] = {array: scalar for scalar, array in ARRAY_OF.items()}
"""Array kind → the kind of its elements."""

KINDS: Final = (*ARRAY_OF, *SCALAR_OF)
"""Every kind, in the order of the field numbers."""

_SHORT_NAMES: Final[Mapping[str, str]] = {
    "double": "double_value",
    "float": "float_value",
    "int": "integer_value",
    "integer": "integer_value",
    "long": "long_value",
    "string": "string_value",
}

# What each built-in transformation accepts (CONTRACT.md 2), as the one kind that loses nothing it
# would not lose anyway. `identity` accepts every kind, and so do a plugin's for all that is known
# here: they are left out, and the Python type decides.
_KIND_OF_TYPE: Final[Mapping[str, str]] = {
    "min_max_scaling32": "float_value",
    "standardization32": "float_value",
    "min_max_scaling64": "double_value",
    "standardization64": "double_value",
    "one_hot_encoding": "string_value",
    "embedding": "string_value",
}


def kind_named(name: str) -> str | None:
    """The kind that `name` means: its own name, or a short one (`float`, `int`, …); None if it means none."""
    return name if name in KINDS else _SHORT_NAMES.get(name)


def kinds_from_vectorization(document: Mapping[str, Any]) -> dict[str, str]:
    """Feature → the scalar kind that its transformation accepts, from a vectorization document.

    Features whose transformation does not decide (`identity`, those of plugins) are left out.
    `document` is the parsed JSON; only as much of it is looked at as is needed, since the server has
    checked it. Raises ValueError where it is no vectorization document.
    """
    transformations = document.get("feature_transformations")
    if not isinstance(transformations, Mapping):
        raise ValueError("not a vectorization configuration: it has no object 'feature_transformations'")  # noqa: TRY004
    kinds = {}
    for feature, parameters in transformations.items():
        if not isinstance(parameters, Mapping) or not isinstance(parameters.get("type"), str):
            raise ValueError(f"feature_transformations.{feature}: expected an object with a 'type'")  # noqa: TRY004
        kind = _KIND_OF_TYPE.get(parameters["type"])
        if kind is not None:
            kinds[feature] = kind
    return kinds
