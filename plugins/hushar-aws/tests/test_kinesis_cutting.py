"""From segments to Kinesis records."""

import gzip
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hushar.plugins import Segment
from hushar.proto import structs_pb2
from hushar.testing.fakes import log_record, segment
from hushar_aws import kinesis_cutting
from hushar_aws.kinesis_calls import outcome_of, put_records
from hushar_aws.kinesis_cutting import (
    BYTES_A_CALL,
    RECORD_BYTES,
    RECORDS_A_CALL,
    BrokenSegment,
    KinesisRecord,
    PartitionKey,
    Rest,
    groups,
    records,
)
from hushar_aws.kinesis_progress import Progress, ProgressBook
from hushar_aws.kinesis_wire import fields_of, fields_of_blocks, length_delimited


def batch(request_id: str, *row_bytes: int, model_id: str = "model") -> bytes:
    """A record of rows of about so many bytes each."""
    made = structs_pb2.InferenceLogBatch(request_id=request_id, model_id=model_id, model_version="v")
    made.received_unix_micros = 1_754_000_000_000_000
    for i, size in enumerate(row_bytes):
        row = made.inference_log_rows.add(row_id=f"row-{i}", scores=[0.5])
        row.features["text"].string_value = "x" * size
    return structs_pb2.InferenceLogs(inferenceLogBatches=[made]).SerializeToString()


def cut(
    one: Segment, key: PartitionKey = "request_id", compression: Any = "none"
) -> tuple[list[KinesisRecord], list[bytes]]:
    rest = Rest()
    return list(records(replace(one, compression=compression), key, rest)), rest.batches


def blocks(message: bytes) -> Iterator[bytes]:
    """Of seven bytes each."""
    return (message[i : i + 7] for i in range(0, len(message), 7))


def info_bytes(directory: Path) -> int:
    """How long the SegmentInfo of a segment of one batch is."""
    return segment(directory, [log_record()]).size_bytes - len(log_record())


def parsed(parts: Any) -> structs_pb2.InferenceLogs:
    return structs_pb2.InferenceLogs.FromString(b"".join(parts))


def by_request(logs: structs_pb2.InferenceLogs) -> dict[str, list[structs_pb2.InferenceLogRow]]:
    """The rows of each request, in their order, of however many batches they are in."""
    found: dict[str, list[structs_pb2.InferenceLogRow]] = {}
    for each in logs.inferenceLogBatches:
        found.setdefault(each.request_id, []).extend(each.inference_log_rows)
    return found


class TestRecords:
    def test_joined_they_are_the_segment(self, tmp_path: Path):
        one = segment(tmp_path, [batch(f"r{i}", 300_000) for i in range(20)])
        found, rest = cut(one)
        assert len(found) == 7
        assert b"".join(record.data for record in found) == one.path.read_bytes()
        assert not rest
        assert [record.ordinal for record in found] == list(range(7))

    def test_each_is_a_message_with_the_key_of_its_first_batch(self, tmp_path: Path):
        one = segment(tmp_path, [batch(f"r{i}", 300_000) for i in range(7)])
        found, _ = cut(one)
        ids = [[b.request_id for b in parsed([r.data]).inferenceLogBatches] for r in found]
        assert ids == [["r0", "r1", "r2"], ["r3", "r4", "r5"], ["r6"]]
        assert [record.partition_key for record in found] == ["r0", "r3", "r6"]
        assert len(parsed([found[-1].data]).segment_info) == 1

    def test_a_record_and_its_key_are_filled_to_the_last_byte(self, tmp_path: Path):
        key = "réquest"
        whole = RECORD_BYTES - len(key.encode()) - info_bytes(tmp_path)
        frame = len(batch(key, 500_000)) - 500_000
        for more, count in ((0, 1), (1, 2)):
            one = segment(tmp_path, [batch(key, whole - frame + more)])
            found, _ = cut(one)
            assert len(found) == count, more
            assert max(record.size_bytes for record in found) <= RECORD_BYTES
            assert b"".join(record.data for record in found) == one.path.read_bytes()

    def test_a_segment_without_batches_is_one_record(self, tmp_path: Path):
        (found,), _ = cut(segment(tmp_path, []))
        assert len(found.partition_key) == 32
        assert len(parsed([found.data]).segment_info) == 1

    @pytest.mark.parametrize(("key", "expected"), [("request_id", "r"), ("model_id", "model")])
    def test_partition_keys(self, tmp_path: Path, key: PartitionKey, expected: str):
        (found,), _ = cut(segment(tmp_path, [batch("r", 1)]), key)
        assert found.partition_key == expected

    def test_random_partition_keys_differ(self, tmp_path: Path):
        one = segment(tmp_path, [batch("r", 900_000)] * 3)
        found, _ = cut(one, "random")
        assert len({record.partition_key for record in found}) == len(found) == 3

    @pytest.mark.parametrize("key", ["request_id", "model_id"])
    def test_no_id_gives_a_random_key_and_a_long_one_is_cut(self, tmp_path: Path, key: PartitionKey):
        (found,), _ = cut(segment(tmp_path, [batch("", 1, model_id="")]), key)
        assert len(found.partition_key) == 32
        (found,), _ = cut(segment(tmp_path, [batch("é" * 300, 1, model_id="é" * 300)]), key)
        assert found.partition_key == "é" * 256

    @pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
    def test_compressed_segments(self, tmp_path: Path, compression: str):
        one = segment(tmp_path, [batch(f"r{i}", 200_000) for i in range(9)])
        content = one.path.read_bytes()
        if compression == "gzip":
            one.path.write_bytes(gzip.compress(content, mtime=0))
        if compression == "zstd":
            one.path.write_bytes(zstandard.compress(content))
        found, _ = cut(one, compression=compression)
        assert b"".join(record.data for record in found) == content

    def test_the_same_file_gives_the_same_records(self, tmp_path: Path):
        one = segment(tmp_path, [batch(f"r{i}", 70_000, 3_000_000, 900) for i in range(9)])
        assert cut(one) == cut(one)
        sizes = [[len(r.data) for r in cut(one, "random")[0]] for _ in range(2)]
        assert sizes[0] == sizes[1]


class TestLargeBatches:
    def test_a_batch_above_1_mib_is_cut_by_rows(self, tmp_path: Path):
        given = [batch("small", 10), batch("big", *[200_000] * 12), batch("next", 10)]
        one = segment(tmp_path, given)
        found, rest = cut(one)
        assert not rest
        assert max(record.size_bytes for record in found) <= RECORD_BYTES
        logs = parsed(record.data for record in found)
        assert by_request(logs) == by_request(structs_pb2.InferenceLogs.FromString(one.path.read_bytes()))
        parts = [each for each in logs.inferenceLogBatches if each.request_id == "big"]
        assert [len(each.inference_log_rows) for each in parts] == [5, 5, 2]
        assert {(each.model_id, each.model_version, each.received_unix_micros) for each in parts} == {
            ("model", "v", 1_754_000_000_000_000)
        }
        assert [each.request_id for each in logs.inferenceLogBatches] == ["small", *["big"] * 3, "next"]
        assert len(logs.segment_info) == 1

    def test_rows_above_1_mib_are_the_rest(self, tmp_path: Path):
        one = segment(tmp_path, [batch("a", 5), batch("big", 7, 1_100_000, 8, 2_000_000), batch("b", 6)])
        found, rest = cut(one)
        (left,) = parsed(rest).inferenceLogBatches
        assert (left.request_id, left.model_id, left.model_version) == ("big", "model", "v")
        assert [row.row_id for row in left.inference_log_rows] == ["row-1", "row-3"]
        logs = by_request(parsed(record.data for record in found))
        assert {name: [row.row_id for row in rows] for name, rows in logs.items()} == {
            "a": ["row-0"],
            "big": ["row-0", "row-2"],
            "b": ["row-0"],
        }

    def test_the_largest_row_that_fits(self, tmp_path: Path):
        """One byte more and it is the rest."""
        whole = cut(segment(tmp_path, [batch("r", 1_000_000)]))[0][0]
        largest = 1_000_000 + RECORD_BYTES - (whole.size_bytes - info_bytes(tmp_path))
        found, rest = cut(segment(tmp_path, [batch("r", largest, 1)]))
        assert not rest
        assert max(record.size_bytes for record in found) == RECORD_BYTES
        _, rest = cut(segment(tmp_path, [batch("r", largest + 1, 1)]))
        assert len(rest) == 1

    def test_a_head_that_no_record_can_hold(self, tmp_path: Path):
        one = segment(tmp_path, [batch("r" * 2_000_000, 1, 2), batch("s" * 2_000_000)])
        found, rest = cut(one)
        assert [len(each.inference_log_rows) for each in parsed(rest).inferenceLogBatches] == [2, 0]
        assert [len(parsed([record.data]).segment_info) for record in found] == [1]


class TestBrokenSegments:
    @pytest.mark.parametrize("cut_off", [1, 5, 40])
    def test_a_torn_one(self, tmp_path: Path, cut_off: int):
        one = segment(tmp_path)
        one.path.write_bytes(one.path.read_bytes()[:-cut_off])
        with pytest.raises(BrokenSegment):
            cut(one)

    @pytest.mark.parametrize("content", [b"\x0b", b"\x0f\x00", b"\xff" * 30, b"\x0a\xff\xff\xff\xff\x07abc"])
    def test_something_else(self, tmp_path: Path, content: bytes):
        one = segment(tmp_path)
        one.path.write_bytes(content)
        with pytest.raises(BrokenSegment):
            cut(one)

    @pytest.mark.parametrize("compression", ["gzip", "zstd"])
    def test_not_compressed_at_all_or_torn(self, tmp_path: Path, compression: str):
        one = segment(tmp_path)
        content = one.path.read_bytes()
        packed = gzip.compress(content) if compression == "gzip" else zstandard.compress(content)
        for wrong in (content, packed[: len(packed) // 2]):
            one.path.write_bytes(wrong)
            with pytest.raises(BrokenSegment):
                cut(one, compression=compression)

    def test_none_at_all(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError):
            cut(replace(segment(tmp_path), path=tmp_path / "none"))


class TestCalls:
    def test_at_most_500_records(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(kinesis_cutting, "RECORD_BYTES", len(log_record("r1000")) + len("r1000"))
        one = segment(tmp_path, [log_record(f"r{i}") for i in range(1100)])
        found = list(groups(one, "request_id", Rest()))
        assert [len(group) for group in found] == [RECORDS_A_CALL, RECORDS_A_CALL, 101]
        assert b"".join(r.data for r in itertools.chain(*found)) == one.path.read_bytes()

    def test_at_most_5_mib(self, tmp_path: Path):
        one = segment(tmp_path, [batch(f"r{i}", 1_048_500) for i in range(11)])
        found = list(groups(one, "request_id", Rest()))
        assert [sum(r.size_bytes for r in group) <= BYTES_A_CALL for group in found] == [True] * len(found)
        assert [len(group) for group in found] == [5, 5, 2]

    def test_a_body_and_its_answer(self):
        given = [KinesisRecord(i, b"\x00data", f'k"{i}') for i in range(3)]
        call = put_records("stream", given)
        assert call.headers["content-length"] == str(len(call.body))
        assert call.body == (
            b'{"StreamName":"stream","Records":['
            b'{"Data":"AGRhdGE=","PartitionKey":"k\\"0"},{"Data":"AGRhdGE=","PartitionKey":"k\\"1"},'
            b'{"Data":"AGRhdGE=","PartitionKey":"k\\"2"}]}'
        )
        outcome = outcome_of(
            given,
            b'{"FailedRecordCount":1,"Records":[{"SequenceNumber":"1","ShardId":"s"},{"ErrorCode":'
            b'"InternalFailure","ErrorMessage":"m"},{"SequenceNumber":"2","ShardId":"s"}]}',
        )
        assert [record.ordinal for record in outcome.delivered] == [0, 2]
        assert [record.ordinal for record in outcome.failed] == [1]
        assert outcome.reason == "InternalFailure"

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"[]", b"{}", b'{"Records":[]}', b'{"Records":3}', b"\xff"]
    )
    def test_another_answer(self, body: bytes):
        with pytest.raises(ValueError, match=r"."):
            outcome_of([KinesisRecord(0, b"", "k")], body)

    @pytest.mark.parametrize("entry", [b"{}", b"null", b'"x"', b'{"SequenceNumber":""}'])
    def test_an_entry_that_says_nothing_is_a_failure(self, entry: bytes):
        outcome = outcome_of([KinesisRecord(0, b"", "k")], b'{"Records":[%s]}' % entry)
        assert (len(outcome.failed), outcome.reason) == (1, "no sequence number")


class TestProgress:
    def test_what_is_missing(self):
        progress = Progress()
        given = [KinesisRecord(i, b"", "k") for i in range(6)]
        assert not progress.has_any
        progress.add([given[0], given[3]])
        assert progress.has_any
        assert [record.ordinal for record in progress.missing(given)] == [1, 2, 4, 5]
        progress.add([given[1], given[2]])
        assert [record.ordinal for record in progress.missing(given)] == [4, 5]
        progress.add(given)
        assert progress.missing(given) == []

    def test_the_book_forgets_the_segment_that_nobody_tried_for_longest(self):
        book = ProgressBook(2)
        first, second = book.of(Path("first")), book.of(Path("second"))
        assert book.of(Path("first")) is first
        book.of(Path("third"))
        assert book.of(Path("first")) is first
        assert book.of(Path("second")) is not second
        book.forget(Path("second"))
        book.forget(Path("second"))


@given(st.lists(st.tuples(st.sampled_from([1, 2, 15, 16, 3000]), st.binary(max_size=300)), max_size=20))
def test_fields_joined_are_the_message(fields: list[tuple[int, bytes]]):
    message = b""
    for number, content in fields:
        if number < 16:
            message += length_delimited(number, content)
        else:
            tag = number << 3 | 2
            message += bytes([tag & 0x7F | 0x80, tag >> 7 & 0x7F | (0x80 if tag >> 14 else 0)])
            message += bytes([tag >> 14]) if tag >> 14 else b""
            message += length_delimited(1, content)[1:]
    for found in (list(fields_of(message)), list(fields_of_blocks(blocks(message)))):
        assert b"".join(each.data for each in found) == message
        assert [(each.number, each.content) for each in found] == fields


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_a_value_error(message: bytes):
    try:
        in_memory = list(fields_of(message))
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            list(fields_of_blocks(blocks(message)))
    else:
        assert b"".join(each.data for each in in_memory) == message
        assert list(fields_of_blocks(blocks(message))) == in_memory


@given(
    st.lists(st.tuples(st.text(max_size=40), st.lists(st.integers(0, 260), max_size=6)), max_size=12),
    st.sampled_from(["request_id", "model_id", "random"]),
    st.integers(120, 400),
)
def test_every_row_is_in_a_record_or_in_the_rest_and_in_order(
    batches: list[tuple[str, list[int]]], key: PartitionKey, limit: int
):
    """Of records of a few hundred bytes, so that everything is cut."""
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinesis_cutting, "RECORD_BYTES", limit)
        one = segment(
            Path(directory), [batch(f"{i}{name}", *sizes) for i, (name, sizes) in enumerate(batches)]
        )
        found, rest = cut(one, key)
        whole = structs_pb2.InferenceLogs.FromString(one.path.read_bytes())
    sent, left = parsed(record.data for record in found), parsed(rest)
    for record in found:
        assert record.size_bytes <= limit or not parsed([record.data]).inferenceLogBatches
        assert 1 <= len(record.partition_key) <= 256
    assert [record.ordinal for record in found] == list(range(len(found)))
    assert list(sent.segment_info) == list(whole.segment_info)
    rows, given_rows = by_request(sent), by_request(whole)
    rest_rows = by_request(left)
    for request_id, expected in given_rows.items():
        merged = rows.get(request_id, []) + rest_rows.get(request_id, [])
        assert sorted(row.row_id for row in merged) == sorted(row.row_id for row in expected)
        # What was delivered is in the order of the request.
        assert [row for row in expected if row in rows.get(request_id, [])] == rows.get(request_id, [])
    assert rows.keys() | rest_rows.keys() == given_rows.keys()
    in_order = list(dict.fromkeys(each.request_id for each in sent.inferenceLogBatches))
    assert in_order == [request_id for request_id in given_rows if request_id in rows]
