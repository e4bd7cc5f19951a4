import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from hushar.logreading.files import BATCH_FIELD, INFO_FIELD, LogReader
from hushar.proto.structs_pb2 import InferenceLogBatch, InferenceLogs, SegmentInfo


def read(data, size_bytes=None, chunks=None):
    """The records of `data` given in pieces of `chunks` bytes, and the reader."""
    reader = LogReader(size_bytes)
    records = []
    step = chunks or max(len(data), 1)
    for start in range(0, len(data), step):
        records += (
            content for field, content in reader.feed(data[start : start + step]) if field == BATCH_FIELD
        )
    reader.finish()
    return records, reader


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def record(content):
    return b"\x0a" + varint(len(content)) + content


@pytest.fixture
def logs(batch):
    batches = [batch(f"q{index}" * (100 if index == 1 else 1)) for index in range(4)]
    return InferenceLogs(inferenceLogBatches=batches, segment_info=[SegmentInfo(instance="i", batches=4)])


@pytest.mark.parametrize("chunks", [None, 1, 2, 3, 7, 64])
def test_a_log_is_read_whole_however_it_is_cut_into_chunks(logs, chunks):
    data = logs.SerializeToString()
    records, reader = read(data, chunks=chunks)
    assert [InferenceLogBatch.FromString(each) for each in records] == list(logs.inferenceLogBatches)
    assert reader.torn is None
    assert reader.offset == len(data)


@pytest.mark.parametrize("size_is_known", [False, True])
def test_a_log_that_is_cut_anywhere_is_read_up_to_the_cut(logs, size_is_known):
    data = logs.SerializeToString()
    ends = []
    for each in logs.inferenceLogBatches:
        ends.append((ends or [0])[-1] + len(record(each.SerializeToString())))
    for cut in range(len(data)):
        records, reader = read(data[:cut], cut if size_is_known else None, chunks=50)
        assert len(records) == sum(end <= cut for end in ends)
        whole = max([end for end in ends if end <= cut], default=0)
        assert (reader.torn is None) == (cut == whole)
        assert reader.offset == whole


def test_an_empty_log_is_whole():
    records, reader = read(b"")
    assert (records, reader.torn) == ([], None)


def test_what_was_joined_is_one_log(logs):
    data = logs.SerializeToString()
    records, reader = read(data + data)
    assert len(records) == 8
    assert reader.torn is None


OTHER_FIELDS = {
    "varint": b"\x10" + b"\xff" * 9 + b"\x01",
    "fixed64": b"\x19" + bytes(8),
    "fixed32": b"\x1d" + bytes(4),
    "length": b"\x22\x03abc",
    "large number": varint((2**29 - 1) << 3 | 2) + b"\x00",
    "field 1 as a varint": b"\x08\x05",
    "group": b"\x2b" + b"\x08\x01" + b"\x33" + b"\x12\x01x" + b"\x34" + b"\x2c",
    "tag of five bytes": b"\x92\x80\x80\x80\x00\x00",
}


@pytest.mark.parametrize("field", OTHER_FIELDS.values(), ids=OTHER_FIELDS)
@pytest.mark.parametrize("chunks", [None, 1])
def test_other_fields_are_passed_over(field, chunks):
    assert InferenceLogs.FromString(field).inferenceLogBatches == []
    records, reader = read(field + record(b"") + field, chunks=chunks)
    assert records == [b""]
    assert reader.torn is None


DAMAGE = {
    "zeros": b"\0\0",
    "field number 0": b"\x02\x01x",
    "wire type 6": b"\x0e",
    "wire type 7": b"\x0f",
    "end of no group": b"\x2c",
    "end of another group": b"\x2b\x34",
    "tag of six bytes": b"\x92\x80\x80\x80\x80\x00",
    "tag above 32 bits": b"\xfa\xff\xff\xff\x7f",
    "varint of eleven bytes": b"\x10" + b"\xff" * 11,
    "length of six bytes": b"\x0a" + b"\x80" * 5 + b"\x01",
    "length above 2 GiB": b"\x0a" + varint(2**31),
    "group in too many groups": b"\x2b" * 101,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("chunks", [None, 1])
def test_damage_is_a_tear(damage, chunks):
    good = record(b"good")
    records, reader = read(good + damage + good * 9, chunks=chunks)
    assert records == [b"good"]
    assert reader.torn
    assert reader.offset == len(good)


def test_after_a_tear_nothing_is_read():
    reader = LogReader()
    assert list(reader.feed(b"\0")) == []
    assert list(reader.feed(record(b"x"))) == []
    assert reader.torn


def test_a_length_that_leads_beyond_the_file_is_not_waited_for():
    reader = LogReader(size_bytes=1000)
    assert list(reader.feed(b"\x0a" + varint(2**30))) == []
    assert reader.torn == "the last record is not whole"


def test_the_offset_is_that_of_the_record_in_hand():
    data = record(b"a" * 10) + record(b"b")
    reader = LogReader()
    assert [(content, reader.offset) for _, content in reader.feed(data)] == [(b"a" * 10, 0), (b"b", 12)]


def test_batches_and_segment_infos_are_told_apart_and_the_rest_is_skipped():
    info = b"\x82\x01\x02ab"
    data = record(b"x") + info + b"\x12\x01?" + record(b"y") + info
    assert list(LogReader().feed(data)) == [
        (BATCH_FIELD, b"x"),
        (INFO_FIELD, b"ab"),
        (BATCH_FIELD, b"y"),
        (INFO_FIELD, b"ab"),
    ]


PIECES = [*OTHER_FIELDS.values(), *DAMAGE.values(), record(b""), record(b"\x0a\x01q"), record(b"\xff")]


@given(
    st.one_of(st.lists(st.sampled_from(PIECES), max_size=5).map(b"".join), st.binary(max_size=60)),
    st.integers(1, 5),
)
def test_whatever_protobuf_decodes_is_read_the_same(data, chunks):
    """The oracle is upb: what it decodes is not torn, and has the same batches at the top level."""
    records, reader = read(data, chunks=chunks)
    assert records == read(data)[0]
    try:
        batches = InferenceLogs.FromString(data).inferenceLogBatches
    except DecodeError:
        return
    assert reader.torn is None
    assert [InferenceLogBatch.FromString(each) for each in records] == list(batches)


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 400))
def test_records_of_any_content_come_out_as_they_are(contents, chunks):
    records, reader = read(b"".join(map(record, contents)), chunks=chunks)
    assert records == contents
    assert reader.torn is None
