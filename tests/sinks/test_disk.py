"""Names survive a power cut once their directory has been forced to the disk."""

import errno
import os

import pytest

from hushar.sinks.disk import sync_directory


def test_it_is_the_directory_that_is_forced_to_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor)))
    sync_directory(tmp_path)
    (directory,) = synced
    assert os.path.samestat(directory, tmp_path.stat())


def test_a_disk_that_refuses_is_an_error_and_nothing_is_left_open(tmp_path, monkeypatch):
    opened = []

    def refuse(descriptor: int) -> None:
        opened.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        sync_directory(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "file")
