"""Reading what a configuration names, by the storages of plugins."""

from collections.abc import Mapping
from typing import Any

from hushar import builtin
from hushar.errors import ConfigurationError, Problem, StorageError
from hushar.plugins.calling import Named, blaming, call_factory, checked
from hushar.plugins.interface import PluginContext, StorageFactory
from hushar.plugins.manager import load_registry
from hushar.storage.interface import Blob, Storage
from hushar.storage.local import LocalStorage
from hushar.uris import scheme_of


async def read_configuration(uri: str) -> Blob:
    """The file itself; plugins are only loaded for it where it is not on the local disk.

    Raises ConfigurationError.
    """
    scheme = scheme_of(uri)
    try:
        if scheme == "file":
            return await LocalStorage().read(uri)
        storages = load_registry(builtin).storages
        if scheme not in storages:
            message = no_such_scheme(uri, scheme, storages)
            raise ConfigurationError([Problem("", "", message)])
        return await read_from(storages[scheme], PluginContext(), uri)
    except StorageError as error:
        raise ConfigurationError([Problem("", "", str(error))]) from error


async def read_from(named: Named[StorageFactory], context: PluginContext, uri: str) -> Blob:
    """What lies behind a URI. Raises StorageError, and ConfigurationError where the plugin is at fault."""
    storage = call_factory(named, Storage, context)
    with blaming(named):
        try:
            return checked(named, await storage.read(uri), Blob)
        finally:
            await storage.aclose()


def no_such_scheme(uri: str, scheme: str, known: Mapping[str, Named[Any]]) -> str:
    """The words for a URI that no plugin handles; `known`: the schemes that are."""
    hint = " (plugins/hushar-aws brings s3)" if scheme == "s3" else ""
    schemes = ", ".join(sorted(known)) or "none"
    return f"{uri}: no installed plugin handles the scheme {scheme!r}{hint}; known: {schemes}"
