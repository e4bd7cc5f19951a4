"""What a storage is: from a URI to bytes.

Made by a factory (`hushar_storages`, by URI scheme) that does no I/O. Models and configurations come
through it; what is read is small enough to be held in memory.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Blob:
    """What a URI held when it was read."""

    uri: str
    data: bytes
    version: str | None = None
    """Something that changes when the content does (ETag, version id); None where there is none."""
    path: Path | None = None
    """The local file, where there is one: a model may have external data beside it."""


class Storage(ABC):
    """Reads URIs of one scheme."""

    @abstractmethod
    async def read(self, uri: str) -> Blob:
        """All bytes behind `uri`. Raises StorageError, whose text names the URI and the reason."""

    async def aclose(self) -> None:
        """Release what was taken."""
