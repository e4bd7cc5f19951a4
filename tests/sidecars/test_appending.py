"""Appending: every byte in its place, whichever way it goes."""

import errno
import os
from random import Random

import pytest

from hushar.sidecars import appending
from hushar.sidecars.appending import BLOCK_BYTES, DIRECT_BYTES, AppendedFile, Stage

STAGE = 4 * DIRECT_BYTES


@pytest.fixture
def written():
    """(whether directly, bytes) of each write."""
    return []


@pytest.fixture
def make(tmp_path, written):
    files = []

    def made(write=os.write):
        def watched(descriptor, data):
            size = write(descriptor, data)
            written.append((descriptor != file.descriptor, size))
            return size

        file = AppendedFile(tmp_path / "file", Stage(STAGE), watched)
        files.append(file)
        return file

    yield made
    for file in files:
        file.close()


def content(tmp_path):
    return (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("largest", [None, 4095, 4097], ids=["whole", "short", "odd"])
def test_every_byte_arrives_in_its_place(make, tmp_path, direct, largest):
    """Also where a write takes only a part, and leaves the rest unaligned."""
    random = Random(5)
    file = make(lambda descriptor, data: os.write(descriptor, data[:largest]))
    expected = b""
    edges = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, DIRECT_BYTES, STAGE - 1, STAGE, STAGE + 1]
    for _ in range(40):
        sizes = [random.choice([*edges, random.randint(0, 3 * STAGE)]) for _ in range(random.randint(0, 4))]
        pieces = [random.randbytes(size) for size in sizes]
        file.append(pieces, len(expected), direct=direct)
        expected += b"".join(pieces)
    assert content(tmp_path) == expected


def test_only_whole_blocks_go_directly_and_little_does_not(make, written):
    file = make()
    file.append([bytes(100)], 0, direct=True)
    file.append([bytes(3 * DIRECT_BYTES)], 100, direct=True)
    if not any(direct for direct, _ in written):
        pytest.skip("the file system of the temporary directory does not write directly")
    block = BLOCK_BYTES - 100
    assert written == [(False, 100), (False, block), (True, 3 * DIRECT_BYTES - BLOCK_BYTES), (False, 100)]


def test_nothing_goes_directly_unless_it_is_asked_for(make, written):
    file = make()
    file.append([bytes(3 * DIRECT_BYTES)], 0, direct=False)
    assert written == [(False, 3 * DIRECT_BYTES)]


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_refuses_direct_writes_gets_them_the_other_way(make, tmp_path, refusal):
    asked = []

    def write(descriptor, data):
        if descriptor != file.descriptor:
            asked.append(len(data))
            raise OSError(refusal, os.strerror(refusal))
        return os.write(descriptor, data)

    file = make(write)
    piece = Random(1).randbytes(2 * DIRECT_BYTES)
    for index in range(3):
        file.append([piece], index * len(piece), direct=True)
    assert content(tmp_path) == 3 * piece
    assert len(asked) <= 1  # Not at all where there is no O_DIRECT.


def test_another_error_is_the_callers(make, tmp_path):
    """What was written before it is in the file."""

    def write(descriptor, data):
        if descriptor != file.descriptor or len(data) > BLOCK_BYTES:
            raise OSError(errno.ENOSPC, "full")
        return os.write(descriptor, data)

    file = make(write)
    file.append([b"abc"], 0, direct=True)
    with pytest.raises(OSError, match="full") as raised:
        file.append([bytes(STAGE)], 3, direct=True)
    assert raised.value.errno == errno.ENOSPC
    assert len(content(tmp_path)) in (BLOCK_BYTES, 3)  # 3: the file system does not write directly.


def test_without_direct_writing_at_all(make, tmp_path, monkeypatch, written):
    monkeypatch.setattr(appending, "_O_DIRECT", 0)
    file = make()
    file.append([bytes(2 * STAGE)], 0, direct=True)
    assert content(tmp_path) == bytes(2 * STAGE)
    assert not any(direct for direct, _ in written)
