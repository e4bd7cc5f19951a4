"""A segment: its names, its key, appending to it, and what a failing disk leaves of it."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.proto import structs_pb2
from hushar.sidecars.appending import BLOCK_BYTES, DIRECT_BYTES, Stage
from hushar.sidecars.segment import (
    INSTANCE_LENGTH,
    Appended,
    FileOperations,
    OpenSegment,
    SegmentIdentity,
    free_bytes,
    instance_name,
    parse_name,
)
from hushar.sidecars.spool import SegmentWriter

UUID = "0b2f1a52-7c53-4c34-9d3b-1f3f2d0c9a11"


@pytest.fixture
def opened(tmp_path, identity, disk):
    return OpenSegment.create(tmp_path, identity, disk.files, Stage())


class TestNames:
    def test_the_key_is_the_layout_of_the_contract_in_utc(self, identity):
        assert identity.key == (f"year=2025/month=07/day=31/hour=22/mi=13/{UUID}_1754000000123456.pb")

    @settings(max_examples=25)
    @given(
        st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
        st.integers(1, 2**32 - 1),
        st.integers(1, 2**64 - 1),
        st.integers(0, 2**63 - 1),
        st.uuids(version=4),
        st.integers(0, 253_402_300_799_999_999),
        st.integers(1, 2**63 - 1),
    )
    def test_a_file_name_says_everything_and_fits_a_file_system(
        self, instance, worker, number, total, unique, micros, batches
    ):
        identity = SegmentIdentity(instance, worker, number, total, str(unique), micros)
        assert parse_name(identity.open_name) == (identity, None, "none")
        assert parse_name(identity.closed_name(batches)) == (identity, batches, "none")
        assert parse_name(identity.closed_name(batches, "gzip")) == (identity, batches, "gzip")
        assert parse_name(identity.closed_name(batches, "zstd")) == (identity, batches, "zstd")
        assert len(f"{identity.closed_name(batches, 'zstd')}.partial".encode()) <= 255
        # What a name may say can be written down.
        assert identity.key.endswith(f"/{unique}_{micros}.pb")
        assert structs_pb2.InferenceLogs.FromString(identity.info(batches))

    @pytest.mark.parametrize(
        "name",
        [
            "lock",
            "dead-letter",
            f"{UUID}_1754000000123456.pb",
            f"host.w1.s1.t0.{UUID}_1.n3.pb.partial",
            f"host.w1.s1.t0.{UUID}_1.pb",
            f"host.w1.s1.t0.{UUID}_1.n3.open",
            f"host.w1.s1.t0.{UUID}_1.n3.pb.bz2",
            f"host.w1.s1.t0.{UUID}_1.open.gz",
            f"host.w1.s1.t0.{UUID}_1.n3.pb.gz.partial",
            f"ho st.w1.s1.t0.{UUID}_1.open",
            f"host.w1.s1.t0.{UUID}_1.open\n",
        ],
    )
    def test_other_files_are_no_segments(self, name):
        assert parse_name(name) is None

    @pytest.mark.parametrize(
        "name",
        [
            f"host.w{2**32}.s1.t0.{UUID}_1.open",
            f"host.w1.s{2**64}.t0.{UUID}_1.open",
            f"host.w1.s1.t{2**64}.{UUID}_1.open",
            f"host.w1.s1.t{2**64 - 1}.{UUID}_1.open",
            f"host.w1.s1.t0.{UUID}_253402300800000000.open",
            f"host.w1.s1.t0.{UUID}_99999999999999999999.n3.pb",
            f"host.w1.s1.t0.{UUID}_1.n{2**64}.pb",
        ],
    )
    def test_numbers_that_no_segment_can_have_are_no_segments(self, name):
        assert parse_name(name) is None

    @pytest.mark.parametrize(
        ("text", "name"),
        [("pod-7_x", "pod-7_x"), ("a.b/c d", "a-b-c-d"), ("हुशार", "-----"), ("", "hushar")],
    )
    def test_any_text_makes_an_instance(self, text, name):
        assert instance_name(text) == name

    def test_a_long_instance_is_cut(self):
        assert instance_name("x" * 300) == "x" * INSTANCE_LENGTH


class TestAppending:
    def test_one_write_takes_all_records(self, tmp_path, identity, record, ids):
        writes = []

        def write(descriptor, data):
            writes.append(len(data))
            return FileOperations().write(descriptor, data)

        segment = OpenSegment.create(tmp_path, identity, FileOperations(write=write), Stage())
        records = [record("a"), record("b"), record("c")]
        appended = segment.append(records)
        assert (appended.records, appended.size_bytes, appended.error) == (3, sum(map(len, records)), None)
        assert len(writes) == 1
        assert ids(segment.path.read_bytes()) == ["a", "b", "c"]
        segment.abandon()

    def test_short_writes_are_carried_on(self, opened, disk, record, ids):
        disk.largest_write = 3
        assert opened.append([record("a"), record("b")]).error is None
        assert ids(opened.path.read_bytes()) == ["a", "b"]
        opened.abandon()

    @pytest.mark.parametrize("room", range(15))
    def test_a_full_disk_keeps_the_whole_records_and_no_byte_of_the_torn_one(
        self, opened, disk, record, ids, room
    ):
        """Wherever the write breaks off; the disk takes the next records once there is room again."""
        first, records = record("first"), [record("a"), record("b"), record("c")]
        assert opened.append([first]).error is None
        disk.room = room
        appended = opened.append(records)
        whole = room // len(records[0])
        assert appended.error is not None
        assert appended.error.errno == errno.ENOSPC
        assert (appended.records, appended.size_bytes) == (whole, whole * len(records[0]))
        assert opened.batches == 1 + whole
        disk.room = None
        opened.append([record("later")])
        assert ids(opened.path.read_bytes()) == ["first", *["a", "b", "c"][:whole], "later"]
        assert opened.size_bytes == opened.path.stat().st_size
        opened.abandon()

    def test_a_torn_record_that_cannot_be_cut_off_is_admitted(self, opened, disk, record):
        disk.room, disk.truncate_error = 4, errno.EIO
        opened.append([record("a")])
        assert opened.torn
        opened.abandon()


class TestSync:
    def test_only_what_is_new_is_synced(self, opened, disk, record):
        opened.sync()
        assert disk.syncs == 0
        opened.append([record("a")])
        opened.sync()
        opened.sync()
        assert disk.syncs == 1
        opened.append([record("b")])
        assert opened.unsynced
        opened.sync()
        assert disk.syncs == 2
        opened.abandon()

    @pytest.mark.parametrize("directory", [False, True])
    def test_what_a_failed_sync_has_not_forced_is_for_the_next_one(
        self, opened, disk, record, monkeypatch, directory
    ):
        opened.append([record("a")])
        with monkeypatch.context() as patch:
            if directory:

                def fail(descriptor: int) -> None:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))

                patch.setattr(os, "fsync", fail)
            else:
                disk.sync_error = errno.EIO
            with pytest.raises(OSError, match="Input/output error"):
                opened.sync()
        disk.sync_error = None
        assert opened.unsynced
        opened.sync()
        assert disk.syncs == 2
        assert not opened.unsynced
        opened.abandon()


class TestRemoved:
    def test_a_file_that_somebody_has_deleted_is_known_to_be_gone(self, opened, record):
        opened.append([record("a")])
        assert not opened.is_removed
        opened.path.unlink()
        assert opened.is_removed
        with pytest.raises(FileNotFoundError):
            opened.close(sync=False)


class TestEndMarker:
    def test_it_says_what_there_is_in_all_and_lies_beside_the_last_segment(self, identity):
        end = identity.end(5, "u")
        assert (end.number, end.total_before, end.unique) == (4, 45, "u")
        assert end.key == "year=2025/month=07/day=31/hour=22/mi=13/u_1754000000123455.pb"
        (info,) = structs_pb2.InferenceLogs.FromString(end.info(0)).segment_info
        assert info == structs_pb2.SegmentInfo(instance="host-1", worker=2, segment=4, total_batches=45)


class TestClosing:
    @pytest.mark.parametrize("sync", [True, False])
    def test_a_closed_segment_ends_with_its_segment_info(self, opened, disk, record, tmp_path, sync):
        opened.append([record("a"), record("b")])
        stored = opened.close(sync=sync)
        content = stored.segment.path.read_bytes()
        logs = structs_pb2.InferenceLogs.FromString(content)
        assert [batch.request_id for batch in logs.inferenceLogBatches] == ["a", "b"]
        assert list(logs.segment_info) == [
            structs_pb2.SegmentInfo(instance="host-1", worker=2, segment=3, batches=2, total_batches=42)
        ]
        assert stored.segment.size_bytes == len(content)
        assert stored.segment.batches == 2
        assert stored.segment.opened_unix_micros == 1_754_000_000_123_456
        assert stored.segment.key == stored.identity.key
        assert list(tmp_path.iterdir()) == [stored.segment.path]
        assert parse_name(stored.segment.path.name) == (stored.identity, 2, "none")
        assert disk.syncs == (1 if sync else 0)

    def test_nothing_is_left_of_an_empty_segment(self, opened, tmp_path):
        assert opened.close(sync=True) is None
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_too_full_for_the_segment_info_still_gets_rid_of_the_segment(
        self, opened, disk, record, ids, caplog
    ):
        opened.append([record("a")])
        disk.room = 5
        stored = opened.close(sync=False)
        assert stored.segment.path.read_bytes() == record("a")
        assert "without its SegmentInfo" in caplog.text

    def test_a_failed_fsync_is_said_and_the_segment_closed(self, opened, disk, record, caplog):
        opened.append([record("a")])
        disk.sync_error = errno.EIO
        assert opened.close(sync=True).segment.batches == 1
        assert "fsync" in caplog.text

    def test_a_failed_fsync_of_the_directory_is_said_and_the_segment_closed(
        self, opened, record, caplog, monkeypatch
    ):
        def fail(descriptor: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        opened.append([record("a")])
        monkeypatch.setattr(os, "fsync", fail)
        assert opened.close(sync=True).segment.batches == 1
        assert caplog.text.count("fsync: ") == 1

    def test_what_is_forced_to_the_disk_is_the_file_and_then_its_closed_name(
        self, opened, disk, record, tmp_path, monkeypatch
    ):
        """Each fsync is a turn of the file system's journal: not one for a name that is another one soon."""
        names, steps = [], []
        disk.sync = lambda descriptor: steps.append("file")
        monkeypatch.setattr(
            "hushar.sidecars.segment.sync_directory",
            lambda path: steps.append("name") or names.extend(path.iterdir()),
        )
        opened.append([record("a")])
        stored = opened.close(sync=True)
        assert (steps, names) == (["file", "name"], [stored.segment.path])

    def test_a_segment_that_cannot_be_made_whole_stays_open_for_the_next_start(
        self, opened, disk, record, tmp_path, identity
    ):
        opened.append([record("a")])
        disk.room, disk.truncate_error = 3, errno.EIO
        with pytest.raises(OSError, match="No space left"):
            opened.close(sync=False)
        assert [path.name for path in tmp_path.iterdir()] == [identity.open_name]


def test_the_free_space_of_a_directory_is_known():
    assert free_bytes(Path.cwd()) > 0


class TestJoinedRecords:
    def test_they_count_each(self, opened, record, ids):
        records = [record(name) for name in "abc"]
        appended = opened.append([b"".join(records[:2]), records[2]], 3)
        assert (appended.records, opened.batches) == (3, 3)
        assert ids(opened.path.read_bytes()) == ["a", "b", "c"]
        opened.abandon()

    @pytest.mark.parametrize("room", range(15))
    def test_of_a_piece_that_breaks_off_the_whole_ones_stay(self, opened, disk, record, ids, room):
        records = [record(name) for name in "abc"]
        disk.room = room
        appended = opened.append([b"".join(records)], 3)
        whole = min(3, room // len(records[0]))
        assert (appended.records, opened.batches) == (whole, whole)
        assert ids(opened.path.read_bytes()) == ["a", "b", "c"][:whole]
        opened.abandon()


class TestWritten:
    """What a pen has written, as far as it has come."""

    LARGE = DIRECT_BYTES + 2 * BLOCK_BYTES

    @pytest.fixture
    def put(self, opened):
        """put(records, steps written whole, bytes of the next one, errno): as a pen that comes so far."""

        def put(records, whole=1000, part=0, number=0, *, count=0, direct=True):
            steps = opened.steps(records, direct=direct)
            assert steps is not None
            written = 0
            for index, (descriptor, data) in enumerate(steps):
                if index > whole:
                    break
                written += os.write(descriptor, data if index < whole else data[:part])
            error = OSError(number, os.strerror(number)) if number else None
            return opened.written(records, count or len(records), written, error)

        yield put
        opened.abandon()

    @pytest.fixture
    def large(self, opened, record):
        """Make a piece of large records that lies as the disk wants it."""

        def make(*names):
            memory = Stage().view
            content = b"".join(record(name, padding=self.LARGE) for name in names)
            skew = opened.size_bytes % BLOCK_BYTES
            memory[skew : skew + len(content)] = content
            return memory[skew : skew + len(content)]

        assert opened.append([make("first")]).error is None
        if len(opened.steps([make("probe")], direct=True)) != 3:
            pytest.skip("the file system of the temporary directory does not write directly")
        return make

    def test_all_of_it(self, opened, put, record, ids):
        records = [record("a"), record("b"), record("c")]
        size = sum(map(len, records))
        assert put(records) == (Appended(3, size))
        assert (opened.batches, opened.size_bytes, opened.unsynced) == (3, size, True)
        assert put([b"".join(records)], count=3) == Appended(3, size)
        assert (opened.batches, opened.size_bytes) == (6, 2 * size)
        assert ids(opened.path.read_bytes()) == [*"abcabc"]

    @pytest.mark.parametrize("joined", [False, True])
    @pytest.mark.parametrize("room", range(15))
    def test_of_what_breaks_off_the_whole_ones_stay_and_no_byte_of_the_torn_one(
        self, opened, put, record, ids, room, joined
    ):
        assert put([record("first")]).error is None
        records = [record(name) for name in "abc"]
        size = len(records[0])
        if joined:
            appended = put([b"".join(records)], 0, room, errno.ENOSPC, count=3)
        else:
            appended = put(records, room // size, room % size, errno.ENOSPC)
        whole = room // size
        assert (appended.records, appended.size_bytes) == (whole, whole * size)
        assert appended.error.errno == errno.ENOSPC
        assert (opened.batches, opened.size_bytes) == (1 + whole, (1 + whole) * size + len("first") - 1)
        assert put([record("later")]).error is None
        assert ids(opened.path.read_bytes()) == ["first", *["a", "b", "c"][:whole], "later"]

    def test_what_cannot_be_cut_off_is_admitted(self, opened, put, disk, record):
        disk.truncate_error = errno.EIO
        assert put([record("a"), record("b")], 1, 2, errno.EIO).records == 1
        assert opened.torn

    @pytest.mark.parametrize("part", [0, 1, 3, -1], ids=["nothing", "a block", "blocks", "all but a block"])
    def test_what_only_direct_writing_refuses_goes_on_through_the_page_cache(
        self, opened, put, large, record, ids, part
    ):
        """As a file system says no to the rest of a write of which it has taken a part."""
        pieces = [large("one", "two"), record("three", padding=10_000), record("four")]
        appended = put(pieces, 1, part * BLOCK_BYTES, errno.EINVAL, count=4)
        assert (appended.records, appended.error) == (4, None)
        assert ids(opened.path.read_bytes()) == ["first", "one", "two", "three", "four"]
        assert opened.size_bytes == opened.path.stat().st_size
        # It is not asked again, and nothing has to lie anywhere for it.
        last = bytes(large("last"))
        assert opened.steps([last], direct=True) == [(opened.descriptor, last)]
        assert put([last]).error is None
        assert ids(opened.path.read_bytes())[-1] == "last"

    @pytest.mark.parametrize("room", [0, 1, 100, LARGE, 2 * LARGE])
    def test_also_that_may_break_off(self, opened, put, large, disk, ids, room):
        pieces = [large("one", "two", "three")]
        size, before = len(pieces[0]) // 3, opened.size_bytes
        disk.room = room
        appended = put(pieces, 1, BLOCK_BYTES, errno.EINVAL, count=3)
        arrived = -before % BLOCK_BYTES + BLOCK_BYTES + room
        whole = ["one", "two", "three"][: arrived // size]
        assert (appended.records, appended.error.errno) == (len(whole), errno.ENOSPC)
        assert ids(opened.path.read_bytes()) == ["first", *whole]
        assert opened.size_bytes == before + appended.size_bytes == opened.path.stat().st_size
        disk.room = None
        assert opened.append([large("later")]).error is None
        assert ids(opened.path.read_bytes()) == ["first", *whole, "later"]

    def test_an_error_that_is_not_about_alignment_is_the_end_of_it(self, opened, put, large, ids):
        one = large("one")
        appended = put([one], 1, BLOCK_BYTES, errno.EIO)
        assert (appended.records, appended.error.errno) == (0, errno.EIO)
        assert ids(opened.path.read_bytes()) == ["first"]
        assert len(opened.steps([large("two")], direct=True)) == 3


class TestJobs:
    """What a worker's writer has for a pen."""

    @pytest.fixture
    def writer(self, tmp_path, disk):
        writer = SegmentWriter(tmp_path, "host", 1, min_free_bytes=17, files=disk.files)
        yield writer
        writer.abandon()

    def test_none_without_a_segment(self, writer, record):
        assert writer.job([record("a")], direct=True) is None
        writer.append([record("a")])
        assert writer.job([record("a")], direct=True) is not None
        writer.close(sync=False)
        assert writer.job([record("a")], direct=True) is None

    def test_it_says_which_file_and_how_much_must_stay_free(self, writer, record, tmp_path):
        writer.append([record("a")])
        (path,) = tmp_path.iterdir()
        file, least, steps = writer.job([record("b")], direct=True)
        assert os.path.samestat(os.fstat(file), path.stat())
        assert least == 17
        assert steps == [(file, record("b"))]

    def test_what_was_written_is_in_the_segment_and_in_its_info(self, writer, record):
        writer.append([record("a")])
        for name in "bc":
            for descriptor, data in writer.job([record(name)], direct=True).steps:
                os.write(descriptor, data)
            assert writer.written([record(name)], 1, len(record(name))) == Appended(1, len(record(name)))
        assert writer.size_bytes == 3 * len(record("a"))
        logs = structs_pb2.InferenceLogs.FromString(writer.close(sync=False).segment.path.read_bytes())
        assert [batch.request_id for batch in logs.inferenceLogBatches] == [*"abc"]
        assert logs.segment_info[0].batches == 3

    def test_much_that_lies_elsewhere_is_no_job(self, writer, record):
        writer.append([record("a")])
        large = record("b", padding=DIRECT_BYTES + 2 * BLOCK_BYTES)
        assert writer.job([large], direct=True) is None
        assert writer.job([large], direct=False) is not None
