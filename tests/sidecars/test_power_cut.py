"""The spool after a power cut, at any moment, with whatever the disk had kept by then.

A model of a disk under hushar.sidecars.appending: every write and every fsync is recorded. What a cut leaves:

- everything written before an fsync that has returned, and the length of the file at that moment;
- of what was written after it, any of its pages (direct writes and those of the page cache go their own
  ways, in any order), and any length up to the last: a page that is missing is zeros.

The file is then what recovery finds. All records that were forced to the disk must be there, nothing but
whole records, and each as it was written.
"""

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hushar.proto import structs_pb2
from hushar.sidecars.appending import BLOCK_BYTES, DIRECT_BYTES, AppendedFile, Stage
from hushar.sidecars.recovery import recover
from hushar.sidecars.segment import FileOperations, OpenSegment, SegmentIdentity

IDENTITY = SegmentIdentity("host", 1, 1, 0, "0b2f1a52-7c53-4c34-9d3b-1f3f2d0c9a11", 1_754_000_000_123_456)
SIZES = [1, 100, BLOCK_BYTES - 7, BLOCK_BYTES, DIRECT_BYTES, 3 * DIRECT_BYTES + 5]


class Disk:
    """What was written where, in its order, and what of it an fsync has made last."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.events: list[tuple[int, int] | None] = []
        """(begin, end) of a write, None for an fsync."""
        self.largest: int | None = None

    def write(self, descriptor: int, data: memoryview) -> int:
        taken = bytes(data[: self.largest])
        size = os.write(descriptor, taken)
        begin = len(self.content)
        self.content += taken[:size]
        self.events.append((begin, begin + size))
        return size

    def sync(self, descriptor: int) -> None:
        self.events.append(None)

    def after_a_cut(self, event: int, random: Random) -> bytes:
        """What may be on the disk if the power goes after so many events."""
        kept = reached = 0
        pages: set[int] = set()
        for each in self.events[:event]:
            if each is None:
                kept = reached
                pages.clear()
            else:
                reached = each[1]
                pages.update(range(each[0] // BLOCK_BYTES, -(-each[1] // BLOCK_BYTES)))
        length = random.choice([kept, reached, random.randint(kept, reached)])
        found = bytearray(self.content[:length])
        for page in pages:
            if random.random() < 0.3:
                begin = max(kept, page * BLOCK_BYTES)
                end = min(length, (page + 1) * BLOCK_BYTES)
                found[begin:end] = bytes(max(0, end - begin))
        return bytes(found)

    def synced(self, event: int) -> int:
        """How many bytes an fsync has made last by then."""
        kept = reached = 0
        for each in self.events[:event]:
            if each is None:
                kept = reached
            else:
                reached = each[1]
        return kept


def make_record(number: int, size: int) -> bytes:
    # Bytes that zeros in their place do not replace unseen: a text of zeros would be one, too.
    rows = [structs_pb2.InferenceLogRow(row_id="r" * 50) for _ in range(size // 52)]
    batch = structs_pb2.InferenceLogBatch(request_id=f"{number}", inference_log_rows=rows)
    return structs_pb2.InferenceLogs(inferenceLogBatches=[batch]).SerializeToString()


def write_segment(directory: Path, steps, *, largest, direct) -> tuple[Disk, list[bytes]]:
    """A segment that is appended to and forced to the disk as `steps` say: sizes, and None for an fsync."""
    disk = Disk()
    disk.largest = largest
    records: list[bytes] = []
    files = FileOperations(write=disk.write, sync=disk.sync)
    segment = OpenSegment.create(directory, IDENTITY, files, Stage(8 * DIRECT_BYTES))
    for step in steps:
        if step is None:
            segment.sync()
            continue
        made = [make_record(len(records) + n, size) for n, size in enumerate(step)]
        assert segment.append(made, direct=direct).error is None
        records += made
    segment.abandon()
    assert bytes(disk.content) == b"".join(records) == segment.path.read_bytes()
    return disk, records


def whole_before(records: list[bytes], size: int) -> int:
    count = end = 0
    for record in records:
        end += len(record)
        if end > size:
            break
        count += 1
    return count


steps = st.lists(st.none() | st.lists(st.sampled_from(SIZES), min_size=1, max_size=4), max_size=8)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=steps,
    largest=st.sampled_from([None, 4095, 3 * BLOCK_BYTES]),
    direct=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_at_every_moment_what_was_forced_to_the_disk_is_there_and_nothing_is_torn(
    tmp_path, steps, largest, direct, seed
):
    directory = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
    directory.mkdir()
    disk, records = write_segment(directory, steps, largest=largest, direct=direct)
    random = Random(seed)
    for event in range(len(disk.events) + 1):
        for path in directory.iterdir():
            path.unlink()
        (directory / IDENTITY.open_name).write_bytes(disk.after_a_cut(event, random))
        found = [stored for stored in recover(directory).segments if stored.segment.batches]
        content = found[0].segment.path.read_bytes() if found else b""
        logs = structs_pb2.InferenceLogs.FromString(content)
        count = len(logs.inferenceLogBatches)
        assert count >= whole_before(records, disk.synced(event))
        # Each is the one that was written: in its place, and whole.
        assert content.startswith(b"".join(records[: whole_before(records, disk.synced(event))]))
        assert [batch.request_id for batch in logs.inferenceLogBatches] == [str(n) for n in range(count)]
        if found:
            (info,) = logs.segment_info
            assert info.batches == count == found[0].segment.batches


@pytest.mark.parametrize("direct", [False, True])
def test_every_prefix_of_the_bytes_recovers_to_whole_records(tmp_path, direct):
    disk, records = write_segment(
        tmp_path, [[100, 4000], None, [3 * DIRECT_BYTES, 1], [50]], largest=None, direct=direct
    )
    ends = [len(b"".join(records[: n + 1])) for n in range(len(records))]
    cuts = {0, *ends, *(end - 1 for end in ends), *(end + 1 for end in ends), *range(0, ends[-1], 1361)}
    for cut in sorted(cuts):
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / IDENTITY.open_name).write_bytes(disk.content[:cut])
        found = recover(tmp_path).segments
        whole = sum(end <= cut for end in ends)
        assert [stored.segment.batches for stored in found] == ([whole] if whole else [])


def test_direct_writes_and_those_of_the_page_cache_never_share_a_page(tmp_path):
    """A page that both wrote could lose what one of them wrote: the kernel promises nothing about it."""
    pages: dict[int, set[bool]] = {}
    direct_opened: list[int] = []
    written = 0

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal written
        is_direct = descriptor != file.descriptor
        if is_direct:
            direct_opened.append(descriptor)
            assert written % BLOCK_BYTES == len(data) % BLOCK_BYTES == 0
        size = os.write(descriptor, data)
        for page in range(written // BLOCK_BYTES, -(-(written + size) // BLOCK_BYTES)):
            pages.setdefault(page, set()).add(is_direct)
        written += size
        return size

    file = AppendedFile(tmp_path / "file", Stage(8 * DIRECT_BYTES), write)
    random = Random(2)
    for _ in range(60):
        sizes = [random.choice([*SIZES, random.randint(0, 4 * DIRECT_BYTES)]) for _ in range(3)]
        file.append([random.randbytes(size) for size in sizes], written, direct=True)
    file.close()
    if not direct_opened:
        pytest.skip("the file system of the temporary directory does not write directly")
    assert all(len(ways) == 1 for ways in pages.values())
    assert {True} in pages.values()
    assert {False} in pages.values()
