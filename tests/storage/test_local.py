"""Reading plain paths and file URIs."""

import os
from pathlib import Path

import pytest
import trio

from hushar.errors import StorageError
from hushar.storage.local import LocalStorage
from hushar.testing import check_storage


async def test_it_keeps_the_rules_of_a_storage(tmp_path: Path):
    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    await check_storage(LocalStorage, write)


async def test_a_plain_path_gives_bytes_path_and_the_uri_as_it_was_asked_for(tmp_path: Path):
    file = tmp_path / "a model.onnx"
    file.write_bytes(b"\x00bytes")
    blob = await LocalStorage().read(str(file))
    assert (blob.uri, blob.data, blob.path) == (str(file), b"\x00bytes", file)


async def test_a_percent_sign_in_a_plain_path_is_a_percent_sign(tmp_path: Path):
    (tmp_path / "100%20.json").write_bytes(b"1")
    assert (await LocalStorage().read(str(tmp_path / "100%20.json"))).data == b"1"


async def test_a_file_uri_is_percent_decoded(tmp_path: Path):
    (tmp_path / "ümlaut und mehr.json").write_bytes(b"2")
    blob = await LocalStorage().read(f"file://{tmp_path}/%C3%BCmlaut%20und%20mehr.json")
    assert (blob.data, blob.path) == (b"2", tmp_path / "ümlaut und mehr.json")


async def test_the_version_changes_when_a_file_of_the_same_size_takes_its_place(tmp_path: Path):
    file, other = tmp_path / "m", tmp_path / "other"
    file.write_bytes(b"one")
    before = await LocalStorage().read(str(file))
    other.write_bytes(b"two")
    other.rename(file)
    after = await LocalStorage().read(str(file))
    assert before.version != after.version
    assert (await LocalStorage().read(str(file))).version == after.version


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.json", "No such file or directory"),
        (".", "Is a directory"),
        ("file/below", "Not a directory"),
        ("n" * 300, "File name too long"),
        ("nul\0", "embedded null byte"),
    ],
)
async def test_what_cannot_be_read_is_said_in_one_sentence_that_names_it(
    tmp_path: Path, name: str, reason: str
):
    (tmp_path / "file").write_bytes(b"")
    uri = f"{tmp_path}/{name}"
    with pytest.raises(StorageError) as caught:
        await LocalStorage().read(uri)
    assert str(caught.value) == f"cannot read {uri}: {reason}"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "file://models/m.onnx",
            "cannot read file://models/m.onnx: 'models' is read as a host; a file URI has three slashes, "
            "file:///path",
        ),
        ("file://localhost", "cannot read file://localhost: a file URI needs a path, such as file:///path"),
    ],
)
async def test_a_file_uri_of_another_host_or_without_a_path_is_refused(uri: str, message: str):
    with pytest.raises(StorageError) as caught:
        await LocalStorage().read(uri)
    assert str(caught.value) == message


async def test_the_event_loop_goes_on_while_a_file_is_read(tmp_path: Path):
    """A pipe is read to its end, which comes only when its writer, in the same loop, closes it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def write() -> None:
        async with await trio.open_file(pipe, "wb") as writer:
            await writer.write(b"late")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert (await LocalStorage().read(str(pipe))).data == b"late"
