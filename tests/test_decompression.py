"""The two compressions where exactly one member, or frame, is expected.

Files of several are in tests/logreading/test_compression.py, damage is in tests/sinks/test_compression.py.
"""

import gzip

import pytest
import zstandard

from hushar.decompression import Damaged, gunzip, unzstd

WAYS = {"gzip": (gzip.compress, gunzip), "zstd": (zstandard.compress, unzstd)}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


@pytest.mark.parametrize("size", [0, 1, 5000, 3_000_000])
@pytest.mark.parametrize("single", [False, True])
def test_the_content_comes_back(way, size, single):
    compress, decompress = way
    content = (b"feature %d " * size)[:size]
    stored = compress(content)
    for chunks in ([stored], [stored[:7], b"", stored[7:]]):
        assert b"".join(decompress(chunks, single=single)) == content


def test_what_stands_behind_the_end_is_refused_if_one_is_expected(way):
    compress, decompress = way
    stored = compress(b"abc")
    for chunks in ([stored * 2], [stored, stored], [stored + b"\0"], [stored, b"x"]):
        found = []
        with pytest.raises(Damaged):
            found.extend(decompress(chunks, single=True))
        assert b"".join(found) == b"abc"
    assert b"".join(decompress([stored, stored])) == b"abcabc"


@pytest.mark.parametrize("single", [False, True])
def test_nothing_at_all_is_cut_short(way, single):
    for chunks in ([], [b""]):
        with pytest.raises(Damaged, match="cut short"):
            list(way[1](chunks, single=single))
