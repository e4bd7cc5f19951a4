"""What is wrong with the type of what a hook returned."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from hushar.features.interface import Element, Transformation, TransformationParameters
from hushar.plugins.calling import kind_of


def answer_problems(hook: str, brought: Any) -> Iterator[str]:
    """One sentence for each mistake; `hook` is without its `hushar_`, such as `log_sinks`."""
    match hook:
        case "settings":
            yield from _settings_problems(brought)
        case "services" | "interceptors":
            yield from _sequence_problems(brought, callable, "a factory")
        case "commands":
            yield from _sequence_problems(brought, _is_command, "a click.Command with a name")
        case _:
            yield from _mapping_problems(hook, brought)


def _settings_problems(brought: Any) -> Iterator[str]:
    if not (isinstance(brought, type) and issubclass(brought, BaseModel)):
        yield f"must return a pydantic model, got {kind_of(brought)}"


def _sequence_problems(brought: Any, fits: Callable[[Any], bool], wanted: str) -> Iterator[str]:
    if not isinstance(brought, Sequence) or isinstance(brought, str | bytes):
        yield f"must return a list, got {kind_of(brought)}"
        return
    for index, each in enumerate(brought):
        if not fits(each):
            yield f"[{index}]: expected {wanted}, got {kind_of(each)}"


def _is_command(value: object) -> bool:
    import click  # noqa: PLC0415 - only where a plugin brings commands

    return isinstance(value, click.Command) and bool(value.name)


def _mapping_problems(hook: str, brought: Any) -> Iterator[str]:
    if not isinstance(brought, Mapping):
        yield f"must return a mapping of names, got {kind_of(brought)}"
        return
    for name, each in brought.items():
        if not isinstance(name, str) or not name:
            yield f"{name!r}: expected a string as name, got {kind_of(name) if name else 'an empty one'}"
        elif hook == "transformations":
            problem = _transformation_problem(each)
            if problem is not None:
                yield f"{name!r}: {problem}"
        elif not callable(each):
            yield f"{name!r}: expected a factory, got {kind_of(each)}"


def _transformation_problem(value: Any) -> str | None:
    if not (isinstance(value, type) and issubclass(value, Transformation)):
        return f"expected a class derived from Transformation, got {kind_of(value)}"
    parameters: Any = value.Parameters
    if not (isinstance(parameters, type) and issubclass(parameters, TransformationParameters)):
        return f"its Parameters must be derived from TransformationParameters, got {kind_of(parameters)}"
    accepts = getattr(value, "accepts", None)
    if not isinstance(accepts, frozenset) or not all(isinstance(each, Element) for each in accepts):
        return f"its accepts must be a frozenset of Element, got {kind_of(accepts)}"
    return None
