"""What the next start finds: every whole record, whatever byte the crash came at."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.proto import structs_pb2
from hushar.sidecars.appending import Stage
from hushar.sidecars.recovery import recover, scan
from hushar.sidecars.segment import OpenSegment, SegmentIdentity


@pytest.fixture
def spool(tmp_path, identity):
    """The spool, and a function that leaves an open segment with these bytes in it."""

    def leave(content: bytes, identity=identity):
        path = tmp_path / identity.open_name
        path.write_bytes(content)
        return path

    return tmp_path, leave


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
        (stored,) = recovered.segments
        assert recovered.torn_records == 1
        content = stored.segment.path.read_bytes()
        assert ids(content) == ["a", "b"]
        assert content.endswith(identity.info(2))
        assert stored.identity == identity
        assert (stored.segment.batches, stored.segment.size_bytes) == (2, len(content))
        assert list(directory.iterdir()) == [stored.segment.path]
        assert "torn" in caplog.text

    def test_a_crash_between_info_and_name_leaves_one_info(self, spool, record, identity):
        directory, leave = spool
        leave(record("a") + identity.info(1))
        (stored,) = recover(directory).segments
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
        assert [stored.identity for stored in recover(directory).segments] == [identity]
        assert odd.read_bytes() == record("b")

    def test_the_oldest_comes_first_and_other_files_are_left_alone(self, spool, record, identity):
        directory, leave = spool
        micros = [5_000_000, 3_000_000, 4_000_000]
        for number, opened in enumerate(micros, start=1):
            leave(record(str(opened)), SegmentIdentity("old", 1, number, 0, identity.unique, opened))
        (directory / "lock").touch()
        (directory / "dead-letter").mkdir()
        (directory / "dead-letter" / identity.closed_name(1)).write_bytes(record("x"))
        found = [stored.identity.opened_unix_micros for stored in recover(directory).segments]
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
        assert [stored.identity for stored in recover(directory).segments] == [identity]
        assert "cannot be recovered" in caplog.text

    def test_a_full_disk_has_no_room_for_the_info_and_that_keeps_nothing(
        self, spool, record, monkeypatch, caplog
    ):
        directory, leave = spool
        leave(record("a"))

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        (stored,) = recover(directory).segments
        assert stored.segment.path.read_bytes() == record("a")
        assert "without its SegmentInfo" in caplog.text

    def test_a_directory_that_cannot_be_read_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            recover(tmp_path / "nowhere")
