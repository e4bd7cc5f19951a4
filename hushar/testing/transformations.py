"""The rules of `Transformation` (hushar/features/interface.py), checked on an implementation."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hushar.features.interface import (
    Column,
    Element,
    Transformation,
    TransformationParameters,
    Transformed,
)
from hushar.testing._rules import in_threads, rule

THREADS = 4
ROUNDS = 8
"""How often every thread transforms its column; enough for threads to meet inside `transform`."""
UNKNOWN_KEY = "no_such_parameter"


def check_transformation(
    cls: type[Transformation], parameters: Mapping[str, Any], *, values: Mapping[Element, Sequence[Any]]
) -> None:
    """Check that `cls` keeps the rules of a Transformation; AssertionError names the broken one.

    `parameters` is what stands beside `type` in the vectorization configuration. `values` has, for
    every element type that `cls` accepts, at least two values that differ: edge cases (0, infinite,
    NaN, unknown strings) are welcome. A warning counts as raising: under `python -W error` it is.
    """
    _check_class(cls)
    transformation = _make(cls, parameters)
    _check_parameters(cls, parameters)
    unit = _checked_unit(transformation)
    rule(
        set(values) == set(cls.accepts) and all(len(some) >= 2 for some in values.values()),
        "check_transformation needs at least two values for each element type in `accepts` and none "
        f"for others: accepts {_names(cls.accepts)}, values given for {_names(values)}",
    )
    for element, some in values.items():
        column = _array(element, some)
        whole = _checked(transformation, element, column, unit)
        _check_empty(transformation, element, unit)
        _check_pure(cls, parameters, transformation, element, column)
        _check_single_values(transformation, element, column, whole)
        _check_threads(transformation, element, column)


def _names(elements: Any) -> str:
    return ", ".join(sorted(element.value for element in elements)) or "nothing"


def _array(element: Element, values: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(values), element.dtype)
    array[:] = list(values)
    return array


def _check_class(cls: type[Transformation]) -> None:
    rule(
        isinstance(cls, type) and issubclass(cls, Transformation),
        f"{cls!r} is not a subclass of Transformation",
    )
    accepts = getattr(cls, "accepts", None)
    rule(
        isinstance(accepts, frozenset) and bool(accepts) and all(isinstance(e, Element) for e in accepts),
        f"{cls.__name__}.accepts must be a frozenset of Element, not empty; it is {accepts!r}",
    )
    rule(
        isinstance(cls.Parameters, type) and issubclass(cls.Parameters, TransformationParameters),
        f"{cls.__name__}.Parameters must be a subclass of TransformationParameters",
    )


def _make(cls: type[Transformation], parameters: Mapping[str, Any]) -> Transformation:
    try:
        return cls(cls.Parameters.model_validate(dict(parameters)))
    except ValueError as error:
        raise AssertionError(f"{cls.__name__} refuses the parameters of the check: {error}") from error


def _check_parameters(cls: type[Transformation], parameters: Mapping[str, Any]) -> None:
    def refuses(changed: Mapping[str, Any]) -> bool:
        try:
            cls.Parameters.model_validate(dict(changed))
        except ValidationError:
            return True
        return False

    rule(
        refuses({**parameters, UNKNOWN_KEY: 1}),
        f"{cls.__name__}.Parameters takes a key that it does not know: keep `extra='forbid'`",
    )
    rule(
        refuses({**parameters, "default_val": []}),
        f"{cls.__name__}.Parameters takes an empty `default_val`: a feature is at least one column wide",
    )


def _checked_unit(transformation: Transformation) -> int:
    unit = transformation.unit
    name = type(transformation).__name__
    rule(
        isinstance(unit, int) and unit >= 1 and unit == transformation.unit,
        f"{name}.unit must be one and the same int, at least 1; it is {unit!r}",
    )
    width = len(transformation.parameters.default_val)
    rule(
        width % unit == 0,
        f"the parameters of the check do not fit: `default_val` is {width} wide, no whole number of units "
        f"of {unit}",
    )
    return unit


def _transform(transformation: Transformation, element: Element, values: NDArray[Any]) -> Transformed:
    name = type(transformation).__name__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return transformation.transform(Column(element, values))
    except Exception as error:
        raise AssertionError(
            f"{name}.transform must not raise or warn for any value; for {element.value} values {values!r} "
            f"it did: {error!r} (a value that cannot be read belongs into `unparsable`)"
        ) from error


def _checked(
    transformation: Transformation, element: Element, values: NDArray[Any], unit: int
) -> Transformed:
    """What `transform` gives, after its shape, dtypes and masks are found right and `values` untouched."""
    name = f"{type(transformation).__name__}.transform"
    given = values.copy()
    result = _transform(transformation, element, values)
    rule(
        _same_column(values, given),
        f"{name} modifies the column that it is given ({element.value}): the same values are logged",
    )
    rule(
        isinstance(result, Transformed),
        f"{name} must return a Transformed; it returns {type(result).__name__}",
    )
    shape = (len(values), unit)
    out = result.values
    rule(
        isinstance(out, np.ndarray) and out.shape == shape and out.dtype == np.float32,
        f"{name} must give float32 of shape (n, unit) = {shape} for {element.value} values; it gives "
        f"{getattr(out, 'dtype', type(out).__name__)} of shape {getattr(out, 'shape', None)}",
    )
    for mask_name, mask in (("unknown", result.unknown), ("unparsable", result.unparsable)):
        rule(
            mask is None
            or (isinstance(mask, np.ndarray) and mask.shape == shape[:1] and mask.dtype == np.bool_),
            f"{name}: the mask `{mask_name}` must be None or bool of shape (n,) = {shape[:1]} for "
            f"{element.value} values; it is {getattr(mask, 'dtype', type(mask).__name__)} of shape "
            f"{getattr(mask, 'shape', None)}",
        )
    return result


def _same_column(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype == object:
        return all(a is b for a, b in zip(one, other, strict=True))
    return one.tobytes() == other.tobytes()


def _check_empty(transformation: Transformation, element: Element, unit: int) -> None:
    _checked(transformation, element, _array(element, []), unit)


def _rows(result: Transformed) -> list[tuple[bytes, bool, bool]]:
    """A comparable row for each value: its numbers bit for bit (any NaN equals any NaN), its masks.

    The numbers of a masked value do not count: the default takes their place, or its call fails.
    """
    n = len(result.values)
    none = np.zeros(n, np.bool_)
    unknown = none if result.unknown is None else result.unknown
    unparsable = none if result.unparsable is None else result.unparsable
    numbers = np.where(np.isnan(result.values), np.float32(np.nan), result.values)
    return [
        (b"" if unknown[i] or unparsable[i] else numbers[i].tobytes(), bool(unknown[i]), bool(unparsable[i]))
        for i in range(n)
    ]


def _check_pure(
    cls: type[Transformation],
    parameters: Mapping[str, Any],
    transformation: Transformation,
    element: Element,
    values: NDArray[Any],
) -> None:
    first = _rows(_transform(transformation, element, values))
    frozen = values.copy()
    frozen.flags.writeable = False
    backwards = _rows(_transform(transformation, element, frozen[::-1].copy()))
    rule(
        first == _rows(_transform(transformation, element, frozen)),
        f"{cls.__name__}.transform is not pure: the same {element.value} column gives another result the "
        "second time",
    )
    rule(
        first == _rows(_transform(_make(cls, parameters), element, values)),
        f"{cls.__name__}: two instances with the same parameters transform the same {element.value} column "
        "differently",
    )
    rule(
        first == backwards[::-1],
        f"{cls.__name__}.transform mixes values: the result of a {element.value} value depends on the order "
        "of its column",
    )


def _check_single_values(
    transformation: Transformation, element: Element, values: NDArray[Any], whole: Transformed
) -> None:
    together = _rows(whole)
    for i in range(len(values)):
        alone = _rows(_transform(transformation, element, values[i : i + 1]))
        rule(
            alone == together[i : i + 1],
            f"{type(transformation).__name__}.transform mixes values: {values[i]!r} ({element.value}) alone "
            "gives another result than among others",
        )


def _check_threads(transformation: Transformation, element: Element, values: NDArray[Any]) -> None:
    """Several threads at once, each with another column, so that shared state shows."""
    columns = [np.roll(values, shift) for shift in range(THREADS)]
    expected = [_rows(_transform(transformation, element, column)) for column in columns]

    def repeatedly(column: NDArray[Any]) -> list[list[tuple[bytes, bool, bool]]]:
        return [_rows(transformation.transform(Column(element, column))) for _ in range(ROUNDS)]

    results = in_threads([partial(repeatedly, column) for column in columns])
    for want, got in zip(expected, results, strict=True):
        rule(
            not isinstance(got, Exception) and all(rows == want for rows in got),
            f"{type(transformation).__name__}.transform is not safe in threads: columns transformed at the "
            f"same moment disturb each other ({element.value})"
            + (f": {got!r}" if isinstance(got, Exception) else ""),
        )
