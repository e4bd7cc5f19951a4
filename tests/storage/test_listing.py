"""Listing what is behind a path or a file URI."""

import os
from contextlib import aclosing
from pathlib import Path

import pytest

from hushar.errors import StorageError
from hushar.storage.interface import Blob, Entry, Storage
from hushar.storage.local import LocalStorage

NAMES = ["b/z", "b/a", "b.c", "b-c/x", "a", "B/x", ".h/x", "b/ü", "b/\U0001f600", "b/\uffff", "b/a/%20 c"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        if name == "b/a":
            continue  # a folder here
        path = tmp_path / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "log"


async def listed(uri: str, after: str | None = None) -> list[Entry]:
    return [entry async for entry in LocalStorage().entries(uri, after=after)]


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}", "file://{}/"])
async def test_every_file_is_listed_in_the_order_of_its_uri_and_can_be_read(folder: Path, form: str):
    uri = form.format(folder)
    entries = await listed(uri)
    uris = [entry.uri for entry in entries]
    assert uris == sorted(uris, key=os.fsencode)
    assert all(each.startswith(uri.rstrip("/") + "/") for each in uris)
    blobs = [await LocalStorage().read(each) for each in uris]
    assert {blob.data.decode() for blob in blobs} == set(NAMES) - {"b/a"}
    assert [entry.size_bytes for entry in entries] == [len(blob.data) for blob in blobs]


async def test_after_begins_behind_a_text_that_need_not_be_there(folder: Path):
    every = [entry.uri for entry in await listed(str(folder))]
    texts = ["", "a", "b", "b/", "b/a", "b/a/", "b/b", "b/a/%20 c", "b-", "b.c", "z", "\U0010ffff", ".h/x0"]
    for after in [*every, *(f"{folder}/{text}" for text in texts), str(folder), str(folder) + "0"]:
        found = [entry.uri for entry in await listed(str(folder), after)]
        assert found == [uri for uri in every if os.fsencode(uri) > os.fsencode(after)], after


async def test_a_file_is_its_own_only_entry(folder: Path):
    uri = str(folder / "b.c")
    assert await listed(uri) == [Entry(uri, 3)]
    assert await listed(uri, after=uri) == []
    assert await listed(f"file://{uri}") == [Entry(f"file://{uri}", 3)]


async def test_an_empty_folder_has_no_entries(tmp_path: Path):
    assert await listed(str(tmp_path)) == []


async def test_links_to_files_count_and_to_folders_and_nowhere_do_not(folder: Path, tmp_path: Path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "file").symlink_to(folder / "a")
    (links / "folder").symlink_to(folder)
    (links / "nowhere").symlink_to(tmp_path / "absent")
    os.mkfifo(links / "pipe")
    assert await listed(str(links)) == [Entry(str(links / "file"), 1)]
    (tmp_path / "log2").symlink_to(folder)
    assert len(await listed(str(tmp_path / "log2"))) == len(NAMES) - 1


async def test_more_than_a_page_is_listed_and_may_be_left(tmp_path: Path):
    for index in range(2100):
        (tmp_path / f"{index:04}").touch()
    entries = await listed(str(tmp_path))
    assert [Path(entry.uri).name for entry in entries] == [f"{index:04}" for index in range(2100)]
    async with aclosing(LocalStorage().entries(str(tmp_path))) as some:
        assert await anext(some) == entries[0]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [("/absent", "No such file or directory"), ("/dev/null/x", "Not a directory"), ("nul\0", "null")],
)
async def test_what_cannot_be_listed_is_named(uri: str, reason: str):
    with pytest.raises(StorageError, match=reason) as caught:
        await listed(uri)
    assert str(caught.value).startswith(f"cannot list {uri}: ")


async def test_a_storage_that_only_reads_says_so():
    class Reading(Storage):
        async def read(self, uri: str) -> Blob:
            return Blob(uri, b"")

    with pytest.raises(StorageError, match=r"^cannot list tape://x: what reads tape:// lists nothing$"):
        [entry async for entry in Reading().entries("tape://x")]
