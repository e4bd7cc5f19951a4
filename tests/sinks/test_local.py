"""Segments become files under the layout of CONTRACT.md 4, whole or not at all."""

import errno
import os
import threading
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.errors import ConfigurationError, SinkError
from hushar.sinks.local import LocalLogSink, unusable
from hushar.testing import check_log_sink, segment


@pytest.fixture
def spool(tmp_path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@pytest.fixture
def logs(tmp_path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def another_file_system(monkeypatch, spool):
    """Every rename out of the spool is refused, as between two file systems."""
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.parent == spool:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


async def test_it_keeps_the_rules_of_a_log_sink(logs):
    await check_log_sink(lambda: LocalLogSink(logs), lambda: files(logs))


class TestDelivery:
    async def test_a_disk_that_stalls_takes_no_threads_of_others(self, logs, spool, monkeypatch):
        stalled = threading.Event()
        monkeypatch.setattr("hushar.sinks.local._move", lambda *args: stalled.wait(60))
        sink, one = LocalLogSink(logs), segment(spool)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(sink.deliver, one)
            await wait_all_tasks_blocked()
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            stalled.set()

    async def test_a_segment_is_moved_to_its_key(self, logs, spool):
        one = segment(spool)
        content, inode = one.path.read_bytes(), one.path.stat().st_ino
        sink = LocalLogSink(logs)
        await sink.open()
        await sink.deliver(one)
        assert files(logs) == {one.key: content}
        assert one.key.startswith("year=2025/month=07/day=31/hour=22/mi=13/")
        assert (logs / one.key).stat().st_ino == inode
        assert not one.path.exists()

    @pytest.mark.usefixtures("another_file_system")
    async def test_from_another_file_system_it_is_copied_and_only_then_named(self, logs, spool):
        one = segment(spool)
        content = one.path.read_bytes()
        sink = LocalLogSink(logs)
        await sink.deliver(one)
        assert files(logs) == {one.key: content}
        assert one.path.exists()
        await sink.deliver(one)
        assert files(logs) == {one.key: content}

    @pytest.mark.usefixtures("another_file_system")
    async def test_a_copy_that_fails_leaves_nothing_behind(self, logs, spool, monkeypatch):
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        one = segment(spool)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SinkError, match="No space left on device"):
            await LocalLogSink(logs).deliver(one)
        assert files(logs) == {}
        assert one.path.exists()

    @pytest.mark.usefixtures("another_file_system")
    async def test_what_a_crash_left_of_a_copy_is_overwritten(self, logs, spool):
        one = segment(spool)
        target = logs / one.key
        target.parent.mkdir(parents=True)
        target.with_name(f".{target.name}.partial").write_bytes(b"x" * 10_000)
        await LocalLogSink(logs).deliver(one)
        assert files(logs) == {one.key: one.path.read_bytes()}

    async def test_a_directory_that_is_gone_is_made_again(self, logs, spool):
        sink = LocalLogSink(logs)
        await sink.open()
        logs.rmdir()
        one = segment(spool)
        await sink.deliver(one)
        assert (logs / one.key).exists()

    async def test_a_disk_that_refuses_is_an_error_that_names_file_and_reason(self, logs, spool):
        one = segment(spool)
        logs.write_bytes(b"")
        with pytest.raises(SinkError, match=f"{one.path.name}: Not a directory"):
            await LocalLogSink(logs).deliver(one)
        assert one.path.exists()


async def test_the_program_in_the_documentation_reads_what_was_delivered(
    logs, spool, tmp_path, monkeypatch, capsys
):
    await LocalLogSink(logs).deliver(segment(spool))
    page = Path(__file__).parents[2] / "docs" / "logging.md"
    program = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(program, page.name, "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        f"request-{n} row-1 {{'age': 41.5, 'city': 'Pune'}} [0.5]" for n in (1, 2, 3)
    ]


class TestOpening:
    async def test_the_directory_is_made_and_left_empty(self, tmp_path):
        sink = LocalLogSink(tmp_path / "a" / "b")
        await sink.open()
        await sink.aclose()
        assert files(tmp_path) == {}
        assert (tmp_path / "a" / "b").is_dir()
        assert sink.description == str(tmp_path / "a" / "b")

    async def test_what_is_no_directory_is_the_users_mistake(self, logs):
        logs.write_bytes(b"")
        with pytest.raises(ConfigurationError) as refused:
            await LocalLogSink(logs).open()
        assert str(refused.value) == (
            f"log.uri: {logs} is not a directory that can be written to: File exists"
        )

    async def test_a_directory_that_cannot_be_written_to_is_the_users_mistake(self, logs, monkeypatch):
        """By a failing call, as file modes mean nothing to root."""

        def refuse(*args: object, **kwargs: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
        with pytest.raises(ConfigurationError, match=r"^log\.uri: .*: Permission denied$"):
            await LocalLogSink(logs).open()


class TestChecking:
    def test_a_directory_that_is_not_there_yet_is_no_problem_and_is_not_made(self, tmp_path):
        assert unusable(tmp_path / "a" / "b") is None
        assert list(tmp_path.iterdir()) == []

    def test_a_file_on_the_way_is_named(self, logs):
        logs.write_bytes(b"")
        message = f"{logs / 'x'} is not a directory that can be written to: {logs} is a file"
        assert unusable(logs / "x") == message

    async def test_a_name_that_is_too_long_is_one_message(self, tmp_path):
        directory = tmp_path / ("x" * 300)
        with pytest.raises(ConfigurationError) as refused:
            await LocalLogSink(directory).check()
        assert str(refused.value) == (
            f"log.uri: {directory} is not a directory that can be written to: File name too long"
        )

    def test_a_way_without_permission_is_one_message(self, logs, monkeypatch):
        """By a failing call, as file modes mean nothing to root."""

        def refuse(path: Path) -> bool:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(Path, "exists", refuse)
        assert unusable(logs) == f"{logs} is not a directory that can be written to: Permission denied"
