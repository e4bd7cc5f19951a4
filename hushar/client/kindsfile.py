"""The kinds of features, from a configuration file on disk."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hushar.client.kinds import kinds_from_vectorization
from hushar.errors import ConfigurationError, Problem
from hushar.uris import local_path

_VECTORIZATION = "vectorization_instruction_path"


def kinds_from_file(path: Path) -> dict[str, str]:
    """Feature → kind (`kinds_from_vectorization`), from a vectorization configuration, or from a service
    configuration, which names one. JSON, or TOML by the suffix `.toml`.

    The vectorization that a service configuration names must be a path or a `file:` URI. Raises
    ConfigurationError, which names the file at fault.
    """
    path = vectorization_file(path)
    try:
        return kinds_from_vectorization(_read(path))
    except ValueError as error:
        raise _error(path, str(error)) from None


def vectorization_file(path: Path) -> Path:
    """The vectorization configuration that a file is, or that the service configuration in it names.

    Raises ConfigurationError, as `kinds_from_file`.
    """
    document = _read(path)
    if "feature_transformations" not in document and _VECTORIZATION in document:
        return _local(path, document[_VECTORIZATION])
    return path


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _error(path, f"not UTF-8 text: byte {error.start}") from error
    except ValueError as error:  # a NUL in the path
        raise _error(path, f"cannot be read: {error}") from error
    try:
        document = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        language = "TOML" if path.suffix == ".toml" else "JSON"
        raise _error(path, f"not {language}: {error}") from error
    if not isinstance(document, dict):
        raise _error(path, "expected an object")
    return document


def _local(service: Path, uri: object) -> Path:
    """The file that the service configuration means; relative paths are relative to it."""
    if not isinstance(uri, str):
        raise _error(service, "expected a string", _VECTORIZATION)
    try:
        return service.parent / local_path(uri)
    except ValueError:
        message = f"{uri!r} cannot be read here: give the vectorization file itself"
        raise _error(service, message, _VECTORIZATION) from None


def _error(path: Path, message: str, key: str = "") -> ConfigurationError:
    return ConfigurationError([Problem(str(path), key, message)])
