"""The service configuration from its layers: default < file < environment < command line.

Every mistake that can be seen from the texts alone is found here, and all of them are told at once. A
value that a stronger layer replaces is not looked at; an unknown key is a mistake in every layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from hushar.config.findings import at_fault, problems_of
from hushar.config.from_command_line import command_line_layer
from hushar.config.from_environment import environment_layer
from hushar.config.from_file import file_layer
from hushar.config.hints import KEYS
from hushar.config.keys import Place
from hushar.config.layers import Layer, Origin, Setting, as_tree, merged
from hushar.config.reading import Content
from hushar.config.service import ServiceConfiguration
from hushar.config.uris import resolve_local, resolve_uri
from hushar.errors import Problem

NO_FILE = "configuration"
"""Stands in problems where a file's name would, if there is no file."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A service configuration without a mistake."""

    configuration: ServiceConfiguration
    """All paths and URIs in it are absolute."""
    warnings: tuple[str, ...]
    """One line each: variables of the environment that look like hushar's and mean nothing to it."""
    file: str = NO_FILE
    origins: Mapping[str, Origin] = field(default_factory=dict, repr=False)
    """Dotted key → where its value was written; none for defaults."""

    def problem(self, key: str, message: str) -> Problem:
        """A problem with the value of a key that is found later, named after where it was written."""
        origin = self.origins.get(key)
        return origin.problem(message) if origin else Problem(self.file, key, message)


@dataclass(frozen=True, slots=True)
class Examined:
    """What a service configuration says, as far as it can be understood, and what is wrong with it."""

    loaded: Loaded | None
    """Without the settings that are wrong: their defaults take their place, so that what they point to
    can be checked as well. Only to be served if there are no problems. None where a required key is
    missing or wrong."""
    problems: tuple[Problem, ...]


def examine_service(
    content: Content | None,
    *,
    options: Mapping[str, Any],
    overrides: Sequence[str],
    environ: Mapping[str, str],
    directory: str,
) -> Examined:
    """Read, merge and check a service configuration. Raises nothing: what is wrong is in the result.

    Args:
        content: The file, JSON or TOML by the suffix of its URI; None for none.
        options: Dotted key → value of the command-line options; None where one is not given.
        overrides: The `section.key=value` of each `--set`; they win over `options`.
        environ: All variables of the environment.
        directory: The absolute working directory.
    """
    file = file_layer(content, directory) if content else Layer()
    layers = (file, environment_layer(environ, directory), command_line_layer(options, overrides, directory))
    settings = merged(layers)
    problems = [problem for layer in layers for problem in layer.problems]
    misplaced = _make_absolute(settings)
    problems += misplaced.values()
    name = content.uri if content else NO_FILE
    try:
        ServiceConfiguration.model_validate(as_tree(settings.values()))
    except ValidationError as error:
        problems += problems_of(error, settings, name, without=("missing",) if file.unreadable else ())
    for path in misplaced:
        del settings[path]
    configuration = _best_effort(settings)
    if configuration is None:
        return Examined(None, tuple(problems))
    warnings = tuple(warning for layer in layers for warning in layer.warnings)
    origins = {".".join(path): setting.origin for path, setting in settings.items()}
    return Examined(Loaded(configuration, warnings, name, origins), tuple(problems))


def _best_effort(settings: dict[tuple[str, ...], Setting]) -> ServiceConfiguration | None:
    """The configuration without the settings that are wrong; those are removed from `settings`."""
    while True:
        try:
            return ServiceConfiguration.model_validate(as_tree(settings.values()))
        except ValidationError as error:
            wrong = at_fault(error, settings)
            if not wrong:
                return None
            for path in wrong:
                del settings[path]


def _make_absolute(settings: dict[tuple[str, ...], Setting]) -> dict[tuple[str, ...], Problem]:
    """Replaces relative paths and URIs by absolute ones, each by its own origin; what cannot be, by path."""
    problems: dict[tuple[str, ...], Problem] = {}
    for path, setting in settings.items():
        key = KEYS.get(path)
        if (
            key is None
            or key.place is None
            or not isinstance(setting.value, str)
            or not setting.value.strip()
        ):
            continue  # what is no path at all is found by the models
        resolve = resolve_uri if key.place is Place.URI else resolve_local
        try:
            settings[path] = replace(setting, value=resolve(setting.value, setting.origin.base))
        except ValueError as error:
            problems[path] = setting.origin.problem(str(error))
    return problems
