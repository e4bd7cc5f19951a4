"""Compressed segments: the same bytes every time, readable by everybody, and damage never goes unnoticed."""

import gzip
import io
from pathlib import Path
from random import Random

import pytest
import zstandard

from hushar.decompression import Damaged
from hushar.sinks.compression import CHUNK_BYTES, SUFFIXES, compressed, read, read_file
from hushar.testing import segment

COMPRESSIONS = ["gzip", "zstd"]
STOCK = {"gzip": gzip.decompress, "zstd": zstandard.ZstdDecompressor().decompress}
SIZES = [0, 1, 1000, CHUNK_BYTES, 3 * CHUNK_BYTES + 17]


def content_of(size: int) -> bytes:
    """Half noise, half words: neither blows up nor vanishes."""
    random = Random(size)
    return random.randbytes(size // 2) + (b"feature " * (size // 8 + 1))[: size - size // 2]


@pytest.fixture
def make(tmp_path: Path):
    def made(content: bytes, compression, level=None) -> Path:
        plain, path = tmp_path / "plain", tmp_path / "compressed"
        plain.write_bytes(content)
        path.write_bytes(b"".join(compressed(plain, compression, level)))
        return path

    return made


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", SIZES)
def test_everybody_reads_what_was_compressed(make, compression, size):
    content = content_of(size)
    path = make(content, compression)
    assert STOCK[compression](path.read_bytes()) == content
    pieces = list(read_file(path, compression))
    assert b"".join(pieces) == content


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("level", [None, 1, 9])
def test_the_same_content_gives_the_same_bytes(make, compression, level):
    content = content_of(2 * CHUNK_BYTES + 5)
    first = make(content, compression, level).read_bytes()
    assert make(content, compression, level).read_bytes() == first


def test_gzip_says_neither_when_nor_what(make):
    data = make(b"abc", "gzip").read_bytes()
    flags, mtime = data[3], data[4:8]
    assert (flags, mtime) == (0, bytes(4))


def test_levels_are_used(make):
    content = content_of(CHUNK_BYTES)
    stored = make(content, "gzip", 0).stat().st_size
    assert stored > len(content) > make(content, "gzip", 9).stat().st_size
    fast, slow = (make(content, "zstd", level).stat().st_size for level in (-7, 19))
    assert slow < fast


def test_gzip_and_zstd_are_streams_of_chunks(make):
    """So that a segment of any size takes no more memory than a small one."""
    pieces = list(read_file(make(bytes(20 * CHUNK_BYTES), "gzip"), "gzip"))
    assert max(map(len, pieces)) <= CHUNK_BYTES


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", [1000, 3 * CHUNK_BYTES])
def test_a_cut_gives_what_was_before_it_and_is_damage(make, compression, size):
    content = content_of(size)
    path = make(content, compression)
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 5, len(whole) - 1):
        path.write_bytes(whole[:cut])
        found = io.BytesIO()
        with pytest.raises(Damaged):
            found.writelines(read_file(path, compression))
        assert content.startswith(found.getvalue())


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flipped_byte_and_bytes_behind_the_end_are_damage(make, compression):
    path = make(content_of(5000), compression)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0x40
    for damaged in (bytes(flipped), whole + b"x", bytes(len(whole))):
        path.write_bytes(damaged)
        with pytest.raises(Damaged):
            list(read_file(path, compression))


def test_a_sink_reads_a_segment_whatever_its_compression(tmp_path):
    plain = segment(tmp_path)
    content = plain.path.read_bytes()
    for compression, suffix in SUFFIXES.items():
        one = segment(tmp_path, compression=compression, name=None)
        assert one.key.endswith(f".pb{suffix}")
        assert one.size_bytes == one.path.stat().st_size
        assert b"".join(read(one)) == content
