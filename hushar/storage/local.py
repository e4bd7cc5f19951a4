"""Files on this machine: plain paths and `file:` URIs."""

import os
from pathlib import Path

import trio

from hushar.errors import StorageError
from hushar.storage.interface import Blob, Storage
from hushar.uris import local_path


class LocalStorage(Storage):
    """Reads plain paths and `file:` URIs, each in a worker thread."""

    async def read(self, uri: str) -> Blob:
        """The file's bytes, with `path` and a `version` that changes when the file is written anew.

        Raises StorageError: missing, a directory, no permission, another host. If the caller is
        cancelled, the thread is left to end by itself: a pipe without a writer may never do.
        """
        return await trio.to_thread.run_sync(_read, uri, abandon_on_cancel=True)


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
