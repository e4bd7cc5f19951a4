"""The rules of `Storage` (hushar/storage/interface.py), checked on an implementation."""

import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from hushar.errors import StorageError
from hushar.storage.interface import Blob, Entry, Storage
from hushar.testing._rules import at_once, cancelled, rule

CONTENTS = {
    "text.json": b'{"a": 1}\n',
    "binary.bin": bytes(range(256)) * 300,
    "empty": b"",
}
CHANGED = b"other bytes, another length"
MISSING_SUFFIX = ".is-not-there"


async def check_storage(
    make_storage: Callable[[], Storage], write: Callable[[str, bytes], str | Awaitable[str]]
) -> None:
    """Check that what `make_storage` makes keeps the rules of a Storage. Listing is checked where it can.

    `write(name, data)`, a plain or a coroutine function, puts the bytes where the storage will find
    them, over what was there under this name, and returns their URI.
    """
    storage = make_storage()
    rule(
        isinstance(storage, Storage),
        f"a storage factory must return a Storage; it returns {type(storage).__name__}",
    )
    uris = {name: await _written(write, name, data) for name, data in CONTENTS.items()}
    try:
        for name, data in CONTENTS.items():
            await _check_reads(storage, uris[name], data)
        await at_once([partial(_check_reads, storage, uris[name], data) for name, data in CONTENTS.items()])
        await _check_change(storage, write)
        await _check_missing(storage, uris["text.json"] + MISSING_SUFFIX)
        await _check_entries(storage, uris)
        await _check_cancellation(storage, uris["text.json"])
        await _check_reads(storage, uris["text.json"], CONTENTS["text.json"])
    finally:
        await storage.aclose()


async def _written(write: Callable[[str, bytes], str | Awaitable[str]], name: str, data: bytes) -> str:
    uri = write(name, data)
    return await uri if inspect.isawaitable(uri) else uri


async def _check_reads(storage: Storage, uri: str, data: bytes) -> Blob:
    try:
        blob = await storage.read(uri)
    except Exception as error:
        raise AssertionError(
            f"Storage.read must read what is there, also several at once; for {uri} it raised {error!r}"
        ) from error
    rule(
        isinstance(blob, Blob) and isinstance(blob.data, bytes) and blob.data == data,
        "Storage.read must give a Blob with exactly the bytes behind the URI; for "
        f"{uri} ({len(data)} bytes) it gives {type(blob).__name__} with other data",
    )
    rule(blob.uri == uri, f"Blob.uri must be the URI that was asked for; it is {blob.uri!r}, not {uri!r}")
    rule(
        blob.version is None or bool(blob.version),
        f"Blob.version must be None or a str that is not empty; for {uri} it is {blob.version!r}",
    )
    rule(
        blob.path is None or blob.path.read_bytes() == data,
        f"Blob.path must be None or the file that holds the bytes; {blob.path} holds others",
    )
    return blob


async def _check_change(storage: Storage, write: Callable[[str, bytes], str | Awaitable[str]]) -> None:
    name, data = "text.json", CONTENTS["text.json"]
    before = await storage.read(await _written(write, name, data))
    uri = await _written(write, name, CHANGED)
    after = await storage.read(uri)
    rule(
        after.data == CHANGED,
        f"Storage.read gives the old bytes of {uri} after they changed: it must not remember them",
    )
    rule(
        before.version is None or before.version != after.version,
        f"Blob.version must change when the content does; for {uri} it stays {after.version!r}",
    )
    await _written(write, name, data)


async def _check_missing(storage: Storage, uri: str) -> None:
    try:
        await storage.read(uri)
    except StorageError as error:
        rule(
            uri in str(error) and "\n" not in str(error),
            f"a StorageError must name the URI in one line; for {uri} it says {str(error)!r}",
        )
    except Exception as error:
        raise AssertionError(
            f"Storage.read must raise StorageError for what is not there; for {uri} it raised {error!r}"
        ) from error
    else:
        raise AssertionError(f"Storage.read must raise StorageError for what is not there; {uri} was read")


async def _check_entries(storage: Storage, uris: Mapping[str, str]) -> None:
    sizes = {uri: len(CONTENTS[name]) for name, uri in uris.items()}
    one = uris["text.json"]
    try:
        found = await _listed(storage, one)
    except StorageError as error:
        rule(
            one in str(error) and "\n" not in str(error),
            f"a StorageError must name the URI in one line; for {one} it says {str(error)!r}",
        )
        return  # it does not list
    rule(
        found == [Entry(one, sizes[one])],
        f"Storage.entries must give an object that is named itself, once; for {one} it gives {found}",
    )
    folders = {uri.rpartition("/")[0] for uri in sizes}
    folder = folders.pop()
    if folders or not folder.strip("/") or folder.endswith((":", "/")):
        return  # there is no folder that could be named
    for uri in (folder, f"{folder}/"):
        every = await _listed(storage, uri)
        rule(
            all(Entry(each, size) in every for each, size in sizes.items()),
            "Storage.entries must give every object below a folder, with its size; for "
            f"{uri} it gives {every}",
        )
        rule(
            every == sorted(every, key=lambda entry: os.fsencode(entry.uri)),
            f"Storage.entries must keep the order of the URIs as UTF-8 bytes; for {uri} it gives {every}",
        )
    for after in (one, one + MISSING_SUFFIX, folder, f"{folder}0"):
        behind = [entry for entry in every if os.fsencode(entry.uri) > os.fsencode(after)]
        rule(
            await _listed(storage, folder, after) == behind,
            f"Storage.entries with after={after!r} must give exactly what comes after it, there or not",
        )
    iterator = storage.entries(folder)
    await anext(iterator)
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


async def _listed(storage: Storage, uri: str, after: str | None = None) -> list[Entry]:
    return [entry async for entry in storage.entries(uri, after=after)]


async def _check_cancellation(storage: Storage, uri: str) -> None:
    try:
        await cancelled(partial(storage.read, uri))
    except Exception as error:
        raise AssertionError(
            f"Storage.read must let a cancellation pass through; it turned it into {error!r}"
        ) from error
