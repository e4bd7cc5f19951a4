"""What a storage is: from a URI to bytes, and from a folder's URI to those in it.

Made by a factory (`hushar_storages`, by URI scheme) that does no I/O. Models, configurations and the
segments of inference logs come through it; what is read is small enough to be held in memory.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from hushar.errors import StorageError
from hushar.uris import scheme_of


@dataclass(frozen=True, slots=True)
class Blob:
    """What a URI held when it was read."""

    uri: str
    data: bytes
    version: str | None = None
    """Something that changes when the content does (ETag, version id); None where there is none."""
    path: Path | None = None
    """The local file, where there is one: a model may have external data beside it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object that a storage has."""

    uri: str
    """What `Storage.read` takes."""
    size_bytes: int


class Storage(ABC):
    """Reads URIs of one scheme."""

    @abstractmethod
    async def read(self, uri: str) -> Blob:
        """All bytes behind `uri`. Raises StorageError, whose text names the URI and the reason."""

    def entries(self, uri: str, *, after: str | None = None) -> AsyncIterator[Entry]:  # noqa: ARG002
        """Every object at `uri` and below it, at any depth, in the order of their URIs as UTF-8 bytes.

        `uri` is a folder, with or without a slash at its end, or an object: `s3://bucket/log` gives
        `s3://bucket/log` where there is such an object, and `s3://bucket/log/x`, but not
        `s3://bucket/log-2/x`. What is not there has no entries, or raises where the storage knows folders.

        With `after` only those whose URI comes after this text, which need not be that of an object. A
        reader of logs skips years of them in this way: begin there, do not read on to it. Give entries as
        they come, a page of them at a time; whoever has enough of them calls `aclose` of the iterator.

        Raises StorageError, when it is called or in the iteration. One that cannot list raises it too.
        """
        raise StorageError(f"cannot list {uri}: what reads {scheme_of(uri)}:// lists nothing")

    async def aclose(self) -> None:
        """Release what was taken."""
