"""From pydantic's findings to problems that name the place where the mistake was written."""

from collections.abc import Container, Iterator, Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hushar.config.layers import Setting
from hushar.config.wording import CONFLICT, message_of
from hushar.errors import Problem


def problems_of(
    error: ValidationError,
    settings: Mapping[tuple[str, ...], Setting],
    file: str,
    *,
    without: Container[str] = (),
) -> Iterator[Problem]:
    """A problem for each finding whose type is not in `without`.

    `file` is named where no setting is at fault: for a missing key.
    """
    for finding in error.errors(include_url=False):
        if finding["type"] in without:
            continue
        path = _place(finding, settings)
        setting = settings.get(_setting_path(path, settings))
        if setting is None:
            yield Problem(file, suffix(path).removeprefix("."), message_of(finding, last_name(path)))
        else:
            inner = suffix(path[len(setting.path) :])
            yield setting.origin.problem(message_of(finding, last_name(path)), inner)


def at_fault(error: ValidationError, settings: Mapping[tuple[str, ...], Setting]) -> set[tuple[str, ...]]:
    """The paths of the settings that the findings are about; none for a missing key."""
    places = [_place(finding, settings) for finding in error.errors(include_url=False)]
    return {_setting_path(path, settings) for path in places} - {()}


def last_name(path: Sequence[str | int]) -> str:
    """The innermost key of a path, past the indices of lists: it has the unit in its name."""
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def suffix(path: Sequence[str | int]) -> str:
    """The end of a key's name: `.name[3].other`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _place(finding: ErrorDetails, settings: Mapping[tuple[str, ...], Setting]) -> tuple[int | str, ...]:
    """Where the mistake is: of two keys in conflict the one that was given."""
    path = finding["loc"]
    if finding["type"] == CONFLICT and path not in settings:
        return (*path[:-1], finding["ctx"]["other"])
    return path


def _setting_path(path: Sequence[str | int], settings: Mapping[tuple[str, ...], Setting]) -> tuple[str, ...]:
    """The path of the setting that `path` is in; empty if there is none."""
    for length in range(len(path), 0, -1):
        candidate = tuple(str(part) for part in path[:length])
        if candidate in settings:
            return candidate
    return ()
