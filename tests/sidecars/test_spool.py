"""The spool: where it is, who has it, and what of it survives a crash."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hushar.errors import ConfigurationError
from hushar.proto import structs_pb2
from hushar.sidecars.compressing import compress
from hushar.sidecars.recovery import recover
from hushar.sidecars.segment import FileOperations, parse_name
from hushar.sidecars.spool import (
    SegmentWriter,
    SpoolLock,
    dead_letter,
    default_spool_dir,
    discard,
)
from hushar.sinks.compression import read, read_file


class TestDefaultDirectory:
    def test_it_lies_hidden_in_a_local_log_directory(self):
        assert default_spool_dir(Path("logs"), "m", {}) == Path("logs/.spool")

    @pytest.mark.parametrize(
        ("environment", "state"),
        [
            ({"XDG_STATE_HOME": "/var/state", "HOME": "/home"}, "/var/state"),
            ({"HOME": "/home"}, "/home/.local/state"),
            ({"XDG_STATE_HOME": "relative", "HOME": "/home"}, "/home/.local/state"),
            ({"XDG_STATE_HOME": "", "HOME": "/home"}, "/home/.local/state"),
        ],
    )
    def test_else_it_is_the_models_folder_in_the_users_state_directory(self, environment, state):
        assert default_spool_dir(None, "fraud-1", environment) == Path(state, "hushar", "fraud-1")

    @pytest.mark.parametrize("model_id", ["a/b", "../../etc", "a b", "", ".", "é" * 300])
    def test_no_model_id_leads_out_of_there_and_none_shares_anothers_folder(self, model_id):
        directory = default_spool_dir(None, model_id, {"HOME": "/home"})
        assert directory.parent == Path("/home/.local/state/hushar")
        assert directory.name not in (".", "..")
        assert directory != default_spool_dir(None, model_id + "?", {"HOME": "/home"})

    def test_without_a_home_the_key_is_named(self):
        with pytest.raises(ConfigurationError, match=r"^log\.spool_dir: .*XDG_STATE_HOME"):
            default_spool_dir(None, "m", {})


class TestLock:
    def test_a_second_one_is_refused_naming_directory_and_process(self, tmp_path):
        lock = SpoolLock.acquire(tmp_path)
        with pytest.raises(ConfigurationError) as refused:
            SpoolLock.acquire(tmp_path)
        assert str(refused.value).startswith(f"log.spool_dir: {tmp_path} is in use by process {os.getpid()}")
        lock.release()
        SpoolLock.acquire(tmp_path).release()

    def test_a_full_disk_is_no_reason_not_to_hold_it(self, tmp_path, monkeypatch):
        """What is in the spool may be what fills the disk: delivering it makes room."""

        def full(descriptor, data, offset):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "pwrite", full)
        lock = SpoolLock.acquire(tmp_path)
        with pytest.raises(ConfigurationError, match=r"in use by process \(unknown\)"):
            SpoolLock.acquire(tmp_path)
        lock.release()

    @pytest.mark.slow
    def test_a_process_that_dies_lets_go(self, tmp_path):
        program = (
            "import sys, os; from pathlib import Path; from hushar.sidecars.spool import SpoolLock\n"
            "lock = SpoolLock.acquire(Path(sys.argv[1])); print(os.getpid(), flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            pid = holder.stdout.readline().strip()
            with pytest.raises(ConfigurationError, match=f"process {pid}:"):
                SpoolLock.acquire(tmp_path)
            holder.kill()
        SpoolLock.acquire(tmp_path).release()

    def test_a_directory_that_was_removed_is_made_and_held_again(self, tmp_path):
        spool = tmp_path / "spool"
        lock = SpoolLock.acquire(spool)
        shutil.rmtree(spool)
        lock.regain()
        assert spool.stat().st_mode & 0o777 == 0o700
        with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
            SpoolLock.acquire(spool)
        lock.release()
        SpoolLock.acquire(spool).release()

    def test_a_directory_that_is_there_is_held_as_it_was(self, tmp_path):
        lock = SpoolLock.acquire(tmp_path)
        inode = (tmp_path / "lock").stat().st_ino
        lock.regain()
        assert (tmp_path / "lock").stat().st_ino == inode
        with pytest.raises(ConfigurationError, match="in use"):
            SpoolLock.acquire(tmp_path)
        lock.release()

    def test_a_directory_that_another_has_made_meanwhile_is_the_others(self, tmp_path):
        spool = tmp_path / "spool"
        lock = SpoolLock.acquire(spool)
        shutil.rmtree(spool)
        other = SpoolLock.acquire(spool)
        with pytest.raises(ConfigurationError, match="in use"):
            lock.regain()
        other.release()
        lock.regain()
        lock.release()

    def test_the_directory_is_made_for_its_owner_only(self, tmp_path):
        SpoolLock.acquire(tmp_path / "a" / "spool").release()
        assert (tmp_path / "a" / "spool").stat().st_mode & 0o777 == 0o700

    def test_a_place_that_cannot_be_written_to_is_named(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ConfigurationError, match=rf"^log\.spool_dir: {tmp_path}/file/spool cannot be"):
            SpoolLock.acquire(tmp_path / "file" / "spool")

    def test_a_file_system_without_locks_is_named(self, tmp_path, monkeypatch):
        def refuse(descriptor: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(ConfigurationError, match=rf"{tmp_path} cannot be locked: No locks available"):
            SpoolLock.acquire(tmp_path)


@pytest.fixture
def writer(tmp_path, disk):
    made = SegmentWriter(tmp_path, "host", 1, files=disk.files, wall_clock=lambda: 1.5)
    yield made
    made.abandon()


class TestWriter:
    def test_segments_are_numbered_and_totals_carried_on(self, writer, record):
        infos = []
        for count in (2, 3):
            writer.append([record(str(n)) for n in range(count)])
            content = writer.close(sync=False).segment.path.read_bytes()
            infos += structs_pb2.InferenceLogs.FromString(content).segment_info
        assert [(info.segment, info.batches, info.total_batches) for info in infos] == [(1, 2, 2), (2, 3, 5)]

    def test_no_segment_is_open_before_the_first_record(self, writer, tmp_path):
        assert writer.close(sync=True) is None
        writer.sync()
        assert not writer.is_open
        assert writer.size_bytes == 0
        assert list(tmp_path.iterdir()) == []

    def test_every_segment_has_a_key_of_its_own(self, writer, record):
        keys = set()
        for _ in range(3):
            writer.append([record("a")])
            stored = writer.close(sync=False)
            assert uuid.UUID(stored.identity.unique).version == 4
            assert stored.identity.opened_unix_micros == 1_500_000
            keys.add(stored.segment.key)
        assert len(keys) == 3

    def test_a_segment_without_records_has_no_number(self, writer, record, disk):
        disk.room = 0
        assert writer.append([record("a")]).records == 0
        assert writer.close(sync=False) is None
        disk.room = None
        writer.append([record("b")])
        assert writer.close(sync=False).identity.number == 1

    def test_below_the_least_free_space_nothing_is_written(self, tmp_path, disk, record):
        writer = SegmentWriter(tmp_path, "host", 1, min_free_bytes=1000, files=disk.files)
        disk.free = 1000 + len(record("a")) - 1
        assert writer.append([record("a")]) is None
        assert list(tmp_path.iterdir()) == []
        disk.free += 1
        assert writer.append([record("a")]).records == 1
        writer.abandon()

    def test_a_directory_that_is_gone_loses_records_not_the_writer(self, tmp_path, record):
        writer = SegmentWriter(tmp_path / "gone", "host", 1)
        appended = writer.append([record("a")])
        assert appended.records == 0
        assert isinstance(appended.error, FileNotFoundError)

    def test_nothing_is_written_to_a_file_that_somebody_has_deleted(self, writer, record, tmp_path):
        writer.append([record("a")])
        (path,) = tmp_path.iterdir()
        path.unlink()
        appended = writer.append([record("b")])
        assert (appended.records, appended.size_bytes) == (0, 0)
        assert isinstance(appended.error, FileNotFoundError)
        assert appended.error.filename == str(path)

    def test_what_is_abandoned_is_counted_in_the_total_of_the_next(self, writer, record, tmp_path):
        writer.append([record("a")])
        writer.abandon()
        writer.append([record("b")])
        assert writer.close(sync=False).identity.total_before == 1
        assert [
            stored.segment.batches for stored in recover(tmp_path).segments if stored.segment.batches
        ] == [1, 1]


class TestLeaving:
    def test_a_delivered_segment_goes_also_if_the_sink_has_moved_it(self, writer, record, tmp_path):
        writer.append([record("a")])
        stored = writer.close(sync=False)
        discard(stored)
        assert list(tmp_path.iterdir()) == []
        discard(stored)

    def test_a_poison_segment_keeps_its_name_in_the_dead_letters(self, writer, record, tmp_path):
        writer.append([record("a")])
        stored = writer.close(sync=False)
        path = dead_letter(stored)
        assert path == tmp_path / "dead-letter" / stored.segment.path.name
        assert path.read_bytes().startswith(record("a"))
        assert parse_name(path.name) == (stored.identity, 1, "none")
        assert recover(tmp_path).segments == ()


class SpoolModel(RuleBasedStateMachine):
    """Append, rotate, deliver, crash at any byte, recover: against a list of what was acknowledged.

    What a crash leaves of the write that was under way is any prefix of its bytes; after recovery the
    spool holds every acknowledged record, those of that write that are whole, and nothing else.
    """

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="hushar-spool-"))
        self.starts = 0
        self.names = 0
        self.in_spool: list[str] = []
        self.start()

    def start(self):
        self.starts += 1
        self.closed = list(recover(self.directory).segments)
        self.writer = SegmentWriter(self.directory, f"start-{self.starts}", 1)

    def records(self, sizes: list[int]) -> list[tuple[str, bytes]]:
        made = []
        for size in sizes:
            self.names += 1
            name = f"{self.names}" + "x" * size
            batch = structs_pb2.InferenceLogBatch(request_id=name)
            made.append((name, structs_pb2.InferenceLogs(inferenceLogBatches=[batch]).SerializeToString()))
        return made

    sizes = st.lists(st.sampled_from([0, 1, 150]), min_size=1, max_size=4)

    @rule(sizes=sizes)
    def append(self, sizes):
        records = self.records(sizes)
        assert self.writer.append([data for _, data in records]).error is None
        self.in_spool += [name for name, _ in records]

    @rule()
    def rotate(self):
        if (stored := self.writer.close(sync=False)) is not None:
            self.closed.append(stored)

    @rule()
    def deliver(self):
        if self.closed:
            stored = self.closed.pop(0)
            message = b"".join(read(stored.segment))
            for batch in structs_pb2.InferenceLogs.FromString(message).inferenceLogBatches:
                self.in_spool.remove(batch.request_id)
            discard(stored)

    @rule(compression=st.sampled_from(["gzip", "zstd"]), crash=st.sampled_from([None, "during", "after"]))
    def compress(self, compression, crash):
        """Perhaps killed while it was written, or before the plain file was deleted."""
        plain = [stored for stored in self.closed if stored.segment.compression == "none"]
        if not plain:
            return
        stored = plain[0]
        content = stored.segment.path.read_bytes()
        made = compress(stored, compression, None, FileOperations(), sync=False)
        if crash is None:
            self.closed[self.closed.index(stored)] = made
            return
        stored.segment.path.write_bytes(content)
        if crash == "during":
            half = made.segment.path.with_name(f"{made.segment.path.name}.partial")
            made.segment.path.rename(half)
            os.truncate(half, 7)
        self.writer.abandon()
        self.start()

    @rule()
    def end(self):
        """The end of a worker, and the next start."""
        if (marker := self.writer.end(sync=False)) is not None:
            self.closed.append(marker)
        self.rotate()
        self.start()

    @rule(sizes=sizes, share=st.floats(0, 1))
    def crash(self, sizes, share):
        records = self.records(sizes)
        data = b"".join(data for _, data in records)
        arrived = round(len(data) * share)
        self.writer.append([data[:arrived]])
        self.writer.abandon()
        end = 0
        for name, record in records:
            end += len(record)
            if end <= arrived:
                self.in_spool.append(name)
        self.start()

    @invariant()
    def the_spool_holds_exactly_what_was_acknowledged(self):
        found = []
        for path in self.directory.iterdir():
            name = parse_name(path.name)
            logs = structs_pb2.InferenceLogs.FromString(b"".join(read_file(path, name.compression)))
            names = [batch.request_id for batch in logs.inferenceLogBatches]
            batches = name.batches
            assert batches in (None, len(names))
            assert len(logs.segment_info) == (batches is not None)
            found += names
        assert sorted(found) == sorted(self.in_spool)

    @invariant()
    def totals_prove_completeness(self):
        """Within one start, each segment says how many batches came before it."""
        for path in self.directory.glob("*.pb*"):
            identity, batches, compression = parse_name(path.name)
            message = b"".join(read_file(path, compression))
            (info,) = structs_pb2.InferenceLogs.FromString(message).segment_info
            assert (info.instance, info.segment, info.batches, info.total_batches) == (
                identity.instance,
                identity.number,
                batches,
                identity.total_before + batches,
            )

    def teardown(self):
        self.writer.abandon()
        shutil.rmtree(self.directory)


TestSpoolModel = pytest.mark.slow(SpoolModel.TestCase)
TestSpoolModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
