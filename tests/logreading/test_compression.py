"""Logs that are compressed: whole, joined, cut anywhere, damaged."""

import gzip

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar import decompression
from hushar.decompression import Damaged
from hushar.logreading.compression import decompressed
from hushar.logreading.source import LogFile, TornLog, read_batches


def pieces(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


def content(data, size=None, *, expected=False):
    """What the file holds, and why it ends where it does."""
    is_compressed, chunks = decompressed(pieces(data, size or max(len(data), 1)), expected=expected)
    found = b""
    try:
        for chunk in chunks:
            assert len(chunk) <= 1 << 20 or not is_compressed
            found += chunk
    except Damaged as error:
        return found, str(error)
    return found, None


def zst(data, **options):
    return zstandard.ZstdCompressor(**options).compress(data)


WAYS = {"gzip": gzip.compress, "zstd": zst}


@pytest.mark.parametrize("compress", WAYS.values(), ids=WAYS)
@given(data=st.binary(max_size=5000) | st.integers(0, 400_000).map(bytes), size=st.integers(1, 6000))
@settings(deadline=None, max_examples=40)
def test_what_was_compressed_comes_back(compress, data, size):
    assert content(compress(data), size) == (data, None)
    assert content(compress(data) + compress(data[:100]), size) == (data + data[:100], None)


@given(data=st.binary(max_size=100), size=st.integers(1, 100))
def test_what_is_not_compressed_is_as_it_is(data, size):
    plain = b"\x0a" + data
    assert content(plain, size, expected=True) == (plain, None)
    assert content(plain, size) == (plain, None)


def test_an_empty_file_is_cut_only_if_its_name_says_that_it_is_compressed():
    assert content(b"") == (b"", None)
    assert content(b"", expected=True) == (b"", "the compressed file is cut short")


@pytest.mark.parametrize("compress", WAYS.values(), ids=WAYS)
def test_a_cut_anywhere_is_found(compress):
    data = bytes(range(256)) * 40
    whole = compress(data)
    for cut in range(4, len(whole)):
        found, reason = content(whole[:cut], 50)
        assert data.startswith(found)
        assert reason == "the compressed file is cut short"
    cut_in_the_second = whole + whole[:-3]
    found, reason = content(cut_in_the_second)
    assert found.startswith(data)
    assert reason == "the compressed file is cut short"


def test_a_large_zstd_file_that_is_cut_gives_what_is_before_the_cut():
    data = b"".join(index.to_bytes(4, "big") for index in range(500_000))
    found, reason = content(zst(data)[:-1000], 1 << 20)
    assert reason == "the compressed file is cut short"
    assert data.startswith(found)
    assert len(found) > len(data) // 2


@pytest.mark.parametrize("compress", [gzip.compress, lambda data: zst(data, write_checksum=True)])
def test_damage_is_found(compress):
    data = bytes(range(256)) * 40
    whole = bytearray(compress(data))
    whole[len(whole) // 2] ^= 0xFF
    _, reason = content(bytes(whole))
    assert reason in {"the compressed file is damaged", "the compressed file is cut short"}
    whole = bytearray(compress(data))
    whole[-6] ^= 1
    _, reason = content(bytes(whole))
    assert reason == "the compressed file is damaged"


def test_zeros_behind_gzip_are_padding_and_other_bytes_are_damage():
    whole = gzip.compress(b"abc")
    assert content(whole + bytes(1000), 7) == (b"abc", None)
    assert content(whole + bytes(7) + whole) == (b"abcabc", None)
    assert content(whole + b"xyz") == (b"abc", "the compressed file is damaged")


def test_a_file_that_grows_a_thousandfold_is_given_in_pieces():
    data = bytes(20 << 20)
    for compress in WAYS.values():
        _, chunks = decompressed([compress(data)])
        sizes = [len(chunk) for chunk in chunks]
        assert sum(sizes) == len(data)
    _, chunks = decompressed([gzip.compress(data)])
    assert max(map(len, chunks)) == decompression._MOST_BYTES


def test_a_zstd_file_that_asks_for_too_much_memory_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(bytes(1000)) + compressor.flush()
    assert content(data) == (b"", "the compressed file is damaged")


@pytest.fixture
def compressed_log(write_log, batch):
    """Writes a log file of batches, compressed, and gives it as one that is named itself."""

    def write(name, compress, *batches):
        path = write_log(name, *batches)
        path.write_bytes(compress(path.read_bytes()))
        return LogFile(str(path), None, 0, path=path)

    return write


@pytest.mark.parametrize("compress", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", ["x.pb", "x.pb.gz", "x.pb.zst", "x"])
def test_the_first_bytes_decide_how_a_file_is_read(compressed_log, batch, compress, name):
    file = compressed_log(name, compress, batch("a"), batch("b"))
    assert list(read_batches(file)) == [batch("a"), batch("b")]


@pytest.mark.parametrize("compress", WAYS.values(), ids=WAYS)
def test_of_a_torn_compressed_log_the_whole_records_are_read(compressed_log, batch, compress):
    batches = [batch(f"q{index}") for index in range(3)]
    file = compressed_log("x.pb.zst", lambda data: compress(data[:-1]), *batches)
    records = read_batches(file)
    assert [next(records), next(records)] == batches[:2]
    with pytest.raises(TornLog, match="the last record is not whole"):
        next(records)
    file = compressed_log("x.pb.gz", lambda data: compress(data)[:-1], *batches)
    with pytest.raises(TornLog, match=r"torn at byte .*: the compressed file is cut short"):
        list(read_batches(file))


def test_an_empty_compressed_log_is_torn(compressed_log):
    with pytest.raises(TornLog, match="the compressed file is cut short"):
        list(read_batches(compressed_log("x.pb.gz", lambda data: b"")))
    assert list(read_batches(compressed_log("x.pb", lambda data: b""))) == []
