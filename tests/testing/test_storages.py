"""check_storage passes what keeps the rules, and names the rule that a planted violation breaks."""

from pathlib import Path
from typing import Any

import pytest
import trio

from hushar.errors import StorageError
from hushar.storage.interface import Blob, Entry, Storage
from hushar.testing import MemoryStorage, check_storage

PREFIX = "memory:///"


class Backed(MemoryStorage):
    """A right storage; every instance made by one test reads the same dictionary."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__()
        self.contents = contents


async def check(kind: type[Backed]) -> None:
    contents: dict[str, bytes] = {}

    def write(name: str, data: bytes) -> str:
        contents[PREFIX + name] = data
        return PREFIX + name

    await check_storage(lambda: kind(contents), write)


async def test_a_right_storage_passes():
    await check(Backed)


async def test_a_right_storage_with_files_and_a_coroutine_function_passes(tmp_path: Path):
    class Files(Storage):
        async def read(self, uri: str) -> Blob:
            path = trio.Path(uri)
            try:
                return Blob(uri, await path.read_bytes(), path=Path(uri))
            except OSError as error:
                raise StorageError(f"{uri} cannot be read: {error.strerror}") from error

    async def write(name: str, data: bytes) -> str:
        await trio.Path(tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    await check_storage(Files, write)


async def test_the_storage_is_closed_also_when_it_breaks_a_rule():
    made = [Other({})]
    with pytest.raises(AssertionError):
        await check_storage(lambda: made[0], lambda name, data: name)
    assert made[0].closed == 1


class Other(Backed):
    async def read(self, uri: str) -> Blob:
        return Blob(uri, b"other")


class Text(Backed):
    async def read(self, uri: str) -> Blob:
        blob = await super().read(uri)
        return Blob(uri, blob.data.decode("latin-1"))  # type: ignore[arg-type]


class OwnUri(Backed):
    async def read(self, uri: str) -> Blob:
        return Blob(uri.upper(), (await super().read(uri)).data)


class EmptyVersion(Backed):
    async def read(self, uri: str) -> Blob:
        return Blob(uri, (await super().read(uri)).data, version="")


class ConstantVersion(Backed):
    async def read(self, uri: str) -> Blob:
        return Blob(uri, (await super().read(uri)).data, version="1")


class WrongPath(Backed):
    async def read(self, uri: str) -> Blob:
        return Blob(uri, (await super().read(uri)).data, path=Path(__file__))


class Remembers(Backed):
    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(contents)
        self.remembered: dict[str, Blob] = {}

    async def read(self, uri: str) -> Blob:
        if uri not in self.remembered:
            self.remembered[uri] = await super().read(uri)
        return self.remembered[uri]


class KeyErrors(Backed):
    async def read(self, uri: str) -> Blob:
        await trio.lowlevel.checkpoint()
        return Blob(uri, self.contents[uri])


class NoUri(Backed):
    async def read(self, uri: str) -> Blob:
        try:
            return await super().read(uri)
        except StorageError as error:
            raise StorageError("not found") from error


class Empty(Backed):
    async def read(self, uri: str) -> Blob:
        await trio.lowlevel.checkpoint()
        return Blob(uri, self.contents.get(uri, b""))


class HidesCancellation(Backed):
    async def read(self, uri: str) -> Blob:
        try:
            return await super().read(uri)
        except trio.Cancelled as error:
            raise StorageError(f"{uri}: cancelled") from error


class OneAtATime(Backed):
    busy = False

    async def read(self, uri: str) -> Blob:
        if self.busy:
            raise RuntimeError("busy")
        self.busy = True
        try:
            return await super().read(uri)
        finally:
            self.busy = False


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Other, "exactly the bytes behind the URI"),
        (Text, "exactly the bytes behind the URI"),
        (OwnUri, "Blob.uri must be the URI that was asked for"),
        (EmptyVersion, "Blob.version must be None or a str that is not empty"),
        (ConstantVersion, "Blob.version must change when the content does"),
        (WrongPath, "Blob.path must be None or the file that holds the bytes"),
        (Remembers, "old bytes of .* after they changed"),
        (KeyErrors, "must raise StorageError for what is not there; .* raised KeyError"),
        (NoUri, "a StorageError must name the URI in one line"),
        (Empty, "must raise StorageError for what is not there; .* was read"),
        (HidesCancellation, "must let a cancellation pass through"),
        (OneAtATime, "Storage.read must read what is there.*busy"),
    ],
)
async def test_a_broken_storage_fails(kind: type[Backed], sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        await check(kind)


async def test_what_is_no_storage_fails():
    def make() -> Any:
        return object()

    with pytest.raises(AssertionError, match="must return a Storage; it returns object"):
        await check_storage(make, lambda name, data: name)


class Listing(Backed):
    """As S3: names in the order of their bytes."""

    async def entries(self, uri: str, *, after: str | None = None):
        for each in sorted(self.contents, key=str.encode):
            below = each == uri or each.startswith(uri.rstrip("/") + "/")
            if below and (after is None or each.encode() > after.encode()):
                await trio.lowlevel.checkpoint()
                yield Entry(each, len(self.contents[each]))


class NamesTheObjectOnly(Listing):
    async def entries(self, uri: str, *, after: str | None = None):
        if uri in self.contents:
            return
        async for entry in super().entries(uri, after=after):
            yield entry


class AnyOrder(Listing):
    async def entries(self, uri: str, *, after: str | None = None):
        for entry in reversed([entry async for entry in super().entries(uri, after=after)]):
            yield entry


class NoSizes(Listing):
    async def entries(self, uri: str, *, after: str | None = None):
        async for entry in super().entries(uri, after=after):
            yield Entry(entry.uri, 9 if uri != entry.uri else entry.size_bytes)


class FromTheStart(Listing):
    async def entries(self, uri: str, *, after: str | None = None):
        async for entry in super().entries(uri):
            yield entry


class IncludesAfter(Listing):
    async def entries(self, uri: str, *, after: str | None = None):
        async for entry in super().entries(uri):
            if after is None or entry.uri >= after:
                yield entry


class NamelessError(Listing):
    def entries(self, uri: str, *, after: str | None = None):
        raise StorageError("no")


async def check_below(kind: type[Backed]) -> None:
    """With a folder that can be named, and something beside it."""
    contents: dict[str, bytes] = {"memory://b/log-2/x": b"", "memory://b/log/a/z": b"1", "memory://b/a": b""}

    def write(name: str, data: bytes) -> str:
        contents[f"memory://b/log/{name}"] = data
        return f"memory://b/log/{name}"

    await check_storage(lambda: kind(contents), write)


async def test_a_right_storage_that_lists_passes():
    await check_below(Listing)
    await check(Listing)
    await check_below(Backed)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (NamesTheObjectOnly, "must give an object that is named itself"),
        (AnyOrder, "must keep the order"),
        (NoSizes, "must give every object below a folder, with its size"),
        (FromTheStart, "must give exactly what comes after"),
        (IncludesAfter, "must give exactly what comes after"),
        (NamelessError, "must name the URI in one line"),
    ],
)
async def test_a_storage_that_lists_wrongly_is_told(kind: type[Backed], sentence: str):
    with pytest.raises(AssertionError, match=sentence):
        await check_below(kind)
