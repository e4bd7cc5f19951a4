"""What the next start finds: every whole record, whatever byte the crash came at."""

import errno
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.proto import structs_pb2
from hushar.sidecars.appending import Stage
from hushar.sidecars.compressing import compress
from hushar.sidecars.recovery import dead_letters, recover, scan
from hushar.sidecars.segment import FileOperations, OpenSegment, SegmentIdentity
from hushar.sidecars.spool import SegmentWriter

UNIQUE = "7c2f1a52-7c53-4c34-9d3b-1f3f2d0c9a11"


@pytest.fixture
def spool(tmp_path, identity):
    """The spool, and a function that leaves an open segment with these bytes in it."""

    def leave(content: bytes, identity=identity):
        path = tmp_path / identity.open_name
        path.write_bytes(content)
        return path

    return tmp_path, leave


def found_in(directory):
    """The segments of a recovered spool, without end markers."""
    return tuple(stored for stored in recover(directory).segments if stored.segment.batches)


class TestScan:
    def test_at_every_byte_offset_the_whole_records_before_it_are_found(self, record, identity):
        records = [record("a"), record("b" * 200, padding=3), record(""), record("d")]
        content = b"".join(records) + identity.info(4)
        ends = [sum(map(len, records[:n])) for n in range(5)]
        for cut in range(len(content) + 1):
            found = scan(content[:cut])
            whole = sum(end <= cut for end in ends[1:])
            complete = cut == len(content)
            assert found.records == whole, cut
            assert found.whole_bytes == (cut if complete else ends[whole]), cut
            assert found.has_info is complete, cut
            # Cut inside a record: that one is torn. Cut inside the SegmentInfo: none is.
            assert found.torn_records == (1 if whole < 4 and cut > ends[whole] else 0), cut

    @given(st.binary(max_size=60))
    def test_any_bytes_behind_whole_records_are_never_taken_for_a_readable_file(self, tail):
        record = structs_pb2.InferenceLogs(inferenceLogBatches=[{"request_id": "a"}]).SerializeToString()
        found = scan(record + tail)
        kept = (record + tail)[: found.whole_bytes]
        assert kept.startswith(record)
        logs = structs_pb2.InferenceLogs.FromString(kept)
        assert len(logs.inferenceLogBatches) == found.records
        assert found.whole_bytes == len(record + tail) or found.torn_records or tail[:1] == b"\x82"

    def test_a_record_that_does_not_decode_ends_what_can_be_read(self, record):
        """A power cut leaves blocks of zeros: the lengths are right, the content is not."""
        good, bad = record("good"), b"\x0a\x04\x00\x00\x00\x00"
        found = scan(good + bad + record("behind") + record("it")[:-1])
        assert (found.whole_bytes, found.records, found.torn_records) == (len(good), 1, 3)

    def test_bytes_that_are_no_record_at_all_count_as_one(self, record):
        assert scan(record("a") + bytes(4096)).torn_records == 1

    @pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\x80"])
    def test_a_length_beyond_the_file_is_a_torn_record(self, length):
        assert scan(b"\x0a" + length).torn_records == 1


class TestRecover:
    def test_an_open_segment_is_cut_given_its_info_and_closed(self, spool, record, identity, ids, caplog):
        directory, leave = spool
        leave(record("a") + record("b") + record("torn")[:-1])
        recovered = recover(directory)
        stored, end = sorted(recovered.segments, key=lambda stored: stored.identity.number)
        assert recovered.torn_records == 1
        content = stored.segment.path.read_bytes()
        assert ids(content) == ["a", "b"]
        assert content.endswith(identity.info(2))
        assert stored.identity == identity
        assert (stored.segment.batches, stored.segment.size_bytes) == (2, len(content))
        assert sorted(directory.iterdir()) == [stored.segment.path, end.segment.path]
        assert "torn" in caplog.text

    def test_a_crash_between_info_and_name_leaves_one_info(self, spool, record, identity):
        directory, leave = spool
        leave(record("a") + identity.info(1))
        (stored,) = found_in(directory)
        logs = structs_pb2.InferenceLogs.FromString(stored.segment.path.read_bytes())
        assert len(logs.segment_info) == 1

    @pytest.mark.parametrize("content", [b"", b"\x0a", b"\x82\x01\x05"])
    def test_a_segment_without_a_whole_record_goes(self, spool, content):
        directory, leave = spool
        leave(content)
        recovered = recover(directory)
        assert recovered.segments == ()
        assert recovered.torn_records == (1 if content == b"\x0a" else 0)
        assert list(directory.iterdir()) == []

    def test_a_closed_segment_is_found_as_it_is(self, spool, record, identity, disk):
        directory, _ = spool
        segment = OpenSegment.create(directory, identity, disk.files, Stage())
        segment.append([record("a")])
        stored = segment.close(sync=False)
        assert recover(directory).segments == (stored,)

    def test_an_empty_closed_segment_has_lost_its_records(self, spool, identity):
        directory, _ = spool
        (directory / identity.closed_name(7)).touch()
        assert recover(directory).torn_records == 7
        assert list(directory.iterdir()) == []

    @pytest.mark.parametrize("size", [1, 100, 4096])
    def test_a_closed_segment_of_zeros_has_lost_its_records(self, spool, identity, size):
        """What a power cut leaves without fsync: name and length, and nothing of the content."""
        directory, _ = spool
        (directory / identity.closed_name(3)).write_bytes(bytes(size))
        recovered = recover(directory)
        assert (recovered.segments, recovered.torn_records) == ((), 3)
        assert list(directory.iterdir()) == []

    @pytest.mark.parametrize("tail", ["nothing", "half", "zeros"])
    def test_a_closed_segment_is_cut_to_what_is_whole_and_says_how_much_that_is(
        self, spool, record, identity, ids, caplog, tail
    ):
        directory, _ = spool
        behind = {"nothing": b"", "half": record("torn")[:-1], "zeros": bytes(512)}[tail]
        (directory / identity.closed_name(5)).write_bytes(record("a") + record("b") + behind)
        recovered = recover(directory)
        (stored,) = recovered.segments
        content = stored.segment.path.read_bytes()
        assert recovered.torn_records == 3
        assert ids(content) == ["a", "b"]
        assert content.endswith(identity.info(2))
        assert (stored.segment.batches, stored.segment.size_bytes) == (2, len(content))
        assert list(directory.iterdir()) == [directory / identity.closed_name(2)]
        assert "3 records lost" in caplog.text

    def test_a_closed_segment_whose_info_is_torn_gets_it_again_and_has_lost_nothing(
        self, spool, record, identity
    ):
        directory, _ = spool
        path = directory / identity.closed_name(1)
        path.write_bytes(record("a") + identity.info(1)[:-2])
        recovered = recover(directory)
        assert recovered.torn_records == 0
        assert [stored.segment.path for stored in recovered.segments] == [path]
        assert path.read_bytes() == record("a") + identity.info(1)

    def test_a_closed_segment_without_info_is_whole(self, spool, record, identity):
        """Closed on a full disk."""
        directory, _ = spool
        path = directory / identity.closed_name(1)
        path.write_bytes(record("a"))
        assert recover(directory).torn_records == 0
        assert path.read_bytes() == record("a")

    def test_a_file_with_an_odd_name_is_left_alone(self, spool, record, identity):
        directory, leave = spool
        leave(record("a"))
        odd = directory / SegmentIdentity("odd", 2**32, 1, 0, identity.unique, 10**19).open_name
        odd.write_bytes(record("b"))
        assert [stored.identity for stored in found_in(directory)] == [identity]
        assert odd.read_bytes() == record("b")

    def test_the_oldest_comes_first_and_other_files_are_left_alone(self, spool, record, identity):
        directory, leave = spool
        micros = [5_000_000, 3_000_000, 4_000_000]
        for number, opened in enumerate(micros, start=1):
            leave(record(str(opened)), SegmentIdentity("old", 1, number, 0, identity.unique, opened))
        (directory / "lock").touch()
        (directory / "dead-letter").mkdir()
        (directory / "dead-letter" / identity.closed_name(1)).write_bytes(record("x"))
        found = [stored.identity.opened_unix_micros for stored in found_in(directory)]
        assert found == sorted(micros)
        assert (directory / "dead-letter" / identity.closed_name(1)).exists()

    def test_recovering_twice_finds_the_same(self, spool, record):
        directory, leave = spool
        leave(record("a") + b"\x0a\x20torn")
        first = recover(directory)
        second = recover(directory)
        assert second.segments == first.segments
        assert second.torn_records == 0

    def test_one_file_that_cannot_be_recovered_does_not_keep_the_others(
        self, spool, record, identity, caplog
    ):
        directory, leave = spool
        leave(record("a"))
        # Its closed name is taken by a directory: the rename fails, whoever runs the tests.
        bad = SegmentIdentity("bad", 1, 1, 0, identity.unique, 1)
        leave(record("b"), bad)
        (directory / bad.closed_name(1)).mkdir()
        assert [stored.identity for stored in found_in(directory)] == [identity]
        assert "cannot be recovered" in caplog.text

    def test_a_full_disk_has_no_room_for_the_info_and_that_keeps_nothing(
        self, spool, record, monkeypatch, caplog
    ):
        directory, leave = spool
        leave(record("a"))

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        (stored,) = found_in(directory)
        assert stored.segment.path.read_bytes() == record("a")
        assert "without its SegmentInfo" in caplog.text

    def test_an_interrupted_worker_gets_its_end_marker_beside_its_last_segment(self, spool, record, identity):
        directory, leave = spool
        leave(record("a") + record("b") + record("torn")[:-1])
        end, stored = recover(directory).segments
        assert end.segment.batches == 0
        assert (end.identity.instance, end.identity.worker, end.identity.number) == ("host-1", 2, 4)
        assert end.segment.path.read_bytes() == end.identity.info(0)
        (info,) = structs_pb2.InferenceLogs.FromString(end.segment.path.read_bytes()).segment_info
        assert (info.segment, info.batches, info.total_batches) == (4, 0, 42)
        assert end.segment.key.rpartition("/")[0] == stored.segment.key.rpartition("/")[0]

    def test_of_several_only_the_last_segment_of_a_worker_is_followed_by_one(self, spool, record, identity):
        directory, leave = spool
        stored = [(2, 40), (3, 41)]
        for number, total in stored:
            one = replace(identity, number=number, total_before=total)
            (directory / one.closed_name(1)).write_bytes(record(str(number)) + one.info(1))
        leave(record("4"), replace(identity, number=4, total_before=42))
        leave(record("x"), replace(identity, worker=7, number=2, total_before=9))
        ends = [each.identity for each in recover(directory).segments if not each.segment.batches]
        assert sorted((end.worker, end.number, end.total_before) for end in ends) == [(2, 5, 43), (7, 3, 10)]

    @pytest.mark.parametrize("content", [b"", b"\x0a"])
    def test_an_open_segment_without_records_has_no_number(self, spool, record, identity, content):
        """Killed right after it was opened: the one before was the last."""
        directory, leave = spool
        before = replace(identity, number=2, total_before=39)
        (directory / before.closed_name(1)).write_bytes(record("a") + before.info(1))
        leave(content)
        (end,) = [each.identity for each in recover(directory).segments if not each.segment.batches]
        assert (end.number, end.total_before) == (3, 40)

    def test_a_worker_of_one_segment_gets_none_and_neither_does_one_that_was_not_interrupted(
        self, spool, record, identity
    ):
        directory, leave = spool
        leave(record("a"), replace(identity, number=1, total_before=0))
        other = replace(identity, worker=9, number=5)
        (directory / other.closed_name(1)).write_bytes(record("a") + other.info(1))
        assert all(stored.segment.batches for stored in recover(directory).segments)

    def test_a_marker_that_is_there_is_found_and_not_made_again(self, spool, record, identity):
        """Killed between the marker and the closing of the last segment."""
        directory, leave = spool
        leave(record("a"))
        end = identity.end(1, UNIQUE)
        (directory / end.closed_name(0)).write_bytes(end.info(0))
        found = [each.identity for each in recover(directory).segments if not each.segment.batches]
        assert found == [end]

    @pytest.mark.parametrize("content", [b"", b"\x82\x01\x05", bytes(30)])
    def test_a_marker_that_a_power_cut_has_damaged_goes(self, spool, identity, content):
        directory, _ = spool
        (directory / identity.closed_name(0)).write_bytes(content)
        recovered = recover(directory)
        assert (recovered.segments, recovered.torn_records) == ((), 0)
        assert list(directory.iterdir()) == []

    def test_a_number_that_no_marker_can_have_keeps_nothing(self, spool, record, identity):
        directory, leave = spool
        leave(record("a"), replace(identity, number=2**64 - 1))
        (stored,) = recover(directory).segments
        assert stored.segment.batches == 1

    def test_what_was_being_written_beside_a_segment_is_deleted(self, spool, record, identity):
        directory, _ = spool
        path = directory / identity.closed_name(1)
        path.write_bytes(record("a") + identity.info(1))
        for name in (identity.closed_name(1, "gzip"), identity.closed_name(0)):
            (directory / f"{name}.partial").write_bytes(b"half")
        (directory / "somebody-elses.partial").touch()
        assert len(recover(directory).segments) == 1
        assert sorted(each.name for each in directory.iterdir()) == [path.name, "somebody-elses.partial"]

    def test_dead_letters_are_counted_and_left_alone(self, spool, record, identity):
        directory, _ = spool
        aside = directory / "dead-letter"
        aside.mkdir()
        (aside / identity.closed_name(3, "gzip")).write_bytes(b"x")
        (aside / "note.txt").touch()
        recovered = recover(directory)
        assert (recovered.segments, recovered.dead_letters) == ((), 1)
        (stored,) = dead_letters(directory)
        assert (stored.segment.batches, stored.segment.compression) == (3, "gzip")

    def test_a_directory_that_cannot_be_read_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            recover(tmp_path / "nowhere")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
class TestCompressed:
    @pytest.fixture
    def closed(self, tmp_path, record, compression):
        """A closed, compressed segment of two large records, and what it was made of."""
        writer = SegmentWriter(tmp_path, "host", 1)
        writer.append([record("a", padding=40_000), record("b", padding=40_000)])
        stored = writer.close(sync=False)
        content = stored.segment.path.read_bytes()
        return compress(stored, compression, 1, FileOperations(), sync=True), content

    def test_it_is_found_as_it_is(self, tmp_path, closed, compression):
        stored, _ = closed
        assert recover(tmp_path).segments == (stored,)
        assert stored.segment.compression == compression

    def test_a_crash_before_the_plain_one_was_deleted_leaves_the_compressed_one(self, tmp_path, closed):
        stored, content = closed
        (tmp_path / stored.identity.closed_name(2)).write_bytes(content)
        recovered = recover(tmp_path)
        assert (recovered.segments, recovered.torn_records) == ((stored,), 0)
        assert list(tmp_path.iterdir()) == [stored.segment.path]

    @pytest.mark.parametrize("damage", [0, 20, -1])
    def test_a_damaged_one_is_nothing_where_the_plain_one_is_still_there(self, tmp_path, closed, damage):
        stored, content = closed
        plain = tmp_path / stored.identity.closed_name(2)
        plain.write_bytes(content)
        stored.segment.path.write_bytes(stored.segment.path.read_bytes()[:damage])
        recovered = recover(tmp_path)
        assert [each.segment.path for each in recovered.segments] == [plain]
        assert recovered.torn_records == 0
        assert list(tmp_path.iterdir()) == [plain]

    def test_of_a_damaged_one_what_can_be_read_is_kept(self, tmp_path, closed):
        """Everything but a part of the checksum."""
        stored, content = closed
        path = stored.segment.path
        path.write_bytes(path.read_bytes()[:-1])
        recovered = recover(tmp_path)
        (plain,) = recovered.segments
        assert plain.segment.path.read_bytes() == content
        assert recovered.torn_records == 0
        assert not path.exists()

    def test_nothing_but_zeros_has_lost_its_records(self, tmp_path, closed):
        stored, _ = closed
        stored.segment.path.write_bytes(bytes(stored.segment.size_bytes))
        recovered = recover(tmp_path)
        assert (recovered.segments, recovered.torn_records) == ((), 2)
        assert list(tmp_path.iterdir()) == []
