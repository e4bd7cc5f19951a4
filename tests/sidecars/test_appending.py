"""Appending: every byte in its place, whichever way it goes."""

import errno
import os
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.sidecars import appending
from hushar.sidecars.appending import BLOCK_BYTES, DIRECT_BYTES, MOST_STEPS, AppendedFile, Stage

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


LARGE = DIRECT_BYTES + BLOCK_BYTES
"""What is worth writing from where it lies."""


def lying(size, skew, *, random=None):
    """A piece of so many bytes that begins `skew` bytes into a block."""
    memory = Stage(-(-(size + BLOCK_BYTES) // BLOCK_BYTES) * BLOCK_BYTES).view
    piece = memory[skew : skew + size]
    piece[:] = (random or Random(size)).randbytes(size)
    return piece


def make_steps(steps):
    """What a pen does."""
    for descriptor, data in steps:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


class TestSteps:
    """The writes of an append that needs nothing else."""

    @pytest.fixture
    def direct(self, make, written):
        """A file of which is known that it can be written directly, and its size."""
        file = make()
        file.append([lying(LARGE, 0)], 0, direct=True)
        if not any(direct for direct, _ in written):
            pytest.skip("the file system of the temporary directory does not write directly")
        written.clear()
        return file, LARGE

    def test_little_is_written_from_where_it_lies_whatever_it_is(self, make, tmp_path):
        file = make()
        pieces = [b"abc", lying(DIRECT_BYTES, 5), bytes(LARGE - 1)]
        steps = file.steps(pieces, 0, direct=True)
        assert steps == [(file.descriptor, piece) for piece in pieces]
        make_steps(steps)
        assert content(tmp_path) == b"".join(pieces)

    @pytest.mark.parametrize("piece", [bytes(3 * STAGE), memoryview(bytes(3 * STAGE)), lying(3 * STAGE, 7)])
    def test_through_the_page_cache_everything_is(self, make, piece):
        file = make()
        assert file.steps([piece], 100, direct=False) == [(file.descriptor, piece)]

    def test_the_first_much_is_not_for_it_is_not_known_yet_whether_it_can_be(self, make):
        assert make().steps([lying(LARGE, 0)], 0, direct=True) is None

    @pytest.mark.parametrize("tail", [0, 1, BLOCK_BYTES - 1])
    @pytest.mark.parametrize("skew", [0, 1, BLOCK_BYTES - 1])
    def test_much_is_in_three_writes_of_which_that_of_whole_blocks_is_direct(
        self, direct, tmp_path, written, skew, tail
    ):
        file, size = direct
        before = content(tmp_path)
        file.append([bytes(skew)], size, direct=True)
        piece = lying(LARGE - skew + BLOCK_BYTES + tail, skew)
        head, blocks, rest = file.steps([piece], size + skew, direct=True)
        assert head[0] == rest[0] == file.descriptor != blocks[0]
        assert len(head[1]) == -skew % BLOCK_BYTES
        assert len(rest[1]) == tail
        assert len(blocks[1]) % BLOCK_BYTES == 0
        make_steps([head, blocks, rest])
        assert content(tmp_path) == before + bytes(skew) + piece

    def test_nothing_is_copied_to_make_it_fit(self, direct):
        """Where it lies otherwise, is not writable memory, or is no memory of the log's at all."""
        file, size = direct
        for piece in (lying(LARGE, 1), bytes(LARGE), memoryview(bytes(LARGE)), lying(LARGE, 0).toreadonly()):
            assert file.steps([piece], size, direct=True) is None
            assert file.steps([b"before", piece], size - 6, direct=True) is None
        assert file.steps([lying(LARGE, 1)], size + 1, direct=True) is not None
        assert file.steps([b"a", lying(LARGE, 1)], size, direct=True) is not None

    def test_there_are_never_more_than_a_pen_takes(self, direct):
        file, size = direct
        piece = lying(LARGE, 0)
        assert LARGE % BLOCK_BYTES == 0  # So that all of them may be the same one.
        most = MOST_STEPS // 3
        assert len(file.steps([piece] * most, size, direct=True)) == 3 * most <= MOST_STEPS
        assert file.steps([piece] * (most + 1), size, direct=True) is None
        assert file.steps([b"a"] * (most + 1), size, direct=False) is None

    def test_a_refusal_that_only_direct_writing_has_is_taken_back_once(self, direct):
        file, size = direct
        piece = lying(LARGE, 1)
        assert not file.take_back(OSError(errno.ENOSPC, "full"))
        assert file.steps([piece], size, direct=True) is None
        assert file.take_back(OSError(errno.EINVAL, "not like that"))
        # From now on everything goes the other way, and may lie anywhere.
        assert file.steps([piece], size, direct=True) == [(file.descriptor, piece)]
        assert not file.take_back(OSError(errno.EINVAL, "nor like that"))

    def test_where_direct_writing_is_not_possible_everything_is_written_from_where_it_lies(
        self, make, monkeypatch
    ):
        monkeypatch.setattr(appending, "_O_DIRECT", 0)
        file, piece = make(), bytes(3 * STAGE)
        assert file.steps([piece], 1, direct=True) == [(file.descriptor, piece)]
        assert not file.take_back(OSError(errno.EINVAL, "nobody has asked"))


sizes = st.one_of(
    st.integers(0, 2 * BLOCK_BYTES),
    st.sampled_from([DIRECT_BYTES, LARGE - 1, LARGE, LARGE + 1, STAGE - 1, STAGE, 2 * STAGE + 1]),
    st.integers(LARGE, 2 * STAGE),
)
pieces_of_an_append = st.lists(
    st.tuples(sizes, st.sampled_from(["bytes", "fits", "fits", "elsewhere"])), max_size=5
)
appends = st.lists(st.tuples(pieces_of_an_append, st.booleans()), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(appends, st.booleans(), st.integers(0, 2**32))
def test_steps_make_the_file_that_append_makes(plan, may_direct, seed):
    """Whatever the pieces are, and wherever they lie; where there are no steps, `append` is what is done."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        files = [AppendedFile(Path(directory, name), Stage(STAGE), os.write) for name in ("steps", "append")]
        if not may_direct:
            for file in files:
                file.take_back(OSError(errno.EINVAL, "not like that"))
        stepped, appended = files
        offset, expected = 0, b""
        for plan_of_pieces, direct in plan:
            pieces, at = [], offset
            for size, kind in plan_of_pieces:
                skew = (at + (kind == "elsewhere")) % BLOCK_BYTES
                piece = lying(size, skew, random=random)
                pieces.append(bytes(piece) if kind == "bytes" else piece)
                at += size
            steps = stepped.steps(pieces, offset, direct=direct)
            if steps is not None:
                make_steps(steps)
            else:
                assert direct
                assert may_direct
                stepped.append(pieces, offset, direct=direct)
            appended.append(pieces, offset, direct=direct)
            expected += b"".join(pieces)
            offset = at
        found = [Path(directory, name).read_bytes() for name in ("steps", "append")]
        for file in files:
            file.close()
    assert found == [expected, expected]


def test_both_descriptors_are_let_go_of_also_where_a_disk_fails_at_that(make, monkeypatch):
    file = make()
    file.append([lying(LARGE, 0)], 0, direct=True)
    closed, close = [], os.close

    def failing(descriptor):
        close(descriptor)
        closed.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", failing)
        with pytest.raises(OSError, match="Input/output"):
            file.close()
    assert len(closed) == 1 + (file._direct is not None)
    # For the end of the test.
    file.descriptor, file._direct = os.open(os.devnull, os.O_WRONLY), None
