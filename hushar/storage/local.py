"""Files on this machine: plain paths and `file:` URIs."""

import errno
import os
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes

import trio

from hushar.errors import StorageError
from hushar.storage.interface import Blob, Entry, Storage
from hushar.uris import is_uri, local_path

_PAGE: Final = 1000
"""Entries that are looked up in one go, in a thread."""


class LocalStorage(Storage):
    """Reads plain paths and `file:` URIs, each in a worker thread."""

    async def read(self, uri: str) -> Blob:
        """The file's bytes, with `path` and a `version` that changes when the file is written anew.

        Raises StorageError: missing, a directory, no permission, another host. If the caller is
        cancelled, the thread is left to end by itself: a pipe without a writer may never do.
        """
        return await trio.to_thread.run_sync(_read, uri, abandon_on_cancel=True)

    async def entries(self, uri: str, *, after: str | None = None) -> AsyncIterator[Entry]:
        """The regular files at `uri` or below it, also hidden ones; links to folders are not followed.

        Raises StorageError: missing, no permission, another host.
        """
        found = _entries(uri, None if after is None else os.fsencode(after))
        while page := await trio.to_thread.run_sync(lambda: list(islice(found, _PAGE))):
            for entry in page:
                yield entry


def _read(uri: str) -> Blob:
    try:
        path = Path(local_path(uri))
        with path.open("rb") as file:
            data = file.read()
            status = os.fstat(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot read {uri}: {error.strerror or error}") from error
    except ValueError as error:  # no local path, or a NUL in it
        raise StorageError(f"cannot read {uri}: {error}") from error
    version = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return Blob(uri=uri, data=data, version=version, path=path)


def _entries(uri: str, after: bytes | None) -> Iterator[Entry]:
    if not uri:
        raise StorageError("cannot list the empty name: it is no file and no folder")
    try:
        path = Path(local_path(uri))
        if path.is_dir():
            yield from _below(os.fsencode(path), uri.rstrip("/") + "/", after)
        elif after is None or os.fsencode(uri) > after:
            yield Entry(uri, path.stat().st_size)
    except OSError as error:
        raise StorageError(f"cannot list {uri}: {error.strerror or error}") from error
    except ValueError as error:  # no local path, or a NUL in it
        raise StorageError(f"cannot list {uri}: {error}") from error


def _below(directory: bytes, prefix: str, after: bytes | None) -> Iterator[Entry]:
    """The files in a directory, whose URIs begin with `prefix`, in the order of the URIs."""
    children = []
    with os.scandir(directory) as found:
        for child in found:
            is_folder = child.is_dir(follow_symlinks=False)
            if is_folder or child.is_file():
                name = quote_from_bytes(child.name) if is_uri(prefix) else os.fsdecode(child.name)
                children.append((os.fsencode(prefix + name + "/" * is_folder), is_folder, child.path))
    for uri, is_folder, path in sorted(children):
        if after is not None and uri <= after and not (is_folder and after.startswith(uri)):
            continue
        try:
            if is_folder:
                yield from _below(path, os.fsdecode(uri), after)
            else:
                yield Entry(os.fsdecode(uri), os.stat(path).st_size)  # noqa: PTH116 - a name in bytes
        except OSError as error:
            if error.errno != errno.ENOENT:  # gone meanwhile
                raise
