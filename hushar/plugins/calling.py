"""The seam between hushar and the code of plugins at start.

Whatever a plugin's code raises there, or returns of another type, becomes a problem that names the
plugin and the hook: `plugins: example: hushar_log_sinks: 'jsonl': KeyError('x')`. The traceback is
logged at level debug.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, ParamSpec, TypeVar

from hushar.errors import ConfigurationError, Problem, StorageError
from hushar.models.runtime import ModelError
from hushar.texts import shown_error, visible

log = logging.getLogger("hushar.plugins")

P = ParamSpec("P")
T = TypeVar("T")

FILE: Final = "plugins"
"""Stands in problems where a file's name would."""

_EXPECTED: Final[Mapping[str, type[Exception]]] = MappingProxyType(
    {"hushar_runtimes": ModelError, "hushar_storages": StorageError}
)
"""Errors, beside ConfigurationError, that the interface behind a hook has for what is no fault of the
plugin's. Who calls knows which key of the configuration they are about."""


@dataclass(frozen=True, slots=True)
class Named(Generic[T]):
    """A factory or a class, and where it came from (the plugin whose settings it gets)."""

    plugin: str
    hook: str
    """The hook that brought it: `hushar_log_sinks`."""
    name: str
    """Its name among what the hook brings: a `type`, a scheme, …; for a service that of its factory."""
    factory: T

    @property
    def place(self) -> str:
        """For messages: `hushar_log_sinks: 's3'`."""
        return f"{self.hook}: '{visible(self.name)}'"


def call_factory(
    named: Named[Callable[P, T]],
    returns: type[Any] | tuple[type[Any], ...],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """What the factory makes of the arguments: an instance of (one of) `returns`.

    Raises ConfigurationError: the factory's own, or a problem that names plugin and hook for any other
    exception and for a result that is no such instance. Of a runtime's factory also ModelError, of a
    storage's StorageError.
    """
    with blaming(named):
        return checked(named, named.factory(*args, **kwargs), returns)


def checked(named: Named[Any], value: T, returns: type[Any] | tuple[type[Any], ...]) -> T:
    """`value`, which plugin code has returned. Raises ConfigurationError if it is none of `returns`."""
    if not isinstance(value, returns):
        classes = returns if isinstance(returns, tuple) else (returns,)
        wanted = " or ".join(each.__name__ for each in classes)
        message = f"{named.place}: expected a {wanted}, got {kind_of(value)}"
        raise ConfigurationError([Problem(FILE, named.plugin, message)])
    return value


@contextmanager
def blaming(named: Named[Any]) -> Iterator[None]:
    """Around what runs a plugin's code, also in coroutines; raises as `call_factory` does."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        if isinstance(error, _EXPECTED.get(named.hook, ())):
            raise
        raise ConfigurationError([fault(named.plugin, named.place, error)]) from error


def fault(plugin: str, place: str, error: Exception) -> Problem:
    """The problem that an exception of a plugin's code is; logs its traceback at level debug.

    `place` says what was called: a hook, and what of it.
    """
    log.debug("plugin %s: %s", plugin, place, exc_info=error)
    return Problem(FILE, plugin, f"{place}: {shown_error(error)}")


def kind_of(value: object) -> str:
    """What a value is, for the message that it should have been something else."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"an instance of {type(value).__name__}"
