"""Logs in a storage that is no local disk: its log files, without a look at other times' partitions."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Protocol

from hushar.logreading.partitions import Window, partition_of


class StoredObject(Protocol):
    """As `hushar.storage.interface.Entry`."""

    @property
    def uri(self) -> str:
        """Its name."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of its content, as it is stored."""
        ...


class Store(Protocol):
    """A storage (`hushar.storage`), for code that is not async. Raises StorageError, and ConfigurationError
    where nothing installed reads the scheme."""

    def visit(self, uri: str, after: str | None, take: Callable[[StoredObject], bool]) -> None:
        """Give `take` the objects at and below `uri` whose URI comes after `after`, in the order of their
        URIs as UTF-8 bytes, until it returns False. It may be called in another thread."""
        ...

    def expect(self, objects: Sequence[StoredObject]) -> None:
        """These will be read, in this order, or some of them."""
        ...

    def read(self, uri: str) -> bytes:
        """All bytes of an object."""
        ...


class _Listing:
    """One pass over a source: what is found, and from where to go on."""

    def __init__(self, uri: str, window: Window) -> None:
        self.found: list[StoredObject] = []
        self.anything = False
        """Whether there was any object, log or not."""
        self.after: str | None = None
        self.jumps = False
        """The pass has ended before a folder that need not be looked at; it goes on at `after`."""
        self._window = window
        self._itself = uri
        self._folder = uri.rstrip("/") + "/"

    def take(self, entry: StoredObject) -> bool:
        """Whether to go on with the next object."""
        self.anything = True
        if entry.uri == self._itself and not entry.uri.endswith("/"):
            self.found.append(entry)
            return True
        pruned = self._pruned(entry.uri)
        if pruned is None:
            if _is_log(entry.uri[len(self._folder) :]):
                self.found.append(entry)
            return True
        # The objects of a folder begin with digits and letters, in practice: behind them is "~".
        behind = f"{pruned}/~"
        if self.after is not None and os.fsencode(behind) <= os.fsencode(self.after):
            return True
        self.after = behind
        self.jumps = True
        return False

    def _pruned(self, uri: str) -> str | None:
        """The outermost folder of an object that holds nothing of the window; None if none is such. As on a
        disk, the folder that was named itself is looked into in any case."""
        end = uri.find("/", len(self._folder))
        while end >= 0:
            partition = partition_of(PurePosixPath(uri[:end]))
            if partition is not None and not self._window.may_hold(partition):
                return uri[:end]
            end = uri.find("/", end + 1)
        return None


def _is_log(path: str) -> bool:
    """Whether the object of this name below a folder is a log, and not hidden."""
    return is_log_name(path) and not any(part.startswith(".") for part in path.split("/"))


def is_log_name(name: str) -> bool:
    """Whether the file is called as logs are."""
    return name.endswith((".pb", ".pb.gz", ".pb.zst"))


def stored_logs(store: Store, uri: str, window: Window) -> Iterator[StoredObject]:
    """The logs at and below a URI: an object of this very name, whatever it is called, else the
    `*.pb`, `*.pb.gz` and `*.pb.zst` that are not hidden, without the partitions outside of the window.

    Folders outside of the window cost one question each, whatever is in them. Raises StorageError, and
    ValueError if there is nothing at all.
    """
    listing = _Listing(uri, window)
    while True:
        listing.jumps = False
        store.visit(uri, listing.after, listing.take)
        yield from listing.found
        listing.found.clear()
        if not listing.jumps:
            break
    if not listing.anything:
        raise ValueError("there is nothing of this name")
