"""Files on this machine: plain paths and `file://` URIs."""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import trio

from hushar.errors import StorageError
from hushar.storage.interface import Blob, Storage

_FILE = re.compile(r"file:(?=/)", re.IGNORECASE)
_LOCAL_HOSTS = ("", "localhost")


def local_path(uri: str) -> Path:
    """The path that `uri` names: a `file:/…` URI (RFC 8089) percent-decoded, anything else as it is.

    Raises StorageError for a file URI of another host or without a path.
    """
    match = _FILE.match(uri)
    if match is None:
        return Path(uri)
    rest = uri[match.end() :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in _LOCAL_HOSTS:
            raise StorageError(
                f"cannot read {uri}: {host!r} is read as a host; a file URI has three slashes, file:///path"
            )
        rest = slash + path
    if not rest:
        raise StorageError(f"cannot read {uri}: a file URI needs a path, such as file:///path")
    return Path(os.fsdecode(unquote_to_bytes(rest.encode("utf-8", "surrogateescape"))))


class LocalStorage(Storage):
    """Reads plain paths and `file://` URIs, each in a worker thread."""

    async def read(self, uri: str) -> Blob:
        """The file's bytes, with `path` and a `version` that changes when the file is written anew.

        Raises StorageError: missing, a directory, no permission, another host. If the caller is
        cancelled, the thread is left to end by itself: a pipe without a writer may never do.
        """
        return await trio.to_thread.run_sync(_read, uri, abandon_on_cancel=True)


def _read(uri: str) -> Blob:
    path = local_path(uri)
    try:
        with path.open("rb") as file:
            data = file.read()
            status = os.fstat(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot read {uri}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise StorageError(f"cannot read {uri}: {error}") from error
    version = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return Blob(uri=uri, data=data, version=version, path=path)
